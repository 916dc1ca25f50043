#ifndef MESH_CONFIG_TARGET_H_
#define MESH_CONFIG_TARGET_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mesh/options/service.h"

namespace mesh::config {

// The service that a target describes, with every policy at its default:
// "dns:///host:port" (or "dns:host:port"), or addresses separated by commas.
// Its name is the target; its authority is what follows "dns:///", or the
// first address. An address that is given twice counts once. INVALID_ARGUMENT
// names the target and what is wrong with it.
absl::StatusOr<options::ServiceOptions> ParseTarget(absl::string_view target);

}  // namespace mesh::config

#endif  // MESH_CONFIG_TARGET_H_
