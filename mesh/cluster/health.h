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
  kNewConnection,  // -> kRamping
  kRamped,         // -> kHealthy
};
inline constexpr int kHealthCauses = 12;
// As in metrics: "consecutive_failures".
absl::string_view NameOf(HealthCause cause);

// Counted of an endpoint's attempts for whoever judges it. Each field by
// itself is exact; a reader sees no single moment.
struct EndpointObservations {
  // Unary attempts that run. (Streams may be silent for long and well.)
  std::atomic<int32_t> awaiting{0};
  // Nanoseconds of the monotonic clock: when a unary attempt was last
  // answered, or, later than that, began while no other ran.
  std::atomic<int64_t> quiet_since{0};

  // Attempts whose latency counts, and the sum of 256 * log2(nanoseconds): its
  // mean is that of a typical attempt, however far the slowest are out. An
  // attempt that was given up unanswered counts with the time until then.
  std::atomic<uint32_t> timed{0};
  std::atomic<uint64_t> log_latency{0};

  // Attempts that ended, modulo 2^32.
  std::atomic<uint32_t> successes{0};
  std::atomic<uint32_t> failures{0};        // That a server answered.
  std::atomic<uint32_t> local_failures{0};  // Not connected, reset, timed out.

  // In a row, up to now.
  std::atomic<uint32_t> consecutive_failures{0};
  std::atomic<uint32_t> consecutive_gateway_failures{0};
  std::atomic<uint32_t> consecutive_local_failures{0};
};

}  // namespace mesh::cluster

#endif  // MESH_CLUSTER_HEALTH_H_
