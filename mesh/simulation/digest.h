#ifndef MESH_SIMULATION_DIGEST_H_
#define MESH_SIMULATION_DIGEST_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace mesh::simulation {

// A hash over all that the random scenario of `seed` does: each event that an
// observer is told, in order, and each field of the result. Two builds that
// decide alike give the same digest on every machine of one architecture.
// FAILED_PRECONDITION when the simulation breaks an invariant.
absl::StatusOr<uint64_t> DigestOfSeed(uint64_t seed);

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_DIGEST_H_
