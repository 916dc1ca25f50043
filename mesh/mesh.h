#ifndef MESH_MESH_H_
#define MESH_MESH_H_

// The front door of mesh: what a service mesh gives, inside the process.
//
//   auto mesh = mesh::Mesh::FromFile("mesh.yaml");
//   if (!mesh.ok()) return Report(mesh.status());
//   auto cart = shop::Cart::NewStub((*mesh)->Channel("cart"));

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "grpcpp/channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/client_interceptor.h"
#include "mesh/fallback.h"
#include "mesh/log.h"
#include "mesh/telemetry/observer.h"
#include "mesh/telemetry/snapshot.h"
#include "mesh/version.h"

namespace mesh {

namespace v1 {
class Config;  // mesh/v1/config.pb.h
}

// What is given in code, beside the configuration.
struct Options {
  // Default: warnings and errors to stderr.
  LogSink log_sink;
  // Credentials of single services, by name. They go before `tls`.
  std::map<std::string, std::shared_ptr<grpc::ChannelCredentials>> credentials;
  // See every decision of every call, beside the mesh's own metrics.
  std::vector<std::shared_ptr<telemetry::Observer>> observers;
  // What answers unary calls of single services, by name, when they fail.
  std::map<std::string, Fallback> fallbacks;
};

// What one channel is made with.
struct ChannelOptions {
  // Run around a logical call, once for each however often it is retried,
  // outside the mesh. In order, the first one outermost.
  std::vector<
      std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
      interceptors;
};

// The services that a process calls. Thread-safe. It may be destroyed before
// its channels: they go on as they are, discovery included, but the
// configuration is watched no more.
class Mesh {
 public:
  // Reads `path` (YAML or JSON, schema mesh.v1.Config) and watches it: a
  // changed file is checked whole and applied while calls run; a bad one is
  // logged, counted and leaves all as it is. The error says file, line,
  // column, field and reason of each thing that is wrong.
  static absl::StatusOr<std::unique_ptr<Mesh>> FromFile(const std::string& path,
                                                        Options options = {});

  // From a configuration built in code.
  static absl::StatusOr<std::unique_ptr<Mesh>> Create(const v1::Config& config,
                                                      Options options = {});

  virtual ~Mesh() = default;

  // A channel to `service`, for any generated stub or grpc::GenericStub. Never
  // null. Calls to a service that the configuration does not have fail with
  // UNAVAILABLE, naming it and the nearest that exist, until a reload brings
  // it. All channels to one service share its connections.
  virtual std::shared_ptr<grpc::ChannelInterface> Channel(
      absl::string_view service, ChannelOptions options = {}) = 0;

  // Checks `config` and applies it as a reload does. On error nothing changes.
  virtual absl::Status Reload(const v1::Config& config) = 0;

  // What was counted until now.
  virtual telemetry::Snapshot Metrics() const = 0;
  // The same in Prometheus' text exposition format.
  virtual std::string PrometheusText() const = 0;
};

// A channel without any configuration: `target` is a name ("dns:///host:port"
// or "host:port"), addresses with ports separated by commas, or what follows
// "ipv4:", "ipv6:", "unix:" or "unix-abstract:", each as grpc::CreateChannel
// takes it. All such channels share one Mesh that lives as long as the process.
// A bad target yields a channel whose calls fail with INVALID_ARGUMENT and say
// why; a system that has no thread left, one whose calls fail with
// RESOURCE_EXHAUSTED. `credentials` null: plaintext.
std::shared_ptr<grpc::ChannelInterface> CreateChannel(
    const std::string& target,
    std::shared_ptr<grpc::ChannelCredentials> credentials = nullptr);

// What was counted of the channels that CreateChannel() has made and that still
// exist; a service's name is its target. As Mesh::Metrics() and
// Mesh::PrometheusText(). Thread-safe.
telemetry::Snapshot DefaultMetrics();
std::string DefaultPrometheusText();

}  // namespace mesh

#endif  // MESH_MESH_H_
