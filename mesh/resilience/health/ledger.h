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
#include "mesh/resilience/health/record.h"
#include "mesh/resilience/latency_tracker.h"

namespace mesh::resilience {

// How an attempt ended, for whoever judges its endpoint.
struct AttemptResult {
  absl::StatusCode code = absl::StatusCode::kOk;
  // It came about on this side: not connected, reset, attempt timed out.
  bool local = false;
  // Proved that no server has seen it: says nothing of the server.
  bool never_sent = false;
  // Given up by the caller (cancelled, or another attempt won): it was not
  // answered, and that is no failure.
  bool given_up = false;
  bool unary = true;
  absl::Duration latency;
};

// What an attempt says of its endpoint.
struct Finding {
  enum class Kind : uint8_t { kSuccess, kFailure, kLocalFailure, kNothing };
  Kind kind = Kind::kNothing;
  bool unary = true;
  bool timed_out = false;  // Here, by its own deadline.
  bool telling = false;    // Left unanswered for longer than the peers take, as
                           // a hedge's rival is.
  bool unavailable = false;  // kFailure: the code says that nobody is there.
  int64_t began = 0;
  int64_t latency = 0;
  uint32_t capped_log = 0;  // LogOf(latency), no more than one counts as.
};

// Failures in a row, as EndpointObservations::consecutive has them.
struct FailureRow {
  explicit FailureRow(uint64_t packed)
      : failures(packed & 0xffff),
        gateway(packed >> cluster::EndpointObservations::kGatewayShift &
                0xffff),
        local(packed >> cluster::EndpointObservations::kLocalShift & 0xffff) {}
  uint64_t Packed() const {
    return uint64_t{std::min(failures, 0xffffu)} |
           uint64_t{std::min(gateway, 0xffffu)}
               << cluster::EndpointObservations::kGatewayShift |
           uint64_t{std::min(local, 0xffffu)}
               << cluster::EndpointObservations::kLocalShift;
  }
  uint32_t Most() const { return std::max({failures, gateway, local}); }

  uint32_t failures;
  uint32_t gateway;
  uint32_t local;
};

// What was counted of an endpoint between two looks.
struct Counted {
  uint32_t timed = 0;      // Unary attempts with a latency that counts...
  double log_latency = 0;  // ...and the sum of their log2(nanoseconds).
  uint32_t total = 0;      // Attempts that say something, streams too.
  uint32_t failed = 0;     // Failures among them.
};
// Makes `last` what the counts are now.
Counted TakeCounts(const cluster::EndpointObservations& seen, LookedAt* last);

// Counts how attempts on the endpoints of one service begin and end, into the
// observations of each endpoint. Takes no lock and judges nobody. Thread-safe.
class AttemptLedger {
 public:
  // Unanswered attempts that are evidence of silence by their number alone.
  static constexpr int32_t kManySilent = 5;

  // 256 * log2(nanoseconds), the fraction by linear interpolation.
  static uint32_t LogOf(int64_t nanoseconds) {
    if (ABSL_PREDICT_FALSE(nanoseconds < 256)) nanoseconds = 256;
    const int exponent = 63 - __builtin_clzll(nanoseconds);
    return static_cast<uint32_t>(exponent) << 8 |
           (static_cast<uint32_t>(nanoseconds >> (exponent - 8)) & 0xff);
  }

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
    // The first or second since the last answer; or the first that runs now,
    // when there were but a few before it.
    if (silent <= 1 ||
        (silent < kManySilent &&
         (static_cast<uint32_t>(begun -
                                seen->ended.load(std::memory_order_relaxed)) &
          cluster::EndpointObservations::kEndedMask) == 0)) {
      silence.quiet_since.store(base::ToNanos(now), std::memory_order_relaxed);
    }
  }

  // A server has answered a unary attempt, and its latency counts.
  void OnAnswer(cluster::EndpointObservations* seen, int64_t nanoseconds,
                absl::Time now) {
    // What is very slow counts as somewhat slow: a few such are no evidence.
    const uint32_t log = CappedLogOf(nanoseconds);
    seen->ended.fetch_add(
        uint64_t{log} << cluster::EndpointObservations::kEndedBits | 1,
        std::memory_order_release);
    const uint32_t begun = seen->silence.begun.load(std::memory_order_relaxed);
    seen->silence.accounted.store(begun, std::memory_order_relaxed);
    if (ABSL_PREDICT_FALSE(nanoseconds >
                           slowest_.load(std::memory_order_relaxed))) {
      slowest_.store(nanoseconds, std::memory_order_relaxed);
    }
    if (((begun * 0x9e3779b1u >> 20) &
         sample_mask_.load(std::memory_order_relaxed)) == 0) {
      latencies_.Record(absl::Nanoseconds(nanoseconds), now);
    }
  }

  // Any end of an attempt: counted, and what it says. `in_use`: calls use the
  // endpoint, so that the latency counts.
  Finding OnEnd(cluster::EndpointObservations* seen,
                const AttemptResult& result, bool in_use, absl::Time now);
  // Goes on with the row of failures, or ends it. Returns what it was before.
  // `suspect`: the endpoint is, so that its timeouts say nothing new.
  uint64_t CountRow(cluster::EndpointObservations* seen, const Finding& finding,
                    bool suspect) const;

  // A tenth of the service's unary calls of the last ten seconds or so were
  // answered within this; zero while unknown.
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

  // By whoever knows what is usual (UsualLatency). `mask`: one in so many
  // answers, plus one, is sampled; a power of two less one.
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
  // A latency counts as no more than this.
  void set_most_latency(int64_t nanoseconds) {
    most_log_.store(LogOf(nanoseconds), std::memory_order_relaxed);
  }

 private:
  uint32_t CappedLogOf(int64_t nanoseconds) const {
    return std::min(LogOf(nanoseconds),
                    most_log_.load(std::memory_order_relaxed));
  }
  // Counts the end of a unary attempt that is no answer of an endpoint in use.
  void EndUnanswered(cluster::EndpointObservations* seen, bool in_use,
                     const Finding& finding);

  std::atomic<uint32_t> most_log_{~0u};
  std::atomic<uint32_t> sample_mask_{0};
  std::atomic<int64_t> slowest_{0};
  std::atomic<int64_t> telling_age_{kNever};
  std::atomic<int64_t> p10_latency_{0};  // Read by retries.
  LatencyTracker latencies_;
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_LEDGER_H_
