#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/call/call_machine_test_util.h"

namespace mesh::call {
namespace {

using ::testing::HasSubstr;
using Kind = Action::Kind;

TEST_F(CallMachineTest, TheStoryTellsWhoWasTriedHowOftenAndWhyItStopped) {
  Start();
  now += absl::Milliseconds(2);
  Done(Unavailable());
  now += absl::Milliseconds(30);
  Timer(Done(Unavailable()));
  info.start = now - absl::Milliseconds(412);
  budget_options.ratio = budget_options.min_per_second = 0;
  policy.retry.max_attempts = 4;
  budget->SetOptions(budget_options);
  while (budget->TryWithdraw(now)) {
  }
  Done(Unavailable());
  EXPECT_EQ(Machine().Story(now),
            "cart: 3 attempts were made in 412 ms (a, b, c), and the last "
            "failed with UNAVAILABLE from c. No other was made: retry_budget "
            "is exhausted.");
  EXPECT_TRUE(Machine().retried_in_vain());
}

TEST_F(CallMachineTest, TheStoryOfOneAttemptIsShort) {
  plan.idempotent = false;
  Start();
  now += absl::Microseconds(3200);
  Done(Unavailable());
  EXPECT_EQ(Machine().Story(now),
            "cart: 1 attempt was made in 3.2 ms, and failed with UNAVAILABLE "
            "from a. No other was made: the method is not said to be "
            "idempotent.");
  EXPECT_FALSE(Machine().retried_in_vain());
}

TEST_F(CallMachineTest, TheStoryOfManyAttemptsNamesTheFirstAndTheLast) {
  Endpoints(9);
  policy.retry.max_attempts = 7;
  Action action = Start();
  while (!Machine().finished()) {
    action =
        action.kind == Kind::kSetTimer ? Timer(action) : Done(Unavailable());
  }
  EXPECT_THAT(Machine().Story(now),
              HasSubstr("(a, b, c, d, ..., g), and the last failed with "
                        "UNAVAILABLE from g. No other was made: "
                        "retry.max_attempts allows no more."));
}

TEST_F(CallMachineTest, AStatusOfOurOwnTellsTheStoryToo) {
  Endpoints(1);
  Start();
  Done(Unavailable());
  now = info.deadline;
  EXPECT_EQ(Machine().OnTimer(At())->status.message(),
            "cart: the deadline passed before a retry could begin. 1 attempt "
            "was made in 10.00 s, and failed with UNAVAILABLE from a.");
}

TEST_F(CallMachineTest, EveryEndOfACallHasItsWords) {
  struct Case {
    std::string words;
    std::function<void()> set;
    AttemptOutcome outcome;
  };
  AttemptOutcome pushed_back = Unavailable();
  pushed_back.pushback = absl::Milliseconds(-1);
  AttemptOutcome committed = Unavailable();
  committed.committed = true;
  const std::vector<Case> cases = {
      {": retry.codes does not have this status.", [] {},
       Ended(absl::StatusCode::kNotFound)},
      {": the request cannot be sent again.",
       [this] { plan.replayable = false; }, Unavailable()},
      {": a server said not to retry.", [] {}, pushed_back},
      {": a part of the answer was delivered.", [] {}, committed},
      {": retry.max_attempts allows no more.",
       [this] { policy.retry.max_attempts = 1; }, Unavailable()},
  };
  for (const Case& each : cases) {
    machine.reset();
    listener.events.clear();
    plan.replayable = true;
    policy.retry.max_attempts = 3;
    each.set();
    Start();
    EXPECT_EQ(Done(each.outcome).kind, Kind::kFinish);
    EXPECT_THAT(Machine().Story(now), HasSubstr(each.words));
  }
}

}  // namespace
}  // namespace mesh::call
