#include "mesh/grpc/time.h"

#include <cstdint>
#include <limits>

namespace mesh::core {

absl::Time ToMonotonic(gpr_timespec deadline, absl::Time now) {
  if (deadline.tv_sec == std::numeric_limits<int64_t>::max()) {
    return absl::InfiniteFuture();
  }
  if (deadline.tv_sec == std::numeric_limits<int64_t>::min()) {
    return absl::InfinitePast();
  }
  const auto since_epoch = [&] {
    return absl::Seconds(deadline.tv_sec) + absl::Nanoseconds(deadline.tv_nsec);
  };
  switch (deadline.clock_type) {
    case GPR_CLOCK_MONOTONIC:
      return absl::UnixEpoch() + since_epoch();
    case GPR_TIMESPAN:
      return now + since_epoch();
    default: {
      const gpr_timespec wall = gpr_now(GPR_CLOCK_REALTIME);
      constexpr int64_t kCentury = int64_t{100} * 365 * 24 * 3600;
      if (deadline.tv_sec > wall.tv_sec - kCentury &&
          deadline.tv_sec < wall.tv_sec + kCentury) {
        // Calls come through this case: it has no arithmetic that saturates.
        return now +
               absl::Nanoseconds((deadline.tv_sec - wall.tv_sec) * 1000000000 +
                                 deadline.tv_nsec - wall.tv_nsec);
      }
      return now + (since_epoch() - absl::Seconds(wall.tv_sec) -
                    absl::Nanoseconds(wall.tv_nsec));
    }
  }
}

gpr_timespec ToGpr(absl::Time monotonic) {
  if (monotonic == absl::InfiniteFuture()) {
    return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  }
  if (monotonic < absl::UnixEpoch()) return gpr_inf_past(GPR_CLOCK_MONOTONIC);
  const timespec time = absl::ToTimespec(monotonic);
  gpr_timespec result;
  result.tv_sec = time.tv_sec;
  result.tv_nsec = static_cast<int32_t>(time.tv_nsec);
  result.clock_type = GPR_CLOCK_MONOTONIC;
  return result;
}

}  // namespace mesh::core
