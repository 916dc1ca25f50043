#ifndef MESH_RESILIENCE_GUARD_H_
#define MESH_RESILIENCE_GUARD_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/base/guard.h"
#include "mesh/base/random.h"
#include "mesh/options/admission.h"

// What the guards of a service have in common. A guard stands in front of all
// attempts of a call; Admission asks one after the other. It is a thread-safe
// class with
//
//    // False: asking->Refuse() was called, and the guard holds nothing.
//    bool Admit(Asking* asking);
//    // It has admitted, and a later guard has not: gives back what it holds.
//    void Undo(const Asking& asking);
//
// It is no virtual interface, since most calls of some services (all streams)
// pass all of the guards.

namespace mesh::resilience {

// A guard refuses; `observed`: it would, in mode `enforce`.
struct Refusal {
  base::Guard guard = base::Guard::kMaxCalls;
  bool observed = false;
  // For a person: "the circuit breaker is open: 61% of 230 calls in 10s
  // failed; next probe in 0.4s". Empty when observed.
  absl::StatusCode code = absl::StatusCode::kResourceExhausted;
  std::string why;
};

// It is told of each refusal, enforced or observed, on the thread that asks.
class RefusalListener {
 public:
  virtual ~RefusalListener() = default;
  virtual void OnRefusal(const Refusal& refusal) = 0;
};

// Something that happens once, though several threads may come to it.
class OnlyOnce {
 public:
  OnlyOnce() = default;
  OnlyOnce(const OnlyOnce& other) : done_(other.done_.load()) {}
  OnlyOnce& operator=(const OnlyOnce& other) {
    done_ = other.done_.load();
    return *this;
  }
  // True for the first one that asks.
  bool First() const {
    return !done_.exchange(true, std::memory_order_relaxed);
  }

 private:
  mutable std::atomic<bool> done_{false};
};

// What an admitted call holds until it has ended.
struct AdmissionTicket {
  // Set it before Admit(): the call is a stream. Its duration says nothing
  // about the service, so adaptive concurrency leaves it alone.
  bool stream = false;
  bool held = false;
  bool plain = false;   // Held, and none of the below.
  bool sample = false;  // It measures the latency without queue.
  uint32_t probe = 0;   // Not 0: it probes for the breaker.
  int64_t start = 0;    // Nanoseconds of the monotonic clock.
  // Set for a stream that no longer counts as a call. Its answer may begin on
  // one thread while it ends on another.
  OnlyOnce answered;
};

// One call that asks the guards.
struct Asking {
  absl::string_view method;
  const options::RateLimitOptions* method_limit;  // Never null.
  base::Random* random;
  RefusalListener* listener;  // May be null.
  AdmissionTicket* ticket;
  int64_t now;  // Nanoseconds of the monotonic clock.

  // Calls under way, this one included, as the caps have counted them.
  int64_t calls = 0;
  // It probes for an enforced breaker: the others let it pass.
  bool probes = false;
  Refusal refusal;  // Set once a guard has refused.

  // A guard would refuse if it were enforced.
  void Observe(base::Guard guard);
  // A guard refuses. Returns false. The listener is told once everything is
  // given back.
  bool Refuse(base::Guard guard, absl::StatusCode code, std::string why) {
    refusal.guard = guard;
    refusal.code = code;
    refusal.why = std::move(why);
    return false;
  }
};

// What has become of a service's calls since the beginning; only grows.
struct CallTotals {
  int64_t timed = 0;    // Calls whose latency counts...
  int64_t latency = 0;  // ...and its sum, ns.
  int64_t untimed = 0;  // Others that ended, except cancelled ones.
  int64_t failed = 0;
  int64_t rejected = 0;  // By the service, or not in time.

  int64_t calls() const { return timed + untimed; }
};

// For telemetry. Each guard describes its own part.
struct AdmissionState {
  int64_t calls = 0;  // Streams whose answers have begun are not in it.
  int64_t streams = 0;
  int64_t waiting = 0;
  int64_t retries = 0;
  // "closed", "open", "half_open". Empty: off.
  absl::string_view breaker;
  // What it sees, or saw when it opened.
  int64_t breaker_calls = 0;
  double breaker_failed_share = 0;
  double throttle_probability = 0;
  // 0: off.
  int concurrency_limit = 0;
  int64_t concurrency = 0;  // Calls that it counts.
  // The latency without queue, as far as it is known. Zero: not yet.
  absl::Duration min_latency;
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_GUARD_H_
