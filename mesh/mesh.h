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

namespace grpc {
class AuthMetadataProcessor;  // grpcpp/security/auth_metadata_processor.h
class ServerBuilder;          // grpcpp/server_builder.h
}  // namespace grpc

namespace mesh {

namespace security {
class IdentitySource;  // mesh/security/source.h
}
namespace server {
class Attachment;  // mesh/server/server.h
}
namespace v1 {
class Config;  // mesh/v1/config.pb.h
}

// What is given in code, beside the configuration.
struct Options {
  // Default: warnings and errors to stderr.
  LogSink log_sink;
  // Credentials of single services, by name. They take precedence over `tls`.
  std::map<std::string, std::shared_ptr<grpc::ChannelCredentials>> credentials;
  // They see every decision of every call, beside the mesh's own metrics.
  std::vector<std::shared_ptr<telemetry::Observer>> observers;
  // What answers unary calls of single services, by name, when they fail.
  std::map<std::string, Fallback> fallbacks;
  // Where this process has its identity from. It takes precedence over
  // `identity.spiffe` and `identity.files`. The configuration has to have
  // `identity`, if only "identity: {}".
  std::shared_ptr<security::IdentitySource> identity;
};

// What one port is made with.
struct ListenOptions {
  // The application's own processor of call credentials. It comes last: what
  // mesh refuses it does not see. May be null.
  std::shared_ptr<grpc::AuthMetadataProcessor> processor;
};

// What one channel is made with.
struct ChannelOptions {
  // They run around a logical call, outside the mesh, once per call however
  // often it is retried. The first one is outermost.
  std::vector<
      std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
      interceptors;
};

// The services that a process calls, and the ports on which it is called.
// Thread-safe. It may be destroyed before its channels and ports. They go on as
// they are, discovery and new certificates included, but the configuration is
// no longer watched.
class Mesh {
 public:
  // Reads `path` (YAML or JSON, schema mesh.v1.Config) and watches it. A
  // changed file is checked whole and applied while calls run. A bad one is
  // logged and counted, and changes nothing. It is tried again each second,
  // since a file that it names may come late. The error says file, line,
  // column, field and reason of each thing that is wrong.
  static absl::StatusOr<std::unique_ptr<Mesh>> FromFile(const std::string& path,
                                                        Options options = {});

  // Takes a configuration that was built in code.
  static absl::StatusOr<std::unique_ptr<Mesh>> Create(const v1::Config& config,
                                                      Options options = {});

  virtual ~Mesh() = default;

  // A channel to `service`, for any generated stub or grpc::GenericStub. Never
  // null. All channels to one service share its connections.
  //
  // Calls to a service that the configuration does not have fail with
  // UNAVAILABLE, until a reload adds it. The status names the service and the
  // nearest ones that exist.
  virtual std::shared_ptr<grpc::ChannelInterface> Channel(
      absl::string_view service, ChannelOptions options = {}) = 0;

  // Adds the port `address` to the server that `builder` is to build, in place
  // of AddListeningPort() and server::Attach(). The configuration's `identity`
  // and `server` say what it shows, whom it believes and who may call what,
  // also as they change while the server runs. TLS and plaintext come to one
  // port. A handler asks server::PeerOf() (mesh/server/peer.h) who calls.
  //
  // `address` is an IP address with a port: "0.0.0.0:8443", "[::]:0". `port`,
  // which may be null, is set to the port at once. The port accepts when the
  // server has started. The result need not be kept.
  //
  // INVALID_ARGUMENT: `address` is none. FAILED_PRECONDITION: Listen() or
  // Attach() was called for `builder` before. UNAVAILABLE, RESOURCE_EXHAUSTED,
  // INTERNAL: the system or OpenSSL refuses.
  virtual absl::StatusOr<std::shared_ptr<server::Attachment>> Listen(
      grpc::ServerBuilder* builder, absl::string_view address,
      int* port = nullptr, ListenOptions options = {}) = 0;

  // Checks `config` and applies it as a reload does. On error nothing changes.
  virtual absl::Status Reload(const v1::Config& config) = 0;

  // What was counted until now.
  virtual telemetry::Snapshot Metrics() const = 0;
  // The same in Prometheus' text exposition format.
  virtual std::string PrometheusText() const = 0;

  // The configuration in force, after all reloads, as YAML with every default
  // that acts. A setting that nobody wrote can be found in it. It reads back to
  // the same configuration: files stand there as absolute paths, and nothing is
  // read from them. Credentials that were given in code are a comment.
  virtual std::string ConfigText() const = 0;
};

// A channel without any configuration. `target` is taken as grpc::CreateChannel
// takes it:
// - a name: "dns:///host:port" or "host:port";
// - addresses with ports, separated by commas;
// - what follows "ipv4:", "ipv6:", "unix:" or "unix-abstract:".
//
// All such channels share one Mesh that lives as long as the process.
// `credentials` null: plaintext.
//
// The result is never null. When `target` is bad, its calls fail with
// INVALID_ARGUMENT and say why. When the system has no thread left, they fail
// with RESOURCE_EXHAUSTED.
std::shared_ptr<grpc::ChannelInterface> CreateChannel(
    const std::string& target,
    std::shared_ptr<grpc::ChannelCredentials> credentials = nullptr);

// What was counted for the channels that CreateChannel() has made and that
// still exist, and the configuration that they have. A service's name is its
// target. The formats are those of Mesh::Metrics(), Mesh::PrometheusText() and
// Mesh::ConfigText(). Thread-safe.
telemetry::Snapshot DefaultMetrics();
std::string DefaultPrometheusText();
std::string DefaultConfigText();

}  // namespace mesh

#endif  // MESH_MESH_H_
