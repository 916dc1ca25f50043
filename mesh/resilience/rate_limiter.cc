#include "mesh/resilience/rate_limiter.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mesh::resilience {
namespace {

// Ten times a tenth of a token is one.
constexpr double kRoundingError = 1e-6;

double Within(double value, double least, double most) {
  return value >= least ? std::min(value, most) : least;  // NaN: the least.
}

absl::string_view BucketOf(absl::string_view method,
                           const options::RateLimitOptions& limit) {
  return limit.bucket.empty() ? method : absl::string_view(limit.bucket);
}

}  // namespace

bool TokenBucket::TryTake(const options::RateLimitOptions& limit, int64_t now) {
  const double burst = Within(limit.burst, 1, 1e12);
  if (!begun_) {
    begun_ = true;
    tokens_ = burst;
    last_ = now;
  }
  if (now > last_) {
    tokens_ += static_cast<double>(now - last_) * 1e-9 *
               Within(limit.per_second, 0, 1e12);
    last_ = now;
  }
  tokens_ = std::min(tokens_, burst);
  if (tokens_ < 1 - kRoundingError) return false;
  tokens_ -= 1;
  return true;
}

void RateLimiter::SetOptions(const options::RateLimitOptions& service) {
  const bool limited = service.mode != options::Mode::kOff;
  if (!limited && buckets_.Find() == nullptr) return;
  Buckets& buckets = buckets_.Get();
  base::MutexLock lock(&buckets.mu);
  buckets.service_limit = service;
  limited_.store(limited, std::memory_order_relaxed);
}

bool RateLimiter::Ask(Asking* asking) {
  bool observed = false;
  const Decision verdict =
      TryTake(asking->method, *asking->method_limit, asking->now, &observed);
  if (verdict != Decision::kAdmit) {
    return asking->Refuse(base::Guard::kRateLimit,
                          absl::StatusCode::kResourceExhausted,
                          Why(verdict, asking->method, *asking->method_limit));
  }
  if (observed) asking->Observe(base::Guard::kRateLimit);
  return true;
}

RateLimiter::Decision RateLimiter::TryTake(
    absl::string_view method, const options::RateLimitOptions& method_limit,
    int64_t now, bool* observed) {
  using options::Mode;
  *observed = false;
  Buckets& buckets = buckets_.Get();
  base::MutexLock lock(&buckets.mu);
  bool taken = false;
  if (buckets.service_limit.mode != Mode::kOff) {
    taken = buckets.service.TryTake(buckets.service_limit, now);
    if (!taken && buckets.service_limit.mode == Mode::kEnforce) {
      return Decision::kServiceLimit;
    }
    *observed = !taken;
  }
  if (method_limit.mode != Mode::kOff &&
      !buckets.Of(BucketOf(method, method_limit))->TryTake(method_limit, now)) {
    if (method_limit.mode == Mode::kEnforce) {
      if (taken) buckets.service.Give();  // The call is not made.
      return Decision::kMethodLimit;
    }
    *observed = true;
  }
  return Decision::kAdmit;
}

TokenBucket* RateLimiter::Buckets::Of(absl::string_view method) {
  const auto found = methods.find(method);
  if (found != methods.end()) return &found->second;
  if (methods.size() >= kMaxMethods) return &other_methods;
  return &methods[std::string(method)];
}

std::string RateLimiter::Why(Decision verdict, absl::string_view method,
                             const options::RateLimitOptions& method_limit) {
  options::RateLimitOptions limit = method_limit;
  std::string of = absl::StrCat(BucketOf(method, method_limit),
                                " is reached: the rate_limit of its policy");
  if (verdict == Decision::kServiceLimit) {
    Buckets& buckets = buckets_.Get();
    base::MutexLock lock(&buckets.mu);
    limit = buckets.service_limit;
    of = "the service is reached: guards.rate_limit";
  }
  return absl::StrFormat(
      "the rate limit of %s allows %g calls per second, and %g at once. Call "
      "less often, or raise it.",
      of, limit.per_second, limit.burst);
}

}  // namespace mesh::resilience
