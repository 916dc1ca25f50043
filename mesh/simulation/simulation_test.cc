#include "mesh/simulation/simulation.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/simulation/random_scenario.h"
#include "mesh/simulation/simulation_test_util.h"

namespace mesh::simulation {
namespace {

using ::testing::HasSubstr;

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

TEST(SimulationTest, SilenceIsEscapedByTheAttemptTimeout) {
  // No suspicion and no ejection, and a budget for all that it swallows.
  options::ServiceOptions service = WithoutHealth(Idempotent());
  service.retry_budget.ratio = 0.5;
  Cluster cluster = Three();
  cluster.faults = {Fault::Silence("b", absl::Seconds(10), absl::Seconds(20))};
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
  EXPECT_NEAR(attempts, 11'100, 400) << "a tenth, and ten per second";
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
      Fault::Silence("a", absl::Seconds(1), absl::InfiniteDuration())};
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
  const auto fault = static_cast<size_t>(base::Guard::kFault);
  EXPECT_GT(result.refusals[fault].enforced, 0.15 * result.calls);
  EXPECT_EQ(result.refusals[fault].observed, 0u);

  service.policy.fault.mode = options::Mode::kObserve;
  const Result observed = RunOk(service, Three(), For(absl::Seconds(60)));
  EXPECT_EQ(observed.ok(), observed.calls);
  EXPECT_EQ(observed.refusals[fault].enforced, 0u);
  EXPECT_GT(observed.refusals[fault].observed, 0.15 * observed.calls);
}

TEST(SimulationTest, RequestsOfOneMethodMayCostDifferently) {
  Cluster cluster = Three();
  cluster.loads = {Load::Closed("/shop.Cart/Get", 1)};
  Request quick;
  quick.work = Distribution::Constant(1 * kMs);
  Request slow;
  slow.work = Distribution::Constant(50 * kMs);
  cluster.loads[0].requests = {quick, slow};
  cluster.loads[0].in_turn = true;
  for (Server& server : cluster.servers) server.network = Distribution();
  const Result in_turn = RunOk(Idempotent(), cluster, For(absl::Seconds(51)));
  EXPECT_NEAR(in_turn.calls, 2000, 2);
  EXPECT_NEAR(in_turn.latency.Quantile(0.49) / kMs, 1, 0.1);
  EXPECT_NEAR(in_turn.latency.Quantile(0.51) / kMs, 50, 2);

  // At random, three quick ones to a slow one.
  cluster.loads[0].in_turn = false;
  cluster.loads[0].requests[0].weight = 3;
  const Result drawn = RunOk(Idempotent(), cluster, For(absl::Seconds(53)));
  EXPECT_NEAR(drawn.calls, 4000, 300);
  EXPECT_NEAR(drawn.latency.Quantile(0.7) / kMs, 1, 0.1);
}

TEST(SimulationTest, ATenantFailsWhereverItCalls) {
  Cluster cluster = Three();
  cluster.loads = {Load::Closed("/shop.Cart/Get", 1)};
  cluster.loads[0].in_turn = true;
  Request failing;
  failing.fails = 1;
  failing.code = absl::StatusCode::kInternal;
  failing.fails_after = absl::Microseconds(300);
  cluster.loads[0].requests = {Request(), failing};
  for (Server& server : cluster.servers) server.network = Distribution();
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(20)));
  EXPECT_NEAR(result.ended[13], result.calls / 2.0, 1);
  EXPECT_EQ(result.ended[13] + result.ok(), result.calls);
  EXPECT_EQ(result.ejections().enforced, 0u);
  EXPECT_NEAR(absl::ToDoubleMicroseconds(result.all.Quantile(0.25)), 300, 9);
}

TEST(SimulationTest, AFaultMaySayHowLongItsErrorsTake) {
  Cluster cluster = Three();
  for (Server& server : cluster.servers) {
    server.network = Distribution();
    Fault fault =
        Fault::Errors(server.address, absl::ZeroDuration(),
                      absl::InfiniteDuration(), 1, absl::StatusCode::kInternal);
    fault.after = absl::Microseconds(300);
    cluster.faults.push_back(fault);
  }
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(5)));
  EXPECT_EQ(result.ok(), 0u);
  EXPECT_EQ(result.all.Max(), absl::Microseconds(300));
}

TEST(SimulationTest, WhenAnObserverHasSeenEnoughNoMoreCallsBegin) {
  struct Watch final : telemetry::Observer {
    void OnCallEnd(const telemetry::CallInfo&,
                   const telemetry::CallEvent&) override {
      enough = ++calls >= 100;
    }
    int calls = 0;
    bool enough = false;
  } watch;
  Options options = For(absl::Hours(1));
  options.observer = &watch;
  options.enough = &watch.enough;
  const Result result = RunOk(Idempotent(), Three(), options);
  EXPECT_GE(result.calls, 100u);
  EXPECT_LE(result.calls, 110u);
}

TEST(SimulationTest, RefusesADescriptionThatMakesNoSense) {
  const auto error = [](auto change) {
    Cluster cluster = Three();
    Options options;
    change(cluster, options);
    return std::string(
        Simulate(Idempotent(), cluster, options).status().message());
  };
  EXPECT_THAT(
      error([](Cluster& c, Options&) { c.servers[2].address = "a"; }),
      HasSubstr("servers[2].address must be there and unique, but is \"a\""));
  EXPECT_THAT(
      error([](Cluster& c, Options&) {
        c.faults = {Fault::Down("x", absl::ZeroDuration(), absl::Seconds(1))};
      }),
      HasSubstr("faults[0].address is \"x\", which is no server's"));
  EXPECT_THAT(error([](Cluster& c, Options&) { c.loads[0].rate = -1; }),
              HasSubstr("loads[0].rate must be in 0..1e9, but is -1"));
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
                        "unique, but is \"a\""));
  EXPECT_THAT(error([](Cluster& c, Options&) {
                c.behind.resize(1);
                c.behind[0].deadline = absl::ZeroDuration();
              }),
              HasSubstr("behind[0].deadline must be above 0s"));
  EXPECT_THAT(error([](Cluster& c, Options&) {
                c.loads[0].requests.resize(2);
                c.loads[0].requests[1].weight = 0;
              }),
              HasSubstr("loads[0].requests[1].weight must be above 0"));
  EXPECT_THAT(
      error([](Cluster& c, Options&) {
        c.faults = {Fault::Down("a", absl::ZeroDuration(), absl::Seconds(1))};
        c.faults[0].after = -kMs;
      }),
      HasSubstr("faults[0].after must be in"));
  EXPECT_THAT(error([](Cluster& c, Options&) { c.clients = 0; }),
              HasSubstr("clients must be in 1..10000, but is 0"));
  EXPECT_THAT(error([](Cluster&, Options& o) { o.chaos = 2; }),
              HasSubstr("chaos must be in 0..1, but is 2"));
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

}  // namespace
}  // namespace mesh::simulation
