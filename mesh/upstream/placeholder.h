#ifndef MESH_UPSTREAM_PLACEHOLDER_H_
#define MESH_UPSTREAM_PLACEHOLDER_H_

#include "absl/status/status.h"
#include "mesh/balancing/picker.h"

namespace mesh::upstream {

// A picker for a service that has no set of endpoints yet. `why` OK: calls
// wait. Otherwise they fail with it, unless they wait for ready.
balancing::PickerPtr NoEndpointsPicker(absl::Status why);

// A picker that fails every call with `why`, also those that would wait.
balancing::PickerPtr DropPicker(absl::Status why);

// The picker of a service that the configuration does not know, because of
// `unknown`. OK: the configuration may still come.
balancing::PickerPtr UnknownPicker(absl::Status unknown);

}  // namespace mesh::upstream

#endif  // MESH_UPSTREAM_PLACEHOLDER_H_
