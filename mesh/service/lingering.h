#ifndef MESH_SERVICE_LINGERING_H_
#define MESH_SERVICE_LINGERING_H_

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mesh/cluster/endpoint.h"
#include "mesh/cluster/membership.h"

namespace mesh::service {

// Which endpoints stay in use while their name has no addresses. A name server
// says so about a headless service whose servers are all unready for a moment.
// It also says so about a zone that was lost. A server that answers is a better
// witness.
//
// So an endpoint that is connected and answers stays for as long as it does.
// One that is neither goes. It goes at once where the empty answer has been
// doubted already, and otherwise once it has been neither for Standing().
//
// Pure: time comes in with each call. Not thread-safe.
class Lingering {
 public:
  static constexpr absl::Duration Standing() { return absl::Seconds(10); }
  // How often to call Look() while there is something to look at.
  static constexpr absl::Duration Every() { return absl::Seconds(1); }

  // The name has no addresses, and that is believed. Changes nothing while it
  // was so before. Returns the `members` that stay.
  cluster::EndpointSet Begin(const std::vector<cluster::Member>& members,
                             absl::Time now);
  // The same later on. Only while active().
  cluster::EndpointSet Look(const std::vector<cluster::Member>& members,
                            absl::Time now);
  // The name has addresses again, or is no longer asked for.
  void End();

  bool active() const { return active_; }

 private:
  bool active_ = false;
  // When each endpoint that stays was last connected and answered. By address.
  std::map<std::string, absl::Time> seen_;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_LINGERING_H_
