#include "mesh/config/problems.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"

namespace mesh::config {
namespace {

constexpr size_t kMaxLines = 1000;
// What a list holds. A hostile text of a few kB has a million problems.
constexpr size_t kMaxKept = 10 * kMaxLines;

// A problem is one line, whatever a parser or a file's name puts into it, and a
// whole sentence.
std::string OneLine(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  if (!text.empty() && text.back() != '.' && text.back() != '?') text += '.';
  return text;
}

auto Key(const Problems::Problem& p) {
  return std::tie(p.file_order, p.at.line, p.at.column, p.message);
}

}  // namespace

void Problems::Add(Position at, std::string message) {
  if (list_.size() >= kMaxKept) {
    ++more_;
    return;
  }
  list_.push_back({file_, 0, at, OneLine(std::move(message))});
}

void Problems::Append(const Problems& other) {
  for (Problem problem : other.list_) {
    if (list_.size() >= kMaxKept) {
      ++more_;
      continue;
    }
    problem.file_order += files_;
    list_.push_back(std::move(problem));
  }
  more_ += other.more_;
  files_ += other.files_;
}

absl::Status Problems::ToStatus() const {
  if (list_.empty()) return absl::OkStatus();
  std::vector<Problem> sorted = list_;
  std::sort(sorted.begin(), sorted.end(),
            [](const Problem& a, const Problem& b) { return Key(a) < Key(b); });
  sorted.erase(std::unique(sorted.begin(), sorted.end(),
                           [](const Problem& a, const Problem& b) {
                             return Key(a) == Key(b);
                           }),
               sorted.end());
  std::string text;
  const size_t lines = std::min(sorted.size(), kMaxLines);
  for (size_t i = 0; i < lines; ++i) {
    if (i > 0) text += '\n';
    const Problem& p = sorted[i];
    text += p.file;
    if (p.at.line > 0) {
      absl::StrAppend(&text, p.file.empty() ? "" : ":", p.at.line, ":",
                      p.at.column);
    }
    if (!p.file.empty() || p.at.line > 0) text += ": ";
    text += p.message;
  }
  if (const size_t rest = sorted.size() - lines + more_; rest > 0) {
    absl::StrAppend(&text, "\nthere are ", rest, " more.");
  }
  return absl::InvalidArgumentError(text);
}

}  // namespace mesh::config
