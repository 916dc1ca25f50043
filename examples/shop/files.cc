#include "examples/shop/files.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace shop {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

absl::Status WriteWhole(const std::string& path, const std::string& text,
                        unsigned mode) {
  const std::string draft = path + ".new";
  std::ofstream file(draft);
  if (chmod(draft.c_str(), mode) == 0) file << text;
  file.close();
  if (!file || rename(draft.c_str(), path.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("write ", path));
  }
  return absl::OkStatus();
}

}  // namespace shop
