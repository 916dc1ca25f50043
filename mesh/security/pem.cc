#include "mesh/security/pem.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace mesh::security {
namespace {

// The label of a line "-----BEGIN label-----"; empty if it is no such line.
absl::string_view LabelOf(absl::string_view line, absl::string_view begin) {
  if (!absl::ConsumePrefix(&line, begin)) return "";
  if (!absl::ConsumePrefix(&line, " ")) return "";
  if (!absl::ConsumeSuffix(&line, "-----")) return "";
  return absl::StrContains(line, '-') ? "" : line;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> PemBlocks(absl::string_view text,
                                                   absl::string_view label,
                                                   size_t most) {
  const auto wrong = [](int line, absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("line ", line, " of its PEM text ", why));
  };
  std::vector<std::string> blocks;
  absl::string_view open;  // The label of the block that goes on here.
  std::string body;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripTrailingAsciiWhitespace(line);
    if (!absl::StartsWith(line, "-----")) {
      if (open == label) absl::StrAppend(&body, line);
      continue;
    }
    if (open.empty()) {
      open = LabelOf(line, "-----BEGIN");
      if (open.empty()) return wrong(number, "begins no block.");
      body.clear();
      continue;
    }
    if (LabelOf(line, "-----END") != open) {
      return wrong(number, "does not end the block before it.");
    }
    if (open == label) {
      if (blocks.size() == most) {
        return absl::ResourceExhaustedError(
            absl::StrCat("there are more than ", most, " of them."));
      }
      std::string block;
      if (!absl::Base64Unescape(body, &block)) {
        return wrong(number, "ends a block that is no base64.");
      }
      blocks.push_back(std::move(block));
    }
    open = "";
  }
  if (!open.empty())
    return wrong(number, "is the last, and a block is cut off.");
  return blocks;
}

}  // namespace mesh::security
