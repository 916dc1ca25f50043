#include "mesh/resilience/circuit_breaker.h"

#include <limits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace mesh::resilience {
namespace {

using State = CircuitBreaker::State;

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSecond = 1000 * kMs;
constexpr int64_t kStart = 1000 * kSecond;

options::BreakerOptions Options() {
  options::BreakerOptions options;
  options.mode = options::Mode::kEnforce;
  return options;
}

// A breaker and what it has been told.
class CircuitBreakerTest : public ::testing::Test {
 protected:
  void Calls(int calls, int failed) {
    totals_.calls += calls;
    totals_.failed += failed;
    breaker_.Update(totals_, now_);
  }
  void Open() { Calls(20, 20); }
  // The probe that is admitted now. 0: none is.
  uint32_t Probe() { return breaker_.Admit(now_).probe; }

  int64_t now_ = kStart;
  CircuitBreaker::Totals totals_;
  CircuitBreaker breaker_{Options(), {}};
};

TEST_F(CircuitBreakerTest, AdmitsWhileLessThanTheShareFails) {
  Calls(100, 49);
  EXPECT_EQ(breaker_.state(), State::kClosed);
  EXPECT_TRUE(breaker_.Admit(now_).admitted);
  EXPECT_EQ(Probe(), 0u);
}

TEST_F(CircuitBreakerTest, OpensWhenTheShareFails) {
  Calls(100, 50);
  EXPECT_EQ(breaker_.state(), State::kOpen);
  EXPECT_FALSE(breaker_.Admit(now_).admitted);
}

TEST_F(CircuitBreakerTest, FewCallsOpenNothing) {
  Calls(19, 19);
  EXPECT_TRUE(breaker_.Admit(now_).admitted);
  Calls(1, 1);
  EXPECT_FALSE(breaker_.Admit(now_).admitted);
}

TEST_F(CircuitBreakerTest, WhatIsOlderThanTheWindowDoesNotCount) {
  Calls(15, 15);
  now_ += 11 * kSecond;
  Calls(15, 15);
  EXPECT_EQ(breaker_.state(), State::kClosed);
  now_ += kSecond;
  Calls(5, 5);
  EXPECT_EQ(breaker_.state(), State::kOpen);
}

TEST_F(CircuitBreakerTest, SaysWhyItRefuses) {
  Calls(230, 140);
  EXPECT_EQ(breaker_.Why(now_ + 600 * kMs),
            "the circuit breaker is open: 61% of 230 calls in 10s failed. The "
            "next probe goes in 0.4s; see why the service fails.");
  now_ += kSecond;
  EXPECT_NE(Probe(), 0u);
  EXPECT_EQ(breaker_.Why(now_),
            "the circuit breaker is open: 61% of 230 calls in 10s failed. A "
            "probe is under way; see why the service fails.");
}

TEST_F(CircuitBreakerTest, AnswersThatTakeLongerThanTheNextProbeCloseItToo) {
  Open();
  // A service whose good answers take one and a half times `open_for`.
  std::vector<std::pair<int64_t, uint32_t>> under_way;
  for (int i = 0; i < 1000 && breaker_.state() != State::kClosed; ++i) {
    now_ += 10 * kMs;
    const uint32_t probe = Probe();
    if (probe != 0) under_way.push_back({now_ + 1500 * kMs, probe});
    while (!under_way.empty() && under_way.front().first <= now_) {
      breaker_.OnProbeEnd(under_way.front().second, /*good=*/true, now_);
      under_way.erase(under_way.begin());
    }
  }
  EXPECT_EQ(breaker_.state(), State::kClosed);
}

TEST_F(CircuitBreakerTest, ProbesOneAtATimeAfterItsTime) {
  Open();
  now_ += kSecond - 1;
  EXPECT_FALSE(breaker_.Admit(now_).admitted);
  now_ += 1;
  const uint32_t probe = Probe();
  EXPECT_NE(probe, 0u);
  EXPECT_EQ(breaker_.state(), State::kHalfOpen);
  EXPECT_FALSE(breaker_.Admit(now_).admitted) << "while it is under way";
  breaker_.OnProbeEnd(probe, true, now_);
  EXPECT_NE(Probe(), 0u) << "the next one";
}

TEST_F(CircuitBreakerTest, ClosesAfterEnoughGoodProbes) {
  Open();
  now_ += kSecond;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(breaker_.state(), i == 0 ? State::kOpen : State::kHalfOpen);
    breaker_.OnProbeEnd(Probe(), true, now_);
  }
  EXPECT_EQ(breaker_.state(), State::kClosed);
  Calls(0, 0);
  EXPECT_EQ(breaker_.state(), State::kClosed) << "what was is forgotten";
}

TEST_F(CircuitBreakerTest, WaitsTwiceAsLongAfterEachFailedProbe) {
  Open();
  int64_t wait = kSecond;
  for (int64_t seconds : {2, 4, 8, 10, 10}) {
    now_ += wait;
    breaker_.OnProbeEnd(Probe(), true, now_);  // One good one is not enough.
    breaker_.OnProbeEnd(Probe(), false, now_);
    wait = seconds * kSecond;
    EXPECT_FALSE(breaker_.Admit(now_ + wait - 1).admitted);
  }
  now_ += wait;
  for (int i = 0; i < 3; ++i) breaker_.OnProbeEnd(Probe(), true, now_);
  ASSERT_EQ(breaker_.state(), State::kClosed);
  Open();
  now_ += kSecond;
  EXPECT_NE(Probe(), 0u) << "it begins anew with a second";
}

TEST_F(CircuitBreakerTest, CallsFromBeforeItOpenedChangeNothing) {
  Open();
  now_ += kSecond;
  Calls(100, 100);
  for (int i = 0; i < 3; ++i) breaker_.OnProbeEnd(Probe(), true, now_);
  Calls(0, 0);
  EXPECT_EQ(breaker_.state(), State::kClosed);
}

TEST_F(CircuitBreakerTest, AProbeThatDoesNotEndIsNotTheLast) {
  Open();
  now_ += kSecond;
  const uint32_t hung = Probe();
  now_ += kSecond;
  const uint32_t second = Probe();
  EXPECT_NE(second, 0u);
  breaker_.OnProbeEnd(hung, false, now_);
  EXPECT_EQ(breaker_.state(), State::kHalfOpen) << "it counts no more";
}

TEST_F(CircuitBreakerTest, AProbeThatWasNotMadeMakesRoomForAnother) {
  Open();
  now_ += kSecond;
  breaker_.OnProbeLost(Probe());
  EXPECT_NE(Probe(), 0u);
}

TEST_F(CircuitBreakerTest, AReloadKeepsTheStateAndTheCounts) {
  Calls(15, 15);
  options::BreakerOptions options = Options();
  options.failure_rate = 0.9;
  breaker_.SetOptions(options);
  Calls(5, 5);
  EXPECT_EQ(breaker_.state(), State::kOpen);
  breaker_.SetOptions(Options());
  EXPECT_EQ(breaker_.state(), State::kOpen);
  options.mode = options::Mode::kOff;
  breaker_.SetOptions(options);
  EXPECT_EQ(breaker_.state(), State::kClosed);
}

TEST_F(CircuitBreakerTest, AbsurdOptionsAreHarmless) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (double share : {nan, -1.0, 0.0, 1e300}) {
    for (absl::Duration time :
         {absl::ZeroDuration(), -absl::Seconds(1), absl::InfiniteDuration()}) {
      options::BreakerOptions options = Options();
      options.failure_rate = share;
      options.window = time;
      options.open_for = time;
      CircuitBreaker breaker(options, {});
      breaker.Update({}, kStart);
      EXPECT_EQ(breaker.state(), State::kClosed) << "nothing was called";
      breaker.Update({100, 1}, kStart);
      EXPECT_EQ(breaker.state(), State::kClosed) << "1% failed";
      breaker.Update({200, 101}, kStart);
      breaker.OnProbeEnd(breaker.Admit(kStart + kSecond).probe, false,
                         int64_t{1} << 62);
      breaker.Update({300, 301}, 0);
      breaker.Why(0);
    }
  }
}

}  // namespace
}  // namespace mesh::resilience
