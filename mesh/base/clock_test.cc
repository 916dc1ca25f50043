#include "mesh/base/clock.h"

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace mesh::base {
namespace {

TEST(ClockTest, NanosecondsAreThoseOfAbseil) {
  for (absl::Duration duration :
       {absl::ZeroDuration(), absl::Nanoseconds(1), absl::Nanoseconds(0.25),
        absl::Nanoseconds(-0.5), absl::Nanoseconds(-1), absl::Milliseconds(-7),
        absl::Milliseconds(1.5), absl::Seconds(1), absl::Hours(30),
        absl::Seconds(int64_t{1} << 33), absl::Hours(24 * 365 * 250),
        -absl::Hours(24 * 365 * 250), absl::Hours(24 * 365 * 400),
        absl::InfiniteDuration(), -absl::InfiniteDuration()}) {
    EXPECT_EQ(ToNanos(duration), absl::ToInt64Nanoseconds(duration))
        << duration;
    const absl::Time time = absl::UnixEpoch() + duration;
    EXPECT_EQ(ToNanos(time), absl::ToUnixNanos(time)) << time;
  }
  EXPECT_EQ(ToNanos(absl::InfiniteFuture()),
            absl::ToUnixNanos(absl::InfiniteFuture()));
}

TEST(ClockTest, TheRealOneDoesNotGoBack) {
  const absl::Time before = Clock::Real().Now();
  EXPECT_LE(before, Clock::Real().Now());
}

}  // namespace
}  // namespace mesh::base
