#ifndef MESH_CONFIG_ADDRESS_H_
#define MESH_CONFIG_ADDRESS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mesh::config {

// OK for "host:port" with a literal IPv4 address, "[v6]:port" or "unix:/path":
// the form that every endpoint's address has. Otherwise INVALID_ARGUMENT that
// says what is wrong and what would do.
absl::Status ValidateAddress(absl::string_view address);

// One spelling of all that ValidateAddress() takes for the same address (IPv6
// has several). `address` must be valid.
std::string CanonicalAddress(absl::string_view address);

// OK for a name that DNS can be asked for.
absl::Status ValidateHostName(absl::string_view name);

// Whether the last part of a name is a number, as it is of no name that there
// is. "10.0.0" and "10.0.0.256" are mistyped addresses.
bool EndsInNumber(absl::string_view name);

}  // namespace mesh::config

#endif  // MESH_CONFIG_ADDRESS_H_
