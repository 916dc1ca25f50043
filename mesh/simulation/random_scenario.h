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

// About a thousand calls: large enough that things meet, small enough for many
// seeds.
Scenario RandomScenario(uint64_t seed);

// A service as shipped, of idempotent methods with hedging on, whose servers
// have slots and queues, and faults of any kind at some of them. What the
// servers without faults can do is at least 1.2 times the load, and no caller
// waits for less than twice what the slowest of them take.
Scenario RandomScenarioWithCapacity(uint64_t seed);

// Servers that are alike and always well, two or more, each with room for all
// calls. Policies, and what calls ask for and how tenants fail, are those of
// RandomScenario(); endpoints are ejected and suspected as shipped.
Scenario RandomScenarioOfAlikes(uint64_t seed);

// The same scenario, without retries and hedges.
Scenario WithoutRetries(Scenario scenario);

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_RANDOM_SCENARIO_H_
