#include "mesh/resilience/retry_budget.h"

#include <algorithm>
#include <cmath>

namespace mesh::resilience {
namespace {

// Everything is forgotten over a second, except the very first tokens. So a
// longer pause counts like this one.
constexpr double kLongestPauseSeconds = 3600;

// Ten calls at a ratio of 0.1 earn one retry, though 0.1 ten times is not 1.
constexpr double kRoundingError = 1e-6;

// The configuration is checked where it is read. Here only what would poison
// the arithmetic is kept out.
double Sane(double value) { return value > 0 ? std::min(value, 1e9) : 0; }

options::RetryBudgetOptions Sane(const options::RetryBudgetOptions& options) {
  options::RetryBudgetOptions result = options;
  result.ratio = Sane(options.ratio);
  result.min_per_second = Sane(options.min_per_second);
  return result;
}

}  // namespace

RetryBudget::RetryBudget(const options::RetryBudgetOptions& options,
                         absl::Time now)
    : options_(Sane(options)), last_(now), tokens_(options_.min_per_second) {}

bool RetryBudget::TryWithdraw(absl::Time now) {
  base::MutexLock lock(&mu_);
  Refill(now);
  if (tokens_ < 1 - kRoundingError) return false;
  tokens_ = std::max(0.0, tokens_ - 1);
  return true;
}

void RetryBudget::Overdraw(absl::Time now) {
  base::MutexLock lock(&mu_);
  Refill(now);
  tokens_ = std::max(-Most(), tokens_ - 1);
}

double RetryBudget::Balance(absl::Time now) {
  base::MutexLock lock(&mu_);
  Refill(now);
  return std::max(0.0, tokens_);
}

void RetryBudget::SetOptions(const options::RetryBudgetOptions& options) {
  base::MutexLock lock(&mu_);
  options_ = Sane(options);
  tokens_ = std::min(tokens_, Most());
}

void RetryBudget::Refill(absl::Time now) {
  const double seconds =
      std::clamp(absl::ToDoubleSeconds(now - last_), 0.0, kLongestPauseSeconds);
  last_ = std::max(last_, now);
  const int64_t calls = calls_.Sum();
  const double begun =
      static_cast<double>(std::max<int64_t>(0, calls - last_calls_));
  last_calls_ = calls;

  // A mean with a time constant of one second. It is exact for a steady rate
  // over the time that has passed. In the limit of no time it adds `begun`.
  const double kept = std::exp(-seconds);
  const double weight = seconds > 1e-9 ? -std::expm1(-seconds) / seconds : 1;
  calls_per_second_ = calls_per_second_ * kept + begun * weight;

  tokens_ += options_.ratio * begun + options_.min_per_second * seconds;
  tokens_ = std::min(tokens_, Most());
}

double RetryBudget::Most() const {
  if (options_.ratio == 0 && options_.min_per_second == 0) return 0;
  return std::max(1.0,
                  options_.min_per_second + options_.ratio * calls_per_second_);
}

}  // namespace mesh::resilience
