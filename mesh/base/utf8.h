#ifndef MESH_BASE_UTF8_H_
#define MESH_BASE_UTF8_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace mesh::base {

// Length of the UTF-8 sequence that `text` begins with, 0 if it begins with
// none (RFC 3629: no surrogates, nothing overlong, nothing above U+10FFFF).
size_t Utf8Length(absl::string_view text);

bool IsUtf8(absl::string_view text);

}  // namespace mesh::base

#endif  // MESH_BASE_UTF8_H_
