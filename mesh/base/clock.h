#ifndef MESH_BASE_CLOCK_H_
#define MESH_BASE_CLOCK_H_

#include <cstdint>

#include "absl/base/optimization.h"
#include "absl/time/time.h"

namespace mesh::base {

// Where time comes from. It is monotonic: it never goes back, and is unrelated
// to the wall clock. Use its values only for intervals and deadlines inside
// this process; never compare them with absl::Now(). Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;

  // The machine's steady clock. Lives as long as the process.
  static const Clock& Real();
};

// What the wall clock shows now. It may jump, and is for dates that other
// machines have written: those of certificates. Code that decides is given it.
absl::Time WallTime();

// Like absl::ToInt64Nanoseconds() and absl::ToUnixNanos(), but inline: every
// call asks several times. It relies on how Abseil represents a duration.
// NOLINTBEGIN(abseil-no-internal-dependencies)
inline int64_t ToNanos(absl::Duration duration) {
  const int64_t seconds = absl::time_internal::GetRepHi(duration);
  if (ABSL_PREDICT_TRUE(seconds >= 0 && seconds >> 33 == 0)) {
    // Abseil counts quarters of a nanosecond.
    return seconds * 1'000'000'000 +
           absl::time_internal::GetRepLo(duration) / 4;
  }
  return absl::ToInt64Nanoseconds(duration);
}
inline int64_t ToNanos(absl::Time time) {
  const absl::Duration since = absl::time_internal::ToUnixDuration(time);
  const int64_t seconds = absl::time_internal::GetRepHi(since);
  return ABSL_PREDICT_TRUE(seconds >= 0 && seconds >> 33 == 0)
             ? ToNanos(since)
             : absl::ToUnixNanos(time);
}
// NOLINTEND(abseil-no-internal-dependencies)

}  // namespace mesh::base

#endif  // MESH_BASE_CLOCK_H_
