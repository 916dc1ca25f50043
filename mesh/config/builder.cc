#include "mesh/config/builder.h"

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>
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

// Where the fields of a method's policy were given.
struct Given {
  const SourceMap& sources;
  // By the field's own name ("retry.max_attempts"): its path in the narrowest
  // policy that has it. A field that is absent is not there.
  std::map<std::string, std::string> paths;
};

// Copies what a message says into options. A field that is absent changes
// nothing, so a narrower policy goes over a wider one, and any over the
// defaults.
class Fields {
 public:
  explicit Fields(const google::protobuf::Message& message)
      : Fields(message, "", "", nullptr) {}
  // Also notes in `given` which fields there are; `path` is that of the policy,
  // `group` that of the message in it ("retry"), empty for the policy itself.
  Fields(const google::protobuf::Message& message, std::string path,
         std::string group, Given* given)
      : message_(message),
        path_(std::move(path)),
        group_(std::move(group)),
        given_(given) {}

  template <typename T>
  const Fields& Get(const char* name, T* out) const {
    const FieldDescriptor* field =
        message_.GetDescriptor()->FindFieldByName(name);
    const bool has = reflection().HasField(message_, field);
    if (has) Read(*field, out);
    if (given_ != nullptr) {
      const std::string relative = FieldPath(group_, name);
      const std::string path = FieldPath(path_, relative);
      if (has || given_->sources.IsBad(path)) given_->paths[relative] = path;
    }
    return *this;
  }

 private:
  using FieldDescriptor = google::protobuf::FieldDescriptor;

  const google::protobuf::Reflection& reflection() const {
    return *message_.GetReflection();
  }
  void Read(const FieldDescriptor& field, int* out) const {
    // CheckRules() reports what does not fit.
    *out = static_cast<int>(
        std::min<uint32_t>(reflection().GetUInt32(message_, &field),
                           std::numeric_limits<int>::max()));
  }
  void Read(const FieldDescriptor& field, uint64_t* out) const {
    *out = reflection().GetUInt64(message_, &field);
  }
  void Read(const FieldDescriptor& field, double* out) const {
    *out = reflection().GetDouble(message_, &field);
  }
  void Read(const FieldDescriptor& field, bool* out) const {
    *out = reflection().GetBool(message_, &field);
  }
  void Read(const FieldDescriptor& field, std::string* out) const {
    *out = reflection().GetString(message_, &field);
  }
  void Read(const FieldDescriptor& field, absl::Duration* out) const {
    *out = ToDuration(static_cast<const google::protobuf::Duration&>(
        reflection().GetMessage(message_, &field)));
  }
  void Read(const FieldDescriptor& field, options::Mode* out) const {
    switch (reflection().GetEnumValue(message_, &field)) {
      case v1::MODE_OFF:
        *out = options::Mode::kOff;
        return;
      case v1::MODE_OBSERVE:
        *out = options::Mode::kObserve;
        return;
      case v1::MODE_ENFORCE:
        *out = options::Mode::kEnforce;
        return;
    }
  }
  template <typename T>
  void Read(const FieldDescriptor& field, std::optional<T>* out) const {
    T value{};
    Read(field, &value);
    *out = value;
  }

  const google::protobuf::Message& message_;
  const std::string path_;
  const std::string group_;
  Given* const given_;
};

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

  options::MeshOptions Build(const v1::Config& config) {
    CheckRules(config, "", sources_, &problems_);
    options::MeshOptions options;
    for (const auto& [name, service] : config.services()) {
      options.services[name] = std::make_shared<const options::ServiceOptions>(
          BuildService(name, service, KeyPath("services", name)));
    }
    Fields(config.telemetry())
        .Get("max_methods", &options.telemetry.max_methods)
        .Get("max_endpoints", &options.telemetry.max_endpoints);
    Fields(config.limits())
        .Get("stream_retry_bytes", &options.limits.stream_retry_bytes);
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

  options::ServiceOptions BuildService(const std::string& name,
                                       const v1::Service& service,
                                       const std::string& path) {
    options::ServiceOptions options;
    options.name = name;
    CheckServiceName(name, path);
    BuildSource(service, path, &options);
    BuildAuthority(service, path, &options);
    if (service.load_balancing().policy() == v1::LoadBalancing::ROUND_ROBIN) {
      options.balancing = options::BalancingPolicy::kRoundRobin;
    }
    BuildConnections(service.connections(), FieldPath(path, "connections"),
                     &options.connections);
    if (service.has_tls()) {
      options.tls = BuildTls(service.tls(), FieldPath(path, "tls"));
    }
    BuildChannelArgs(service, FieldPath(path, "channel_args"), &options);
    Fields(service.retry_budget())
        .Get("ratio", &options.retry_budget.ratio)
        .Get("min_per_second", &options.retry_budget.min_per_second);
    BuildGuards(service, path, &options.guards);
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
                   options::ServiceOptions* options) {
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

  options::EndpointsFileOptions BuildEndpointsFile(
      const v1::EndpointsFile& file) {
    options::EndpointsFileOptions options;
    options.path = ResolvePath(file.path(), context_.file);
    Fields(file).Get("poll_interval", &options.poll_interval);
    return options;
  }

  options::DnsOptions BuildDns(const v1::Dns& dns, const std::string& path) {
    options::DnsOptions options;
    options.name = dns.name();
    options.port = static_cast<uint16_t>(dns.port());
    Fields(dns)
        .Get("min_refresh", &options.min_refresh)
        .Get("max_refresh", &options.max_refresh);
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
                      options::ServiceOptions* options) {
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
                        const std::string& path,
                        options::ConnectionOptions* options) {
    Fields(connections)
        .Get("ahead", &options->ahead)
        .Get("connect_timeout", &options->connect_timeout)
        .Get("initial_backoff", &options->initial_backoff)
        .Get("max_backoff", &options->max_backoff)
        .Get("drain_timeout", &options->drain_timeout);
    CheckOrder(options->initial_backoff, FieldPath(path, "initial_backoff"),
               options->max_backoff, FieldPath(path, "max_backoff"));
  }

  // --- Guards ---

  void BuildGuards(const v1::Service& service, const std::string& path,
                   options::GuardOptions* options) {
    BuildEjection(service.outlier_ejection(),
                  FieldPath(path, "outlier_ejection"),
                  &options->outlier_ejection);
    BuildBlackHole(service, path, &options->black_hole);
    BuildCaps(service.caps(), FieldPath(path, "caps"), &options->caps);

    Fields(service.breaker())
        .Get("mode", &options->breaker.mode)
        .Get("failure_rate", &options->breaker.failure_rate)
        .Get("slow_call", &options->breaker.slow_call)
        .Get("slow_call_rate", &options->breaker.slow_call_rate)
        .Get("window", &options->breaker.window)
        .Get("min_calls", &options->breaker.min_calls)
        .Get("open_for", &options->breaker.open_for)
        .Get("probes", &options->breaker.probes);
    Needs(service.breaker(), FieldPath(path, "breaker"), "slow_call_rate",
          "slow_call");

    Fields(service.throttle())
        .Get("mode", &options->throttle.mode)
        .Get("k", &options->throttle.k)
        .Get("window", &options->throttle.window)
        .Get("min_calls", &options->throttle.min_calls);

    BuildConcurrency(service.adaptive_concurrency(),
                     FieldPath(path, "adaptive_concurrency"),
                     &options->adaptive_concurrency);

    std::optional<options::Mode> mode;
    std::optional<int> burst;
    Fields(service.rate_limit())
        .Get("mode", &mode)
        .Get("per_second", &options->rate_limit.per_second)
        .Get("burst", &burst);
    FinishRateLimit(mode, burst, &options->rate_limit);
    for (const char* field : {"mode", "burst"}) {
      Needs(service.rate_limit(), FieldPath(path, "rate_limit"), field,
            "per_second");
    }
  }

  // Reports a field that is given without the one that it is of use with.
  void Needs(const google::protobuf::Message& message, const std::string& path,
             const char* field, const char* needed) {
    const auto has = [&](const char* name) {
      return message.GetReflection()->HasField(
          message, message.GetDescriptor()->FindFieldByName(name));
    };
    const std::string field_path = FieldPath(path, field);
    if (has(field) && !has(needed) && !sources_.IsBad(field_path) &&
        !sources_.IsBad(FieldPath(path, needed))) {
      Add(sources_.Find(field_path), field_path, " does nothing without ",
          needed);
    }
  }

  void BuildEjection(const v1::OutlierEjection& ejection,
                     const std::string& path,
                     options::OutlierEjectionOptions* options) {
    Fields(ejection)
        .Get("mode", &options->mode)
        .Get("interval", &options->interval)
        .Get("base_ejection_time", &options->base_ejection_time)
        .Get("max_ejection_time", &options->max_ejection_time)
        .Get("max_ejection_percent", &options->max_ejection_percent)
        .Get("panic_threshold_percent", &options->panic_threshold_percent)
        .Get("consecutive_failures", &options->consecutive_failures)
        .Get("consecutive_gateway_failures",
             &options->consecutive_gateway_failures)
        .Get("consecutive_local_failures",
             &options->consecutive_local_failures);
    Fields(ejection.success_rate())
        .Get("enabled", &options->success_rate.enabled)
        .Get("stdev_factor", &options->success_rate.stdev_factor)
        .Get("minimum_hosts", &options->success_rate.minimum_hosts)
        .Get("request_volume", &options->success_rate.request_volume);
    Fields(ejection.failure_percentage())
        .Get("enabled", &options->failure_percentage.enabled)
        .Get("threshold", &options->failure_percentage.threshold)
        .Get("minimum_hosts", &options->failure_percentage.minimum_hosts)
        .Get("request_volume", &options->failure_percentage.request_volume);
    Fields(ejection.latency())
        .Get("enabled", &options->latency.enabled)
        .Get("factor", &options->latency.factor)
        .Get("min_difference", &options->latency.min_difference)
        .Get("minimum_hosts", &options->latency.minimum_hosts)
        .Get("request_volume", &options->latency.request_volume);
    CheckOrder(
        options->base_ejection_time, FieldPath(path, "base_ejection_time"),
        options->max_ejection_time, FieldPath(path, "max_ejection_time"));
    // Beyond this, panic ignores that they are ejected.
    const int most = 100 - options->panic_threshold_percent;
    const std::string percent = FieldPath(path, "max_ejection_percent");
    const std::string panic = FieldPath(path, "panic_threshold_percent");
    if (options->max_ejection_percent > most &&
        (ejection.has_max_ejection_percent() ||
         ejection.has_panic_threshold_percent()) &&
        options->max_ejection_percent <= 100 && most >= 0 &&
        !sources_.IsBad(percent) && !sources_.IsBad(panic)) {
      Add(sources_.Find(sources_.Has(percent) ? percent : panic), percent,
          " must be at most 100 - panic_threshold_percent, ", most, ", is ",
          options->max_ejection_percent);
    }
  }

  void BuildBlackHole(const v1::Service& service,
                      const std::string& service_path,
                      options::BlackHoleOptions* options) {
    const v1::BlackHole& black_hole = service.black_hole();
    const std::string path = FieldPath(service_path, "black_hole");
    Fields(black_hole)
        .Get("mode", &options->mode)
        .Get("min_silence", &options->min_silence)
        .Get("latency_factor", &options->latency_factor)
        .Get("probe_method", &options->probe_method)
        .Get("ramp", &options->ramp)
        .Get("keepalive_time", &options->keepalive_time)
        .Get("keepalive_timeout", &options->keepalive_timeout);
    absl::string_view method = options->probe_method;
    const std::string method_path = FieldPath(path, "probe_method");
    if (black_hole.probe_method().empty() && sources_.Has(method_path)) {
      method = "";
    }
    const absl::string_view written = method;
    if ((!absl::ConsumePrefix(&method, "/") ||
         !MethodPatternError(method).empty() ||
         absl::StrContains(method, '*')) &&
        !sources_.IsBad(method_path)) {
      Add(sources_.Find(method_path), method_path,
          " must be \"/package.Service/Method\", is ", Quoted(written));
    }
    Needs(black_hole, path, "keepalive_timeout", "keepalive_time");
    for (const auto& [field, has] :
         {std::make_pair("keepalive_time", black_hole.has_keepalive_time()),
          std::make_pair("keepalive_timeout",
                         black_hole.has_keepalive_timeout())}) {
      const std::string argument = absl::StrCat("grpc.", field, "_ms");
      if (has && service.channel_args().contains(argument)) {
        Add(sources_.Find(FieldPath(path, field)), service_path,
            " must have only one of black_hole.", field,
            " and the channel argument ", argument);
      }
    }
  }

  void BuildCaps(const v1::Caps& caps, const std::string& path,
                 options::CapsOptions* options) {
    Fields(caps)
        .Get("mode", &options->mode)
        .Get("max_calls", &options->max_calls)
        .Get("max_calls_per_endpoint", &options->max_calls_per_endpoint)
        .Get("max_waiting", &options->max_waiting)
        .Get("max_retries", &options->max_retries);
    if (options->max_calls > 0) {  // 0 is no bound.
      CheckOrder(options->max_calls_per_endpoint,
                 FieldPath(path, "max_calls_per_endpoint"), options->max_calls,
                 FieldPath(path, "max_calls"));
    }
  }

  void BuildConcurrency(const v1::AdaptiveConcurrency& concurrency,
                        const std::string& path,
                        options::AdaptiveConcurrencyOptions* options) {
    Fields(concurrency)
        .Get("mode", &options->mode)
        .Get("initial_limit", &options->initial_limit)
        .Get("min_limit", &options->min_limit)
        .Get("max_limit", &options->max_limit)
        .Get("latency_factor", &options->latency_factor);
    if (concurrency.algorithm() == v1::AdaptiveConcurrency::AIMD) {
      options->algorithm =
          options::AdaptiveConcurrencyOptions::Algorithm::kAimd;
    }
    const std::string initial = FieldPath(path, "initial_limit");
    CheckOrder(options->min_limit, FieldPath(path, "min_limit"),
               options->initial_limit, initial);
    CheckOrder(options->initial_limit, initial, options->max_limit,
               FieldPath(path, "max_limit"));
  }

  // --- TLS and channel arguments ---

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

  options::TlsOptions BuildTls(const v1::Tls& tls, const std::string& path) {
    if (tls.cert_file().empty() != tls.key_file().empty()) {
      const bool has_cert = !tls.cert_file().empty();
      const char* const given = has_cert ? "cert_file" : "key_file";
      Add(sources_.Find(FieldPath(path, given)), path, " has ", given,
          " but no ", has_cert ? "key_file" : "cert_file");
    }
    options::TlsOptions options;
    options.ca_file = TlsFile(tls.ca_file(), FieldPath(path, "ca_file"));
    options.cert_file = TlsFile(tls.cert_file(), FieldPath(path, "cert_file"));
    options.key_file = TlsFile(tls.key_file(), FieldPath(path, "key_file"));
    return options;
  }

  void BuildChannelArgs(const v1::Service& service, const std::string& path,
                        options::ServiceOptions* options) {
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
                     options::ServiceOptions* options) {
    const GrpcServiceConfig grpc =
        BuildGrpcServiceConfig(service, FieldPath(path, "grpc_service_config"));
    const Layer widest{&service.policy(), FieldPath(path, "policy")};
    CheckLayer(widest);
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
      CheckLayer(layer);
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
    ReportUseless();
  }

  options::MethodOptions Merge(const std::vector<Layer>& layers,
                               const GrpcMethodConfig* grpc) {
    options::MethodOptions options;
    if (grpc != nullptr) {
      options.timeout = grpc->timeout.value_or(options.timeout);
      options.wait_for_ready = grpc->wait_for_ready;
      if (grpc->retry.has_value()) {  // Also where it hedges.
        options.retry = *grpc->retry;
        options.idempotent = true;  // Its author asserted that.
      }
      if (grpc->hedging.has_value()) options.hedging = *grpc->hedging;
    }
    // From the widest to the narrowest, each over the ones before.
    Given given{sources_, {}};
    std::optional<options::Mode> rate_limit_mode, fault_mode;
    std::optional<int> burst;
    double abort_percent = 0, delay_percent = 0;
    std::string abort_code;
    for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
      const v1::MethodPolicy& policy = *layer->policy;
      const auto fields = [&](const google::protobuf::Message& message,
                              const char* group) {
        return Fields(message, layer->path, group, &given);
      };
      fields(policy, "")
          .Get("timeout", &options.timeout)
          .Get("idempotent", &options.idempotent)
          .Get("wait_for_ready", &options.wait_for_ready)
          .Get("idle_timeout", &options.idle_timeout);
      fields(policy.retry(), "retry")
          .Get("max_attempts", &options.retry.max_attempts)
          .Get("initial_backoff", &options.retry.initial_backoff)
          .Get("max_backoff", &options.retry.max_backoff)
          .Get("backoff_multiplier", &options.retry.backoff_multiplier)
          .Get("attempt_timeout", &options.retry.attempt_timeout)
          .Get("stream_bytes", &options.retry.stream_bytes);
      if (policy.retry().codes_size() > 0) {
        options.retry.codes = options::StatusCodeSet();
        for (const std::string& name : policy.retry().codes()) {
          if (const auto code = StatusCodeFromName(name)) {
            options.retry.codes = options.retry.codes.With(*code);
          }
        }
      }
      fields(policy.hedging(), "hedging")
          .Get("mode", &options.hedging.mode)
          .Get("delay", &options.hedging.delay)
          .Get("quantile", &options.hedging.quantile)
          .Get("factor", &options.hedging.factor)
          .Get("min_delay", &options.hedging.min_delay)
          .Get("max_attempts", &options.hedging.max_attempts);
      fields(policy.rate_limit(), "rate_limit")
          .Get("mode", &rate_limit_mode)
          .Get("per_second", &options.rate_limit.per_second)
          .Get("burst", &burst);
      fields(policy.fault(), "fault")
          .Get("mode", &fault_mode)
          .Get("abort_percent", &abort_percent)
          .Get("abort_code", &abort_code)
          .Get("delay_percent", &delay_percent)
          .Get("delay", &options.fault.delay)
          .Get("by_header", &options.fault.by_header);
    }
    FinishRateLimit(rate_limit_mode, burst, &options.rate_limit);
    options::FaultOptions& fault = options.fault;
    fault.abort_share = abort_percent / 100;
    fault.delay_share = delay_percent / 100;
    fault.abort_code =
        StatusCodeFromName(abort_code).value_or(fault.abort_code);
    if (fault.abort_share > 0 || fault.delay_share > 0 || fault.by_header) {
      fault.mode = fault_mode.value_or(options::Mode::kEnforce);
    }
    CheckPolicy(options, given);
    return options;
  }

  // A limit acts once there is one.
  static void FinishRateLimit(std::optional<options::Mode> mode,
                              std::optional<int> burst,
                              options::RateLimitOptions* options) {
    if (options->per_second <= 0) return;
    options->mode = mode.value_or(options::Mode::kEnforce);
    options->burst =
        burst.has_value() ? *burst : std::max(1.0, options->per_second);
  }

  // --- What contradicts itself ---

  // What is written in one policy, whatever others say.
  void CheckLayer(const Layer& layer) {
    CheckCodes(*layer.policy, layer.path);
    const v1::Hedging& hedging = layer.policy->hedging();
    const std::string hedging_path = FieldPath(layer.path, "hedging");
    for (const auto& [name, has] :
         {std::make_pair("quantile", hedging.has_quantile()),
          std::make_pair("factor", hedging.has_factor()),
          std::make_pair("min_delay", hedging.has_min_delay())}) {
      if (hedging.has_delay() && has) {
        const std::string path = FieldPath(hedging_path, name);
        Add(sources_.Find(path), path,
            " is of an adaptive delay and has no place beside delay");
      }
    }
    const std::string& code = layer.policy->fault().abort_code();
    const std::string code_path = FieldPath(layer.path, "fault.abort_code");
    if (!code.empty()) {
      CheckCode(code, code_path, /*may_be_cancelled=*/true);
    } else if (sources_.Has(code_path) && !sources_.IsBad(code_path)) {
      Add(sources_.Find(code_path), code_path, " must not be empty");
    }
  }

  // The policy of a method, or of all others, as it is in force.
  void CheckPolicy(const options::MethodOptions& options, const Given& given) {
    const auto path = [&](const char* field) {
      const auto it = given.paths.find(field);
      return it == given.paths.end() ? std::string() : it->second;
    };
    const options::RetryOptions& retry = options.retry;
    const std::string attempt_timeout = path("retry.attempt_timeout");
    if (!attempt_timeout.empty() && !sources_.IsBad(attempt_timeout) &&
        retry.attempt_timeout >= options.timeout) {
      Add(sources_.Find(attempt_timeout), attempt_timeout,
          " must be less than the method's timeout of ",
          DurationToText(options.timeout), ", is ",
          DurationToText(retry.attempt_timeout));
    }
    const std::string initial = path("retry.initial_backoff");
    const std::string max = path("retry.max_backoff");
    if (!initial.empty() || !max.empty()) {
      CheckOrder(retry.initial_backoff,
                 initial.empty() ? "initial_backoff" : initial,
                 retry.max_backoff, max.empty() ? "max_backoff" : max);
    }

    const options::HedgingOptions& hedging = options.hedging;
    if (hedging.mode != options::Mode::kOff) {
      Judge(path("hedging.mode"), options.idempotent == false,
            " must be off where idempotent is false: a hedge executes a call "
            "twice");
      const bool fixed = hedging.delay.has_value();
      const absl::Duration delay = hedging.delay.value_or(hedging.min_delay);
      const std::string delay_path =
          path(fixed ? "hedging.delay" : "hedging.min_delay");
      const bool late = delay >= options.timeout;
      Judge(delay_path, late || delay >= retry.attempt_timeout,
            absl::StrCat(
                " must be less than the method's ",
                late ? "timeout" : "retry.attempt_timeout", " of ",
                DurationToText(late ? options.timeout : retry.attempt_timeout),
                ", is ", DurationToText(delay)));
    }
    Judge(path("idle_timeout"), options.idle_timeout >= options.timeout,
          absl::StrCat(" must be less than the method's timeout of ",
                       DurationToText(options.timeout), ", is ",
                       DurationToText(options.idle_timeout)));
    for (const char* field : {"rate_limit.mode", "rate_limit.burst"}) {
      Judge(path(field), path("rate_limit.per_second").empty(),
            " does nothing without per_second");
    }
    Judge(path("fault.abort_code"), path("fault.abort_percent").empty(),
          " does nothing without abort_percent");
    Judge(path("fault.delay"), path("fault.delay_percent").empty(),
          " does nothing without delay_percent");
    Judge(path("fault.delay_percent"),
          options.fault.delay_share > 0 && path("fault.delay").empty(),
          " does nothing without delay");
  }

  // What a policy says may do nothing for one of the methods that it is for:
  // another takes it back there. Only when it does nothing for any of them it
  // is an error. Notes one method's part of that; `path` is empty when the
  // field was not given.
  void Judge(const std::string& path, bool useless, absl::string_view why) {
    if (path.empty() || sources_.IsBad(path)) return;
    Use& use = uses_[path];
    if (!useless) {
      use.any = true;
    } else if (use.why_not.empty()) {
      use.why_not = std::string(why);
    }
  }

  void ReportUseless() {
    for (const auto& [path, use] : uses_) {
      if (!use.any) Add(sources_.Find(path), path, use.why_not);
    }
    uses_.clear();
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
      if (CheckCode(codes[i], at, /*may_be_cancelled=*/false) &&
          !seen.insert(codes[i]).second) {
        Add(sources_.Find(at), at, ": ", codes[i], " is given twice");
      }
    }
  }

  // False, and a problem, if `name` is not that of a failure.
  bool CheckCode(const std::string& name, const std::string& path,
                 bool may_be_cancelled) {
    const std::optional<absl::StatusCode> code = StatusCodeFromName(name);
    if (!code.has_value()) {
      Add(sources_.Find(path), path,
          " must be the name of a gRPC status code, is ", Quoted(name),
          DidYouMeanStatus(name));
      return false;
    }
    if (*code == absl::StatusCode::kOk ||
        (*code == absl::StatusCode::kCancelled && !may_be_cancelled)) {
      Add(sources_.Find(path), path, " must be the code of a failure, is ",
          name);
      return false;
    }
    return true;
  }

  static std::string Text(absl::Duration value) {
    return DurationToText(value);
  }
  static std::string Text(int value) { return absl::StrCat(value); }

  // Reports a lower bound above its upper one, where one of them is given.
  template <typename T>
  void CheckOrder(T low, const std::string& low_path, T high,
                  const std::string& high_path) {
    if (low <= high || sources_.IsBad(low_path) || sources_.IsBad(high_path)) {
      return;
    }
    const Position at = sources_.Has(low_path) ? sources_.Find(low_path)
                                               : sources_.Find(high_path);
    const absl::string_view name =
        absl::string_view(high_path).substr(high_path.rfind('.') + 1);
    Add(at, low_path, " must be at most ", name, ", ", Text(high), ", is ",
        Text(low));
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

  // Whether what a policy says does anything for any method.
  struct Use {
    bool any = false;
    std::string why_not;  // For the first method for which it does nothing.
  };

  BuildContext& context_;
  const SourceMap& sources_;
  Problems& problems_;
  std::map<std::string, Use> uses_;  // Of one service, by path.
};

}  // namespace

options::MeshOptions BuildOptions(const v1::Config& config,
                                  BuildContext* context) {
  return Builder(context).Build(config);
}

cluster::EndpointSetPtr BuildEndpoints(const v1::EndpointList& list,
                                       BuildContext* context) {
  return Builder(context).Build(list);
}

}  // namespace mesh::config
