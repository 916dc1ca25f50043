#include "mesh/resilience/latency_tracker.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/base/optimization.h"

namespace mesh::resilience {
namespace {

constexpr int64_t kBeingCleared = -2;
constexpr int64_t kGoodForNanoseconds = 100'000'000;
constexpr uint64_t kLow = 0xffffffff;

uint32_t Bits(float value) {
  uint32_t bits;
  static_assert(sizeof(bits) == sizeof(value));
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

}  // namespace

int LatencyTracker::BucketOf(int64_t nanoseconds) {
  if (nanoseconds < int64_t{1} << kMinExponent) return 0;
  if (nanoseconds >= int64_t{1} << kMaxExponent) return kBuckets - 1;
  const int exponent = 63 - __builtin_clzll(nanoseconds);
  const auto sub = static_cast<int>(nanoseconds >> (exponent - kSubBits)) &
                   ((1 << kSubBits) - 1);
  return ((exponent - kMinExponent) << kSubBits) + sub;
}

double LatencyTracker::LowerEnd(int bucket) {
  const int exponent = (bucket >> kSubBits) + kMinExponent;
  const int sub = bucket & ((1 << kSubBits) - 1);
  return std::ldexp(1 + static_cast<double>(sub) / (1 << kSubBits), exponent);
}

bool LatencyTracker::Begin(Part* part, int64_t period) {
  int64_t before = part->period.load(std::memory_order_acquire);
  if (before == kBeingCleared || before >= period) return before == period;
  if (!part->period.compare_exchange_strong(before, kBeingCleared,
                                            std::memory_order_acq_rel)) {
    return before == period;
  }
  for (base::OnDemand<Octave>& slot : part->octaves) {
    Octave* const octave = slot.Find();
    if (octave == nullptr) continue;
    for (std::atomic<uint32_t>& count : octave->counts) {
      count.store(0, std::memory_order_relaxed);
    }
  }
  part->low.store(kBuckets, std::memory_order_relaxed);
  part->high.store(0, std::memory_order_relaxed);
  part->period.store(period, std::memory_order_release);
  return true;
}

void LatencyTracker::Widen(Part* part, int bucket) {
  int low = part->low.load(std::memory_order_relaxed);
  while (bucket < low && !part->low.compare_exchange_weak(
                             low, bucket, std::memory_order_relaxed)) {
  }
  int high = part->high.load(std::memory_order_relaxed);
  while (bucket >= high && !part->high.compare_exchange_weak(
                               high, bucket + 1, std::memory_order_relaxed)) {
  }
}

void LatencyTracker::Record(absl::Duration latency, absl::Time now) {
  const int64_t period = base::ToNanos(now) >> kPartBits;
  if (ABSL_PREDICT_FALSE(period < 0)) return;
  Part& part = parts_[period % kParts].Get();
  if (ABSL_PREDICT_FALSE(part.period.load(std::memory_order_acquire) !=
                         period) &&
      !Begin(&part, period)) {
    return;
  }
  const int bucket = BucketOf(base::ToNanos(latency));
  if (ABSL_PREDICT_FALSE(bucket < part.low.load(std::memory_order_relaxed) ||
                         bucket >= part.high.load(std::memory_order_relaxed))) {
    Widen(&part, bucket);
  }
  part.octaves[bucket >> kSubBits].Get().counts[bucket & (kSubs - 1)].fetch_add(
      1, std::memory_order_relaxed);
}

absl::Duration LatencyTracker::Recall(double q, absl::Time now,
                                      Memory* memory) const {
  const int64_t at = base::ToNanos(now);
  const uint64_t asked = uint64_t{Bits(static_cast<float>(q))} << 32;
  const uint64_t known = memory->what.load(std::memory_order_relaxed);
  const bool same = (known & ~kLow) == asked;
  int64_t until = memory->until.load(std::memory_order_relaxed);
  // One thread computes; what others are given meanwhile is a little older.
  const bool computes =
      (at >= until || !same) &&
      memory->until.compare_exchange_strong(until, at + kGoodForNanoseconds,
                                            std::memory_order_relaxed);
  if (same && !computes) {
    const float nanoseconds = FloatOf(static_cast<uint32_t>(known));
    return nanoseconds < 0
               ? absl::InfiniteDuration()
               : absl::Nanoseconds(static_cast<int64_t>(nanoseconds));
  }
  Window window;
  Look(at >> kPartBits, &window);
  const absl::Duration quantile = Find(window, q);
  if (computes) {
    const float nanoseconds = quantile == absl::InfiniteDuration()
                                  ? -1
                                  : static_cast<float>(base::ToNanos(quantile));
    memory->what.store(asked | Bits(nanoseconds), std::memory_order_relaxed);
  }
  return quantile;
}

void LatencyTracker::Look(int64_t period, Window* window) const {
  std::array<const Part*, kParts> parts;
  int count_of_parts = 0;
  for (const base::OnDemand<Part>& slot : parts_) {
    const Part* const part = slot.Find();
    if (part == nullptr) continue;
    const int64_t of = part->period.load(std::memory_order_acquire);
    if (of < 0 || of <= period - kParts) continue;
    parts[count_of_parts++] = part;
    window->low =
        std::min(window->low, part->low.load(std::memory_order_relaxed));
    window->high =
        std::max(window->high, part->high.load(std::memory_order_relaxed));
  }
  for (int i = window->low; i < window->high; ++i) {
    uint64_t count = 0;
    for (int k = 0; k < count_of_parts; ++k) {
      count += parts[k]->CountOf(i);
    }
    window->counts[i] = count;
    window->total += count;
  }
}

absl::Duration LatencyTracker::Find(const Window& window, double q) {
  const uint64_t total = window.total;
  if (total < kMinSamples) return absl::InfiniteDuration();
  // Rank of the one that is looked for, from 1. A q that is not a number asks
  // for the least.
  const auto most = static_cast<double>(total);
  const double rank = q > 0 ? std::clamp(std::ceil(q * most), 1.0, most) : 1;
  double before = 0;
  for (int i = window.low; i < window.high; ++i) {
    const auto count = static_cast<double>(window.counts[i]);
    if (before + count >= rank) {
      const double low = LowerEnd(i);
      const double high = LowerEnd(i + 1);
      return absl::Nanoseconds(
          std::llround(low + (high - low) * (rank - before) / count));
    }
    before += count;
  }
  return absl::InfiniteDuration();  // Not reached: the counts sum to `total`.
}

}  // namespace mesh::resilience
