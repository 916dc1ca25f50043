#include "mesh/base/clock.h"

#include <time.h>

#include <cstdint>

#include "absl/time/clock.h"

namespace mesh::base {
namespace {

class SteadyClock final : public Clock {
 public:
  absl::Time Now() const override {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    // As absl::TimeFromTimespec(), for times that are known to be valid.
    return absl::FromUnixNanos(int64_t{now.tv_sec} * 1'000'000'000 +
                               now.tv_nsec);
  }
};

}  // namespace

const Clock& Clock::Real() {
  static const SteadyClock* const clock = new SteadyClock;
  return *clock;
}

absl::Time WallTime() { return absl::Now(); }

}  // namespace mesh::base
