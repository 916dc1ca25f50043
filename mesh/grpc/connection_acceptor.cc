#include "mesh/grpc/connection_acceptor.h"

#include <sys/socket.h>

#include <cstdint>
#include <utility>

#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"

namespace mesh::core {
namespace {

// 0: it is no socket.
uint64_t CookieOf(int fd) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie
                                                                    : 0;
}

}  // namespace

ConnectionAcceptor::ConnectionAcceptor(
    grpc::ServerBuilder* builder,
    std::shared_ptr<grpc::ServerCredentials> credentials)
    : acceptor_(builder->experimental().AddExternalConnectionAcceptor(
          grpc::ServerBuilder::experimental_type::ExternalConnectionType::
              FROM_FD,
          std::move(credentials))) {}

bool ConnectionAcceptor::HandOver(int fd, int copy, char first) {
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters
      connection;
  connection.fd = fd;
  const grpc::Slice slice(&first, 1);
  connection.read_buffer = grpc::ByteBuffer(&slice, 1);
  acceptor_->HandleNewConnection(&connection);
  // The handshake has taken the byte (HandshakeManager::DoHandshake), so the
  // server has the socket.
  if (connection.read_buffer.Length() == 0) return true;
  // Either the server has not looked at the socket, or it has closed it because
  // the peer was gone. Then the number is free, or another file's.
  return CookieOf(fd) != CookieOf(copy);
}

}  // namespace mesh::core
