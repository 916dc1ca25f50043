#ifndef MESH_RESILIENCE_THROTTLE_H_
#define MESH_RESILIENCE_THROTTLE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "mesh/base/mutex.h"
#include "mesh/options/admission.h"
#include "mesh/options/mode.h"
#include "mesh/resilience/guard.h"
#include "mesh/resilience/rolling_window.h"

namespace mesh::resilience {

// Client-side throttling (Beyer et al., "Site Reliability Engineering",
// chapter 21, "Handling Overload"): a call is dropped with the probability
//   (requests - kShare * accepts) / (requests + 1)
// over a window. Requests are the calls that the application made, those that
// were dropped here among them; accepts are those that the service took. It
// took a call unless that ended with UNAVAILABLE, RESOURCE_EXHAUSTED or
// DEADLINE_EXCEEDED: any other answer, errors too, cost it the work.
//
// Times are nanoseconds of a monotonic clock. Not thread-safe.
class Throttle {
 public:
  // Since the beginning; only grows.
  struct Totals {
    int64_t requests = 0;
    int64_t accepts = 0;
  };

  // It lets through twice what is accepted (`k`): half of the calls may fail
  // before one is dropped, and the service is asked often enough to be seen to
  // recover.
  static constexpr double kShare = 2;
  // The window, in nanoseconds.
  static constexpr int64_t kWindow = 30'000'000'000;
  // Nothing is dropped while the window holds fewer requests: they say little.
  static constexpr int64_t kMinCalls = 50;

  // What is in `totals` was before its time.
  explicit Throttle(const Totals& totals) : totals_(totals) {}
  // What was seen until now.
  void Update(const Totals& totals, int64_t now);

  // How likely a call is to be dropped. In [0, 1).
  double probability() const { return probability_; }
  // For a person, when one was dropped.
  std::string Why() const;

 private:
  enum Value { kRequests, kAccepts, kValues };
  using Window = RollingWindow<kValues>;

  Window window_{kWindow};
  Totals totals_;  // At the last Update().
  double probability_ = 0;
};

// The guard that drops calls as a throttle says. It lets the breaker's probes
// pass. Thread-safe. It takes its lock only for a call that it drops.
class ThrottleGuard {
 public:
  explicit ThrottleGuard(const options::ThrottleOptions& options);
  // A throttle that was off begins anew, after `totals`.
  void SetOptions(const options::ThrottleOptions& options,
                  const CallTotals& totals);

  bool on() const {
    return mode_.load(std::memory_order_relaxed) != options::Mode::kOff;
  }
  // Calls need not ask it.
  bool quiet() const {
    return probability_.load(std::memory_order_relaxed) == 0;
  }
  // What was seen until now.
  void Update(const CallTotals& totals, int64_t now);

  bool Admit(Asking* asking) {
    return quiet() || asking->probes || !on() || Draw(asking);
  }
  void Undo(const Asking&) {}

  // As if Update() had been called.
  void Describe(const CallTotals& totals, int64_t now,
                AdmissionState* state) const;

 private:
  bool Draw(Asking* asking);
  Throttle::Totals TotalsOf(const CallTotals& totals) const;
  void Publish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Written with the lock held.
  std::atomic<options::Mode> mode_;
  std::atomic<double> probability_{0};

  std::atomic<int64_t> dropped_{0};

  mutable base::Mutex mu_;
  // Null: it is off, or has seen nothing yet.
  std::unique_ptr<Throttle> throttle_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_THROTTLE_H_
