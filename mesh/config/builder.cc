#include "mesh/config/builder.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mesh/config/address.h"
#include "mesh/config/service_config.h"
#include "mesh/config/text.h"

namespace mesh::config {
namespace {

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) +
         absl::Nanoseconds(duration.nanos());
}

bool IsGraphic(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isgraph(c); });
}

// What is wrong with the key of `methods`; empty when nothing is.
std::string MethodPatternError(absl::string_view pattern) {
  const std::vector<absl::string_view> parts = absl::StrSplit(pattern, '/');
  if (parts.size() == 3 && parts[0].empty()) {
    return "must begin without a slash";
  }
  const bool star_is_last =
      pattern.find('*') == absl::string_view::npos ||
      (parts.back() == "*" && pattern.find('*') == pattern.size() - 1);
  if (parts.size() != 2 || parts[0].empty() || parts[1].empty() ||
      !star_is_last || !IsGraphic(pattern)) {
    return "must be \"package.Service/Method\" or \"package.Service/*\"";
  }
  return "";
}

// A policy and where it is written.
struct Layer {
  const v1::MethodPolicy* policy;
  std::string path;
};

class Builder {
 public:
  explicit Builder(BuildContext* context)
      : context_(*context),
        sources_(context->sources),
        problems_(context->problems) {}

  MeshOptions Build(const v1::Config& config) {
    CheckRules(config, "", sources_, &problems_);
    MeshOptions options;
    for (const auto& [name, service] : config.services()) {
      options.services[name] = std::make_shared<const ServiceOptions>(
          BuildService(name, service, KeyPath("services", name)));
    }
    const v1::Telemetry& telemetry = config.telemetry();
    if (telemetry.has_max_methods()) {
      options.telemetry.max_methods = telemetry.max_methods();
    }
    if (telemetry.has_max_endpoints()) {
      options.telemetry.max_endpoints = telemetry.max_endpoints();
    }
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
    return Endpoints(list.endpoints(), "endpoints");
  }

 private:
  template <typename... Parts>
  void Add(Position at, const Parts&... parts) {
    problems_.Add(at, absl::StrCat(parts...));
  }

  ServiceOptions BuildService(const std::string& name,
                              const v1::Service& service,
                              const std::string& path) {
    ServiceOptions options;
    options.name = name;
    CheckServiceName(name, path);
    BuildSource(service, path, &options);
    BuildAuthority(service, path, &options);
    if (service.load_balancing().policy() == v1::LoadBalancing::ROUND_ROBIN) {
      options.balancing = BalancingPolicy::kRoundRobin;
    } else if (service.load_balancing().policy() !=
               v1::LoadBalancing::LEAST_REQUEST) {
      // Only code can say this: the reader knows the names.
      Add({}, path, ".load_balancing.policy must be LEAST_REQUEST or ",
          "ROUND_ROBIN, is ",
          static_cast<int>(service.load_balancing().policy()));
    }
    BuildConnections(service.connections(), FieldPath(path, "connections"),
                     &options.connections);
    if (service.has_tls()) {
      options.tls = BuildTls(service.tls(), FieldPath(path, "tls"));
    }
    BuildChannelArgs(service, FieldPath(path, "channel_args"), &options);
    if (service.retry_budget().has_ratio()) {
      options.retry_budget.ratio = service.retry_budget().ratio();
    }
    if (service.retry_budget().has_min_per_second()) {
      options.retry_budget.min_per_second =
          service.retry_budget().min_per_second();
    }
    BuildPolicies(service, path, &options);
    return options;
  }

  void CheckServiceName(const std::string& name, const std::string& path) {
    if (name.empty()) {
      Add(sources_.Find(path), "services: a service's name must not be empty");
    } else if (name.size() > 253 || !IsGraphic(name)) {
      Add(sources_.Find(path), path,
          ": a service's name must be at most 253 printable ASCII characters "
          "without spaces");
    }
  }

  // --- Endpoints ---

  void BuildSource(const v1::Service& service, const std::string& path,
                   ServiceOptions* options) {
    // An empty list that is written down counts; code has no such thing.
    const std::string list = FieldPath(path, "endpoints");
    std::vector<std::string> given;
    if (service.endpoints_size() > 0 || sources_.Has(list)) {
      given.push_back("endpoints");
    }
    for (const char* field : {"endpoints_file", "dns"}) {
      const auto* descriptor =
          v1::Service::descriptor()->FindFieldByName(field);
      if (service.GetReflection()->HasField(service, descriptor) ||
          sources_.Has(FieldPath(path, field))) {
        given.push_back(field);
      }
    }
    if (given.empty() && !sources_.IsBad(path)) {
      Add(sources_.Find(path), path,
          " must have one of endpoints, endpoints_file and dns");
    }
    for (size_t i = 1; i < given.size(); ++i) {
      Add(sources_.Find(FieldPath(path, given[i])), path,
          " must have only one of ", given[0], " and ", given[i]);
    }
    if (service.endpoints_size() > 0 || !service.has_endpoints_file()) {
      options->source = Endpoints(service.endpoints(), list);
    }
    if (service.has_endpoints_file()) {
      options->source = BuildEndpointsFile(service.endpoints_file());
    }
    if (service.has_dns()) {
      options->source = BuildDns(service.dns(), FieldPath(path, "dns"));
    }
  }

  cluster::EndpointSetPtr Endpoints(
      const google::protobuf::RepeatedPtrField<v1::Endpoint>& list,
      const std::string& path) {
    auto set = std::make_shared<cluster::EndpointSet>();
    set->endpoints.reserve(list.size());
    std::map<std::string, std::string> seen;  // Address to its first path.
    for (int i = 0; i < list.size(); ++i) {
      const std::string at = IndexPath(path, i);
      set->endpoints.push_back(BuildEndpoint(list[i], at));
      const std::string address_path = FieldPath(at, "address");
      const std::string& address = list[i].address();
      if (address.empty()) continue;  // Reported already.
      if (const absl::Status status = ValidateAddress(address); !status.ok()) {
        Add(sources_.Find(address_path), address_path, ": ", status.message());
        continue;
      }
      const auto [it, is_new] =
          seen.emplace(CanonicalAddress(address), address_path);
      if (!is_new) {
        Add(sources_.Find(address_path), address_path, ": ", Quoted(address),
            " is the address of ", absl::StripSuffix(it->second, ".address"),
            " too");
      }
    }
    return set;
  }

  cluster::Endpoint BuildEndpoint(const v1::Endpoint& endpoint,
                                  const std::string& path) {
    cluster::Endpoint result;
    result.address = endpoint.address();
    result.locality.region = endpoint.locality().region();
    result.locality.zone = endpoint.locality().zone();
    result.locality.sub_zone = endpoint.locality().sub_zone();
    if (!endpoint.zone().empty()) {
      if (!endpoint.locality().zone().empty()) {
        Add(sources_.Find(FieldPath(path, "zone")), path,
            " must have only one of zone and locality.zone");
      }
      result.locality.zone = endpoint.zone();
    }
    if (endpoint.has_weight()) result.weight = endpoint.weight();
    result.priority = endpoint.priority();
    result.authority = endpoint.authority();
    CheckAuthority(endpoint.authority(), FieldPath(path, "authority"));
    for (const auto& [key, value] : endpoint.metadata()) {
      result.metadata[key] = value;
    }
    return result;
  }

  EndpointsFileOptions BuildEndpointsFile(const v1::EndpointsFile& file) {
    EndpointsFileOptions options;
    options.path = ResolvePath(file.path(), context_.file);
    if (file.has_poll_interval()) {
      options.poll_interval = ToDuration(file.poll_interval());
    }
    return options;
  }

  DnsOptions BuildDns(const v1::Dns& dns, const std::string& path) {
    DnsOptions options;
    options.name = dns.name();
    options.port = static_cast<uint16_t>(dns.port());
    if (dns.has_min_refresh()) {
      options.min_refresh = ToDuration(dns.min_refresh());
    }
    if (dns.has_max_refresh()) {
      options.max_refresh = ToDuration(dns.max_refresh());
    }
    CheckOrder(options.min_refresh, FieldPath(path, "min_refresh"),
               options.max_refresh, FieldPath(path, "max_refresh"));
    if (!dns.name().empty()) {
      // A literal address is a name that needs no resolving, as in getaddrinfo.
      const bool literal =
          ValidateAddress(absl::StrCat("[", dns.name(), "]:1")).ok();
      const absl::Status status = ValidateHostName(dns.name());
      if (!literal && !status.ok()) {
        const std::string name_path = FieldPath(path, "name");
        Add(sources_.Find(name_path), name_path, ": ", status.message());
      }
    }
    for (int i = 0; i < dns.servers_size(); ++i) {
      const std::string at = IndexPath(FieldPath(path, "servers"), i);
      if (sources_.IsBad(at)) continue;
      if (absl::StartsWith(dns.servers(i), "unix:")) {
        Add(sources_.Find(at), at, ": ", Quoted(dns.servers(i)),
            " must be \"IPv4:port\" or \"[IPv6]:port\"");
      } else if (const absl::Status status = ValidateAddress(dns.servers(i));
                 !status.ok()) {
        Add(sources_.Find(at), at, ": ", status.message());
      }
      options.servers.push_back(dns.servers(i));
    }
    return options;
  }

  // --- Connections ---

  void CheckAuthority(const std::string& authority, const std::string& path) {
    if (authority.size() > 1024 || !IsGraphic(authority)) {
      Add(sources_.Find(path), path,
          " must be at most 1024 printable ASCII characters without spaces, "
          "is ",
          Quoted(authority));
    }
  }

  void BuildAuthority(const v1::Service& service, const std::string& path,
                      ServiceOptions* options) {
    CheckAuthority(service.authority(), FieldPath(path, "authority"));
    options->authority = service.authority();
    if (options->authority.empty()) {
      options->authority = options->name;
      if (!service.dns().name().empty()) {
        const std::string& host = service.dns().name();
        options->authority =
            absl::StrContains(host, ':') ? absl::StrCat("[", host, "]") : host;
      }
    }
  }

  void BuildConnections(const v1::Connections& connections,
                        const std::string& path, ConnectionOptions* options) {
    if (connections.has_ahead()) options->ahead = connections.ahead();
    if (connections.has_connect_timeout()) {
      options->connect_timeout = ToDuration(connections.connect_timeout());
    }
    if (connections.has_initial_backoff()) {
      options->initial_backoff = ToDuration(connections.initial_backoff());
    }
    if (connections.has_max_backoff()) {
      options->max_backoff = ToDuration(connections.max_backoff());
    }
    if (connections.has_drain_timeout()) {
      options->drain_timeout = ToDuration(connections.drain_timeout());
    }
    CheckOrder(options->initial_backoff, FieldPath(path, "initial_backoff"),
               options->max_backoff, FieldPath(path, "max_backoff"));
  }

  // The path of a file that the configuration names, checked to be readable.
  std::string TlsFile(const std::string& file, const std::string& path) {
    if (file.empty()) return "";
    const std::string resolved = ResolvePath(file, context_.file);
    const absl::StatusOr<std::string> content = ReadFile(resolved);
    context_.files.push_back({resolved, Fingerprint(content)});
    if (!content.ok()) {
      Add(sources_.Find(path), path, ": ", content.status().message());
    }
    return resolved;
  }

  TlsOptions BuildTls(const v1::Tls& tls, const std::string& path) {
    if (tls.cert_file().empty() != tls.key_file().empty()) {
      const bool has_cert = !tls.cert_file().empty();
      const char* const given = has_cert ? "cert_file" : "key_file";
      Add(sources_.Find(FieldPath(path, given)), path, " has ", given,
          " but no ", has_cert ? "key_file" : "cert_file");
    }
    TlsOptions options;
    options.ca_file = TlsFile(tls.ca_file(), FieldPath(path, "ca_file"));
    options.cert_file = TlsFile(tls.cert_file(), FieldPath(path, "cert_file"));
    options.key_file = TlsFile(tls.key_file(), FieldPath(path, "key_file"));
    return options;
  }

  void BuildChannelArgs(const v1::Service& service, const std::string& path,
                        ServiceOptions* options) {
    for (const auto& [name, argument] : service.channel_args()) {
      const std::string at = KeyPath(path, name);
      if (name.empty() || !IsGraphic(name)) {
        Add(sources_.Find(at), at,
            ": a name must be printable ASCII characters without spaces");
      }
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
          if (!sources_.IsBad(at)) {
            Add(sources_.Find(at), at, " has no value");
          }
      }
    }
  }

  // --- Policies ---

  // Merges the policies of a service. From the narrowest to the widest:
  // `methods` (exact, then "*"), `policy`, the gRPC service config, defaults.
  void BuildPolicies(const v1::Service& service, const std::string& path,
                     ServiceOptions* options) {
    const GrpcServiceConfig grpc =
        BuildGrpcServiceConfig(service, FieldPath(path, "grpc_service_config"));
    const Layer widest{&service.policy(), FieldPath(path, "policy")};
    CheckCodes(service.policy(), widest.path);
    options->policy = Merge({widest}, grpc.Find(""));

    const std::string methods_path = FieldPath(path, "methods");
    std::map<std::string, Layer> methods;
    for (const auto& [pattern, policy] : service.methods()) {
      const Layer layer{&policy, KeyPath(methods_path, pattern)};
      const std::string error = MethodPatternError(pattern);
      if (!error.empty()) {
        Add(sources_.Find(layer.path), methods_path, ": ", Quoted(pattern), " ",
            error);
      }
      CheckCodes(policy, layer.path);
      methods.emplace(pattern, layer);
    }
    std::set<std::string> patterns;
    for (const auto& [pattern, layer] : methods) patterns.insert(pattern);
    for (const auto& [pattern, config] : grpc.methods) patterns.insert(pattern);
    patterns.erase("");
    for (const std::string& pattern : patterns) {
      std::vector<Layer> layers;
      const auto add = [&](const std::string& key) {
        const auto it = methods.find(key);
        if (it != methods.end()) layers.push_back(it->second);
      };
      add(pattern);
      const std::string star =
          absl::StrCat(pattern.substr(0, pattern.rfind('/') + 1), "*");
      if (star != pattern) add(star);
      layers.push_back(widest);
      options->methods[pattern] = Merge(layers, grpc.Find(pattern));
    }
  }

  MethodOptions Merge(const std::vector<Layer>& layers,
                      const GrpcMethodConfig* grpc) {
    MethodOptions options;
    if (grpc != nullptr) {
      options.timeout = grpc->timeout.value_or(options.timeout);
      options.wait_for_ready = grpc->wait_for_ready;
      if (grpc->retry.has_value()) {
        options.retry = *grpc->retry;
        options.idempotent = true;  // Its author asserted that.
      }
    }
    // From the widest to the narrowest, each over the ones before.
    std::string attempt_timeout_path, initial_path, max_path;
    for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
      const v1::MethodPolicy& policy = *layer->policy;
      const v1::RetryPolicy& retry = policy.retry();
      const std::string retry_path = FieldPath(layer->path, "retry");
      if (policy.has_timeout()) options.timeout = ToDuration(policy.timeout());
      if (policy.has_idempotent()) options.idempotent = policy.idempotent();
      if (policy.has_wait_for_ready()) {
        options.wait_for_ready = policy.wait_for_ready();
      }
      if (retry.has_max_attempts()) {
        options.retry.max_attempts = retry.max_attempts();
      }
      if (retry.codes_size() > 0) {
        options.retry.codes = StatusCodeSet();
        for (const std::string& name : retry.codes()) {
          if (const auto code = StatusCodeFromName(name)) {
            options.retry.codes = options.retry.codes.With(*code);
          }
        }
      }
      if (retry.has_initial_backoff()) {
        options.retry.initial_backoff = ToDuration(retry.initial_backoff());
        initial_path = FieldPath(retry_path, "initial_backoff");
      }
      if (retry.has_max_backoff()) {
        options.retry.max_backoff = ToDuration(retry.max_backoff());
        max_path = FieldPath(retry_path, "max_backoff");
      }
      if (retry.has_backoff_multiplier()) {
        options.retry.backoff_multiplier = retry.backoff_multiplier();
      }
      if (retry.has_attempt_timeout()) {
        options.retry.attempt_timeout = ToDuration(retry.attempt_timeout());
        attempt_timeout_path = FieldPath(retry_path, "attempt_timeout");
      }
    }
    if (!attempt_timeout_path.empty() &&
        options.retry.attempt_timeout >= options.timeout) {
      Add(sources_.Find(attempt_timeout_path), attempt_timeout_path,
          " must be less than the method's timeout of ",
          DurationToText(options.timeout), ", is ",
          DurationToText(options.retry.attempt_timeout));
    }
    if (!initial_path.empty() || !max_path.empty()) {
      CheckOrder(options.retry.initial_backoff,
                 initial_path.empty() ? "initial_backoff" : initial_path,
                 options.retry.max_backoff,
                 max_path.empty() ? "max_backoff" : max_path);
    }
    return options;
  }

  void CheckCodes(const v1::MethodPolicy& policy, const std::string& path) {
    const std::string codes_path = FieldPath(FieldPath(path, "retry"), "codes");
    const auto& codes = policy.retry().codes();
    if (codes.empty() && sources_.Has(codes_path) &&
        !sources_.IsBad(codes_path)) {
      Add(sources_.Find(codes_path), codes_path,
          " must not be empty; `max_attempts: 1` is no retry");
    }
    std::set<std::string> seen;
    for (int i = 0; i < codes.size(); ++i) {
      const std::string at = IndexPath(codes_path, i);
      if (sources_.IsBad(at)) continue;
      const std::optional<absl::StatusCode> code = StatusCodeFromName(codes[i]);
      if (!code.has_value()) {
        Add(sources_.Find(at), at,
            " must be the name of a gRPC status code, is ", Quoted(codes[i]),
            DidYouMeanStatus(codes[i]));
      } else if (*code == absl::StatusCode::kOk ||
                 *code == absl::StatusCode::kCancelled) {
        Add(sources_.Find(at), at, " must be the code of a failure, is ",
            codes[i]);
      } else if (!seen.insert(codes[i]).second) {
        Add(sources_.Find(at), at, ": ", codes[i], " is given twice");
      }
    }
  }

  // Reports a lower bound above its upper one, where one of them is given.
  void CheckOrder(absl::Duration low, const std::string& low_path,
                  absl::Duration high, const std::string& high_path) {
    if (low <= high || sources_.IsBad(low_path) || sources_.IsBad(high_path)) {
      return;
    }
    const Position at = sources_.Has(low_path) ? sources_.Find(low_path)
                                               : sources_.Find(high_path);
    const absl::string_view name =
        absl::string_view(high_path).substr(high_path.rfind('.') + 1);
    Add(at, low_path, " must be at most ", name, ", ", DurationToText(high),
        ", is ", DurationToText(low));
  }

  GrpcServiceConfig BuildGrpcServiceConfig(const v1::Service& service,
                                           const std::string& path) {
    if (!service.has_grpc_service_config()) return {};
    const v1::ServiceConfig& config = service.grpc_service_config();
    if (config.path().empty() == config.json().empty()) {
      if (!sources_.IsBad(path)) {
        Add(sources_.Find(path), path, " must have one of path and json");
      }
      return {};
    }
    if (!config.json().empty()) {
      const std::string json_path = FieldPath(path, "json");
      Problems inner("");
      GrpcServiceConfig result = ParseGrpcServiceConfig(config.json(), &inner);
      for (const Problems::Problem& problem : inner.list()) {
        Add(sources_.Find(json_path), json_path, ", line ", problem.at.line,
            ", column ", problem.at.column, ": ", problem.message);
      }
      return result;
    }
    const std::string file = ResolvePath(config.path(), context_.file);
    const absl::StatusOr<std::string> content = ReadFile(file);
    context_.files.push_back({file, Fingerprint(content)});
    if (!content.ok()) {
      const std::string path_path = FieldPath(path, "path");
      Add(sources_.Find(path_path), path_path, ": ",
          content.status().message());
      return {};
    }
    Problems inner(file);
    GrpcServiceConfig result = ParseGrpcServiceConfig(*content, &inner);
    problems_.Append(inner);
    return result;
  }

  BuildContext& context_;
  const SourceMap& sources_;
  Problems& problems_;
};

}  // namespace

MeshOptions BuildOptions(const v1::Config& config, BuildContext* context) {
  return Builder(context).Build(config);
}

cluster::EndpointSetPtr BuildEndpoints(const v1::EndpointList& list,
                                       BuildContext* context) {
  return Builder(context).Build(list);
}

}  // namespace mesh::config
