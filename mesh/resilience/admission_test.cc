#include "mesh/resilience/admission.h"

#include <atomic>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/base/random.h"

namespace mesh::resilience {
namespace {

using base::Guard;
using options::Mode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kMethod[] = "/shop.Cart/AddItem";

struct Recorder final : Admission::Listener {
  void OnRefusal(const Refusal& refusal) override {
    (refusal.observed ? observed : enforced).push_back(refusal.guard);
    if (!refusal.observed) why = refusal.why;
  }
  std::vector<Guard> enforced;
  std::vector<Guard> observed;
  std::string why;
};

options::GuardOptions AllOff() {
  options::GuardOptions options;
  options.caps.mode = Mode::kOff;
  options.breaker.mode = Mode::kOff;
  options.throttle.mode = Mode::kOff;
  options.adaptive_concurrency.mode = Mode::kOff;
  return options;
}

class AdmissionTest : public ::testing::Test {
 protected:
  void Use(const options::GuardOptions& options) {
    admission_ = std::make_unique<Admission>(options, now_);
  }

  std::optional<Admission::Ticket> Begin(bool stream = false) {
    Admission::Ticket ticket;
    ticket.stream = stream;
    const auto refusal = admission_->Admit(kMethod, method_limit_, now_,
                                           &random_, &recorder_, &ticket);
    code_ = refusal.has_value() ? refusal->code : absl::StatusCode::kOk;
    if (refusal.has_value()) {
      EXPECT_FALSE(ticket.held);
      EXPECT_EQ(refusal->why, recorder_.why);
      return std::nullopt;
    }
    return ticket;
  }
  // One call. False: it was refused.
  bool Call(absl::StatusCode code = absl::StatusCode::kOk,
            absl::Duration latency = absl::Milliseconds(1)) {
    const auto ticket = Begin();
    now_ += latency;
    if (ticket.has_value()) admission_->OnCallEnd(*ticket, code, now_);
    return ticket.has_value();
  }
  int Calls(int n, absl::StatusCode code = absl::StatusCode::kOk,
            absl::Duration latency = absl::Milliseconds(1)) {
    int admitted = 0;
    for (int i = 0; i < n; ++i) admitted += Call(code, latency);
    return admitted;
  }
  Admission::State State() { return admission_->Snapshot(now_); }

  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  base::Random random_{1};
  Recorder recorder_;
  options::RateLimitOptions method_limit_;
  absl::StatusCode code_ = absl::StatusCode::kOk;
  std::unique_ptr<Admission> admission_;
};

TEST_F(AdmissionTest, WithTheDefaultsGoodCallsAreLeftAlone) {
  Use({});
  EXPECT_EQ(Calls(10000), 10000);
  EXPECT_THAT(recorder_.enforced, IsEmpty());
  EXPECT_THAT(recorder_.observed, IsEmpty());
  EXPECT_EQ(State().calls, 0);
  EXPECT_EQ(State().breaker, "closed");
  EXPECT_GT(State().breaker_calls, 9000);
  EXPECT_EQ(State().concurrency_limit, 100);
  EXPECT_EQ(State().min_latency, absl::Milliseconds(1));
}

TEST_F(AdmissionTest, WhatIsOffDoesNothing) {
  options::GuardOptions options = AllOff();
  options.caps.max_calls = 1;
  Use(options);
  std::vector<Admission::Ticket> held;
  for (int i = 0; i < 300; ++i) held.push_back(*Begin());
  EXPECT_EQ(State().calls, 300);
  for (const auto& ticket : held) {
    admission_->OnCallEnd(ticket, absl::StatusCode::kUnavailable, now_);
  }
  EXPECT_EQ(Calls(300, absl::StatusCode::kUnavailable), 300);
  EXPECT_THAT(recorder_.enforced, IsEmpty());
  EXPECT_THAT(recorder_.observed, IsEmpty());
  EXPECT_EQ(State().breaker, "");
  EXPECT_EQ(State().concurrency_limit, 0);
}

// ---- Caps ----

TEST_F(AdmissionTest, TheCapOfCallsNamesItselfAndItsValue) {
  options::GuardOptions options = AllOff();
  options.caps.mode = Mode::kEnforce;
  options.caps.max_calls = 3;
  Use(options);
  auto first = Begin();
  EXPECT_TRUE(Begin().has_value());
  EXPECT_TRUE(Begin(/*stream=*/true).has_value());
  EXPECT_FALSE(Begin().has_value());
  EXPECT_FALSE(Begin(/*stream=*/true).has_value());
  EXPECT_EQ(code_, absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(recorder_.why,
            "too many calls are under way: guards.caps.max_calls is 3. "
            "Make fewer at once, or raise the cap.");
  EXPECT_THAT(recorder_.enforced,
              ElementsAre(Guard::kMaxCalls, Guard::kMaxCalls));
  EXPECT_EQ(State().calls, 3);
  admission_->OnCallEnd(*first, absl::StatusCode::kOk, now_);
  EXPECT_TRUE(Begin().has_value());
}

TEST_F(AdmissionTest, AStreamWhoseAnswerHasBegunIsNoCallAnyMore) {
  options::GuardOptions options = AllOff();
  options.caps.mode = Mode::kEnforce;
  options.caps.max_calls = 2;
  options.adaptive_concurrency.mode = Mode::kEnforce;
  Use(options);
  std::vector<Admission::Ticket> open;
  for (int i = 0; i < 100; ++i) {
    open.push_back(*Begin(/*stream=*/true));
    admission_->OnStreamAnswer(&open.back());
    admission_->OnStreamAnswer(&open.back());
  }
  EXPECT_EQ(State().calls, 0);
  EXPECT_EQ(State().streams, 100);
  EXPECT_EQ(State().concurrency, 0);
  EXPECT_EQ(Calls(100), 100);
  const auto unanswered = Begin(/*stream=*/true);
  EXPECT_EQ(State().calls, 1);
  admission_->OnCallEnd(*unanswered, absl::StatusCode::kCancelled, now_);
  admission_->OnStreamAnswer(&*unanswered);
  for (const auto& ticket : open) {
    admission_->OnCallEnd(ticket, absl::StatusCode::kOk, now_);
  }
  EXPECT_EQ(State().calls, 0);
  EXPECT_EQ(State().streams, 0);
  EXPECT_EQ(State().concurrency, 0);
}

TEST_F(AdmissionTest, OpenStreamsHaveACapOfTheirOwn) {
  options::GuardOptions options = AllOff();
  options.caps.mode = Mode::kEnforce;
  options.caps.max_calls = 3;
  options.caps.max_streams = 2;
  Use(options);
  const auto first = Begin(/*stream=*/true);
  admission_->OnStreamAnswer(&*first);
  const auto second = Begin(/*stream=*/true);
  EXPECT_FALSE(Begin(/*stream=*/true).has_value());
  EXPECT_EQ(code_, absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(recorder_.why,
            "too many streams are open: guards.caps.max_streams is 2. "
            "Keep fewer open, or raise the cap.");
  EXPECT_THAT(recorder_.enforced, ElementsAre(Guard::kMaxStreams));
  EXPECT_EQ(State().streams, 2);
  EXPECT_EQ(State().calls, 1);
  EXPECT_TRUE(Begin().has_value()) << "no stream";
  admission_->OnCallEnd(*second, absl::StatusCode::kOk, now_);
  EXPECT_TRUE(Begin(/*stream=*/true).has_value());
  // Nothing is kept of one that the cap of calls refuses.
  admission_->OnCallEnd(*first, absl::StatusCode::kOk, now_);
  EXPECT_TRUE(Begin().has_value());
  EXPECT_FALSE(Begin(/*stream=*/true).has_value());
  EXPECT_EQ(State().streams, 1);
}

TEST_F(AdmissionTest, TheCapOfWaitingCallsGivesBackAndRetriesAreCounted) {
  options::GuardOptions options = AllOff();
  options.caps.mode = Mode::kEnforce;
  options.caps.max_waiting = 1;
  Use(options);
  EXPECT_TRUE(admission_->TryWait(&recorder_));
  EXPECT_FALSE(admission_->TryWait(&recorder_));
  EXPECT_EQ(
      recorder_.why,
      "too many calls wait for an endpoint: guards.caps.max_waiting is 1. "
      "Make fewer at once, or raise the cap.");
  admission_->EndWait();
  EXPECT_TRUE(admission_->TryWait(nullptr));

  admission_->BeginRetry();
  admission_->BeginRetry();
  EXPECT_EQ(State().waiting, 1);
  EXPECT_EQ(State().retries, 2);
  admission_->EndRetry();
  EXPECT_EQ(State().retries, 1);
  EXPECT_THAT(recorder_.enforced, ElementsAre(Guard::kMaxWaiting));
}

TEST_F(AdmissionTest, ObservedCapsCountAndRefuseNothing) {
  options::GuardOptions options = AllOff();
  options.caps.mode = Mode::kObserve;
  options.caps.max_calls = 1;
  options.caps.max_waiting = 1;
  Use(options);
  EXPECT_TRUE(Begin().has_value());
  EXPECT_TRUE(Begin().has_value());
  EXPECT_TRUE(admission_->TryWait(&recorder_));
  EXPECT_TRUE(admission_->TryWait(&recorder_));
  EXPECT_THAT(recorder_.observed,
              ElementsAre(Guard::kMaxCalls, Guard::kMaxWaiting));
  EXPECT_THAT(recorder_.enforced, IsEmpty());
}

TEST_F(AdmissionTest, ZeroIsNoCap) {
  options::GuardOptions options = AllOff();
  options.caps.mode = Mode::kEnforce;
  options.caps.max_calls = 0;
  Use(options);
  for (int i = 0; i < 20000; ++i) ASSERT_TRUE(Begin().has_value());
}

// ---- Breaker ----

options::GuardOptions WithBreaker(Mode mode) {
  options::GuardOptions options = AllOff();
  options.breaker.mode = mode;
  return options;
}

TEST_F(AdmissionTest, TheBreakerOpensProbesAndCloses) {
  Use(WithBreaker(Mode::kEnforce));
  EXPECT_LT(Calls(100, absl::StatusCode::kUnavailable), 45);
  EXPECT_EQ(code_, absl::StatusCode::kUnavailable);
  EXPECT_THAT(recorder_.why, HasSubstr("the circuit breaker is open: 100% of"));
  EXPECT_EQ(State().breaker, "open");
  EXPECT_EQ(State().breaker_failed_share, 1);

  now_ += absl::Seconds(1);
  const auto probe = Begin();
  ASSERT_TRUE(probe.has_value());
  EXPECT_FALSE(Begin().has_value()) << "one at a time";
  EXPECT_EQ(State().breaker, "half_open");
  admission_->OnCallEnd(*probe, absl::StatusCode::kOk, now_);
  EXPECT_EQ(Calls(100), 100);
  EXPECT_EQ(State().breaker, "closed");
}

TEST_F(AdmissionTest, AFailedProbeOpensTheBreakerForTwiceAsLong) {
  Use(WithBreaker(Mode::kEnforce));
  Calls(100, absl::StatusCode::kUnavailable);
  now_ += absl::Seconds(1);
  EXPECT_TRUE(Call(absl::StatusCode::kInternal));
  now_ += absl::Milliseconds(1900);
  EXPECT_FALSE(Call());
  now_ += absl::Milliseconds(100);
  EXPECT_TRUE(Call());
}

TEST_F(AdmissionTest, AnswersAndCancelledCallsDoNotOpenTheBreaker) {
  Use(WithBreaker(Mode::kEnforce));
  EXPECT_EQ(Calls(100, absl::StatusCode::kNotFound), 100);
  EXPECT_EQ(Calls(100, absl::StatusCode::kCancelled), 100);
  EXPECT_EQ(Calls(100, absl::StatusCode::kInvalidArgument), 100);
  EXPECT_EQ(State().breaker_failed_share, 0);
}

TEST_F(AdmissionTest, ACancelledProbeDecidesNothing) {
  Use(WithBreaker(Mode::kEnforce));
  Calls(100, absl::StatusCode::kUnavailable);
  now_ += absl::Seconds(1);
  EXPECT_TRUE(Call(absl::StatusCode::kCancelled));
  EXPECT_EQ(State().breaker, "half_open");
  EXPECT_EQ(Calls(10), 10);
  EXPECT_EQ(State().breaker, "closed");
}

TEST_F(AdmissionTest, AnObservedBreakerRefusesNothingAndSaysWhatItWould) {
  Use(WithBreaker(Mode::kObserve));
  EXPECT_EQ(Calls(200, absl::StatusCode::kUnavailable), 200);
  EXPECT_THAT(recorder_.enforced, IsEmpty());
  EXPECT_GT(recorder_.observed.size(), 100u);
  now_ += absl::Seconds(10);
  EXPECT_EQ(Calls(100), 100);
  EXPECT_EQ(State().breaker, "closed");
}

// ---- Throttle ----

TEST_F(AdmissionTest, TheThrottleDropsWhatTheServiceWouldReject) {
  options::GuardOptions options = AllOff();
  options.throttle.mode = Mode::kEnforce;
  Use(options);
  const int admitted = Calls(10000, absl::StatusCode::kResourceExhausted);
  EXPECT_LT(admitted, 500) << "nothing at all is accepted";
  EXPECT_EQ(code_, absl::StatusCode::kUnavailable);
  EXPECT_THAT(recorder_.why, HasSubstr("the service accepted 0, so"));
  EXPECT_GT(State().throttle_probability, 0.9);
  now_ += absl::Minutes(1);
  EXPECT_EQ(State().throttle_probability, 0) << "also when nobody has called";
  EXPECT_EQ(Calls(1000), 1000);
}

TEST_F(AdmissionTest, ErrorsThatCostTheServiceWorkAreAccepted) {
  options::GuardOptions options = AllOff();
  options.throttle.mode = Mode::kEnforce;
  Use(options);
  EXPECT_EQ(Calls(1000, absl::StatusCode::kInternal), 1000);
  EXPECT_EQ(Calls(1000, absl::StatusCode::kCancelled), 1000);
}

TEST_F(AdmissionTest, AnObservedThrottleDropsNothing) {
  options::GuardOptions options = AllOff();
  options.throttle.mode = Mode::kObserve;
  Use(options);
  EXPECT_EQ(Calls(1000, absl::StatusCode::kUnavailable), 1000);
  EXPECT_GT(recorder_.observed.size(), 800u);
}

TEST_F(AdmissionTest, ProbesOfTheBreakerPassTheThrottle) {
  options::GuardOptions options = AllOff();
  options.throttle.mode = Mode::kEnforce;
  options.breaker.mode = Mode::kEnforce;
  options.breaker.failure_rate = 0.9;
  Use(options);
  // Not enough for the breaker, which would open before the throttle acts.
  for (int i = 0; i < 100; ++i) {
    Call(i % 5 == 0 ? absl::StatusCode::kOk : absl::StatusCode::kUnavailable);
  }
  ASSERT_EQ(State().breaker, "closed");
  Calls(1000, absl::StatusCode::kUnavailable);
  ASSERT_EQ(State().breaker, "open");
  ASSERT_GT(State().throttle_probability, 0.5);
  now_ += absl::Seconds(1);
  EXPECT_TRUE(Call());
  EXPECT_TRUE(Call());
  EXPECT_TRUE(Call());
  EXPECT_EQ(State().breaker, "closed");
}

// ---- Adaptive concurrency (how its limit is found: see
// concurrency_limit_test.cc) ----

TEST_F(AdmissionTest, AdaptiveConcurrencyBoundsUnaryCallsAndLeavesStreams) {
  options::GuardOptions options = AllOff();
  options.adaptive_concurrency.mode = Mode::kEnforce;
  Use(options);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(Begin(/*stream=*/true).has_value());
  }
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(Begin().has_value());
  EXPECT_FALSE(Begin().has_value());
  EXPECT_EQ(code_, absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(recorder_.why,
            "too many calls are under way: guards.adaptive_concurrency allows "
            "100, by the latency. Make fewer at once, or add servers.");
  EXPECT_TRUE(Begin(/*stream=*/true).has_value());
  EXPECT_EQ(State().calls, 121);
  EXPECT_EQ(State().concurrency, 100);
  EXPECT_EQ(State().concurrency_limit, 100);
}

TEST_F(AdmissionTest, ObservedAdaptiveConcurrencyRefusesNothing) {
  options::GuardOptions options = AllOff();
  options.adaptive_concurrency.mode = Mode::kObserve;
  Use(options);
  for (int i = 0; i < 102; ++i) EXPECT_TRUE(Begin().has_value());
  EXPECT_THAT(recorder_.observed, ElementsAre(Guard::kAdaptiveConcurrency,
                                              Guard::kAdaptiveConcurrency));
}

TEST_F(AdmissionTest, FastFailuresAreNotTheLatencyOfTheService) {
  options::GuardOptions options = AllOff();
  options.adaptive_concurrency.mode = Mode::kEnforce;
  Use(options);
  Calls(200, absl::StatusCode::kOk, absl::Milliseconds(20));
  EXPECT_EQ(State().min_latency, absl::Milliseconds(20));
  for (absl::StatusCode code :
       {absl::StatusCode::kUnavailable, absl::StatusCode::kPermissionDenied,
        absl::StatusCode::kDeadlineExceeded, absl::StatusCode::kCancelled}) {
    Calls(2000, code, absl::Microseconds(100));
  }
  EXPECT_EQ(State().min_latency, absl::Milliseconds(20));
}

// ---- Rate limit ----

TEST_F(AdmissionTest, TheRateLimitRefusesWhatGoesBeyond) {
  options::GuardOptions options = AllOff();
  options.rate_limit = {Mode::kEnforce, 10, 3};
  Use(options);
  EXPECT_EQ(Calls(10, absl::StatusCode::kOk, absl::ZeroDuration()), 3);
  EXPECT_EQ(code_, absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(recorder_.why,
            "the rate limit of the service is reached: guards.rate_limit "
            "allows 10 calls per second, and 3 at once. Call less often, or "
            "raise it.");
  EXPECT_EQ(State().calls, 0) << "what is refused is not under way";
  now_ += absl::Milliseconds(200);
  EXPECT_EQ(Calls(10, absl::StatusCode::kOk, absl::ZeroDuration()), 2);
}

TEST_F(AdmissionTest, AMethodHasItsOwnRateLimit) {
  Use(AllOff());
  method_limit_ = {Mode::kEnforce, 10, 1};
  EXPECT_EQ(Calls(10, absl::StatusCode::kOk, absl::ZeroDuration()), 1);
  method_limit_ = {Mode::kObserve, 10, 1};
  EXPECT_EQ(Calls(3, absl::StatusCode::kOk, absl::ZeroDuration()), 3);
  EXPECT_THAT(
      recorder_.observed,
      ElementsAre(Guard::kRateLimit, Guard::kRateLimit, Guard::kRateLimit));
}

// ---- Reload ----

TEST_F(AdmissionTest, AReloadAppliesToTheNextCallAndKeepsWhatIsUnderWay) {
  options::GuardOptions options = AllOff();
  options.caps.mode = Mode::kEnforce;
  options.caps.max_calls = 10;
  Use(options);
  std::vector<Admission::Ticket> held;
  for (int i = 0; i < 5; ++i) held.push_back(*Begin());
  options.caps.max_calls = 5;
  admission_->SetOptions(options);
  EXPECT_FALSE(Begin().has_value());
  options.caps.mode = Mode::kObserve;
  admission_->SetOptions(options);
  EXPECT_TRUE(Begin().has_value());
  EXPECT_EQ(State().calls, 6);
}

TEST_F(AdmissionTest, AReloadKeepsAnOpenBreakerOpen) {
  options::GuardOptions options = WithBreaker(Mode::kEnforce);
  Use(options);
  Calls(100, absl::StatusCode::kUnavailable);
  options.caps.max_waiting = 7;
  admission_->SetOptions(options);
  EXPECT_FALSE(Call());
  options.breaker.mode = Mode::kObserve;
  admission_->SetOptions(options);
  EXPECT_TRUE(Call());
  EXPECT_THAT(recorder_.observed, ElementsAre(Guard::kBreaker));
}

TEST_F(AdmissionTest, WhatIsTurnedOnBeginsAnew) {
  Use(AllOff());
  Calls(1000, absl::StatusCode::kUnavailable);
  options::GuardOptions options = AllOff();
  options.breaker.mode = Mode::kEnforce;
  options.throttle.mode = Mode::kEnforce;
  admission_->SetOptions(options);
  EXPECT_EQ(Calls(100), 100);
}

TEST_F(AdmissionTest, BeforeTheFirstLookGuardsSayHowTheyBegin) {
  for (Mode mode : {Mode::kObserve, Mode::kEnforce}) {
    options::GuardOptions options;
    options.breaker.mode = mode;
    options.throttle.mode = mode;
    options.adaptive_concurrency.mode = mode;
    Use(options);
    const Admission::Ticket call = *Begin();
    EXPECT_TRUE(call.plain);
    EXPECT_EQ(State().breaker, "closed");
    EXPECT_EQ(State().breaker_calls, 0);
    EXPECT_EQ(State().throttle_probability, 0);
    EXPECT_EQ(State().concurrency_limit, 100);
    EXPECT_EQ(State().concurrency, 1);
    EXPECT_EQ(State().min_latency, absl::ZeroDuration());
    options.adaptive_concurrency.min_limit = 200;
    admission_->SetOptions(options);
    EXPECT_EQ(State().concurrency_limit, 200);
    admission_->OnCallEnd(call, absl::StatusCode::kOk, now_);
    EXPECT_EQ(State().calls, 0);
  }
}

TEST_F(AdmissionTest, AReloadBeforeTheFirstLookCounts) {
  options::GuardOptions options = WithBreaker(Mode::kObserve);
  Use(options);
  options.breaker.mode = Mode::kEnforce;
  options.breaker.failure_rate = 1;
  admission_->SetOptions(options);
  Calls(10);
  EXPECT_EQ(Calls(100, absl::StatusCode::kUnavailable), 100);
  options.breaker.failure_rate = 0.5;
  admission_->SetOptions(options);
  EXPECT_LT(Calls(100, absl::StatusCode::kUnavailable), 45);
  EXPECT_EQ(State().breaker, "open");
}

TEST_F(AdmissionTest, AGuardThatAReloadTurnsOnSeesTheCallsFromThenOn) {
  for (Mode mode : {Mode::kObserve, Mode::kEnforce}) {
    recorder_ = Recorder();
    Use(AllOff());
    const Admission::Ticket before = *Begin();
    Calls(1000, absl::StatusCode::kUnavailable);
    options::GuardOptions options = AllOff();
    options.breaker.mode = mode;
    admission_->SetOptions(options);
    admission_->OnCallEnd(before, absl::StatusCode::kOk, now_);
    const int admitted = Calls(200, absl::StatusCode::kUnavailable);
    EXPECT_EQ(State().breaker, "open");
    EXPECT_GT(admitted, 19);
    if (mode == Mode::kObserve) {
      EXPECT_EQ(admitted, 200);
      EXPECT_GT(recorder_.observed.size(), 100u);
    } else {
      EXPECT_LT(admitted, 45);
      EXPECT_GT(recorder_.enforced.size(), 100u);
    }
    EXPECT_EQ(State().calls, 0);
  }
}

TEST_F(AdmissionTest, AProbeUnderWayWhenTheBreakerIsTurnedOffEndsNothing) {
  Use(WithBreaker(Mode::kEnforce));
  Calls(100, absl::StatusCode::kUnavailable);
  now_ += absl::Seconds(1);
  const Admission::Ticket good = *Begin();
  EXPECT_NE(good.probe, 0u);
  admission_->SetOptions(AllOff());
  EXPECT_EQ(State().breaker, "");
  admission_->OnCallEnd(good, absl::StatusCode::kOk, now_);
  EXPECT_EQ(Calls(100), 100);
  admission_->SetOptions(WithBreaker(Mode::kEnforce));
  EXPECT_EQ(State().breaker, "closed");
  EXPECT_EQ(State().breaker_calls, 0);
  EXPECT_EQ(Calls(100), 100);
}

TEST_F(AdmissionTest, ARateLimitMayComeAndGoWithReloads) {
  Use(AllOff());
  EXPECT_EQ(Calls(100, absl::StatusCode::kOk, absl::ZeroDuration()), 100);
  options::GuardOptions options = AllOff();
  for (Mode mode : {Mode::kEnforce, Mode::kObserve, Mode::kOff}) {
    options.rate_limit = {mode, 10, 3};
    admission_->SetOptions(options);
    EXPECT_EQ(Calls(10, absl::StatusCode::kOk, absl::ZeroDuration()),
              mode == Mode::kEnforce ? 3 : 10);
  }
  EXPECT_EQ(recorder_.enforced.size(), 7u);
  EXPECT_EQ(recorder_.observed.size(), 10u);
  EXPECT_TRUE(Begin()->plain) << "nobody is asked any more";
}

TEST_F(AdmissionTest, ACallUnderWayWhileModesChangeIsAccountedOnce) {
  for (Mode from : {Mode::kOff, Mode::kObserve, Mode::kEnforce}) {
    for (Mode to : {Mode::kOff, Mode::kObserve, Mode::kEnforce}) {
      options::GuardOptions options;
      options.caps.mode = from;
      options.breaker.mode = from;
      options.throttle.mode = from;
      options.adaptive_concurrency.mode = from;
      Use(options);
      const auto unary = Begin();
      const auto stream = Begin(/*stream=*/true);
      options.caps.mode = to;
      options.breaker.mode = to;
      options.throttle.mode = to;
      options.adaptive_concurrency.mode = to;
      admission_->SetOptions(options);
      admission_->OnCallEnd(*unary, absl::StatusCode::kOk, now_);
      admission_->OnCallEnd(*stream, absl::StatusCode::kOk, now_);
      EXPECT_EQ(State().calls, 0);
      EXPECT_EQ(State().concurrency, 0);
    }
  }
}

TEST_F(AdmissionTest, ATicketThatWasNotHeldEndsNothing) {
  Use({});
  admission_->OnCallEnd(Admission::Ticket(), absl::StatusCode::kOk, now_);
  EXPECT_EQ(State().calls, 0);
}

TEST_F(AdmissionTest, AbsurdTimesAndOptionsAreHarmless) {
  options::GuardOptions options;
  options.caps = {Mode::kEnforce, -1, -1, -1};
  options.adaptive_concurrency.mode = Mode::kEnforce;
  options.adaptive_concurrency.min_limit = -7;
  options.adaptive_concurrency.latency_factor =
      std::numeric_limits<double>::quiet_NaN();
  Use(options);
  const std::vector<absl::Time> times = {now_, absl::InfinitePast(), now_,
                                         absl::InfiniteFuture(), now_};
  for (absl::Time start : times) {
    for (absl::Time end : times) {
      Admission::Ticket ticket;
      if (!admission_->Admit(kMethod, method_limit_, start, &random_, nullptr,
                             &ticket)) {
        admission_->OnCallEnd(ticket, absl::StatusCode::kOk, end);
      }
    }
  }
  EXPECT_EQ(State().calls, 0);
}

// ---- Threads ----

TEST(AdmissionThreadsTest, CountsComeBackToZeroAndCapsHold) {
  options::GuardOptions options;
  options.caps.max_calls = 3;
  options.breaker.mode = Mode::kEnforce;
  options.breaker.open_for = absl::Milliseconds(10);
  options.throttle.mode = Mode::kEnforce;
  options.adaptive_concurrency.mode = Mode::kEnforce;
  options.rate_limit = {Mode::kEnforce, 1e6, 1e6};
  const absl::Time start = absl::UnixEpoch() + absl::Hours(1);
  Admission admission(options, start);
  std::atomic<int64_t> clock{0};
  std::atomic<int> under_way{0};
  std::atomic<int> most{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      base::Random random(t);
      options::RateLimitOptions method_limit;
      for (int i = 0; i < 5000; ++i) {
        const auto now = [&] {
          return start + absl::Microseconds(clock.fetch_add(50));
        };
        Admission::Ticket ticket;
        ticket.stream = random.Below(10) == 0;
        const auto refusal = admission.Admit(kMethod, method_limit, now(),
                                             &random, nullptr, &ticket);
        if (!refusal.has_value()) {
          const int n = under_way.fetch_add(1) + 1;
          int seen = most.load();
          while (n > seen && !most.compare_exchange_weak(seen, n)) {
          }
          under_way.fetch_sub(1);
          // Good and bad times.
          const bool bad = i / 500 % 2 == 1 && random.Below(4) != 0;
          admission.OnCallEnd(
              ticket,
              bad ? absl::StatusCode::kUnavailable : absl::StatusCode::kOk,
              now());
        }
        admission.BeginRetry();
        admission.EndRetry();
        if (admission.TryWait(nullptr)) admission.EndWait();
      }
    });
  }
  threads.emplace_back([&] {
    for (int i = 0; i < 200; ++i) {
      options::GuardOptions next = options;
      next.throttle.mode = static_cast<Mode>(i % 3);
      next.breaker.mode = i % 5 == 0 ? Mode::kOff : Mode::kEnforce;
      next.adaptive_concurrency.mode = static_cast<Mode>((i + 1) % 3);
      if (i % 7 == 0) next.rate_limit.mode = Mode::kOff;
      next.rate_limit.per_second = 1e6 + i;
      admission.SetOptions(next);
      admission.Snapshot(start);
    }
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most.load(), 3);
  const Admission::State state = admission.Snapshot(start);
  EXPECT_EQ(state.calls, 0);
  EXPECT_EQ(state.waiting, 0);
  EXPECT_EQ(state.retries, 0);
  EXPECT_EQ(state.concurrency, 0);
}

}  // namespace
}  // namespace mesh::resilience
