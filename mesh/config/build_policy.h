#ifndef MESH_CONFIG_BUILD_POLICY_H_
#define MESH_CONFIG_BUILD_POLICY_H_

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mesh/config/checks.h"
#include "mesh/config/fields.h"
#include "mesh/config/service_config.h"
#include "mesh/options/service.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {

// Builds the policies of the methods of one service.
class PolicyBuilder final : private Checks {
 public:
  using Checks::Checks;

  // Merges the policies of a service. From the narrowest to the widest:
  // `methods` (exact, then "*"), `policy`, the gRPC service config, defaults.
  void BuildPolicies(const v1::Service& service, const std::string& path,
                     options::ServiceOptions* options);

 private:
  // A policy and where it is written.
  struct Layer {
    const v1::MethodPolicy* policy;
    std::string path;
  };

  // Whether what a policy says does anything for any method.
  struct Use {
    bool any = false;
    std::string why_not;  // For the first method for which it does nothing.
  };

  GrpcServiceConfig BuildGrpcServiceConfig(const v1::Service& service,
                                           const std::string& path);
  // The policy of the methods of `pattern`; empty for all others.
  options::MethodOptions Merge(const std::string& pattern,
                               const std::vector<Layer>& layers,
                               const GrpcMethodConfig* grpc);

  // What is written in one policy, whatever others say.
  void CheckLayer(const Layer& layer);

  // The policy of a method, or of all others, as it is in force.
  void CheckPolicy(const std::string& pattern,
                   const options::MethodOptions& options, const Given& given);

  // What a policy says may do nothing for one of the methods that it is for:
  // another takes it back there. Only when it does nothing for any of them it
  // is an error. Notes one method's part of that; `path` is empty when the
  // field was not given.
  void Judge(const std::string& path, bool useless, absl::string_view why);

  void ReportUseless();

  void CheckCodes(const v1::MethodPolicy& policy, const std::string& path);

  // False, and a problem, if `name` is not that of a failure.
  bool CheckCode(const std::string& name, const std::string& path,
                 bool may_be_cancelled);

  std::map<std::string, Use> uses_;  // By path.
};

}  // namespace mesh::config

#endif  // MESH_CONFIG_BUILD_POLICY_H_
