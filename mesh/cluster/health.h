#ifndef MESH_CLUSTER_HEALTH_H_
#define MESH_CLUSTER_HEALTH_H_

#include <atomic>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace mesh::cluster {

// What passive health checking thinks of an endpoint, whatever its connection
// says.
enum class Health : uint8_t {
  kHealthy,
  kSuspect,  // Connected and silent. A probe has been sent.
  kEjected,  // Out of use until its ejection is over.
  kProbing,  // Its ejection is over: one call at a time (half-open).
  kRamping,  // Back, with a share that grows.
};
inline constexpr int kHealths = 5;
// As in metrics: "healthy".
absl::string_view NameOf(Health health);

// Why it has changed.
enum class HealthCause : uint8_t {
  kConsecutiveFailures,
  kConsecutiveGatewayFailures,
  kConsecutiveLocalFailures,
  kSuccessRate,
  kFailurePercentage,
  kLatency,
  kSilence,        // -> kSuspect
  kEjectionOver,   // -> kProbing
  kProbeAnswered,  // -> kRamping
  kProbeFailed,    // -> kEjected or kSuspect
  kNewConnection,  // -> kRamping, or kProbing after one in vain.
  kRamped,         // -> kHealthy
  kDraining,       // -> kEjected: it said so itself.
};
inline constexpr int kHealthCauses = 13;
// As in metrics: "consecutive_failures".
absl::string_view NameOf(HealthCause cause);

// Counted of an endpoint's attempts for whoever judges it, without a lock. All
// counts are modulo their width. Each field by itself is exact; a reader sees
// no single moment. On one cache line.
struct EndpointObservations {
  // Unary attempts begun. (Streams may be silent for long and well.)
  std::atomic<uint32_t> begun{0};
  // What `begun` was when a unary attempt was last answered, and one more for
  // each begun since whose silence says nothing. So `begun` less this, unless
  // negative, have begun since the last answer and were not answered.
  std::atomic<uint32_t> accounted{0};
  // Nanoseconds of the monotonic clock: when the second of those began (the
  // first may be a call that takes long).
  std::atomic<int64_t> quiet_since{0};
  // Unary attempts that ended, in the low kEndedBits; above it the sum of
  // 256 * log2(nanoseconds) of those whose latency counts. Written with
  // release order, after `untimed`.
  static constexpr int kEndedBits = 24;
  std::atomic<uint64_t> ended{0};
  std::atomic<uint32_t> untimed{0};  // Of those, without a latency.
  std::atomic<uint32_t> streams_ended{0};
  // Of all that ended: failures that a server answered; that came about on
  // this side; and attempts that say nothing (given up, never sent).
  std::atomic<uint32_t> failures{0};
  std::atomic<uint32_t> local_failures{0};
  std::atomic<uint32_t> discounted{0};
  std::atomic<uint32_t> streams_begun{0};
  // Failures in a row, up to now, 16 bits each: those that a server answered,
  // those of them that say that it was not reached, and local ones. 0 while
  // all is well.
  static constexpr int kGatewayShift = 16;
  static constexpr int kLocalShift = 32;
  std::atomic<uint64_t> consecutive{0};

  // Unary attempts that run.
  uint32_t awaiting() const {
    const uint64_t ended_before = ended.load(std::memory_order_relaxed);
    return static_cast<uint32_t>(begun.load(std::memory_order_relaxed) -
                                 ended_before) &
           ((1u << kEndedBits) - 1);
  }
};

// What a health monitor remembers of an endpoint from one look to the next.
// Guarded by the monitor's lock. Times are nanoseconds of the monotonic clock.
struct HealthRecord {
  Health health = Health::kHealthy;  // As the endpoint's own, but in panic.
  HealthCause cause = HealthCause::kRamped;  // Of leaving kHealthy.
  int64_t since = 0;                         // In this state.
  int64_t until = 0;                         // kEjected: its end.
  int64_t returned = 0;                      // When it was last ejected till.
  int ejections = 0;                         // That the next one is longer by.
  double ejected_log = 0;  // kLatency: log2 of its latency when it was ejected.
  // When a new connection last ended an ejection for local failures; or 0.
  int64_t reconnected = 0;

  // Observed only: would be ejected until then, or suspect.
  int64_t observed_until = 0;
  bool observed_suspect = false;

  // kSuspect.
  bool probe_sent = false;  // And not answered.
  int64_t next_probe = 0;
  int64_t probed = 0;   // When a probe was last sent.
  int64_t silence = 0;  // So long was too long, if many waited.
  int patience = 0;     // Its silence may be 2^this times as long.
  int64_t patience_since = 0;
  // kProbing: calls that went well, and that were slow; and when the one under
  // way was first seen, or 0.
  int good = 0;
  int slow = 0;
  int64_t claimed = 0;
  uint32_t streams_begun = 0;  // When the place was last free.

  // Counts at the last look.
  uint64_t ended = 0;
  uint32_t untimed = 0;
  uint32_t streams_ended = 0;
  uint32_t failures = 0;  // Local ones too.
  uint32_t discounted = 0;
  // Since the last comparison of latencies: how many and their sum, in log2 of
  // nanoseconds.
  uint32_t timed = 0;
  double log_latency = 0;
  // What they were at that comparison.
  uint32_t last_timed = 0;
  double last_latency = 0;
  // Evidence that it is slower than its peers: since when, of how many
  // attempts, what they add up to; their latency and that of the peers then.
  int64_t slow_since = 0;
  uint32_t slow_attempts = 0;
  double slow_evidence = 0;
  double slow_log = 0;
  double slow_reference = 0;
  // Since the last comparison of success rates.
  uint32_t total = 0;
  uint32_t failed = 0;
};

}  // namespace mesh::cluster

#endif  // MESH_CLUSTER_HEALTH_H_
