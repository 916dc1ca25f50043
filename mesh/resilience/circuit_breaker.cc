#include "mesh/resilience/circuit_breaker.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mesh::resilience {
namespace {

constexpr int64_t kLongestDoubling = 10;  // Times open_for.

int64_t Nanoseconds(absl::Duration duration) {
  return absl::ToInt64Nanoseconds(
      std::clamp(duration, absl::Nanoseconds(1), absl::Hours(1000)));
}

double Share(double share) {
  return share > 0 ? std::min(share, 1.0) : 1.0;  // NaN: all.
}

options::BreakerOptions Sane(options::BreakerOptions options) {
  options.failure_rate = Share(options.failure_rate);
  return options;
}

std::string Seconds(int64_t ns) {
  return absl::StrFormat("%.1fs",
                         static_cast<double>(std::max<int64_t>(0, ns)) * 1e-9);
}

CircuitBreaker::Totals TotalsOf(const CallTotals& totals) {
  return {totals.calls(), totals.failed};
}

absl::string_view NameOf(CircuitBreaker::State state) {
  switch (state) {
    case CircuitBreaker::State::kClosed:
      return "closed";
    case CircuitBreaker::State::kOpen:
      return "open";
    case CircuitBreaker::State::kHalfOpen:
      return "half_open";
  }
  return "";
}

}  // namespace

CircuitBreaker::CircuitBreaker(const options::BreakerOptions& options,
                               const Totals& totals)
    : options_(Sane(options)),
      window_(Nanoseconds(options.window)),
      totals_(totals) {}

void CircuitBreaker::SetOptions(const options::BreakerOptions& options) {
  if (options.window != options_.window) {
    window_ = Window(Nanoseconds(options.window));
  }
  options_ = Sane(options);
  if (options_.mode == options::Mode::kOff) {
    state_ = State::kClosed;
    window_.Clear();
  }
}

void CircuitBreaker::Update(const Totals& totals, int64_t now) {
  const Window::Values values = {totals.calls - totals_.calls,
                                 totals.failed - totals_.failed};
  totals_ = totals;
  // Calls that end now began before it opened.
  if (state_ != State::kClosed) return;
  window_.Add(values, now);
  if (window_.sum()[kCalls] < kMinCalls) return;
  if (failed_share() >= options_.failure_rate) {
    opened_with_ = window_.sum();
    window_.Clear();
    Open(Nanoseconds(options_.open_for), now);
  }
}

void CircuitBreaker::Open(int64_t open_for, int64_t now) {
  state_ = State::kOpen;
  open_for_ = open_for;
  probe_at_ = now + open_for;
  probing_ = false;
  good_probes_ = 0;
  opened_at_ = ++probe_;  // Probes that are under way no longer count.
}

CircuitBreaker::Decision CircuitBreaker::Admit(int64_t now) {
  Decision verdict;
  if (state_ == State::kClosed) return verdict;
  if (state_ == State::kOpen && now >= probe_at_) {
    state_ = State::kHalfOpen;
    probing_ = false;
  }
  // A probe that does not end must not be the last.
  if (state_ == State::kOpen || (probing_ && now < probe_until_)) {
    verdict.admitted = false;
    return verdict;
  }
  probing_ = true;
  probe_until_ = now + open_for_;
  if (++probe_ == 0) ++probe_;
  verdict.probe = probe_;
  return verdict;
}

void CircuitBreaker::OnProbeEnd(uint32_t probe, bool good, int64_t now) {
  // An answer counts also when it took so long that the next probe is under
  // way; a failure then does not.
  const bool newest = probe == probe_;
  const bool since_open = static_cast<int32_t>(probe - opened_at_) > 0;
  if (state_ != State::kHalfOpen || !since_open || (!good && !newest)) return;
  if (newest) probing_ = false;
  if (!good) {
    const int64_t first = Nanoseconds(options_.open_for);
    Open(std::min(2 * open_for_, kLongestDoubling * first), now);
  } else if (++good_probes_ >= kProbes) {
    state_ = State::kClosed;
  }
}

void CircuitBreaker::OnProbeLost(uint32_t probe) {
  if (state_ == State::kHalfOpen && probe == probe_) probing_ = false;
}

const CircuitBreaker::Window::Values& CircuitBreaker::Counts() const {
  return state_ == State::kClosed ? window_.sum() : opened_with_;
}

int64_t CircuitBreaker::calls() const { return Counts()[kCalls]; }

double CircuitBreaker::failed_share() const {
  const Window::Values& counts = Counts();
  if (counts[kCalls] <= 0) return 0;
  return static_cast<double>(counts[kFailed]) /
         static_cast<double>(counts[kCalls]);
}

std::string CircuitBreaker::Why(int64_t now) const {
  return absl::StrCat(
      "the circuit breaker is open: ", std::lround(100 * failed_share()),
      "% of ", calls(), " calls in ", absl::FormatDuration(options_.window),
      " failed. ",
      state_ == State::kOpen
          ? absl::StrCat("The next probe goes in ", Seconds(probe_at_ - now),
                         "; see why the service fails.")
          : "A probe is under way; see why the service fails.");
}

// ---- The guard ----

BreakerGuard::BreakerGuard(const options::BreakerOptions& options)
    : mode_(options.mode), options_(options) {}

void BreakerGuard::SetOptions(const options::BreakerOptions& options,
                              const CallTotals& totals) {
  base::MutexLock lock(&mu_);
  options_ = options;
  if (options.mode == options::Mode::kOff) {
    breaker_ = nullptr;
  } else if (!on()) {
    // A breaker that was off begins anew: its counts are old.
    breaker_ = std::make_unique<CircuitBreaker>(options, TotalsOf(totals));
  } else if (breaker_ != nullptr) {
    breaker_->SetOptions(options);
  }
  mode_.store(options.mode, std::memory_order_relaxed);
  Publish();
}

void BreakerGuard::Publish() {
  closed_.store(breaker_ == nullptr ||
                    breaker_->state() == CircuitBreaker::State::kClosed,
                std::memory_order_relaxed);
}

void BreakerGuard::Update(const CallTotals& totals, int64_t now) {
  if (!on()) return;
  base::MutexLock lock(&mu_);
  if (breaker_ == nullptr) {
    breaker_ =
        std::make_unique<CircuitBreaker>(options_, CircuitBreaker::Totals());
  }
  breaker_->Update(TotalsOf(totals), now);
  Publish();
}

bool BreakerGuard::AdmitProbe(Asking* asking) {
  const bool enforced =
      mode_.load(std::memory_order_relaxed) == options::Mode::kEnforce;
  std::string why;
  bool admitted = true;
  {
    base::MutexLock lock(&mu_);
    if (breaker_ == nullptr) return true;  // It has just been switched off.
    const CircuitBreaker::Decision verdict = breaker_->Admit(asking->now);
    asking->ticket->probe = verdict.probe;
    admitted = verdict.admitted;
    if (!admitted && enforced) why = breaker_->Why(asking->now);
  }
  asking->probes = enforced && asking->ticket->probe != 0;
  if (admitted) return true;
  if (enforced) {
    return asking->Refuse(base::Guard::kBreaker, absl::StatusCode::kUnavailable,
                          std::move(why));
  }
  asking->Observe(base::Guard::kBreaker);
  return true;
}

void BreakerGuard::EndProbe(const AdmissionTicket& ticket, bool good,
                            int64_t now) {
  if (ticket.probe == 0) return;
  base::MutexLock lock(&mu_);
  if (breaker_ != nullptr) breaker_->OnProbeEnd(ticket.probe, good, now);
  Publish();
}

void BreakerGuard::LoseProbe(const AdmissionTicket& ticket) {
  if (ticket.probe == 0) return;
  base::MutexLock lock(&mu_);
  if (breaker_ != nullptr) breaker_->OnProbeLost(ticket.probe);
}

void BreakerGuard::Describe(AdmissionState* state) const {
  if (!on()) return;
  base::MutexLock lock(&mu_);
  if (breaker_ == nullptr) {
    state->breaker = NameOf(CircuitBreaker::State::kClosed);
    return;
  }
  state->breaker = NameOf(breaker_->state());
  state->breaker_calls = breaker_->calls();
  state->breaker_failed_share = breaker_->failed_share();
}

}  // namespace mesh::resilience
