#include "mesh/base/clock.h"

#include <time.h>

namespace mesh::base {
namespace {

class SteadyClock final : public Clock {
 public:
  absl::Time Now() const override {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return absl::TimeFromTimespec(now);
  }
};

}  // namespace

const Clock& Clock::Real() {
  static const SteadyClock* const clock = new SteadyClock;
  return *clock;
}

}  // namespace mesh::base
