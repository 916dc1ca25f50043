#ifndef EXAMPLES_SHOP_ENDPOINTS_FILE_H_
#define EXAMPLES_SHOP_ENDPOINTS_FILE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace shop {

// The text of an endpoints file, as mesh reads it:
//   endpoints:
//   - 127.0.0.1:40001
std::string FormatEndpoints(const std::vector<std::string>& addresses);

// The addresses in such a text. Empty when it has none.
std::vector<std::string> ParseEndpoints(absl::string_view text);

}  // namespace shop

#endif  // EXAMPLES_SHOP_ENDPOINTS_FILE_H_
