// What becomes of a service on the day on which things break, and what that
// costs. Server processes run on loopback. Calls go over mesh and, for some
// rows, over gRPC's round_robin with retries. README.md has how each figure is
// made.
//
//   outages_bench [--json FILE] [--only=KEY,...]

#include <cmath>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmarks/outages/figures.h"
#include "benchmarks/outages/rows.h"
#include "benchmarks/outages/trial_rows.h"
#include "benchmarks/outages/world.h"
#include "benchmarks/report.h"

namespace mesh::benchmarks {
namespace {

struct Row {
  const char* key;
  void (*run)(Figures*);
};

// A row that the simulator plays.
void Simulated(absl::string_view name, Figures* figures) {
  RunTrialRows(name, [figures](const TrialRow& row) {
    if (std::isinf(row.most)) {
      figures->Tell(row.key, row.value);
    } else {
      figures->Judge(row.key, row.value, AtMost(row.most));
    }
  });
}

constexpr Row kRows[] = {
    {"priority_cold", PriorityCold},
    {"priority_moved", PriorityMoved},
    {"priority_unhealthy", PriorityUnhealthy},
    {"priority_spill", PrioritySpill},
    {"dead_connection_1", DeadConnection1},
    {"dead_connection_8", DeadConnection8},
    {"stopped", Stopped},
    {"restart", Restart},
    {"refused", Refused},
    {"mixed", Mixed},
    {"own_failures", OwnFailures},
    {"tenant", Tenant},
    {"partial_10", [](Figures* figures) { Simulated("partial_10", figures); }},
    {"partial_40", [](Figures* figures) { Simulated("partial_40", figures); }},
    {"partial_100",
     [](Figures* figures) { Simulated("partial_100", figures); }},
    {"partial_40.real", Partial40Real},
    {"trial", [](Figures* figures) { Simulated("trial", figures); }},
    {"hole", HoleRow},
    {"dns_empty", DnsEmpty},
    {"streams", Streams},
    {"churn", ChurnRow},
    {"reload_tls", ReloadTls},
    {"memory", Memory},
};

std::string Since(absl::Time start) {
  return absl::FormatDuration(absl::Trunc(Now() - start, absl::Seconds(1)));
}

int Run(int argc, char** argv) {
  Report report(&argc, argv);
  std::vector<std::string> all;
  for (const Row& row : kRows) all.emplace_back(row.key);
  std::set<std::string> only(all.begin(), all.end());
  for (int i = 1; i < argc; ++i) {
    absl::string_view flag = argv[i];
    if (!absl::ConsumePrefix(&flag, "--only=")) {
      Die(absl::StrCat("the argument \"", argv[i], "\" is unknown."));
    }
    const absl::StatusOr<std::set<std::string>> parsed = ParseOnly(flag, all);
    if (!parsed.ok()) Die(parsed.status().message());
    only = *parsed;
  }
  Figures figures(&report);
  const absl::Time start = Now();
  for (const Row& row : kRows) {
    if (only.count(row.key) == 0) continue;
    const absl::Time begun = Now();
    row.run(&figures);
    Progress(absl::StrCat(row.key, " took ", Since(begun)));
  }
  Progress("");
  report.Metric("met", figures.met() ? 1 : 0);
  std::printf("%s in %s\n", figures.met() ? "All met," : "Not all met,",
              Since(start).c_str());
  return report.Write();
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) { return mesh::benchmarks::Run(argc, argv); }
