#ifndef MESH_OPTIONS_SERVICE_H_
#define MESH_OPTIONS_SERVICE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mesh/options/endpoints.h"
#include "mesh/options/guards.h"
#include "mesh/options/method.h"
#include "mesh/options/retry.h"
#include "mesh/options/security.h"

// What a valid configuration means: plain values with every default filled in,
// one header a wing. `mesh/config/loader.h` makes them; all other rooms read
// them. No protobuf and no YAML here.

namespace mesh::options {

// Where a service is found. All else may be the same for many services.
struct TargetOptions {
  EndpointSource source;
  std::string authority;  // Never empty.
};

struct ServiceOptions : TargetOptions {
  std::string name;
  BalancingPolicy balancing = BalancingPolicy::kLeastRequest;
  ConnectionOptions connections;
  std::optional<TlsOptions> tls;
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
  int max_peers = 200;
};
struct LimitsOptions {
  uint64_t stream_retry_bytes = 64 << 20;  // All streams of the Mesh together.
};

// A configuration as it was written. Immutable; any thread may use it.
class WrittenConfig {
 public:
  virtual ~WrittenConfig() = default;
  // It as YAML, with every default that acts and with `telemetry`, which holds
  // from the start of a Mesh. It reads back to the same configuration.
  virtual std::string Text(const TelemetryOptions& telemetry) const = 0;
};

struct MeshOptions {
  std::map<std::string, std::shared_ptr<const ServiceOptions>> services;
  TelemetryOptions telemetry;
  LimitsOptions limits;
  std::optional<IdentityOptions> identity;  // Absent: this process has none.
  // Where the configuration says nothing of it: strict with an identity,
  // plaintext without one.
  ServerOptions server;
  // What an operator should know and what forbids nothing, one line each:
  // "mesh.yaml:3:5: ...".
  std::vector<std::string> warnings;
  // Where the fields stand that say what an identity is made of, by their
  // paths: "mesh.yaml:3:5: ". Errors that come up later begin so. "" stands for
  // the whole configuration. Empty: it was built in code.
  std::map<std::string, std::string> places;
  // What all this was read from. Null: it was read from nothing.
  std::shared_ptr<const WrittenConfig> written;
};

}  // namespace mesh::options

#endif  // MESH_OPTIONS_SERVICE_H_
