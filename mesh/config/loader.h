#ifndef MESH_CONFIG_LOADER_H_
#define MESH_CONFIG_LOADER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mesh/base/file.h"  // IWYU pragma: export
#include "mesh/cluster/endpoint.h"
#include "mesh/config/address.h"  // IWYU pragma: export
#include "mesh/options/service.h"

namespace mesh::v1 {
class Config;
}  // namespace mesh::v1

namespace mesh::config {

// Reads a configuration (schema mesh.v1.Config, YAML or JSON) from the file
// `path`. On error the message has a line for each thing that is wrong:
//   mesh.yaml:14:21: services.cart.policy.retry.max_attempts must be in 1..10,
//   is 0
// INVALID_ARGUMENT when it is wrong, the error of ReadFile() when it can't be
// read. Service configs that it names are read too. Endpoints files are the
// resolver's, and files of certificates and keys their source's. `files`, if
// given, is set to all that was read, as it was then, also on error.
// Thread-safe.
absl::StatusOr<options::MeshOptions> LoadFile(
    const std::string& path, std::vector<base::FileState>* files = nullptr);

// As LoadFile, of a text. `name` stands for the path in messages, and relative
// paths in the text are relative to its directory.
absl::StatusOr<options::MeshOptions> LoadText(absl::string_view text,
                                              const std::string& name);

// As LoadFile, of a configuration built in code. Messages have field paths
// and no positions; relative paths are relative to the working directory. An
// empty `endpoints` counts as absent.
absl::StatusOr<options::MeshOptions> FromProto(const v1::Config& config);

// The configuration in the file `path`, checked as LoadFile() checks it, with
// every default that acts (see WithDefaults() in defaults.h). The endpoints
// files that it names are checked too, those that are there. `warnings`, if
// given, is set to those of the options, unless there is an error.
absl::StatusOr<v1::Config> LoadFileWithDefaults(
    const std::string& path, std::vector<std::string>* warnings = nullptr);

// Reads the text of an endpoints file (schema mesh.v1.EndpointList): one key
// `endpoints`. `name` stands for the path in messages. A text without the key
// is an error; the list may be empty.
absl::StatusOr<cluster::EndpointSetPtr> ParseEndpoints(absl::string_view text,
                                                       const std::string& name);

}  // namespace mesh::config

#endif  // MESH_CONFIG_LOADER_H_
