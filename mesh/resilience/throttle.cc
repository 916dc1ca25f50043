#include "mesh/resilience/throttle.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mesh/base/aside.h"

namespace mesh::resilience {

void Throttle::Update(const Totals& totals, int64_t now) {
  window_.Add(
      {totals.requests - totals_.requests, totals.accepts - totals_.accepts},
      now);
  totals_ = totals;
  const auto requests = static_cast<double>(window_.sum()[kRequests]);
  const auto accepts = static_cast<double>(window_.sum()[kAccepts]);
  probability_ =
      requests < kMinCalls
          ? 0
          : std::max(0.0, (requests - kShare * accepts) / (requests + 1));
}

std::string Throttle::Why() const {
  return absl::StrCat("the throttle dropped this call: of ",
                      window_.sum()[kRequests], " calls in ",
                      absl::FormatDuration(absl::Nanoseconds(kWindow)),
                      " the service accepted ", window_.sum()[kAccepts],
                      ", so ", std::lround(100 * probability_),
                      "% are dropped. See why it rejects them.");
}

// ---- The guard ----

ThrottleGuard::ThrottleGuard(const options::ThrottleOptions& options)
    : mode_(options.mode) {}

// The service has not seen calls that were dropped here. They count as
// requests.
Throttle::Totals ThrottleGuard::TotalsOf(const CallTotals& totals) const {
  return {totals.calls() + dropped_.load(std::memory_order_relaxed),
          totals.calls() - totals.rejected};
}

void ThrottleGuard::SetOptions(const options::ThrottleOptions& options,
                               const CallTotals& totals) {
  base::MutexLock lock(&mu_);
  if (options.mode == options::Mode::kOff) {
    throttle_ = nullptr;
  } else if (!on()) {
    // A throttle that was off begins anew: its counts are old.
    throttle_ = std::make_unique<Throttle>(TotalsOf(totals));
  }
  mode_.store(options.mode, std::memory_order_relaxed);
  Publish();
}

void ThrottleGuard::Publish() {
  probability_.store(throttle_ != nullptr ? throttle_->probability() : 0,
                     std::memory_order_relaxed);
}

void ThrottleGuard::Update(const CallTotals& totals, int64_t now) {
  if (!on()) return;
  base::MutexLock lock(&mu_);
  if (throttle_ == nullptr) {
    throttle_ = std::make_unique<Throttle>(Throttle::Totals());
  }
  throttle_->Update(TotalsOf(totals), now);
  Publish();
}

bool ThrottleGuard::Draw(Asking* asking) {
  const options::Mode mode = mode_.load(std::memory_order_relaxed);
  base::Random aside = base::Aside(*asking->random);
  base::Random& random =
      mode == options::Mode::kEnforce ? *asking->random : aside;
  if (random.Unit() >= probability_.load(std::memory_order_relaxed)) {
    return true;
  }
  if (mode == options::Mode::kObserve) {
    asking->Observe(base::Guard::kThrottle);
  }
  if (mode != options::Mode::kEnforce) return true;
  std::string why;
  {
    base::MutexLock lock(&mu_);
    if (throttle_ == nullptr) return true;  // It has just been switched off.
    why = throttle_->Why();
  }
  dropped_.fetch_add(1, std::memory_order_relaxed);
  return asking->Refuse(base::Guard::kThrottle, absl::StatusCode::kUnavailable,
                        std::move(why));
}

void ThrottleGuard::Describe(const CallTotals& totals, int64_t now,
                             AdmissionState* state) const {
  if (!on()) return;
  base::MutexLock lock(&mu_);
  // Without calls nobody has looked at it for long.
  Throttle throttle =
      throttle_ != nullptr ? *throttle_ : Throttle(Throttle::Totals());
  throttle.Update(TotalsOf(totals), now);
  state->throttle_probability = throttle.probability();
}

}  // namespace mesh::resilience
