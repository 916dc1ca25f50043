#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/call/call_machine_test_util.h"

namespace mesh::call {
namespace {

using ::testing::ElementsAre;
using Kind = Action::Kind;
using Verdict = telemetry::RetryEvent::Verdict;

TEST_F(CallMachineTest, TheFirstRetryGoesElsewhereAtOnceTheNextWaits) {
  Start();
  const Action second = Done(Unavailable());
  EXPECT_EQ(Address(second), "b");
  EXPECT_EQ(Machine().previous_attempts(), 1);
  const Action backoff = Done(Unavailable());
  ASSERT_EQ(backoff.kind, Kind::kSetTimer);
  EXPECT_GE(backoff.at - now, absl::Milliseconds(80));
  EXPECT_LE(backoff.at - now, absl::Milliseconds(120));
  EXPECT_EQ(endpoints[1]->in_flight(), 0) << "nothing is held while it waits";
  EXPECT_EQ(Address(Timer(backoff)), "c");
  EXPECT_EQ(Machine().previous_attempts(), 2);
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kRetry, Verdict::kRetry,
                                             Verdict::kAttemptsExhausted));
}

TEST_F(CallMachineTest, BackoffsGrowToTheirLimitWithJitter) {
  policy.retry.max_attempts = 10;
  Endpoints(1);
  Start();
  for (int expected_ms : {100, 200, 300, 300}) {
    const Action backoff = Done(Unavailable());
    ASSERT_EQ(backoff.kind, Kind::kSetTimer);
    EXPECT_GE(backoff.at - now, absl::Milliseconds(expected_ms) * 0.8);
    EXPECT_LE(backoff.at - now, absl::Milliseconds(expected_ms) * 1.2);
    EXPECT_EQ(Address(Timer(backoff)), "a") << "there is no other";
  }
  Done(Ok());
}

TEST_F(CallMachineTest, WithOneEndpointTheFirstRetryWaitsToo) {
  Endpoints(1);
  Start();
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kSetTimer);
  Machine().Abandon(now);
}

TEST_F(CallMachineTest, WhenAllHaveBeenTriedTheNextIsNotTheLastOne) {
  policy.retry.max_attempts = 10;
  Endpoints(2);
  EXPECT_EQ(Address(Start()), "a");
  EXPECT_EQ(Address(Done(Unavailable())), "b");
  EXPECT_EQ(Address(Timer(Done(Unavailable()))), "a");
  EXPECT_EQ(Address(Timer(Done(Unavailable()))), "b");
  EXPECT_EQ(Address(Timer(Done(Unavailable()))), "a");
  Done(Ok());
}

TEST_F(CallMachineTest, RetriesNoCodeThatThePolicyDoesNotName) {
  Start();
  EXPECT_EQ(Done(Ended(absl::StatusCode::kInternal)).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kNotRetryable));
}

TEST_F(CallMachineTest, NeverExecutesTwiceWhatMayNotBe) {
  plan.idempotent = false;
  Start();
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kNotRetryable));
}

TEST_F(CallMachineTest, RetriesNothingThatCannotBeSentAgain) {
  plan.replayable = false;
  Start();
  EXPECT_EQ(Done(NeverSent()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kNotRetryable));
}

TEST_F(CallMachineTest, RetriesNothingOfWhichTheCallerHasSeenAPart) {
  AttemptOutcome outcome = Unavailable();
  outcome.committed = true;
  Start();
  EXPECT_EQ(Done(outcome).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kCommitted));
}

TEST_F(CallMachineTest, AnAttemptThatTimesOutIsRetriedWhateverTheCodes) {
  policy.retry.attempt_timeout = absl::Seconds(1);
  EXPECT_EQ(Start().at, now + absl::Seconds(1));
  now += absl::Seconds(1);
  AttemptOutcome outcome = Ended(absl::StatusCode::kDeadlineExceeded);
  outcome.attempt_timed_out = true;
  EXPECT_EQ(Address(Done(outcome)), "b");
  Done(Ok());
}

TEST_F(CallMachineTest, AnAttemptEndsNoLaterThanTheCall) {
  policy.retry.attempt_timeout = absl::Seconds(100);
  EXPECT_EQ(Start().at, info.deadline);
  Done(Ok());
}

TEST_F(CallMachineTest, AnAttemptThatNoneCanFollowIsNotCutShort) {
  policy.retry.attempt_timeout = absl::Seconds(1);
  plan.idempotent = false;
  EXPECT_EQ(Start().at, info.deadline);
  Done(Ok());
}

// ---- Pushback ----

TEST_F(CallMachineTest, WaitsAsLongAsTheServerSaysThenStartsBackoffAnew) {
  policy.retry.max_attempts = 10;
  Start();
  AttemptOutcome outcome = Unavailable();
  outcome.pushback = absl::Milliseconds(1234);
  const Action pause = Done(outcome);
  EXPECT_EQ(pause.at, now + absl::Milliseconds(1234));
  EXPECT_EQ(Address(Timer(pause)), "b");
  const Action backoff = Done(Unavailable());
  EXPECT_LE(backoff.at - now, absl::Milliseconds(120));
  EXPECT_EQ(Address(Timer(backoff)), "c");
  EXPECT_EQ(Address(Timer(Done(outcome))), "a");
  EXPECT_LE(Done(Unavailable()).at - now, absl::Milliseconds(120));
  Machine().Abandon(now);
}

TEST_F(CallMachineTest, APushbackOfNothingRetriesAtTheSameMoment) {
  Start();
  AttemptOutcome outcome = Unavailable();
  outcome.pushback = absl::ZeroDuration();
  const Action pause = Done(outcome);
  EXPECT_EQ(pause.at, now);
  EXPECT_EQ(Address(Timer(pause)), "b");
  Done(Ok());
}

TEST_F(CallMachineTest, DoesNotRetryWhenTheServerSaysNotTo) {
  for (absl::Duration pushback :
       {absl::Milliseconds(-1), absl::Hours(1), -absl::InfiniteDuration()}) {
    machine.reset();
    listener.events.clear();
    listener.verdicts.clear();
    info.deadline = absl::InfiniteFuture();
    AttemptOutcome outcome = Unavailable();
    outcome.pushback = pushback;
    Start();
    EXPECT_EQ(Done(outcome).kind, Kind::kFinish);
    EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kPushedBack));
  }
}

// ---- Budget ----

TEST_F(CallMachineTest, WithoutBudgetTheFailureStands) {
  budget_options.ratio = 0;
  budget_options.min_per_second = 0;
  Start();
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kBudgetExhausted));
}

TEST_F(CallMachineTest, OnlyARetryThatIsMadeIsCharged) {
  budget_options.ratio = 0;
  budget_options.min_per_second = 1;
  info.deadline = now + absl::Milliseconds(50);
  Endpoints(1);
  Start();
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kDeadline));
  EXPECT_EQ(budget->Balance(now), 1);
}

TEST_F(CallMachineTest, TransparentRetriesAreNotCharged) {
  budget_options.ratio = 0;
  budget_options.min_per_second = 0;
  policy.retry.max_attempts = 1;
  Start();
  EXPECT_EQ(Address(Done(NeverSent())), "b");
  Done(Ok());
}

// ---- Transparent retry ----

TEST_F(CallMachineTest, WhatNoServerHasSeenIsTriedElsewhereForEveryMethod) {
  plan.idempotent = false;
  EXPECT_EQ(Address(Start()), "a");
  EXPECT_EQ(Address(Done(NeverSent())), "b");
  EXPECT_EQ(Address(Done(NeverSent())), "c");
  EXPECT_EQ(Machine().previous_attempts(), 0);
  EXPECT_EQ(Machine().attempts(), 3);
  Done(Ok());
  EXPECT_THAT(listener.verdicts,
              ElementsAre(Verdict::kTransparent, Verdict::kTransparent));
}

TEST_F(CallMachineTest, AfterOneRoundItIsSentOnceMoreThenTheFailureStands) {
  plan.idempotent = false;
  Start();
  EXPECT_EQ(Address(Done(NeverSent())), "b");
  EXPECT_EQ(Address(Done(NeverSent())), "c");
  EXPECT_EQ(Address(Done(NeverSent())), "a");
  EXPECT_EQ(Address(Done(NeverSent())), "b") << "a new round";
  EXPECT_EQ(Address(Done(NeverSent())), "none");
  EXPECT_TRUE(Machine().finished());
}

TEST_F(CallMachineTest, TheOnlyEndpointIsTriedOnceMore) {
  plan.idempotent = false;
  Endpoints(1);
  Start();
  EXPECT_EQ(Address(Done(NeverSent())), "a");
  EXPECT_EQ(Done(NeverSent()).kind, Kind::kFinish);
}

TEST_F(CallMachineTest, TransparentRetriesAreBounded) {
  plan.idempotent = false;
  Endpoints(20);
  Start();
  int attempts = 1;
  while (Done(NeverSent()).kind == Kind::kStartAttempt) ++attempts;
  EXPECT_EQ(attempts, 1 + kMaxTransparentRetries);
}

TEST_F(CallMachineTest, WaitingForReadyItGoesOnTillTheDeadline) {
  plan.idempotent = false;
  plan.wait_for_ready = true;
  Endpoints(1);
  Start();
  Action action = Done(NeverSent());
  int attempts = 2;
  while (!Machine().finished()) {
    if (action.kind == Kind::kStartAttempt) {
      ASSERT_LT(now, info.deadline);
      ++attempts;
      action = Done(NeverSent());
    } else {
      action = Timer(action);
    }
  }
  EXPECT_EQ(now, info.deadline);
  EXPECT_EQ(action.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_GT(attempts, 25) << "10 s of backoffs of up to 0.36 s";
}

TEST_F(CallMachineTest, ThePolicyTakesOverWhereTransparentRetryEnds) {
  Endpoints(1);
  policy.retry.max_attempts = 2;
  Start();
  Done(NeverSent());
  const Action backoff = Done(NeverSent());
  EXPECT_EQ(backoff.kind, Kind::kSetTimer);
  EXPECT_EQ(Address(Timer(backoff)), "a");
  EXPECT_EQ(Done(NeverSent()).kind, Kind::kFinish);
}

}  // namespace
}  // namespace mesh::call
