#include "mesh/resilience/health_monitor.h"

#include <limits>

namespace mesh::resilience {

HealthMonitor::HealthMonitor(const config::GuardOptions&, RetryBudget*, Host*)
    : next_tick_(std::numeric_limits<int64_t>::max()) {}
HealthMonitor::~HealthMonitor() = default;
void HealthMonitor::SetOptions(const config::GuardOptions&) {}
void HealthMonitor::OnAttemptStart(cluster::LiveEndpoint*, bool, absl::Time) {}
void HealthMonitor::OnAttemptEnd(cluster::LiveEndpoint*, const AttemptResult&,
                                 absl::Time) {}
void HealthMonitor::Tick(absl::Span<const cluster::LiveEndpointPtr>, absl::Time,
                         base::Random*) {}
void HealthMonitor::OnProbeDone(cluster::LiveEndpoint*, bool, absl::Time) {}
void HealthMonitor::OnConnected(cluster::LiveEndpoint*, absl::Time) {}

}  // namespace mesh::resilience
