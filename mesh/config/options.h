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

// Whether a policy acts.
enum class Mode : uint8_t {
  kOff,      // Neither computes nor acts.
  kObserve,  // Computes and counts what it would do.
  kEnforce,
};

// The policies that may keep a call, or an attempt of one, from being made.
// What counters and events name them by.
enum class Guard : uint8_t {
  kMaxCalls,             // caps.max_calls
  kMaxCallsPerEndpoint,  // caps.max_calls_per_endpoint
  kMaxWaiting,           // caps.max_waiting
  kMaxRetries,           // caps.max_retries
  kBreaker,
  kThrottle,
  kAdaptiveConcurrency,
  kRateLimit,
  kFault,
};
inline constexpr int kGuards = 9;
// As in metrics: "max_calls", "breaker".
absl::string_view NameOf(Guard guard);

struct RetryOptions {
  int max_attempts = 3;  // With the first. 1 is no retry.
  StatusCodeSet codes = StatusCodeSet::Of(absl::StatusCode::kUnavailable);
  absl::Duration initial_backoff = absl::Milliseconds(25);
  absl::Duration max_backoff = absl::Seconds(1);
  double backoff_multiplier = 2;
  absl::Duration attempt_timeout = absl::InfiniteDuration();
  uint64_t stream_bytes = 1 << 20;
};

struct HedgingOptions {
  Mode mode = Mode::kOff;
  std::optional<absl::Duration> delay;  // Empty: adaptive.
  double quantile = 0.95;
  double factor = 1.25;
  absl::Duration min_delay = absl::Milliseconds(1);
  int max_attempts = 2;  // With the first one and with retries.
};

struct RateLimitOptions {
  Mode mode = Mode::kOff;
  double per_second = 0;
  double burst = 1;
  // Of a method: what it shares its tokens with. Empty: nothing. Not
  // configured: methods that no stub has registered share (mesh/channel).
  std::string bucket;
};

struct FaultOptions {
  Mode mode = Mode::kOff;
  double abort_share = 0;  // 0..1
  absl::StatusCode abort_code = absl::StatusCode::kUnavailable;
  double delay_share = 0;  // 0..1
  absl::Duration delay;
  bool by_header = false;
};

// The policy of one method, all that is absent taken from the wider ones.
struct MethodOptions {
  absl::Duration timeout = absl::InfiniteDuration();
  std::optional<bool> idempotent;      // Empty: what the .proto says.
  std::optional<bool> wait_for_ready;  // Empty: what the call says.
  RetryOptions retry;
  HedgingOptions hedging;
  RateLimitOptions rate_limit;
  FaultOptions fault;
  absl::Duration idle_timeout = absl::InfiniteDuration();
};

struct RetryBudgetOptions {
  double ratio = 0.05;
  double min_per_second = 5;
};

struct OutlierEjectionOptions {
  Mode mode = Mode::kEnforce;
  absl::Duration interval = absl::Seconds(1);
  absl::Duration base_ejection_time = absl::Seconds(30);
  absl::Duration max_ejection_time = absl::Seconds(300);
  int max_ejection_percent = 30;
  int panic_threshold_percent = 50;
  int consecutive_failures = 10;         // 0: never.
  int consecutive_gateway_failures = 5;  // 0: never.
  int consecutive_local_failures = 5;    // 0: never.
  struct SuccessRate {
    bool enabled = true;
    int stdev_factor = 1900;  // Thousandths.
    int minimum_hosts = 5;
    int request_volume = 100;
  } success_rate;
  struct FailurePercentage {
    bool enabled = true;
    int threshold = 85;
    int minimum_hosts = 3;
    int request_volume = 50;
  } failure_percentage;
  struct Latency {
    bool enabled = true;
    double factor = 3;
    absl::Duration min_difference = absl::Milliseconds(5);
    int minimum_hosts = 2;
    int request_volume = 5;
  } latency;
};

struct BlackHoleOptions {
  Mode mode = Mode::kEnforce;
  absl::Duration min_silence = absl::Milliseconds(50);
  double latency_factor = 3;
  std::string probe_method = "/grpc.health.v1.Health/Check";
  absl::Duration ramp = absl::Seconds(1);
  absl::Duration keepalive_time = absl::InfiniteDuration();  // None.
  absl::Duration keepalive_timeout = absl::Seconds(20);
};

struct CapsOptions {  // 0: no bound.
  Mode mode = Mode::kEnforce;
  int max_calls = 10000;
  int max_calls_per_endpoint = 0;
  int max_waiting = 10000;
  int max_retries = 1000;
};

struct BreakerOptions {
  Mode mode = Mode::kObserve;
  double failure_rate = 0.5;
  absl::Duration slow_call = absl::InfiniteDuration();
  double slow_call_rate = 0.9;
  absl::Duration window = absl::Seconds(10);
  int min_calls = 20;
  absl::Duration open_for = absl::Seconds(1);
  int probes = 3;
};

struct ThrottleOptions {
  Mode mode = Mode::kObserve;
  double k = 2;
  absl::Duration window = absl::Seconds(30);
  int min_calls = 50;
};

struct AdaptiveConcurrencyOptions {
  enum class Algorithm : uint8_t { kGradient, kAimd };
  Mode mode = Mode::kObserve;
  Algorithm algorithm = Algorithm::kGradient;
  int initial_limit = 100;
  int min_limit = 4;
  int max_limit = 10000;
  double latency_factor = 2;
};

// What guards a service as a whole, and its endpoints against each other.
struct GuardOptions {
  OutlierEjectionOptions outlier_ejection;
  BlackHoleOptions black_hole;
  CapsOptions caps;
  BreakerOptions breaker;
  ThrottleOptions throttle;
  AdaptiveConcurrencyOptions adaptive_concurrency;
  RateLimitOptions rate_limit;
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
  GuardOptions guards;

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
struct LimitsOptions {
  uint64_t stream_retry_bytes = 64 << 20;  // Of all streams of the Mesh.
};

struct MeshOptions {
  std::map<std::string, std::shared_ptr<const ServiceOptions>> services;
  TelemetryOptions telemetry;
  LimitsOptions limits;
};

}  // namespace mesh::config

#endif  // MESH_CONFIG_OPTIONS_H_
