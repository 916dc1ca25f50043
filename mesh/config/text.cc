#include "mesh/config/text.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mesh::config {
namespace {

constexpr size_t kMaxWord = 64;  // Edit distance is quadratic.

std::string Folded(absl::string_view word) {
  std::string result;
  for (const char c : word) {
    if (c != '_' && c != '-') result += absl::ascii_tolower(c);
  }
  return result;
}

// Optimal string alignment distance.
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> before_last(b.size() + 1), last(b.size() + 1),
      row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    before_last.swap(last);
    last.swap(row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1,
                         last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

// `text` with every control character as an escape, also those beyond ASCII,
// which begin sequences of a terminal too. No two texts become the same.
std::string Escaped(absl::string_view text) {
  const std::string escaped = absl::Utf8SafeCHexEscape(text);
  std::string result;
  for (size_t i = 0; i < escaped.size(); ++i) {
    if (IsC1(absl::string_view(escaped).substr(i))) {
      ++i;
      absl::StrAppendFormat(&result, "\\u%04x",
                            static_cast<uint8_t>(escaped[i]));
    } else {
      result += escaped[i];
    }
  }
  return result;
}

}  // namespace

bool IsC1(absl::string_view text) {
  return text.size() > 1 && text[0] == '\xC2' &&
         static_cast<uint8_t>(text[1]) < 0xA0;
}

std::string Quoted(absl::string_view text) {
  constexpr size_t kMaxText = 80;
  if (text.size() <= kMaxText) return absl::StrCat("\"", Escaped(text), "\"");
  size_t end = kMaxText;  // Never inside a UTF-8 sequence.
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
    --end;
  }
  return absl::StrCat("\"", Escaped(text.substr(0, end)), "...\"");
}

std::string FieldPath(absl::string_view parent, absl::string_view field) {
  if (parent.empty()) return std::string(field);
  return absl::StrCat(parent, ".", field);
}

std::string KeyPath(absl::string_view parent, absl::string_view key) {
  bool plain = !key.empty();
  for (const char c : key) {
    plain = plain && (absl::ascii_isalnum(c) || c == '_' || c == '-');
  }
  return plain ? FieldPath(parent, key)
               : absl::StrCat(parent, "[\"", Escaped(key), "\"]");
}

std::string IndexPath(absl::string_view parent, int index) {
  return absl::StrCat(parent, "[", index, "]");
}

std::string Nearest(absl::string_view word,
                    const std::vector<std::string>& candidates) {
  if (word.size() > kMaxWord) return "";
  const std::string folded = Folded(word);
  std::string best;
  size_t best_distance = folded.size() / 3 + 1;  // More is another word.
  for (const std::string& candidate : candidates) {
    if (candidate.size() > kMaxWord) continue;
    const std::string other = Folded(candidate);
    const size_t distance = EditDistance(folded, other);
    if (distance >= std::max(folded.size(), other.size())) continue;
    if (distance < best_distance ||
        (distance == best_distance && best.empty())) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string DidYouMean(absl::string_view word,
                       const std::vector<std::string>& candidates) {
  const std::string nearest = Nearest(word, candidates);
  if (nearest.empty()) return "";
  return absl::StrCat("; did you mean ", Quoted(nearest), "?");
}

DurationText DurationFromText(absl::string_view text,
                              absl::Duration* duration) {
  // Each digit of a fraction up to these is a whole number of nanoseconds.
  struct Unit {
    absl::string_view name;
    size_t digits;
  };
  static constexpr Unit kUnits[] = {{"ns", 0}, {"us", 3}, {"ms", 6},
                                    {"s", 9},  {"m", 10}, {"h", 11}};
  size_t i = 0;
  const auto digits = [&] {
    const size_t begin = i;
    while (i < text.size() && absl::ascii_isdigit(text[i])) ++i;
    return text.substr(begin, i - begin);
  };
  if (digits().empty()) return DurationText::kNoDuration;
  absl::string_view fraction;
  if (i < text.size() && text[i] == '.') {
    ++i;
    fraction = digits();
    if (fraction.empty()) return DurationText::kNoDuration;
  }
  const auto* const unit =
      std::find_if(std::begin(kUnits), std::end(kUnits),
                   [&](const Unit& u) { return u.name == text.substr(i); });
  if (unit == std::end(kUnits)) return DurationText::kNoDuration;
  const size_t last = fraction.find_last_not_of('0');
  if (last != absl::string_view::npos && last >= unit->digits) {
    return DurationText::kTooFine;
  }
  // google.protobuf.Duration holds no more.
  constexpr absl::Duration kMost = absl::Seconds(315576000000);
  absl::Duration value;
  if (!absl::ParseDuration(std::string(text), &value) || value > kMost) {
    return DurationText::kTooLong;
  }
  *duration = value;
  return DurationText::kGood;
}

std::string DurationToText(absl::Duration duration) {
  if (duration == absl::InfiniteDuration()) return "inf";
  struct Unit {
    absl::Duration size;
    const char* name;
  };
  static constexpr Unit kUnits[] = {
      {absl::Hours(1), "h"},         {absl::Minutes(1), "m"},
      {absl::Seconds(1), "s"},       {absl::Milliseconds(1), "ms"},
      {absl::Microseconds(1), "us"}, {absl::Nanoseconds(1), "ns"}};
  if (duration == absl::ZeroDuration()) return "0s";
  for (const Unit& unit : kUnits) {
    absl::Duration rest;
    const int64_t count = absl::IDivDuration(duration, unit.size, &rest);
    if (rest == absl::ZeroDuration()) return absl::StrCat(count, unit.name);
    // A fraction of minutes or hours reads badly; one of seconds does not.
    if (unit.size <= absl::Seconds(1) && duration >= unit.size) {
      // Exactly: nanoseconds are the least that there is.
      const int width = unit.size == absl::Seconds(1)        ? 9
                        : unit.size == absl::Milliseconds(1) ? 6
                                                             : 3;
      std::string fraction =
          absl::StrFormat("%0*d", width, absl::ToInt64Nanoseconds(rest));
      fraction.erase(fraction.find_last_not_of('0') + 1);
      return absl::StrCat(count, ".", fraction, unit.name);
    }
  }
  return absl::FormatDuration(duration);
}

std::string NumberText(double value) {
  std::string text;
  for (const int digits : {15, 16, 17}) {
    text = absl::StrFormat("%.*g", digits, value);
    double back;
    if (absl::SimpleAtod(text, &back) && back == value) break;
  }
  return text;
}

}  // namespace mesh::config
