#ifndef MESH_CONFIG_LOADER_H_
#define MESH_CONFIG_LOADER_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mesh/cluster/endpoint.h"
#include "mesh/config/options.h"

namespace mesh::v1 {
class Config;
}

namespace mesh::config {

// Reads a configuration (schema mesh.v1.Config, YAML or JSON) from the file
// `path`. On error the message has a line for each thing that is wrong:
//   mesh.yaml:14:21: services.cart.policy.retry.max_attempts must be in 1..10,
//   is 0
// NOT_FOUND, PERMISSION_DENIED or UNAVAILABLE when the file can't be read,
// INVALID_ARGUMENT when it is wrong. Files that it names (service configs; the
// endpoints file is the resolver's) are read too. Thread-safe.
absl::StatusOr<MeshOptions> LoadFile(const std::string& path);

// As LoadFile, of a text. `name` stands for the path in messages, and relative
// paths in the text are relative to its directory.
absl::StatusOr<MeshOptions> LoadText(absl::string_view text,
                                     const std::string& name);

// As LoadFile, of a configuration built in code. Messages have field paths
// and no positions; relative paths are relative to the working directory.
absl::StatusOr<MeshOptions> FromProto(const v1::Config& config);

// Reads the text of an endpoints file: one key `endpoints`. `name` stands for
// the path in messages.
absl::StatusOr<cluster::EndpointSetPtr> ParseEndpoints(absl::string_view text,
                                                       const std::string& name);

// Whole contents of a file of at most `max_bytes`. RESOURCE_EXHAUSTED when it
// has more.
absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     size_t max_bytes = 16 << 20);

// "host:port" with a literal address, "[v6]:port" or "unix:/path": the form
// that every endpoint's address has.
absl::Status ValidateAddress(absl::string_view address);

}  // namespace mesh::config

#endif  // MESH_CONFIG_LOADER_H_
