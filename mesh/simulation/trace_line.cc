#include "mesh/simulation/trace_line.h"

#include "absl/strings/str_split.h"

namespace mesh::simulation {

absl::StatusOr<Line> Line::Parse(absl::string_view text, size_t number) {
  Line line;
  line.number_ = number;
  const size_t bar = text.find(" |");
  line.compared_ = text.substr(0, bar);
  bool first = true;
  for (absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (first) {
      line.kind_ = word;
      first = false;
      continue;
    }
    if (word == "|") continue;
    const size_t equals = word.find('=');
    if (equals == absl::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat(
          "line ", number, ": \"", word, "\" is not of the form key=value."));
    }
    line.words_[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return line;
}

}  // namespace mesh::simulation
