#include "mesh/resilience/health/trial.h"

#include <cmath>
#include <memory>

#include "gtest/gtest.h"
#include "mesh/base/random.h"

namespace mesh::resilience {
namespace {

constexpr int64_t kNow = 1'000'000 * kSecond;
// Calls that are this far apart have no common cause.
constexpr int64_t kMoment = 50 * kMillisecond;

TrialRules Rules() { return TrialRules::Of(1e-6, kSecond); }

TrialCall CallOn(bool here, bool failed, bool slow = false) {
  TrialCall call;
  call.here = here;
  call.failed = failed;
  call.timed = !failed;
  call.slow = slow;
  return call;
}

// How one trial goes in which shares of the calls on it and of those elsewhere
// fail and are slow.
struct Fates {
  double fails_here = 0;
  double fails_elsewhere = 0;
  double slow_here = 0;
  double slow_elsewhere = 0;
};
struct Course {
  Ruling ruling = Ruling::kNone;
  uint32_t here = 0;
};
Course Play(const Fates& fates, const TrialRules& rules, base::Random* random) {
  Trial trial(Doubt::kRow, kNow - 10 * kSecond);
  Course course;
  int64_t now = kNow;
  while (course.ruling == Ruling::kNone) {
    const bool here = random->Below(2) == 0;
    const bool failed =
        random->Unit() < (here ? fates.fails_here : fates.fails_elsewhere);
    const bool slow =
        random->Unit() < (here ? fates.slow_here : fates.slow_elsewhere);
    trial.Count(CallOn(here, failed, slow), now += kMoment);
    course.ruling = trial.Judge(rules, kNow);
    course.here = trial.here();
    trial.Resume(rules);
  }
  return course;
}

TEST(EvidenceTest, BeginsAtOneAndIsAFairBetOnTheCoin) {
  Evidence none;
  EXPECT_NEAR(none.Log(), 0, 1e-12);
  // Whatever has been seen, and whether the next call is bad or not: over both
  // sides of the coin the product stays what it is on average.
  base::Random random(1);
  Evidence evidence;
  for (int i = 0; i < 200; ++i) {
    for (bool bad : {false, true}) {
      double mean = 0;
      for (bool here : {false, true}) {
        Evidence next = evidence;
        next.Count(here, bad);
        mean += std::exp(next.Log() - evidence.Log()) / 2;
      }
      EXPECT_NEAR(mean, 1, 1e-9);
    }
    evidence.Count(random.Below(2) == 0, random.Below(3) == 0);
  }
}

TEST(EvidenceTest, IsTheMeanOfFiveProductsAndNoLess) {
  Evidence evidence;
  for (int i = 0; i < 10; ++i) {
    evidence.Count(/*here=*/true, /*bad=*/true);
    evidence.Count(/*here=*/false, /*bad=*/false);
  }
  // 2 * 97 / 100 each, of one pair; others say less.
  EXPECT_GT(evidence.Log(), 20 * std::log(1.94) - std::log(5));
  EXPECT_LT(evidence.Log(), 20 * std::log(1.94));
}

TEST(EvidenceTest, ManyCallsDoNotBreakIt) {
  Evidence evidence;
  for (int i = 0; i < 100'000; ++i) evidence.Count(i % 2 == 0, false);
  EXPECT_TRUE(std::isfinite(evidence.Log()));
  EXPECT_LT(evidence.Log(), -100);
}

TEST(EvidenceTest, ACapTakesItDownOnly) {
  Evidence evidence;
  for (int i = 0; i < 40; ++i) evidence.Count(true, true);
  evidence.CapAt(10);
  EXPECT_NEAR(evidence.Log(), 10, 1e-9);
  evidence.CapAt(11);
  EXPECT_NEAR(evidence.Log(), 10, 1e-9);
}

TEST(TrialTest, TheBoundIsTwoMillionForOneInAMillion) {
  EXPECT_NEAR(std::exp(Rules().bound), 2'000'000, 1);
}

TEST(TrialTest, WhoFailsIsFoundAfterAFewCalls) {
  struct Case {
    double share;
    uint32_t most;
  };
  for (const Case& c : {Case{1, 20}, Case{0.4, 110}, Case{0.1, 600}}) {
    uint64_t found = 0;
    uint64_t calls = 0;
    for (uint64_t seed = 1; seed <= 50; ++seed) {
      base::Random random(seed);
      Fates fates;
      fates.fails_here = c.share;
      const Course course = Play(fates, Rules(), &random);
      if (course.ruling != Ruling::kFails) continue;
      ++found;
      calls += course.here;
    }
    EXPECT_GE(found, 25u) << c.share;
    EXPECT_LE(calls, c.most * found) << c.share;
  }
}

TEST(TrialTest, WhoIsSlowIsFoundByCallsThatDoNotFail) {
  base::Random random(3);
  Fates fates;
  fates.slow_here = 0.9;
  fates.slow_elsewhere = 0.02;
  fates.fails_here = fates.fails_elsewhere = 0.2;
  const Course course = Play(fates, Rules(), &random);
  EXPECT_EQ(course.ruling, Ruling::kSlow);
  EXPECT_LT(course.here, 60u);
}

TEST(TrialTest, WhoIsLikeTheOthersIsAcquitted) {
  for (double share : {0.0, 0.02, 0.3, 0.5, 0.9, 1.0}) {
    uint64_t calls = 0;
    for (uint64_t seed = 1; seed <= 50; ++seed) {
      base::Random random(seed);
      Fates fates;
      fates.fails_here = fates.fails_elsewhere = share;
      fates.slow_here = fates.slow_elsewhere = share;
      const Course course = Play(fates, Rules(), &random);
      EXPECT_EQ(course.ruling, Ruling::kAcquitted) << share;
      EXPECT_GE(course.here, 64u);
      EXPECT_LE(course.here, 1500u);
      calls += course.here;
    }
    EXPECT_LT(calls, 50 * 100u) << share;
  }
}

// Ville's inequality, at a bound at which it can be seen.
TEST(TrialTest, ErrsNoMoreOftenThanItsBoundSays) {
  const TrialRules rules = TrialRules::Of(0.05, kSecond);
  int errors = 0;
  constexpr int kTrials = 2000;
  for (int seed = 1; seed <= kTrials; ++seed) {
    base::Random random(seed);
    Fates fates;
    fates.fails_here = fates.fails_elsewhere = 0.05 * (seed % 10);
    fates.slow_here = fates.slow_elsewhere = 0.03 * (seed % 7);
    errors += Play(fates, rules, &random).ruling != Ruling::kAcquitted;
  }
  EXPECT_LE(errors, 0.05 * kTrials);
}

TEST(TrialTest, SlownessMustLastAndStillBeThere) {
  Trial trial(Doubt::kSlowness, /*slow_since=*/kNow);
  const TrialRules rules = Rules();
  int64_t now = kNow;
  for (int i = 0; i < 200; ++i) {
    trial.Count(CallOn(i % 2 == 0, false, /*slow=*/i % 2 == 0), now += kMoment);
    ASSERT_EQ(trial.Judge(rules, kNow + kSecond - 1), Ruling::kNone) << i;
    trial.Resume(rules);
  }
  // It was a pause, and is over.
  Trial paused = trial;
  for (int i = 0; i < 10; ++i) {
    paused.Count(CallOn(i % 2 == 0, false), now += kMoment);
    EXPECT_EQ(paused.Judge(rules, kNow + 2 * kSecond), Ruling::kNone);
    paused.Resume(rules);
  }
  trial.Count(CallOn(true, false, /*slow=*/true), now += kMoment);
  EXPECT_EQ(trial.Judge(rules, kNow + kSecond), Ruling::kSlow);
}

TEST(TrialTest, NoNumberOfCallsAcquitsWhoIsAtTheBound) {
  Trial trial(Doubt::kSlowness, /*slow_since=*/kNow);
  const TrialRules rules = Rules();
  int64_t time = kNow;
  const auto count = [&](bool here, bool slow, int64_t now) {
    trial.Count(CallOn(here, false, slow), time += kMoment);
    const Ruling ruling = trial.Judge(rules, now);
    trial.Resume(rules);
    return ruling;
  };
  for (int i = 0; i < 10'000; ++i) {
    const bool here = i % 2 == 0;
    ASSERT_EQ(count(here, here && i % 10 != 0, kNow + kSecond / 2),
              Ruling::kNone)
        << i;
  }
  EXPECT_GT(trial.here(), 1500u);
  Ruling ruling = Ruling::kNone;
  for (int i = 0; i < 10 && ruling == Ruling::kNone; ++i) {
    ruling = count(true, true, kNow + kSecond);
  }
  EXPECT_EQ(ruling, Ruling::kSlow);
}

TEST(TrialTest, SlownessThatIsIgnoredHasNotCounted) {
  Trial trial(Doubt::kSlowness, kNow - 10 * kSecond);
  int64_t now = kNow;
  for (int i = 0; i < 10; ++i) {
    trial.Count(CallOn(true, false, /*slow=*/true), now += kMoment);
  }
  EXPECT_GT(trial.slowness_log(), 1);
  trial.IgnoreSlowness();
  for (int i = 0; i < 10; ++i) {
    trial.Count(CallOn(true, false, /*slow=*/true), now += kMoment);
  }
  EXPECT_NEAR(trial.slowness_log(), 0, 1e-12);
}

TEST(TrialTest, TheSlownessOfAMomentIsThatOfOneCallAtMost) {
  Trial trial(Doubt::kSlowness, kNow - 10 * kSecond);
  for (int moment = 1; moment <= 3; ++moment) {
    for (int i = 0; i < 2000; ++i) {
      trial.Count(CallOn(i % 2 == 0, false, /*slow=*/i % 2 == 0),
                  kNow + moment * kMoment);
      ASSERT_NE(trial.Judge(Rules(), kNow), Ruling::kSlow);
    }
    EXPECT_NEAR(trial.slowness_log(), moment * std::log(2), 1e-9);
    EXPECT_EQ(trial.Judge(Rules(), kNow), Ruling::kNone)
        << "what holds it back is no acquittal";
  }
}

TEST(TrialTest, WhatIsGivenUpHasNotFailed) {
  // Calls on it are given up, for hedges were quicker; those elsewhere go well.
  Trial trial(Doubt::kRow, kNow);
  for (int i = 0; i < 200; ++i) {
    TrialCall call;
    call.here = i % 2 == 0;
    trial.Count(call, kNow);
  }
  EXPECT_LT(trial.failures_log(), 0);
  EXPECT_EQ(trial.Judge(Rules(), kNow), Ruling::kAcquitted);
}

TEST(TrialTest, CallsThatHaveNotEndedDoNotConvict) {
  // It pauses as its trial begins: calls end elsewhere only, and go well.
  Trial trial(Doubt::kRow, kNow);
  for (int i = 0; i < 1000; ++i) trial.Count(CallOn(false, false), kNow);
  EXPECT_LT(trial.failures_log(), Rules().bound / 2);
  EXPECT_EQ(trial.Judge(Rules(), kNow), Ruling::kNone);
}

TEST(TrialTest, CallsThatWaitedForThoseOnItCountAllTheSame) {
  // The same calls, in turns or in two heaps, say the same.
  Trial even(Doubt::kRow, kNow);
  Trial uneven(Doubt::kRow, kNow);
  for (int i = 0; i < 400; ++i) {
    const bool failed = i % 40 == 0;
    even.Count(CallOn(true, failed), kNow);
    even.Count(CallOn(false, false), kNow);
    uneven.Count(CallOn(false, false), kNow);
  }
  EXPECT_LT(uneven.failures_log(), Rules().bound / 2);
  for (int i = 0; i < 400; ++i) {
    uneven.Count(CallOn(true, i % 40 == 0), kNow);
  }
  EXPECT_NEAR(uneven.failures_log(), even.failures_log(), 1e-9);
}

TEST(TrialTest, NoTrialLastsForEver) {
  // Evidence that hovers above what acquits, and below what convicts.
  Trial trial(Doubt::kRow, kNow);
  const TrialRules rules = Rules();
  while (trial.here() < 1500) {
    ASSERT_NE(trial.Judge(rules, kNow), Ruling::kFails);
    const bool low = trial.failures_log() < 8;
    trial.Count(CallOn(/*here=*/low, /*failed=*/true), kNow);
    if (!low) continue;
  }
  EXPECT_EQ(trial.Judge(rules, kNow), Ruling::kAcquitted);
}

// ---- Those that run ----

TEST(TrialsTest, AVerdictWaitsUntilItIsTaken) {
  cluster::LiveEndpoint endpoint(cluster::Endpoint{"a"});
  Trials trials;
  const uint32_t number =
      trials.Begin(Trial(Doubt::kRow, kNow), &endpoint, 0, kNow);
  EXPECT_NE(number, 0u);
  EXPECT_FALSE(trials.some_due());
  trials.SetDue(number, trials.Find(number));
  trials.SetDue(number, trials.Find(number));
  EXPECT_TRUE(trials.some_due());
  EXPECT_EQ(trials.TakeDue(), std::vector<uint32_t>{number});
  EXPECT_FALSE(trials.some_due());
  trials.End(number);
  EXPECT_EQ(trials.Find(number), nullptr);
}

TEST(TrialsTest, ATrialEndsWithItsEndpoint) {
  cluster::LiveEndpoint a(cluster::Endpoint{"a"});
  cluster::LiveEndpoint b(cluster::Endpoint{"b"});
  Trials trials;
  const uint32_t of_a = trials.Begin(Trial(Doubt::kRow, kNow), &a, 0, kNow);
  const uint32_t of_b = trials.Begin(Trial(Doubt::kRow, kNow), &b, 0, kNow);
  EXPECT_NE(of_a, of_b);
  trials.BeginLook();
  trials.Saw(of_a);
  const uint32_t during = trials.Begin(Trial(Doubt::kRow, kNow), &b, 0, kNow);
  EXPECT_EQ(trials.CountOf(0), 3u);
  trials.EndLook();
  EXPECT_EQ(trials.CountOf(0), 2u);
  EXPECT_EQ(trials.CountOf(1), 0u);
  EXPECT_NE(trials.Find(of_a), nullptr);
  EXPECT_EQ(trials.Find(of_b), nullptr);
  EXPECT_NE(trials.Find(during), nullptr) << "it began during the look";
}

TEST(TrialsTest, ATrialMovesToAnotherObject) {
  cluster::LiveEndpoint before(cluster::Endpoint{"a"});
  cluster::LiveEndpoint now(cluster::Endpoint{"a"});
  Trials trials;
  const uint32_t number =
      trials.Begin(Trial(Doubt::kRow, kNow), &before, /*began=*/100, kNow);
  trials.BeginLook();
  trials.Move(number, &now, /*before=*/130, /*now=*/2);
  // This look and the next one may be at the old object.
  trials.EndLook();
  trials.BeginLook();
  trials.EndLook();
  ASSERT_NE(trials.Find(number), nullptr);
  EXPECT_EQ(trials.Find(number)->endpoint, &now);
  EXPECT_EQ(trials.Find(number)->began, static_cast<uint32_t>(2 - 30));
  trials.BeginLook();
  trials.EndLook();
  EXPECT_EQ(trials.Find(number), nullptr);
  trials.Move(number, &before, 0, 0);  // It is no more.
  EXPECT_EQ(trials.CountOf(0), 0u);
}

TEST(TrialsTest, WhatIsUsualIsFixedWhileOneRuns) {
  cluster::LiveEndpoint endpoint(cluster::Endpoint{"a"});
  Trials trials;
  const auto begin = [&](int64_t now) {
    const uint32_t number =
        trials.Begin(Trial(Doubt::kRow, now), &endpoint, 0, now);
    return std::pair(number, trials.Find(number)->epoch);
  };
  const auto [first, epoch] = begin(kNow);
  EXPECT_EQ(begin(kNow + kSecond).second, epoch);
  EXPECT_GT(begin(kNow + 11 * kSecond).second, epoch) << "that is old";
}

}  // namespace
}  // namespace mesh::resilience
