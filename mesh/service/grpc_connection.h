#ifndef MESH_SERVICE_GRPC_CONNECTION_H_
#define MESH_SERVICE_GRPC_CONNECTION_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "mesh/cluster/endpoint.h"
#include "mesh/grpc/core_queue.h"
#include "mesh/options/endpoints.h"
#include "mesh/service/connection.h"
#include "mesh/service/secrets.h"

namespace mesh::service {

// What the connections of one service are made with. A value. When it changes,
// the service makes all its endpoints anew, except for a renewal.
struct ConnectionSettings {
  SecretsPtr secrets = std::make_shared<const Secrets>();  // Never null.
  std::string authority;
  std::map<std::string, options::ChannelArgument> channel_args;
  options::ConnectionOptions options;
  // Every method may be executed twice, so mesh's own retries cover all that
  // gRPC's transparent retries do, and gRPC's are left out (docs/decisions):
  // they cost a tenth of a call.
  bool all_idempotent = false;
  // The addresses are those of a name. Connections to them go through no proxy,
  // though gRPC knows one.
  bool resolved = false;

  bool operator==(const ConnectionSettings& o) const {
    return secrets == o.secrets && EqualsButForSecrets(o);
  }
  // Whether only the secrets differ, and these are a later generation, or the
  // first one.
  bool IsRenewalOf(const ConnectionSettings& o) const {
    const bool first = o.secrets->make == nullptr;
    const bool later = o.secrets->generation > 0 &&
                       secrets->generation > o.secrets->generation;
    return (first || later) && EqualsButForSecrets(o);
  }

 private:
  bool EqualsButForSecrets(const ConnectionSettings& o) const {
    return authority == o.authority && channel_args == o.channel_args &&
           options == o.options && all_idempotent == o.all_idempotent &&
           resolved == o.resolved;
  }
};

// gRPC gives channels with equal arguments to one address one and the same
// connection. So the number is an argument, except for 0.
inline constexpr char kNumberArgument[] = "mesh.connection_number";

// The arguments of a channel to `endpoint`. `exact`: with gRPC's transparent
// retries.
grpc::ChannelArguments ArgumentsOf(const cluster::Endpoint& endpoint,
                                   const ConnectionSettings& settings,
                                   uint64_t number, bool exact);

// A plain grpc::Channel to one address. Where the service has both kinds of
// calls, the second kind of channel is made when it is first needed. Both have
// the same credentials. `endpoint` and `watches`, whose events tell of changes,
// outlive it. `expires`: see Secrets, whose `make` is not null.
std::unique_ptr<Connection> MakeGrpcConnection(
    const cluster::Endpoint& endpoint,
    std::shared_ptr<const ConnectionSettings> settings, uint64_t number,
    Secrets::Expires expires, core::CoreQueue* watches);

}  // namespace mesh::service

#endif  // MESH_SERVICE_GRPC_CONNECTION_H_
