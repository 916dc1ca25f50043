// Certificates and authorities that change while calls run: three servers and
// two clients as processes. README.md has how each figure is made.
//
//   rotation_bench [--json FILE] [--steps=N] [--only=files,agent,stock]

#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "benchmarks/identity/counting.h"
#include "benchmarks/identity/rotation.h"
#include "benchmarks/outages/figures.h"
#include "benchmarks/outages/world.h"
#include "benchmarks/report.h"

namespace mesh::benchmarks {
namespace {

constexpr int kSteps = 1000;
constexpr int kKillsPerThousand = 20;

constexpr double kMostNewIdentityMs = 200;
constexpr double kMostGenerations = 3;
constexpr double kMostRssKb = 2;

// The rows of mesh, or of gRPC's own, whose names begin with "stock.".
class Rows {
 public:
  Rows(std::string prefix, Figures* figures)
      : prefix_(std::move(prefix)), figures_(figures) {}

  void Judge(const char* name, double value, double most) {
    if (prefix_.empty()) {
      figures_->Judge(name, value, AtMost(most));
    } else {
      Tell(name, value);
    }
  }
  void Tell(const char* name, double value) {
    figures_->Tell(prefix_ + name, value);
  }

 private:
  const std::string prefix_;
  Figures* const figures_;
};

void Print(const std::vector<RotationResult>& parts, Rows rows) {
  RotationResult all;
  for (const RotationResult& part : parts) {
    all.steps += part.steps;
    all.rotations += part.rotations;
    all.unseen += part.unseen;
    all.published_bad += part.published_bad;
    all.stuck += part.stuck;
    all.agent_kills += part.agent_kills;
    all.agent_back = std::max(all.agent_back, part.agent_back);
    all.rss_slope_kb = std::max(all.rss_slope_kb, part.rss_slope_kb);
    all.fd_slope = std::max(all.fd_slope, part.fd_slope);
    all.new_identity_ms.insert(all.new_identity_ms.end(),
                               part.new_identity_ms.begin(),
                               part.new_identity_ms.end());
    Fleet::Totals& sum = all.totals;
    const Fleet::Totals& one = part.totals;
    sum.calls += one.calls;
    sum.failed += one.failed;
    sum.late += one.late;
    sum.connects += one.connects;
    sum.failed_connects += one.failed_connects;
    sum.streams_ended += one.streams_ended;
    sum.withdrawn_open += one.withdrawn_open;
    sum.withdrawn_unknown += one.withdrawn_unknown;
    sum.withdrawn_last = std::max(sum.withdrawn_last, one.withdrawn_last);
    sum.generations_open = std::max(sum.generations_open, one.generations_open);
    sum.crashed += one.crashed;
  }
  const Fleet::Totals& sum = all.totals;
  const auto number = [](auto count) { return static_cast<double>(count); };
  rows.Tell("steps", all.steps);
  rows.Tell("rotations", all.rotations);
  rows.Tell("calls", number(sum.calls));
  rows.Tell("late", number(sum.late));
  rows.Judge("failed_calls", number(sum.failed), 0);
  rows.Tell("connects", number(sum.connects));
  rows.Judge("failed_connects", number(sum.failed_connects), 0);
  rows.Tell("new_identity_ms_p50", Percentile(all.new_identity_ms, 0.5));
  rows.Judge("new_identity_ms_p99", Percentile(all.new_identity_ms, 0.99),
             kMostNewIdentityMs);
  rows.Tell("new_identity_unseen", all.unseen);
  rows.Judge("withdrawn_connections_after_5s", sum.withdrawn_open, 0);
  rows.Tell("withdrawn_unknown", sum.withdrawn_unknown);
  rows.Tell("withdrawn_last_ms",
            absl::ToDoubleMilliseconds(sum.withdrawn_last));
  rows.Tell("streams_ended", number(sum.streams_ended));
  rows.Judge("published_bad", all.published_bad, 0);
  rows.Tell("gauges_stuck", all.stuck);
  rows.Judge("generations_open_max", sum.generations_open, kMostGenerations);
  rows.Judge("rss_slope_kb_per_rotation", all.rss_slope_kb, kMostRssKb);
  rows.Judge("fd_slope", all.fd_slope, 0);
  rows.Judge("crashed", sum.crashed, 0);
  rows.Tell("agent_kills", all.agent_kills);
  rows.Tell("agent_back_ms_max", absl::ToDoubleMilliseconds(all.agent_back));
}

int Run(int argc, char** argv) {
  // OpenSSL writes to sockets whose other end may be gone.
  signal(SIGPIPE, SIG_IGN);
  Report report(&argc, argv);
  const std::vector<std::string> arms = {"files", "agent", "stock"};
  std::set<std::string> only(arms.begin(), arms.end());
  int steps = kSteps;
  for (int i = 1; i < argc; ++i) {
    absl::string_view flag = argv[i];
    if (absl::ConsumePrefix(&flag, "--only=")) {
      const absl::StatusOr<std::set<std::string>> parsed =
          ParseOnly(flag, arms);
      if (!parsed.ok()) Die(parsed.status().message());
      only = *parsed;
    } else if (!absl::ConsumePrefix(&flag, "--steps=") ||
               !absl::SimpleAtoi(flag, &steps) || steps < 2) {
      Die(absl::StrCat("the argument \"", argv[i], "\" is unknown."));
    }
  }
  Figures figures(&report);
  std::mt19937_64 random(1);
  const absl::Time start = Now();
  const int half = steps / 2;
  std::vector<RotationResult> parts;
  if (only.count("files") > 0) {
    parts.push_back(PlayRotation(Arm::kFiles, half, 0, random));
  }
  if (only.count("agent") > 0) {
    const int kills = std::max(1, steps * kKillsPerThousand / kSteps);
    parts.push_back(PlayRotation(Arm::kAgent, steps - half, kills, random));
  }
  if (!parts.empty()) Print(parts, Rows("", &figures));
  if (only.count("stock") > 0) {
    Print({PlayRotation(Arm::kStock, half, 0, random)},
          Rows("stock.", &figures));
  }
  Progress("");
  report.Metric("met", figures.met() ? 1 : 0);
  std::printf("%s in %s\n", figures.met() ? "All met," : "Not all met,",
              absl::FormatDuration(absl::Trunc(Now() - start, absl::Seconds(1)))
                  .c_str());
  return report.Write();
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) { return mesh::benchmarks::Run(argc, argv); }
