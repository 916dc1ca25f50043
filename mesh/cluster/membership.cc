#include "mesh/cluster/membership.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace mesh::cluster {

Membership::Change Membership::Update(const EndpointSet& set,
                                      const Factory& make) {
  // What the set describes and no member is yet.
  std::unordered_map<std::string_view, const Endpoint*> described;
  described.reserve(set.endpoints.size());
  for (const Endpoint& endpoint : set.endpoints) {
    described.emplace(endpoint.address, &endpoint);
  }

  Change change;
  std::vector<Member> next;
  next.reserve(described.size());
  for (const Member& member : members_) {
    const Endpoint& before = member.live->endpoint();
    const auto it = described.find(before.address);
    if (it == described.end() ||
        it->second->authority() != before.authority()) {
      change.removed.push_back(member.live);
      continue;
    }
    const Endpoint& now = *it->second;
    member.live->set_priority(now.priority);
    next.push_back({member.live, std::max(now.weight, 1u), now.priority});
    described.erase(it);
  }
  for (const Endpoint& endpoint : set.endpoints) {
    const auto it = described.find(endpoint.address);
    if (it == described.end() || it->second != &endpoint) continue;
    LiveEndpointPtr live = make(endpoint);
    change.added.push_back(live);
    next.push_back(
        {std::move(live), std::max(endpoint.weight, 1u), endpoint.priority});
  }
  change.changed = next != members_;
  members_ = std::move(next);
  return change;
}

void Membership::Replace(const LiveEndpoint* before, LiveEndpointPtr live) {
  for (Member& member : members_) {
    if (member.live.get() != before) continue;
    live->set_priority(member.priority);
    member.live.swap(live);
    return;
  }
}

}  // namespace mesh::cluster
