#ifndef MESH_RESILIENCE_HEALTH_LEDGER_H_
#define MESH_RESILIENCE_HEALTH_LEDGER_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "absl/base/optimization.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mesh/base/clock.h"
#include "mesh/cluster/observations.h"
#include "mesh/cluster/trial_ticket.h"
#include "mesh/resilience/health/pace.h"
#include "mesh/resilience/health/record.h"
#include "mesh/resilience/latency_tracker.h"

namespace mesh::resilience {

// How an attempt ended, for whoever judges its endpoint.
struct AttemptResult {
  absl::StatusCode code = absl::StatusCode::kOk;
  // The failure came about on this side: not connected, reset, attempt timed
  // out.
  bool local = false;
  // It is proved that no server has seen it, so it says nothing about the
  // server.
  bool never_sent = false;
  // This side made the failure, and would have made it for any endpoint's
  // answer: a limit on messages, credentials.
  bool own = false;
  // Goes with `own`: an answer had come, and this side did not take it.
  bool answered = false;
  // The caller gave it up (cancelled, or another attempt won). It was not
  // answered, and that is no failure.
  bool given_up = false;
  bool unary = true;
  // The side of a trial that the call was given, if any.
  cluster::TrialTicket ticket;
  // How long calls of its method take. Null: not known.
  MethodPace* pace = nullptr;
  absl::Duration latency;
};

// What an attempt says about its endpoint.
struct Finding {
  enum class Kind : uint8_t {
    kSuccess,
    kFailure,            // An answer that is one, or a deadline that passed.
    kConnectionFailure,  // Its connection was refused, or broke.
    kNothing,
  };
  bool Failed() const {
    return kind == Kind::kFailure || kind == Kind::kConnectionFailure;
  }

  Kind kind = Kind::kNothing;
  bool unary = true;
  bool timed_out = false;  // On this side, by its own deadline.
  // Left unanswered for longer than the other endpoints take, like a hedge's
  // rival.
  bool telling = false;
  // timed_out, but by a deadline that passes on any endpoint.
  bool hasty = false;
  bool answered = false;  // kNothing, but somebody was there to answer.
  // kNothing: its connection has broken, and another one of the calls on it
  // counts.
  bool duplicate = false;
  double others_fail = 0;  // kFailure: the share of calls elsewhere that fail.
  bool lags = false;       // It may be slow against others of its method.
  // kSuccess: the server had no room for it. That is no failure, but draws
  // calls as a failure would.
  bool overloaded = false;
  // How long calls of its method take. Null: not known.
  const MethodPace* pace = nullptr;
  int64_t began = 0;
  int64_t latency = 0;
};

// Failures in a row, as EndpointObservations::consecutive has them.
struct FailureRow {
  explicit FailureRow(uint32_t packed)
      : failures(packed & 0xffff),
        connection(packed >> cluster::EndpointObservations::kConnectionShift) {}
  uint32_t Packed() const {
    return std::min(failures, 0xffffu) |
           std::min(connection, 0xffffu)
               << cluster::EndpointObservations::kConnectionShift;
  }

  uint32_t failures;    // All of them.
  uint32_t connection;  // Those of a connection, up to now.
};

// Attempts on an endpoint that have ended and say something.
inline uint32_t Told(const cluster::EndpointObservations& seen) {
  return seen.ended.load(std::memory_order_relaxed) +
         seen.streams_ended.load(std::memory_order_relaxed) -
         seen.discounted.load(std::memory_order_relaxed);
}

// What was counted for an endpoint between two looks.
struct Counted {
  uint32_t ended = 0;   // Unary attempts.
  uint32_t total = 0;   // Attempts that say something, streams too.
  uint32_t failed = 0;  // Failures among them.
};
// Makes `last` what the counts are now.
Counted TakeCounts(const cluster::EndpointObservations& seen, LookedAt* last);

// Counts how attempts on the endpoints of one service begin and end, in the
// observations of each endpoint. It takes no lock and judges nobody.
// Thread-safe.
class AttemptLedger {
 public:
  // How many unanswered attempts are evidence of silence by their number alone.
  static constexpr int32_t kManySilent = 5;

  // An attempt begins.
  static void OnStart(cluster::EndpointObservations* seen, bool unary,
                      absl::Time now) {
    if (!unary) {
      seen->streams_begun.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    cluster::SilenceEvidence& silence = seen->silence;
    const uint32_t begun =
        silence.begun.fetch_add(1, std::memory_order_relaxed);
    const auto silent = static_cast<int32_t>(
        begun - silence.accounted.load(std::memory_order_relaxed));
    // The first or second since the last answer. Or the first one that runs
    // now, when there were but a few before it.
    if (silent <= 1 || (silent < kManySilent &&
                        begun == seen->ended.load(std::memory_order_relaxed))) {
      silence.quiet_since.store(base::ToNanos(now), std::memory_order_relaxed);
    }
  }

  // A server has answered a unary attempt, and its latency counts.
  void OnAnswer(cluster::EndpointObservations* seen, MethodPace* pace,
                int64_t nanoseconds, absl::Time now) {
    seen->ended.fetch_add(1, std::memory_order_release);
    const uint32_t begun = seen->silence.begun.load(std::memory_order_relaxed);
    seen->silence.accounted.store(begun, std::memory_order_relaxed);
    if (ABSL_PREDICT_FALSE(nanoseconds >
                           slowest_.load(std::memory_order_relaxed))) {
      slowest_.store(nanoseconds, std::memory_order_relaxed);
    }
    if (((begun * 0x9e3779b1u >> 20) &
         sample_mask_.load(std::memory_order_relaxed)) == 0) {
      TakeSample(*seen, pace, nanoseconds, now);
    }
  }

  // Counts any end of an attempt, and returns what it says. After a failure
  // call CountFailure(), too. `in_use`: calls use the endpoint, so that the
  // latency counts.
  Finding OnEnd(cluster::EndpointObservations* seen,
                const AttemptResult& result, bool in_use, absl::Time now);
  // Counts what has failed or was overloaded, and goes on with the row of such.
  // What is hasty or a duplicate says nothing, and is discounted.
  static void CountFailure(cluster::EndpointObservations* seen,
                           const Finding& finding);
  // Ends the row. Returns whether there was one.
  static bool EndRow(cluster::EndpointObservations* seen);

  // A tenth of the service's unary calls of the last ten seconds or so were
  // answered within this. Zero while unknown.
  absl::Duration p10_latency() const {
    return absl::Nanoseconds(p10_latency_.load(std::memory_order_relaxed));
  }
  // A sample of the latencies of the service.
  const LatencyTracker& latencies() const { return latencies_; }
  // The slowest answer since TakeSlowest(), in nanoseconds.
  int64_t slowest() const { return slowest_.load(std::memory_order_relaxed); }
  int64_t TakeSlowest() {
    return slowest_.exchange(0, std::memory_order_relaxed);
  }

  // For the one who knows what is usual (UsualLatency). `mask` + 1: one in how
  // many answers is sampled. It is a power of two less one.
  void set_sample_mask(uint32_t mask) {
    sample_mask_.store(mask, std::memory_order_relaxed);
  }
  void set_p10_latency(int64_t nanoseconds) {
    p10_latency_.store(nanoseconds, std::memory_order_relaxed);
  }
  // An attempt that was given up after so long shows that it is slow.
  void set_telling_age(int64_t nanoseconds) {
    telling_age_.store(nanoseconds, std::memory_order_relaxed);
  }
  // When an answer is slow against another one of its method.
  void set_slowness(const Slowness& slowness) {
    slow_factor_.store(slowness.factor, std::memory_order_relaxed);
    slow_difference_.store(slowness.difference, std::memory_order_relaxed);
  }
  Slowness slowness() const {
    return {slow_factor_.load(std::memory_order_relaxed),
            slow_difference_.load(std::memory_order_relaxed)};
  }
  // An attempt was given up after so long because another one won. It is slow
  // if it has taken so much more than others, too.
  int64_t telling_age() const {
    return telling_age_.load(std::memory_order_relaxed);
  }

 private:
  void TakeSample(const cluster::EndpointObservations& seen, MethodPace* pace,
                  int64_t nanoseconds, absl::Time now);
  // Counts the end of a unary attempt that is no answer of an endpoint in use.
  static void EndUnanswered(cluster::EndpointObservations* seen,
                            const Finding& finding);

  std::atomic<double> slow_factor_{0};
  std::atomic<int64_t> slow_difference_{0};
  std::atomic<uint32_t> sample_mask_{0};
  std::atomic<int64_t> slowest_{0};
  std::atomic<int64_t> telling_age_{kNever};
  std::atomic<int64_t> p10_latency_{0};  // Read by retries.
  LatencyTracker latencies_;
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_LEDGER_H_
