#ifndef MESH_RESILIENCE_ADMISSION_H_
#define MESH_RESILIENCE_ADMISSION_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <tuple>

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
#include "mesh/options/guards.h"
#include "mesh/options/mode.h"
#include "mesh/resilience/caps.h"
#include "mesh/resilience/circuit_breaker.h"
#include "mesh/resilience/concurrency_limit.h"
#include "mesh/resilience/guard.h"
#include "mesh/resilience/rate_limiter.h"
#include "mesh/resilience/throttle.h"

namespace mesh::resilience {

// Whether calls of one service may be made: caps, circuit breaker, throttle,
// adaptive concurrency and rate limits, in front of all attempts. A function of
// (state, time, outcome). It owns no thread and no timer: the first call after
// a twentieth of a second looks at what was counted (Update()). Thread-safe.
//
// A call that no guard has anything to say about takes no lock. It is counted,
// and that count is compared with one number (`quiet_`). That number is 0 as
// soon as a guard wants to be asked.
//
// The guards are asked in the order of Guards(), cheapest and most final first.
// Caps come first, then the breaker. Throttle and adaptive concurrency follow,
// and let the breaker's probes pass. Rate limits come last, because tokens are
// only for calls that are made. When one guard refuses, those before it take
// back what they have counted.
class Admission {
 public:
  using Ticket = AdmissionTicket;
  using Listener = RefusalListener;
  using State = AdmissionState;

  Admission(const options::GuardOptions& options, absl::Time now);
  ~Admission();
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  // New options, from a reload. Counts are kept where they mean the same.
  void SetOptions(const options::GuardOptions& options);

  // Asks before the first attempt of a call. Returns the refusal that is
  // enforced, or nullopt. nullopt: the call is admitted, and OnCallEnd(ticket)
  // is to be called when it has ended. `listener` may be null.
  //
  // `method` ("/package.Service/Method") tells the buckets of rate limits
  // apart, of which there are `method_limit`. Methods whose names a caller
  // could make up without end should share one name.
  std::optional<Refusal> Admit(absl::string_view method,
                               const options::RateLimitOptions& method_limit,
                               absl::Time now, base::Random* random,
                               Listener* listener, Ticket* ticket) {
    ticket->start = base::ToNanos(now);
    // Every call counts, whichever guards are to be asked. Otherwise a guard
    // that only observes would hasten what the others do.
    if (ABSL_PREDICT_FALSE(ticket->start >=
                           due_.load(std::memory_order_relaxed))) {
      Update(ticket->start);
    }
    if (ABSL_PREDICT_TRUE(
            !ticket->stream && method_limit.mode == options::Mode::kOff &&
            caps_.TryTake(quiet_.load(std::memory_order_relaxed)))) {
      ticket->held = true;
      ticket->plain = true;
      return std::nullopt;
    }
    return Ask(method, method_limit, random, listener, ticket);
  }

  // `code`: what the caller got. CANCELLED says nothing about the service.
  void OnCallEnd(const Ticket& ticket, absl::StatusCode code, absl::Time now) {
    const int64_t time = base::ToNanos(now);
    const uint64_t latency =
        static_cast<uint64_t>(time) - static_cast<uint64_t>(ticket.start);
    if (ABSL_PREDICT_TRUE(ticket.plain && code == absl::StatusCode::kOk &&
                          latency < kLongestCall)) {
      caps_.Give();
      Shard& shard = shards_[base::ThisShard()].Get();
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

  // The answer of a stream that was admitted has begun. From here on it counts
  // as open, and no longer as a call. Changes nothing the second time. Any
  // thread, also beside OnCallEnd().
  void OnStreamAnswer(const Ticket* ticket) {
    if (ticket->held && ticket->stream && ticket->answered.First()) {
      caps_.Give();
      concurrency_.EndStream();
    }
  }

  // The numbers that CapsGuard has.
  bool TryWait(Listener* listener) { return caps_.TryWait(listener); }
  void EndWait() { caps_.EndWait(); }
  void BeginRetry() { caps_.BeginRetry(); }
  void EndRetry() { caps_.EndRetry(); }

  State Snapshot(absl::Time now) const;

 private:
  // Latencies count as at most this, in ns, so that no sum overflows.
  static constexpr uint64_t kLongestCall = 3'600'000'000'000;

  // What the threads of one shard have counted. Only grows.
  struct alignas(64) Shard {
    std::atomic<int64_t> timed{0};    // Calls whose latency counts...
    std::atomic<int64_t> latency{0};  // ...and its sum.
    // Others that ended, except cancelled ones.
    std::atomic<int64_t> untimed{0};
    std::atomic<int64_t> failed{0};
    std::atomic<int64_t> rejected{0};  // By the service, or not in time.
  };

  // In the order in which they are asked.
  auto Guards() {
    return std::tie(caps_, breaker_, throttle_, concurrency_, rate_limiter_);
  }
  // Asks this guard and all after it. False: none of them holds anything.
  template <size_t kFirst = 0>
  bool AskFrom(Asking* asking);

  std::optional<Refusal> Ask(absl::string_view method,
                             const options::RateLimitOptions& method_limit,
                             base::Random* random, Listener* listener,
                             Ticket* ticket);
  void EndSpecial(const Ticket& ticket, absl::StatusCode code, int64_t now);
  CallTotals Sum() const;
  // Takes in what was counted. Does nothing while another thread does.
  void Update(int64_t now);
  // Sets what is read without the lock.
  void Publish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Written by every call.
  CapsGuard caps_;
  std::array<base::OnDemand<Shard>, base::kShards> shards_;

  // Read by every call; written with the lock held.
  alignas(64) std::atomic<int64_t> quiet_{0};  // So many calls need not ask.
  std::atomic<int64_t> due_{0};                // Update() then.

  // Each of them is thread-safe.
  BreakerGuard breaker_;
  ThrottleGuard throttle_;
  ConcurrencyGuard concurrency_;
  RateLimiter rate_limiter_;

  // Held while all guards are looked at; their locks are taken inside of it.
  mutable base::Mutex mu_;
  int64_t updated_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_ADMISSION_H_
