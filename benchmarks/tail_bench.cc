// One slow server among eleven, after "Beyond Round Robin". There are 1,000
// calls per second for 60 s; from 15 s to 45 s one server is ten times slower.
// A call succeeds that is answered OK within 1 s. Arms:
//
//   no_hedging   as shipped: ejection and suspicion alone
//   hedging      as shipped, with hedging on
//   round_robin  beside them: no health, no hedging, whose turn it is
//
// The methods are idempotent. The worst seed counts.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "benchmarks/report.h"
#include "mesh/simulation/simulation.h"

namespace mesh::benchmarks {
namespace {

using simulation::Cluster;
using simulation::Distribution;
using simulation::Fault;
using simulation::Load;
using simulation::Server;

constexpr int kSeeds = 20;

Cluster Eleven() {
  Cluster cluster;
  for (int i = 0; i < 11; ++i) {
    Server server;
    server.address = absl::StrCat("server-", i, ":80");
    server.latency = Distribution::Quantiles({
        {0, absl::Microseconds(164'100)},
        {0.5, absl::Microseconds(167'500)},
        {0.9, absl::Microseconds(176'700)},
        {0.95, absl::Microseconds(181'700)},
        {0.99, absl::Microseconds(192'300)},
        {1, absl::Milliseconds(200)},
    });
    server.network = Distribution();  // The latencies are what callers see.
    cluster.servers.push_back(server);
  }
  cluster.faults = {
      Fault::Slow("server-0:80", absl::Seconds(15), absl::Seconds(45), 10)};
  cluster.loads = {Load::Open("/tail.Server/Call", 1000)};
  cluster.loads[0].deadline = absl::Seconds(1);
  return cluster;
}

struct Arm {
  std::string name;
  options::ServiceOptions service;
};

std::vector<Arm> Arms() {
  options::ServiceOptions shipped;
  shipped.name = "tail";
  shipped.policy.idempotent = true;
  options::ServiceOptions hedging = shipped;
  hedging.policy.hedging.mode = options::Mode::kEnforce;
  options::ServiceOptions round_robin = shipped;
  round_robin.balancing = options::BalancingPolicy::kRoundRobin;
  round_robin.guards.outlier_ejection.mode = options::Mode::kOff;
  round_robin.guards.silence.mode = options::Mode::kOff;
  return {{"round_robin", round_robin},
          {"no_hedging", shipped},
          {"hedging", hedging}};
}

int Main(int argc, char** argv) {
  Report report(&argc, argv);
  if (argc > 1) {
    std::fprintf(stderr, "the argument \"%s\" is unknown.\n", argv[1]);
    return 1;
  }
  const Cluster cluster = Eleven();
  Table table({"arm", "success", "failed", "extra attempts", "hedges",
               "p99, ms", "p99.9, ms"});
  for (const Arm& arm : Arms()) {
    double success = 1;
    double extra = 0;
    uint64_t failed = 0;
    uint64_t hedges = 0;
    absl::Duration p99;
    absl::Duration p999;
    for (int seed = 1; seed <= kSeeds; ++seed) {
      std::fprintf(stderr, "\r%s: %d of %d ", arm.name.c_str(), seed, kSeeds);
      simulation::Options options;
      options.seed = seed;
      options.duration = absl::Seconds(60);
      const auto result = Simulate(arm.service, cluster, options);
      if (!result.ok() || !result->violations.empty()) {
        std::fprintf(stderr, "\n%s\n",
                     result.ok() ? result->violations[0].c_str()
                                 : result.status().ToString().c_str());
        return 1;
      }
      const double calls = static_cast<double>(result->calls);
      success = std::min(success, static_cast<double>(result->ok()) / calls);
      extra =
          std::max(extra, static_cast<double>(result->attempts) / calls - 1);
      failed = std::max(failed, result->calls - result->ok());
      hedges = std::max(hedges, result->hedges);
      p99 = std::max(p99, result->all.Quantile(0.99));
      p999 = std::max(p999, result->all.Quantile(0.999));
    }
    table.Row({arm.name, Number(100 * success, 3) + "%", absl::StrCat(failed),
               Number(100 * extra, 3) + "%", absl::StrCat(hedges),
               Number(absl::ToDoubleMilliseconds(p99), 0),
               Number(absl::ToDoubleMilliseconds(p999), 0)});
    report.Metric(arm.name + ".success", success);
    report.Metric(arm.name + ".extra_attempts", extra);
    report.Metric(arm.name + ".p99_ms", absl::ToDoubleMilliseconds(p99));
    report.Metric(arm.name + ".p999_ms", absl::ToDoubleMilliseconds(p999));
  }
  std::fprintf(stderr, "\r%60s\r", "");
  std::printf("%s\nThe worst of %d seeds each.\n", table.Text().c_str(),
              kSeeds);
  return report.Write();
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) { return mesh::benchmarks::Main(argc, argv); }
