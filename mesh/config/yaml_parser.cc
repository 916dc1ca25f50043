#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <sstream>
#include <unordered_map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mesh/base/utf8.h"
#include "mesh/config/parsers.h"
#include "mesh/config/text.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/parser.h"

namespace mesh::config {
namespace {

using Kind = Node::Kind;

// The kind of an unquoted YAML scalar (YAML 1.2.2, 10.3.2; of the ways to
// write an integer only the decimal one).
Kind PlainKind(absl::string_view text) {
  if (text == "true" || text == "True" || text == "TRUE" || text == "false" ||
      text == "False" || text == "FALSE") {
    return Kind::kBool;
  }
  if (text == ".nan" || text == ".NaN" || text == ".NAN") return Kind::kNumber;
  size_t i = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  const absl::string_view unsigned_text = text.substr(i);
  if (unsigned_text == ".inf" || unsigned_text == ".Inf" ||
      unsigned_text == ".INF") {
    return Kind::kNumber;
  }
  size_t end = SkipDigits(text, i);
  size_t digits = end - i;
  if (end == text.size()) return digits > 0 ? Kind::kInteger : Kind::kString;
  if (text[end] == '.') {
    const size_t fraction = end + 1;
    end = SkipDigits(text, fraction);
    digits += end - fraction;
  }
  if (digits == 0) return Kind::kString;
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    ++end;
    if (end < text.size() && (text[end] == '-' || text[end] == '+')) ++end;
    const size_t exponent = end;
    end = SkipDigits(text, exponent);
    if (end == exponent) return Kind::kString;
  }
  return end == text.size() ? Kind::kNumber : Kind::kString;
}

// Builds nodes from the events of yaml-cpp's parser, which is told of an error
// by an exception of its own.
class YamlBuilder : public YAML::EventHandler {
 public:
  // `text` is what is parsed. It must outlive this object.
  explicit YamlBuilder(absl::string_view text) : text_(text) {}

  // The finished document, or null when there was none.
  NodePtr root() const { return root_; }

  // Where the last scalar in quotes begins. Null when there was none.
  const YAML::Mark& last_quoted() const { return last_quoted_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (root_ != nullptr) Fail(mark, "the file has more than one document");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto node = std::make_shared<Node>();
    node->at = At(mark);
    // The parser's mark of what is not there is that of whatever comes next.
    if (!stack_.empty() && !IsWrittenNull(mark)) {
      const Unfinished& open = stack_.back();
      node->at = open.key.has_value() ? open.key->key_at : open.node->at;
    }
    Add(mark, anchor, std::move(node), /*is_new=*/true);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end())
      Fail(mark, "an alias stands inside of what it stands for");
    Add(mark, YAML::NullAnchor, it->second, /*is_new=*/false);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag,
                YAML::anchor_t anchor, const std::string& value) override {
    auto node = std::make_shared<Node>();
    node->at = At(mark);
    node->text = AsUtf8(value);
    if (tag == "!") last_quoted_ = mark;
    last_is_plain_ = tag == "?";
    const absl::string_view type = CoreType(mark, tag);
    if (type == "str" || tag == "!") {
      node->kind = Kind::kString;
    } else if (type == "seq" || type == "map") {
      Fail(mark, absl::StrCat("a scalar is tagged !!", type));
    } else {
      node->kind = PlainKind(value);
    }
    Add(mark, anchor, std::move(node), /*is_new=*/true);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag,
                       YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, Kind::kList);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag,
                  YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, Kind::kMap);
  }
  void OnMapEnd() override {
    Merge(&stack_.back());
    Close();
  }

 private:
  // A list or map whose end has not been seen.
  struct Unfinished {
    std::shared_ptr<Node> node;
    YAML::Mark mark;
    YAML::anchor_t anchor;
    std::optional<Node::Entry> key;  // In a map: its value comes next.
    bool merge_key = false;          // `key` is an unquoted `<<`.
    std::vector<NodePtr> merged;     // Values of `<<`.
  };

  // Whether what comes next in the innermost of what is open is a key.
  bool IsKeyDue() const {
    return !stack_.empty() && stack_.back().node->kind == Kind::kMap &&
           !stack_.back().key.has_value();
  }

  // Whether a null stands at `mark`, and not nothing.
  bool IsWrittenNull(const YAML::Mark& mark) const {
    const absl::string_view rest =
        text_.substr(std::min<size_t>(mark.pos, text_.size()));
    const size_t length = absl::StartsWith(rest, "~")                ? 1
                          : absl::StartsWithIgnoreCase(rest, "null") ? 4
                                                                     : 0;
    // A word may begin so that is the next key.
    return length > 0 && (rest.size() == length ||
                          absl::StrContains(" \t\r\n,]}", rest[length]));
  }

  // yaml-cpp makes one byte each of the escapes \N and \_ (U+0085, U+00A0). All
  // else in a scalar is UTF-8, as the text is.
  static std::string AsUtf8(absl::string_view text) {
    const auto is_ascii = [](char c) { return absl::ascii_isascii(c); };
    if (std::all_of(text.begin(), text.end(), is_ascii)) {
      return std::string(text);
    }
    std::string result;
    while (!text.empty()) {
      const size_t length = base::Utf8Length(text);
      if (length == 0 && (text[0] == '\x85' || text[0] == '\xA0')) {
        result += '\xC2';
      }
      absl::StrAppend(&result, text.substr(0, std::max<size_t>(1, length)));
      text.remove_prefix(std::max<size_t>(1, length));
    }
    return result;
  }

  static Position At(const YAML::Mark& mark) {
    return {mark.line + 1, mark.column + 1};
  }

  [[noreturn]] static void Fail(const YAML::Mark& mark,
                                const std::string& message) {
    throw YAML::ParserException(mark, message);
  }

  // "str" for the tag !!str, empty for none.
  static absl::string_view CoreType(const YAML::Mark& mark,
                                    const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return "";
    absl::string_view rest = tag;
    if (!absl::ConsumePrefix(&rest, "tag:yaml.org,2002:")) {
      Fail(mark,
           absl::StrCat("the tag \"", absl::CHexEscape(tag), "\" is unknown"));
    }
    for (const absl::string_view known :
         {"str", "int", "float", "bool", "null", "seq", "map"}) {
      if (rest == known) return known;
    }
    Fail(mark,
         absl::StrCat("the tag \"!!", absl::CHexEscape(rest), "\" is unknown"));
  }

  void Open(const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor, Kind kind) {
    const absl::string_view type = CoreType(mark, tag);
    if (!type.empty() && type != (kind == Kind::kList ? "seq" : "map")) {
      Fail(mark, absl::StrCat("a ", kind == Kind::kList ? "list" : "map",
                              " is tagged !!", type));
    }
    // A map or list as a key is refused at its end: where that is missing,
    // yaml-cpp takes the whole text for a key.
    if (stack_.size() >= kMaxDocumentDepth) Fail(mark, TooDeep());
    Unfinished open;
    open.node = std::make_shared<Node>();
    open.node->kind = kind;
    open.node->at = At(mark);
    open.mark = mark;
    open.anchor = anchor;
    stack_.push_back(std::move(open));
    Count(mark, 1);
  }

  void Close() {
    Unfinished open = std::move(stack_.back());
    stack_.pop_back();
    Add(open.mark, open.anchor, std::move(open.node), /*is_new=*/false,
        /*counted=*/true);
  }

  void Count(const YAML::Mark& mark, size_t more) {
    count_ += more;
    if (count_ > kMaxDocumentNodes) Fail(mark, TooMany());
  }

  // Puts a finished node into what is open. Containers and their insides have
  // been counted already; an alias counts all that it stands for.
  void Add(const YAML::Mark& mark, YAML::anchor_t anchor, NodePtr node,
           bool is_new, bool counted = false) {
    if (!counted) Count(mark, is_new ? 1 : node->size);
    if (anchor != YAML::NullAnchor) anchors_[anchor] = node;
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Unfinished& open = stack_.back();
    if (IsKeyDue()) {
      if (node->kind == Kind::kList || node->kind == Kind::kMap) {
        Fail(mark, "a key must be a string");
      }
      if (node->kind == Kind::kNull) {
        Fail(mark, "a key must be a string; put it in quotes");
      }
      open.key = Node::Entry{node->text, At(mark), nullptr};
      open.merge_key = node->text == "<<" && is_new && last_is_plain_;
      return;
    }
    if (stack_.size() + node->height > kMaxDocumentDepth) Fail(mark, TooDeep());
    open.node->size += node->size;
    open.node->height = std::max(open.node->height, node->height + 1);
    if (open.node->kind == Kind::kList) {
      open.node->items.push_back(std::move(node));
      return;
    }
    if (open.merge_key) {
      CheckMergeable(mark, *node);
      open.merged.push_back(std::move(node));
    } else {
      open.key->value = std::move(node);
      open.node->entries.push_back(*std::move(open.key));
    }
    open.key.reset();
  }

  static void CheckMergeable(const YAML::Mark& mark, const Node& node) {
    bool good = node.kind == Kind::kMap;
    if (node.kind == Kind::kList) {
      good = std::all_of(
          node.items.begin(), node.items.end(),
          [](const NodePtr& item) { return item->kind == Kind::kMap; });
    }
    if (!good) Fail(mark, "the value of << must be a map or a list of maps");
  }

  // Adds the entries of the maps under `<<` that the map does not have itself
  // (yaml.org/type/merge.html).
  void Merge(Unfinished* open) {
    if (open->merged.empty()) return;
    std::set<std::string> have;
    for (const Node::Entry& entry : open->node->entries) have.insert(entry.key);
    const auto merge = [&](const Node& map) {
      for (const Node::Entry& entry : map.entries) {
        if (have.insert(entry.key).second) {
          open->node->entries.push_back(entry);
        }
      }
    };
    for (const NodePtr& node : open->merged) {
      if (node->kind == Kind::kMap) merge(*node);
      for (const NodePtr& item : node->items) merge(*item);
    }
  }

  const absl::string_view text_;
  YAML::Mark last_quoted_ = YAML::Mark::null_mark();
  bool last_is_plain_ = false;  // The last scalar has no quotes and no tag.
  std::vector<Unfinished> stack_;
  std::unordered_map<YAML::anchor_t, NodePtr> anchors_;
  NodePtr root_;
  size_t count_ = 0;
};

// True if the quoted scalar that begins at `begin` has no end.
bool IsUnterminated(absl::string_view text, size_t begin) {
  if (begin >= text.size()) return false;
  const char quote = text[begin];
  if (quote != '"' && quote != '\'') return false;  // A tag or an anchor.
  for (size_t i = begin + 1; i < text.size(); ++i) {
    if (quote == '"' && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      if (quote == '"' || i + 1 == text.size() || text[i + 1] != quote) {
        return false;
      }
      ++i;  // '' stands for one.
    }
  }
  return true;
}

// What a syntax error in `line` most likely comes from, where experience tells.
absl::string_view SyntaxHint(absl::string_view line) {
  const size_t begin = line.find_first_not_of(' ');
  if (begin != absl::string_view::npos && line[begin] == '\t') {
    return "; the line is indented with a tab, where YAML takes only spaces";
  }
  const size_t port = line.find("]:");
  if (port != absl::string_view::npos && port + 2 < line.size() &&
      absl::ascii_isdigit(line[port + 2])) {
    return "; an address such as \"[::1]:80\" needs quotes";
  }
  return "";
}

std::string NotValid(absl::string_view why) {
  return absl::StrCat("the YAML is not valid: ", why);
}

absl::string_view LineOf(absl::string_view text, int number) {
  for (; number > 1; --number) {
    const size_t end = text.find('\n');
    if (end == absl::string_view::npos) return "";
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

}  // namespace

NodePtr ParseYamlText(absl::string_view text, Problems* problems) {
  // yaml-cpp reads a whole flow collection ("[a, b]") before it tells of its
  // beginning, at some 200 bytes a token, so that too many must not begin.
  // Those inside of strings are counted with them: a text within the limits has
  // few.
  const auto flow = std::count_if(text.begin(), text.end(), [](char c) {
    return c == '[' || c == '{' || c == ',';
  });
  if (static_cast<size_t>(flow) > kMaxDocumentNodes) {
    problems->Add({}, NotValid(TooMany()));
    return nullptr;
  }
  YamlBuilder builder(text);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& e) {
    if (e.mark.is_null()) {
      problems->Add({}, NotValid(e.msg));
    } else {
      const Position at{e.mark.line + 1, e.mark.column + 1};
      problems->Add(
          at, absl::StrCat(NotValid(e.msg), SyntaxHint(LineOf(text, at.line))));
    }
    return nullptr;
  } catch (const std::exception& e) {
    problems->Add({}, NotValid(e.what()));
    return nullptr;
  }
  // yaml-cpp ends a quoted string at the end of the text, as if it were whole.
  if (const YAML::Mark& mark = builder.last_quoted();
      !mark.is_null() && IsUnterminated(text, mark.pos)) {
    problems->Add({mark.line + 1, mark.column + 1},
                  NotValid("a quoted string does not end"));
    return nullptr;
  }
  return builder.root();
}

}  // namespace mesh::config
