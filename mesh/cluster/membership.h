#ifndef MESH_CLUSTER_MEMBERSHIP_H_
#define MESH_CLUSTER_MEMBERSHIP_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "mesh/cluster/endpoint.h"
#include "mesh/cluster/live_endpoint.h"

namespace mesh::cluster {

// An endpoint that calls may use now: its live state, and what the latest
// description says about it.
struct Member {
  LiveEndpointPtr live;
  uint32_t weight = 1;  // Never 0.
  uint32_t priority = 0;

  bool operator==(const Member& other) const {
    return live == other.live && weight == other.weight &&
           priority == other.priority;
  }
};

// Keeps the live state of endpoints from one EndpointSet to the next. An
// address that stays keeps its LiveEndpoint, and so its connection and its
// counts. Pure: the caller makes what is added, and closes and drains what is
// removed. Control thread only.
class Membership {
 public:
  using Factory = std::function<LiveEndpointPtr(const Endpoint&)>;

  struct Change {
    // The endpoints that are new in `members()`, and those that are no longer
    // there.
    std::vector<LiveEndpointPtr> added;
    std::vector<LiveEndpointPtr> removed;
    // Whether anything in members() differs, be it a weight.
    bool changed = false;
  };

  // Makes `members()` what `set` describes. Those that stay keep their order,
  // whatever that of `set`; new ones follow in the order of `set`.
  //
  // An endpoint whose authority changed is another one, since its connection
  // is: the old one is removed and a new one added. The same holds for an
  // address that an earlier update removed and that comes back, even while the
  // old one drains. If several endpoints have one address, the first counts.
  // `make` is called for each endpoint in `added`, and never returns null.
  Change Update(const EndpointSet& set, const Factory& make);

  const std::vector<Member>& members() const { return members_; }

  // `live` takes the place of `before`, a member, with its weight and priority.
  void Replace(const LiveEndpoint* before, LiveEndpointPtr live);

 private:
  std::vector<Member> members_;
};

}  // namespace mesh::cluster

#endif  // MESH_CLUSTER_MEMBERSHIP_H_
