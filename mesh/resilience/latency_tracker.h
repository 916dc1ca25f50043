#ifndef MESH_RESILIENCE_LATENCY_TRACKER_H_
#define MESH_RESILIENCE_LATENCY_TRACKER_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "absl/time/time.h"

namespace mesh::resilience {

// Quantiles of latencies of the last ten seconds or so, in buckets no wider
// than 9% of their value. Thread-safe; recording takes no lock.
class LatencyTracker {
 public:
  void Record(absl::Duration latency, absl::Time now);
  // InfiniteDuration while there are fewer than 20 of them. At most a tenth of
  // a second old.
  absl::Duration Quantile(double q, absl::Time now);
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_LATENCY_TRACKER_H_
