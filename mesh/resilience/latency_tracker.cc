#include "mesh/resilience/latency_tracker.h"

namespace mesh::resilience {

void LatencyTracker::Record(absl::Duration, absl::Time) {}
absl::Duration LatencyTracker::Quantile(double, absl::Time) {
  return absl::InfiniteDuration();
}

}  // namespace mesh::resilience
