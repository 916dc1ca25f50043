#include "mesh/config/problems.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "mesh/config/text.h"

namespace mesh::config {
namespace {

constexpr size_t kMaxLines = 1000;
// What a list holds. A hostile text of a few kB has a million problems.
constexpr size_t kMaxKept = 10 * kMaxLines;

// A problem is one line, whatever a parser or a file's name puts into it, and
// does nothing to a terminal.
std::string OneLine(std::string text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (IsC1(absl::string_view(text).substr(i))) text.replace(i, 2, " ");
    if (static_cast<unsigned char>(text[i]) < 0x20 || text[i] == 0x7F) {
      text[i] = ' ';
    }
  }
  return text;
}

// It is a whole sentence, too.
std::string Sentence(std::string text) {
  text = OneLine(std::move(text));
  if (!text.empty() && text.back() != '.' && text.back() != '?') text += '.';
  return text;
}

auto Key(const Problems::Problem& p) {
  return std::tie(p.file, p.at.line, p.at.column, p.inner.line, p.inner.column,
                  p.message);
}

}  // namespace

std::string PlaceText(const std::string& file, Position at) {
  std::string text = OneLine(file);
  if (at.line > 0) {
    absl::StrAppend(&text, file.empty() ? "" : ":", at.line, ":", at.column);
  }
  if (!text.empty()) text += ": ";
  return text;
}

void Problems::Add(Position at, std::string message, Position inner) {
  if (list_.size() >= kMaxKept) {
    ++more_;
    return;
  }
  list_.push_back({file_, at, inner, Sentence(std::move(message))});
}

void Problems::Append(const Problems& other) {
  for (const Problem& problem : other.list_) {
    if (list_.size() >= kMaxKept) {
      ++more_;
      continue;
    }
    list_.push_back(problem);
  }
  more_ += other.more_;
}

std::vector<std::string> Problems::Lines() const {
  std::vector<Problem> sorted = list_;
  std::sort(sorted.begin(), sorted.end(),
            [this](const Problem& a, const Problem& b) {
              const bool a_is_other = a.file != file_;
              const bool b_is_other = b.file != file_;
              if (a_is_other != b_is_other) return b_is_other;
              return Key(a) < Key(b);
            });
  sorted.erase(std::unique(sorted.begin(), sorted.end(),
                           [](const Problem& a, const Problem& b) {
                             return Key(a) == Key(b);
                           }),
               sorted.end());
  std::vector<std::string> lines;
  const size_t most = std::min(sorted.size(), kMaxLines);
  for (size_t i = 0; i < most; ++i) {
    const Problem& p = sorted[i];
    lines.push_back(PlaceText(p.file, p.at) + p.message);
  }
  if (const size_t rest = sorted.size() - most + more_; rest > 0) {
    lines.push_back(absl::StrCat("there are ", rest, " more."));
  }
  return lines;
}

absl::Status Problems::ToStatus() const {
  if (list_.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(Lines(), "\n"));
}

}  // namespace mesh::config
