#ifndef MESH_RESILIENCE_HEALTH_RECORD_H_
#define MESH_RESILIENCE_HEALTH_RECORD_H_

#include <array>
#include <cstddef>
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
  int64_t since = 0;  // When `doublings` last changed, or was last of use.
};

// Counts of an endpoint at the last look.
struct LookedAt {
  uint32_t ended = 0;
  uint32_t streams_ended = 0;
  uint32_t failures = 0;  // Those of connections, too.
  uint32_t discounted = 0;
};

class MethodPace;

// The method of slow calls on an endpoint, and how long those took.
struct SlowMethod {
  void Add(const MethodPace* method, double log_latency) {
    if (method != pace) *this = SlowMethod();
    pace = method;
    log += (log_latency - log) / ++calls;
  }

  const MethodPace* pace = nullptr;  // Null: not known.
  double log = 0;                    // Mean log2 of nanoseconds.
  int calls = 0;
};

// Why an endpoint is put on trial (doubt.h).
enum class Doubt : uint8_t { kRow, kFailures, kSlowness };
inline constexpr size_t kDoubts = 3;

// What is held against an endpoint.
struct DoubtMemory {
  // A doubt that came to nothing rests until so many attempts have ended.
  struct Rest {
    uint32_t until = 0;
    uint32_t calls = 0;  // For how many. 0: it does not rest, and has not.
    int doublings = 0;
  };
  Rest& rest(Doubt doubt) { return rests[static_cast<size_t>(doubt)]; }
  const Rest& rest(Doubt doubt) const {
    return rests[static_cast<size_t>(doubt)];
  }

  // Log-likelihoods, never negative, and the attempts that had ended when they
  // last changed.
  double failures = 0;
  double slowness = 0;
  uint32_t failures_at = 0;
  uint32_t slowness_at = 0;
  int64_t slow_since = 0;  // When `slowness` was last 0.
  std::array<Rest, kDoubts> rests;
  // Recent attempts, and failures among them.
  double total = 0;
  double failed = 0;
};

// What a health monitor remembers of an endpoint from one look to the next, in
// that endpoint's slot. Guarded by the monitor's lock.
struct HealthRecord final : cluster::HealthMemory {
  using Health = cluster::Health;
  using HealthCause = cluster::HealthCause;

  Health health = Health::kHealthy;          // The endpoint's own.
  HealthCause cause = HealthCause::kRamped;  // Why it left kHealthy.
  int64_t since = 0;                         // In this state.
  int64_t ramp_began = 0;                    // 0: it does not ramp.
  int64_t until = 0;                         // kEjected: its end.
  int64_t returned = 0;  // When its last ejection was to end.
  int ejections = 0;     // They make the next one longer.
  SlowMethod slow_for;   // kLatency: the method that it was ejected for.
  // When a failure of a connection last counted; or 0.
  int64_t connection_failed = 0;
  // When a new connection last ended an ejection for local failures; or 0.
  int64_t reconnected = 0;

  // In mode observe: when its ejection would end, or whether it would be
  // suspect.
  int64_t observed_until = 0;
  bool observed_suspect = false;

  // For kSuspect.
  bool probe_sent = false;  // It is not answered.
  int64_t next_probe = 0;
  int64_t probed = 0;   // When a probe was last sent.
  int64_t silence = 0;  // How long a silence was too long, if many waited.
  SilencePatience patience;

  // For kProbing: calls that went well, and calls that were slow; and when the
  // one under way was first seen, or 0.
  int good = 0;
  int slow = 0;
  // The chance that as many calls elsewhere as ran into deadlines here, since
  // it was silent and last ramped, would all have failed.
  double by_chance = 1;
  int64_t claimed = 0;
  uint32_t streams_begun = 0;  // When the place was last free.

  LookedAt looked_at;
  DoubtMemory doubts;
};

// The record of an endpoint; the first to ask makes it. Under the lock of the
// endpoint's monitor.
inline HealthRecord& RecordOf(cluster::LiveEndpoint* endpoint) {
  std::unique_ptr<cluster::HealthMemory>& slot = endpoint->health_memory();
  if (slot == nullptr) slot = std::make_unique<HealthRecord>();
  // Nothing else is ever in that slot.
  return static_cast<HealthRecord&>(*slot);
}

inline bool IsSilence(cluster::HealthCause cause) {
  return cause == cluster::HealthCause::kSilence;
}

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_RECORD_H_
