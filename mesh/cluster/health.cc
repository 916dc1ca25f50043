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
  }
  return "unknown";
}

absl::string_view NameOf(HealthCause cause) {
  switch (cause) {
    case HealthCause::kConsecutiveFailures:
      return "consecutive_failures";
    case HealthCause::kConsecutiveGatewayFailures:
      return "consecutive_gateway_failures";
    case HealthCause::kConsecutiveLocalFailures:
      return "consecutive_local_failures";
    case HealthCause::kSuccessRate:
      return "success_rate";
    case HealthCause::kFailurePercentage:
      return "failure_percentage";
    case HealthCause::kLatency:
      return "latency";
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
