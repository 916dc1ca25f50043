#include "mesh/cluster/health.h"

namespace mesh::cluster {

absl::string_view NameOf(Health health) {
  switch (health) {
    case Health::kHealthy:
      return "healthy";
    case Health::kSuspect:
      return "suspect";
    case Health::kEjected:
      return "ejected";
    case Health::kProbing:
      return "probing";
    case Health::kRamping:
      return "ramping";
    case Health::kTrial:
      return "trial";
  }
  return "unknown";
}

absl::string_view NameOf(HealthCause cause) {
  switch (cause) {
    case HealthCause::kFailuresInARow:
      return "failures_in_a_row";
    case HealthCause::kFailureRate:
      return "failure_rate";
    case HealthCause::kSlowAnswers:
      return "slow_answers";
    case HealthCause::kFailures:
      return "failures";
    case HealthCause::kLatency:
      return "latency";
    case HealthCause::kAcquitted:
      return "acquitted";
    case HealthCause::kConsecutiveLocalFailures:
      return "consecutive_local_failures";
    case HealthCause::kSilence:
      return "silence";
    case HealthCause::kEjectionOver:
      return "ejection_over";
    case HealthCause::kProbeAnswered:
      return "probe_answered";
    case HealthCause::kProbeFailed:
      return "probe_failed";
    case HealthCause::kNewConnection:
      return "new_connection";
    case HealthCause::kRamped:
      return "ramped";
    case HealthCause::kDraining:
      return "draining";
  }
  return "unknown";
}

}  // namespace mesh::cluster
