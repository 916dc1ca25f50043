#include "mesh/resilience/health/pace.h"

#include <memory>

namespace mesh::resilience {
namespace {

// How much a sample moves the median of log2 * 256: 4%, and more at first.
constexpr uint32_t kStep = 16;
constexpr uint32_t kFirstStep = 256;
constexpr uint32_t kMostCount = 255;

}  // namespace

Slowness Slowness::Of(const options::OutlierEjectionOptions& options) {
  Slowness slowness;
  if (options.mode == options::Mode::kOff || !(options.latency.factor > 0)) {
    return slowness;
  }
  slowness.factor = std::max(options.latency.factor, 1.1);
  slowness.difference =
      std::max<int64_t>(0, Nanos(options.latency.min_difference));
  return slowness;
}

uint64_t MethodPace::TagOf(const cluster::EndpointObservations* endpoint) {
  // Never 0. Two endpoints seldom have the same tag. If they do, one is not
  // compared with the other.
  return (reinterpret_cast<uintptr_t>(endpoint) * 0x9e3779b97f4a7c15u >>
          kLatencyBits) |
         1;
}

void MethodPace::Note(const cluster::EndpointObservations* endpoint,
                      int64_t nanoseconds, const Slowness& slowness) {
  constexpr uint64_t kMostLatency = (uint64_t{1} << kLatencyBits) - 1;
  const uint64_t latency = std::clamp<uint64_t>(nanoseconds, 1, kMostLatency);
  const uint64_t tag = TagOf(endpoint);
  const uint64_t last = last_.load(std::memory_order_relaxed);
  uint64_t before = before_.load(std::memory_order_relaxed);
  if (last != 0 && last >> kLatencyBits != tag) {
    before = last;
    before_.store(before, std::memory_order_relaxed);
  }
  last_.store(tag << kLatencyBits | latency, std::memory_order_relaxed);
  uint64_t least = latency;
  if (before != 0) least = std::min(least, before & kMostLatency);
  limit_.store(slowness.Limit(static_cast<int64_t>(least)),
               std::memory_order_relaxed);

  const uint32_t log = LogOf(static_cast<int64_t>(latency));
  const uint32_t seen = median_.load(std::memory_order_relaxed);
  uint32_t count = seen & 0xff;
  uint32_t median = seen >> 8;
  if (count == 0) {
    median = log;
  } else {
    const uint32_t step = kStep + kFirstStep / (count + 1);
    if (log > median) {
      median += std::min(step, log - median);
    } else {
      median -= std::min(step, median - log);
    }
  }
  count = std::min(count + 1, kMostCount);
  median_.store(median << 8 | count, std::memory_order_relaxed);
}

int64_t MethodPace::Elsewhere(
    const cluster::EndpointObservations* endpoint) const {
  constexpr uint64_t kMask = (uint64_t{1} << kLatencyBits) - 1;
  const uint64_t tag = TagOf(endpoint);
  for (const auto* answer : {&last_, &before_}) {
    const uint64_t seen = answer->load(std::memory_order_relaxed);
    if (seen != 0 && seen >> kLatencyBits != tag) {
      return static_cast<int64_t>(seen & kMask);
    }
  }
  return 0;
}

int64_t MethodPace::usual() const {
  const uint32_t median = median_.load(std::memory_order_relaxed);
  return (median & 0xff) == 0 ? 0 : OfLog(median >> 8);
}

int64_t MethodPace::UsualIn(uint32_t epoch) {
  if (epoch_ < epoch) {
    epoch_ = epoch;
    const uint32_t median = median_.load(std::memory_order_relaxed);
    fixed_log_ = (median & 0xff) == 0 ? 0 : median >> 8;
  }
  return fixed_log_ == 0 ? 0 : OfLog(fixed_log_);
}

SharedPaces::All* SharedPaces::Make() {
  auto made = std::make_unique<All>();
  All* present = nullptr;
  if (all_.compare_exchange_strong(present, made.get(),
                                   std::memory_order_acq_rel)) {
    return made.release();
  }
  return present;  // Another thread was quicker.
}

}  // namespace mesh::resilience
