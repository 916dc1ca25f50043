#include "mesh/resilience/latency_tracker.h"

#include <cmath>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/base/random.h"

namespace mesh::resilience {
namespace {

const absl::Time kStart = absl::UnixEpoch() + absl::Hours(1);

double Milliseconds(absl::Duration duration) {
  return absl::ToDoubleMilliseconds(duration);
}

TEST(LatencyTrackerTest, SaysNothingBeforeItHasSeenTwentyCalls) {
  LatencyTracker tracker;
  EXPECT_EQ(tracker.Quantile(0.5, kStart), absl::InfiniteDuration());
  absl::Time now = kStart;
  for (int i = 0; i < 19; ++i) tracker.Record(absl::Milliseconds(3), now);
  now += absl::Seconds(1);
  EXPECT_EQ(tracker.Quantile(0.5, now), absl::InfiniteDuration());
  tracker.Record(absl::Milliseconds(3), now);
  now += absl::Seconds(1);
  EXPECT_NEAR(Milliseconds(tracker.Quantile(0.5, now)), 3, 0.2);
}

TEST(LatencyTrackerTest, QuantilesAreRightWithinABucketAtEveryScale) {
  for (double scale : {1e-5, 1e-3, 1e-1, 10.0}) {  // Seconds.
    LatencyTracker tracker;
    base::Random random(7);
    for (int i = 0; i < 20000; ++i) {
      tracker.Record(absl::Seconds(scale * (1 + 9 * random.Unit())), kStart);
    }
    absl::Time now = kStart;
    for (double q : {0.01, 0.25, 0.5, 0.95, 0.99}) {
      now += absl::Milliseconds(200);
      const double expected = scale * (1 + 9 * q);
      EXPECT_NEAR(absl::ToDoubleSeconds(tracker.Quantile(q, now)), expected,
                  expected * 0.07)
          << "scale " << scale << " q " << q;
    }
  }
}

TEST(LatencyTrackerTest, ForgetsWhatIsOlderThanThirteenSecondsAndNotEight) {
  // Wherever in a part of the window it begins.
  for (int offset = 0; offset < 13; ++offset) {
    LatencyTracker tracker;
    const absl::Time start = kStart + absl::Milliseconds(337 * offset);
    for (int i = 0; i < 100; ++i) {
      tracker.Record(absl::Milliseconds(100), start);
    }
    EXPECT_NEAR(Milliseconds(tracker.Quantile(0.5, start + absl::Seconds(8))),
                100, 7);
    EXPECT_EQ(tracker.Quantile(0.5, start + absl::Seconds(13)),
              absl::InfiniteDuration());
    for (int i = 0; i < 100; ++i) {
      tracker.Record(absl::Milliseconds(1), start + absl::Seconds(13));
    }
    EXPECT_NEAR(Milliseconds(tracker.Quantile(0.99, start + absl::Seconds(14))),
                1, .1);
  }
}

TEST(LatencyTrackerTest, AnAnswerIsAtMostATenthOfASecondOld) {
  LatencyTracker tracker;
  absl::Time now = kStart;
  for (int i = 0; i < 100; ++i) tracker.Record(absl::Milliseconds(1), now);
  EXPECT_NEAR(Milliseconds(tracker.Quantile(0.5, now)), 1, 0.1);
  for (int i = 0; i < 900; ++i) tracker.Record(absl::Milliseconds(9), now);
  EXPECT_NEAR(Milliseconds(tracker.Quantile(0.5, now)), 1, 0.1) << "cached";
  now += absl::Milliseconds(100);
  EXPECT_NEAR(Milliseconds(tracker.Quantile(0.5, now)), 9, 0.6);
}

TEST(LatencyTrackerTest, AnotherQuantileIsNotTakenForTheCachedOne) {
  LatencyTracker tracker;
  for (int i = 1; i <= 100; ++i) {
    tracker.Record(absl::Milliseconds(i), kStart);
  }
  EXPECT_NEAR(Milliseconds(tracker.Quantile(0.5, kStart)), 50, 3.5);
  EXPECT_NEAR(Milliseconds(tracker.Quantile(0.95, kStart)), 95, 6.5);
  EXPECT_NEAR(Milliseconds(tracker.Quantile(0.5, kStart)), 50, 3.5);
}

TEST(LatencyTrackerTest, TheMedianAndAnotherQuantileDoNotEvictEachOther) {
  LatencyTracker tracker;
  for (int i = 1; i <= 100; ++i) {
    tracker.Record(absl::Milliseconds(i), kStart);
  }
  const absl::Duration p95 = tracker.Quantile(0.95, kStart);
  const absl::Duration median = tracker.Median(kStart);
  EXPECT_NEAR(Milliseconds(p95), 95, 6.5);
  EXPECT_NEAR(Milliseconds(median), 50, 3.5);
  for (int i = 0; i < 900; ++i) tracker.Record(absl::Seconds(1), kStart);
  // Both from memory, to the precision in which it keeps them.
  for (int i = 0; i < 3; ++i) {
    EXPECT_NEAR(Milliseconds(tracker.Quantile(0.95, kStart)), Milliseconds(p95),
                0.01);
    EXPECT_NEAR(Milliseconds(tracker.Median(kStart)), Milliseconds(median),
                0.01);
  }
}

TEST(LatencyTrackerTest, NoThreadIsGivenTheQuantileOfAnother) {
  auto tracker = std::make_unique<LatencyTracker>();
  for (int i = 0; i < 100; ++i) {
    tracker->Record(absl::Milliseconds(i < 80 ? 1 : 100), kStart);
  }
  std::vector<std::thread> threads;
  for (double q : {0.5, 0.95}) {
    threads.emplace_back([&tracker, q] {
      for (int i = 0; i < 20000; ++i) {
        const absl::Time now = kStart + absl::Microseconds(100 * i);
        const double least = q < 0.6 ? 0.9 : 90;
        const double latency = Milliseconds(tracker->Quantile(q, now));
        if (latency < least || latency > 1.2 * least) {
          ADD_FAILURE() << latency << " ms for " << q;
          return;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(LatencyTrackerTest, AbsurdValuesAreHarmless) {
  LatencyTracker tracker;
  for (absl::Time now : {absl::InfinitePast(), kStart - absl::Hours(10000),
                         kStart, kStart - absl::Seconds(60), kStart}) {
    for (absl::Duration latency :
         {absl::ZeroDuration(), -absl::Seconds(1), -absl::InfiniteDuration(),
          absl::InfiniteDuration(), absl::Hours(1000), absl::Nanoseconds(1)}) {
      for (int i = 0; i < 5; ++i) tracker.Record(latency, now);
    }
    for (double q :
         {-1.0, 0.0, 0.5, 1.0, 2.0, std::numeric_limits<double>::quiet_NaN()}) {
      EXPECT_GT(tracker.Quantile(q, now), absl::ZeroDuration());
    }
  }
  EXPECT_GT(tracker.Quantile(1, kStart), absl::Minutes(4));
}

TEST(LatencyTrackerTest, ThreadsThatRecordTogetherLoseNextToNothing) {
  auto tracker = std::make_unique<LatencyTracker>();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&tracker] {
      // Over several parts of the window, each thread at its own pace.
      for (int i = 0; i < 20000; ++i) {
        const absl::Time now = kStart + absl::Milliseconds(i);
        tracker->Record(absl::Milliseconds(i % 100 < 90 ? 1 : 50), now);
        if (i % 64 == 0) tracker->Quantile(0.95, now);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const absl::Time end = kStart + absl::Seconds(20) + absl::Milliseconds(200);
  EXPECT_NEAR(Milliseconds(tracker->Quantile(0.85, end)), 1, 0.1);
  EXPECT_NEAR(Milliseconds(tracker->Quantile(0.95, end)), 50, 3.5);
}

}  // namespace
}  // namespace mesh::resilience
