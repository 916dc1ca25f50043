#ifndef MESH_SIMULATION_DESCRIPTION_H_
#define MESH_SIMULATION_DESCRIPTION_H_

#include "absl/status/status.h"
#include "mesh/simulation/simulation.h"

namespace mesh::simulation {

// Checks that a description makes sense. INVALID_ARGUMENT has the first field
// that does not, and its value.
absl::Status Check(const Cluster& cluster, const Options& options);

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_DESCRIPTION_H_
