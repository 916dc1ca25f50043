#include "mesh/resilience/throttle.h"

#include "gtest/gtest.h"
#include "mesh/base/random.h"

namespace mesh::resilience {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kStart = 1000 * kSecond;

TEST(ThrottleTest, DropsNothingWhileTheServiceAcceptsHalf) {
  Throttle throttle({});
  throttle.Update({1000, 500}, kStart);
  EXPECT_EQ(throttle.probability(), 0);
}

TEST(ThrottleTest, DropsTheShareThatTheBookGives) {
  Throttle throttle({});
  throttle.Update({1000, 100}, kStart);
  EXPECT_NEAR(throttle.probability(), 800.0 / 1001, 1e-9);
  EXPECT_EQ(throttle.Why(),
            "the throttle dropped this call: of 1000 calls in 30s the service "
            "accepted 100, so 80% "
            "are dropped. See why it rejects them.");
}

TEST(ThrottleTest, DropsNothingBelowTheLeastCalls) {
  Throttle throttle({});
  throttle.Update({49, 0}, kStart);
  EXPECT_EQ(throttle.probability(), 0);
  throttle.Update({50, 0}, kStart);
  EXPECT_NEAR(throttle.probability(), 50.0 / 51, 1e-9);
}

TEST(ThrottleTest, ForgetsWithTheWindow) {
  Throttle throttle({});
  throttle.Update({1000, 0}, kStart);
  EXPECT_GT(throttle.probability(), 0.9);
  throttle.Update({1060, 60}, kStart + 31 * kSecond);
  EXPECT_EQ(throttle.probability(), 0);
}

TEST(ThrottleTest, WhatWasBeforeItsTimeDoesNotCount) {
  Throttle throttle({1000, 0});
  throttle.Update({1060, 60}, kStart);
  EXPECT_EQ(throttle.probability(), 0);
}

// A backend that takes 100 calls per second out of 1,000. With K = 2 it sees
// about 200 of them.
TEST(ThrottleTest, LetsThroughTwiceWhatIsAccepted) {
  Throttle throttle({});
  base::Random random(1);
  Throttle::Totals totals;
  int64_t sent = 0;
  for (int tick = 0; tick < 50 * 120; ++tick) {  // 120 s in steps of 20 ms.
    int taken = 0;
    for (int i = 0; i < 20; ++i) {
      ++totals.requests;
      if (random.Unit() < throttle.probability()) continue;
      if (tick >= 50 * 60) ++sent;
      if (++taken <= 2) ++totals.accepts;
    }
    throttle.Update(totals, kStart + tick * kSecond / 50);
  }
  EXPECT_NEAR(static_cast<double>(sent) / 60, 200, 20);
}

TEST(ThrottleTest, AbsurdTotalsAreHarmless) {
  Throttle throttle({});
  for (const Throttle::Totals& totals :
       {Throttle::Totals{0, 0}, Throttle::Totals{100, 100},
        Throttle::Totals{200, 100}, Throttle::Totals{100, 300}}) {
    throttle.Update(totals, kStart);
    EXPECT_GE(throttle.probability(), 0);
    EXPECT_LT(throttle.probability(), 1);
  }
}

TEST(ThrottleGuardTest, ForgetsWhenItIsSwitchedOff) {
  options::ThrottleOptions options;
  options.mode = options::Mode::kEnforce;
  ThrottleGuard guard(options);
  EXPECT_TRUE(guard.quiet());
  CallTotals totals;
  totals.untimed = totals.failed = totals.rejected = 1000;
  guard.Update(totals, kStart);
  EXPECT_FALSE(guard.quiet());
  options.mode = options::Mode::kOff;
  guard.SetOptions(options, totals);
  EXPECT_TRUE(guard.quiet());
  options.mode = options::Mode::kEnforce;
  guard.SetOptions(options, totals);
  totals.untimed = totals.failed = totals.rejected = 1049;
  guard.Update(totals, kStart);
  EXPECT_TRUE(guard.quiet()) << "too few since then";
  totals.untimed = totals.failed = totals.rejected = 1050;
  guard.Update(totals, kStart);
  EXPECT_FALSE(guard.quiet());
}

}  // namespace
}  // namespace mesh::resilience
