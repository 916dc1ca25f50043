#ifndef MESH_BENCHMARKS_OVERHEAD_COUNTED_H_
#define MESH_BENCHMARKS_OVERHEAD_COUNTED_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

// Instructions of whole processes, as callgrind counts them.

namespace mesh::benchmarks {

// Runs `command` to its end, and counts its instructions.
absl::StatusOr<double> CountInstructionsOf(std::vector<std::string> command);

// Starts the server `server`, which prints its port, and runs `client` with
// its address as a last word. Counts the server's instructions until it ends.
absl::StatusOr<double> CountInstructionsOfServer(
    std::vector<std::string> server, std::vector<std::string> client);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_OVERHEAD_COUNTED_H_
