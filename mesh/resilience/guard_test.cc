#include "mesh/resilience/guard.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mesh/base/guard.h"
#include "mesh/base/random.h"
#include "mesh/options/admission.h"
#include "mesh/options/mode.h"
#include "mesh/resilience/caps.h"
#include "mesh/resilience/circuit_breaker.h"
#include "mesh/resilience/concurrency_limit.h"
#include "mesh/resilience/rate_limiter.h"
#include "mesh/resilience/throttle.h"

namespace mesh::resilience {
namespace {

using base::Guard;
using options::Mode;

constexpr int64_t kMillisecond = 1'000'000;

// Asks one guard at a time, as Admission does.
class GuardTest : public testing::Test, public RefusalListener {
 protected:
  void OnRefusal(const Refusal& refusal) override { told_.push_back(refusal); }

  // A new call.
  Asking Ask(bool stream = false) {
    ticket_ = AdmissionTicket();
    ticket_.stream = stream;
    return {"/a.B/C", &no_limit_, &random_, this, &ticket_, now_};
  }
  template <typename G>
  bool Admits(G* guard) {
    asking_ = Ask();
    return guard->Admit(&asking_);
  }
  int64_t CallsOf(const CapsGuard& caps) {
    AdmissionState state;
    caps.Describe(&state);
    return state.calls;
  }

  // So many calls have failed until now.
  static CallTotals Failed(int64_t calls) {
    CallTotals totals;
    totals.untimed = totals.failed = totals.rejected = calls;
    return totals;
  }

  const options::RateLimitOptions no_limit_{};  // Off.
  base::Random random_{1};
  AdmissionTicket ticket_;
  int64_t now_ = 1'000'000 * kMillisecond;
  Asking asking_ = Ask();
  std::vector<Refusal> told_;
};

TEST_F(GuardTest, CapsHoldNothingOfWhatTheyRefuse) {
  options::CapsOptions options;
  options.max_calls = 2;
  CapsGuard caps;
  caps.SetOptions(options);
  EXPECT_TRUE(Admits(&caps));
  EXPECT_TRUE(Admits(&caps));
  EXPECT_EQ(asking_.calls, 2);
  EXPECT_FALSE(Admits(&caps));
  EXPECT_EQ(asking_.refusal.guard, Guard::kMaxCalls);
  EXPECT_EQ(CallsOf(caps), 2);
  caps.Undo(asking_);
  EXPECT_EQ(CallsOf(caps), 1);
  EXPECT_TRUE(told_.empty()) << "whoever asks tells of what is enforced";
}

TEST_F(GuardTest, ObservedCapsTellAtOnceAndAdmit) {
  options::CapsOptions options;
  options.mode = Mode::kObserve;
  options.max_calls = 1;
  CapsGuard caps;
  caps.SetOptions(options);
  EXPECT_TRUE(Admits(&caps));
  EXPECT_TRUE(Admits(&caps));
  ASSERT_EQ(told_.size(), 1);
  EXPECT_TRUE(told_[0].observed);
  EXPECT_EQ(CallsOf(caps), 2);
}

class BreakerGuardTest : public GuardTest {
 protected:
  void Open(Mode mode) {
    options_.mode = mode;
    options_.open_for = absl::Milliseconds(100);
    breaker_.SetOptions(options_, {});
    breaker_.Update(Failed(100), now_);
    EXPECT_FALSE(breaker_.quiet());
  }

  options::BreakerOptions options_;
  BreakerGuard breaker_{options_};
};

TEST_F(BreakerGuardTest, RefusesWhileItIsOpen) {
  EXPECT_TRUE(breaker_.quiet());
  EXPECT_TRUE(Admits(&breaker_));
  Open(Mode::kEnforce);
  EXPECT_FALSE(Admits(&breaker_));
  EXPECT_EQ(asking_.refusal.guard, Guard::kBreaker);
  EXPECT_EQ(asking_.refusal.code, absl::StatusCode::kUnavailable);
  EXPECT_NE(asking_.refusal.why.find("100% of 100 calls"), std::string::npos);
}

TEST_F(BreakerGuardTest, AProbeThatIsNotMadeLeavesItsPlaceToTheNext) {
  Open(Mode::kEnforce);
  now_ += 100 * kMillisecond;
  EXPECT_TRUE(Admits(&breaker_));
  EXPECT_TRUE(asking_.probes);
  const Asking first = asking_;
  const AdmissionTicket ticket = ticket_;
  EXPECT_FALSE(Admits(&breaker_)) << "one at a time";
  ticket_ = ticket;
  breaker_.Undo(first);
  EXPECT_TRUE(Admits(&breaker_));
}

TEST_F(BreakerGuardTest, ObservedItsProbesPassNoOtherGuard) {
  Open(Mode::kObserve);
  EXPECT_TRUE(Admits(&breaker_));
  EXPECT_EQ(told_.size(), 1);
  now_ += 100 * kMillisecond;
  EXPECT_TRUE(Admits(&breaker_));
  EXPECT_NE(ticket_.probe, 0);
  EXPECT_FALSE(asking_.probes);
  EXPECT_EQ(told_.size(), 1);
}

TEST_F(BreakerGuardTest, GoodProbesCloseIt) {
  Open(Mode::kEnforce);
  now_ += 100 * kMillisecond;
  for (int i = 0; i < CircuitBreaker::kProbes; ++i) {
    EXPECT_TRUE(Admits(&breaker_));
    breaker_.EndProbe(ticket_, /*good=*/true, now_);
  }
  EXPECT_TRUE(breaker_.quiet());
}

TEST_F(GuardTest, TheThrottleCountsWhatItDrops) {
  options::ThrottleOptions options;
  options.mode = Mode::kEnforce;
  ThrottleGuard throttle(options);
  EXPECT_TRUE(throttle.quiet());
  EXPECT_TRUE(Admits(&throttle));
  throttle.Update(Failed(1000), now_);
  EXPECT_FALSE(throttle.quiet());
  int dropped = 0;
  for (int i = 0; i < 100; ++i) dropped += Admits(&throttle) ? 0 : 1;
  EXPECT_GT(dropped, 90) << "none of 1,000 was accepted";
  asking_ = Ask();
  asking_.probes = true;
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(throttle.Admit(&asking_)) << "the breaker decides about probes";
  }
  AdmissionState state;
  throttle.Describe(Failed(1000), now_, &state);
  EXPECT_NEAR(state.throttle_probability, (1000.0 + dropped) / (1001 + dropped),
              1e-9);
}

TEST_F(GuardTest, AdaptiveConcurrencyCountsNoStreams) {
  options::AdaptiveConcurrencyOptions options;
  options.mode = Mode::kEnforce;
  ConcurrencyGuard concurrency(options, now_);
  EXPECT_EQ(concurrency.limit(), 100);
  asking_ = Ask();
  asking_.calls = 101;
  EXPECT_FALSE(concurrency.Admit(&asking_));
  EXPECT_EQ(asking_.refusal.guard, Guard::kAdaptiveConcurrency);

  Asking stream = Ask(/*stream=*/true);
  stream.calls = 200;
  EXPECT_TRUE(concurrency.Admit(&stream));
  asking_ = Ask();
  asking_.calls = 101;
  EXPECT_TRUE(concurrency.Admit(&asking_)) << "one of them is a stream";

  ticket_.stream = true;
  concurrency.Undo(stream);
  asking_ = Ask();
  asking_.calls = 101;
  EXPECT_FALSE(concurrency.Admit(&asking_));
}

TEST_F(GuardTest, ARateLimitIsAskedWhenTheServiceOrTheMethodHasOne) {
  options::RateLimitOptions limit;
  limit.mode = Mode::kOff;
  RateLimiter limiter(limit);
  EXPECT_TRUE(limiter.quiet());
  limit.mode = Mode::kEnforce;
  limit.per_second = 1;
  limit.burst = 1;
  for (bool admitted : {true, false}) {
    asking_ = Ask();
    asking_.method_limit = &limit;
    EXPECT_EQ(limiter.Admit(&asking_), admitted);
  }
  EXPECT_EQ(asking_.refusal.guard, Guard::kRateLimit);
  EXPECT_TRUE(Admits(&limiter)) << "a method without limit";
  limiter.SetOptions(limit);
  EXPECT_FALSE(limiter.quiet());
  EXPECT_TRUE(Admits(&limiter));
  EXPECT_FALSE(Admits(&limiter));
}

}  // namespace
}  // namespace mesh::resilience
