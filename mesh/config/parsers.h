#ifndef MESH_CONFIG_PARSERS_H_
#define MESH_CONFIG_PARSERS_H_

#include <cstddef>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mesh/config/document.h"
#include "mesh/config/problems.h"

// The two parsers behind mesh/config/document.h, and what they share.

namespace mesh::config {

// Parse a text that is UTF-8, without a byte order mark. The first syntax
// error is added to `problems` and null is returned. Never throw.
NodePtr ParseYamlText(absl::string_view text, Problems* problems);
NodePtr ParseJsonText(absl::string_view text, Problems* problems);

// What a text that exceeds a limit is.
inline std::string TooMany() {
  return absl::StrCat("it has more than ", kMaxDocumentNodes,
                      " values (aliases count each time)");
}

inline std::string TooDeep() {
  return absl::StrCat("it is nested more than ", kMaxDocumentDepth,
                      " levels deep");
}

// The first place from `i` on that is no digit.
inline size_t SkipDigits(absl::string_view text, size_t i) {
  while (i < text.size() && absl::ascii_isdigit(text[i])) ++i;
  return i;
}

}  // namespace mesh::config

#endif  // MESH_CONFIG_PARSERS_H_
