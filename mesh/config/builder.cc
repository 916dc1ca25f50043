#include "mesh/config/builder.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mesh/config/build_endpoints.h"
#include "mesh/config/build_guards.h"
#include "mesh/config/build_policy.h"
#include "mesh/config/build_security.h"
#include "mesh/config/checks.h"
#include "mesh/config/fields.h"
#include "mesh/config/text.h"

namespace mesh::config {
namespace {

// Builds the whole: what a service consists of, and what belongs to no part of
// it with a builder of its own.
class Builder final : private Checks {
 public:
  using Checks::Checks;

  options::MeshOptions Build(const v1::Config& config) {
    CheckRules(config, "", sources_, &problems_);
    options::MeshOptions options;
    SecurityBuilder security(config, &context_);
    for (const auto& [name, service] : config.services()) {
      options.services[name] = std::make_shared<const options::ServiceOptions>(
          BuildService(name, service, KeyPath("services", name), &security));
    }
    security.Build(&options);
    Fields(config.telemetry()).GetAll(&options.telemetry);
    Fields(config.limits()).GetAll(&options.limits);
    return options;
  }

  cluster::EndpointSetPtr Build(const v1::EndpointList& list) {
    for (int i = 0; i < list.endpoints_size(); ++i) {
      CheckRules(list.endpoints(i), IndexPath("endpoints", i), sources_,
                 &problems_);
    }
    if (!sources_.Has("endpoints")) {
      problems_.Add(sources_.Find(""), "endpoints is missing");
    }
    return EndpointsBuilder(&context_).Endpoints(list.endpoints(), "endpoints");
  }

 private:
  options::ServiceOptions BuildService(const std::string& name,
                                       const v1::Service& service,
                                       const std::string& path,
                                       SecurityBuilder* security) {
    options::ServiceOptions options;
    options.name = name;
    CheckServiceName(name, path);
    EndpointsBuilder(&context_).BuildSource(service, path, &options);
    BuildAuthority(service, path, &options);
    if (service.load_balancing().policy() == v1::LoadBalancing::ROUND_ROBIN) {
      options.balancing = options::BalancingPolicy::kRoundRobin;
    }
    BuildConnections(service, path, &options.connections);
    options.tls = security->BuildTls(name, service, path);
    BuildChannelArgs(service, FieldPath(path, "channel_args"), &options);
    Fields(service.retry_budget()).GetAll(&options.retry_budget);
    GuardsBuilder(&context_).BuildGuards(service, path, &options.guards);
    PolicyBuilder(&context_).BuildPolicies(service, path, &options);
    return options;
  }

  void CheckServiceName(const std::string& name, const std::string& path) {
    if (name.empty()) {
      Add(sources_.FindKey(path),
          "services: a service's name must not be empty");
    } else if (!IsGraphic(name)) {
      Add(sources_.FindKey(path), path,
          ": a service's name must be at most 253 printable ASCII characters "
          "without spaces");
    }
  }

  void BuildAuthority(const v1::Service& service, const std::string& path,
                      options::ServiceOptions* options) {
    CheckAuthority(service.authority(), FieldPath(path, "authority"));
    options->authority = AuthorityOf(options->name, service);
  }

  void BuildConnections(const v1::Service& service,
                        const std::string& service_path,
                        options::ConnectionOptions* options) {
    const v1::Connections& connections = service.connections();
    const std::string path = FieldPath(service_path, "connections");
    Fields(connections).GetAll(options);
    CheckOrder(options->initial_backoff, FieldPath(path, "initial_backoff"),
               options->max_backoff, FieldPath(path, "max_backoff"));
    Needs(connections, path, "keepalive_timeout", "keepalive_time");
    for (const auto& [field, has] :
         {std::make_pair("keepalive_time", connections.has_keepalive_time()),
          std::make_pair("keepalive_timeout",
                         connections.has_keepalive_timeout())}) {
      const std::string argument = absl::StrCat("grpc.", field, "_ms");
      if (has && service.channel_args().contains(argument)) {
        Add(sources_.Find(FieldPath(path, field)), service_path,
            " must have only one of connections.", field,
            " and the channel argument ", argument);
      }
    }
  }

  // Reports a channel argument that mesh sets itself, whatever is given.
  void CheckArgument(const v1::Service& service, const std::string& name,
                     const std::string& path) {
    static constexpr std::pair<absl::string_view, absl::string_view> kFields[] =
        {{"grpc.default_authority", "authority"},
         {"grpc.initial_reconnect_backoff_ms", "connections.initial_backoff"},
         {"grpc.max_reconnect_backoff_ms", "connections.max_backoff"},
         {"grpc.min_reconnect_backoff_ms", "connections.connect_timeout"}};
    for (const auto& [argument, field] : kFields) {
      if (name == argument) {
        Add(sources_.FindKey(path), path, " does nothing: set ", field,
            " instead");
      }
    }
    const v1::Connections& connections = service.connections();
    if (!connections.has_keepalive_time()) return;
    // Where keepalive_timeout is given too, there is an error already.
    if (name == "grpc.keepalive_timeout_ms" &&
        !connections.has_keepalive_timeout()) {
      Add(sources_.FindKey(path), path,
          " does nothing beside connections.keepalive_time: set "
          "connections.keepalive_timeout instead");
    }
    if (name == "grpc.http2.max_pings_without_data") {
      Add(sources_.FindKey(path), path,
          " does nothing beside connections.keepalive_time");
    }
  }

  // Whether the channel argument at `path` has a value that could not be read.
  bool HasBadValue(const std::string& path) const {
    for (const char* field : {"integer", "text", "boolean"}) {
      if (sources_.IsBad(FieldPath(path, field))) return true;
    }
    return false;
  }

  void BuildChannelArgs(const v1::Service& service, const std::string& path,
                        options::ServiceOptions* options) {
    for (const auto& [name, argument] : service.channel_args()) {
      const std::string at = KeyPath(path, name);
      if (name.empty() || !IsGraphic(name)) {
        Add(sources_.FindKey(at), at,
            ": a name must be printable ASCII characters without spaces");
      }
      CheckArgument(service, name, at);
      switch (argument.value_case()) {
        case v1::ChannelArgument::kInteger:
          options->channel_args[name] = argument.integer();
          break;
        case v1::ChannelArgument::kText:
          options->channel_args[name] = argument.text();
          break;
        case v1::ChannelArgument::kBoolean:
          options->channel_args[name] = argument.boolean() ? 1 : 0;
          break;
        case v1::ChannelArgument::VALUE_NOT_SET:
          if (!sources_.IsBad(at) && !HasBadValue(at)) {
            Add(sources_.Find(at), at, " has no value");
          }
      }
    }
  }
};

}  // namespace

std::string AuthorityOf(const std::string& name, const v1::Service& service) {
  if (!service.authority().empty()) return service.authority();
  const std::string& host = service.dns().name();
  if (host.empty()) return name;
  return absl::StrContains(host, ':') ? absl::StrCat("[", host, "]") : host;
}

options::MeshOptions BuildOptions(const v1::Config& config,
                                  BuildContext* context) {
  return Builder(context).Build(config);
}

cluster::EndpointSetPtr BuildEndpoints(const v1::EndpointList& list,
                                       BuildContext* context) {
  return Builder(context).Build(list);
}

}  // namespace mesh::config
