#include "mesh/resilience/retry_budget.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/base/random.h"

namespace mesh::resilience {
namespace {

options::RetryBudgetOptions Options(double ratio, double min_per_second) {
  options::RetryBudgetOptions options;
  options.ratio = ratio;
  options.min_per_second = min_per_second;
  return options;
}

const absl::Time kStart = absl::UnixEpoch() + absl::Hours(1);

int WithdrawAll(RetryBudget* budget, absl::Time now) {
  int taken = 0;
  while (taken < 1'000'000 && budget->TryWithdraw(now)) ++taken;
  return taken;
}

TEST(RetryBudgetTest, BeginsWithOneSecondOfTheFloor) {
  RetryBudget budget(Options(0.1, 10), kStart);
  EXPECT_EQ(WithdrawAll(&budget, kStart), 10);
}

TEST(RetryBudgetTest, TheFloorComesBackWithTimeAndNoFurther) {
  RetryBudget budget(Options(0, 10), kStart);
  EXPECT_EQ(WithdrawAll(&budget, kStart), 10);
  EXPECT_EQ(WithdrawAll(&budget, kStart + absl::Milliseconds(501)), 5);
  EXPECT_EQ(WithdrawAll(&budget, kStart + absl::Hours(1)), 10);
}

TEST(RetryBudgetTest, CallsGiveTheirShare) {
  RetryBudget budget(Options(0.25, 0), kStart);
  EXPECT_EQ(WithdrawAll(&budget, kStart), 0) << "nothing has been called";
  for (int i = 0; i < 1000; ++i) budget.OnCall();
  EXPECT_EQ(WithdrawAll(&budget, kStart + absl::Milliseconds(10)), 248)
      << "250, less what a second of this rate is already short of";
}

TEST(RetryBudgetTest, CreditThatNobodyTakesIsForgotten) {
  RetryBudget budget(Options(0.1, 0), kStart);
  absl::Time now = kStart;
  for (int second = 0; second < 100; ++second) {
    for (int i = 0; i < 1000; ++i) budget.OnCall();
    now += absl::Seconds(1);
    budget.Balance(now);
  }
  EXPECT_LE(WithdrawAll(&budget, now), 101) << "one second's worth";
}

TEST(RetryBudgetTest, ALowRateStillEarnsARetryNowAndThen) {
  RetryBudget budget(Options(0.1, 0), kStart);
  absl::Time now = kStart;
  int retries = 0;
  for (int i = 0; i < 1000; ++i) {
    budget.OnCall();
    now += absl::Seconds(10);
    retries += budget.TryWithdraw(now);
  }
  EXPECT_NEAR(retries, 100, 1);
}

TEST(RetryBudgetTest, NothingAllowedMeansNoRetryEver) {
  RetryBudget budget(Options(0, 0), kStart);
  for (int i = 0; i < 100; ++i) {
    budget.OnCall();
    EXPECT_FALSE(budget.TryWithdraw(kStart + absl::Seconds(i)));
  }
}

TEST(RetryBudgetTest, AClockThatStandsOrGoesBackGivesNothing) {
  RetryBudget budget(Options(0, 10), kStart);
  EXPECT_EQ(WithdrawAll(&budget, kStart), 10);
  EXPECT_FALSE(budget.TryWithdraw(kStart - absl::Seconds(5)));
  EXPECT_FALSE(budget.TryWithdraw(kStart));
  EXPECT_TRUE(budget.TryWithdraw(kStart + absl::Milliseconds(100)))
      << "and time that was gone through once is not counted again";
  EXPECT_FALSE(budget.TryWithdraw(kStart + absl::Milliseconds(100)));
}

TEST(RetryBudgetTest, AbsurdValuesAreHarmless) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  for (double ratio : {-1.0, nan, inf, 1e300}) {
    for (double floor : {-1.0, nan, inf, 1e300}) {
      RetryBudget budget(Options(ratio, floor), kStart);
      for (int i = 0; i < 10; ++i) budget.OnCall();
      for (absl::Time now :
           {kStart, absl::InfinitePast(), kStart + absl::Seconds(1),
            absl::InfiniteFuture(), absl::InfiniteFuture()}) {
        budget.TryWithdraw(now);
        EXPECT_TRUE(std::isfinite(budget.Balance(now)));
        EXPECT_GE(budget.Balance(now), 0);
      }
    }
  }
}

TEST(RetryBudgetTest, NewLimitsApplyAtOnce) {
  RetryBudget budget(Options(0, 100), kStart);
  budget.SetOptions(Options(0, 5));
  EXPECT_EQ(WithdrawAll(&budget, kStart), 5);
  budget.SetOptions(Options(0, 0));
  EXPECT_EQ(WithdrawAll(&budget, kStart + absl::Seconds(10)), 0);
}

// Looks at windows that begin with the traffic, or when it has been steady for
// long. In each, retries are at most the calls' share and the floor, with one
// second more of each and one retry.
TEST(RetryBudgetTest, NeverGivesMoreThanItsShareInAnyWindow) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    base::Random random(seed);
    const double ratio = random.Unit() * (random.Below(4) == 0 ? 1 : 0.2);
    const double floor = random.Below(3) == 0 ? 0 : random.Unit() * 20;
    const double rate = std::pow(10, random.Unit() * 3.5);  // Calls per second.
    const double hunger = random.Unit();  // Share of calls that would retry.
    RetryBudget budget(Options(ratio, floor), kStart);

    struct Sample {
      double time;
      int64_t calls;
      int64_t retries;
    };
    std::vector<Sample> samples = {{0, 0, 0}};
    double time = 0;
    int64_t calls = 0, retries = 0;
    for (int i = 0; i < 3000; ++i) {
      time += -std::log(1 - random.Unit()) / rate;
      if (random.Below(500) == 0) time += random.Unit() * 5;  // A pause.
      budget.OnCall();
      ++calls;
      if (random.Unit() < hunger) {
        retries += budget.TryWithdraw(kStart + absl::Seconds(time));
      }
      if (i % 20 == 0) samples.push_back({time, calls, retries});
    }
    EXPECT_LE(retries, ratio * calls + floor * (time + 1) + 1)
        << "seed " << seed;
    // A window inside begins with what the bucket holds: at most one second
    // of the highest mean rate, here bounded by twice the rate and noise.
    const double stored =
        std::max(1.0, floor + ratio * (2 * rate + 5 * std::sqrt(rate) + 5));
    for (size_t from = 0; from < samples.size(); ++from) {
      for (size_t to = from; to < samples.size(); to += 7) {
        const double most = ratio * (samples[to].calls - samples[from].calls) +
                            floor * (samples[to].time - samples[from].time) +
                            stored + 1;
        ASSERT_LE(samples[to].retries - samples[from].retries, most)
            << "seed " << seed << " window " << samples[from].time << ".."
            << samples[to].time;
      }
    }
  }
}

// An outage in which each call would be tried again and again, as long as
// anything is granted.
TEST(RetryBudgetTest, TheShippedBudgetAmplifiesAnOutageByATenthAtMost) {
  for (int rate : {150, 200, 300, 1000}) {
    RetryBudget budget(options::RetryBudgetOptions(), kStart);
    absl::Time now = kStart;
    const absl::Duration step = absl::Seconds(1) / rate;
    for (int i = 0; i < 10 * rate; ++i) {  // Good times.
      budget.OnCall();
      now += step;
      budget.Balance(now);
    }
    int retries = 0, most_a_second = 0;
    for (int second = 0; second < 10; ++second) {
      const int before = retries;
      for (int i = 0; i < rate; ++i) {
        budget.OnCall();
        retries += WithdrawAll(&budget, now);
        now += step;
      }
      most_a_second = std::max(most_a_second, retries - before);
    }
    EXPECT_LE(retries, 0.1 * 10 * rate) << rate;
    EXPECT_LE(most_a_second, 0.2 * rate) << rate;
    EXPECT_GE(retries, 0.05 * 10 * rate) << rate;
  }
}

TEST(RetryBudgetTest, WhatIsOverdrawnIsPaidBackFirst) {
  RetryBudget budget(Options(0, 10), kStart);
  EXPECT_EQ(WithdrawAll(&budget, kStart), 10);
  for (int i = 0; i < 3; ++i) budget.Overdraw(kStart);
  EXPECT_EQ(budget.Balance(kStart), 0);
  EXPECT_EQ(WithdrawAll(&budget, kStart + absl::Milliseconds(301)), 0);
  EXPECT_EQ(WithdrawAll(&budget, kStart + absl::Milliseconds(401)), 1);
}

TEST(RetryBudgetTest, NoMoreIsOwedThanComesInWithinASecond) {
  RetryBudget budget(Options(0, 10), kStart);
  for (int i = 0; i < 1000; ++i) budget.Overdraw(kStart);
  EXPECT_EQ(WithdrawAll(&budget, kStart + absl::Milliseconds(1000)), 0);
  EXPECT_EQ(WithdrawAll(&budget, kStart + absl::Milliseconds(1501)), 5);
  // A service that may not retry at all may still probe, and owes nothing for
  // it.
  budget.SetOptions(Options(0, 0));
  budget.Overdraw(kStart + absl::Seconds(2));
  budget.SetOptions(Options(0, 10));
  EXPECT_EQ(WithdrawAll(&budget, kStart + absl::Seconds(3)), 10);
}

TEST(RetryBudgetTest, ThreadsTogetherGetNoMoreThanOneWould) {
  RetryBudget budget(Options(0, 1000), kStart);
  std::vector<int> taken(4);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back(
        [&budget, &taken, i] { taken[i] = WithdrawAll(&budget, kStart); });
  }
  int sum = 0;
  for (int i = 0; i < 4; ++i) {
    threads[i].join();
    sum += taken[i];
  }
  EXPECT_EQ(sum, 1000);
}

}  // namespace
}  // namespace mesh::resilience
