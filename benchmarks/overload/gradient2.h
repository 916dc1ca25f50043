#ifndef MESH_BENCHMARKS_OVERLOAD_GRADIENT2_H_
#define MESH_BENCHMARKS_OVERLOAD_GRADIENT2_H_

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "mesh/base/mutex.h"

namespace mesh::benchmarks {

// The peer: Netflix concurrency-limits' Gradient2Limit in its WindowedLimit,
// after its published description and with its defaults. The limit begins with
// 20 and stays within 20 to 200. Tolerance is 1.5, smoothing 0.2, queue 4, the
// long window 600 updates. Windows are of a second with at least 10 calls.
// Thread-safe.
class Gradient2 {
 public:
  // Whether a call may begin. Each true is followed by one End().
  bool TryBegin();
  // `latency` counts when `answered`.
  void End(bool answered, absl::Duration latency, absl::Time now);
  int limit();

 private:
  void Update(double rtt, int in_flight) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  base::Mutex mu_;
  double limit_ ABSL_GUARDED_BY(mu_) = 20;
  int in_flight_ ABSL_GUARDED_BY(mu_) = 0;

  // The long average.
  double long_rtt_ ABSL_GUARDED_BY(mu_) = 0;
  double long_sum_ ABSL_GUARDED_BY(mu_) = 0;
  int long_count_ ABSL_GUARDED_BY(mu_) = 0;

  // The window.
  absl::Time window_end_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  double sum_ ABSL_GUARDED_BY(mu_) = 0;
  int count_ ABSL_GUARDED_BY(mu_) = 0;
  int most_in_flight_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_OVERLOAD_GRADIENT2_H_
