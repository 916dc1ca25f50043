#include "benchmarks/outages/first_call.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "benchmarks/outages/world.h"

namespace mesh::benchmarks {

FirstCaller::FirstCaller(const std::string& arm, const std::string& where,
                         absl::Duration deadline)
    : deadline_(deadline),
      process_(
          StartChild({ProgramPath("outages_client"), "first_call", arm, where,
                      absl::StrCat(absl::ToInt64Milliseconds(deadline))})) {}

FirstCall FirstCaller::Result() {
  const absl::StatusOr<std::string> line =
      process_->ReadLine(deadline_ + absl::Seconds(30));
  if (!line.ok()) Die(line.status().message());
  const std::vector<std::string> words = absl::StrSplit(*line, ' ');
  FirstCall call;
  double milliseconds = 0;
  if (words.size() != 3 || !absl::SimpleAtoi(words[0], &call.code) ||
      !absl::SimpleAtod(words[1], &milliseconds)) {
    Die("a client says \"" + *line + "\"");
  }
  call.took = absl::Milliseconds(milliseconds);
  call.by = words[2];
  return call;
}

std::vector<FirstCall> FirstCalls(const std::string& arm,
                                  const std::string& where,
                                  absl::Duration deadline, int count,
                                  int at_once) {
  std::vector<FirstCall> calls;
  while (static_cast<int>(calls.size()) < count) {
    std::vector<std::unique_ptr<FirstCaller>> callers;
    const int now = std::min(at_once, count - static_cast<int>(calls.size()));
    for (int i = 0; i < now; ++i) {
      callers.push_back(std::make_unique<FirstCaller>(arm, where, deadline));
    }
    for (const auto& caller : callers) calls.push_back(caller->Result());
  }
  return calls;
}

}  // namespace mesh::benchmarks
