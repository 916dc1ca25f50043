#ifndef MESH_RESILIENCE_LATENCY_TRACKER_H_
#define MESH_RESILIENCE_LATENCY_TRACKER_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "mesh/base/clock.h"
#include "mesh/base/on_demand.h"

namespace mesh::resilience {

// Quantiles of the latencies of the last ten seconds or so (8.6 to 12.9).
// Thread-safe. Recording takes no lock, and allocates only what it needs for
// the first time. A few samples may be lost while a part of the window begins
// anew.
//
// It is a histogram whose buckets are no wider than 6.3% of their value. Each
// power of two has 16 buckets of equal width, like HdrHistogram's. They go from
// a microsecond to a little over four minutes; what is outside counts in the
// nearest one.
class LatencyTracker {
 public:
  // With fewer samples than this there is no quantile.
  static constexpr int kMinSamples = 20;

  void Record(absl::Duration latency, absl::Time now);
  // The least latency that a share `q` (0..1) of the samples does not exceed,
  // give or take a bucket. InfiniteDuration while there are fewer than
  // kMinSamples. It is at most a tenth of a second old for the `q` that was
  // asked for last. So it is best always asked for the same `q`.
  absl::Duration Quantile(double q, absl::Time now) {
    return Recall(q, now, &quantile_);
  }
  // Quantile(0.5), remembered by itself. Callers of this one and callers for
  // another quantile do not disturb each other.
  absl::Duration Median(absl::Time now) { return Recall(0.5, now, &median_); }
  // Several quantiles of one look, computed now, without Quantile()'s memory.
  template <size_t n>
  std::array<absl::Duration, n> Quantiles(const std::array<double, n>& q,
                                          absl::Time now) const {
    Window window;
    Look(base::ToNanos(now) >> kPartBits, &window);
    std::array<absl::Duration, n> result;
    for (size_t i = 0; i < n; ++i) result[i] = Find(window, q[i]);
    return result;
  }

 private:
  static constexpr int kSubBits = 4;
  static constexpr int kMinExponent = 10;  // 2^10 ns.
  static constexpr int kMaxExponent = 38;  // 2^38 ns.
  static constexpr int kOctaves = kMaxExponent - kMinExponent;
  static constexpr int kSubs = 1 << kSubBits;
  static constexpr int kBuckets = kOctaves * kSubs;
  // A part of the window: 2^32 ns, or 4.3 s. The window is the present part and
  // two others.
  static constexpr int kPartBits = 32;
  static constexpr int kParts = 3;

  // What was counted between a latency and twice that latency.
  struct Octave {
    std::array<std::atomic<uint32_t>, kSubs> counts = {};
  };
  struct Part {
    uint32_t CountOf(int bucket) const {
      const Octave* const octave = octaves[bucket >> kSubBits].Find();
      return octave == nullptr ? 0
                               : octave->counts[bucket & (kSubs - 1)].load(
                                     std::memory_order_relaxed);
    }

    // The time of the part: nanoseconds >> kPartBits.
    std::atomic<int64_t> period{-1};
    // Buckets below and from here on are empty. Latencies are alike, so only a
    // few of all buckets are looked at.
    std::atomic<int> low{kBuckets};
    std::atomic<int> high{0};
    // A service's latencies are in few of them.
    std::array<base::OnDemand<Octave>, kOctaves> octaves;
  };

  // A quantile that has been computed.
  struct Memory {
    std::atomic<int64_t> until{0};  // Until when it is good.
    // What was asked for, and its latency in nanoseconds (negative: too few
    // samples), both as floats. They are in one word, since one is nothing
    // without the other. At first it holds what nobody asks for.
    std::atomic<uint64_t> what{~uint64_t{0}};
  };

  // All parts together.
  struct Window {
    int low = kBuckets;
    int high = 0;
    uint64_t total = 0;
    std::array<uint64_t, kBuckets> counts;  // From `low` to `high`.
  };

  static int BucketOf(int64_t nanoseconds);
  static double LowerEnd(int bucket);
  // Makes `part` that of `period`. False: another thread is at it, or the
  // period has come and gone.
  static bool Begin(Part* part, int64_t period);
  // Makes `part` say that `bucket` is not empty.
  static void Widen(Part* part, int bucket);
  // What was counted until then.
  void Look(int64_t period, Window* window) const;
  static absl::Duration Find(const Window& window, double q);
  // From memory, or computed and remembered.
  absl::Duration Recall(double q, absl::Time now, Memory* memory) const;

  std::array<base::OnDemand<Part>, kParts> parts_;
  Memory quantile_;
  Memory median_;
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_LATENCY_TRACKER_H_
