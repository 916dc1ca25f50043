#include "mesh/testing/mutator.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"

namespace mesh::testing {
namespace {

constexpr absl::string_view kOpening = "{[(";
constexpr absl::string_view kClosing = "}])";

// What limits are made of, in the places of other numbers and texts.
constexpr absl::string_view kExtremes[] = {
    "0",     "-1",    "1",      "2",        "65536", "4294967296",
    "1e999", "-0.0",  "0.001s", "1000000h", "true",  "null",
    "{}",    "[{}]",  "[]",     "\"\"",     "*",     "9223372036854775808",
    "\xff",  "a: &b", "*b",     "\n\t",
};

bool IsWord(char c) {
  return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-';
}

size_t Position(absl::string_view text, base::Random& random) {
  return text.empty() ? 0 : random.Below(static_cast<uint32_t>(text.size()));
}

// A piece of `text` at a place of its own choice, with the comma behind it
// now and then.
absl::string_view SomePiece(absl::string_view text, base::Random& random) {
  size_t begin = Position(text, random);
  // From the middle of a word back to its start.
  while (begin > 0 && begin < text.size() && IsWord(text[begin]) &&
         IsWord(text[begin - 1])) {
    --begin;
  }
  if (begin > 0 && text[begin - 1] == '"') --begin;
  absl::string_view piece = PieceAt(text, begin);
  const size_t end = begin + piece.size();
  if (end < text.size() && text[end] == ',' && random.Below(2) == 0) {
    piece = text.substr(begin, piece.size() + 1);
  }
  return piece;
}

// From a name to the end of its value, `"name": {...}`, and the comma before
// or behind it.
absl::string_view SomeEntry(absl::string_view text, base::Random& random) {
  const absl::string_view name = SomePiece(text, random);
  size_t begin = static_cast<size_t>(name.data() - text.data());
  size_t end = begin + name.size();
  if (end >= text.size() || text[end] != ':') return name;
  ++end;
  while (end < text.size() && absl::ascii_isspace(text[end])) ++end;
  end += PieceAt(text, end).size();
  if (end < text.size() && text[end] == ',')
    return text.substr(begin, end + 1 - begin);
  size_t before = begin;
  while (before > 0 && absl::ascii_isspace(text[before - 1])) --before;
  if (before > 0 && text[before - 1] == ',') begin = before - 1;
  return text.substr(begin, end - begin);
}

std::string Replaced(absl::string_view text, absl::string_view piece,
                     absl::string_view by) {
  if (piece.data() == nullptr) return std::string(by);
  const size_t begin = static_cast<size_t>(piece.data() - text.data());
  std::string result(text.substr(0, begin));
  result.append(by.data(), by.size());
  const absl::string_view rest = text.substr(begin + piece.size());
  result.append(rest.data(), rest.size());
  return result;
}

// Bytes as they come, without regard to the language.
std::string ByteChanged(std::string text, base::Random& random) {
  const size_t at = Position(text, random);
  switch (random.Below(4)) {
    case 0:
      if (!text.empty()) text[at] ^= static_cast<char>(1 << random.Below(8));
      return text;
    case 1:
      return text.insert(at, 1, static_cast<char>(random.Below(256)));
    case 2:
      return text.erase(at, 1 + random.Below(16));
    default:
      return text.substr(0, at);
  }
}

}  // namespace

absl::string_view PieceAt(absl::string_view text, size_t begin) {
  if (begin >= text.size()) return text.substr(text.size());
  size_t end = begin + 1;
  const char first = text[begin];
  if (first == '"' || first == '\'') {
    while (end < text.size() && text[end] != first) {
      end += text[end] == '\\' ? 2 : 1;
    }
    ++end;
  } else if (absl::string_view::npos != kOpening.find(first)) {
    int depth = 1;
    for (; end < text.size() && depth > 0; ++end) {
      if (kOpening.find(text[end]) != absl::string_view::npos) ++depth;
      if (kClosing.find(text[end]) != absl::string_view::npos) --depth;
    }
  } else if (IsWord(first)) {
    while (end < text.size() && IsWord(text[end])) ++end;
  }
  return text.substr(begin, std::min(end, text.size()) - begin);
}

Mutator::Mutator(std::vector<std::string> corpus)
    : corpus_(corpus.empty() ? std::vector<std::string>{""}
                             : std::move(corpus)) {}

std::string Mutator::Make(uint64_t seed) const {
  base::Random random(seed);
  std::string text =
      corpus_[random.Below(static_cast<uint32_t>(corpus_.size()))];
  const uint32_t changes = 1 + random.Below(6);
  for (uint32_t i = 0; i < changes; ++i) {
    text = Changed(std::move(text), random);
    if (text.size() > kMaxSize) text.resize(kMaxSize);
  }
  return text;
}

absl::string_view Mutator::AnyPiece(base::Random& random) const {
  const std::string& other =
      corpus_[random.Below(static_cast<uint32_t>(corpus_.size()))];
  return random.Below(3) == 0 ? SomeEntry(other, random)
                              : SomePiece(other, random);
}

std::string Mutator::Changed(std::string text, base::Random& random) const {
  switch (random.Below(8)) {
    case 0:
    case 1:
      return Replaced(text, SomeEntry(text, random), "");
    case 2:
      return Replaced(text, SomePiece(text, random), "");
    case 3:
      return Replaced(text, SomePiece(text, random), AnyPiece(random));
    case 4: {
      const absl::string_view extreme =
          kExtremes[random.Below(std::size(kExtremes))];
      return Replaced(text, SomePiece(text, random), extreme);
    }
    case 5: {
      const size_t at = Position(text, random);
      return Replaced(text, absl::string_view(text).substr(at, 0),
                      AnyPiece(random));
    }
    case 6: {
      // Twice the same.
      const absl::string_view piece = SomeEntry(text, random);
      const std::string twice = std::string(piece) + std::string(piece);
      return Replaced(text, piece, twice);
    }
    default:
      return ByteChanged(std::move(text), random);
  }
}

}  // namespace mesh::testing
