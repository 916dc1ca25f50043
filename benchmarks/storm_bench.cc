// Retry storms, after "Metastable Failures in Distributed Systems" (HotOS
// 2021). What does an outage of ten seconds do to a backend whose callers
// retry? Does the service come back when the backend does?
//
// The backend has 30 slots of 100 ms (at most 300 calls per second) with a FIFO
// queue. It drops a request that was given up when its turn comes. During the
// outage requests vanish. An attempt is given up after 1 s. Arms:
//
//   no retry   one attempt
//   naive      two retries at once, whatever happens
//   mesh       as shipped; the method is idempotent, an attempt times out
//              after 1 s as in the other arms
//
// `amplification` is attempts that begin per call that begins: during the
// outage, and in the worst second of the run. `recovery` begins at the end of
// the outage. It ends where from then on, to the end of the run, 99% of the
// calls that begin in each second succeed. The worst seed counts.

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
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
using simulation::Result;
using simulation::Server;

constexpr int kSeeds = 20;
constexpr absl::Duration kTimeout = absl::Seconds(1);
constexpr absl::Duration kOutageBegins = absl::Seconds(20);
constexpr absl::Duration kOutageEnds = absl::Seconds(30);
constexpr absl::Duration kEnd = absl::Seconds(90);
constexpr absl::Duration kStep = absl::Milliseconds(100);
constexpr int kStepsPerSecond = 10;

enum class Arm { kNoRetry, kNaive, kMesh };

const char* NameOf(Arm arm) {
  switch (arm) {
    case Arm::kNoRetry:
      return "no_retry";
    case Arm::kNaive:
      return "naive";
    case Arm::kMesh:
      return "mesh";
  }
  return "";
}

options::ServiceOptions ServiceOf(Arm arm, const std::string& name) {
  options::ServiceOptions service;
  service.name = name;
  service.policy.idempotent = true;
  service.policy.retry.attempt_timeout = kTimeout;
  if (arm == Arm::kMesh) return service;
  service.policy.retry.max_attempts = arm == Arm::kNaive ? 3 : 1;
  service.policy.retry.initial_backoff = absl::ZeroDuration();
  service.policy.retry.max_backoff = absl::ZeroDuration();
  service.retry_budget.ratio = 1e6;
  service.guards.outlier_ejection.mode = options::Mode::kOff;
  service.guards.silence.mode = options::Mode::kOff;
  service.guards.caps.mode = options::Mode::kOff;
  service.guards.breaker.mode = options::Mode::kOff;
  service.guards.throttle.mode = options::Mode::kOff;
  service.guards.adaptive_concurrency.mode = options::Mode::kOff;
  return service;
}

Server Backend(const std::string& address) {
  Server server;
  server.address = address;
  server.latency = Distribution::Constant(absl::Milliseconds(100));
  server.slots = 30;
  server.queue = 1'000'000'000;
  server.drops_abandoned = true;
  return server;
}

Load Offered(double rate) {
  Load load = Load::Open("/storm.Backend/Call", rate);
  // Room for three attempts.
  load.deadline = 4 * kTimeout;
  return load;
}

// Seconds from the end of the outage; what is left of the run when it does not
// recover.
double Recovery(const Result& result) {
  const size_t first = kOutageEnds / kStep;
  const size_t last = kEnd / kStep;
  size_t recovered = first;
  for (size_t i = first; i + kStepsPerSecond <= last; ++i) {
    uint64_t started = 0;
    uint64_t succeeded = 0;
    for (size_t j = i; j < i + kStepsPerSecond; ++j) {
      started += result.steps[j].started;
      succeeded += result.steps[j].succeeded;
    }
    if (static_cast<double>(succeeded) < 0.99 * started) recovered = i + 1;
  }
  return static_cast<double>(recovered - first) / kStepsPerSecond;
}

bool Recovered(const Result& result) {
  return Recovery(result) < absl::ToDoubleSeconds(kEnd - kOutageEnds) - 2;
}

// The amplification of the worst second, wherever it begins.
double MostAmplified(const Result& result, size_t tier = 0) {
  double most = 0;
  for (absl::Duration from; from + absl::Seconds(1) <= kEnd; from += kStep) {
    most = std::max(most,
                    result.Amplification(from, from + absl::Seconds(1), tier));
  }
  return most;
}

// The worst of all seeds.
struct Outcome {
  double amplification_outage = 0;
  double amplification_max_1s = 0;
  double recovery_seconds = 0;
  int recovered = 0;  // Seeds.
  double success = 1;
};

Result Run(const options::ServiceOptions& service, const Cluster& cluster,
           uint64_t seed) {
  simulation::Options options;
  options.seed = seed;
  options.duration = kEnd;
  options.step = kStep;
  auto result = Simulate(service, cluster, options);
  if (!result.ok() || !result->violations.empty()) {
    std::fprintf(stderr, "\n%s\n",
                 result.ok() ? result->violations[0].c_str()
                             : result.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(result);
}

Outcome Storm(Arm arm, double rate) {
  Cluster cluster;
  cluster.servers = {Backend("backend:80")};
  cluster.faults = {Fault::Silence("backend:80", kOutageBegins, kOutageEnds)};
  cluster.loads = {Offered(rate)};
  Outcome worst;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    const Result result = Run(ServiceOf(arm, "backend"), cluster, seed);
    worst.amplification_outage =
        std::max(worst.amplification_outage,
                 result.Amplification(kOutageBegins, kOutageEnds));
    worst.amplification_max_1s =
        std::max(worst.amplification_max_1s, MostAmplified(result));
    worst.recovery_seconds = std::max(worst.recovery_seconds, Recovery(result));
    worst.recovered += Recovered(result);
  }
  return worst;
}

// 5% of all answers are UNAVAILABLE, at random.
double SuccessUnderErrors(Arm arm) {
  Cluster cluster;
  cluster.servers = {Backend("backend:80")};
  cluster.faults = {Fault::Errors("backend:80", absl::ZeroDuration(),
                                  absl::InfiniteDuration(), 0.05,
                                  absl::StatusCode::kUnavailable)};
  cluster.loads = {Offered(200)};
  double worst = 1;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    const Result result = Run(ServiceOf(arm, "backend"), cluster, seed);
    worst = std::min(worst, static_cast<double>(result.ok()) /
                                static_cast<double>(result.calls));
  }
  return worst;
}

// Three tiers of three servers, each calling the next one. The leaves fail for
// ten seconds. In one run what they are sent vanishes, in another it is
// answered with UNAVAILABLE. The larger amplification counts: attempts at the
// leaves per call at the front. In the naive arm nothing crosses tiers.
double LeafAmplification(Arm arm, Fault::Kind kind, double rate) {
  Cluster cluster;
  cluster.context_crosses_tiers = arm == Arm::kMesh;
  cluster.behind.resize(2);
  for (int tier = 0; tier < 3; ++tier) {
    for (int i = 0; i < 3; ++i) {
      static const char* const kNames[] = {"front", "middle", "leaf"};
      Server server = Backend(absl::StrCat(kNames[tier], "-", i, ":80"));
      if (tier < 2) {
        // They wait for the tiers behind: no slots to run out of.
        server.slots = 0;
        server.latency = Distribution::Constant(absl::Milliseconds(1));
      } else {
        Fault fault;
        fault.kind = kind;
        fault.address = server.address;
        fault.from = kOutageBegins;
        fault.until = kOutageEnds;
        cluster.faults.push_back(fault);
      }
      (tier == 0 ? cluster.servers : cluster.behind[tier - 1].servers)
          .push_back(server);
    }
  }
  for (int tier = 1; tier < 3; ++tier) {
    simulation::Tier& each = cluster.behind[tier - 1];
    each.service = ServiceOf(arm, tier == 1 ? "middle" : "leaf");
    each.deadline = 4 * kTimeout;
  }
  cluster.loads = {Offered(rate)};
  double worst = 0;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    const Result result = Run(ServiceOf(arm, "front"), cluster, seed);
    worst =
        std::max(worst, result.Amplification(kOutageBegins, kOutageEnds, 2));
  }
  return worst;
}

int Main(int argc, char** argv) {
  Report report(&argc, argv);
  if (argc > 1) {
    std::fprintf(stderr, "the argument \"%s\" is unknown.\n", argv[1]);
    return 1;
  }
  const std::vector<double> rates = {150, 200, 280, 295};
  Table table({"arm", "offered/s", "amplification, outage", "worst second",
               "recovery, s", "seeds that recover"});
  for (const Arm arm : {Arm::kNoRetry, Arm::kNaive, Arm::kMesh}) {
    Outcome worst;
    worst.recovered = kSeeds;
    int recovered_when_busy = 0;
    for (const double rate : rates) {
      std::fprintf(stderr, "\r%s at %.0f/s ", NameOf(arm), rate);
      const Outcome outcome = Storm(arm, rate);
      table.Row({NameOf(arm), Number(rate, 0),
                 Number(outcome.amplification_outage, 3),
                 Number(outcome.amplification_max_1s, 3),
                 outcome.recovered == kSeeds
                     ? Number(outcome.recovery_seconds, 1)
                     : "never",
                 absl::StrCat(outcome.recovered, " of ", kSeeds)});
      const std::string prefix =
          absl::StrCat(NameOf(arm), ".", Number(rate, 0), ".");
      report.Metric(prefix + "amplification_outage",
                    outcome.amplification_outage);
      report.Metric(prefix + "amplification_max_1s",
                    outcome.amplification_max_1s);
      report.Metric(prefix + "recovery_seconds", outcome.recovery_seconds);
      report.Metric(prefix + "recovered_seeds", outcome.recovered);
      worst.amplification_outage =
          std::max(worst.amplification_outage, outcome.amplification_outage);
      worst.amplification_max_1s =
          std::max(worst.amplification_max_1s, outcome.amplification_max_1s);
      worst.recovery_seconds =
          std::max(worst.recovery_seconds, outcome.recovery_seconds);
      worst.recovered = std::min(worst.recovered, outcome.recovered);
      if (rate >= 280) recovered_when_busy += outcome.recovered;
    }
    const std::string prefix = absl::StrCat(NameOf(arm), ".");
    report.Metric(prefix + "amplification_outage", worst.amplification_outage);
    report.Metric(prefix + "amplification_max_1s", worst.amplification_max_1s);
    report.Metric(prefix + "recovery_seconds", worst.recovery_seconds);
    // For the naive arm: whether any seed recovers at 280 or 295/s. Otherwise:
    // whether all do.
    report.Metric(prefix + "recovers", arm == Arm::kNaive
                                           ? recovered_when_busy > 0
                                           : worst.recovered == kSeeds);
  }

  Table errors({"arm", "success with 5% UNAVAILABLE at 200/s"});
  Table chain({"arm", "leaf amplification, vanish", "UNAVAILABLE"});
  for (const Arm arm : {Arm::kNoRetry, Arm::kNaive, Arm::kMesh}) {
    std::fprintf(stderr, "\r%s: errors, chain ", NameOf(arm));
    const double success = SuccessUnderErrors(arm);
    errors.Row({NameOf(arm), Number(success, 5)});
    report.Metric(absl::StrCat(NameOf(arm), ".success"), success);
    const double vanish = LeafAmplification(arm, Fault::Kind::kSilence, 150);
    const double refuse = LeafAmplification(arm, Fault::Kind::kErrors, 150);
    chain.Row({NameOf(arm), Number(vanish, 3), Number(refuse, 3)});
    const std::string name = absl::StrCat(NameOf(arm), ".leaf_amplification");
    report.Metric(name, std::max(vanish, refuse));
    report.Metric(name + "_vanish", vanish);
    report.Metric(name + "_unavailable", refuse);
  }
  std::fprintf(stderr, "\r%60s\r", "");
  std::printf("%s\n%s\n%s\nThe worst of %d seeds each.\n", table.Text().c_str(),
              errors.Text().c_str(), chain.Text().c_str(), kSeeds);
  return report.Write();
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) { return mesh::benchmarks::Main(argc, argv); }
