#include "mesh/simulation/random_scenario.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

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
  // Off, observing or enforced.
  options::Mode AnyMode() { return static_cast<options::Mode>(Between(0, 2)); }
  // More often enforced.
  options::Mode Mode() {
    return OneIn(2) ? options::Mode::kEnforce : AnyMode();
  }
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

options::MethodOptions RandomPolicy(Draw& draw) {
  options::MethodOptions policy;
  policy.idempotent = !draw.OneIn(3);
  if (draw.OneIn(3)) policy.wait_for_ready = draw.OneIn(2);
  if (draw.OneIn(3)) {
    policy.timeout = draw.Time(absl::Milliseconds(20), absl::Seconds(20));
  }
  options::RetryOptions& retry = policy.retry;
  retry.max_attempts = draw.Between(1, 6);
  if (draw.OneIn(2)) {
    retry.codes = retry.codes.With(absl::StatusCode::kResourceExhausted);
  }
  if (draw.OneIn(4)) {
    retry.codes = retry.codes.With(absl::StatusCode::kDeadlineExceeded);
  }
  retry.initial_backoff =
      draw.Time(absl::Milliseconds(1), absl::Milliseconds(200));
  retry.max_backoff = absl::Trunc(retry.initial_backoff * draw.Scale(1, 20),
                                  absl::Nanoseconds(1));
  retry.backoff_multiplier = 1 + 2 * draw.Unit();
  if (draw.OneIn(3)) {
    retry.attempt_timeout = draw.Time(absl::Milliseconds(5), absl::Seconds(2));
  }
  if (!draw.OneIn(3)) {
    options::HedgingOptions& hedging = policy.hedging;
    hedging.mode = draw.Mode();
    if (draw.OneIn(2)) {
      hedging.delay = draw.Time(absl::Microseconds(100), absl::Seconds(1));
    }
    hedging.max_attempts = draw.Between(2, 5);
  }
  if (draw.OneIn(8)) {
    policy.rate_limit.mode = draw.Mode();
    policy.rate_limit.per_second = draw.Scale(1, 1000);
    policy.rate_limit.burst = draw.Scale(1, 100);
  }
  if (draw.OneIn(6)) {
    options::FaultOptions& fault = policy.fault;
    fault.mode = draw.Mode();
    fault.abort_share = draw.OneIn(2) ? draw.Unit() * 0.5 : 0;
    fault.delay_share = draw.OneIn(2) ? draw.Unit() : 0;
    fault.delay = draw.Time(absl::Milliseconds(1), absl::Seconds(1));
  }
  return policy;
}

options::GuardOptions RandomGuards(Draw& draw) {
  options::GuardOptions guards;
  options::OutlierEjectionOptions& ejection = guards.outlier_ejection;
  ejection.mode = draw.Mode();
  ejection.latency.min_duration =
      draw.Time(absl::Milliseconds(50), absl::Seconds(5));
  ejection.base_ejection_time =
      draw.Time(absl::Milliseconds(50), absl::Seconds(10));
  ejection.max_ejection_percent = draw.Between(1, 100);
  ejection.panic_threshold_percent = draw.Between(0, 100);
  ejection.consecutive_local_failures = draw.Between(0, 10);
  const bool slowness = draw.OneIn(2);
  ejection.latency.factor = draw.Scale(1.1, 10);
  if (!slowness) ejection.latency.factor = 0;
  ejection.latency.min_difference =
      draw.Time(absl::Microseconds(100), absl::Milliseconds(20));

  options::SilenceOptions& silence = guards.silence;
  silence.mode = draw.Mode();
  silence.min_duration =
      draw.Time(absl::Milliseconds(1), absl::Milliseconds(500));
  silence.latency_factor = draw.Scale(1, 10);
  ejection.ramp = draw.OneIn(5)
                      ? absl::ZeroDuration()
                      : draw.Time(absl::Milliseconds(10), absl::Seconds(5));

  options::CapsOptions& caps = guards.caps;
  caps.mode = draw.Mode();
  if (draw.OneIn(3)) caps.max_calls = draw.Between(1, 100);
  if (draw.OneIn(3)) caps.max_calls_per_endpoint = draw.Between(1, 20);
  if (draw.OneIn(3)) caps.max_waiting = draw.Between(1, 20);

  options::BreakerOptions& breaker = guards.breaker;
  breaker.mode = draw.AnyMode();
  breaker.failure_rate = 0.05 + 0.95 * draw.Unit();
  breaker.window = draw.Time(absl::Milliseconds(100), absl::Seconds(20));
  breaker.open_for = draw.Time(absl::Milliseconds(10), absl::Seconds(5));

  guards.throttle.mode = draw.AnyMode();

  options::AdaptiveConcurrencyOptions& limit = guards.adaptive_concurrency;
  limit.mode = draw.AnyMode();
  limit.min_limit = draw.Between(1, 10);
  limit.latency_factor = draw.Scale(1.1, 10);

  if (draw.OneIn(6)) {
    guards.rate_limit.mode = draw.Mode();
    guards.rate_limit.per_second = draw.Scale(1, 1000);
    guards.rate_limit.burst = draw.Scale(1, 100);
  }
  return guards;
}

Server RandomServer(Draw& draw, std::string address) {
  Server server;
  server.address = std::move(address);
  server.latency = draw.Delay(absl::Microseconds(200), absl::Milliseconds(50));
  server.network = draw.Delay(absl::Microseconds(20), absl::Milliseconds(5));
  if (draw.OneIn(2)) {
    server.slots = draw.Between(1, 8);
    server.queue = draw.OneIn(3) ? 0 : draw.Between(1, 50);
    server.drops_abandoned = !draw.OneIn(3);
  }
  return server;
}

options::RetryBudgetOptions RandomBudget(Draw& draw) {
  options::RetryBudgetOptions budget;
  budget.ratio = draw.OneIn(4) ? 0 : draw.Scale(0.01, 1);
  budget.min_per_second = draw.OneIn(4) ? 0 : draw.Scale(0.1, 100);
  return budget;
}

std::vector<Server> RandomServers(Draw& draw, absl::Duration duration) {
  std::vector<Server> all;
  const int servers = draw.OneIn(20)  ? 0
                      : draw.OneIn(4) ? 1
                                      : draw.Between(2, 12);
  const bool weighted = draw.OneIn(4);
  const bool tiered = draw.OneIn(6);
  const bool zoned = draw.OneIn(4);
  for (int i = 0; i < servers; ++i) {
    Server server = RandomServer(draw, absl::StrCat("10.0.0.", i + 1, ":80"));
    if (weighted) server.weight = draw.Between(1, 10);
    if (tiered) server.priority = draw.Between(0, 2);
    if (zoned) server.zone = absl::StrCat("zone-", i % 3);
    if (draw.OneIn(6)) server.listed_from = duration * draw.Unit();
    if (draw.OneIn(6)) {
      server.listed_until =
          server.listed_from + (duration - server.listed_from) * draw.Unit();
    }
    all.push_back(std::move(server));
  }
  return all;
}

// A tier with a service of its own. `number` is in the addresses.
Tier RandomTier(Draw& draw, int number) {
  Tier tier;
  tier.service.name = absl::StrCat("behind-", number);
  tier.service.policy = RandomPolicy(draw);
  tier.service.retry_budget = RandomBudget(draw);
  if (!draw.OneIn(3)) tier.service.guards = RandomGuards(draw);
  if (draw.OneIn(2)) {
    tier.deadline = draw.Time(absl::Milliseconds(1), absl::Seconds(30));
  }
  const int count = draw.Between(1, 5);
  for (int j = 0; j < count; ++j) {
    tier.servers.push_back(
        RandomServer(draw, absl::StrCat("10.0.", number, ".", j + 1, ":80")));
  }
  return tier;
}

Fault RandomFault(Draw& draw, const std::vector<std::string>& addresses,
                  absl::Duration duration) {
  Fault fault;
  fault.kind = static_cast<Fault::Kind>(draw.Between(0, 4));
  fault.address =
      addresses[draw.Between(0, static_cast<int>(addresses.size()) - 1)];
  fault.from = duration * draw.Unit();
  if (!draw.OneIn(5)) {
    fault.until = fault.from + draw.Time(absl::Milliseconds(10), duration);
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
  return fault;
}

// In one scenario of three endpoints have priorities. In half of these a whole
// priority is struck at once. What it draws is its own, so that the other
// scenarios are what they were without it.
void AddPriorities(uint64_t seed, Scenario* scenario) {
  Draw draw(seed ^ 0x9710717);
  std::vector<Server>& servers = scenario->cluster.servers;
  if (!draw.OneIn(3) || servers.size() < 2) return;
  const int last = draw.Between(1, 2);
  for (Server& server : servers) {
    server.priority = static_cast<uint32_t>(draw.Between(0, last));
  }
  if (draw.OneIn(2)) {
    scenario->service.connections.ahead = draw.Between(0, 12);
  }
  if (draw.OneIn(2)) return;
  const auto struck = static_cast<uint32_t>(draw.Between(0, last));
  const Fault fault =
      RandomFault(draw, {servers.front().address}, scenario->options.duration);
  for (const Server& server : servers) {
    if (server.priority != struck) continue;
    scenario->cluster.faults.push_back(fault);
    scenario->cluster.faults.back().address = server.address;
  }
}

// In one scenario of four the connections to one server die, or those to all.
// What it draws is its own, too.
void AddDeadConnections(uint64_t seed, Scenario* scenario) {
  Draw draw(seed ^ 0xdeadc);
  const std::vector<Server>& servers = scenario->cluster.servers;
  if (!draw.OneIn(4) || servers.empty()) return;
  const absl::Duration duration = scenario->options.duration;
  Fault fault;
  fault.kind = Fault::Kind::kDeadConnections;
  fault.from = duration * draw.Unit();
  if (draw.OneIn(3)) {
    fault.period = draw.Time(absl::Milliseconds(50), absl::Seconds(5));
    fault.until = fault.from + draw.Time(absl::Milliseconds(100), duration);
  }
  const bool all = draw.OneIn(2);
  const size_t one = draw.Between(0, static_cast<int>(servers.size()) - 1);
  for (size_t i = 0; i < servers.size(); ++i) {
    if (!all && i != one) continue;
    fault.address = servers[i].address;
    scenario->cluster.faults.push_back(fault);
  }
}

Load RandomLoad(Draw& draw, const char* method, absl::Duration duration) {
  Load load;
  load.method = method;
  if (draw.OneIn(3)) {
    load.callers = draw.Between(1, 10);
    load.think = draw.Delay(absl::Milliseconds(10), absl::Seconds(1));
  } else {
    load.rate = draw.Scale(2, 1000) / absl::ToDoubleSeconds(duration);
    load.evenly = draw.OneIn(3);
  }
  load.deadline = draw.OneIn(20)
                      ? absl::InfiniteDuration()
                      : draw.Time(absl::Milliseconds(1), absl::Seconds(30));
  load.wait_for_ready = draw.OneIn(4);
  load.replayable = !draw.OneIn(5);
  load.stream = draw.OneIn(5);
  if (draw.OneIn(3)) {
    load.cancel_share = draw.Unit();
    load.cancel_after = draw.Delay(absl::Microseconds(100), absl::Seconds(1));
  }
  return load;
}

// Requests of different cost in one method, and tenants that fail.
void AddRequests(Draw& draw, Load* load) {
  const int kinds = draw.Between(2, 3);
  for (int i = 0; i < kinds; ++i) {
    Request request;
    request.weight = draw.Scale(0.1, 10);
    if (draw.OneIn(2)) {
      request.work = draw.Delay(absl::Microseconds(200), absl::Seconds(1));
    }
    if (draw.OneIn(4)) {
      request.fails = draw.OneIn(2) ? 1 : draw.Unit();
      request.code = draw.OneIn(2) ? absl::StatusCode::kInternal
                                   : absl::StatusCode::kResourceExhausted;
      request.fails_after =
          draw.Time(absl::Microseconds(100), absl::Milliseconds(50));
    }
    load->requests.push_back(request);
  }
  load->in_turn = draw.OneIn(2);
}

}  // namespace

Scenario RandomScenario(uint64_t seed) {
  Draw draw(seed ^ 0x5eed);
  Scenario scenario;
  Options& options = scenario.options;
  options.seed = seed;
  options.duration = absl::Seconds(draw.Between(2, 20));
  if (!draw.OneIn(3)) options.chaos = draw.Scale(0.001, 0.2);

  options::ServiceOptions& service = scenario.service;
  service.name = "cart";
  service.balancing = draw.OneIn(3) ? options::BalancingPolicy::kRoundRobin
                                    : options::BalancingPolicy::kLeastRequest;
  service.policy = RandomPolicy(draw);
  service.methods["shop.Cart/Get"] = RandomPolicy(draw);
  service.methods["shop.Cart/*"] = RandomPolicy(draw);
  service.retry_budget = RandomBudget(draw);
  // Else as shipped.
  if (!draw.OneIn(3)) service.guards = RandomGuards(draw);

  Cluster& cluster = scenario.cluster;
  cluster.clients = draw.OneIn(2) ? 1 : draw.Between(2, 5);
  cluster.detection =
      draw.Delay(absl::Microseconds(100), absl::Milliseconds(200));
  cluster.reconnection = draw.Delay(absl::Milliseconds(1), absl::Seconds(2));

  cluster.servers = RandomServers(draw, options.duration);
  std::vector<std::string> addresses;
  for (const Server& server : cluster.servers) {
    addresses.push_back(server.address);
  }
  const int behind = draw.OneIn(5) ? draw.Between(1, 2) : 0;
  cluster.context_crosses_tiers = !draw.OneIn(4);
  for (int i = 0; i < behind; ++i) {
    Tier tier = RandomTier(draw, i + 1);
    for (const Server& server : tier.servers) {
      addresses.push_back(server.address);
    }
    cluster.behind.push_back(std::move(tier));
  }

  const int faults = addresses.empty() ? 0 : draw.Between(0, 6);
  for (int i = 0; i < faults; ++i) {
    cluster.faults.push_back(RandomFault(draw, addresses, options.duration));
  }

  static const char* const kMethods[] = {"/shop.Cart/Get", "/shop.Cart/Add",
                                         "/shop.Other/List"};
  const int loads = draw.Between(1, 3);
  for (int i = 0; i < loads; ++i) {
    cluster.loads.push_back(RandomLoad(draw, kMethods[i], options.duration));
  }
  // Drawn last: the rest of a seed stays what it was.
  for (Load& load : cluster.loads) {
    if (draw.OneIn(3)) AddRequests(draw, &load);
  }
  for (Fault& fault : cluster.faults) {
    if (draw.OneIn(3)) {
      fault.after = draw.Time(absl::Microseconds(100), absl::Milliseconds(50));
    }
  }
  AddPriorities(seed, &scenario);
  AddDeadConnections(seed, &scenario);
  return scenario;
}

Scenario RandomScenarioWithCapacity(uint64_t seed) {
  Draw draw(seed ^ 0xca9ac17);
  Scenario scenario;
  Options& options = scenario.options;
  options.seed = seed;
  options.duration = absl::Seconds(draw.Between(10, 30));

  options::ServiceOptions& service = scenario.service;
  service.name = "cart";
  service.policy.idempotent = true;
  service.policy.hedging.mode = options::Mode::kEnforce;
  if (draw.OneIn(3)) service.balancing = options::BalancingPolicy::kRoundRobin;

  Cluster& cluster = scenario.cluster;
  cluster.clients = draw.OneIn(2) ? 1 : draw.Between(2, 4);
  const int servers = draw.Between(1, 10);
  const absl::Duration latency =
      draw.Time(absl::Milliseconds(2), absl::Milliseconds(100));
  const int slots = draw.Between(1, 8);
  const bool drops = !draw.OneIn(3);
  for (int i = 0; i < servers; ++i) {
    Server server;
    server.address = absl::StrCat("10.0.0.", i + 1, ":80");
    switch (draw.Between(0, 2)) {
      case 0:
        server.latency = Distribution::Constant(latency);
        break;
      case 1:
        server.latency = Distribution::Exponential(latency);
        break;
      case 2:  // One in a hundred takes ten times as long.
        server.latency = Distribution::Quantiles(
            {{0, latency * 0.9}, {0.99, latency}, {1, latency * 10}});
        break;
    }
    server.slots = slots;
    server.queue = 100'000;
    server.drops_abandoned = drops;
    cluster.servers.push_back(server);
  }

  const int faulty = draw.Between(0, (servers - 1) / 2);
  for (int i = 0; i < faulty; ++i) {
    Fault fault;
    fault.kind = static_cast<Fault::Kind>(draw.Between(0, 4));
    fault.address = cluster.servers[i].address;
    fault.from = options.duration * draw.Unit();
    fault.until =
        fault.from + draw.Time(absl::Milliseconds(500), options.duration);
    fault.factor = draw.Scale(2, 50);
    fault.share = draw.OneIn(2) ? 1 : draw.Unit();
    if (draw.OneIn(4)) {
      fault.period = draw.Time(absl::Milliseconds(100), absl::Seconds(5));
    }
    cluster.faults.push_back(fault);
  }
  // The mean of the exponential and the heavy-tailed latencies is at most 1.1
  // times `latency`.
  const double capacity =
      (servers - faulty) * slots / (1.1 * absl::ToDoubleSeconds(latency));
  const double headroom = draw.OneIn(2) ? 1.2 : draw.Scale(1.2, 4);
  Load load = Load::Open("/shop.Cart/Get", capacity / headroom);
  load.deadline = latency * draw.Scale(20, 200);
  cluster.loads = {load};
  return scenario;
}

Scenario RandomScenarioOfAlikes(uint64_t seed) {
  Scenario scenario = RandomScenario(seed);
  scenario.service.guards.outlier_ejection = {};
  scenario.service.guards.silence = {};
  Draw draw(seed ^ 0xa11c3);
  Cluster& cluster = scenario.cluster;
  cluster.faults.clear();
  cluster.behind.clear();
  Server server = RandomServer(draw, "");
  server.slots = 0;
  const int servers = draw.OneIn(3) ? 2 : draw.Between(3, 10);
  cluster.servers.assign(servers, server);
  for (int i = 0; i < servers; ++i) {
    cluster.servers[i].address = absl::StrCat("10.0.0.", i + 1, ":80");
  }
  return scenario;
}

Scenario WithoutRetries(Scenario scenario) {
  scenario.service.policy.retry.max_attempts = 1;
  scenario.service.policy.hedging.mode = options::Mode::kOff;
  return scenario;
}

}  // namespace mesh::simulation
