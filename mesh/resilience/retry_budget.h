#ifndef MESH_RESILIENCE_RETRY_BUDGET_H_
#define MESH_RESILIENCE_RETRY_BUDGET_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "mesh/base/mutex.h"
#include "mesh/base/sharded_counter.h"
#include "mesh/options/retry.h"

namespace mesh::resilience {

// Bounds the attempts of one service beyond the first of each call, so that
// they cannot multiply an outage. Those attempts are retries, hedges, and
// probes of silent endpoints; all are called retries here. The bound is a share
// of the calls plus a floor. It is like Finagle's and Linkerd's retry budget,
// but the credit is computed when it is asked for. So a call that is not
// retried costs one addition.
//
// With the shipped 0.05 of the calls and 5 per second, servers that answer
// nothing see 1.083 times the traffic at 150 calls/s.
//
// A token bucket. A call puts in `ratio`, a second puts in `min_per_second`, a
// retry takes out 1. The bucket holds at most what comes in within a second at
// the present rate of calls, but always one retry. The rate is a mean that
// forgets within about a second. The bucket begins with `min_per_second`.
//
// So over a time t in which n calls begin, there are about ratio * n +
// min_per_second * (t + 1 s) retries at most. What is overdrawn comes on top.
// Thread-safe.
class RetryBudget {
 public:
  RetryBudget(const options::RetryBudgetOptions& options, absl::Time now);

  // A logical call has begun.
  void OnCall() { calls_.Add(1); }

  // Takes one retry out of the budget. False when there is none left. `now` may
  // go back a little, since threads read the clock before they come here.
  bool TryWithdraw(absl::Time now);

  // Takes one though there may be none left. The debt is paid back before the
  // next TryWithdraw(). It is never more than what comes in within a second.
  void Overdraw(absl::Time now);

  // Retries that are left, for telemetry. Not negative.
  double Balance(absl::Time now);

  // New limits, from a reload. The balance is kept, as far as they allow.
  void SetOptions(const options::RetryBudgetOptions& options);

 private:
  void Refill(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  double Most() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  base::ShardedCounter calls_;

  base::Mutex mu_;
  options::RetryBudgetOptions options_ ABSL_GUARDED_BY(mu_);
  absl::Time last_ ABSL_GUARDED_BY(mu_);
  int64_t last_calls_ ABSL_GUARDED_BY(mu_) = 0;
  double calls_per_second_ ABSL_GUARDED_BY(mu_) = 0;
  double tokens_ ABSL_GUARDED_BY(mu_);  // Negative: a debt.
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_RETRY_BUDGET_H_
