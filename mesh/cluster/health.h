#ifndef MESH_CLUSTER_HEALTH_H_
#define MESH_CLUSTER_HEALTH_H_

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
  // In use. It is on trial: a coin decides whether it gets a first attempt that
  // was to go there.
  kTrial,
};
inline constexpr int kHealths = 6;
// Calls do not use it, except as a probe: others are to take its load.
constexpr bool IsOut(Health health) {
  return health == Health::kSuspect || health == Health::kEjected ||
         health == Health::kProbing;
}
// As in metrics: "healthy".
absl::string_view NameOf(Health health);

// Why the health has changed.
enum class HealthCause : uint8_t {
  // Doubts, -> kTrial.
  kFailuresInARow,
  kFailureRate,
  kSlowAnswers,
  // What a trial has shown.
  kFailures,   // -> kEjected
  kLatency,    // -> kEjected
  kAcquitted,  // -> kHealthy or kRamping
  // What needs no trial.
  kConsecutiveLocalFailures,  // -> kEjected: its connections failed.
  kSilence,                   // -> kSuspect
  kEjectionOver,              // -> kProbing
  kProbeAnswered,             // -> kRamping
  kProbeFailed,               // -> kEjected or kSuspect
  // -> kRamping; or kProbing, if another new one helped nothing before.
  kNewConnection,
  kRamped,    // -> kHealthy
  kDraining,  // -> kEjected: the server said that it will shut down.
};
inline constexpr int kHealthCauses = 14;
// As in metrics: "probe_failed".
absl::string_view NameOf(HealthCause cause);

}  // namespace mesh::cluster

#endif  // MESH_CLUSTER_HEALTH_H_
