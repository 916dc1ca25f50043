#include "mesh/front/services.h"

#include <utility>

#include "mesh/config/loader.h"

namespace mesh::front {

absl::StatusOr<
    std::map<std::string, std::shared_ptr<const options::ServiceOptions>>>
ReadServices(const std::string& path) {
  absl::StatusOr<options::MeshOptions> options = config::LoadFile(path);
  if (!options.ok()) return options.status();
  return std::move(options->services);
}

}  // namespace mesh::front
