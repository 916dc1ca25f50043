#ifndef EXAMPLES_SHOP_FILES_H_
#define EXAMPLES_SHOP_FILES_H_

#include <string>

#include "absl/status/status.h"

namespace shop {

// Empty when it cannot be read.
std::string ReadFile(const std::string& path);

// Whoever watches the file sees the old text or the new, never a part. `mode`
// is the file's, as in chmod(2).
absl::Status WriteWhole(const std::string& path, const std::string& text,
                        unsigned mode = 0644);

}  // namespace shop

#endif  // EXAMPLES_SHOP_FILES_H_
