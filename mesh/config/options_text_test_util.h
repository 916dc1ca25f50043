// Options as text, for tests: whether two configurations mean the same.

#ifndef MESH_CONFIG_OPTIONS_TEXT_TEST_UTIL_H_
#define MESH_CONFIG_OPTIONS_TEXT_TEST_UTIL_H_

#include <optional>
#include <string>
#include <type_traits>
#include <variant>

#include "absl/base/casts.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mesh/config/option_fields.h"
#include "mesh/options/service.h"

namespace mesh::config {

class OptionsTextWriter {
 public:
  std::string Write(options::MeshOptions options) {
    Group("telemetry", options.telemetry);
    Group("limits", options.limits);
    Add("identity", options.identity.has_value());
    if (options.identity.has_value()) WriteIdentity(*options.identity);
    WriteServer(options.server);
    for (const auto& [name, service] : options.services) {
      Add("service", name);
      WriteService(*service);
    }
    return text_;
  }

 private:
  static std::string Text(absl::Duration value) {
    return absl::FormatDuration(value);
  }
  static std::string Text(const std::string& value) { return value; }
  static std::string Text(options::Mode value) {
    return absl::StrCat("mode ", static_cast<int>(value));
  }
  template <typename T>
  static std::string Text(const std::optional<T>& value) {
    return value.has_value() ? Text(*value) : "none";
  }
  static std::string Text(double value) {
    return absl::StrCat(absl::Hex(absl::bit_cast<uint64_t>(value)), " ", value);
  }
  template <typename T>
  static std::enable_if_t<std::is_integral_v<T>, std::string> Text(T value) {
    return absl::StrCat(value);
  }

  template <typename T>
  void Add(const char* name, const T& value) {
    absl::StrAppend(&text_, group_, name, " ", Text(value), "\n");
  }

  template <typename Options>
  void Group(const char* name, Options options) {
    group_ = absl::StrCat(name, ".");
    VisitFields(options, [this](const char* field, const auto& value) {
      Add(field, value);
    });
    group_.clear();
  }

  void WriteIdentity(const options::IdentityOptions& identity) {
    Group("identity", identity);
    Add("source", identity.source.index());
    if (const auto* agent =
            std::get_if<options::SpiffeSource>(&identity.source)) {
      Group("spiffe", *agent);
    } else if (const auto* files =
                   std::get_if<options::IdentityFiles>(&identity.source)) {
      Add("cert", files->cert);
      Add("key", files->key);
      Add("ca", files->ca);
      for (const std::string& crl : files->crl) Add("crl", crl);
      for (const auto& [domain, file] : files->bundles) {
        Add("bundle", absl::StrCat(domain, " ", file));
      }
    }
  }

  void WriteServer(const options::ServerOptions& server) {
    Add("server", static_cast<int>(server.mode));
    Add("rules", server.rules);
    Add("crl", static_cast<int>(server.crl));
    for (const options::Rule& rule : server.allow) WriteRule("allow", rule);
    for (const options::Rule& rule : server.deny) WriteRule("deny", rule);
  }

  void WriteRule(const char* list, const options::Rule& rule) {
    Add("rule", std::string(list));
    for (const std::string& from : rule.from) Add("from", from);
    for (const std::string& method : rule.methods) Add("method", method);
    for (const options::HeaderMatch& header : rule.headers) {
      Add("header", header.name);
      Add("kind", static_cast<int>(header.kind));
      Add("value", header.value);
    }
  }

  void WriteService(const options::ServiceOptions& service) {
    WriteSource(service.source);
    Add("balancing", static_cast<int>(service.balancing));
    Group("connections", service.connections);
    Add("tls", service.tls.has_value());
    if (service.tls.has_value()) {
      Add("ca_file", service.tls->ca_file);
      Add("cert_file", service.tls->cert_file);
      Add("key_file", service.tls->key_file);
      Add("mode", static_cast<int>(service.tls->mode));
      for (const std::string& peer : service.tls->peer) Add("peer", peer);
      Add("crl", static_cast<int>(service.tls->crl));
    }
    Add("authority", service.authority);
    for (const auto& [name, argument] : service.channel_args) {
      Add("argument", name);
      Add("is text", argument.index());
      if (const int* number = std::get_if<int>(&argument)) {
        Add("value", *number);
      } else {
        Add("value", std::get<std::string>(argument));
      }
    }
    Group("retry_budget", service.retry_budget);
    const options::GuardOptions& guards = service.guards;
    Group("outlier_ejection", guards.outlier_ejection);
    Group("latency", guards.outlier_ejection.latency);
    Group("silence", guards.silence);
    Group("caps", guards.caps);
    Group("breaker", guards.breaker);
    Group("throttle", guards.throttle);
    Group("adaptive_concurrency", guards.adaptive_concurrency);
    WriteRateLimit(guards.rate_limit);
    WritePolicy(service.policy);
    for (const auto& [pattern, policy] : service.methods) {
      Add("method", pattern);
      WritePolicy(policy);
    }
  }

  void WriteSource(const options::EndpointSource& source) {
    if (const auto* file =
            std::get_if<options::EndpointsFileOptions>(&source)) {
      Add("endpoints_file", file->path);
    } else if (const auto* dns = std::get_if<options::DnsOptions>(&source)) {
      Add("dns", dns->name);
      Add("port", dns->port);
      Group("dns", *dns);
      for (const std::string& server : dns->servers) Add("server", server);
    } else {
      const auto& set = std::get<cluster::EndpointSetPtr>(source);
      for (const cluster::Endpoint& endpoint : set->endpoints) {
        Add("endpoint", endpoint.address);
        Add("weight", endpoint.weight);
        Add("priority", endpoint.priority);
        if (endpoint.details == nullptr) continue;
        const cluster::EndpointDetails& details = *endpoint.details;
        Add("region", details.locality.region);
        Add("zone", details.locality.zone);
        Add("sub_zone", details.locality.sub_zone);
        Add("authority", details.authority);
        for (const auto& [key, value] : details.metadata) {
          Add("metadata", absl::StrCat(key, " ", value));
        }
      }
    }
  }

  void WritePolicy(const options::MethodOptions& policy) {
    Group("policy", policy);
    Group("retry", policy.retry);
    Add("codes", policy.retry.codes.bits());
    Add("backoff_multiplier", policy.retry.backoff_multiplier);
    Group("hedging", policy.hedging);
    WriteRateLimit(policy.rate_limit);
    Add("fault", policy.fault.mode);
    Add("abort_share", policy.fault.abort_share);
    Add("abort_code", static_cast<int>(policy.fault.abort_code));
    Add("delay_share", policy.fault.delay_share);
    Add("delay", policy.fault.delay);
    Add("by_header", policy.fault.by_header);
  }

  void WriteRateLimit(const options::RateLimitOptions& limit) {
    Add("limit", limit.mode);
    Add("per_second", limit.per_second);
    Add("burst", limit.burst);
  }

  std::string group_;
  std::string text_;
};

// All that `options` say, one field a line.
inline std::string OptionsText(const options::MeshOptions& options) {
  return OptionsTextWriter().Write(options);
}

}  // namespace mesh::config

#endif  // MESH_CONFIG_OPTIONS_TEXT_TEST_UTIL_H_
