#include "mesh/resilience/health/silence.h"

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace mesh::resilience {
namespace {

// Calls take 10 ms at most, so that 30 ms are too long by factor, and 50 ms by
// the least that is silence.
class SilenceTest : public testing::Test {
 protected:
  SilenceTest() {
    options_.min_duration = absl::Milliseconds(50);
    options_.latency_factor = 3;
    peers_.usual_p99 = 10 * kMillisecond;
    counts_.unanswered = 5;
    counts_.awaited = true;
    counts_.quiet_since = kStart;
  }
  // After so many milliseconds of quiet.
  std::optional<int64_t> After(int64_t milliseconds) {
    return FindSilence(counts_, peers_, options_,
                       kStart + milliseconds * kMillisecond, &patience_);
  }
  // The least quiet that is silence, by bisection; 0 when none is.
  int64_t Limit() {
    if (!After(100'000).has_value()) return 0;
    int64_t low = 0, high = 100'000;
    while (low + 1 < high) {
      const int64_t middle = (low + high) / 2;
      (After(middle).has_value() ? high : low) = middle;
    }
    return high;
  }

  static constexpr int64_t kStart = 1'000'000 * kSecond;
  options::SilenceOptions options_;
  SilencePeers peers_;
  SilenceCounts counts_;
  SilencePatience patience_;
};

TEST_F(SilenceTest, QuietForLongerThanCallsTakeIsSilence) {
  EXPECT_EQ(Limit(), 50);
  peers_.usual_p99 = 100 * kMillisecond;
  EXPECT_EQ(Limit(), 300);
  options_.latency_factor = 1.5;
  EXPECT_EQ(Limit(), 150);
}

TEST_F(SilenceTest, ManyThatWaitTellInHalfTheTime) {
  peers_.usual_p99 = 100 * kMillisecond;
  counts_.unanswered = 7;
  EXPECT_EQ(Limit(), 300);
  counts_.unanswered = 8;
  EXPECT_EQ(Limit(), 150);
  peers_.usual_p99 = 10 * kMillisecond;
  EXPECT_EQ(Limit(), 50) << "never less than that";
}

TEST_F(SilenceTest, TwoThatWaitMayBeCallsThatTakeLong) {
  counts_.unanswered = 2;
  EXPECT_EQ(Limit(), 100);
  peers_.usual_most = 700 * kMillisecond;
  EXPECT_EQ(Limit(), 700);
  counts_.unanswered = 3;
  EXPECT_EQ(Limit(), 50);
}

TEST_F(SilenceTest, NoneOfTheseIsSilence) {
  counts_.unanswered = 1;
  EXPECT_EQ(Limit(), 0) << "one alone may be a call that takes long";
  counts_.unanswered = -1;
  EXPECT_EQ(Limit(), 0);
  counts_.unanswered = 4;
  counts_.awaited = false;
  EXPECT_EQ(Limit(), 0) << "nobody waits";
  counts_.unanswered = 5;
  EXPECT_EQ(Limit(), 50) << "but so many that were given up tell";
}

TEST_F(SilenceTest, WithoutAUsualLatencyNobodyIsSilent) {
  EXPECT_EQ(Limit(), 50);
  peers_.usual_p99 = 0;
  EXPECT_EQ(Limit(), 0);
}

TEST_F(SilenceTest, AStallOfThisProcessIsNobodysSilence) {
  peers_.stalled = true;
  EXPECT_EQ(Limit(), 0);
}

TEST_F(SilenceTest, OffFindsNobodyAndObserveFindsTheSame) {
  options_.mode = options::Mode::kOff;
  EXPECT_EQ(Limit(), 0);
  options_.mode = options::Mode::kObserve;
  EXPECT_EQ(Limit(), 50);
}

TEST_F(SilenceTest, WhatIsFoundIsTheTimeThatWasTooLong) {
  EXPECT_EQ(After(1000), 50 * kMillisecond);
  counts_.unanswered = 2;
  peers_.usual_most = 700 * kMillisecond;
  EXPECT_EQ(After(1000), 50 * kMillisecond) << "if many had waited";
}

TEST_F(SilenceTest, EachFalseAlarmDoublesPatience) {
  for (int alarms = 1; alarms <= 6; ++alarms) {
    LearnPatience(kStart, 50 * kMillisecond, kStart + 99 * kMillisecond,
                  &patience_);
    EXPECT_EQ(patience_.doublings, alarms < 4 ? alarms : 4);
    EXPECT_EQ(After(2000).value(), 50 * kMillisecond << patience_.doublings);
  }
}

TEST_F(SilenceTest, AnAnswerThatComesLateIsNoFalseAlarm) {
  LearnPatience(kStart, 50 * kMillisecond, kStart + 100 * kMillisecond,
                &patience_);
  EXPECT_EQ(patience_.doublings, 0);
}

TEST_F(SilenceTest, PatienceThatIsOfNoUseHalvesEachMinute) {
  patience_ = {3, kStart};
  counts_.quiet_since = kStart + 59 * kSecond;
  FindSilence(counts_, peers_, options_, kStart + 59 * kSecond, &patience_);
  EXPECT_EQ(patience_.doublings, 3);
  counts_.quiet_since = kStart + 125 * kSecond;
  FindSilence(counts_, peers_, options_, kStart + 125 * kSecond, &patience_);
  EXPECT_EQ(patience_.doublings, 1);
  EXPECT_EQ(patience_.since, kStart + 125 * kSecond);
  counts_.quiet_since = kStart + 1000 * kSecond;
  FindSilence(counts_, peers_, options_, kStart + 1000 * kSecond, &patience_);
  EXPECT_EQ(patience_.doublings, 0);
}

TEST_F(SilenceTest, PatienceThatIsOfUseLasts) {
  patience_ = {1, kStart};
  const int64_t at = kStart + 50 * kSecond;
  counts_.quiet_since = at - 60 * kMillisecond;
  EXPECT_FALSE(FindSilence(counts_, peers_, options_, at, &patience_));
  EXPECT_EQ(patience_.since, at) << "it was silent for longer than others may";
  counts_.quiet_since = at - 100 * kMillisecond;
  EXPECT_TRUE(FindSilence(counts_, peers_, options_, at, &patience_));
}

}  // namespace
}  // namespace mesh::resilience
