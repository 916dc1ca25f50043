#ifndef MESH_CONFIG_OPTIONS_H_
#define MESH_CONFIG_OPTIONS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/cluster/endpoint.h"

// What a valid configuration means: plain values with every default filled in.
// `mesh/config/loader.h` makes them; all other rooms read them. No protobuf
// and no YAML here.

namespace mesh::config {

// A set of status codes, bit `1 << code`.
class StatusCodeSet {
 public:
  constexpr StatusCodeSet() = default;
  static constexpr StatusCodeSet Of(absl::StatusCode code) {
    return StatusCodeSet().With(code);
  }
  constexpr StatusCodeSet With(absl::StatusCode code) const {
    StatusCodeSet result = *this;
    result.bits_ |= 1u << static_cast<int>(code);
    return result;
  }
  constexpr bool Contains(absl::StatusCode code) const {
    return static_cast<int>(code) >= 0 && static_cast<int>(code) < 32 &&
           (bits_ >> static_cast<int>(code) & 1) != 0;
  }
  constexpr bool operator==(StatusCodeSet other) const {
    return bits_ == other.bits_;
  }

 private:
  uint32_t bits_ = 0;
};

struct RetryOptions {
  int max_attempts = 3;  // With the first. 1 is no retry.
  StatusCodeSet codes = StatusCodeSet::Of(absl::StatusCode::kUnavailable);
  absl::Duration initial_backoff = absl::Milliseconds(25);
  absl::Duration max_backoff = absl::Seconds(1);
  double backoff_multiplier = 2;
  absl::Duration attempt_timeout = absl::InfiniteDuration();
};

// The policy of one method, all that is absent taken from the wider ones.
struct MethodOptions {
  absl::Duration timeout = absl::InfiniteDuration();
  std::optional<bool> idempotent;      // Empty: what the .proto says.
  std::optional<bool> wait_for_ready;  // Empty: what the call says.
  RetryOptions retry;
};

struct RetryBudgetOptions {
  double ratio = 0.1;
  double min_per_second = 10;
};

struct EndpointsFileOptions {
  std::string path;  // As it is to be opened.
  absl::Duration poll_interval = absl::Seconds(1);

  bool operator==(const EndpointsFileOptions& o) const {
    return path == o.path && poll_interval == o.poll_interval;
  }
};

struct DnsOptions {
  std::string name;
  uint16_t port = 0;
  absl::Duration min_refresh = absl::Seconds(1);
  absl::Duration max_refresh = absl::Seconds(300);
  std::vector<std::string> servers;  // "address:port". Empty: the system's.

  bool operator==(const DnsOptions& o) const {
    return name == o.name && port == o.port && min_refresh == o.min_refresh &&
           max_refresh == o.max_refresh && servers == o.servers;
  }
};

// Where endpoints come from.
using EndpointSource =
    std::variant<cluster::EndpointSetPtr, EndpointsFileOptions, DnsOptions>;

enum class BalancingPolicy { kLeastRequest, kRoundRobin };

struct ConnectionOptions {
  int ahead = 32;
  absl::Duration connect_timeout = absl::Seconds(5);
  absl::Duration initial_backoff = absl::Milliseconds(250);
  absl::Duration max_backoff = absl::Seconds(10);
  absl::Duration drain_timeout = absl::Hours(1);

  bool operator==(const ConnectionOptions& o) const {
    return ahead == o.ahead && connect_timeout == o.connect_timeout &&
           initial_backoff == o.initial_backoff &&
           max_backoff == o.max_backoff && drain_timeout == o.drain_timeout;
  }
};

struct TlsOptions {
  std::string ca_file;  // Empty: the system's authorities.
  std::string cert_file;
  std::string key_file;

  bool operator==(const TlsOptions& o) const {
    return ca_file == o.ca_file && cert_file == o.cert_file &&
           key_file == o.key_file;
  }
};

using ChannelArgument = std::variant<int, std::string>;

struct ServiceOptions {
  std::string name;
  EndpointSource source;
  BalancingPolicy balancing = BalancingPolicy::kLeastRequest;
  ConnectionOptions connections;
  std::optional<TlsOptions> tls;
  std::string authority;  // Never empty.
  std::map<std::string, ChannelArgument> channel_args;
  RetryBudgetOptions retry_budget;

  // Policy of methods that `methods` does not match.
  MethodOptions policy;
  // By "package.Service/Method" or "package.Service/*".
  std::map<std::string, MethodOptions, std::less<>> methods;

  // The policy of `method` ("/package.Service/Method" as gRPC has it, or
  // without the first slash): exact, then "*", then `policy`. Allocates
  // nothing. The reference is good as long as this object.
  const MethodOptions& PolicyOf(absl::string_view method) const;

  // Whether every method may be executed twice, known ones and unknown, because
  // the configuration says so.
  bool AllIdempotent() const;
};

struct TelemetryOptions {
  int max_methods = 200;
  int max_endpoints = 1000;
};

struct MeshOptions {
  std::map<std::string, std::shared_ptr<const ServiceOptions>> services;
  TelemetryOptions telemetry;
};

}  // namespace mesh::config

#endif  // MESH_CONFIG_OPTIONS_H_
