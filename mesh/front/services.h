#ifndef MESH_FRONT_SERVICES_H_
#define MESH_FRONT_SERVICES_H_

#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "mesh/options/service.h"

namespace mesh::front {

// The services of a configuration file (mesh.v1.Config, YAML or JSON), by name,
// as Simulate() takes them. The errors are those of mesh::Mesh::FromFile().
absl::StatusOr<
    std::map<std::string, std::shared_ptr<const options::ServiceOptions>>>
ReadServices(const std::string& path);

}  // namespace mesh::front

#endif  // MESH_FRONT_SERVICES_H_
