#ifndef MESH_SIMULATION_RANDOM_SCENARIO_H_
#define MESH_SIMULATION_RANDOM_SCENARIO_H_

#include <cstdint>

#include "mesh/config/options.h"
#include "mesh/simulation/simulation.h"

namespace mesh::simulation {

// A service, a cluster and what goes wrong in it, all drawn from one seed.
struct Scenario {
  config::ServiceOptions service;
  Cluster cluster;
  Options options;
};

// About a thousand calls: large enough that things meet, small enough for many
// seeds.
Scenario RandomScenario(uint64_t seed);

// The same, but for all that guards, hedges, streams and calls other tiers:
// only balancing and retries are left.
Scenario WithoutGuards(Scenario scenario);

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_RANDOM_SCENARIO_H_
