#ifndef MESH_CONFIG_TARGET_H_
#define MESH_CONFIG_TARGET_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mesh/options/service.h"

namespace mesh::config {

// The service that a target describes, whose policies are all at their
// defaults. INVALID_ARGUMENT names the target and what is wrong.
//
// A target means what it means to grpc::CreateChannel:
// - "host:port" and "host", also after "dns:///" or "dns:". An address stands
//   for itself. The port is 443 where none is given; "http" and "https" are
//   ports, too. "dns://server/host" asks that name server. The authority is the
//   host with its port as written.
// - "ipv4:address:port" and "ipv6:[address]:port", several separated by commas.
//   The authority is all that follows the scheme.
// - "unix:path" (relative to the working directory unless it begins with "/")
//   and "unix-abstract:name". The authority is "localhost".
// mesh's own form is a list of addresses separated by commas, those of a Unix
// socket as "unix:/path". Its authority is the first address.
// An address that is given twice counts once.
absl::StatusOr<options::TargetOptions> ParseTarget(absl::string_view target);

}  // namespace mesh::config

#endif  // MESH_CONFIG_TARGET_H_
