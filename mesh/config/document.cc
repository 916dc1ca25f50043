#include "mesh/config/document.h"

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
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "mesh/config/text.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/parser.h"

namespace mesh::config {
namespace {

using Kind = Node::Kind;

std::string TooMany() {
  return absl::StrCat("more than ", kMaxDocumentNodes,
                      " values (aliases count each time)");
}

std::string TooDeep() {
  return absl::StrCat("nested more than ", kMaxDocumentDepth, " levels deep");
}

// Length of the UTF-8 sequence that `text` begins with, 0 if it is none
// (RFC 3629: no surrogates, nothing overlong, nothing above U+10FFFF).
size_t Utf8Length(absl::string_view text) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const auto tail = [&](size_t i) {
    return i < text.size() && (at(i) & 0xC0) == 0x80;
  };
  const uint8_t first = at(0);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  if (!tail(1)) return 0;
  if (first < 0xE0) return 2;
  if (!tail(2)) return 0;
  if (first < 0xF0) {
    if (first == 0xE0 && at(1) < 0xA0) return 0;
    if (first == 0xED && at(1) > 0x9F) return 0;
    return 3;
  }
  if (!tail(3)) return 0;
  if (first == 0xF0 && at(1) < 0x90) return 0;
  if (first == 0xF4 && at(1) > 0x8F) return 0;
  return 4;
}

// Adds a problem if `text` holds what no configuration does: a control
// character or bytes that are not UTF-8.
bool CheckIsText(absl::string_view text, Problems* problems) {
  Position at{1, 1};
  for (size_t i = 0; i < text.size();) {
    const uint8_t c = text[i];
    const size_t length = Utf8Length(text.substr(i));
    if (length == 0) {
      problems->Add(at, absl::StrFormat("byte 0x%02X is not UTF-8 text", c));
      return false;
    }
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F) {
      problems->Add(
          at, absl::StrFormat("control character 0x%02X: not a text file", c));
      return false;
    }
    i += length;
    at.column += length;
    if (c == '\n') at = {at.line + 1, 1};
  }
  return true;
}

size_t SkipDigits(absl::string_view text, size_t i) {
  while (i < text.size() && absl::ascii_isdigit(text[i])) ++i;
  return i;
}

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
  // The finished document, or null when there was none.
  NodePtr root() const { return root_; }

  // Where the last scalar in quotes begins. Null when there was none.
  const YAML::Mark& last_quoted() const { return last_quoted_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (root_ != nullptr) Fail(mark, "more than one document");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto node = std::make_shared<Node>();
    node->at = At(mark);
    // The parser's mark of what is not there is that of whatever comes next.
    if (!stack_.empty()) {
      const Unfinished& open = stack_.back();
      node->at = open.key.has_value() ? open.key->key_at : open.node->at;
    }
    Add(mark, anchor, std::move(node), /*is_new=*/true);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end())
      Fail(mark, "an alias inside of what it stands for");
    Add(mark, YAML::NullAnchor, it->second, /*is_new=*/false);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag,
                YAML::anchor_t anchor, const std::string& value) override {
    auto node = std::make_shared<Node>();
    node->at = At(mark);
    node->text = value;
    if (tag == "!") last_quoted_ = mark;
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
    std::optional<Node::Entry> key;  // Of a map: its value comes next.
    bool merge_key = false;          // `key` is an unquoted `<<`.
    std::vector<NodePtr> merged;     // Values of `<<`.
  };

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
      Fail(mark, absl::StrCat("unknown tag \"", absl::CHexEscape(tag), "\""));
    }
    for (const absl::string_view known :
         {"str", "int", "float", "bool", "null", "seq", "map"}) {
      if (rest == known) return known;
    }
    Fail(mark, absl::StrCat("unknown tag \"!!", absl::CHexEscape(rest), "\""));
  }

  void Open(const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor, Kind kind) {
    const absl::string_view type = CoreType(mark, tag);
    if (!type.empty() && type != (kind == Kind::kList ? "seq" : "map")) {
      Fail(mark, absl::StrCat("a ", kind == Kind::kList ? "list" : "map",
                              " is tagged !!", type));
    }
    if (!stack_.empty() && stack_.back().node->kind == Kind::kMap &&
        !stack_.back().key.has_value()) {
      Fail(mark, "a key must be a string");
    }
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
    if (open.node->kind == Kind::kMap && !open.key.has_value()) {
      if (node->kind == Kind::kList || node->kind == Kind::kMap) {
        Fail(mark, "a key must be a string");
      }
      open.key = Node::Entry{node->text, At(mark), nullptr};
      open.merge_key = node->text == "<<" && is_new;
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

  YAML::Mark last_quoted_ = YAML::Mark::null_mark();
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
    return "; the line is indented with a tab, YAML takes only spaces";
  }
  const size_t port = line.find("]:");
  if (port != absl::string_view::npos && port + 2 < line.size() &&
      absl::ascii_isdigit(line[port + 2])) {
    return "; an address such as \"[::1]:80\" needs quotes";
  }
  return "";
}

absl::string_view LineOf(absl::string_view text, int number) {
  for (; number > 1; --number) {
    const size_t end = text.find('\n');
    if (end == absl::string_view::npos) return "";
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

NodePtr ParseYaml(absl::string_view text, Problems* problems) {
  // yaml-cpp reads a whole flow collection ("[a, b]") before it tells of its
  // beginning, at some 200 bytes a token, so that too many must not begin.
  // Those inside of strings are counted with them: a text within the limits has
  // few.
  const auto flow = std::count_if(text.begin(), text.end(), [](char c) {
    return c == '[' || c == '{' || c == ',';
  });
  if (static_cast<size_t>(flow) > kMaxDocumentNodes) {
    problems->Add({}, TooMany());
    return nullptr;
  }
  YamlBuilder builder;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& e) {
    if (e.mark.is_null()) {
      problems->Add({}, e.msg);
    } else {
      const Position at{e.mark.line + 1, e.mark.column + 1};
      problems->Add(at, absl::StrCat(e.msg, SyntaxHint(LineOf(text, at.line))));
    }
    return nullptr;
  } catch (const std::exception& e) {
    problems->Add({}, e.what());
    return nullptr;
  }
  // yaml-cpp ends a quoted string at the end of the text, as if it were whole.
  if (const YAML::Mark& mark = builder.last_quoted();
      !mark.is_null() && IsUnterminated(text, mark.pos)) {
    problems->Add({mark.line + 1, mark.column + 1},
                  "a quoted string that does not end");
    return nullptr;
  }
  return builder.root();
}

// A recursive descent over RFC 8259. yaml-cpp is not used for JSON: it knows
// no surrogate pairs and takes much that is not JSON.
class JsonParser {
 public:
  JsonParser(absl::string_view text, Problems* problems)
      : text_(text), problems_(problems) {}

  NodePtr Parse() {
    SkipSpace();
    NodePtr root = Value(1);
    if (root == nullptr) return nullptr;
    SkipSpace();
    if (pos_ < text_.size()) {
      return Fail(absl::StrCat("expected the end, found ", Found()));
    }
    return root;
  }

 private:
  NodePtr Fail(const std::string& message) { return FailAt(Here(), message); }
  NodePtr FailAt(Position at, const std::string& message) {
    if (!failed_) problems_->Add(at, message);
    failed_ = true;
    return nullptr;
  }

  Position Here() const {
    return {line_, static_cast<int>(pos_ - line_start_) + 1};
  }

  // What stands here, for messages.
  std::string Found() const {
    if (pos_ >= text_.size()) return "the end of the text";
    const char c = text_[pos_];
    if (c == '\n' || c == '\r') return "the end of the line";
    if (c == '\t') return "a tab";
    const size_t length = Utf8Length(text_.substr(pos_));
    return absl::StrCat("'", text_.substr(pos_, std::max<size_t>(1, length)),
                        "'");
  }

  char Peek() const { return pos_ < text_.size() ? text_[pos_] : '\0'; }

  void SkipSpace() {
    for (; pos_ < text_.size(); ++pos_) {
      const char c = text_[pos_];
      if (c == '\n') {
        ++line_;
        line_start_ = pos_ + 1;
      } else if (c != ' ' && c != '\t' && c != '\r') {
        return;
      }
    }
  }

  NodePtr Value(size_t depth) {
    if (depth > kMaxDocumentDepth) return Fail(TooDeep());
    if (++count_ > kMaxDocumentNodes) return Fail(TooMany());
    auto node = std::make_shared<Node>();
    node->at = Here();
    const char c = Peek();
    if (c == '{') return Object(std::move(node), depth);
    if (c == '[') return Array(std::move(node), depth);
    if (c == '"') {
      node->kind = Kind::kString;
      if (!String(&node->text)) return nullptr;
      return node;
    }
    if (c == '-' || absl::ascii_isdigit(c)) return Number(std::move(node));
    size_t end = pos_;
    while (end < text_.size() && absl::ascii_isalpha(text_[end])) ++end;
    const absl::string_view word = text_.substr(pos_, end - pos_);
    if (word == "null") {
      node->kind = Kind::kNull;
    } else if (word == "true" || word == "false") {
      node->kind = Kind::kBool;
      node->text = std::string(word);
    } else {
      return Fail(absl::StrCat("expected a value, found ", Found()));
    }
    pos_ = end;
    return node;
  }

  NodePtr Number(std::shared_ptr<Node> node) {
    const size_t begin = pos_;
    if (Peek() == '-') ++pos_;
    const size_t integer = pos_;
    pos_ = SkipDigits(text_, pos_);
    if (pos_ == integer || (text_[integer] == '0' && pos_ > integer + 1)) {
      return FailAt(node->at, "not a number as JSON writes it");
    }
    node->kind = Kind::kInteger;
    if (Peek() == '.') {
      node->kind = Kind::kNumber;
      const size_t fraction = ++pos_;
      pos_ = SkipDigits(text_, pos_);
      if (pos_ == fraction) {
        return FailAt(node->at, "not a number as JSON writes it");
      }
    }
    if (Peek() == 'e' || Peek() == 'E') {
      node->kind = Kind::kNumber;
      ++pos_;
      if (Peek() == '-' || Peek() == '+') ++pos_;
      const size_t exponent = pos_;
      pos_ = SkipDigits(text_, pos_);
      if (pos_ == exponent) {
        return FailAt(node->at, "not a number as JSON writes it");
      }
    }
    node->text = std::string(text_.substr(begin, pos_ - begin));
    return node;
  }

  static void Add(Node* parent, const Node& child) {
    parent->size += child.size;
    parent->height = std::max(parent->height, child.height + 1);
  }

  NodePtr Array(std::shared_ptr<Node> node, size_t depth) {
    node->kind = Kind::kList;
    ++pos_;
    SkipSpace();
    if (Peek() == ']') {
      ++pos_;
      return node;
    }
    for (;;) {
      NodePtr item = Value(depth + 1);
      if (item == nullptr) return nullptr;
      Add(node.get(), *item);
      node->items.push_back(std::move(item));
      SkipSpace();
      if (Peek() == ']') {
        ++pos_;
        return node;
      }
      if (Peek() != ',') {
        return Fail(absl::StrCat("expected ',' or ']', found ", Found()));
      }
      ++pos_;
      SkipSpace();
    }
  }

  NodePtr Object(std::shared_ptr<Node> node, size_t depth) {
    node->kind = Kind::kMap;
    ++pos_;
    SkipSpace();
    if (Peek() == '}') {
      ++pos_;
      return node;
    }
    for (;;) {
      Node::Entry entry;
      entry.key_at = Here();
      if (Peek() != '"') {
        return Fail(absl::StrCat("expected a key in quotes, found ", Found()));
      }
      if (!String(&entry.key)) return nullptr;
      SkipSpace();
      if (Peek() != ':') {
        return Fail(absl::StrCat("expected ':', found ", Found()));
      }
      ++pos_;
      SkipSpace();
      entry.value = Value(depth + 1);
      if (entry.value == nullptr) return nullptr;
      Add(node.get(), *entry.value);
      node->entries.push_back(std::move(entry));
      SkipSpace();
      if (Peek() == '}') {
        ++pos_;
        return node;
      }
      if (Peek() != ',') {
        return Fail(absl::StrCat("expected ',' or '}', found ", Found()));
      }
      ++pos_;
      SkipSpace();
    }
  }

  // Reads the four digits of \uXXXX.
  bool Hex4(uint32_t* code) {
    *code = 0;
    for (int i = 0; i < 4; ++i, ++pos_) {
      const char c = Peek();
      if (!absl::ascii_isxdigit(c)) {
        Fail(absl::StrCat("expected four hexadecimal digits, found ", Found()));
        return false;
      }
      *code = *code * 16 + (absl::ascii_isdigit(c)
                                ? c - '0'
                                : absl::ascii_tolower(c) - 'a' + 10);
    }
    return true;
  }

  static void AppendUtf8(uint32_t code, std::string* out) {
    if (code < 0x80) {
      *out += static_cast<char>(code);
    } else if (code < 0x800) {
      *out += static_cast<char>(0xC0 | code >> 6);
      *out += static_cast<char>(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      *out += static_cast<char>(0xE0 | code >> 12);
      *out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
      *out += static_cast<char>(0x80 | (code & 0x3F));
    } else {
      *out += static_cast<char>(0xF0 | code >> 18);
      *out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
      *out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
      *out += static_cast<char>(0x80 | (code & 0x3F));
    }
  }

  bool Escape(std::string* out) {
    const Position at = Here();
    ++pos_;  // The backslash.
    const char c = Peek();
    static constexpr char kFrom[] = "\"\\/bfnrt";
    static constexpr char kTo[] = "\"\\/\b\f\n\r\t";
    for (size_t i = 0; kFrom[i] != '\0'; ++i) {
      if (c == kFrom[i]) {
        *out += kTo[i];
        ++pos_;
        return true;
      }
    }
    if (c != 'u') {
      FailAt(at, "unknown escape in a string");
      return false;
    }
    ++pos_;
    uint32_t code;
    if (!Hex4(&code)) return false;
    if (code >= 0xD800 && code < 0xDC00 && Peek() == '\\' &&
        pos_ + 1 < text_.size() && text_[pos_ + 1] == 'u') {
      pos_ += 2;
      uint32_t low;
      if (!Hex4(&low)) return false;
      if (low >= 0xDC00 && low < 0xE000) {
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      }
    }
    if (code >= 0xD800 && code < 0xE000) {
      FailAt(at, "half of a surrogate pair in a string");
      return false;
    }
    AppendUtf8(code, out);
    return true;
  }

  bool String(std::string* out) {
    const Position begin = Here();
    ++pos_;  // The quote.
    while (pos_ < text_.size()) {
      const char c = text_[pos_];
      if (c == '"') {
        ++pos_;
        return true;
      }
      if (static_cast<uint8_t>(c) < 0x20) break;
      if (c == '\\') {
        if (!Escape(out)) return false;
      } else {
        *out += c;
        ++pos_;
      }
    }
    FailAt(begin, "a string that does not end on its line");
    return false;
  }

  const absl::string_view text_;
  Problems* const problems_;
  size_t pos_ = 0;
  int line_ = 1;
  size_t line_start_ = 0;
  size_t count_ = 0;
  bool failed_ = false;
};

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
  if (!CheckIsText(text, problems)) return nullptr;
  return JsonParser(text, problems).Parse();
}

NodePtr ParseDocument(absl::string_view text, absl::string_view name,
                      Problems* problems) {
  text = WithoutByteOrderMark(text);
  if (!CheckIsText(text, problems)) return nullptr;
  if (absl::EndsWith(name, ".json") || LooksLikeJson(text)) {
    return ParseJson(text, problems);
  }
  NodePtr root = ParseYaml(text, problems);
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
