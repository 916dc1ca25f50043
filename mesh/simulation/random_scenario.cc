#include "mesh/simulation/random_scenario.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "mesh/base/random.h"

namespace mesh::simulation {
namespace {

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}

  bool OneIn(uint32_t n) { return random_.Below(n) == 0; }
  int Between(int low, int high) {
    return low + static_cast<int>(random_.Below(high - low + 1));
  }
  double Unit() { return random_.Unit(); }
  // Even in the logarithm.
  double Scale(double low, double high) {
    return low * std::pow(high / low, random_.Unit());
  }
  absl::Duration Time(absl::Duration low, absl::Duration high) {
    return absl::Microseconds(static_cast<int64_t>(Scale(
        absl::ToDoubleMicroseconds(low), absl::ToDoubleMicroseconds(high))));
  }
  Distribution Delay(absl::Duration low, absl::Duration high) {
    const absl::Duration typical = Time(low, high);
    switch (random_.Below(4)) {
      case 0:
        return Distribution::Constant(typical);
      case 1:
        return Distribution::Exponential(typical);
      case 2:
        return Distribution::LogNormal(typical, Unit());
      default:
        return Distribution::Quantiles(
            {{0.1, typical * 0.5}, {0.5, typical}, {0.99, typical * 5}});
    }
  }

 private:
  base::Random random_;
};

config::MethodOptions RandomPolicy(Draw& draw) {
  config::MethodOptions policy;
  policy.idempotent = !draw.OneIn(3);
  if (draw.OneIn(3)) policy.wait_for_ready = draw.OneIn(2);
  if (draw.OneIn(3)) {
    policy.timeout = draw.Time(absl::Milliseconds(20), absl::Seconds(20));
  }
  config::RetryOptions& retry = policy.retry;
  retry.max_attempts = draw.Between(1, 6);
  if (draw.OneIn(2)) {
    retry.codes = retry.codes.With(absl::StatusCode::kResourceExhausted);
  }
  if (draw.OneIn(4)) {
    retry.codes = retry.codes.With(absl::StatusCode::kDeadlineExceeded);
  }
  retry.initial_backoff =
      draw.Time(absl::Milliseconds(1), absl::Milliseconds(200));
  retry.max_backoff = retry.initial_backoff * draw.Scale(1, 20);
  retry.backoff_multiplier = 1 + 2 * draw.Unit();
  if (draw.OneIn(3)) {
    retry.attempt_timeout = draw.Time(absl::Milliseconds(5), absl::Seconds(2));
  }
  return policy;
}

}  // namespace

Scenario RandomScenario(uint64_t seed) {
  Draw draw(seed ^ 0x5eed);
  Scenario scenario;
  Options& options = scenario.options;
  options.seed = seed;
  options.duration = absl::Seconds(draw.Between(2, 20));
  if (!draw.OneIn(3)) options.chaos = draw.Scale(0.001, 0.2);

  config::ServiceOptions& service = scenario.service;
  service.name = "cart";
  service.balancing = draw.OneIn(3) ? config::BalancingPolicy::kRoundRobin
                                    : config::BalancingPolicy::kLeastRequest;
  service.policy = RandomPolicy(draw);
  service.methods["shop.Cart/Get"] = RandomPolicy(draw);
  service.methods["shop.Cart/*"] = RandomPolicy(draw);
  service.retry_budget.ratio = draw.OneIn(4) ? 0 : draw.Scale(0.01, 1);
  service.retry_budget.min_per_second =
      draw.OneIn(4) ? 0 : draw.Scale(0.1, 100);

  Cluster& cluster = scenario.cluster;
  cluster.clients = draw.OneIn(2) ? 1 : draw.Between(2, 5);
  cluster.detection =
      draw.Delay(absl::Microseconds(100), absl::Milliseconds(200));
  cluster.reconnection = draw.Delay(absl::Milliseconds(1), absl::Seconds(2));

  const int servers = draw.OneIn(20)  ? 0
                      : draw.OneIn(4) ? 1
                                      : draw.Between(2, 12);
  const bool weighted = draw.OneIn(4);
  const bool tiered = draw.OneIn(6);
  for (int i = 0; i < servers; ++i) {
    Server server;
    server.address = absl::StrCat("10.0.0.", i + 1, ":80");
    server.latency =
        draw.Delay(absl::Microseconds(200), absl::Milliseconds(50));
    server.network = draw.Delay(absl::Microseconds(20), absl::Milliseconds(5));
    if (draw.OneIn(2)) {
      server.slots = draw.Between(1, 8);
      server.queue = draw.OneIn(3) ? 0 : draw.Between(1, 50);
      server.drops_abandoned = !draw.OneIn(3);
    }
    if (weighted) server.weight = draw.Between(1, 10);
    if (tiered) server.priority = draw.Between(0, 2);
    if (draw.OneIn(6)) server.listed_from = options.duration * draw.Unit();
    if (draw.OneIn(6)) {
      server.listed_until =
          server.listed_from +
          (options.duration - server.listed_from) * draw.Unit();
    }
    cluster.servers.push_back(server);
  }

  const int faults = servers == 0 ? 0 : draw.Between(0, 6);
  for (int i = 0; i < faults; ++i) {
    Fault fault;
    fault.kind = static_cast<Fault::Kind>(draw.Between(0, 4));
    fault.address = cluster.servers[draw.Between(0, servers - 1)].address;
    fault.from = options.duration * draw.Unit();
    if (!draw.OneIn(5)) {
      fault.until =
          fault.from + draw.Time(absl::Milliseconds(10), options.duration);
    }
    fault.factor = draw.Scale(0.5, 100);
    fault.share = draw.OneIn(3) ? 1 : draw.Unit();
    static constexpr absl::StatusCode kCodes[] = {
        absl::StatusCode::kUnavailable, absl::StatusCode::kInternal,
        absl::StatusCode::kResourceExhausted, absl::StatusCode::kNotFound};
    fault.code = kCodes[draw.Between(0, 3)];
    if (draw.OneIn(4)) {
      fault.period = draw.Time(absl::Milliseconds(10), absl::Seconds(2));
    }
    cluster.faults.push_back(fault);
  }

  const int loads = draw.Between(1, 3);
  for (int i = 0; i < loads; ++i) {
    static const char* const kMethods[] = {"/shop.Cart/Get", "/shop.Cart/Add",
                                           "/shop.Other/List"};
    Load load;
    load.method = kMethods[i];
    if (draw.OneIn(3)) {
      load.callers = draw.Between(1, 10);
      load.think = draw.Delay(absl::Milliseconds(10), absl::Seconds(1));
    } else {
      load.rate = draw.Scale(2, 1000) / absl::ToDoubleSeconds(options.duration);
      load.evenly = draw.OneIn(3);
    }
    load.deadline = draw.OneIn(20)
                        ? absl::InfiniteDuration()
                        : draw.Time(absl::Milliseconds(1), absl::Seconds(30));
    load.wait_for_ready = draw.OneIn(4);
    load.replayable = !draw.OneIn(5);
    if (draw.OneIn(3)) {
      load.cancel_share = draw.Unit();
      load.cancel_after = draw.Delay(absl::Microseconds(100), absl::Seconds(1));
    }
    cluster.loads.push_back(load);
  }
  return scenario;
}

}  // namespace mesh::simulation
