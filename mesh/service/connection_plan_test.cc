#include "mesh/service/connection_plan.h"

#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace mesh::service {
namespace {

using cluster::Health;
using cluster::Readiness;
using Indices = std::vector<size_t>;

constexpr Readiness kIdle = Readiness::kIdle;
constexpr Readiness kConnecting = Readiness::kConnecting;
constexpr Readiness kReady = Readiness::kReady;
constexpr Readiness kFailed = Readiness::kFailed;

const absl::Time kNow = absl::UnixEpoch() + absl::Hours(1);

Indices Dial(std::vector<Readiness> all, int ahead, bool wanted = false) {
  std::vector<EndpointState> endpoints;
  for (Readiness readiness : all) {
    EndpointState endpoint;
    endpoint.readiness = readiness;
    endpoints.push_back(std::move(endpoint));
  }
  options::ConnectionOptions options;
  options.ahead = ahead;
  const ConnectionPlan plan =
      PlanConnections(endpoints, {}, options, wanted, kNow);
  EXPECT_TRUE(plan.close.empty());
  EXPECT_TRUE(plan.cut_off.empty());
  return plan.dial;
}

TEST(ConnectionPlanTest, DialsTheFirstOnesInTheirOrder) {
  EXPECT_EQ(Dial({kIdle, kIdle, kIdle}, 2), (Indices{0, 1}));
  EXPECT_EQ(Dial({kIdle, kIdle}, 32), (Indices{0, 1}));
  EXPECT_EQ(Dial({}, 32), Indices{});
}

TEST(ConnectionPlanTest, CountsWhatIsConnectedOrConnecting) {
  EXPECT_EQ(Dial({kIdle, kReady, kConnecting, kIdle}, 3), (Indices{0}));
  EXPECT_EQ(Dial({kIdle, kReady, kConnecting, kIdle}, 2), Indices{});
}

TEST(ConnectionPlanTest, AnotherTakesThePlaceOfOneThatFails) {
  EXPECT_EQ(Dial({kFailed, kReady, kIdle, kIdle}, 2), (Indices{2}));
  EXPECT_EQ(Dial({kFailed, kFailed}, 2), Indices{});
}

TEST(ConnectionPlanTest, NoneAheadUnlessOneIsWanted) {
  EXPECT_EQ(Dial({kIdle, kIdle}, 0), Indices{});
  EXPECT_EQ(Dial({kIdle, kIdle}, 0, /*wanted=*/true), (Indices{0}));
  EXPECT_EQ(Dial({kReady, kIdle}, 0, /*wanted=*/true), Indices{});
  EXPECT_EQ(Dial({kFailed, kIdle}, 0, /*wanted=*/true), (Indices{1}));
}

TEST(ConnectionPlanTest, ThatOneIsWantedAddsNothingToWhatIsAhead) {
  EXPECT_EQ(Dial({kIdle, kIdle, kIdle}, 2, /*wanted=*/true), (Indices{0, 1}));
}

TEST(ConnectionPlanTest, HealthAndCallsChangeNothingYet) {
  EndpointState endpoint;
  endpoint.health = Health::kEjected;
  endpoint.connections.push_back({0, kIdle, 7, 7, 1});
  const ConnectionPlan plan = PlanConnections(
      {endpoint}, {}, options::ConnectionOptions(), false, kNow);
  EXPECT_EQ(plan.dial, (Indices{0}));
}

TEST(ConnectionPlanTest, ClosesWhatIsDrained) {
  const std::vector<RetiredState> retired = {
      {false, kNow + absl::Seconds(1)},
      {true, kNow + absl::Seconds(1)},
      {true, kNow - absl::Seconds(1)},
  };
  const ConnectionPlan plan =
      PlanConnections({}, retired, options::ConnectionOptions(), false, kNow);
  EXPECT_EQ(plan.close, (Indices{1, 2}));
  EXPECT_TRUE(plan.cut_off.empty());
}

TEST(ConnectionPlanTest, CutsOffWhatHasHadItsTime) {
  const std::vector<RetiredState> retired = {
      {false, kNow},
      {false, kNow + absl::Nanoseconds(1)},
      {false, absl::InfiniteFuture()},
  };
  const ConnectionPlan plan =
      PlanConnections({}, retired, options::ConnectionOptions(), false, kNow);
  EXPECT_EQ(plan.cut_off, (Indices{0}));
  EXPECT_TRUE(plan.close.empty());
}

}  // namespace
}  // namespace mesh::service
