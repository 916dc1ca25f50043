#ifndef MESH_GRPC_SOCKET_WATCH_H_
#define MESH_GRPC_SOCKET_WATCH_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "grpcpp/support/channel_arguments.h"
#include "mesh/base/mutex.h"

namespace mesh::core {

// The socket of a channel's connection. It tells whether anything comes over
// it, and can end it under the calls that run on it. gRPC has no other way to
// end those. Where channels share a connection, the one that dialled knows its
// socket, and the others do not. Thread-safe.
class SocketWatch : public std::enable_shared_from_this<SocketWatch> {
 public:
  SocketWatch() = default;
  SocketWatch(const SocketWatch&) = delete;
  SocketWatch& operator=(const SocketWatch&) = delete;

  // Lets a channel that is made with `args` tell this one about its sockets. It
  // makes no channel differ from another.
  void AddTo(grpc::ChannelArguments* args);

  // What has come since the newest connection was made. Empty: not known.
  std::optional<uint64_t> BytesReceived() const;
  // Ends the newest connection, as if it had been lost. False: it is not known.
  bool Break();

  // A socket was made for a connection.
  void OnSocket(int fd);

 private:
  mutable base::Mutex mu_;
  int fd_ ABSL_GUARDED_BY(mu_) = -1;
  uint64_t cookie_ ABSL_GUARDED_BY(mu_) = 0;  // Linux's cookie of the socket.
};

}  // namespace mesh::core

#endif  // MESH_GRPC_SOCKET_WATCH_H_
