#include "mesh/service/connection_plan.h"

#include <algorithm>

namespace mesh::service {

using cluster::Readiness;

ConnectionPlan PlanConnections(absl::Span<const EndpointState> endpoints,
                               absl::Span<const RetiredState> retired,
                               const options::ConnectionOptions& options,
                               bool wanted, absl::Time now) {
  ConnectionPlan plan;
  const int target = std::max(options.ahead, wanted ? 1 : 0);
  int usable = 0;
  for (const EndpointState& endpoint : endpoints) {
    if (endpoint.readiness == Readiness::kReady ||
        endpoint.readiness == Readiness::kConnecting) {
      ++usable;
    }
  }
  for (size_t i = 0; i < endpoints.size() && usable < target; ++i) {
    if (endpoints[i].readiness != Readiness::kIdle) continue;
    plan.dial.push_back(i);
    ++usable;
  }
  for (size_t i = 0; i < retired.size(); ++i) {
    if (retired[i].drained) {
      plan.close.push_back(i);
    } else if (now >= retired[i].cut_off_at) {
      plan.cut_off.push_back(i);
    }
  }
  return plan;
}

}  // namespace mesh::service
