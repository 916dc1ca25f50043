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
// the first time. Of what is recorded while a part of the window begins anew a
// few may be lost.
//
// A histogram whose buckets are no wider than 6.3% of their value: 16 of equal
// width to each power of two (as HdrHistogram has them), from a microsecond to
// a little over four minutes; what is outside counts as the nearest.
class LatencyTracker {
 public:
  // Fewer samples than this are not spoken of.
  static constexpr int kMinSamples = 20;

  void Record(absl::Duration latency, absl::Time now);
  // The least latency that a share `q` (0..1) of them does not exceed, give or
  // take a bucket. InfiniteDuration while there are fewer than kMinSamples. At
  // most a tenth of a second old, for the `q` that was asked for last: meant
  // to be asked for the same one.
  absl::Duration Quantile(double q, absl::Time now) {
    return Recall(q, now, &quantile_);
  }
  // Quantile(0.5), remembered by itself: whoever asks for it and whoever asks
  // for another do not disturb each other.
  absl::Duration Median(absl::Time now) { return Recall(0.5, now, &median_); }
  // Several, of one look, now. As `Quantile`, but for the memory of it.
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
  // A part of the window: 2^32 ns, or 4.3 s. The present one and two others.
  static constexpr int kPartBits = 32;
  static constexpr int kParts = 3;

  // What was counted between a latency and twice as much.
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

    // What time it is of: nanoseconds >> kPartBits.
    std::atomic<int64_t> period{-1};
    // Buckets below and from here on are empty. Latencies are alike, so few of
    // all are looked at.
    std::atomic<int> low{kBuckets};
    std::atomic<int> high{0};
    // A service's latencies are in few of them.
    std::array<base::OnDemand<Octave>, kOctaves> octaves;
  };

  // A quantile that has been computed.
  struct Memory {
    std::atomic<int64_t> until{0};  // It is good.
    // What was asked for, and its latency in nanoseconds (negative: too few
    // samples), both as floats: in one word, as one is nothing without the
    // other. At first what nobody asks for.
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
  // Makes `part` that of `period`. False: another thread is at it, or its time
  // has come and gone.
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
