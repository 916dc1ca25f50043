#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mesh/base/utf8.h"
#include "mesh/config/parsers.h"
#include "mesh/config/text.h"

namespace mesh::config {
namespace {

using Kind = Node::Kind;

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
      return Fail(absl::StrCat("the end is due here, not ", Found()));
    }
    return root;
  }

 private:
  NodePtr Fail(const std::string& message) { return FailAt(Here(), message); }
  NodePtr FailAt(Position at, const std::string& message) {
    if (!failed_) {
      problems_->Add(at, absl::StrCat("the JSON is not valid: ", message));
    }
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
    const size_t length = base::Utf8Length(text_.substr(pos_));
    return Quoted(text_.substr(pos_, std::max<size_t>(1, length)));
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
      return Fail(absl::StrCat("a value is due here, not ", Found()));
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
      return FailAt(node->at, "a number is not written as JSON has it");
    }
    node->kind = Kind::kInteger;
    if (Peek() == '.') {
      node->kind = Kind::kNumber;
      const size_t fraction = ++pos_;
      pos_ = SkipDigits(text_, pos_);
      if (pos_ == fraction) {
        return FailAt(node->at, "a number is not written as JSON has it");
      }
    }
    if (Peek() == 'e' || Peek() == 'E') {
      node->kind = Kind::kNumber;
      ++pos_;
      if (Peek() == '-' || Peek() == '+') ++pos_;
      const size_t exponent = pos_;
      pos_ = SkipDigits(text_, pos_);
      if (pos_ == exponent) {
        return FailAt(node->at, "a number is not written as JSON has it");
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
        return Fail(absl::StrCat("\",\" or \"]\" is due here, not ", Found()));
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
        return Fail(absl::StrCat("a key in quotes is due here, not ", Found()));
      }
      if (!String(&entry.key)) return nullptr;
      SkipSpace();
      if (Peek() != ':') {
        return Fail(absl::StrCat("\":\" is due here, not ", Found()));
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
        return Fail(absl::StrCat("\",\" or \"}\" is due here, not ", Found()));
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
        Fail(absl::StrCat("four hexadecimal digits are due here, not ",
                          Found()));
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
      FailAt(at, "a string has an unknown escape");
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
      FailAt(at, "a string has half of a surrogate pair");
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
    FailAt(begin, "a string does not end on its line");
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

}  // namespace

NodePtr ParseJsonText(absl::string_view text, Problems* problems) {
  return JsonParser(text, problems).Parse();
}

}  // namespace mesh::config
