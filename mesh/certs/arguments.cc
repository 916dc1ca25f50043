#include "mesh/certs/arguments.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace mesh::certs {

absl::StatusOr<Arguments> Arguments::Parse(
    const std::vector<std::string>& words, const std::set<std::string>& flags) {
  Arguments parsed;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (!absl::StartsWith(word, "-")) {
      parsed.words_.push_back(word);
    } else if (flags.count(word) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("the argument \"", word, "\" is unknown."));
    } else if (i + 1 == words.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the argument ", word, " needs a value."));
    } else {
      parsed.values_[word].push_back(words[++i]);
    }
  }
  return parsed;
}

std::vector<std::string> Arguments::All(const std::string& flag) const {
  const auto found = values_.find(flag);
  return found == values_.end() ? std::vector<std::string>{} : found->second;
}

std::string Arguments::Get(const std::string& flag,
                           const std::string& otherwise) const {
  const auto found = values_.find(flag);
  return found == values_.end() ? otherwise : found->second.back();
}

absl::StatusOr<absl::Duration> Arguments::GetDuration(
    const std::string& flag, absl::Duration otherwise) const {
  const std::string text = Get(flag, "");
  if (text.empty() && values_.count(flag) == 0) return otherwise;
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration) ||
      absl::AbsDuration(duration) > absl::Hours(24 * 366 * 100)) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " must be a duration such as 90m, is \"", text,
                     "\"; the longest is a century."));
  }
  return duration;
}

}  // namespace mesh::certs
