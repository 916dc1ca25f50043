#include "mesh/call/call_machine.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::call {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = Action::Kind;
using Verdict = telemetry::RetryEvent::Verdict;

// Picks the first endpoint that the call has not tried, then the first.
class FirstUntried : public balancing::Picker {
 public:
  explicit FirstUntried(std::vector<cluster::LiveEndpoint*> endpoints)
      : endpoints_(std::move(endpoints)) {}

  balancing::PickResult Pick(const balancing::PickArgs& args) const override {
    elsewhere_than = args.elsewhere_than;
    balancing::PickResult result;
    result.kind = balancing::PickResult::Kind::kUse;
    result.endpoint = endpoints_[0];
    for (cluster::LiveEndpoint* endpoint : endpoints_) {
      if (std::find(args.tried.begin(), args.tried.end(), endpoint) ==
          args.tried.end()) {
        result.endpoint = endpoint;
        break;
      }
    }
    EXPECT_TRUE(result.endpoint->Acquire());
    return result;
  }

  mutable const cluster::LiveEndpoint* elsewhere_than = nullptr;

 private:
  const std::vector<cluster::LiveEndpoint*> endpoints_;
};

// Always says the same, which is not an endpoint.
class Says : public balancing::Picker {
 public:
  explicit Says(balancing::PickResult::Kind kind, absl::Status status = {})
      : kind_(kind), status_(std::move(status)) {}
  balancing::PickResult Pick(const balancing::PickArgs&) const override {
    return {kind_, nullptr, &status_};
  }

 private:
  const balancing::PickResult::Kind kind_;
  const absl::Status status_;
};

// Writes down what it is told.
class Listener : public telemetry::Observer {
 public:
  explicit Listener(bool wants_picks) : wants_picks_(wants_picks) {}

  void OnCallStart(const telemetry::CallInfo&,
                   const telemetry::CallStartEvent&) override {
    events.push_back("start");
  }
  void OnPick(const telemetry::CallInfo&,
              const telemetry::PickEvent& event) override {
    static const char* const kNames[] = {"used", "waited", "failed",
                                         "declined"};
    events.push_back(absl::StrCat("pick ", kNames[int(event.result)]));
  }
  void OnAttemptEnd(const telemetry::CallInfo&,
                    const telemetry::AttemptEvent& event) override {
    EXPECT_GT(event.endpoint->in_flight(), 0) << "released before it was told";
    events.push_back(absl::StrCat("attempt ", event.attempt, " ",
                                  event.endpoint->endpoint().address, " ",
                                  absl::StatusCodeToString(event.code),
                                  event.given_up ? " given up" : ""));
  }
  void OnRetryDecision(const telemetry::CallInfo&,
                       const telemetry::RetryEvent& event) override {
    if (event.observed) {
      events.push_back(absl::StrCat("would hedge after ",
                                    absl::FormatDuration(event.delay)));
      return;
    }
    verdicts.push_back(event.verdict);
  }
  void OnRefusal(const telemetry::CallInfo&,
                 const telemetry::RefusalEvent& event) override {
    events.push_back(absl::StrCat(
        event.observed ? "would refuse: " : "refused: ",
        options::NameOf(event.guard), " ", absl::StatusCodeToString(event.code),
        " '", event.why, "' ", absl::FormatDuration(event.delay)));
  }
  void OnCallEnd(const telemetry::CallInfo&,
                 const telemetry::CallEvent& event) override {
    events.push_back(absl::StrCat("end ", absl::StatusCodeToString(event.code),
                                  " after ", event.attempts));
  }
  bool WantsPicks() const override { return wants_picks_; }

  std::vector<std::string> events;
  std::vector<Verdict> verdicts;

 private:
  const bool wants_picks_;
};

AttemptOutcome Ended(absl::StatusCode code) {
  AttemptOutcome outcome;
  outcome.code = code;
  return outcome;
}
AttemptOutcome Ok() { return Ended(absl::StatusCode::kOk); }
AttemptOutcome Unavailable() { return Ended(absl::StatusCode::kUnavailable); }
AttemptOutcome NeverSent() {
  AttemptOutcome outcome = Unavailable();
  outcome.never_sent = true;
  return outcome;
}

// One call to a service of `endpoints` endpoints that may be retried, until a
// test says otherwise.
class CallMachineTest : public ::testing::Test {
 protected:
  CallMachineTest() {
    Endpoints(3);
    info.service = "cart";
    info.method = "/shop.Cart/Get";
    info.start = now;
    info.deadline = now + absl::Seconds(10);
    plan.policy = &policy;
    plan.observer = &listener;
    plan.idempotent = true;
    plan.replayable = true;
    policy.retry.max_attempts = 3;
    policy.retry.initial_backoff = absl::Milliseconds(100);
    policy.retry.max_backoff = absl::Milliseconds(300);
    policy.retry.backoff_multiplier = 2;
  }
  ~CallMachineTest() override {
    for (const auto& endpoint : endpoints) EXPECT_EQ(endpoint->in_flight(), 0);
    if (listener.events.empty()) return;
    int ends = 0;
    for (const std::string& event : listener.events) {
      ends += event.rfind("end ", 0) == 0;
    }
    EXPECT_EQ(ends, 1);
  }

  void Endpoints(int count) {
    endpoints.clear();
    std::vector<cluster::LiveEndpoint*> all;
    for (int i = 0; i < count; ++i) {
      cluster::Endpoint endpoint;
      endpoint.address = std::string(1, 'a' + i);
      endpoints.push_back(std::make_unique<cluster::LiveEndpoint>(endpoint));
      all.push_back(endpoints.back().get());
    }
    picker = std::make_unique<FirstUntried>(all);
  }
  void PickerSays(balancing::PickResult::Kind kind, absl::Status status = {}) {
    picker = std::make_unique<Says>(kind, std::move(status));
  }

  Moment At() { return {now, picker.get(), &random}; }
  CallMachine& Machine() {
    if (machine == nullptr) {
      budget = std::make_unique<resilience::RetryBudget>(budget_options, now);
      plan.budget = budget.get();
      machine = std::make_unique<CallMachine>(plan, &info);
    }
    return *machine;
  }
  Action Start() { return Machine().Start(At()); }
  Action Done(const AttemptOutcome& outcome) {
    return Done(Machine().attempts(), outcome);
  }
  Action Done(int attempt, const AttemptOutcome& outcome) {
    return Machine().OnAttemptDone(attempt, outcome, At());
  }
  // Lets the time of `action` come and tells the machine.
  Action Timer(const Action& action) {
    EXPECT_EQ(action.kind, Kind::kSetTimer);
    now = action.at;
    std::optional<Action> next = Machine().OnTimer(At());
    EXPECT_TRUE(next.has_value());
    return next.value_or(Action());
  }
  // Lets the time for the next hedge come and tells the machine.
  Action HedgeTimer(const Action& action) {
    EXPECT_NE(action.timer, absl::InfiniteFuture());
    now = action.timer;
    std::optional<Action> next = Machine().OnTimer(At());
    EXPECT_TRUE(next.has_value());
    return next.value_or(Action());
  }
  void HedgeAfter(absl::Duration delay) {
    policy.hedging.mode = options::Mode::kEnforce;
    policy.hedging.delay = delay;
  }
  FirstUntried& Picker() { return static_cast<FirstUntried&>(*picker); }
  static std::string Address(const Action& action) {
    return action.kind == Kind::kStartAttempt
               ? action.endpoint->endpoint().address
               : "none";
  }

  absl::Time now = absl::UnixEpoch() + absl::Hours(1);
  options::MethodOptions policy;
  options::RetryBudgetOptions budget_options;
  telemetry::CallInfo info;
  CallPlan plan;
  Listener listener{false};
  base::Random random{1};
  std::vector<std::unique_ptr<cluster::LiveEndpoint>> endpoints;
  std::unique_ptr<balancing::Picker> picker;
  std::unique_ptr<resilience::RetryBudget> budget;
  std::unique_ptr<CallMachine> machine;
};

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

// ---- Hedging ----

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
  policy.hedging.quantile = 0.95;
  policy.hedging.factor = 2;
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
  EXPECT_GE(first.timer, now + absl::Milliseconds(180));
  EXPECT_LE(first.timer, now + absl::Milliseconds(220));
  Done(Ok());

  policy.hedging.min_delay = absl::Seconds(1);
  machine.reset();
  listener.events.clear();
  EXPECT_EQ(Start().timer, now + absl::Seconds(1));
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
  plan.latency = &latency;
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
  plan.latency = &latency;
  info.deadline = now + absl::Milliseconds(120);
  Start();
  now += absl::Milliseconds(50);
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kDeadline));
  EXPECT_THAT(Machine().Story(now), HasSubstr("no time left for a retry"));
  EXPECT_FALSE(Machine().retried_in_vain());
}

TEST_F(CallMachineTest, TheFirstAttemptIsMadeHoweverLateItIs) {
  resilience::LatencyTracker latency;
  for (int i = 0; i < 100; ++i) latency.Record(absl::Seconds(5), now);
  plan.latency = &latency;
  info.deadline = now + absl::Milliseconds(1);
  EXPECT_EQ(Address(Start()), "a");
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
  EXPECT_THAT(Machine().Story(now),
              HasSubstr("(a, b), last INVALID_ARGUMENT from b"));
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

// ---- Faults ----

TEST_F(CallMachineTest, AFaultThatAbortsIsMadeWithoutAPick) {
  policy.fault.mode = options::Mode::kEnforce;
  policy.fault.abort_share = 1;
  policy.fault.abort_code = absl::StatusCode::kUnavailable;
  const Action end = Start();
  EXPECT_EQ(end.kind, Kind::kFail);
  EXPECT_EQ(end.status,
            absl::UnavailableError("cart: fault injected: UNAVAILABLE"));
  EXPECT_EQ(Machine().attempts(), 0);
  EXPECT_THAT(
      listener.events,
      ElementsAre("refused: fault UNAVAILABLE 'fault injected: UNAVAILABLE' 0",
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
  EXPECT_EQ(Timer(Start()).status.message(), "cart: fault injected: INTERNAL");
}

TEST_F(CallMachineTest, ADelayEndsAtTheDeadline) {
  policy.fault.mode = options::Mode::kEnforce;
  plan.delay_by_header = absl::InfiniteDuration();
  const Action delay = Start();
  EXPECT_EQ(delay.at, info.deadline);
  const Action end = Timer(delay);
  EXPECT_EQ(end.status,
            absl::DeadlineExceededError(
                "cart: deadline exceeded during an injected delay"));
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

// ---- The cap of endpoints ----

TEST_F(CallMachineTest, AnEndpointAtItsCapIsPassedOver) {
  options::CapsOptions caps;
  caps.max_calls_per_endpoint = 2;
  plan.caps = &caps;
  endpoints[0]->Acquire();
  endpoints[0]->Acquire();
  EXPECT_EQ(Address(Start()), "b");
  EXPECT_EQ(endpoints[0]->in_flight(), 2);
  Done(Ok());
  endpoints[0]->Release();
  endpoints[0]->Release();
}

TEST_F(CallMachineTest, WhenAllAreAtTheirCapTheCallFailsAndSaysSo) {
  options::CapsOptions caps;
  caps.max_calls_per_endpoint = 1;
  plan.caps = &caps;
  plan.wait_for_ready = true;
  for (const auto& endpoint : endpoints) endpoint->Acquire();
  const Action end = Start();
  EXPECT_EQ(end.status, absl::ResourceExhaustedError(
                            "cart: too many calls are under way on every "
                            "endpoint: caps.max_calls_per_endpoint is 1"));
  for (const auto& endpoint : endpoints) {
    EXPECT_EQ(endpoint->in_flight(), 1);
    endpoint->Release();
  }
  EXPECT_EQ(listener.events[0], "pick failed");
  EXPECT_THAT(listener.events[1],
              HasSubstr("refused: max_calls_per_endpoint RESOURCE_EXHAUSTED"));
}

TEST_F(CallMachineTest, ACapThatOnlyObservesRefusesNothing) {
  options::CapsOptions caps;
  caps.max_calls_per_endpoint = 1;
  caps.mode = options::Mode::kObserve;
  plan.caps = &caps;
  endpoints[0]->Acquire();
  EXPECT_EQ(Address(Start()), "a");
  EXPECT_THAT(listener.events[0],
              HasSubstr("would refuse: max_calls_per_endpoint"));
  Done(Ok());
  endpoints[0]->Release();
}

// ---- Admission ----

// As CallMachineTest, with caps that a test sets.
class AdmissionTest : public CallMachineTest {
 protected:
  AdmissionTest() {
    guards.breaker.mode = options::Mode::kOff;
    guards.throttle.mode = options::Mode::kOff;
    guards.adaptive_concurrency.mode = options::Mode::kOff;
  }
  ~AdmissionTest() override {
    const resilience::Admission::State state = State();
    EXPECT_EQ(state.calls, 0);
    EXPECT_EQ(state.waiting, 0);
    EXPECT_EQ(state.retries, 0);
  }
  void Admit() {
    admission = std::make_unique<resilience::Admission>(guards, now);
    plan.admission = admission.get();
  }
  resilience::Admission::State State() { return admission->Snapshot(now); }

  options::GuardOptions guards;
  std::unique_ptr<resilience::Admission> admission;
};

TEST_F(AdmissionTest, ACallHoldsItsPlaceUntilItEnds) {
  Admit();
  Start();
  EXPECT_EQ(State().calls, 1);
  Done(Unavailable());
  EXPECT_EQ(State().calls, 1) << "it is retried";
  Done(Ok());
  EXPECT_EQ(State().calls, 0);
}

TEST_F(AdmissionTest, AnAbandonedCallGivesItsPlaceBack) {
  Admit();
  Start();
  Machine().Abandon(now);
  EXPECT_EQ(State().calls, 0);
}

TEST_F(AdmissionTest, ARefusedCallFailsBeforeItPicksAndSaysWhy) {
  guards.caps.max_calls = 1;
  Admit();
  resilience::Admission::Ticket other;
  ASSERT_FALSE(
      admission->Admit("/m", {}, now, &random, nullptr, &other).has_value());
  const Action end = Start();
  EXPECT_EQ(end.kind, Kind::kFail);
  EXPECT_EQ(end.status,
            absl::ResourceExhaustedError(
                "cart: too many calls are under way: caps.max_calls is 1"));
  EXPECT_EQ(Machine().attempts(), 0);
  EXPECT_FALSE(Machine().retried_in_vain());
  EXPECT_THAT(listener.events,
              ElementsAre("refused: max_calls RESOURCE_EXHAUSTED 'too many "
                          "calls are under way: caps.max_calls is 1' 0",
                          "end RESOURCE_EXHAUSTED after 0"));
  admission->OnCallEnd(other, absl::StatusCode::kOk, now);
}

TEST_F(AdmissionTest, ARefusalThatIsOnlyObservedIsToldOf) {
  guards.caps.max_calls = 1;
  guards.caps.mode = options::Mode::kObserve;
  Admit();
  resilience::Admission::Ticket other;
  admission->Admit("/m", {}, now, &random, nullptr, &other);
  EXPECT_EQ(Address(Start()), "a");
  EXPECT_THAT(listener.events[0], HasSubstr("would refuse: max_calls"));
  Done(Ok());
  admission->OnCallEnd(other, absl::StatusCode::kOk, now);
}

TEST_F(AdmissionTest, AFaultComesBeforeAdmission) {
  policy.fault.mode = options::Mode::kEnforce;
  plan.abort_by_header = absl::StatusCode::kInternal;
  Admit();
  EXPECT_EQ(Start().kind, Kind::kFail);
  EXPECT_EQ(State().calls, 0);
}

TEST_F(AdmissionTest, ACallThatWaitsIsCountedWhileItDoes) {
  Admit();
  std::unique_ptr<balancing::Picker> ready = std::move(picker);
  PickerSays(balancing::PickResult::Kind::kWait);
  Start();
  EXPECT_EQ(State().waiting, 1);
  Machine().OnEndpointsChanged(At());
  EXPECT_EQ(State().waiting, 1) << "still the same wait";
  picker = std::move(ready);
  EXPECT_EQ(Address(*Machine().OnEndpointsChanged(At())), "a");
  EXPECT_EQ(State().waiting, 0);
  Done(Ok());

  machine.reset();
  listener.events.clear();
  PickerSays(balancing::PickResult::Kind::kWait);
  Start();
  Machine().Abandon(now);
  EXPECT_EQ(State().waiting, 0);
}

TEST_F(AdmissionTest, WhenTooManyWaitACallFailsAtOnce) {
  guards.caps.max_waiting = 1;
  Admit();
  ASSERT_TRUE(admission->TryWait(nullptr));
  PickerSays(balancing::PickResult::Kind::kWait);
  const Action end = Start();
  EXPECT_EQ(end.status,
            absl::ResourceExhaustedError("cart: too many calls wait for an "
                                         "endpoint: caps.max_waiting is 1"));
  EXPECT_THAT(listener.events[0], HasSubstr("refused: max_waiting"));
  EXPECT_EQ(listener.events[1], "pick failed");
  admission->EndWait();
}

TEST_F(AdmissionTest, WhenTooManyWaitARetryEndsWithWhatItHas) {
  guards.caps.max_waiting = 1;
  Admit();
  ASSERT_TRUE(admission->TryWait(nullptr));
  Start();
  PickerSays(balancing::PickResult::Kind::kWait);
  const Action end = Timer(Done(Unavailable()));
  EXPECT_EQ(end.kind, Kind::kFinish);
  EXPECT_EQ(end.attempt, 1);
  admission->EndWait();
}

TEST_F(AdmissionTest, ARetryIsCountedFromItsDecisionToItsEnd) {
  Endpoints(1);
  Admit();
  Start();
  EXPECT_EQ(State().retries, 0);
  const Action backoff = Done(Unavailable());
  EXPECT_EQ(State().retries, 1);
  Timer(backoff);
  EXPECT_EQ(State().retries, 1);
  const Action next = Done(Unavailable());
  EXPECT_EQ(State().retries, 1) << "the next one";
  EXPECT_EQ(next.kind, Kind::kSetTimer);
  EXPECT_EQ(Machine().OnCancelled(At())->kind, Kind::kFail);
  EXPECT_EQ(State().retries, 0);
}

TEST_F(AdmissionTest, AHedgeIsCountedWhileItRuns) {
  HedgeAfter(absl::Milliseconds(50));
  Admit();
  HedgeTimer(Start());
  EXPECT_EQ(State().retries, 1);
  Done(1, Ok());
  EXPECT_EQ(State().retries, 0);
}

TEST_F(AdmissionTest, WithTooManyRetriesAFailureStands) {
  guards.caps.max_retries = 1;
  Admit();
  ASSERT_TRUE(admission->TryRetry(nullptr));
  Start();
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kTooManyRetries));
  EXPECT_GE(budget->Balance(now), budget_options.min_per_second)
      << "what is not made is not charged";
  EXPECT_THAT(Machine().Story(now), HasSubstr("too many retries at once"));
  EXPECT_TRUE(Machine().retried_in_vain());
  admission->EndRetry();
}

TEST_F(AdmissionTest, WithTooManyRetriesThereIsNoHedge) {
  HedgeAfter(absl::Milliseconds(50));
  guards.caps.max_retries = 1;
  Admit();
  ASSERT_TRUE(admission->TryRetry(nullptr));
  EXPECT_EQ(HedgeTimer(Start()).kind, Kind::kGoOn);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kTooManyRetries));
  admission->EndRetry();
  Done(Ok());
}

TEST_F(AdmissionTest, ARetryWithoutBudgetHoldsNoPlace) {
  budget_options.ratio = budget_options.min_per_second = 0;
  Admit();
  Start();
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kFinish);
  EXPECT_EQ(State().retries, 0);
}

// ---- Health ----

class HealthTest : public CallMachineTest,
                   public resilience::HealthMonitor::Host {
 protected:
  HealthTest() {
    budget = std::make_unique<resilience::RetryBudget>(budget_options, now);
    plan.budget = budget.get();
    health = std::make_unique<resilience::HealthMonitor>(
        options::GuardOptions(), budget.get(), this);
    plan.health = health.get();
  }
  // As in CallMachineTest, but with the budget that the monitor has.
  CallMachine& WithHealth() {
    machine = std::make_unique<CallMachine>(plan, &info);
    return *machine;
  }
  const cluster::EndpointObservations& Seen(int i) {
    return endpoints[i]->observations();
  }

  std::unique_ptr<resilience::HealthMonitor> health;

 private:
  void Probe(cluster::LiveEndpoint*) override {}
  void OnHealthChange(const resilience::HealthChange&) override {}
};

TEST_F(HealthTest, IsToldOfEachAttemptAndHowItEnded) {
  WithHealth();
  Start();
  EXPECT_EQ(Seen(0).awaiting(), 1u);
  Done(Unavailable());
  EXPECT_EQ(Seen(0).awaiting(), 0u);
  EXPECT_EQ(Seen(0).failures.load(), 1u);
  EXPECT_EQ(Seen(0).local_failures.load(), 0u);
  EXPECT_EQ(Seen(1).awaiting(), 1u);
  AttemptOutcome reset = Unavailable();
  reset.local = true;
  const Action backoff = Done(reset);
  EXPECT_EQ(Seen(1).local_failures.load(), 1u);
  Timer(backoff);
  Done(Ok());
  EXPECT_EQ(Seen(2).awaiting(), 0u);
  EXPECT_EQ(Seen(2).failures.load() + Seen(2).local_failures.load(), 0u);
}

TEST_F(HealthTest, AnAttemptThatIsGivenUpIsNoFailure) {
  HedgeAfter(absl::Milliseconds(50));
  WithHealth();
  HedgeTimer(Start());
  Done(2, Ok());
  EXPECT_EQ(Seen(0).awaiting(), 0u);
  EXPECT_EQ(Seen(0).discounted.load(), 1u);
  EXPECT_EQ(Seen(0).failures.load() + Seen(0).local_failures.load(), 0u);

  listener.events.clear();
  WithHealth();
  Start();
  Machine().OnCancelled(At());
  AttemptOutcome cancelled = Ended(absl::StatusCode::kCancelled);
  cancelled.local = true;
  Done(cancelled);
  EXPECT_EQ(Seen(0).discounted.load(), 2u);
  EXPECT_EQ(Seen(0).failures.load() + Seen(0).local_failures.load(), 0u);
}

// Without hedging nobody knows the method's latency.
TEST_F(HealthTest, ARetryThatTheServiceIsTooSlowForIsNotMade) {
  auto answer = [this](absl::Duration latency) {
    resilience::AttemptResult ok;
    ok.latency = latency;
    health->OnAttemptStart(endpoints[0].get(), /*unary=*/true, now - latency);
    health->OnAttemptEnd(endpoints[0].get(), ok, now);
  };
  for (int i = 0; i < 100; ++i) answer(absl::Milliseconds(100));
  info.deadline = now + absl::Milliseconds(120);
  WithHealth();
  EXPECT_EQ(Address(Start()), "a");
  now += absl::Milliseconds(50);
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kDeadline));

  // One of its methods may be quick.
  for (int i = 0; i < 50; ++i) answer(absl::Milliseconds(1));
  now += absl::Milliseconds(200);
  info.deadline = now + absl::Milliseconds(120);
  listener.verdicts.clear();
  listener.events.clear();
  WithHealth();
  Start();
  now += absl::Milliseconds(50);
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kStartAttempt);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kRetry));
  Done(Ok());
}

TEST_F(HealthTest, WhoeverStartsACallLooksWhenALookIsDue) {
  EXPECT_TRUE(health->Due(now));
  WithHealth();
  Start();
  EXPECT_FALSE(health->Due(now));
  Done(Ok());
}

// ---- The story ----

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
            "cart: 3 attempts in 412 ms (a, b, c), last UNAVAILABLE from c; "
            "retry budget exhausted");
  EXPECT_TRUE(Machine().retried_in_vain());
}

TEST_F(CallMachineTest, TheStoryOfOneAttemptIsShort) {
  plan.idempotent = false;
  Start();
  now += absl::Microseconds(3200);
  Done(Unavailable());
  EXPECT_EQ(Machine().Story(now),
            "cart: 1 attempt in 3.2 ms, UNAVAILABLE from a; the method is not "
            "idempotent");
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
              HasSubstr("(a, b, c, d, ..., g), last UNAVAILABLE from g; no "
                        "more attempts are allowed"));
}

TEST_F(CallMachineTest, AStatusOfOurOwnTellsTheStoryToo) {
  Endpoints(1);
  Start();
  Done(Unavailable());
  now = info.deadline;
  EXPECT_EQ(Machine().OnTimer(At())->status.message(),
            "cart: deadline exceeded before a retry could be made; 1 attempt "
            "in 10.00 s, UNAVAILABLE from a");
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
      {"; this status is not retried", [] {},
       Ended(absl::StatusCode::kNotFound)},
      {"; it cannot be sent again", [this] { plan.replayable = false; },
       Unavailable()},
      {"; a server said not to retry", [] {}, pushed_back},
      {"; a part of the answer was delivered", [] {}, committed},
      {"; no more attempts are allowed",
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
