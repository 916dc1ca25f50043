// What becomes of calls when connections die, and new ones would work.

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/simulation/simulation_test_util.h"

namespace mesh::simulation {
namespace {

constexpr absl::Duration kStruck = absl::Seconds(3);

// So many servers, called 100 times a second; calls last half a second at most.
Cluster With(int servers) {
  Cluster cluster;
  for (int i = 0; i < servers; ++i) {
    Server server;
    server.address = absl::StrCat("server-", i);
    cluster.servers.push_back(server);
  }
  cluster.loads = {Load::Open("/shop.Cart/Get", 100)};
  cluster.loads[0].deadline = 500 * kMs;
  return cluster;
}

// Clients dial beside silent connections only where such a fault is named. This
// one strikes when all is over.
Fault Never() { return Fault::DeadConnections("server-0", absl::Hours(1)); }

Options InSteps(absl::Duration duration, uint64_t seed = 1) {
  Options options = For(duration, seed);
  options.step = 100 * kMs;
  return options;
}

// Until all calls that begin are OK, from kStruck on.
absl::Duration UntilWell(const Result& result) {
  absl::Duration last;
  for (size_t i = 0; i < result.steps.size(); ++i) {
    const Result::Step& step = result.steps[i];
    if (step.succeeded < step.started) {
      last = result.step * static_cast<double>(i + 1) - kStruck;
    }
  }
  return last;
}

TEST(SimulationConnectionsTest, OneEndpointIsConnectedToAnew) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Cluster cluster = With(1);
    cluster.faults = {Fault::DeadConnections("server-0", kStruck)};
    const Result result =
        RunOk(Idempotent(), cluster, InSteps(absl::Seconds(30), seed));
    EXPECT_GT(result.ok(), 0.97 * result.calls) << seed;
    EXPECT_LE(UntilWell(result), absl::Seconds(1.5)) << seed;
    EXPECT_EQ(result.replaced, 1) << seed;
    EXPECT_LE(result.broken, 1) << seed;
  }
}

TEST(SimulationConnectionsTest, WithoutSuspicionItIsLostForEver) {
  Cluster cluster = With(1);
  cluster.faults = {Fault::DeadConnections("server-0", kStruck)};
  const Result result =
      RunOk(WithoutHealth(Idempotent()), cluster, InSteps(absl::Seconds(30)));
  EXPECT_GT(UntilWell(result), absl::Seconds(26));
  EXPECT_EQ(result.second_dials, 0);
}

TEST(SimulationConnectionsTest, TwoOfEightAreConnectedToAnew) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Cluster cluster = With(8);
    cluster.loads[0].rate = 800;
    cluster.faults = {Fault::DeadConnections("server-0", kStruck),
                      Fault::DeadConnections("server-1", kStruck)};
    const Result result =
        RunOk(Idempotent(), cluster, InSteps(absl::Seconds(30), seed));
    EXPECT_LE(UntilWell(result), 500 * kMs) << seed;
    EXPECT_EQ(result.replaced, 2) << seed;
    // They have their share again.
    for (size_t i = 0; i < 2; ++i) {
      uint64_t its = 0;
      for (size_t s = 100; s < 300; ++s) its += result.steps[s].attempts[i];
      EXPECT_GT(its, 1800) << seed;
    }
  }
}

// Calls without a deadline end when the connection does, and are made again.
TEST(SimulationConnectionsTest, CallsOnADeadConnectionEnd) {
  Cluster cluster = With(2);
  cluster.loads[0].deadline = absl::InfiniteDuration();
  cluster.faults = {Fault::DeadConnections("server-0", kStruck),
                    Fault::DeadConnections("server-1", kStruck)};
  const Result result =
      RunOk(Idempotent(), cluster, InSteps(absl::Seconds(20)));
  EXPECT_EQ(result.hanging, 0);
  EXPECT_LE(result.calls - result.ok(), result.denied_by_budget);
  EXPECT_EQ(result.broken, 2);
  EXPECT_LT(result.all.Max(), absl::Seconds(3));
}

TEST(SimulationConnectionsTest, ConnectionsThatDieAgainAndAgainAreReplaced) {
  Cluster cluster = With(1);
  cluster.loads[0].deadline = absl::InfiniteDuration();
  Fault fault = Fault::DeadConnections("server-0", kStruck);
  fault.period = 300 * kMs;
  fault.until = absl::Seconds(13);
  cluster.faults = {fault};
  const Result result =
      RunOk(Idempotent(), cluster, InSteps(absl::Seconds(20)));
  EXPECT_EQ(result.hanging, 0);
  EXPECT_LE(result.second_dials, 11) << "one per second";
  EXPECT_GE(result.replaced, 5);
}

TEST(SimulationConnectionsTest, AStoppedServerIsWaitedFor) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Cluster cluster = With(1);
    cluster.loads[0].deadline = absl::Seconds(30);
    cluster.faults = {
        Fault::Silence("server-0", kStruck, kStruck + absl::Seconds(20)),
        Never()};
    const Result result =
        RunOk(Idempotent(), cluster, InSteps(absl::Seconds(30), seed));
    EXPECT_EQ(result.replaced, 0) << seed;
    EXPECT_EQ(result.broken, 0) << seed;
    EXPECT_GE(result.second_dials, 3) << seed;
    EXPECT_LE(result.second_dials, 8) << seed;
  }
}

// Its connections are replaced before it answers the probe, and what it owes
// comes over them.
TEST(SimulationConnectionsTest, AConnectionThatAnswersLateIsNotEnded) {
  uint64_t replaced = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Cluster cluster = With(1);
    cluster.loads[0].deadline = absl::Seconds(10);
    cluster.reconnection = Distribution::Constant(absl::ZeroDuration());
    cluster.faults = {Fault::Slow("server-0", kStruck, absl::Seconds(10), 100),
                      Never()};
    const Result result =
        RunOk(Idempotent(), cluster, InSteps(absl::Seconds(20), seed));
    replaced += result.replaced;
    EXPECT_EQ(result.broken, 0) << seed;
    EXPECT_EQ(result.ok(), result.calls) << seed;
  }
  EXPECT_GT(replaced, 10);
}

TEST(SimulationConnectionsTest, AServerThatIsKilledHasNewConnections) {
  Cluster cluster = With(1);
  cluster.loads[0].deadline = absl::InfiniteDuration();
  cluster.loads[0].wait_for_ready = true;
  cluster.reconnection = Distribution::Constant(absl::Seconds(2));
  cluster.faults = {
      Fault::DeadConnections("server-0", kStruck),
      Fault::Down("server-0", kStruck + 500 * kMs, kStruck + absl::Seconds(2))};
  const Result result =
      RunOk(Idempotent(), cluster, InSteps(absl::Seconds(20)));
  EXPECT_EQ(result.hanging, 0);
  EXPECT_LE(result.calls - result.ok(), result.denied_by_budget);
  EXPECT_EQ(result.replaced, 0) << "the second dial was given up";
}

}  // namespace
}  // namespace mesh::simulation
