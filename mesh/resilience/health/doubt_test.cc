#include "mesh/resilience/health/doubt.h"

#include <optional>

#include "gtest/gtest.h"
#include "mesh/base/random.h"

namespace mesh::resilience {
namespace {

constexpr int64_t kNow = 1'000'000 * kSecond;

class DoubtsTest : public testing::Test {
 protected:
  // A look after which the others, and it, have had so many calls.
  void Look(Counted others, Counted its = {}) {
    doubts_.BeginLook();
    doubts_.Count(others, 0, &others_);
    doubts_.Count(its, ended_, &memory_);
    doubts_.EndLook();
  }
  static Counted Calls(uint32_t total, uint32_t failed) {
    Counted counted;
    counted.ended = counted.total = total;
    counted.failed = failed;
    return counted;
  }
  // It answers so often, and fails once. Single failures are in no row.
  std::optional<Doubt> Fail(uint32_t good = 0, uint32_t row = 1) {
    ended_ += good + 1;
    return doubts_.OnFailure(row, ended_, &memory_);
  }
  std::optional<Doubt> BeSlow(uint32_t quick = 0) {
    ended_ += quick + 1;
    return Doubts::OnSlowAnswer(ended_, now_, &memory_);
  }

  Doubts doubts_;
  DoubtMemory memory_;
  DoubtMemory others_;
  uint32_t ended_ = 0;
  int64_t now_ = kNow;
};

// ---- Sums ----

TEST(DoubtSumTest, RisesWithFailuresAndFallsWithEachCallThatGoesWell) {
  const double once = AfterFailure(0, 0, 0);
  EXPECT_GT(once, 2);
  EXPECT_NEAR(AfterFailure(once, 0, 0), 2 * once, 1e-9);
  EXPECT_LT(AfterFailure(once, 10, 0), 2 * once);
  EXPECT_NEAR(AfterFailure(once, 1000, 0), once, 1e-9) << "never below 0";
}

TEST(DoubtSumTest, OneInAHundredIsTakenForGranted) {
  EXPECT_EQ(AfterFailure(0, 0, 0), AfterFailure(0, 0, 0.01));
  EXPECT_LT(AfterFailure(0, 0, 0.3), AfterFailure(0, 0, 0.01));
  EXPECT_GT(AfterFailure(0, 0, 1.0), 0);
}

TEST(DoubtSumTest, SlownessAlike) {
  const double once = AfterSlowAnswer(0, 0);
  EXPECT_GT(once, 1);
  EXPECT_LT(AfterSlowAnswer(once, 1), 2 * once);
  EXPECT_NEAR(AfterSlowAnswer(once, 100), once, 1e-9);
}

// ---- Doubts ----

TEST_F(DoubtsTest, ThreeFailuresInARowAreDoubtful) {
  EXPECT_EQ(Fail(1000, 1), std::nullopt);
  memory_.failures = 0;
  EXPECT_EQ(Fail(0, 2), std::nullopt);
  memory_.failures = 0;
  EXPECT_EQ(Fail(0, 3), Doubt::kRow);
}

TEST_F(DoubtsTest,
       WhoFailsMoreOftenThanTheOthersIsDoubtfulHoweverSlowlyItGoes) {
  base::Random random(1);
  for (double share : {0.1, 0.4}) {
    int calls = 0;
    for (int k = 0; k < 20; ++k) {
      memory_ = DoubtMemory();
      memory_.failures_at = ended_;
      std::optional<Doubt> doubt;
      while (!doubt.has_value()) {
        ++calls;
        now_ += kSecond;  // No interval ends the sum.
        if (random.Unit() >= share) {
          ++ended_;
        } else {
          doubt = Fail();
        }
      }
      EXPECT_EQ(doubt, Doubt::kFailures);
    }
    EXPECT_LT(calls / 20, share == 0.1 ? 80 : 12) << share;
  }
}

TEST_F(DoubtsTest, OneInAHundredIsNotSoonDoubtful) {
  base::Random random(2);
  int calls = 0;
  for (int k = 0; k < 20; ++k) {
    memory_ = DoubtMemory();
    memory_.failures_at = ended_;
    for (bool found = false; !found; ++calls) {
      if (random.Unit() >= 0.01) {
        ++ended_;
      } else {
        found = Fail().has_value();
      }
    }
  }
  EXPECT_GT(calls / 20, 500);
}

TEST_F(DoubtsTest, WhatFailsEverywhereIsNoDoubtOfOne) {
  Look(Calls(400, 120));
  EXPECT_NEAR(doubts_.OthersFail(memory_), 0.3, 0.001);
  base::Random random(3);
  int doubtful = 0;
  for (int k = 0; k < 2000; ++k) {
    if (random.Unit() >= 0.3) {
      ++ended_;
    } else if (Fail().has_value()) {
      ++doubtful;
      memory_.failures = 0;
    }
  }
  EXPECT_LE(doubtful, 6);
}

TEST_F(DoubtsTest, ItsOwnFailuresAreNotThoseOfTheOthers) {
  Look(Calls(300, 3), Calls(300, 300));
  EXPECT_NEAR(doubts_.OthersFail(memory_), 0.01, 0.001);
}

TEST_F(DoubtsTest, HowOftenTheOthersFailFollowsThemWithinSomeHundredCalls) {
  for (int k = 0; k < 100; ++k) Look(Calls(100, 0));
  EXPECT_EQ(doubts_.OthersFail(memory_), 0);
  for (int k = 0; k < 10; ++k) Look(Calls(100, 50));
  EXPECT_GT(doubts_.OthersFail(memory_), 0.35);
}

TEST_F(DoubtsTest, WithoutOthersNothingIsKnownOfThem) {
  EXPECT_EQ(doubts_.OthersFail(memory_), 0);
}

TEST_F(DoubtsTest, SlowAnswersAreDoubtfulAfterAFew) {
  int answers = 0;
  std::optional<Doubt> doubt;
  while (!doubt.has_value()) {
    ++answers;
    doubt = BeSlow();
  }
  EXPECT_EQ(doubt, Doubt::kSlowness);
  EXPECT_LE(answers, 6);
}

TEST_F(DoubtsTest, SlownessBeganWhenItsSumWasLastNothing) {
  BeSlow();
  now_ += kSecond;
  BeSlow(/*quick=*/100);  // What was before is forgotten.
  const int64_t since = now_;
  now_ += kSecond;
  BeSlow();
  EXPECT_EQ(memory_.slow_since, since);
}

// ---- Rest ----

TEST_F(DoubtsTest, ADoubtThatCameToNothingRestsAsLongAsItsTrial) {
  Fail(0, 3);
  Doubts::Acquit(Doubt::kRow, /*calls=*/100, ended_, ended_, &memory_);
  EXPECT_EQ(Fail(0, 3), std::nullopt);
  EXPECT_EQ(Fail(90, 3), std::nullopt);
  EXPECT_EQ(Fail(10, 3), Doubt::kRow);
}

TEST_F(DoubtsTest, AnotherDoubtDoesNotRest) {
  Doubts::Acquit(Doubt::kRow, 1000, ended_, ended_, &memory_);
  EXPECT_EQ(Fail(0, 3), std::nullopt);
  EXPECT_EQ(Fail(0, 4), std::nullopt);
  EXPECT_EQ(Fail(0, 5), Doubt::kFailures);
}

TEST_F(DoubtsTest, WhatComesAgainSoonRestsForTwiceAsLongUpToSixteenTimes) {
  uint32_t began = 0;
  for (uint32_t times : {1, 2, 4, 8, 16, 16}) {
    Doubts::Acquit(Doubt::kSlowness, 100, began, began + 100, &memory_);
    EXPECT_EQ(memory_.rest(Doubt::kSlowness).calls, 100 * times);
    began = memory_.rest(Doubt::kSlowness).until + 10;
  }
  // It was quiet for as long again.
  began += 1700;
  Doubts::Acquit(Doubt::kSlowness, 100, began, began + 100, &memory_);
  EXPECT_EQ(memory_.rest(Doubt::kSlowness).calls, 100);
}

TEST_F(DoubtsTest, ALookForgetsARestThatIsLongOver) {
  Doubts::Acquit(Doubt::kRow, 100, 0, 0, &memory_);
  ended_ = 150;
  Look(Calls(0, 0));
  EXPECT_EQ(memory_.rest(Doubt::kRow).calls, 100u);
  ended_ = 201;
  Look(Calls(0, 0));
  EXPECT_EQ(memory_.rest(Doubt::kRow).calls, 0u);
}

}  // namespace
}  // namespace mesh::resilience
