#ifndef MESH_RESILIENCE_HEALTH_RECORD_H_
#define MESH_RESILIENCE_HEALTH_RECORD_H_

#include <cstdint>
#include <limits>
#include <memory>

#include "absl/time/time.h"
#include "mesh/cluster/health.h"
#include "mesh/cluster/live_endpoint.h"

namespace mesh::resilience {

// Times of this room are nanoseconds of the monotonic clock.
inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
inline constexpr int64_t kMillisecond = 1'000'000;
inline constexpr int64_t kSecond = 1000 * kMillisecond;

inline int64_t Nanos(absl::Duration duration) {
  return absl::ToInt64Nanoseconds(duration);
}

// How much longer than others an endpoint may be silent, learnt from false
// alarms (silence.h).
struct SilencePatience {
  int doublings = 0;  // Its silence may be 2^this times as long.
  int64_t since = 0;  // When that last changed, or was last of use.
};

// Counts of an endpoint at the last look.
struct LookedAt {
  uint64_t ended = 0;
  uint32_t untimed = 0;
  uint32_t streams_ended = 0;
  uint32_t failures = 0;  // Local ones too.
  uint32_t discounted = 0;
};

// What the comparisons with the peers remember of an endpoint (comparisons.h).
struct Compared {
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

  // So many more, which together took so long.
  void AddTimed(uint32_t answers, double log) {
    timed += answers;
    log_latency += log;
  }
  void ForgetSlowness() {
    timed = 0;
    log_latency = 0;
    slow_evidence = 0;
  }
};

// What a health monitor remembers of an endpoint from one look to the next, in
// that endpoint's slot. Guarded by the monitor's lock.
struct HealthRecord final : cluster::HealthMemory {
  using Health = cluster::Health;
  using HealthCause = cluster::HealthCause;

  Health health = Health::kHealthy;          // The endpoint's own.
  HealthCause cause = HealthCause::kRamped;  // Why it left kHealthy.
  int64_t since = 0;                         // In this state.
  int64_t until = 0;                         // kEjected: its end.
  int64_t returned = 0;                      // When it was last ejected till.
  int ejections = 0;                         // The next one is longer by them.
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
  SilencePatience patience;

  // kProbing: calls that went well, and that were slow; and when the one under
  // way was first seen, or 0.
  int good = 0;
  int slow = 0;
  int64_t claimed = 0;
  uint32_t streams_begun = 0;  // When the place was last free.

  LookedAt looked_at;
  Compared compared;
};

// The record of an endpoint; the first to ask makes it. Under the lock of the
// endpoint's monitor.
inline HealthRecord& RecordOf(cluster::LiveEndpoint* endpoint) {
  std::unique_ptr<cluster::HealthMemory>& slot = endpoint->health_memory();
  if (slot == nullptr) slot = std::make_unique<HealthRecord>();
  // Nothing else is ever in that slot.
  return static_cast<HealthRecord&>(*slot);
}

// In no use by calls, but for a probe.
inline bool IsOut(cluster::Health health) {
  using cluster::Health;
  return health == Health::kSuspect || health == Health::kEjected ||
         health == Health::kProbing;
}

inline bool IsSilence(cluster::HealthCause cause) {
  return cause == cluster::HealthCause::kSilence;
}

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_RECORD_H_
