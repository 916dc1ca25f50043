#include "mesh/service/lingering.h"

#include <utility>

#include "mesh/cluster/health.h"
#include "mesh/cluster/live_endpoint.h"

namespace mesh::service {
namespace {

// Connected, and not silent.
bool Answers(const cluster::LiveEndpoint& endpoint) {
  return endpoint.readiness() == cluster::Readiness::kReady &&
         endpoint.health() != cluster::Health::kSuspect;
}

}  // namespace

cluster::EndpointSet Lingering::Begin(
    const std::vector<cluster::Member>& members, absl::Time now) {
  if (!std::exchange(active_, true)) {
    seen_.clear();
    for (const cluster::Member& member : members) {
      if (Answers(*member.live)) {
        seen_[member.live->endpoint().address] = now;
      }
    }
  }
  return Look(members, now);
}

cluster::EndpointSet Lingering::Look(
    const std::vector<cluster::Member>& members, absl::Time now) {
  cluster::EndpointSet stays;
  for (const cluster::Member& member : members) {
    const auto seen = seen_.find(member.live->endpoint().address);
    if (seen == seen_.end()) continue;
    if (Answers(*member.live)) seen->second = now;
    if (now - seen->second < Standing()) {
      stays.endpoints.push_back(member.live->endpoint());
    } else {
      seen_.erase(seen);
    }
  }
  return stays;
}

void Lingering::End() {
  active_ = false;
  seen_.clear();
}

}  // namespace mesh::service
