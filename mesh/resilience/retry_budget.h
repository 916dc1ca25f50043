#ifndef MESH_RESILIENCE_RETRY_BUDGET_H_
#define MESH_RESILIENCE_RETRY_BUDGET_H_

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "mesh/base/mutex.h"
#include "mesh/base/sharded_counter.h"
#include "mesh/config/options.h"

namespace mesh::resilience {

// Bounds the retries of one service to a share of its calls plus a floor, so
// that retries cannot multiply an outage. As Finagle's and Linkerd's retry
// budget, with the credit computed when it is asked for: a call that is not
// retried costs one addition. Thread-safe.
class RetryBudget {
 public:
  RetryBudget(const config::RetryBudgetOptions& options, absl::Time now);

  // A logical call has begun.
  void OnCall() { calls_.Add(1); }

  // Takes one retry out of the budget. False when there is none left.
  bool TryWithdraw(absl::Time now);

  // What is left, for telemetry.
  double Balance(absl::Time now);

  // New limits, from a reload. The balance is kept.
  void SetOptions(const config::RetryBudgetOptions& options);

 private:
  void Refill(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  base::ShardedCounter calls_;

  base::Mutex mu_;
  config::RetryBudgetOptions options_ ABSL_GUARDED_BY(mu_);
  absl::Time last_ ABSL_GUARDED_BY(mu_);
  int64_t last_calls_ ABSL_GUARDED_BY(mu_) = 0;
  double calls_per_second_ ABSL_GUARDED_BY(mu_) = 0;
  double tokens_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_RETRY_BUDGET_H_
