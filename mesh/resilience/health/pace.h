#ifndef MESH_RESILIENCE_HEALTH_PACE_H_
#define MESH_RESILIENCE_HEALTH_PACE_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/base/optimization.h"
#include "absl/strings/string_view.h"
#include "mesh/cluster/observations.h"
#include "mesh/options/health.h"
#include "mesh/resilience/health/record.h"

namespace mesh::resilience {

// 256 * log2(nanoseconds), the fraction by linear interpolation.
inline uint32_t LogOf(int64_t nanoseconds) {
  if (ABSL_PREDICT_FALSE(nanoseconds < 256)) nanoseconds = 256;
  const int exponent = 63 - __builtin_clzll(nanoseconds);
  return static_cast<uint32_t>(exponent) << 8 |
         (static_cast<uint32_t>(nanoseconds >> (exponent - 8)) & 0xff);
}
// The least duration of that logarithm.
inline int64_t OfLog(uint32_t log) {
  return static_cast<int64_t>(256 + (log & 0xff)) << ((log >> 8) - 8);
}

// From when on an answer is slow against another one.
struct Slowness {
  double factor = 0;  // 0: nothing is slow.
  int64_t difference = 0;

  static Slowness Of(const options::OutlierEjectionOptions& options);

  // An answer that takes more nanoseconds than this is slow where `usual` are
  // usual.
  int64_t Limit(int64_t usual) const {
    if (factor == 0 || usual <= 0) return kNever;
    return std::max(static_cast<int64_t>(
                        std::min(static_cast<double>(usual) * factor, 4e18)),
                    usual + difference);
  }
};

// How long calls of one method take with the endpoints of one service: what an
// answer is compared with. Thread-safe and without a lock, except for
// UsualIn(). What threads note at the same time may in part be lost.
class MethodPace {
 public:
  // An answer that took longer than this may be slow. Most answers read nothing
  // else.
  int64_t limit() const { return limit_.load(std::memory_order_relaxed); }

  // Notes that an endpoint, named by its observations, has answered after so
  // long.
  void Note(const cluster::EndpointObservations* endpoint, int64_t nanoseconds,
            const Slowness& slowness);

  // A recent answer of an endpoint other than this one. 0: none is known.
  int64_t Elsewhere(const cluster::EndpointObservations* endpoint) const;

  // The median, or 0 while it is not known. It follows slowly.
  int64_t usual() const;
  // What was usual when `epoch` was first asked for. Under the monitor's lock.
  // Epochs are not 0 and only grow.
  int64_t UsualIn(uint32_t epoch);

 private:
  static uint64_t TagOf(const cluster::EndpointObservations* endpoint);

  std::atomic<int64_t> limit_{kNever};
  // The last answer, and the last one of another endpoint. Each has a tag of
  // the endpoint above kLatencyBits of nanoseconds. 0: none.
  static constexpr int kLatencyBits = 40;
  std::atomic<uint64_t> last_{0};
  std::atomic<uint64_t> before_{0};
  // The median: its logarithm, above 8 bits that count samples up to 255.
  std::atomic<uint32_t> median_{0};

  uint32_t epoch_ = 0;  // Under the monitor's lock, as the next.
  uint32_t fixed_log_ = 0;
};

// The paces of methods that nobody has registered: several share one. They are
// made when the first of them is asked for. Thread-safe.
class SharedPaces {
 public:
  SharedPaces() = default;
  ~SharedPaces() { delete all_.load(std::memory_order_relaxed); }
  SharedPaces(const SharedPaces&) = delete;
  SharedPaces& operator=(const SharedPaces&) = delete;

  MethodPace* Of(absl::string_view method) {
    // Methods of a service differ in their ends, or in how long they are.
    uint64_t hash = method.size();
    const size_t last = std::min<size_t>(method.size(), 8);
    for (size_t i = method.size() - last; i < method.size(); ++i) {
      hash =
          (hash ^ static_cast<unsigned char>(method[i])) * 0x9e3779b97f4a7c15u;
    }
    All* all = all_.load(std::memory_order_acquire);
    if (ABSL_PREDICT_FALSE(all == nullptr)) all = Make();
    return &(*all)[hash >> 61];
  }

 private:
  using All = std::array<MethodPace, 8>;
  All* Make();

  std::atomic<All*> all_{nullptr};
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_PACE_H_
