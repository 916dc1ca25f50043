#include "mesh/resilience/health/usual.h"

#include <algorithm>

#include "absl/time/time.h"

namespace mesh::resilience {
namespace {

// The slowest call of one to two of this is remembered.
constexpr int64_t kSlowestFor = 60 * kSecond;

}  // namespace

void UsualLatency::Refresh(int64_t now, AttemptLedger* ledger) {
  if (now - refreshed_ < 100 * kMillisecond) return;
  // Some hundred samples per second are enough.
  const double seconds =
      static_cast<double>(now - refreshed_) / static_cast<double>(kSecond);
  const double rate = answers_ / seconds;
  uint32_t mask = 0;
  while (mask < 255 && rate > 500.0 * (mask + 1)) mask = mask * 2 + 1;
  ledger->set_sample_mask(mask);
  answers_ = 0;
  refreshed_ = now;

  const auto [p10, p90, p99] = ledger->latencies().Quantiles<3>(
      {0.1, 0.9, 0.99}, absl::FromUnixNanos(now));
  // This one keeps attempts from being made, so it is to be fresh.
  ledger->set_p10_latency(p10 == absl::InfiniteDuration() ? 0 : Nanos(p10));
  // The other ones stay what they were last, until there is something new.
  if (p99 != absl::InfiniteDuration()) {
    p99_ = std::max<int64_t>(1, Nanos(p99));
    ledger->set_telling_age(Nanos(p90));
  }
  if (now - slowest_since_ >= kSlowestFor) {
    slowest_since_ = now;
    slowest_before_ = ledger->TakeSlowest();
  }
}

}  // namespace mesh::resilience
