#include "mesh/config/document.h"

#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "mesh/base/utf8.h"
#include "mesh/config/parsers.h"
#include "mesh/config/text.h"

namespace mesh::config {
namespace {

using Kind = Node::Kind;

// Adds a problem if `text` holds what no configuration does: a control
// character or bytes that are not UTF-8. JSON takes DEL as it is.
bool CheckIsText(absl::string_view text, bool is_json, Problems* problems) {
  Position at{1, 1};
  for (size_t i = 0; i < text.size();) {
    const uint8_t c = text[i];
    const size_t length = base::Utf8Length(text.substr(i));
    if (length == 0) {
      problems->Add(at,
                    absl::StrFormat("the byte 0x%02X is not UTF-8 text", c));
      return false;
    }
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') ||
        (c == 0x7F && !is_json)) {
      problems->Add(
          at, absl::StrFormat("the control character 0x%02X is not text", c));
      return false;
    }
    i += length;
    at.column += length;
    if (c == '\n') at = {at.line + 1, 1};
  }
  return true;
}

absl::string_view WithoutByteOrderMark(absl::string_view text) {
  absl::ConsumePrefix(&text, "\xEF\xBB\xBF");
  return text;
}

bool LooksLikeJson(absl::string_view text) {
  text = absl::StripLeadingAsciiWhitespace(text);
  return absl::ConsumePrefix(&text, "{") &&
         absl::StartsWith(absl::StripLeadingAsciiWhitespace(text), "\"");
}

}  // namespace

NodePtr ParseJson(absl::string_view text, Problems* problems) {
  text = WithoutByteOrderMark(text);
  if (!CheckIsText(text, /*is_json=*/true, problems)) return nullptr;
  return ParseJsonText(text, problems);
}

NodePtr ParseDocument(absl::string_view text, absl::string_view name,
                      Problems* problems) {
  text = WithoutByteOrderMark(text);
  if (absl::EndsWith(name, ".json") || LooksLikeJson(text)) {
    return ParseJson(text, problems);
  }
  if (!CheckIsText(text, /*is_json=*/false, problems)) return nullptr;
  NodePtr root = ParseYamlText(text, problems);
  if (root == nullptr && problems->empty()) {
    return std::make_shared<Node>();  // Nothing but space and comments.
  }
  return root;
}

std::string Describe(const Node& node) {
  constexpr size_t kMaxText = 80;
  switch (node.kind) {
    case Kind::kNull:
      return "empty";
    case Kind::kBool:
    case Kind::kInteger:
    case Kind::kNumber:
      return node.text.substr(0, kMaxText);
    case Kind::kString:
      return absl::StrCat("the string ", Quoted(node.text));
    case Kind::kList:
      return "a list";
    case Kind::kMap:
      return "a map";
  }
  return "";
}

}  // namespace mesh::config