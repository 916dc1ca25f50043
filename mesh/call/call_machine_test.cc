#include "mesh/call/call_machine.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/call/call_machine_test_util.h"

namespace mesh::call {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = Action::Kind;
using Verdict = telemetry::RetryEvent::Verdict;

TEST_F(CallMachineTest, OneAttemptThatSucceedsIsTheCall) {
  const Action start = Start();
  EXPECT_EQ(Address(start), "a");
  EXPECT_EQ(start.at, info.deadline);
  EXPECT_EQ(endpoints[0]->in_flight(), 1);
  EXPECT_EQ(Done(Ok()).kind, Kind::kFinish);
  EXPECT_TRUE(Machine().finished());
  EXPECT_EQ(Machine().attempts(), 1);
  EXPECT_THAT(listener.verdicts, IsEmpty());
  EXPECT_THAT(listener.events, ElementsAre("attempt 1 a OK", "end OK after 1"));
}

TEST_F(CallMachineTest, WorksWithoutAnObserver) {
  plan.observer = nullptr;
  Start();
  EXPECT_EQ(Address(Done(Unavailable())), "b");
  EXPECT_EQ(Done(Ok()).kind, Kind::kFinish);
}

TEST_F(CallMachineTest, TellsOfCallsThatBeginAndPicksWhenTheyAreWanted) {
  Listener all(true);
  plan.observer = &all;
  Start();
  Done(Unavailable());
  Done(Ok());
  EXPECT_THAT(all.events,
              ElementsAre("start", "pick used", "attempt 1 a UNAVAILABLE",
                          "pick used", "attempt 2 b OK", "end OK after 2"));
}

// ---- Deadline ----

TEST_F(CallMachineTest, NoRetryAfterTheDeadline) {
  Start();
  now = info.deadline;
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kDeadline));
}

TEST_F(CallMachineTest, NeverSentIsNotSentAfterTheDeadlineEither) {
  Start();
  now = info.deadline;
  EXPECT_EQ(Done(NeverSent()).kind, Kind::kFinish);
}

TEST_F(CallMachineTest, ACallThatIsLateAlreadyIsAnsweredByGrpcItself) {
  info.deadline = now - absl::Seconds(1);
  const Action start = Start();
  EXPECT_EQ(Address(start), "a");
  EXPECT_EQ(start.at, info.deadline);
  EXPECT_EQ(Done(Ended(absl::StatusCode::kDeadlineExceeded)).kind,
            Kind::kFinish);
}

TEST_F(CallMachineTest, ATimerThatComesAfterTheDeadlineStartsNothing) {
  Endpoints(1);
  Start();
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kSetTimer);
  now = info.deadline;
  const std::optional<Action> end = Machine().OnTimer(At());
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->kind, Kind::kFail);
  EXPECT_EQ(end->status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(end->status.message()), HasSubstr("UNAVAILABLE"));
}

// ---- Waiting for endpoints ----

TEST_F(CallMachineTest, WaitsForAnEndpointAndUsesItWhenItComes) {
  std::unique_ptr<balancing::Picker> ready = std::move(picker);
  PickerSays(balancing::PickResult::Kind::kWait);
  const Action wait = Start();
  EXPECT_EQ(wait.kind, Kind::kWait);
  EXPECT_EQ(wait.at, info.deadline);
  EXPECT_EQ(Machine().OnEndpointsChanged(At())->kind, Kind::kWait);
  picker = std::move(ready);
  EXPECT_EQ(Address(*Machine().OnEndpointsChanged(At())), "a");
  Done(Ok());
}

TEST_F(CallMachineTest, AWaitEndsAtTheDeadlineAndSaysForWhatItWaited) {
  plan.wait_for_ready = true;
  PickerSays(balancing::PickResult::Kind::kFail,
             absl::UnavailableError("connection refused"));
  const Action wait = Start();
  ASSERT_EQ(wait.kind, Kind::kWait);
  now = wait.at;
  const std::optional<Action> end = Machine().OnTimer(At());
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(end->status.message()), HasSubstr("cart: "));
  EXPECT_THAT(std::string(end->status.message()),
              HasSubstr("connection refused"));
  EXPECT_THAT(listener.events,
              ElementsAre("pick waited", "end DEADLINE_EXCEEDED after 0"));
}

TEST_F(CallMachineTest, ACallThatIsLateAlreadyDoesNotWait) {
  info.deadline = now;
  PickerSays(balancing::PickResult::Kind::kWait);
  EXPECT_EQ(Start().status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(CallMachineTest, FailsAsThePickerSaysUnlessItIsToWaitForReady) {
  PickerSays(balancing::PickResult::Kind::kFail,
             absl::UnavailableError("none can be reached"));
  const Action end = Start();
  EXPECT_EQ(end.kind, Kind::kFail);
  EXPECT_EQ(end.status, absl::UnavailableError("none can be reached"));
  EXPECT_THAT(listener.events,
              ElementsAre("pick failed", "end UNAVAILABLE after 0"));
}

TEST_F(CallMachineTest, ADroppedCallDoesNotWait) {
  plan.wait_for_ready = true;
  PickerSays(balancing::PickResult::Kind::kDrop,
             absl::UnavailableError("dropped"));
  EXPECT_EQ(Start().status, absl::UnavailableError("dropped"));
}

TEST_F(CallMachineTest, WithNowhereToRetryTheLastOutcomeStands) {
  Start();
  PickerSays(balancing::PickResult::Kind::kFail,
             absl::UnavailableError("none can be reached"));
  const Action backoff = Done(Unavailable());
  EXPECT_EQ(Timer(backoff).kind, Kind::kFinish);
  EXPECT_THAT(listener.events,
              ElementsAre("attempt 1 a UNAVAILABLE", "pick failed",
                          "end UNAVAILABLE after 1"));
}

// ---- Cancellation and events that come when they should not ----

TEST_F(CallMachineTest, CancelledWhileItBacksOffItEndsThen) {
  Endpoints(1);
  Start();
  Done(Unavailable());
  EXPECT_EQ(Machine().OnCancelled(At())->status.code(),
            absl::StatusCode::kCancelled);
  EXPECT_FALSE(Machine().OnCancelled(At()).has_value());
  EXPECT_FALSE(Machine().OnTimer(At()).has_value());
}

TEST_F(CallMachineTest, CancelledWhileItWaitsItEndsThen) {
  PickerSays(balancing::PickResult::Kind::kWait);
  Start();
  EXPECT_EQ(Machine().OnCancelled(At())->status.code(),
            absl::StatusCode::kCancelled);
  EXPECT_FALSE(Machine().OnEndpointsChanged(At()).has_value());
}

TEST_F(CallMachineTest, CancelledDuringAnAttemptItIsNotRetried) {
  Start();
  EXPECT_FALSE(Machine().OnCancelled(At()).has_value());
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kCancelled));
}

TEST_F(CallMachineTest, UnexpectedEventsChangeNothing) {
  Start();
  EXPECT_FALSE(Machine().OnTimer(At()).has_value());
  EXPECT_FALSE(Machine().OnEndpointsChanged(At()).has_value());
  EXPECT_EQ(Machine().attempts(), 1);
  Done(Ok());
  EXPECT_FALSE(Machine().OnTimer(At()).has_value());
  EXPECT_FALSE(Machine().OnEndpointsChanged(At()).has_value());
  EXPECT_FALSE(Machine().OnCancelled(At()).has_value());
  Machine().Abandon(now);
}

TEST_F(CallMachineTest, AnEarlyTimerIsToldToComeAgain) {
  Endpoints(1);
  Start();
  const Action backoff = Done(Unavailable());
  now = backoff.at - absl::Nanoseconds(1);
  const std::optional<Action> again = Machine().OnTimer(At());
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->kind, Kind::kSetTimer);
  EXPECT_EQ(again->at, backoff.at);
  Timer(*again);
  Done(Ok());
}

TEST_F(CallMachineTest, AnAbandonedAttemptGivesItsEndpointBack) {
  Start();
  Machine().Abandon(now);
  EXPECT_THAT(listener.events,
              ElementsAre("attempt 1 a CANCELLED", "end CANCELLED after 1"));
  Machine().Abandon(now);
}

TEST_F(CallMachineTest, ACallThatNeverStartedHasNothingToAbandon) {
  Machine().Abandon(now);
  EXPECT_THAT(listener.events, IsEmpty());
}

}  // namespace
}  // namespace mesh::call
