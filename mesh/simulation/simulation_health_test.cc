#include <cstddef>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/simulation/random_scenario.h"
#include "mesh/simulation/simulation_test_util.h"

namespace mesh::simulation {
namespace {

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
  cluster.faults = {Fault::Silence("b", absl::Seconds(10), absl::Seconds(20))};
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
  observing.guards.silence.mode = options::Mode::kObserve;
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

// Servers are at five sixths of what they can do, and their queues make them
// slower than the others now and then. An endpoint that is ejected for that
// leaves its load to the others. They would become slower still, and so on
// without end.
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
  server.slots = 8;  // 400 calls per second.
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
  const auto guard = static_cast<size_t>(base::Guard::kAdaptiveConcurrency);
  EXPECT_GT(without.refusals[guard].observed, 0u);
  EXPECT_GT(with.refusals[guard].enforced, 5'000u);
}

}  // namespace
}  // namespace mesh::simulation
