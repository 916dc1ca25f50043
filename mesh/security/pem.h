#ifndef MESH_SECURITY_PEM_H_
#define MESH_SECURITY_PEM_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mesh::security {

// What the blocks with this label ("CERTIFICATE") hold, in the order of the
// text (RFC 7468). Blocks with other labels are passed over, and so is text
// between blocks. INVALID_ARGUMENT: a block is cut off, is no base64 or has
// headers. A line of dashes that is no whole boundary is an error as well, so
// no block is lost without a word. RESOURCE_EXHAUSTED: there are more than
// `most` of them.
absl::StatusOr<std::vector<std::string>> PemBlocks(absl::string_view text,
                                                   absl::string_view label,
                                                   size_t most);

}  // namespace mesh::security

#endif  // MESH_SECURITY_PEM_H_
