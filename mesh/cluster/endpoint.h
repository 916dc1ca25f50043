#ifndef MESH_CLUSTER_ENDPOINT_H_
#define MESH_CLUSTER_ENDPOINT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
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

// What discovery says about an endpoint, and about few of them. A value.
struct EndpointDetails {
  Locality locality;
  // Overrides the service's :authority and TLS server name for this endpoint.
  // Empty: the service's.
  std::string authority;
  std::map<std::string, std::string> metadata;

  bool operator==(const EndpointDetails& other) const {
    return locality == other.locality && authority == other.authority &&
           metadata == other.metadata;
  }
};

// One backend as discovery described it. A value: copy it, compare it, replace
// it; never change it in place. It is small, since a service may have tens of
// thousands of them.
struct Endpoint {
  // "10.0.0.7:443", "[::1]:80", "unix:/run/cart.sock". Unique within an
  // EndpointSet.
  std::string address;
  uint32_t priority = 0;  // 0 is used first, the next one when 0 is down.
  uint32_t weight = 1;    // Relative share of traffic. Never 0.
  // Null: all of it is empty. Copies of an endpoint share it.
  std::shared_ptr<const EndpointDetails> details;

  const Locality& locality() const { return DetailsOrNone().locality; }
  const std::string& authority() const { return DetailsOrNone().authority; }
  const std::map<std::string, std::string>& metadata() const {
    return DetailsOrNone().metadata;
  }

  bool operator==(const Endpoint& other) const {
    return address == other.address && priority == other.priority &&
           weight == other.weight &&
           (details == other.details ||
            DetailsOrNone() == other.DetailsOrNone());
  }
  bool operator!=(const Endpoint& other) const { return !(*this == other); }

 private:
  const EndpointDetails& DetailsOrNone() const {
    static const auto* const none = new EndpointDetails;
    return details != nullptr ? *details : *none;
  }
};

// What a resolver says at one moment. Immutable once shared. Never holds two
// endpoints with one address.
struct EndpointSet {
  std::vector<Endpoint> endpoints;

  bool operator==(const EndpointSet& other) const {
    return endpoints == other.endpoints;
  }
};
using EndpointSetPtr = std::shared_ptr<const EndpointSet>;

// For absl::HashOf(): equal sets have equal hashes within one process.
template <typename H>
H AbslHashValue(H state, const Locality& locality) {
  return H::combine(std::move(state), locality.region, locality.zone,
                    locality.sub_zone);
}
template <typename H>
H AbslHashValue(H state, const Endpoint& endpoint) {
  return H::combine(std::move(state), endpoint.address, endpoint.priority,
                    endpoint.weight, endpoint.locality(), endpoint.authority(),
                    endpoint.metadata());
}
template <typename H>
H AbslHashValue(H state, const EndpointSet& set) {
  return H::combine(std::move(state), set.endpoints);
}

}  // namespace mesh::cluster

#endif  // MESH_CLUSTER_ENDPOINT_H_
