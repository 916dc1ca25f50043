#include "mesh/resilience/rate_limiter.h"

#include <limits>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/base/random.h"

namespace mesh::resilience {
namespace {

using options::Mode;
using Decision = RateLimiter::Decision;

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSecond = 1000 * kMs;
constexpr int64_t kStart = 1000 * kSecond;

options::RateLimitOptions Limit(double per_second, double burst,
                                Mode mode = Mode::kEnforce) {
  options::RateLimitOptions options;
  options.mode = mode;
  options.per_second = per_second;
  options.burst = burst;
  return options;
}
const options::RateLimitOptions kNone;

int TakeAll(TokenBucket* bucket, const options::RateLimitOptions& limit,
            int64_t now) {
  int taken = 0;
  while (taken < 1000000 && bucket->TryTake(limit, now)) ++taken;
  return taken;
}

TEST(RateLimiterTest, MethodsThatNameABucketShareIt) {
  RateLimiter limiter(kNone);
  options::RateLimitOptions limit = Limit(1, 2);
  limit.bucket = "shop.Cart/*";
  bool observed = false;
  EXPECT_EQ(limiter.TryTake("/shop.Cart/A", limit, kStart, &observed),
            Decision::kAdmit);
  EXPECT_EQ(limiter.TryTake("/shop.Cart/B", limit, kStart, &observed),
            Decision::kAdmit);
  EXPECT_EQ(limiter.TryTake("/shop.Cart/C", limit, kStart, &observed),
            Decision::kMethodLimit);
  EXPECT_EQ(limiter.Why(Decision::kMethodLimit, "/shop.Cart/C", limit),
            "the rate limit of shop.Cart/* is reached: the rate_limit of its "
            "policy allows 1 calls per second, and 2 at once. Call less "
            "often, or raise it.");
  EXPECT_EQ(limiter.TryTake("/shop.Cart/C", Limit(1, 2), kStart, &observed),
            Decision::kAdmit);
}

TEST(TokenBucketTest, BeginsWithItsBurst) {
  TokenBucket bucket;
  EXPECT_EQ(TakeAll(&bucket, Limit(10, 5), kStart), 5);
}

TEST(TokenBucketTest, FillsWithTimeUpToItsBurst) {
  TokenBucket bucket;
  TakeAll(&bucket, Limit(10, 5), kStart);
  EXPECT_EQ(TakeAll(&bucket, Limit(10, 5), kStart + 99 * kMs), 0);
  EXPECT_EQ(TakeAll(&bucket, Limit(10, 5), kStart + 100 * kMs), 1);
  EXPECT_EQ(TakeAll(&bucket, Limit(10, 5), kStart + 400 * kMs), 3);
  EXPECT_EQ(TakeAll(&bucket, Limit(10, 5), kStart + 3600 * kSecond), 5);
}

TEST(TokenBucketTest, IsExactOverTime) {
  for (double rate : {0.5, 3.0, 7.77, 1000.0, 33333.0}) {
    base::Random random(7);
    TokenBucket bucket;
    int64_t now = kStart;
    int64_t taken = 0;
    for (int i = 0; i < 200000; ++i) {
      now += static_cast<int64_t>(random.Unit() * 1e9 / rate);  // Twice it.
      taken += bucket.TryTake(Limit(rate, 10), now) ? 1 : 0;
    }
    const double fair = static_cast<double>(now - kStart) * 1e-9 * rate;
    EXPECT_NEAR(static_cast<double>(taken), fair, 12) << rate;
  }
}

TEST(TokenBucketTest, AClockThatGoesBackGivesNothing) {
  TokenBucket bucket;
  TakeAll(&bucket, Limit(10, 5), kStart);
  EXPECT_FALSE(bucket.TryTake(Limit(10, 5), kStart - kSecond));
  EXPECT_FALSE(bucket.TryTake(Limit(10, 5), kStart));
}

TEST(TokenBucketTest, AbsurdOptionsAreHarmless) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (double rate : {nan, -1.0, 0.0, 1e300}) {
    for (double burst : {nan, -1.0, 0.0, 1e300}) {
      TokenBucket bucket;
      EXPECT_TRUE(bucket.TryTake(Limit(rate, burst), kStart)) << "at least one";
      bucket.TryTake(Limit(rate, burst), int64_t{1} << 62);
    }
  }
}

TEST(RateLimiterTest, BoundsTheServiceAndEachMethod) {
  RateLimiter limiter(Limit(10, 5));
  bool observed = false;
  EXPECT_EQ(limiter.TryTake("/a", Limit(1, 1), kStart, &observed),
            Decision::kAdmit);
  EXPECT_EQ(limiter.TryTake("/a", Limit(1, 1), kStart, &observed),
            Decision::kMethodLimit);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(limiter.TryTake("/b", kNone, kStart, &observed), Decision::kAdmit)
        << "what the method refused was not taken from the service";
  }
  EXPECT_EQ(limiter.TryTake("/b", kNone, kStart, &observed),
            Decision::kServiceLimit);
  EXPECT_FALSE(observed);
}

TEST(RateLimiterTest, SaysWhichLimit) {
  RateLimiter limiter(Limit(10, 5));
  EXPECT_EQ(limiter.Why(Decision::kServiceLimit, "/a", kNone),
            "the rate limit of the service is reached: guards.rate_limit "
            "allows 10 calls per second, and 5 at once. Call less often, or "
            "raise it.");
  EXPECT_EQ(limiter.Why(Decision::kMethodLimit, "/a", Limit(0.5, 1)),
            "the rate limit of /a is reached: the rate_limit of its policy "
            "allows 0.5 calls per second, and 1 at once. Call less often, or "
            "raise it.");
}

TEST(RateLimiterTest, ObservingSaysWhatItWouldRefuse) {
  RateLimiter limiter(Limit(10, 1, Mode::kObserve));
  bool observed = true;
  EXPECT_EQ(limiter.TryTake("/a", kNone, kStart, &observed), Decision::kAdmit);
  EXPECT_FALSE(observed);
  EXPECT_EQ(limiter.TryTake("/a", kNone, kStart, &observed), Decision::kAdmit);
  EXPECT_TRUE(observed);
}

TEST(RateLimiterTest, MethodsBeyondTheBoundShareOneBucket) {
  RateLimiter limiter(kNone);
  bool observed = false;
  for (size_t i = 0; i < RateLimiter::kMaxMethods; ++i) {
    ASSERT_EQ(
        limiter.TryTake(absl::StrCat("/", i), Limit(1, 1), kStart, &observed),
        Decision::kAdmit);
  }
  EXPECT_EQ(limiter.TryTake("/one", Limit(1, 1), kStart, &observed),
            Decision::kAdmit);
  EXPECT_EQ(limiter.TryTake("/other", Limit(1, 1), kStart, &observed),
            Decision::kMethodLimit);
}

TEST(RateLimiterTest, AReloadKeepsTheTokens) {
  RateLimiter limiter(Limit(10, 10));
  bool observed = false;
  for (int i = 0; i < 8; ++i) limiter.TryTake("/a", kNone, kStart, &observed);
  limiter.SetOptions(Limit(20, 100));
  int left = 0;
  while (limiter.TryTake("/a", kNone, kStart, &observed) == Decision::kAdmit) {
    ++left;
  }
  EXPECT_EQ(left, 2);
}

TEST(RateLimiterTest, ThreadsTogetherGetNoMoreThanOneWould) {
  RateLimiter limiter(Limit(1, 1000));
  std::vector<int> taken(4);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&limiter, &taken, i] {
      bool observed = false;
      for (int n = 0; n < 1000; ++n) {
        taken[i] +=
            limiter.TryTake("/a", kNone, kStart, &observed) == Decision::kAdmit;
      }
    });
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
