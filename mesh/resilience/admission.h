#ifndef MESH_RESILIENCE_ADMISSION_H_
#define MESH_RESILIENCE_ADMISSION_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/base/random.h"
#include "mesh/config/options.h"

namespace mesh::resilience {

// A guard that says no, or (`observed`) that would have.
struct Refusal {
  config::Guard guard = config::Guard::kMaxCalls;
  bool observed = false;
  // For a person: "the circuit breaker is open: 61% of 230 calls in 10s
  // failed; next probe in 0.4s". Empty when observed.
  absl::StatusCode code = absl::StatusCode::kResourceExhausted;
  std::string why;
};

// Whether calls of one service may be made: caps, circuit breaker, throttle,
// adaptive concurrency and rate limits, in front of all attempts. A function
// of (state, time, outcome); owns no thread and no timer. Thread-safe; admits
// without a lock while no guard has anything to say.
class Admission {
 public:
  // What an admitted call holds until it has ended.
  struct Ticket {
    bool held = false;
    bool probe = false;    // It probes for the breaker.
    bool limited = false;  // Counted by the concurrency limit.
    absl::Time start;
  };

  // Told of each refusal, enforced or observed, on the thread that asks.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnRefusal(const Refusal& refusal) = 0;
  };

  Admission(const config::GuardOptions& options, absl::Time now);
  ~Admission();
  // New options, from a reload. Counts are kept where they mean the same.
  void SetOptions(const config::GuardOptions& options);

  // Before the first attempt of a call. `method` ("/package.Service/Method")
  // tells the buckets of rate limits apart, of which it has `method_limit`.
  // The refusal that is enforced, or nullopt: the call is admitted, and
  // OnCallEnd(ticket) is to be called when it has ended. `listener` may be
  // null.
  std::optional<Refusal> Admit(absl::string_view method,
                               const config::RateLimitOptions& method_limit,
                               absl::Time now, base::Random* random,
                               Listener* listener, Ticket* ticket);
  void OnCallEnd(const Ticket& ticket, absl::StatusCode code, absl::Time now);

  // A call is to wait for an endpoint; a retry or hedge is to begin. False:
  // there are too many. Each true is given back by the one below.
  bool TryWait(Listener* listener);
  void EndWait();
  bool TryRetry(Listener* listener);
  void EndRetry();

  // For telemetry.
  struct State {
    int64_t calls = 0;
    int64_t waiting = 0;
    int64_t retries = 0;
    absl::string_view breaker;  // "closed", "open", "half_open".
    double throttle_probability = 0;
    int concurrency_limit = 0;
  };
  State Snapshot(absl::Time now) const;
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_ADMISSION_H_
