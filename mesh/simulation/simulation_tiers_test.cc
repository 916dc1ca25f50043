#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/simulation/simulation_test_util.h"

namespace mesh::simulation {
namespace {

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
  cluster.faults = {
      Fault::Silence("tier-2", absl::ZeroDuration(), absl::InfiniteDuration())};
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

}  // namespace
}  // namespace mesh::simulation
