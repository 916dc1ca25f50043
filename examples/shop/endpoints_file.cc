#include "examples/shop/endpoints_file.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace shop {

std::string FormatEndpoints(const std::vector<std::string>& addresses) {
  if (addresses.empty()) return "endpoints: []\n";
  std::string text = "endpoints:\n";
  for (const std::string& address : addresses) {
    absl::StrAppend(&text, "- ", address, "\n");
  }
  return text;
}

std::vector<std::string> ParseEndpoints(absl::string_view text) {
  std::vector<std::string> addresses;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (absl::ConsumePrefix(&line, "- ")) {
      addresses.emplace_back(absl::StripAsciiWhitespace(line));
    }
  }
  return addresses;
}

}  // namespace shop
