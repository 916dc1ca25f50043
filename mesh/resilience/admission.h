#ifndef MESH_RESILIENCE_ADMISSION_H_
#define MESH_RESILIENCE_ADMISSION_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"
#include "mesh/base/random.h"
#include "mesh/base/sharded_counter.h"
#include "mesh/options/admission.h"
#include "mesh/options/guard.h"
#include "mesh/options/guards.h"
#include "mesh/options/mode.h"
#include "mesh/resilience/caps.h"
#include "mesh/resilience/circuit_breaker.h"
#include "mesh/resilience/concurrency_limit.h"
#include "mesh/resilience/rate_limiter.h"
#include "mesh/resilience/throttle.h"

namespace mesh::resilience {

// A guard that says no, or (`observed`) that would have.
struct Refusal {
  options::Guard guard = options::Guard::kMaxCalls;
  bool observed = false;
  // For a person: "the circuit breaker is open: 61% of 230 calls in 10s
  // failed; next probe in 0.4s". Empty when observed.
  absl::StatusCode code = absl::StatusCode::kResourceExhausted;
  std::string why;
};

// Whether calls of one service may be made: caps, circuit breaker, throttle,
// adaptive concurrency and rate limits, in front of all attempts. A function
// of (state, time, outcome); owns no thread and no timer: whichever call comes
// first when a twentieth of a second is over looks at what was counted
// (Update()). Thread-safe.
//
// A call that nobody has anything to say about takes no lock: it is counted,
// and that count is compared with one number (`quiet_`), which is 0 as soon as
// a guard wants to be asked.
//
// In the order in which they are asked, cheapest and most final first: caps;
// breaker; throttle and adaptive concurrency, which let the breaker's probes
// pass; rate limits, whose tokens are only for calls that are made.
class Admission {
 public:
  // What an admitted call holds until it has ended.
  struct Ticket {
    // To be set before Admit(): the call is a stream. How long it lasts says
    // nothing of the service, so adaptive concurrency leaves it alone.
    bool stream = false;
    bool held = false;
    bool plain = false;   // Held, and none of the below.
    bool sample = false;  // Of the latency without queue.
    uint32_t probe = 0;   // Not 0: it probes for the breaker.
    int64_t start = 0;    // Nanoseconds of the monotonic clock.
  };

  // Told of each refusal, enforced or observed, on the thread that asks.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnRefusal(const Refusal& refusal) = 0;
  };

  Admission(const options::GuardOptions& options, absl::Time now);
  ~Admission();
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  // New options, from a reload. Counts are kept where they mean the same.
  void SetOptions(const options::GuardOptions& options);

  // Before the first attempt of a call. `method` ("/package.Service/Method")
  // tells the buckets of rate limits apart, of which it has `method_limit`;
  // methods whose names a caller could make up without end should share one
  // name. The refusal that is enforced, or nullopt: the call is admitted, and
  // OnCallEnd(ticket) is to be called when it has ended. `listener` may be
  // null.
  std::optional<Refusal> Admit(absl::string_view method,
                               const options::RateLimitOptions& method_limit,
                               absl::Time now, base::Random* random,
                               Listener* listener, Ticket* ticket) {
    ticket->start = base::ToNanos(now);
    if (ABSL_PREDICT_TRUE(
            !ticket->stream && method_limit.mode == options::Mode::kOff &&
            calls_.TryTake(quiet_.load(std::memory_order_relaxed)))) {
      ticket->held = true;
      ticket->plain = true;
      return std::nullopt;
    }
    return Ask(method, method_limit, random, listener, ticket);
  }

  // `code`: what the caller got. CANCELLED says nothing of the service.
  void OnCallEnd(const Ticket& ticket, absl::StatusCode code, absl::Time now) {
    const int64_t time = base::ToNanos(now);
    const uint64_t latency =
        static_cast<uint64_t>(time) - static_cast<uint64_t>(ticket.start);
    if (ABSL_PREDICT_TRUE(ticket.plain && code == absl::StatusCode::kOk &&
                          latency < slow_.load(std::memory_order_relaxed))) {
      calls_.Give();
      Shard& shard = shards_[base::ThisShard()];
      shard.timed.fetch_add(1, std::memory_order_relaxed);
      shard.latency.fetch_add(static_cast<int64_t>(latency),
                              std::memory_order_relaxed);
    } else {
      EndSpecial(ticket, code, time);
    }
    if (ABSL_PREDICT_FALSE(time >= due_.load(std::memory_order_relaxed))) {
      Update(time);
    }
  }

  // A call is to wait for an endpoint; a retry or hedge is to begin. False:
  // there are too many. Each true is given back by the one below.
  bool TryWait(Listener* listener);
  void EndWait() { waiting_.Give(); }
  bool TryRetry(Listener* listener);
  void EndRetry() { retries_.Give(); }

  // For telemetry.
  struct State {
    int64_t calls = 0;
    int64_t waiting = 0;
    int64_t retries = 0;
    // "closed", "open", "half_open". Empty: off.
    absl::string_view breaker;
    // What it sees, or saw when it opened.
    int64_t breaker_calls = 0;
    double breaker_failed_share = 0;
    double breaker_slow_share = 0;
    double throttle_probability = 0;
    // 0: off.
    int concurrency_limit = 0;
    int64_t concurrency = 0;  // Calls that it counts.
    // The latency without queue, as far as it is known. Zero: not yet.
    absl::Duration min_latency;
  };
  State Snapshot(absl::Time now) const;

 private:
  // What the threads of one shard have counted. Only grows.
  struct alignas(64) Shard {
    std::atomic<int64_t> timed{0};    // Calls whose latency counts...
    std::atomic<int64_t> latency{0};  // ...and its sum.
    std::atomic<int64_t> untimed{0};  // Others that ended; not cancelled ones.
    std::atomic<int64_t> failed{0};
    std::atomic<int64_t> rejected{0};  // By the service, or not in time.
    std::atomic<int64_t> slow{0};
  };

  struct Totals {
    int64_t timed = 0;
    int64_t latency = 0;
    int64_t untimed = 0;
    int64_t failed = 0;
    int64_t rejected = 0;
    int64_t slow = 0;
  };

  std::optional<Refusal> Ask(absl::string_view method,
                             const options::RateLimitOptions& method_limit,
                             base::Random* random, Listener* listener,
                             Ticket* ticket);
  void EndSpecial(const Ticket& ticket, absl::StatusCode code, int64_t now);
  bool TryTakeCapped(Cap* cap, const std::atomic<int64_t>& most,
                     options::Guard guard, Listener* listener);
  Totals Sum() const;
  CircuitBreaker::Totals BreakerTotals(const Totals& sum) const;
  Throttle::Totals ThrottleTotals(const Totals& sum) const;
  ConcurrencyLimit::Totals ConcurrencyTotals(const Totals& sum) const;
  // Takes in what was counted. Nothing while another thread does.
  void Update(int64_t now);
  void UpdateLocked(int64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Sets what is read without the lock.
  void Publish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetModes() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Written by every call.
  alignas(64) Cap calls_;
  std::array<Shard, base::kShards> shards_;

  // Read by every call.
  alignas(64) std::atomic<int64_t> quiet_{0};  // So many calls need not ask.
  std::atomic<int64_t> due_{0};                // Update() then.
  std::atomic<uint64_t> slow_{0};  // Latencies from here on are special, ns.

  // Read by those that ask.
  std::atomic<options::Mode> caps_mode_;
  std::atomic<options::Mode> breaker_mode_;
  std::atomic<options::Mode> throttle_mode_;
  std::atomic<options::Mode> limit_mode_;
  std::atomic<bool> rate_limited_{false};  // The service is.
  std::atomic<int64_t> max_calls_{0};
  std::atomic<int64_t> max_waiting_{0};
  std::atomic<int64_t> max_retries_{0};
  std::atomic<int64_t> slow_call_{0};  // ns
  std::atomic<bool> breaker_closed_{true};
  std::atomic<double> throttle_probability_{0};
  std::atomic<int64_t> limit_{0};
  std::atomic<bool> measuring_{false};
  std::atomic<double> base_{0};  // The latency without queue, ns.

  // Written by those that ask.
  alignas(64) Cap streams_;
  Cap waiting_;
  Cap retries_;
  std::atomic<bool> met_limit_{false};
  std::atomic<int64_t> dropped_{0};  // By the throttle.
  RateLimiter rate_limiter_;

  mutable base::Mutex mu_;
  options::GuardOptions options_ ABSL_GUARDED_BY(mu_);
  CircuitBreaker breaker_ ABSL_GUARDED_BY(mu_);
  Throttle throttle_ ABSL_GUARDED_BY(mu_);
  ConcurrencyLimit concurrency_ ABSL_GUARDED_BY(mu_);
  int64_t updated_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_ADMISSION_H_
