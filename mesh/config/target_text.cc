#include "mesh/config/target_text.h"

#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "mesh/config/defaults.h"
#include "mesh/config/loader.h"
#include "mesh/config/printer.h"
#include "mesh/config/target.h"
#include "mesh/config/text.h"
#include "mesh/options/service.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {
namespace {

// All that a target says: where the endpoints are, and the authority.
v1::Service ServiceOf(const options::TargetOptions& options) {
  v1::Service service;
  service.set_authority(options.authority);
  if (const auto* dns = std::get_if<options::DnsOptions>(&options.source)) {
    service.mutable_dns()->set_name(dns->name);
    service.mutable_dns()->set_port(dns->port);
    for (const std::string& server : dns->servers) {
      service.mutable_dns()->add_servers(server);
    }
  } else {
    const auto& set = std::get<cluster::EndpointSetPtr>(options.source);
    for (const cluster::Endpoint& endpoint : set->endpoints) {
      service.add_endpoints()->set_address(endpoint.address);
    }
  }
  return service;
}

// Adds the service, or says why it can't.
absl::Status Add(const std::string& name, const std::string& target,
                 v1::Config* config) {
  const absl::StatusOr<options::TargetOptions> options = ParseTarget(target);
  if (!options.ok()) return options.status();
  v1::Config alone;
  (*alone.mutable_services())[name] = ServiceOf(*options);
  const absl::Status status = FromProto(alone).status();
  if (!status.ok()) return status;
  config->MergeFrom(alone);
  return absl::OkStatus();
}

}  // namespace

std::string TextOfTargets(const std::map<std::string, std::string>& targets) {
  std::string comments;
  v1::Config config;
  for (const auto& [name, target] : targets) {
    const absl::Status status = Add(name, target, &config);
    if (!status.ok()) {
      absl::StrAppend(
          &comments, "# ", Quoted(name), " has no place in a configuration. ",
          absl::StrReplaceAll(status.message(), {{"\n", " "}}), "\n");
    }
  }
  return comments + ToYaml(WithDefaults(config, ""));
}

}  // namespace mesh::config
