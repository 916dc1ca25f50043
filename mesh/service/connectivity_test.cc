#include "mesh/service/connectivity.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/service/service_test_util.h"

namespace mesh::service {
namespace {

using cluster::Readiness;

std::vector<cluster::Member> Members(std::vector<Readiness> all) {
  std::vector<cluster::Member> members;
  for (Readiness readiness : all) {
    cluster::Member member;
    member.live = std::make_shared<cluster::LiveEndpoint>(cluster::Endpoint());
    member.live->set_readiness(readiness);
    members.push_back(std::move(member));
  }
  return members;
}

TEST(AggregateTest, IsTheBestThatAnyHas) {
  const auto of = [](std::vector<Readiness> all) {
    return Aggregate(Members(std::move(all)), true);
  };
  EXPECT_EQ(of({Readiness::kFailed, Readiness::kReady, Readiness::kIdle}),
            GRPC_CHANNEL_READY);
  EXPECT_EQ(of({Readiness::kFailed, Readiness::kConnecting, Readiness::kIdle}),
            GRPC_CHANNEL_CONNECTING);
  EXPECT_EQ(of({Readiness::kFailed, Readiness::kIdle}), GRPC_CHANNEL_IDLE);
  EXPECT_EQ(of({Readiness::kFailed}), GRPC_CHANNEL_TRANSIENT_FAILURE);
}

TEST(AggregateTest, WithoutEndpointsItIsWhetherThatIsKnown) {
  EXPECT_EQ(Aggregate({}, true), GRPC_CHANNEL_TRANSIENT_FAILURE);
  EXPECT_EQ(Aggregate({}, false), GRPC_CHANNEL_IDLE);
}

class ConnectivityTest : public ::testing::Test {
 protected:
  absl::Time In(int seconds) {
    return control_.clock.Now() + absl::Seconds(seconds);
  }
  static constexpr absl::Time Never() { return absl::InfiniteFuture(); }
  Connectivity::Done Note() {
    return [this](bool changed) { told_.push_back(changed); };
  }
  using Told = std::vector<bool>;

  FakeControl control_;
  Told told_;
  std::optional<Connectivity> connectivity_{control_.scheduler};
};

TEST_F(ConnectivityTest, BeginsIdle) {
  EXPECT_EQ(connectivity_->state(), GRPC_CHANNEL_IDLE);
  connectivity_->Set(GRPC_CHANNEL_READY);
  EXPECT_EQ(connectivity_->state(), GRPC_CHANNEL_READY);
}

TEST_F(ConnectivityTest, TellsAtOnceWhoSawAnotherState) {
  connectivity_->Watch(GRPC_CHANNEL_READY, In(1), Note());
  EXPECT_EQ(told_, (Told{true}));
  EXPECT_EQ(control_.loop.timers(), 0);
}

TEST_F(ConnectivityTest, TellsOfAChangeOnce) {
  connectivity_->Watch(GRPC_CHANNEL_IDLE, Never(), Note());
  connectivity_->Set(GRPC_CHANNEL_IDLE);
  EXPECT_TRUE(told_.empty());
  connectivity_->Set(GRPC_CHANNEL_CONNECTING);
  connectivity_->Set(GRPC_CHANNEL_READY);
  EXPECT_EQ(told_, (Told{true}));
}

TEST_F(ConnectivityTest, TellsOnlyWhoSawTheStateBefore) {
  connectivity_->Set(GRPC_CHANNEL_CONNECTING);
  connectivity_->Watch(GRPC_CHANNEL_CONNECTING, Never(), Note());
  connectivity_->Set(GRPC_CHANNEL_READY);
  connectivity_->Watch(GRPC_CHANNEL_READY, Never(), Note());
  EXPECT_EQ(told_, (Told{true}));
}

TEST_F(ConnectivityTest, AtTheDeadlineItSaysThatNothingChanged) {
  connectivity_->Watch(GRPC_CHANNEL_IDLE, In(2), Note());
  control_.loop.Advance(absl::Seconds(1));
  EXPECT_TRUE(told_.empty());
  control_.loop.Advance(absl::Seconds(1));
  EXPECT_EQ(told_, (Told{false}));
  connectivity_->Set(GRPC_CHANNEL_READY);
  EXPECT_EQ(told_, (Told{false}));
}

TEST_F(ConnectivityTest, ADeadlineThatIsPastIsToldLater) {
  connectivity_->Watch(GRPC_CHANNEL_IDLE, In(-1), Note());
  EXPECT_TRUE(told_.empty());
  control_.loop.Run();
  EXPECT_EQ(told_, (Told{false}));
}

TEST_F(ConnectivityTest, AChangeWithTheDeadlineCountsWhereItComesFirst) {
  connectivity_->Watch(GRPC_CHANNEL_IDLE, In(1), Note());
  control_.loop.Post([this] {
    control_.clock.Advance(absl::Seconds(1));  // The timer is due.
    connectivity_->Set(GRPC_CHANNEL_READY);
  });
  control_.loop.Run();
  EXPECT_EQ(told_, (Told{true}));
  EXPECT_EQ(control_.loop.timers(), 0);
}

TEST_F(ConnectivityTest, ADeadlineWithTheChangeCountsWhereItComesFirst) {
  connectivity_->Watch(GRPC_CHANNEL_IDLE, In(1), Note());
  control_.loop.RunAt(In(1),
                      [this] { connectivity_->Set(GRPC_CHANNEL_READY); });
  control_.loop.Advance(absl::Seconds(1));
  EXPECT_EQ(told_, (Told{false}));
}

TEST_F(ConnectivityTest, AChangeMayComeBeforeTheDeadlineIsKnown) {
  const auto interrupted =
      std::make_shared<InterruptedScheduler>(control_.scheduler.get());
  Connectivity connectivity(interrupted);
  interrupted->between = [&] { connectivity.Set(GRPC_CHANNEL_READY); };
  connectivity.Watch(GRPC_CHANNEL_IDLE, In(1), Note());
  EXPECT_EQ(told_, (Told{true}));
  EXPECT_EQ(control_.loop.timers(), 0);
}

TEST_F(ConnectivityTest, WhoIsToldMayWatchAgain) {
  connectivity_->Watch(GRPC_CHANNEL_IDLE, Never(), [this](bool) {
    connectivity_->Watch(connectivity_->state(), Never(), Note());
  });
  connectivity_->Set(GRPC_CHANNEL_CONNECTING);
  EXPECT_TRUE(told_.empty());
  connectivity_->Set(GRPC_CHANNEL_READY);
  EXPECT_EQ(told_, (Told{true}));
}

TEST_F(ConnectivityTest, WhoWatchesIsToldOfTheEnd) {
  connectivity_->Watch(GRPC_CHANNEL_IDLE, Never(), Note());
  connectivity_->Watch(GRPC_CHANNEL_IDLE, In(1), Note());
  connectivity_.reset();
  EXPECT_EQ(told_, (Told{true, true}));
  EXPECT_EQ(control_.loop.timers(), 0);
}

}  // namespace
}  // namespace mesh::service
