#ifndef MESH_SIMULATION_PARTS_H_
#define MESH_SIMULATION_PARTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mesh/options/service.h"
#include "mesh/simulation/simulation.h"
#include "mesh/simulation/timeline.h"
#include "mesh/upstream/method_policies.h"

namespace mesh::simulation {

class Calls;
class Clients;
class Invariants;
class SecondConnections;
class Servers;
class Tally;

// A service as its clients know it: `count` servers from `first` on.
struct ServiceState {
  std::shared_ptr<const options::ServiceOptions> options;
  std::vector<std::string> methods;  // The methods that its clients call.
  upstream::MethodPolicies policies;
  uint32_t first = 0;
  uint32_t count = 0;
};

// All that is simulated, so that the parts find each other. They live equally
// long.
struct Parts {
  const Cluster& cluster;
  const Options& options;
  Timeline& timeline;
  std::vector<ServiceState>& services;  // Cluster::servers', then the tiers'.
  Tally& tally;
  Invariants& invariants;
  Servers& servers;
  Clients& clients;
  SecondConnections& seconds;
  Calls& calls;
};

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_PARTS_H_
