#include "benchmarks/outages/trial_rows.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mesh/simulation/simulation.h"
#include "mesh/telemetry/observer.h"

namespace mesh::benchmarks {
namespace {

using cluster::Health;
using options::BalancingPolicy;
using simulation::Cluster;
using simulation::Distribution;
using simulation::Fault;
using simulation::Load;
using simulation::Request;
using simulation::Server;

constexpr absl::Duration kMs = absl::Milliseconds(1);
constexpr char kMethod[] = "/shop.Catalog/Get";

std::string AddressOf(int i) { return absl::StrCat("e", i); }

Cluster ClusterOf(int endpoints) {
  Cluster cluster;
  for (int i = 0; i < endpoints; ++i) {
    Server server;
    server.address = AddressOf(i);
    server.latency = Distribution::LogNormal(kMs, 0.5);
    server.network = Distribution::Constant(absl::ZeroDuration());
    cluster.servers.push_back(server);
  }
  return cluster;
}

options::ServiceOptions ServiceOf(BalancingPolicy policy) {
  options::ServiceOptions service;
  service.name = "shop";
  service.policy.idempotent = true;
  service.balancing = policy;
  return service;
}

simulation::Result Run(const options::ServiceOptions& service,
                       const Cluster& cluster,
                       const simulation::Options& options) {
  absl::StatusOr<simulation::Result> result =
      simulation::Simulate(service, cluster, options);
  if (!result.ok() || !result->violations.empty()) {
    std::fprintf(stderr, "trial_rows: %s\n",
                 result.ok() ? result->violations.front().c_str()
                             : result.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(result);
}

double MedianOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half]
                                : (values[half - 1] + values[half]) / 2;
}

// ---- How soon an endpoint is found ----

// Counts attempts that begin on one endpoint from `from` until it is ejected.
class Finder final : public telemetry::Observer {
 public:
  Finder(std::string address, absl::Time from)
      : address_(std::move(address)), from_(from) {}

  bool WantsPicks() const override { return true; }
  void OnPick(const telemetry::CallInfo&,
              const telemetry::PickEvent& event) override {
    if (event.time < from_ ||
        event.result != telemetry::PickEvent::Result::kUsed || found_) {
      return;
    }
    if (sought_ == nullptr && event.endpoint.address() == address_) {
      sought_ = event.endpoint.endpoint;
    }
    if (event.endpoint.endpoint == sought_) ++attempts_;
  }
  void OnHealth(const telemetry::HealthEvent& event) override {
    if (event.observed || event.to != Health::kEjected) return;
    if (event.time < from_ || event.endpoint.address() != address_) {
      ++false_ejections_;
    } else {
      found_ = true;
    }
  }

  // No more calls are needed.
  const bool* found() const { return &found_; }
  int64_t attempts() const { return attempts_; }
  int false_ejections() const { return false_ejections_; }

 private:
  const std::string address_;
  const absl::Time from_;
  const cluster::Endpoint* sought_ = nullptr;
  bool found_ = false;
  int64_t attempts_ = 0;
  int false_ejections_ = 0;
};

// Attempts until an endpoint is ejected that fails `share`. Infinity: it never
// was.
double FoundAfter(BalancingPolicy policy, int endpoints, double rate,
                  double share, uint64_t seed, int* false_ejections) {
  const absl::Duration from =
      rate >= 1000 ? absl::Seconds(1) : absl::Seconds(20);
  Cluster cluster = ClusterOf(endpoints);
  Load load = Load::Open(kMethod, rate * endpoints);
  load.deadline = absl::Seconds(1);
  cluster.loads = {load};
  Fault fault = Fault::Errors(AddressOf(0), from, absl::InfiniteDuration(),
                              share, absl::StatusCode::kInternal);
  fault.after = absl::Microseconds(300);
  cluster.faults = {fault};

  Finder finder(AddressOf(0), absl::UnixEpoch() + from);
  simulation::Options options;
  options.seed = seed;
  // Time for 5,000 calls on it.
  options.duration = from + absl::Seconds(5000 / rate);
  options.step = options.duration;
  options.observer = &finder;
  options.enough = finder.found();
  Run(ServiceOf(policy), cluster, options);
  *false_ejections += finder.false_ejections();
  return *finder.found() ? static_cast<double>(finder.attempts())
                         : std::numeric_limits<double>::infinity();
}

void Partial(absl::string_view name, double share, double most_calls,
             std::optional<double> most_ratio,
             const std::function<void(const TrialRow&)>& tell) {
  constexpr uint64_t kSeeds = 20;
  double most = 0;
  double most_slow = 0;
  double least_slow = std::numeric_limits<double>::infinity();
  int false_ejections = 0;
  for (BalancingPolicy policy :
       {BalancingPolicy::kLeastRequest, BalancingPolicy::kRoundRobin}) {
    for (int endpoints : {2, 3, 10, 100}) {
      for (double rate : {5.0, 80.0, 1000.0, 10'000.0}) {
        std::vector<double> found;
        for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
          found.push_back(FoundAfter(policy, endpoints, rate, share, seed,
                                     &false_ejections));
        }
        const double median = MedianOf(found);
        tell({absl::StrCat(name,
                           policy == BalancingPolicy::kLeastRequest
                               ? ".least_request"
                               : ".round_robin",
                           ".", endpoints, ".", rate, "_per_second"),
              median});
        most = std::max(most, median);
        if (rate <= 1000) {
          most_slow = std::max(most_slow, median);
          least_slow = std::min(least_slow, median);
        }
      }
    }
  }
  tell({absl::StrCat(name, ".found_after_calls"), most, most_calls});
  TrialRow ratio{absl::StrCat(name, ".found_ratio"), most_slow / least_slow};
  if (most_ratio.has_value()) ratio.most = *most_ratio;
  tell(ratio);
  tell({absl::StrCat(name, ".false_ejections"),
        static_cast<double>(false_ejections)});
}

// ---- How often one that is like the others is ejected ----

class Counter final : public telemetry::Observer {
 public:
  explicit Counter(uint64_t calls) : left_(calls) {}

  void OnCallEnd(const telemetry::CallInfo&,
                 const telemetry::CallEvent&) override {
    if (left_ > 0) --left_;
    enough_ = left_ == 0;
  }
  void OnHealth(const telemetry::HealthEvent& event) override {
    if (event.observed) return;
    if (event.to == Health::kTrial) ++trials;
    if (event.to == Health::kEjected) ++ejections;
  }
  const bool* enough() const { return &enough_; }

  uint64_t trials = 0;
  uint64_t ejections = 0;

 private:
  uint64_t left_;
  bool enough_ = false;
};

Request Taking(Distribution work, double weight = 1) {
  Request request;
  request.work = std::move(work);
  request.weight = weight;
  return request;
}
Request Failing(double share, absl::Duration after) {
  Request request;
  request.fails = share;
  request.fails_after = after;
  return request;
}
Distribution Short() { return Distribution::Constant(kMs); }
Distribution Long() { return Distribution::Constant(50 * kMs); }

Load CallersOf(int callers, Request request) {
  Load load = Load::Closed(kMethod, callers);
  load.requests = {std::move(request)};
  return load;
}
Load Alternating(std::vector<Request> requests) {
  Load load = Load::Closed(kMethod, 1);
  load.requests = std::move(requests);
  load.in_turn = true;
  return load;
}
Load Tail(int endpoints) {
  Load load = Load::Open(kMethod, 200.0 * endpoints);
  load.requests = {
      Taking(Distribution::LogNormal(kMs, 0.5), 0.98),
      Taking(Distribution::Quantiles({{0, 10 * kMs}, {1, 100 * kMs}}), 0.02)};
  return load;
}

// What is wrong everywhere for 5 s of each 20, the whole time.
std::vector<Fault> Everywhere(int endpoints, absl::Duration duration,
                              const Fault& kind) {
  std::vector<Fault> faults;
  for (int i = 0; i < endpoints; ++i) {
    for (absl::Duration at = absl::Seconds(5); at < duration;
         at += absl::Seconds(20)) {
      Fault fault = kind;
      fault.address = AddressOf(i);
      fault.from = at;
      fault.until = at + absl::Seconds(5);
      faults.push_back(fault);
    }
  }
  return faults;
}

struct Mix {
  const char* name;
  BalancingPolicy policy = BalancingPolicy::kLeastRequest;
  std::function<std::vector<Load>(int endpoints)> loads;
  std::optional<Fault> everywhere;
};

std::vector<Load> Steady(int endpoints) {
  return {Load::Open(kMethod, 200.0 * endpoints)};
}

std::vector<Mix> AllMixes() {
  constexpr BalancingPolicy kLeast = BalancingPolicy::kLeastRequest;
  constexpr BalancingPolicy kTurns = BalancingPolicy::kRoundRobin;
  const absl::Duration never = absl::InfiniteDuration();
  const Fault some = Fault::Errors("", absl::ZeroDuration(), never, 0.3,
                                   absl::StatusCode::kInternal);
  const Fault all = Fault::Errors("", absl::ZeroDuration(), never, 1,
                                  absl::StatusCode::kInternal);
  const Fault slow = Fault::Slow("", absl::ZeroDuration(), never, 10);
  const auto callers = [](int each) {
    return [each](int) {
      return std::vector<Load>{CallersOf(each, Taking(Short())),
                               CallersOf(each, Taking(Long()))};
    };
  };
  const auto tenants = [](int) {
    return std::vector<Load>{
        CallersOf(2, Taking(Distribution::LogNormal(kMs, 0.5))),
        CallersOf(2, Failing(1, absl::Microseconds(300)))};
  };
  const auto methods = [](int endpoints) {
    Load quick = Load::Open("/shop.Catalog/Get", 100.0 * endpoints);
    quick.requests = {Taking(Short())};
    Load slow = Load::Open("/shop.Catalog/List", 100.0 * endpoints);
    slow.requests = {Taking(Long())};
    return std::vector<Load>{quick, slow};
  };
  const auto tail = [](int endpoints) {
    return std::vector<Load>{Tail(endpoints)};
  };
  const auto failing = [](int endpoints) {
    Load load = Load::Open(kMethod, 200.0 * endpoints);
    load.requests = {Failing(0.05, absl::Microseconds(300))};
    return std::vector<Load>{load};
  };
  const auto costs_in_turn = [](int) {
    return std::vector<Load>{Alternating({Taking(Short()), Taking(Long())})};
  };
  const auto tenants_in_turn = [](int) {
    return std::vector<Load>{
        Alternating({Taking(Short()), Failing(1, absl::Microseconds(300))})};
  };
  return {
      {"callers_2", kLeast, callers(1), {}},
      {"callers_8", kLeast, callers(4), {}},
      {"tenants", kLeast, tenants, {}},
      {"methods", kLeast, methods, {}},
      {"tail", kLeast, tail, {}},
      {"failing_5", kLeast, failing, {}},
      {"alternating_costs", kTurns, costs_in_turn, {}},
      {"alternating_tenants", kTurns, tenants_in_turn, {}},
      {"tail_in_turn", kTurns, tail, {}},
      {"some_fail", kLeast, Steady, some},
      {"all_fail", kLeast, Steady, all},
      {"all_slow", kLeast, Steady, slow},
      {"some_fail_in_turn", kTurns, Steady, some},
  };
}

struct Counts {
  uint64_t calls = 0;
  uint64_t trials = 0;
  uint64_t ejections = 0;
};

// `calls` of one mix, in runs of at most ten minutes.
Counts Play(const Mix& mix, int endpoints, uint64_t calls, double trial_error,
            uint64_t seed) {
  Counts counts;
  options::ServiceOptions service = ServiceOf(mix.policy);
  service.guards.outlier_ejection.trial_error = trial_error;
  Cluster cluster = ClusterOf(endpoints);
  cluster.loads = mix.loads(endpoints);
  simulation::Options options;
  options.duration = absl::Minutes(10);
  options.step = options.duration;
  if (mix.everywhere.has_value()) {
    cluster.faults = Everywhere(endpoints, options.duration, *mix.everywhere);
  }
  while (counts.calls < calls) {
    Counter counter(calls - counts.calls);
    options.seed = ++seed;
    options.observer = &counter;
    options.enough = counter.enough();
    counts.calls += Run(service, cluster, options).calls;
    counts.trials += counter.trials;
    counts.ejections += counter.ejections;
  }
  return counts;
}

Counts PlayAll(
    uint64_t calls, double trial_error, uint64_t seed,
    const std::function<void(const std::string&, const Counts&)>& each) {
  constexpr int kEndpoints[] = {2, 3, 10};
  const std::vector<Mix> mixes = AllMixes();
  Counts all;
  for (const Mix& mix : mixes) {
    Counts of_mix;
    for (int endpoints : kEndpoints) {
      const Counts counts =
          Play(mix, endpoints, calls / (mixes.size() * std::size(kEndpoints)),
               trial_error, seed);
      seed += 1000;
      of_mix.calls += counts.calls;
      of_mix.trials += counts.trials;
      of_mix.ejections += counts.ejections;
    }
    each(mix.name, of_mix);
    all.calls += of_mix.calls;
    all.trials += of_mix.trials;
    all.ejections += of_mix.ejections;
  }
  return all;
}

void TrialRowOf(const std::function<void(const TrialRow&)>& tell) {
  constexpr uint64_t kCalls = 50'000'000;
  const options::OutlierEjectionOptions defaults;
  const Counts shipped =
      PlayAll(kCalls, defaults.trial_error, 1,
              [&tell](const std::string& mix, const Counts& counts) {
                tell({absl::StrCat("trial.", mix, ".trials"),
                      static_cast<double>(counts.trials)});
                tell({absl::StrCat("trial.", mix, ".false_ejections"),
                      static_cast<double>(counts.ejections)});
              });
  tell({"trial.calls", static_cast<double>(shipped.calls)});
  tell({"trial.trials", static_cast<double>(shipped.trials)});
  tell({"trial.false_ejections", static_cast<double>(shipped.ejections), 0});

  // The bound itself: where it is 1%, so many trials err.
  constexpr uint64_t kTrials = 5000;
  Counts loose;
  for (uint64_t round = 1; loose.trials < kTrials; ++round) {
    const Counts counts = PlayAll(kCalls / 5, 0.01, 1'000'000 * round,
                                  [](const std::string&, const Counts&) {});
    loose.calls += counts.calls;
    loose.trials += counts.trials;
    loose.ejections += counts.ejections;
    if (counts.trials == 0) break;
  }
  tell({"trial.trials_at_1_percent", static_cast<double>(loose.trials)});
  tell({"trial.false_share_at_1_percent",
        loose.trials == 0 ? 1
                          : static_cast<double>(loose.ejections) /
                                static_cast<double>(loose.trials),
        0.01});
}

}  // namespace

std::vector<std::string> TrialRowNames() {
  return {"partial_10", "partial_40", "partial_100", "trial"};
}

void RunTrialRows(absl::string_view name,
                  const std::function<void(const TrialRow&)>& tell) {
  if (name == "partial_10") return Partial(name, 0.1, 600, {}, tell);
  if (name == "partial_40") return Partial(name, 0.4, 120, 2, tell);
  if (name == "partial_100") return Partial(name, 1, 40, {}, tell);
  if (name == "trial") return TrialRowOf(tell);
}

}  // namespace mesh::benchmarks
