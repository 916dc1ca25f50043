#ifndef MESH_RESILIENCE_CIRCUIT_BREAKER_H_
#define MESH_RESILIENCE_CIRCUIT_BREAKER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "mesh/base/mutex.h"
#include "mesh/options/admission.h"
#include "mesh/options/mode.h"
#include "mesh/resilience/guard.h"
#include "mesh/resilience/rolling_window.h"

namespace mesh::resilience {

// A circuit breaker for one service (Nygard, "Release It!"): refuses all calls
// while most of them fail, and lets single ones probe. As
// options::BreakerOptions says. A function of (state, time, outcome); times are
// nanoseconds of a monotonic clock. Not thread-safe.
class CircuitBreaker {
 public:
  enum class State : uint8_t {
    kClosed,    // Calls are admitted.
    kOpen,      // They are refused.
    kHalfOpen,  // One at a time is admitted and probes.
  };

  // Since the beginning; only grows.
  struct Totals {
    int64_t calls = 0;  // Ended in any way, except cancelled ones.
    int64_t failed = 0;
  };

  // The window must hold so many calls before the breaker opens: fewer say too
  // little of a share.
  static constexpr int64_t kMinCalls = 20;
  // So many probes in a row must go well before it closes.
  static constexpr int kProbes = 3;

  struct Decision {
    bool admitted = true;
    uint32_t probe = 0;  // Not 0: it probes. To be handed back at its end.
  };

  // It ignores what was in `totals` before its time.
  CircuitBreaker(const options::BreakerOptions& options, const Totals& totals);
  // State and counts are kept; counts only while the window is the same.
  void SetOptions(const options::BreakerOptions& options);

  // Takes in what was seen until now, and may open.
  void Update(const Totals& totals, int64_t now);

  Decision Admit(int64_t now);
  // The end of a call with Decision::probe.
  void OnProbeEnd(uint32_t probe, bool good, int64_t now);
  // The probing call was not made, or was cancelled: another one may probe.
  void OnProbeLost(uint32_t probe);

  State state() const { return state_; }
  // For a person, while it is not closed: "the circuit breaker is open: 61% of
  // 230 calls in 10s failed; next probe in 0.4s".
  std::string Why(int64_t now) const;

  // Calls and shares of the window. While the breaker is not closed: of the
  // window when it opened.
  int64_t calls() const;
  double failed_share() const;

 private:
  enum Value { kCalls, kFailed, kValues };
  using Window = RollingWindow<kValues>;

  void Open(int64_t open_for, int64_t now);
  const Window::Values& Counts() const;

  options::BreakerOptions options_;

  State state_ = State::kClosed;
  Window window_;
  Totals totals_;  // At the last Update().

  // While not closed.
  Window::Values opened_with_ = {};
  int64_t open_for_ = 0;
  int64_t probe_at_ = 0;
  bool probing_ = false;     // A probe is under way...
  int64_t probe_until_ = 0;  // ...and is waited for until then.
  uint32_t probe_ = 0;       // The newest.
  uint32_t opened_at_ = 0;   // Probes up to this number no longer count.
  int good_probes_ = 0;
};

// The guard that asks a circuit breaker. Thread-safe. It takes its lock only
// while the breaker is not closed.
class BreakerGuard {
 public:
  explicit BreakerGuard(const options::BreakerOptions& options);
  // A breaker that was off begins anew, after `totals`.
  void SetOptions(const options::BreakerOptions& options,
                  const CallTotals& totals);

  bool on() const {
    return mode_.load(std::memory_order_relaxed) != options::Mode::kOff;
  }
  // Calls need not ask it.
  bool quiet() const { return closed_.load(std::memory_order_relaxed); }
  // What was seen until now.
  void Update(const CallTotals& totals, int64_t now);

  bool Admit(Asking* asking) { return quiet() || !on() || AdmitProbe(asking); }
  void Undo(const Asking& asking) { LoseProbe(*asking.ticket); }

  // A call that probes has ended well; or it was cancelled, so that another one
  // may probe.
  void EndProbe(const AdmissionTicket& ticket, bool good, int64_t now);
  void LoseProbe(const AdmissionTicket& ticket);

  void Describe(AdmissionState* state) const;

 private:
  bool AdmitProbe(Asking* asking);
  void Publish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Written with the lock held.
  std::atomic<options::Mode> mode_;
  std::atomic<bool> closed_{true};

  mutable base::Mutex mu_;
  options::BreakerOptions options_ ABSL_GUARDED_BY(mu_);
  // Null: it is off, or closed and has seen nothing yet.
  std::unique_ptr<CircuitBreaker> breaker_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_CIRCUIT_BREAKER_H_
