// Calls that find nothing connected.

#include <memory>
#include <optional>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/call/call_machine_test_util.h"

namespace mesh::call {
namespace {

using Kind = Action::Kind;

// As pickers are while all dials have failed.
class Unreachable final : public balancing::Picker {
 public:
  explicit Unreachable(std::unique_ptr<balancing::Picker> failed)
      : failed_(std::move(failed)) {}

  balancing::PickResult Pick(const balancing::PickArgs& args) const override {
    balancing::PickResult result;
    if (!args.wait_for_ready) result = failed_->Pick(args);
    result.unreachable = true;
    return result;
  }

 private:
  const std::unique_ptr<balancing::Picker> failed_;
};

class CallMachineDialTest : public CallMachineTest {
 protected:
  CallMachineDialTest() {
    Endpoints(1);
    Fail();
  }
  void Fail() { picker = std::make_unique<Unreachable>(std::move(picker)); }
  void Connect() { Endpoints(1); }
  Action Wake() {
    std::optional<Action> action = Machine().OnEndpointsChanged(At());
    EXPECT_TRUE(action.has_value());
    return action.value_or(Action());
  }
};

TEST_F(CallMachineDialTest, ACallAsksForADialAndWaitsASecondAtMost) {
  const Action wait = Start();
  EXPECT_EQ(wait.kind, Kind::kWait);
  EXPECT_TRUE(wait.asks);
  EXPECT_EQ(wait.at, now + absl::Seconds(1));
  EXPECT_EQ(endpoints[0]->in_flight(), 0);
  Machine().Abandon(now);
}

TEST_F(CallMachineDialTest, ItWaitsNoLongerThanItsDeadline) {
  info.deadline = now + absl::Milliseconds(300);
  EXPECT_EQ(Start().at, info.deadline);
  Machine().Abandon(now);
}

TEST_F(CallMachineDialTest, ItGoesToWhatIsConnected) {
  Start();
  Connect();
  const Action start = Wake();
  EXPECT_EQ(start.kind, Kind::kStartAttempt);
  EXPECT_EQ(Done(Ok()).kind, Kind::kFinish);
}

TEST_F(CallMachineDialTest, ItFailsWithTheReasonWhenTheDialHasFailed) {
  plan.idempotent = false;
  Start();
  const Action start = Wake();
  ASSERT_EQ(start.kind, Kind::kStartAttempt) << "who can say why";
  EXPECT_EQ(Address(start), "a");
  Action last = Done(NeverSent());
  while (last.kind == Kind::kStartAttempt) last = Done(NeverSent());
  EXPECT_EQ(last.kind, Kind::kFinish) << "it asks once";
}

TEST_F(CallMachineDialTest, ItFailsWhenTheSecondIsOver) {
  plan.idempotent = false;
  const Action wait = Start();
  now = wait.at;
  const std::optional<Action> start = Machine().OnTimer(At());
  ASSERT_TRUE(start.has_value());
  EXPECT_EQ(start->kind, Kind::kStartAttempt);
  Machine().Abandon(now);
}

TEST_F(CallMachineDialTest, ARetryAfterABackoffAsksAgain) {
  Start();
  Action next = Wake();
  while (next.kind == Kind::kStartAttempt) next = Done(NeverSent());
  ASSERT_EQ(next.kind, Kind::kSetTimer) << "a backoff";
  next = Timer(next);
  EXPECT_EQ(next.kind, Kind::kWait);
  EXPECT_TRUE(next.asks);
  Machine().Abandon(now);
}

TEST_F(CallMachineDialTest, ACallThatHasLostItsConnectionAsksToo) {
  Connect();
  plan.idempotent = false;
  ASSERT_EQ(Start().kind, Kind::kStartAttempt);
  Fail();
  const Action wait = Done(NeverSent());
  EXPECT_EQ(wait.kind, Kind::kWait);
  EXPECT_TRUE(wait.asks);
  Machine().Abandon(now);
}

TEST_F(CallMachineDialTest, OneThatWaitsForReadyAsksOnceAndGoesOnWaiting) {
  plan.wait_for_ready = true;
  const Action first = Start();
  EXPECT_EQ(first.kind, Kind::kWait);
  EXPECT_TRUE(first.asks);
  EXPECT_EQ(first.at, info.deadline);
  const Action second = Wake();
  EXPECT_EQ(second.kind, Kind::kWait);
  EXPECT_FALSE(second.asks);
  EXPECT_EQ(second.at, info.deadline);
  Connect();
  EXPECT_EQ(Wake().kind, Kind::kStartAttempt);
  Done(Ok());
}

}  // namespace
}  // namespace mesh::call
