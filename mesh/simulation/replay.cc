#include "mesh/simulation/replay.h"

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mesh/simulation/player.h"
#include "mesh/simulation/trace_line.h"

namespace mesh::simulation {

absl::StatusOr<ReplayCount> Replay(absl::string_view text) {
  std::map<int64_t, std::vector<Line>> calls;
  std::optional<Player> player;
  size_t number = 0;
  for (absl::string_view each : absl::StrSplit(text, '\n')) {
    ++number;
    each = absl::StripAsciiWhitespace(each);
    if (each.empty() || each[0] == '#') continue;
    absl::StatusOr<Line> line = Line::Parse(each, number);
    if (!line.ok()) return line.status();
    if (!player.has_value()) {
      const absl::string_view balancing = line->Text("balancing");
      if (line->kind() != "mesh-trace" || line->Text("version") != "1" ||
          (balancing != "least_request" && balancing != "round_robin")) {
        return absl::InvalidArgumentError(
            absl::StrCat("line ", number,
                         ": a trace begins with \"mesh-trace version=1 "
                         "balancing=least_request\" or round_robin."));
      }
      player.emplace(balancing == "round_robin"
                         ? options::BalancingPolicy::kRoundRobin
                         : options::BalancingPolicy::kLeastRequest);
      continue;
    }
    if (line->kind() == "health" || line->kind() == "probe") continue;
    if (line->kind() == "picker") {
      if (absl::Status status = player->AddPicker(*line); !status.ok()) {
        return status;
      }
      continue;
    }
    const int64_t id = line->Number("id");
    if (!line->bad().ok()) return line->bad();
    std::vector<Line>& lines = calls[id];
    if (lines.empty() != (line->kind() == "call")) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": the call ", id,
                       lines.empty() ? " has not begun." : " begins again."));
    }
    // What a guard would have said changes nothing. (The machine draws what a
    // fault would have done.) The cap of endpoints is a matter of picks, which
    // are taken as recorded.
    if (line->kind() == "refusal" &&
        (line->Text("guard") == "max_calls_per_endpoint" ||
         (line->Text("observed") == "1" && line->Text("guard") != "fault"))) {
      continue;
    }
    lines.push_back(*std::move(line));
    if (lines.back().kind() != "end") continue;
    if (absl::Status status = player->Play(lines); !status.ok()) return status;
    calls.erase(id);
  }
  if (!player.has_value()) {
    return absl::InvalidArgumentError("the trace is empty.");
  }
  return player->count();
}

}  // namespace mesh::simulation
