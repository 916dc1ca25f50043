#include "mesh/resilience/throttle.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace mesh::resilience {
namespace {

int64_t Nanoseconds(absl::Duration duration) {
  return absl::ToInt64Nanoseconds(
      std::clamp(duration, absl::Nanoseconds(1), absl::Hours(1000)));
}

options::ThrottleOptions Sane(options::ThrottleOptions options) {
  // Below 1 it would drop while nothing is rejected. NaN likewise.
  options.k = options.k >= 1 ? std::min(options.k, 1e6) : 1;
  return options;
}

}  // namespace

Throttle::Throttle(const options::ThrottleOptions& options,
                   const Totals& totals)
    : options_(Sane(options)),
      window_(Nanoseconds(options.window)),
      totals_(totals) {}

void Throttle::SetOptions(const options::ThrottleOptions& options) {
  if (options.window != options_.window) {
    window_ = Window(Nanoseconds(options.window));
    probability_ = 0;
  }
  options_ = Sane(options);
  if (options_.mode == options::Mode::kOff) {
    window_.Clear();
    probability_ = 0;
  }
}

void Throttle::Update(const Totals& totals, int64_t now) {
  window_.Add(
      {totals.requests - totals_.requests, totals.accepts - totals_.accepts},
      now);
  totals_ = totals;
  const auto requests = static_cast<double>(window_.sum()[kRequests]);
  const auto accepts = static_cast<double>(window_.sum()[kAccepts]);
  probability_ =
      requests < options_.min_calls
          ? 0
          : std::max(0.0, (requests - options_.k * accepts) / (requests + 1));
}

std::string Throttle::Why() const {
  return absl::StrCat("throttled: of ", window_.sum()[kRequests], " calls in ",
                      absl::FormatDuration(options_.window),
                      " the service accepted ", window_.sum()[kAccepts],
                      ", so ", std::lround(100 * probability_),
                      "% are dropped");
}

}  // namespace mesh::resilience
