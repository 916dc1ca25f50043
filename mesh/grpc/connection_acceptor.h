#ifndef MESH_GRPC_CONNECTION_ACCEPTOR_H_
#define MESH_GRPC_CONNECTION_ACCEPTOR_H_

#include <memory>

#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"

namespace mesh::core {

// Gives sockets that were accepted elsewhere to a server. Thread-safe. It may
// outlive the server.
class ConnectionAcceptor {
 public:
  // For the server that `builder` is to build.
  ConnectionAcceptor(grpc::ServerBuilder* builder,
                     std::shared_ptr<grpc::ServerCredentials> credentials);

  // Gives the server the connected socket `fd`, which owns it from then on.
  // `first` is the byte that was read from it. `copy` is a duplicate of `fd`,
  // and stays the caller's. False: the server has not started or was shut down,
  // and `fd` is still the caller's. gRPC's own function does not tell.
  //
  // gRPC begins the handshake, and even a call, on this thread: hold no lock.
  bool HandOver(int fd, int copy, char first);

 private:
  const std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor>
      acceptor_;
};

}  // namespace mesh::core

#endif  // MESH_GRPC_CONNECTION_ACCEPTOR_H_
