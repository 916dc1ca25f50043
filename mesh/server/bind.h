#ifndef MESH_SERVER_BIND_H_
#define MESH_SERVER_BIND_H_

#include <sys/socket.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/server/owned_fd.h"

namespace mesh::server {

// Sockets that are bound, and not listening yet. Several where one cannot serve
// both families.
struct BoundPort {
  std::vector<OwnedFd> sockets;
  int port = 0;
};

// Binds `address` ("0.0.0.0:8443", "[::1]:0") as a port of gRPC 1.51 does. A
// wildcard of either family means both families; where IPv6 cannot be had, or
// another has the port there, it means IPv4. Port 0 is any free port. The
// sockets have SO_REUSEPORT, SO_REUSEADDR and TCP_NODELAY, which accepted ones
// inherit. INVALID_ARGUMENT: it is no IP address with a port. UNAVAILABLE: the
// system refuses, and why.
absl::StatusOr<BoundPort> BindPort(absl::string_view address);

// Begins to listen. `user_timeout` is how long sent data may stay unconfirmed
// (TCP_USER_TIMEOUT); absent: as the system has it.
absl::Status ListenOn(const BoundPort& port,
                      std::optional<absl::Duration> user_timeout);

// The address in the words of grpc::ServerContext::peer(): "ipv4:10.0.0.7:99",
// "ipv6:%5B::1%5D:99". An IPv4 address in IPv6 form counts as IPv4. Empty: of
// another family.
std::string PeerName(const sockaddr_storage& address);

}  // namespace mesh::server

#endif  // MESH_SERVER_BIND_H_
