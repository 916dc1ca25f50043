#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/call/call_machine_test_util.h"

namespace mesh::call {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = Action::Kind;
using Verdict = telemetry::RetryEvent::Verdict;

TEST_F(CallMachineTest, WithoutHedgingNoTimerRunsBesideAnAttempt) {
  EXPECT_EQ(Start().timer, absl::InfiniteFuture());
  EXPECT_FALSE(Machine().OnTimer(At()).has_value());
  Done(Ok());
}

TEST_F(CallMachineTest, AnAttemptThatIsNotAnsweredIsHedgedElsewhere) {
  HedgeAfter(absl::Milliseconds(50));
  const Action first = Start();
  EXPECT_EQ(Address(first), "a");
  EXPECT_FALSE(first.hedge);
  EXPECT_EQ(first.timer, now + absl::Milliseconds(50));
  const Action hedge = HedgeTimer(first);
  EXPECT_EQ(Address(hedge), "b");
  EXPECT_TRUE(hedge.hedge);
  EXPECT_EQ(hedge.attempt, 2);
  EXPECT_EQ(hedge.at, info.deadline);
  EXPECT_EQ(hedge.timer, absl::InfiniteFuture()) << "two attempts at most";
  EXPECT_EQ(Picker().elsewhere_than, endpoints[0].get());
  EXPECT_EQ(Machine().previous_attempts(), 1);
  EXPECT_EQ(endpoints[0]->in_flight(), 1);
  EXPECT_EQ(endpoints[1]->in_flight(), 1);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kHedge));
  Done(2, Ok());
}

TEST_F(CallMachineTest, TheFirstAnswerCountsAndTheOthersAreGivenUp) {
  HedgeAfter(absl::Milliseconds(50));
  HedgeTimer(Start());
  const Action end = Done(2, Ok());
  EXPECT_EQ(end.kind, Kind::kFinish);
  EXPECT_EQ(end.attempt, 2);
  EXPECT_EQ(endpoints[0]->in_flight(), 0);
  EXPECT_EQ(Done(1, Ok()).kind, Kind::kGoOn) << "it does not count any more";
  EXPECT_THAT(listener.events,
              ElementsAre("attempt 2 b OK", "attempt 1 a CANCELLED given up",
                          "end OK after 2"));
  EXPECT_FALSE(Machine().retried_in_vain());
}

TEST_F(CallMachineTest, AHedgeThatIsSlowerIsGivenUp) {
  HedgeAfter(absl::Milliseconds(50));
  HedgeTimer(Start());
  EXPECT_EQ(Done(1, Ok()).attempt, 1);
  EXPECT_THAT(listener.events,
              ElementsAre("attempt 1 a OK", "attempt 2 b CANCELLED given up",
                          "end OK after 2"));
}

TEST_F(CallMachineTest, FurtherHedgesFollowAfterTheSameDelay) {
  HedgeAfter(absl::Milliseconds(50));
  policy.hedging.max_attempts = 3;
  const Action second = HedgeTimer(Start());
  EXPECT_EQ(second.timer, now + absl::Milliseconds(50));
  const Action third = HedgeTimer(second);
  EXPECT_EQ(Address(third), "c");
  EXPECT_EQ(Machine().previous_attempts(), 2);
  EXPECT_EQ(third.timer, absl::InfiniteFuture());
  EXPECT_EQ(Done(3, Ok()).attempt, 3);
}

TEST_F(CallMachineTest, AnEarlyTimerOfAHedgeIsToldToComeAgain) {
  HedgeAfter(absl::Milliseconds(50));
  const Action first = Start();
  now = first.timer - absl::Nanoseconds(1);
  const std::optional<Action> again = Machine().OnTimer(At());
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->kind, Kind::kGoOn);
  EXPECT_EQ(again->timer, first.timer);
  EXPECT_EQ(Machine().attempts(), 1);
  Done(Ok());
}

TEST_F(CallMachineTest, OnlyWhatMayBeExecutedTwiceIsHedged) {
  HedgeAfter(absl::Milliseconds(50));
  for (bool CallPlan::*needed :
       {&CallPlan::idempotent, &CallPlan::replayable, &CallPlan::unary}) {
    machine.reset();
    listener.events.clear();
    plan.*needed = false;
    EXPECT_EQ(Start().timer, absl::InfiniteFuture());
    Done(Ok());
    plan.*needed = true;
  }
}

TEST_F(CallMachineTest, AnAdaptiveDelayFollowsTheMethodsLatency) {
  policy.hedging.mode = options::Mode::kEnforce;
  EXPECT_EQ(Start().timer, absl::InfiniteFuture()) << "nobody knows it";
  Done(Ok());

  resilience::LatencyTracker latency;
  plan.latency = &latency;
  machine.reset();
  listener.events.clear();
  EXPECT_EQ(Start().timer, absl::InfiniteFuture()) << "it is not known yet";
  Done(Ok());

  for (int i = 0; i < 100; ++i) latency.Record(absl::Milliseconds(100), now);
  now += absl::Seconds(1);
  machine.reset();
  listener.events.clear();
  const Action first = Start();
  EXPECT_GE(first.timer, now + absl::Milliseconds(112));
  EXPECT_LE(first.timer, now + absl::Milliseconds(138));
  Done(Ok());

  resilience::LatencyTracker quick;
  plan.latency = &quick;
  for (int i = 0; i < 100; ++i) quick.Record(absl::Microseconds(100), now);
  now += absl::Seconds(1);
  machine.reset();
  listener.events.clear();
  EXPECT_EQ(Start().timer, now + absl::Milliseconds(1)) << "the least";
  Done(Ok());
}

TEST_F(CallMachineTest, TheLatencyOfAttemptsThatWentWellIsRecorded) {
  resilience::LatencyTracker latency;
  plan.latency = &latency;
  info.deadline = absl::InfiniteFuture();
  for (int i = 0; i < 40; ++i) {
    machine.reset();
    listener.events.clear();
    Start();
    now += absl::Milliseconds(1);
    Done(1, Unavailable());
    now += absl::Milliseconds(100);
    Done(2, Ok());
  }
  const absl::Duration median = latency.Quantile(0.05, now);
  EXPECT_GE(median, absl::Milliseconds(90));
  EXPECT_LE(median, absl::Milliseconds(110));
}

TEST_F(CallMachineTest, AHedgeIsChargedToTheBudget) {
  HedgeAfter(absl::Milliseconds(50));
  budget_options.ratio = 0;
  budget_options.min_per_second = 2;
  HedgeTimer(Start());
  EXPECT_LT(budget->Balance(now), 1.11);
  Done(1, Ok());
}

TEST_F(CallMachineTest, WithoutBudgetItIsAskedForAgainLessAndLessOften) {
  HedgeAfter(absl::Milliseconds(50));
  budget_options.ratio = 0;
  budget_options.min_per_second = 0;
  Action wait = HedgeTimer(Start());
  for (int ms : {100, 200, 400}) {
    EXPECT_EQ(wait.kind, Kind::kGoOn);
    EXPECT_EQ(wait.timer, now + absl::Milliseconds(ms));
    wait = HedgeTimer(wait);
  }
  budget_options.min_per_second = 10;
  budget->SetOptions(budget_options);
  const Action hedge = HedgeTimer(wait);
  EXPECT_EQ(Address(hedge), "b");
  EXPECT_EQ(endpoints[0]->in_flight(), 1);
  EXPECT_THAT(listener.verdicts,
              ElementsAre(Verdict::kBudgetExhausted, Verdict::kBudgetExhausted,
                          Verdict::kBudgetExhausted, Verdict::kBudgetExhausted,
                          Verdict::kHedge));
  Done(2, Ok());
}

TEST_F(CallMachineTest, WithNoOtherEndpointThereIsNoHedge) {
  HedgeAfter(absl::Milliseconds(50));
  Endpoints(1);
  const Action wait = HedgeTimer(Start());
  EXPECT_EQ(wait.kind, Kind::kGoOn);
  EXPECT_EQ(endpoints[0]->in_flight(), 1);
  EXPECT_GE(budget->Balance(now), budget_options.min_per_second)
      << "nothing is charged";
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kGoOn));
  Done(Ok());
}

TEST_F(CallMachineTest, NoHedgeIsDueAfterTheDeadline) {
  HedgeAfter(absl::Milliseconds(50));
  info.deadline = now + absl::Milliseconds(50);
  EXPECT_EQ(Start().timer, absl::InfiniteFuture());
  Done(Ok());
}

TEST_F(CallMachineTest, AHedgeThatCouldNotBeAnsweredInTimeIsNotMade) {
  HedgeAfter(absl::Milliseconds(50));
  resilience::LatencyTracker latency;
  for (int i = 0; i < 100; ++i) latency.Record(absl::Milliseconds(100), now);
  plan.needed = &latency;
  info.deadline = now + absl::Milliseconds(120);
  const Action first = Start();
  EXPECT_EQ(HedgeTimer(first).kind, Kind::kGoOn);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kDeadline));
  EXPECT_EQ(Machine().attempts(), 1);
  Done(Ok());
}

TEST_F(CallMachineTest, ARetryThatCouldNotBeAnsweredInTimeIsNotMade) {
  resilience::LatencyTracker latency;
  for (int i = 0; i < 100; ++i) latency.Record(absl::Milliseconds(100), now);
  plan.needed = &latency;
  info.deadline = now + absl::Milliseconds(120);
  Start();
  now += absl::Milliseconds(50);
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kDeadline));
  EXPECT_THAT(Machine().Story(now), HasSubstr("no time is left for a retry."));
  EXPECT_FALSE(Machine().retried_in_vain());
}

TEST_F(CallMachineTest, TheFirstAttemptIsMadeHoweverLateItIs) {
  resilience::LatencyTracker latency;
  for (int i = 0; i < 100; ++i) latency.Record(absl::Seconds(5), now);
  plan.needed = &latency;
  info.deadline = now + absl::Milliseconds(1);
  EXPECT_EQ(Address(Start()), "a");
  Done(Ok());
}

TEST_F(CallMachineTest, WhatHedgingKnowsOfAMethodKeepsNoRetryFromBeingMade) {
  resilience::LatencyTracker latency;
  for (int i = 0; i < 100; ++i) latency.Record(absl::Seconds(1), now);
  plan.latency = &latency;
  policy.hedging.mode = options::Mode::kObserve;
  info.deadline = now + absl::Milliseconds(500);
  Start();
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kStartAttempt);
  Done(Ok());
}

TEST_F(CallMachineTest, AFailureThatMayBeRetriedLeavesTheCallToTheOthers) {
  HedgeAfter(absl::Milliseconds(50));
  HedgeTimer(Start());
  const Action on = Done(1, Unavailable());
  EXPECT_EQ(on.kind, Kind::kGoOn);
  EXPECT_FALSE(on.cancel_others);
  EXPECT_EQ(endpoints[0]->in_flight(), 0);
  EXPECT_EQ(endpoints[1]->in_flight(), 1);
  EXPECT_EQ(Done(2, Ok()).attempt, 2);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kHedge, Verdict::kGoOn));
}

TEST_F(CallMachineTest, AfterAFailureTheNextHedgeDoesNotWait) {
  HedgeAfter(absl::Milliseconds(50));
  policy.hedging.max_attempts = 3;
  HedgeTimer(Start());
  const Action third = Done(2, Unavailable());
  EXPECT_EQ(Address(third), "c");
  EXPECT_TRUE(third.hedge);
  EXPECT_EQ(endpoints[0]->in_flight(), 1);
  Done(3, Ok());
  EXPECT_THAT(listener.verdicts,
              ElementsAre(Verdict::kHedge, Verdict::kGoOn, Verdict::kHedge));
}

TEST_F(CallMachineTest, AFatalFailureIsTheOutcomeOfTheCall) {
  HedgeAfter(absl::Milliseconds(50));
  HedgeTimer(Start());
  const Action end = Done(2, Ended(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(end.kind, Kind::kFinish);
  EXPECT_EQ(end.attempt, 2);
  EXPECT_THAT(listener.events, ElementsAre("attempt 2 b INVALID_ARGUMENT",
                                           "attempt 1 a CANCELLED given up",
                                           "end INVALID_ARGUMENT after 2"));
  EXPECT_THAT(
      Machine().Story(now),
      HasSubstr("(a, b), and the last failed with INVALID_ARGUMENT from b"));
}

TEST_F(CallMachineTest, WhenAllHaveFailedThePolicyDecidesOnARetry) {
  HedgeAfter(absl::Milliseconds(50));
  HedgeTimer(Start());
  Done(1, Unavailable());
  const Action third = Done(2, Unavailable());
  EXPECT_EQ(Address(third), "c");
  EXPECT_FALSE(third.hedge);
  EXPECT_EQ(third.timer, absl::InfiniteFuture())
      << "hedging's attempts are used up";
  EXPECT_EQ(Machine().previous_attempts(), 2);
  const Action end = Done(3, Unavailable());
  EXPECT_EQ(end.kind, Kind::kFinish);
  EXPECT_EQ(end.attempt, 3);
  EXPECT_THAT(listener.verdicts,
              ElementsAre(Verdict::kHedge, Verdict::kGoOn, Verdict::kRetry,
                          Verdict::kAttemptsExhausted));
  EXPECT_TRUE(Machine().retried_in_vain());
}

TEST_F(CallMachineTest, WhatATierWasToldItHasToPassOnThoughItDoesNotRetry) {
  plan.idempotent = false;
  Start();
  AttemptOutcome outcome = Unavailable();
  outcome.pushback = -absl::Milliseconds(1);
  EXPECT_EQ(Done(outcome).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kNotRetryable));
  EXPECT_TRUE(Machine().retried_in_vain());
}

TEST_F(CallMachineTest, ARetryIsHedgedToo) {
  HedgeAfter(absl::Milliseconds(50));
  policy.hedging.max_attempts = 3;
  Start();
  const Action second = Done(1, Unavailable());
  EXPECT_EQ(Address(second), "b");
  EXPECT_EQ(second.timer, now + absl::Milliseconds(50));
  const Action third = HedgeTimer(second);
  EXPECT_EQ(Address(third), "c") << "not where the call has been";
  Done(3, Ok());
}

// One was tried while its connection was gone, and the other one is silent.
TEST_F(CallMachineTest, AHedgeGoesToATriedEndpointWhenAllOthersAreBusyWithIt) {
  Endpoints(2);
  HedgeAfter(absl::Milliseconds(50));
  Start();
  const Action second = Done(1, NeverSent());
  EXPECT_EQ(Address(second), "b");
  const Action hedge = HedgeTimer(second);
  EXPECT_EQ(Address(hedge), "a");
  EXPECT_TRUE(hedge.hedge);
  EXPECT_EQ(Done(3, Ok()).kind, Kind::kFinish);
}

// The hedge fell on a connection that ended under it, and there is no third
// endpoint. No server has seen it, so another one may follow.
TEST_F(CallMachineTest, AHedgeThatNoServerHasSeenUsesUpNoAttempt) {
  Endpoints(2);
  HedgeAfter(absl::Milliseconds(50));
  Action wait = HedgeTimer(Start());
  EXPECT_EQ(Address(wait), "b");
  int attempt = 2;
  for (int ms : {100, 200, 400}) {
    wait = Done(attempt, NeverSent());
    EXPECT_EQ(wait.kind, Kind::kGoOn);
    EXPECT_EQ(wait.timer, now + absl::Milliseconds(ms));
    wait = HedgeTimer(wait);
    EXPECT_EQ(Address(wait), "b") << "it may be back";
    EXPECT_TRUE(wait.hedge);
    EXPECT_EQ(wait.timer, absl::InfiniteFuture()) << "two run";
    ++attempt;
  }
  EXPECT_EQ(Machine().previous_attempts(), 1);
  EXPECT_EQ(Done(attempt, Ok()).kind, Kind::kFinish);
}

TEST_F(CallMachineTest, AHedgeThatAServerHasSeenUsesUpAnAttempt) {
  Endpoints(2);
  HedgeAfter(absl::Milliseconds(50));
  HedgeTimer(Start());
  EXPECT_EQ(Done(2, Unavailable()).timer, absl::InfiniteFuture());
  Done(1, Ok());
}

// The first attempt was held up on its way, and its connection then ended.
TEST_F(CallMachineTest, AFirstAttemptThatNoServerHasSeenUsesUpNone) {
  Endpoints(2);
  HedgeAfter(absl::Milliseconds(50));
  HedgeTimer(Start());
  const Action wait = Done(1, NeverSent());
  EXPECT_EQ(wait.kind, Kind::kGoOn);
  EXPECT_EQ(Address(HedgeTimer(wait)), "a");
  Done(3, Ok());
}

// When the attempt runs on the only other endpoint, there is no hedge.
TEST_F(CallMachineTest, NoTwoAttemptsOfACallRunOnOneEndpoint) {
  Endpoints(1);
  HedgeAfter(absl::Milliseconds(50));
  EXPECT_EQ(HedgeTimer(Start()).kind, Kind::kGoOn);
  EXPECT_EQ(endpoints[0]->in_flight(), 1);
  Done(1, Ok());
}

TEST_F(CallMachineTest, AHedgeThatNoServerHasSeenIsMadeElsewhereAtOnce) {
  HedgeAfter(absl::Milliseconds(50));
  HedgeTimer(Start());
  const Action third = Done(2, NeverSent());
  EXPECT_EQ(Address(third), "c");
  EXPECT_TRUE(third.hedge);
  EXPECT_EQ(Machine().previous_attempts(), 1) << "b's is not counted";
  EXPECT_EQ(Done(3, NeverSent()).kind, Kind::kGoOn)
      << "the first one still runs";
  EXPECT_EQ(Done(1, Ok()).kind, Kind::kFinish);
  EXPECT_THAT(
      listener.verdicts,
      ElementsAre(Verdict::kHedge, Verdict::kTransparent, Verdict::kGoOn));
}

TEST_F(CallMachineTest, ANegativePushbackForbidsFurtherHedgesAndRetries) {
  HedgeAfter(absl::Milliseconds(50));
  policy.hedging.max_attempts = 3;
  HedgeTimer(Start());
  AttemptOutcome outcome = Unavailable();
  outcome.pushback = absl::Milliseconds(-1);
  const Action on = Done(2, outcome);
  EXPECT_EQ(on.kind, Kind::kGoOn);
  EXPECT_EQ(on.timer, absl::InfiniteFuture());
  EXPECT_EQ(Done(1, Unavailable()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kHedge, Verdict::kGoOn,
                                             Verdict::kPushedBack));
  EXPECT_TRUE(Machine().retried_in_vain());
}

TEST_F(CallMachineTest, APositivePushbackPutsTheNextHedgeOff) {
  HedgeAfter(absl::Milliseconds(50));
  policy.hedging.max_attempts = 3;
  HedgeTimer(Start());
  AttemptOutcome outcome = Unavailable();
  outcome.pushback = absl::Milliseconds(700);
  const Action on = Done(2, outcome);
  EXPECT_EQ(on.kind, Kind::kGoOn);
  EXPECT_EQ(on.timer, now + absl::Milliseconds(700));
  EXPECT_EQ(Address(HedgeTimer(on)), "c");
  Done(1, Ok());
}

TEST_F(CallMachineTest, WhenTheCallerHasAPartOfAnAnswerNoOtherAttemptCounts) {
  HedgeAfter(absl::Milliseconds(50));
  policy.hedging.max_attempts = 3;
  HedgeTimer(Start());
  const Action on = Machine().OnCommitted(1, At());
  EXPECT_EQ(on.kind, Kind::kGoOn);
  EXPECT_TRUE(on.cancel_others);
  EXPECT_EQ(on.attempt, 1);
  EXPECT_EQ(on.timer, absl::InfiniteFuture());
  EXPECT_EQ(endpoints[1]->in_flight(), 0);
  EXPECT_EQ(Done(2, Ok()).kind, Kind::kGoOn);
  EXPECT_FALSE(Machine().OnTimer(At()).has_value());
  EXPECT_EQ(Done(1, Unavailable()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts,
              ElementsAre(Verdict::kHedge, Verdict::kCommitted));
}

TEST_F(CallMachineTest, OneAttemptThatCommitsCancelsNothing) {
  Start();
  const Action on = Machine().OnCommitted(1, At());
  EXPECT_EQ(on.kind, Kind::kGoOn);
  EXPECT_FALSE(on.cancel_others);
  EXPECT_EQ(Machine().OnCommitted(7, At()).kind, Kind::kGoOn);
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kCommitted));
}

TEST_F(CallMachineTest, CancelledWhileSeveralRunTheFirstOutcomeEndsTheCall) {
  HedgeAfter(absl::Milliseconds(50));
  policy.hedging.max_attempts = 3;
  HedgeTimer(Start());
  EXPECT_FALSE(Machine().OnCancelled(At()).has_value());
  EXPECT_FALSE(Machine().OnTimer(At()).has_value()) << "no further hedge";
  const Action end = Done(1, Ended(absl::StatusCode::kCancelled));
  EXPECT_EQ(end.kind, Kind::kFinish);
  EXPECT_EQ(end.attempt, 1);
  EXPECT_THAT(listener.verdicts,
              ElementsAre(Verdict::kHedge, Verdict::kCancelled));
  EXPECT_FALSE(Machine().retried_in_vain());
}

TEST_F(CallMachineTest, AbandonedWhileSeveralRunAllEndpointsAreGivenBack) {
  HedgeAfter(absl::Milliseconds(50));
  HedgeTimer(Start());
  Machine().Abandon(now);
  EXPECT_THAT(listener.events,
              ElementsAre("attempt 1 a CANCELLED", "attempt 2 b CANCELLED",
                          "end CANCELLED after 2"));
}

TEST_F(CallMachineTest, TheDeadlineEndsAllThatRun) {
  HedgeAfter(absl::Milliseconds(50));
  HedgeTimer(Start());
  now = info.deadline;
  AttemptOutcome outcome = Ended(absl::StatusCode::kDeadlineExceeded);
  outcome.local = true;
  EXPECT_EQ(Done(2, outcome).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts,
              ElementsAre(Verdict::kHedge, Verdict::kDeadline));
}

TEST_F(CallMachineTest, HedgingThatOnlyObservesSaysWhatItWouldHaveDone) {
  HedgeAfter(absl::Milliseconds(50));
  policy.hedging.mode = options::Mode::kObserve;
  EXPECT_EQ(Start().timer, absl::InfiniteFuture());
  now += absl::Milliseconds(50);
  Done(Ok());
  EXPECT_THAT(listener.events,
              ElementsAre("attempt 1 a OK", "would hedge after 50ms",
                          "end OK after 1"));

  machine.reset();
  listener.events.clear();
  Start();
  now += absl::Milliseconds(49);
  Done(Ok());
  EXPECT_THAT(listener.events, ElementsAre("attempt 1 a OK", "end OK after 1"));
}

}  // namespace
}  // namespace mesh::call
