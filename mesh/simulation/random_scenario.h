#ifndef MESH_SIMULATION_RANDOM_SCENARIO_H_
#define MESH_SIMULATION_RANDOM_SCENARIO_H_

#include <cstdint>

#include "mesh/options/service.h"
#include "mesh/simulation/simulation.h"

namespace mesh::simulation {

// A service, a cluster and what goes wrong in it, all drawn from one seed.
struct Scenario {
  options::ServiceOptions service;
  Cluster cluster;
  Options options;
};

// A scenario of about a thousand calls. That is large enough for things to
// meet, and small enough for many seeds.
Scenario RandomScenario(uint64_t seed);

// A service as shipped, with idempotent methods and hedging on. Its servers
// have slots and queues, and some have faults of any kind. The servers without
// faults can do at least 1.2 times the load. No caller waits for less than
// twice what the slowest of them take.
Scenario RandomScenarioWithCapacity(uint64_t seed);

// Two or more servers that are alike and always well, each with room for all
// calls. Policies, and what calls ask for and how tenants fail, are those of
// RandomScenario(). Endpoints are ejected and suspected as shipped.
Scenario RandomScenarioOfAlikes(uint64_t seed);

// The same scenario, without retries and hedges.
Scenario WithoutRetries(Scenario scenario);

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_RANDOM_SCENARIO_H_
