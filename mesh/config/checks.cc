#include "mesh/config/checks.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"

namespace mesh::config {

bool IsGraphic(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isgraph(c); });
}

std::string MethodPatternError(absl::string_view pattern) {
  const std::vector<absl::string_view> parts = absl::StrSplit(pattern, '/');
  if (parts.size() == 3 && parts[0].empty()) {
    return "must begin without a slash";
  }
  const bool star_is_last =
      pattern.find('*') == absl::string_view::npos ||
      (parts.back() == "*" && pattern.find('*') == pattern.size() - 1);
  if (parts.size() != 2 || parts[0].empty() || parts[1].empty() ||
      !star_is_last || !IsGraphic(pattern)) {
    return "must be \"package.Service/Method\" or \"package.Service/*\"";
  }
  return "";
}

void Checks::CheckAuthority(const std::string& authority,
                            const std::string& path) {
  if (authority.size() > 1024 || !IsGraphic(authority)) {
    Add(sources_.Find(path), path,
        " must be at most 1024 printable ASCII characters without spaces, "
        "but is ",
        Quoted(authority));
  }
}

void Checks::Needs(const google::protobuf::Message& message,
                   const std::string& path, const char* field,
                   const char* needed) {
  const auto has = [&](const char* name) {
    return message.GetReflection()->HasField(
        message, message.GetDescriptor()->FindFieldByName(name));
  };
  const std::string field_path = FieldPath(path, field);
  if (has(field) && !has(needed) && !sources_.IsBad(field_path) &&
      !sources_.IsBad(FieldPath(path, needed))) {
    Add(sources_.Find(field_path), field_path, " does nothing without ",
        needed);
  }
}

}  // namespace mesh::config
