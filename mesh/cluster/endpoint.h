#ifndef MESH_CLUSTER_ENDPOINT_H_
#define MESH_CLUSTER_ENDPOINT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace mesh::cluster {

// Where an endpoint stands, from the widest to the narrowest. Empty parts are
// unknown.
struct Locality {
  std::string region;
  std::string zone;
  std::string sub_zone;

  bool operator==(const Locality& other) const {
    return region == other.region && zone == other.zone &&
           sub_zone == other.sub_zone;
  }
};

// One backend as discovery described it. A value: copy it, compare it, replace
// it; never change it in place.
struct Endpoint {
  std::string address;  // "10.0.0.7:443", "[::1]:80", "unix:/run/cart.sock".
                        // Unique within an EndpointSet.
  Locality locality;
  uint32_t priority = 0;  // 0 is used first. Later ones only when it is down.
  uint32_t weight = 1;    // Relative share of traffic. Never 0.
  std::string authority;  // Overrides the service's :authority and TLS server
                          // name for this endpoint. Empty: the service's.
  std::map<std::string, std::string> metadata;

  bool operator==(const Endpoint& other) const {
    return address == other.address && locality == other.locality &&
           priority == other.priority && weight == other.weight &&
           authority == other.authority && metadata == other.metadata;
  }
  bool operator!=(const Endpoint& other) const { return !(*this == other); }
};

// What a resolver says at one moment. Immutable once shared. Never holds two
// endpoints of one address.
struct EndpointSet {
  std::vector<Endpoint> endpoints;

  bool operator==(const EndpointSet& other) const {
    return endpoints == other.endpoints;
  }
};
using EndpointSetPtr = std::shared_ptr<const EndpointSet>;

}  // namespace mesh::cluster

#endif  // MESH_CLUSTER_ENDPOINT_H_
