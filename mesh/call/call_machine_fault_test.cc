#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/call/call_machine_test_util.h"

namespace mesh::call {
namespace {

using ::testing::ElementsAre;
using Kind = Action::Kind;

TEST_F(CallMachineTest, AFaultThatAbortsIsMadeWithoutAPick) {
  policy.fault.mode = options::Mode::kEnforce;
  policy.fault.abort_share = 1;
  policy.fault.abort_code = absl::StatusCode::kUnavailable;
  const Action end = Start();
  EXPECT_EQ(end.kind, Kind::kFail);
  EXPECT_EQ(end.status,
            absl::UnavailableError(
                "cart: fault injection ended this call with UNAVAILABLE; "
                "the method's fault settings ask for that."));
  EXPECT_EQ(Machine().attempts(), 0);
  EXPECT_THAT(
      listener.events,
      ElementsAre(
          "refused: fault UNAVAILABLE 'fault injection ended this call with "
          "UNAVAILABLE; the method's fault settings ask for that.' 0",
          "end UNAVAILABLE after 0"));
}

TEST_F(CallMachineTest, AFaultMeetsItsShareOfCalls) {
  policy.fault.mode = options::Mode::kEnforce;
  policy.fault.abort_share = 0.25;
  int aborted = 0;
  for (int i = 0; i < 1000; ++i) {
    machine.reset();
    listener.events.clear();
    if (Start().kind == Kind::kFail) {
      ++aborted;
    } else {
      Done(Ok());
    }
  }
  EXPECT_NEAR(aborted, 250, 70);
}

TEST_F(CallMachineTest, AFaultThatDelaysComesBeforeTheFirstPick) {
  policy.fault.mode = options::Mode::kEnforce;
  policy.fault.delay_share = 1;
  policy.fault.delay = absl::Milliseconds(300);
  const Action delay = Start();
  EXPECT_EQ(delay.kind, Kind::kSetTimer);
  EXPECT_EQ(delay.at, now + absl::Milliseconds(300));
  EXPECT_EQ(endpoints[0]->in_flight(), 0);
  EXPECT_FALSE(Machine().OnEndpointsChanged(At()).has_value());
  now += absl::Milliseconds(299);
  EXPECT_EQ(Machine().OnTimer(At())->kind, Kind::kSetTimer) << "early";
  EXPECT_EQ(Address(Timer(delay)), "a");
  Done(Ok());
  EXPECT_EQ(listener.events[0], "refused: fault OK '' 300ms");
}

TEST_F(CallMachineTest, ADelayedCallMayBeAbortedAfterIt) {
  policy.fault.mode = options::Mode::kEnforce;
  plan.delay_by_header = absl::Milliseconds(300);
  plan.abort_by_header = absl::StatusCode::kInternal;
  EXPECT_EQ(Timer(Start()).status.message(),
            "cart: fault injection ended this call with INTERNAL; "
            "the method's fault settings ask for that.");
}

TEST_F(CallMachineTest, ADelayEndsAtTheDeadline) {
  policy.fault.mode = options::Mode::kEnforce;
  plan.delay_by_header = absl::InfiniteDuration();
  const Action delay = Start();
  EXPECT_EQ(delay.at, info.deadline);
  const Action end = Timer(delay);
  EXPECT_EQ(end.status,
            absl::DeadlineExceededError(
                "cart: the deadline passed during an injected delay."));
}

TEST_F(CallMachineTest, ADelayEndsWhenTheCallIsCancelledOrAbandoned) {
  policy.fault.mode = options::Mode::kEnforce;
  plan.delay_by_header = absl::Seconds(1);
  Start();
  EXPECT_EQ(Machine().OnCancelled(At())->status.code(),
            absl::StatusCode::kCancelled);
  machine.reset();
  listener.events.clear();
  Start();
  Machine().Abandon(now);
}

TEST_F(CallMachineTest, FaultsThatOnlyObserveAreToldOfAndNotMade) {
  policy.fault.mode = options::Mode::kObserve;
  plan.delay_by_header = absl::Seconds(1);
  plan.abort_by_header = absl::StatusCode::kInternal;
  EXPECT_EQ(Address(Start()), "a");
  Done(Ok());
  EXPECT_THAT(listener.events, ElementsAre("would refuse: fault OK '' 1s",
                                           "would refuse: fault INTERNAL '' 0",
                                           "attempt 1 a OK", "end OK after 1"));
}

TEST_F(CallMachineTest, FaultsThatAreOffAreOffForHeadersToo) {
  plan.abort_by_header = absl::StatusCode::kInternal;
  EXPECT_EQ(Address(Start()), "a");
  Done(Ok());
}

}  // namespace
}  // namespace mesh::call
