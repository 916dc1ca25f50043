#ifndef EXAMPLES_SHOP_FLAGS_H_
#define EXAMPLES_SHOP_FLAGS_H_

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace shop {

// The value of `--name=value` on the command line; `missing` when absent.
inline std::string Flag(int argc, char** argv, absl::string_view name,
                        absl::string_view missing) {
  const std::string prefix = absl::StrCat("--", name, "=");
  for (int i = 1; i < argc; ++i) {
    if (absl::StartsWith(argv[i], prefix)) return argv[i] + prefix.size();
  }
  return std::string(missing);
}

}  // namespace shop

#endif  // EXAMPLES_SHOP_FLAGS_H_
