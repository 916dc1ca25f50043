#include "mesh/simulation/simulation.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/simulation/random_scenario.h"

namespace mesh::simulation {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr absl::Duration kMs = absl::Milliseconds(1);

// Three servers that answer in about 5 ms, called 200 times a second.
Cluster Three() {
  Cluster cluster;
  for (const char* name : {"a", "b", "c"}) {
    Server server;
    server.address = name;
    cluster.servers.push_back(server);
  }
  cluster.loads = {Load::Open("/shop.Cart/Get", 200)};
  cluster.loads[0].deadline = absl::Seconds(2);
  return cluster;
}

options::ServiceOptions Idempotent() {
  options::ServiceOptions service;
  service.name = "cart";
  service.policy.idempotent = true;
  return service;
}

options::ServiceOptions WithoutHealth(options::ServiceOptions service) {
  service.guards.outlier_ejection.mode = options::Mode::kOff;
  service.guards.black_hole.mode = options::Mode::kOff;
  return service;
}

Options For(absl::Duration duration, uint64_t seed = 1) {
  Options options;
  options.duration = duration;
  options.seed = seed;
  return options;
}

Result RunOk(const options::ServiceOptions& service, const Cluster& cluster,
             const Options& options) {
  absl::StatusOr<Result> result = Simulate(service, cluster, options);
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) return Result();
  EXPECT_THAT(result->violations, IsEmpty());
  return *std::move(result);
}

TEST(SimulationTest, AWellClusterAnswersEveryCallAtItsLatency) {
  const Result result = RunOk(Idempotent(), Three(), For(absl::Seconds(60)));
  EXPECT_NEAR(result.calls, 12'000, 400);
  EXPECT_EQ(result.ok(), result.calls);
  EXPECT_EQ(result.attempts, result.calls);
  EXPECT_GT(result.latency.Quantile(0.5), 5 * kMs);
  EXPECT_LT(result.latency.Quantile(0.5), 6 * kMs);
  EXPECT_GT(result.latency.Quantile(0.99), 15 * kMs);
  EXPECT_LT(result.latency.Quantile(0.99), 18.5 * kMs);
  for (const Result::Endpoint& endpoint : result.endpoints) {
    EXPECT_NEAR(endpoint.attempts, result.attempts / 3.0, 400);
  }
  ASSERT_GE(result.steps.size(), 60u);
  EXPECT_NEAR(result.steps[30].ok, 200, 60);
}

TEST(SimulationTest, TheSameSeedGivesTheSameRunAnotherOneAnother) {
  const Scenario scenario = RandomScenario(17);
  Options options = scenario.options;
  const Result first = RunOk(scenario.service, scenario.cluster, options);
  const Result second = RunOk(scenario.service, scenario.cluster, options);
  EXPECT_EQ(first.hash, second.hash);
  EXPECT_EQ(first.events, second.events);
  options.seed = 18;
  EXPECT_NE(RunOk(scenario.service, scenario.cluster, options).hash,
            first.hash);
}

TEST(SimulationTest, AKilledServerFailsNoCallThatMayBeRetried) {
  Cluster cluster = Three();
  cluster.loads[0].rate = 2000;
  cluster.detection = Distribution::Constant(5 * kMs);
  cluster.faults = {Fault::Down("b", absl::Seconds(10), absl::Seconds(20))};
  // Five failures at once would eject it, and nothing would be refused.
  const Result result =
      RunOk(WithoutHealth(Idempotent()), cluster, For(absl::Seconds(30)));
  EXPECT_EQ(result.ok(), result.calls);
  EXPECT_GT(result.retries, 0) << "what it had when it died";
  EXPECT_GT(result.transparent_retries, 0) << "what it refused";
  EXPECT_EQ(result.steps[15].attempts[1], 0) << "once that was noticed";
  EXPECT_GT(result.steps[25].attempts[1], 30) << "and it came back";
}

TEST(SimulationTest, WhatMayNotBeExecutedTwiceFailsOnlyWhereItWasSeen) {
  options::ServiceOptions service = Idempotent();
  service.policy.idempotent = false;
  Cluster cluster = Three();
  cluster.loads[0].rate = 2000;
  cluster.detection = Distribution::Constant(5 * kMs);
  cluster.faults = {Fault::Down("b", absl::Seconds(10), absl::Seconds(20))};
  const Result killed = RunOk(service, cluster, For(absl::Seconds(30)));
  EXPECT_GT(killed.ended[14], 0);
  EXPECT_LT(killed.ended[14], 20);
  EXPECT_EQ(killed.retries, 0);

  cluster.faults = {Fault::Draining("b", absl::Seconds(10), absl::Seconds(20))};
  const Result drained = RunOk(service, cluster, For(absl::Seconds(30)));
  EXPECT_EQ(drained.ok(), drained.calls) << "a server that drains loses none";
  EXPECT_GT(drained.transparent_retries, 0);
}

TEST(SimulationTest, ABlackHoleIsEscapedByTheAttemptTimeout) {
  // No suspicion and no ejection, and a budget for all that it swallows.
  options::ServiceOptions service = WithoutHealth(Idempotent());
  service.retry_budget.ratio = 0.5;
  Cluster cluster = Three();
  cluster.faults = {
      Fault::BlackHole("b", absl::Seconds(10), absl::Seconds(20))};
  const Result without = RunOk(service, cluster, For(absl::Seconds(30)));
  EXPECT_GT(without.ended[4], 0) << "DEADLINE_EXCEEDED";
  service.policy.retry.attempt_timeout = 100 * kMs;
  const Result with = RunOk(service, cluster, For(absl::Seconds(30)));
  EXPECT_EQ(with.ok(), with.calls);
  EXPECT_LT(with.latency.Quantile(0.999), 150 * kMs);
}

TEST(SimulationTest, LeastRequestTurnsFromASlowServerRoundRobinDoesNot) {
  Cluster cluster = Three();
  cluster.loads[0].rate = 1000;
  cluster.faults = {
      Fault::Slow("c", absl::ZeroDuration(), absl::InfiniteDuration(), 20)};
  options::ServiceOptions service = WithoutHealth(Idempotent());
  const Result least = RunOk(service, cluster, For(absl::Seconds(20)));
  EXPECT_LT(least.endpoints[2].attempts, 0.15 * least.attempts);
  service.balancing = options::BalancingPolicy::kRoundRobin;
  const Result turns = RunOk(service, cluster, For(absl::Seconds(20)));
  EXPECT_NEAR(turns.endpoints[2].attempts, turns.attempts / 3.0, 10);
  EXPECT_GT(turns.latency.Quantile(0.9), 3 * least.latency.Quantile(0.9));
}

TEST(SimulationTest, TheBudgetKeepsRetriesFromMultiplyingAnOutage) {
  Cluster cluster = Three();
  cluster.loads[0].rate = 1000;
  for (const char* name : {"a", "b", "c"}) {
    cluster.faults.push_back(Fault::Errors(name, absl::Seconds(10),
                                           absl::Seconds(40), 1,
                                           absl::StatusCode::kUnavailable));
  }
  options::ServiceOptions service = Idempotent();
  service.retry_budget.ratio = 0.1;
  service.retry_budget.min_per_second = 10;
  const Result bounded = RunOk(service, cluster, For(absl::Seconds(50)));
  uint64_t attempts = 0;
  for (int second = 20; second < 30; ++second) {
    for (uint32_t each : bounded.steps[second].attempts) attempts += each;
  }
  EXPECT_NEAR(attempts, 11'100, 400) << "a tenth, and ten a second";
  EXPECT_GT(bounded.denied_by_budget, 20'000);

  service.retry_budget.ratio = 1e6;
  const Result unbounded = RunOk(service, cluster, For(absl::Seconds(50)));
  attempts = 0;
  uint64_t started = 0;
  for (int second = 20; second < 30; ++second) {
    started += unbounded.steps[second].started;
    for (uint32_t each : unbounded.steps[second].attempts) attempts += each;
  }
  EXPECT_NEAR(attempts, 3.0 * started, 0.01 * attempts)
      << "what it keeps us from";
}

TEST(SimulationTest, AServerServesItsSlotsQueuesAndRefusesTheRest) {
  Cluster cluster;
  Server server;
  server.address = "a";
  server.latency = Distribution::Constant(100 * kMs);
  server.network = Distribution();
  server.slots = 2;
  server.queue = 3;
  cluster.servers = {server};
  cluster.loads = {Load::Closed("/shop.Cart/Get", 10)};
  cluster.loads[0].think = Distribution::Constant(absl::Hours(1));
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(1)));
  EXPECT_EQ(result.calls, 10);
  EXPECT_EQ(result.ok(), 5);
  EXPECT_EQ(result.ended[8], 5) << "RESOURCE_EXHAUSTED";
  EXPECT_EQ(result.latency.Max(), 300 * kMs) << "the third round";
}

TEST(SimulationTest, AbandonedWorkIsDroppedOrDoneForNobody) {
  Cluster cluster;
  Server server;
  server.address = "a";
  server.latency = Distribution::Constant(100 * kMs);
  server.slots = 1;
  cluster.servers = {server};
  // Half of the calls are given up soon. Without them there is capacity for
  // all.
  cluster.loads = {Load::Open("/shop.Cart/Get", 15)};
  cluster.loads[0].cancel_share = 0.5;
  cluster.loads[0].cancel_after = Distribution::Constant(10 * kMs);
  const Result drops = RunOk(Idempotent(), cluster, For(absl::Seconds(60)));
  cluster.servers[0].drops_abandoned = false;
  const Result serves = RunOk(Idempotent(), cluster, For(absl::Seconds(60)));
  EXPECT_EQ(drops.ended[4], 0) << "DEADLINE_EXCEEDED";
  EXPECT_LT(drops.latency.Quantile(0.5), absl::Seconds(1));
  EXPECT_GT(serves.latency.Quantile(0.5), absl::Seconds(2));
  EXPECT_GT(serves.endpoints[0].wasted, 200);
}

TEST(SimulationTest, AClosedLoopCallsAgainWhenItsCallHasEnded) {
  Cluster cluster = Three();
  cluster.loads = {Load::Closed("/shop.Cart/Get", 4)};
  for (Server& server : cluster.servers) {
    server.latency = Distribution::Constant(9.5 * kMs);
  }
  cluster.loads[0].think = Distribution::Constant(10 * kMs);
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(10)));
  EXPECT_EQ(result.calls, 4 * 500);
}

TEST(SimulationTest, MembersComeAndGoWithoutLoss) {
  Cluster cluster = Three();
  cluster.servers[1].listed_until = absl::Seconds(10);
  cluster.servers[2].listed_from = absl::Seconds(5);
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(20)));
  EXPECT_EQ(result.ok(), result.calls);
  EXPECT_EQ(result.steps[2].attempts[2], 0);
  EXPECT_GT(result.steps[8].attempts[2], 30);
  EXPECT_EQ(result.steps[12].attempts[1], 0);
}

TEST(SimulationTest, WithoutEndpointsACallFailsOrWaitsAsItWants) {
  Cluster cluster;
  cluster.loads = {Load::Open("/shop.Cart/Get", 10),
                   Load::Open("/shop.Cart/Wait", 10)};
  cluster.loads[1].wait_for_ready = true;
  cluster.loads[1].deadline = absl::Seconds(1);
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(10)));
  EXPECT_NEAR(result.ended[14], 100, 40);
  EXPECT_NEAR(result.ended[4], 100, 40);
  EXPECT_EQ(result.attempts, 0);
}

TEST(SimulationTest, AFlappingServerIsThereHalfOfTheTime) {
  Cluster cluster = Three();
  cluster.faults = {Fault::Down("a", absl::Seconds(10), absl::Seconds(50))};
  cluster.faults[0].period = absl::Seconds(4);
  cluster.reconnection = Distribution::Constant(10 * kMs);
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(60)));
  EXPECT_EQ(result.ok(), result.calls);
  EXPECT_EQ(result.steps[11].attempts[0], 0);
  EXPECT_GT(result.steps[13].attempts[0], 30);
  EXPECT_EQ(result.steps[15].attempts[0], 0);
  EXPECT_GT(result.steps[55].attempts[0], 30);
}

TEST(SimulationTest, CancelledCallsEndCancelled) {
  Cluster cluster = Three();
  cluster.loads[0].cancel_share = 0.25;
  cluster.loads[0].cancel_after = Distribution::Constant(kMs / 10);
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(60)));
  EXPECT_NEAR(result.ended[1], result.calls / 4.0, 250);
}

TEST(SimulationTest, CallsWithoutDeadlineThatNobodyAnswersAreCounted) {
  Cluster cluster = Three();
  cluster.loads[0].deadline = absl::InfiniteDuration();
  cluster.faults = {
      Fault::BlackHole("a", absl::Seconds(1), absl::InfiniteDuration())};
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(5)));
  EXPECT_GT(result.hanging, 0);
  EXPECT_EQ(result.hanging, result.ended[1]);
}

TEST(SimulationTest, EachClientHasItsOwnView) {
  Cluster cluster = Three();
  cluster.clients = 20;
  cluster.loads[0].evenly = true;
  cluster.faults = {Fault::Down("b", absl::Seconds(2), absl::Seconds(4))};
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(10)));
  EXPECT_EQ(result.calls, 2000);
  EXPECT_EQ(result.ok(), result.calls);
}

TEST(SimulationTest, AHedgeWinsWhereTheFirstAttemptIsSlow) {
  Cluster cluster = Three();
  cluster.loads[0].rate = 1000;
  for (Server& server : cluster.servers) {
    // One answer in a hundred takes a second.
    server.latency = Distribution::Quantiles(
        {{0, 4 * kMs}, {0.99, 6 * kMs}, {0.9901, 1000 * kMs}});
  }
  options::ServiceOptions service = WithoutHealth(Idempotent());
  const Result without = RunOk(service, cluster, For(absl::Seconds(20)));
  EXPECT_GT(without.latency.Quantile(0.995), 900 * kMs);
  service.policy.hedging.mode = options::Mode::kEnforce;
  const Result with = RunOk(service, cluster, For(absl::Seconds(20)));
  EXPECT_LT(with.latency.Quantile(0.995), 20 * kMs);
  EXPECT_GT(with.hedges, 150);
  EXPECT_LT(with.hedges, 0.03 * with.calls);
  EXPECT_EQ(with.attempts, with.calls + with.hedges);
  EXPECT_EQ(with.tiers[0].hedges, with.hedges);

  service.policy.hedging.mode = options::Mode::kObserve;
  const Result observed = RunOk(service, cluster, For(absl::Seconds(20)));
  EXPECT_EQ(observed.hedges, 0);
  EXPECT_EQ(observed.attempts, observed.calls);
  EXPECT_GT(observed.unmade_hedges, 150);
}

TEST(SimulationTest, ALosingHedgeGivesUpItsPlaceInTheQueue) {
  Cluster cluster;
  for (const char* name : {"a", "b"}) {
    Server server;
    server.address = name;
    server.slots = 1;
    server.latency = Distribution::Constant(100 * kMs);
    server.network = Distribution();
    cluster.servers.push_back(server);
  }
  // Four calls at once, each with an attempt at either server.
  cluster.loads = {Load::Closed("/shop.Cart/Get", 4)};
  cluster.loads[0].think = Distribution::Constant(absl::Hours(1));
  options::ServiceOptions service = WithoutHealth(Idempotent());
  service.policy.hedging.mode = options::Mode::kEnforce;
  service.policy.hedging.delay = kMs;
  const Result drops = RunOk(service, cluster, For(absl::Seconds(1)));
  EXPECT_EQ(drops.ok(), 4);
  EXPECT_EQ(drops.hedges, 4);
  EXPECT_EQ(drops.latency.Max(), 200 * kMs) << "as if there were no hedges";
  const auto executed = [](const Result& result) {
    return result.endpoints[0].executed + result.endpoints[1].executed;
  };
  EXPECT_LT(executed(drops), 6);
  for (Server& server : cluster.servers) server.drops_abandoned = false;
  EXPECT_EQ(executed(RunOk(service, cluster, For(absl::Seconds(1)))), 8);
}

TEST(SimulationTest, AStreamIsRetriedBeforeItsFirstMessageOnly) {
  Cluster cluster = Three();
  cluster.loads[0].rate = 2000;
  cluster.loads[0].stream = true;
  for (Server& server : cluster.servers) {
    server.latency = Distribution::Constant(100 * kMs);
  }
  cluster.detection = Distribution::Constant(kMs);
  cluster.faults = {Fault::Down("b", absl::Seconds(2), absl::Seconds(4))};
  options::ServiceOptions service = Idempotent();
  service.retry_budget.ratio = 1;
  const Result result = RunOk(service, cluster, For(absl::Seconds(6)));
  // About 67 ran on it; half of them were committed.
  EXPECT_NEAR(result.ended[14], 33, 15);
  EXPECT_NEAR(result.retries, 33, 15);
  EXPECT_EQ(result.ended[14] + result.ok(), result.calls);
}

TEST(SimulationTest, InjectedFaultsFailAndDelayTheirShare) {
  options::ServiceOptions service = Idempotent();
  service.policy.fault.mode = options::Mode::kEnforce;
  service.policy.fault.abort_share = 0.1;
  service.policy.fault.abort_code = absl::StatusCode::kInternal;
  service.policy.fault.delay_share = 0.1;
  service.policy.fault.delay = 500 * kMs;
  const Result result = RunOk(service, Three(), For(absl::Seconds(60)));
  EXPECT_NEAR(result.ended[13], 0.1 * result.calls, 150);
  EXPECT_LT(result.latency.Quantile(0.85), 20 * kMs);
  EXPECT_GT(result.latency.Quantile(0.95), 500 * kMs);
  const auto fault = static_cast<size_t>(options::Guard::kFault);
  EXPECT_GT(result.refusals[fault].enforced, 0.15 * result.calls);
  EXPECT_EQ(result.refusals[fault].observed, 0u);

  service.policy.fault.mode = options::Mode::kObserve;
  const Result observed = RunOk(service, Three(), For(absl::Seconds(60)));
  EXPECT_EQ(observed.ok(), observed.calls);
  EXPECT_EQ(observed.refusals[fault].enforced, 0u);
  EXPECT_GT(observed.refusals[fault].observed, 0.15 * observed.calls);
}

// The share of the attempts of [from, until) that went to `endpoint`.
double ShareOf(const Result& result, size_t endpoint, absl::Duration from,
               absl::Duration until) {
  uint64_t its = 0;
  uint64_t all = 0;
  for (size_t i = 0; i < result.steps.size(); ++i) {
    if (result.step * i < from || result.step * i >= until) continue;
    const std::vector<uint32_t>& attempts = result.steps[i].attempts;
    for (size_t e = 0; e < attempts.size(); ++e) {
      all += attempts[e];
      if (e == endpoint) its += attempts[e];
    }
  }
  return all == 0 ? 0 : static_cast<double>(its) / static_cast<double>(all);
}

Options InSmallSteps(absl::Duration duration) {
  Options options = For(duration);
  options.step = 100 * kMs;
  return options;
}

TEST(SimulationTest, TrafficLeavesASilentServerAndReturnsWithItsProbe) {
  Cluster cluster = Three();
  cluster.loads[0].rate = 500;
  cluster.loads[0].deadline = absl::Seconds(1);
  cluster.faults = {
      Fault::BlackHole("b", absl::Seconds(10), absl::Seconds(20))};
  const Result result =
      RunOk(Idempotent(), cluster, InSmallSteps(absl::Seconds(30)));
  EXPECT_LE(result.calls - result.ok(), 25) << "what it had swallowed";
  EXPECT_EQ(result.suspicions().enforced, 1);
  EXPECT_EQ(result.probes, 1);
  EXPECT_EQ(ShareOf(result, 1, absl::Seconds(10.2), absl::Seconds(20)), 0);
  EXPECT_GT(ShareOf(result, 1, absl::Seconds(21), absl::Seconds(21.5)), 0.166)
      << "half of its share";
  EXPECT_GT(ShareOf(result, 1, absl::Seconds(22), absl::Seconds(30)), 0.3);

  options::ServiceOptions observing = Idempotent();
  observing.guards.black_hole.mode = options::Mode::kObserve;
  observing.guards.outlier_ejection.mode = options::Mode::kOff;
  const Result observed =
      RunOk(observing, cluster, InSmallSteps(absl::Seconds(30)));
  EXPECT_GT(observed.suspicions().observed, 0);
  EXPECT_EQ(observed.suspicions().enforced, 0);
  EXPECT_EQ(observed.probes, 0);
  EXPECT_GT(observed.calls - observed.ok(), result.calls - result.ok());
}

TEST(SimulationTest, ASlowServerIsEjectedAndComesBack) {
  Cluster cluster = Three();
  cluster.loads[0].rate = 500;
  cluster.faults = {Fault::Slow("b", absl::Seconds(10), absl::Seconds(20), 20)};
  options::ServiceOptions service = Idempotent();
  service.guards.outlier_ejection.base_ejection_time = absl::Seconds(5);
  const Result result =
      RunOk(service, cluster, InSmallSteps(absl::Seconds(60)));
  EXPECT_EQ(result.ok(), result.calls);
  EXPECT_GE(result.ejections().enforced, 2) << "it was still slow at 16 s";
  EXPECT_LE(ShareOf(result, 1, absl::Seconds(12), absl::Seconds(20)), 0.01);
  EXPECT_GT(ShareOf(result, 1, absl::Seconds(45), absl::Seconds(60)), 0.3);
}

TEST(SimulationTest, AServerThatFailsIsEjectedOneCallAtATimeFindsItWell) {
  Cluster cluster = Three();
  cluster.loads[0].rate = 500;
  cluster.faults = {Fault::Errors("b", absl::Seconds(10), absl::Seconds(12), 1,
                                  absl::StatusCode::kUnavailable)};
  options::ServiceOptions service = Idempotent();
  service.guards.outlier_ejection.base_ejection_time = absl::Seconds(5);
  const Result result =
      RunOk(service, cluster, InSmallSteps(absl::Seconds(30)));
  EXPECT_EQ(result.ejections().enforced, 1);
  EXPECT_LT(result.retries, 30);
  EXPECT_EQ(result.ok(), result.calls);
  EXPECT_EQ(ShareOf(result, 1, absl::Seconds(11), absl::Seconds(15)), 0);
  EXPECT_GT(ShareOf(result, 1, absl::Seconds(20), absl::Seconds(30)), 0.3);
}

TEST(SimulationTest, WhenAllAreIllAllAreUsed) {
  Cluster cluster = Three();
  cluster.loads[0].rate = 500;
  for (const char* name : {"a", "b", "c"}) {
    cluster.faults.push_back(Fault::Errors(name, absl::Seconds(10),
                                           absl::Seconds(20), 0.9,
                                           absl::StatusCode::kUnavailable));
  }
  options::ServiceOptions service = Idempotent();
  service.guards.outlier_ejection.max_ejection_percent = 100;
  const Result result = RunOk(service, cluster, For(absl::Seconds(30)));
  for (size_t e = 0; e < 3; ++e) {
    EXPECT_GT(ShareOf(result, e, absl::Seconds(12), absl::Seconds(20)), 0.2);
  }
  EXPECT_EQ(result.steps[28].succeeded, result.steps[28].started);
}

TEST(SimulationTest, AHedgedTrialOfASlowServerIsATrialThatItFails) {
  Cluster cluster = Three();
  cluster.loads[0].rate = 2000;
  cluster.faults = {Fault::Slow("b", absl::Seconds(10), absl::Seconds(20), 20)};
  options::ServiceOptions service = Idempotent();
  service.policy.hedging.mode = options::Mode::kEnforce;
  const Result result =
      RunOk(service, cluster, InSmallSteps(absl::Seconds(20)));
  EXPECT_EQ(result.ok(), result.calls);
  EXPECT_GE(result.ejections().enforced, 1);
  EXPECT_LE(ShareOf(result, 1, absl::Seconds(12), absl::Seconds(20)), 0.002);
}

// Servers at five sixths of what they can do, whose queues make them now and
// then slower than their peers: whom that is held against, its load makes the
// others slower still, and without end.
TEST(SimulationTest, AnEjectionDoesNotDrownTheOthers) {
  for (uint64_t seed : {368, 548, 587}) {
    const Scenario scenario = RandomScenarioWithCapacity(seed);
    const Result result =
        RunOk(scenario.service, scenario.cluster, scenario.options);
    EXPECT_GT(result.ok(), 0.99 * result.calls) << seed;
  }
}

TEST(SimulationTest, AdaptiveConcurrencyKeepsAServerAtWorkUnderTwiceItsLoad) {
  Cluster cluster;
  Server server;
  server.address = "a";
  server.latency = Distribution::Constant(20 * kMs);
  server.slots = 8;  // 400 calls a second.
  server.drops_abandoned = false;
  cluster.servers = {server};
  cluster.loads = {Load::Open("/shop.Cart/Get", 800)};
  cluster.loads[0].deadline = 200 * kMs;
  options::ServiceOptions service = Idempotent();
  const Result without = RunOk(service, cluster, For(absl::Seconds(30)));
  service.guards.adaptive_concurrency.mode = options::Mode::kEnforce;
  const Result with = RunOk(service, cluster, For(absl::Seconds(30)));
  EXPECT_LT(without.ok(), 0.2 * 400 * 30) << "it works for nobody";
  EXPECT_GT(with.ok(), 0.9 * 400 * 30);
  const auto guard = static_cast<size_t>(options::Guard::kAdaptiveConcurrency);
  EXPECT_GT(without.refusals[guard].observed, 0u);
  EXPECT_GT(with.refusals[guard].enforced, 5'000u);
}

// A front that calls a middle that calls a leaf: one server each.
Cluster Chain() {
  Cluster cluster;
  cluster.behind.resize(2);
  for (int tier = 0; tier < 3; ++tier) {
    Server server;
    server.address = absl::StrCat("tier-", tier);
    server.latency = Distribution::Constant(10 * kMs);
    server.network = Distribution::Constant(2 * kMs);
    if (tier == 0) {
      cluster.servers = {server};
    } else {
      cluster.behind[tier - 1].servers = {server};
      cluster.behind[tier - 1].service = Idempotent();
    }
  }
  cluster.loads = {Load::Open("/shop.Cart/Get", 100)};
  return cluster;
}

TEST(SimulationTest, ATierAnswersWhenTheTierBehindHasAnswered) {
  const Result result = RunOk(Idempotent(), Chain(), For(absl::Seconds(20)));
  EXPECT_EQ(result.ok(), result.calls);
  EXPECT_EQ(result.latency.Max(), 36 * kMs) << "three of 10 ms, three of 2 ms";
  ASSERT_EQ(result.tiers.size(), 3u);
  for (const Result::Tier& tier : result.tiers) {
    EXPECT_EQ(tier.calls, result.calls);
    EXPECT_EQ(tier.attempts, result.calls);
    EXPECT_EQ(tier.ok, result.calls);
  }
  EXPECT_EQ(result.attempts, 3 * result.calls);
}

TEST(SimulationTest, ABusySlotWaitsForTheTierBehind) {
  Cluster cluster = Chain();
  cluster.behind.pop_back();
  cluster.servers[0].slots = 1;
  cluster.servers[0].latency = Distribution();
  cluster.loads = {Load::Closed("/shop.Cart/Get", 3)};
  cluster.loads[0].think = Distribution::Constant(absl::Hours(1));
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(1)));
  EXPECT_EQ(result.latency.Max(), 3 * (10 + 2) * kMs + 2 * kMs);
}

TEST(SimulationTest, TiersInheritTheDeadline) {
  Cluster cluster = Chain();
  cluster.loads[0].deadline = 100 * kMs;
  cluster.faults = {Fault::BlackHole("tier-2", absl::ZeroDuration(),
                                     absl::InfiniteDuration())};
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(5)));
  EXPECT_EQ(result.ended[4], result.calls);
  EXPECT_LE(result.simulated, absl::Seconds(5) + 110 * kMs);
  // Without it the middle waits for the leaf for ever.
  cluster.context_crosses_tiers = false;
  const Result without = RunOk(Idempotent(), cluster, For(absl::Seconds(5)));
  EXPECT_GT(without.hanging, 400);
}

TEST(SimulationTest, WhoHasRetriedInVainIsNotRetriedByItsCaller) {
  Cluster cluster = Chain();
  cluster.faults = {Fault::Errors("tier-2", absl::ZeroDuration(),
                                  absl::InfiniteDuration(), 1,
                                  absl::StatusCode::kUnavailable)};
  options::ServiceOptions service = Idempotent();
  service.retry_budget.ratio = 1e6;
  for (Tier& tier : cluster.behind) tier.service.retry_budget.ratio = 1e6;
  const Result linked = RunOk(service, cluster, For(absl::Seconds(5)));
  EXPECT_EQ(linked.ended[14], linked.calls);
  EXPECT_EQ(linked.tiers[0].attempts, linked.calls);
  EXPECT_EQ(linked.tiers[1].attempts, linked.calls);
  EXPECT_EQ(linked.tiers[2].attempts, 3 * linked.calls);
  cluster.context_crosses_tiers = false;
  const Result naive = RunOk(service, cluster, For(absl::Seconds(5)));
  EXPECT_EQ(naive.tiers[2].attempts, 27 * naive.calls);
  EXPECT_NEAR(naive.Amplification(absl::ZeroDuration(), absl::Seconds(10), 2),
              27, 0.1);
}

TEST(SimulationTest, ACrashInTheMiddleLosesNothingButTheCalls) {
  Cluster cluster = Chain();
  cluster.servers.push_back(cluster.servers[0]);
  cluster.servers[1].address = "tier-0b";
  cluster.faults = {Fault::Down("tier-0", absl::Seconds(2), absl::Seconds(3)),
                    Fault::Down("tier-1", absl::Seconds(4), absl::Seconds(5))};
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(8)));
  EXPECT_GT(result.ok(), 0.8 * result.calls);
  EXPECT_GT(result.steps[6].ok, 80);
}

TEST(SimulationTest, RefusesADescriptionThatMakesNoSense) {
  const auto error = [](auto change) {
    Cluster cluster = Three();
    Options options;
    change(cluster, options);
    return std::string(
        Simulate(Idempotent(), cluster, options).status().message());
  };
  EXPECT_THAT(error([](Cluster& c, Options&) { c.servers[2].address = "a"; }),
              HasSubstr("servers[2].address must be there and unique, is 'a'"));
  EXPECT_THAT(
      error([](Cluster& c, Options&) {
        c.faults = {Fault::Down("x", absl::ZeroDuration(), absl::Seconds(1))};
      }),
      HasSubstr("faults[0].address 'x' is no server's"));
  EXPECT_THAT(error([](Cluster& c, Options&) { c.loads[0].rate = -1; }),
              HasSubstr("loads[0].rate must be in 0..1e9, is -1"));
  EXPECT_THAT(error([](Cluster& c, Options&) { c.loads[0].callers = 3; }),
              HasSubstr("loads[0].callers"));
  EXPECT_THAT(error([](Cluster& c, Options&) {
                c.servers[1].latency = Distribution::Constant(-kMs);
              }),
              HasSubstr("servers[1].latency must be in"));
  EXPECT_THAT(error([](Cluster& c, Options&) {
                c.behind.resize(2);
                c.behind[1].servers = {c.servers[0]};
              }),
              HasSubstr("behind[1].servers[0].address must be there and "
                        "unique, is 'a'"));
  EXPECT_THAT(error([](Cluster& c, Options&) {
                c.behind.resize(1);
                c.behind[0].deadline = absl::ZeroDuration();
              }),
              HasSubstr("behind[0].deadline must be above 0s"));
  EXPECT_THAT(error([](Cluster& c, Options&) { c.clients = 0; }),
              HasSubstr("clients must be in 1..10000, is 0"));
  EXPECT_THAT(error([](Cluster&, Options& o) { o.chaos = 2; }),
              HasSubstr("chaos must be in 0..1, is 2"));
  EXPECT_THAT(
      error([](Cluster&, Options& o) { o.duration = absl::ZeroDuration(); }),
      HasSubstr("duration"));
}

TEST(SimulationTest, TheSummaryNamesWhatAPersonWantsToKnow) {
  const std::string summary =
      RunOk(Idempotent(), Three(), For(absl::Seconds(1))).Summary();
  EXPECT_THAT(summary, HasSubstr("100.000% ok"));
  EXPECT_THAT(summary, HasSubstr("p99"));
}

TEST(HistogramTest, QuantilesAreWithinThreePercent) {
  Histogram histogram;
  EXPECT_EQ(histogram.Quantile(0.5), absl::ZeroDuration());
  for (int i = 1; i <= 100'000; ++i) histogram.Add(int64_t{i} * 1'000);
  for (double q : {0.01, 0.5, 0.9, 0.999}) {
    EXPECT_NEAR(absl::ToDoubleMicroseconds(histogram.Quantile(q)), q * 100'000,
                q * 3'000);
  }
  EXPECT_EQ(histogram.Max(), 100 * kMs);
  EXPECT_EQ(histogram.count(), 100'000u);
}

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* const text = std::getenv(name);
  int64_t value = otherwise;
  if (text != nullptr && *text != 0 && !absl::SimpleAtoi(text, &value)) {
    ADD_FAILURE() << name << " must be a number, is '" << text << "'";
  }
  return value;
}

// The seeds that are played: MESH_SIM_SEED alone, or as many as MESH_SIM_SEEDS
// says, of which `./run test --long` asks for 10,000.
struct Seeds {
  explicit Seeds(int64_t otherwise)
      : one(FromEnvironment("MESH_SIM_SEED", 0) != 0),
        first(FromEnvironment("MESH_SIM_SEED", 1)),
        last(one ? first : FromEnvironment("MESH_SIM_SEEDS", otherwise)) {}
  const bool one;
  const int64_t first;
  const int64_t last;
};

std::string HowToReplay(int64_t seed) {
  return absl::StrCat("Again: MESH_SIM_SEED=", seed,
                      " ./run test //mesh/simulation:simulation_test "
                      "--test_filter='RandomScenarioTest.*' "
                      "--test_output=all");
}

// Random clusters, policies and faults, with events that come late, early,
// twice and where they should not. Whatever happens, the invariants hold (see
// Result::violations).
TEST(RandomScenarioTest, KeepsEveryInvariantWhateverHappens) {
  const Seeds seeds(1000);
  uint64_t calls = 0, ok = 0, retries = 0, transparent = 0, waited = 0;
  uint64_t hedges = 0, ejections = 0, suspicions = 0, probes = 0;
  std::array<uint64_t, options::kGuards> refused = {};
  for (int64_t seed = seeds.first; seed <= seeds.last; ++seed) {
    const Scenario scenario = RandomScenario(seed);
    const absl::StatusOr<Result> result =
        Simulate(scenario.service, scenario.cluster, scenario.options);
    ASSERT_TRUE(result.ok()) << result.status() << " in seed " << seed;
    if (seeds.one) std::printf("%s", result->Summary().c_str());
    if (!result->violations.empty()) {
      ADD_FAILURE() << absl::StrJoin(result->violations, "\n") << "\n"
                    << HowToReplay(seed);
    }
    calls += result->calls;
    ok += result->ok();
    retries += result->retries;
    transparent += result->transparent_retries;
    waited += result->waited;
    hedges += result->hedges;
    ejections += result->ejections().enforced;
    suspicions += result->suspicions().enforced;
    probes += result->probes;
    for (int guard = 0; guard < options::kGuards; ++guard) {
      refused[guard] += result->refusals[guard].enforced;
    }
  }
  if (seeds.one || seeds.last < 500) return;
  // The scenarios are worth something only while all of it happens in them.
  EXPECT_GT(calls, 500 * seeds.last);
  EXPECT_GT(ok, calls / 4);
  EXPECT_LT(ok, calls * 9 / 10);
  EXPECT_GT(retries, calls / 200);
  EXPECT_GT(transparent, calls / 200);
  EXPECT_GT(waited, calls / 500);
  EXPECT_GT(hedges, calls / 100);
  EXPECT_GT(ejections, seeds.last);
  EXPECT_GT(suspicions, seeds.last / 10);
  EXPECT_GT(probes, seeds.last / 10);
  for (int guard = 0; guard < options::kGuards; ++guard) {
    EXPECT_GT(refused[guard], 0u)
        << options::NameOf(static_cast<options::Guard>(guard));
  }
}

// With the shipped budget, and servers that can do at least 1.2 times the load,
// retries and hedges do no harm: in pairs of runs of one seed, one with them
// and one without, the goodput (the share of calls that end OK) with them is
// on average not more than 1% below that without. A pair for 25 seeds, each run
// of 10 to 30 simulated seconds.
TEST(RandomScenarioTest, RetriesAndHedgesDoNotLowerGoodput) {
  const Seeds seeds(1000);
  const int64_t last = seeds.one ? seeds.last : seeds.last / 25;
  double sum = 0;
  double least = 1;
  int64_t worst = 0;
  uint64_t retries = 0, hedges = 0, calls = 0;
  for (int64_t seed = seeds.first; seed <= last; ++seed) {
    SCOPED_TRACE(HowToReplay(seed));
    const Scenario scenario = RandomScenarioWithCapacity(seed);
    const Scenario without = WithoutRetries(scenario);
    const Result with =
        RunOk(scenario.service, scenario.cluster, scenario.options);
    const Result none =
        RunOk(without.service, without.cluster, without.options);
    ASSERT_GT(with.ok(), 0u);
    ASSERT_GT(none.ok(), 0u);
    const double difference =
        static_cast<double>(with.ok()) / with.calls /
            (static_cast<double>(none.ok()) / none.calls) -
        1;
    sum += difference;
    if (difference < least) {
      least = difference;
      worst = seed;
    }
    retries += with.retries;
    hedges += with.hedges;
    calls += with.calls;
  }
  const int64_t pairs = last - seeds.first + 1;
  if (pairs <= 0) return;
  const double mean = sum / static_cast<double>(pairs);
  std::printf(
      "%d pairs: goodput with retries and hedges against none: mean %+.5f, "
      "least %+.5f (seed %d); %d calls, %d retries, %d hedges\n",
      static_cast<int>(pairs), mean, least, static_cast<int>(worst),
      static_cast<int>(calls), static_cast<int>(retries),
      static_cast<int>(hedges));
  EXPECT_GE(mean, -0.01);
  if (pairs < 40) return;
  EXPECT_GT(retries, 0u);
  EXPECT_GT(hedges, calls / 1000);
}

}  // namespace
}  // namespace mesh::simulation
