#ifndef MESH_CONFIG_BUILD_ENDPOINTS_H_
#define MESH_CONFIG_BUILD_ENDPOINTS_H_

#include <string>

#include "google/protobuf/repeated_field.h"
#include "mesh/cluster/endpoint.h"
#include "mesh/config/checks.h"
#include "mesh/options/service.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {

// Builds where the endpoints of a service come from.
class EndpointsBuilder final : private Checks {
 public:
  using Checks::Checks;

  // Exactly one source, at `path` of a service.
  void BuildSource(const v1::Service& service, const std::string& path,
                   options::ServiceOptions* options);
  // A list of endpoints, each address once.
  cluster::EndpointSetPtr Endpoints(
      const google::protobuf::RepeatedPtrField<v1::Endpoint>& list,
      const std::string& path);

 private:
  cluster::Endpoint BuildEndpoint(const v1::Endpoint& endpoint,
                                  const std::string& path);
  options::EndpointsFileOptions BuildEndpointsFile(
      const v1::EndpointsFile& file);
  options::DnsOptions BuildDns(const v1::Dns& dns, const std::string& path);
};

}  // namespace mesh::config

#endif  // MESH_CONFIG_BUILD_ENDPOINTS_H_
