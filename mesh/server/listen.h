#ifndef MESH_SERVER_LISTEN_H_
#define MESH_SERVER_LISTEN_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "grpcpp/security/auth_metadata_processor.h"
#include "grpcpp/server_builder.h"
#include "mesh/grpc/server_credentials.h"
#include "mesh/server/connection_ledger.h"
#include "mesh/server/guard.h"
#include "mesh/server/listener.h"
#include "mesh/server/peer_trust.h"
#include "mesh/server/server.h"

namespace mesh::server {

// What a port is made of. All functions are called on several threads, the
// port's own among them. They must not block, and not end the server.
struct ListenOptions {
  Wires wires;
  // What the server shows, and the authorities of clients. Asked at each new
  // handshake. No pair, or null: peers with TLS are closed.
  core::FetchServerPair pair;
  // Whom the server believes. Null: nobody with TLS.
  VerifyPeer verify;
  // Whether the rules let a call pass. Null: all of verified peers pass.
  Authorize authorize;
  // The application's own processor. It comes last. May be null.
  std::shared_ptr<grpc::AuthMetadataProcessor> processor;
  // Receives a line about trouble. May be null.
  std::function<void(const std::string& line)> log;
  // Receives why the port takes no connections any more, if the system has
  // failed it. Called once at most. May be null.
  std::function<void(const std::string& why)> failed;
};

// A port of mesh, and the server that it is for. Thread-safe.
class ServerDoor : public Attachment {
 public:
  struct Counts {
    ConnectionLedger::Counts connections;
    Listener::Counts listener;
  };

  // What the port takes from now on. Connections of a wire that it takes no
  // longer have to leave: see ConnectionLedger.
  virtual void SetWires(Wires wires) = 0;
  // Whom the server believes from now on. `withdrawn`: it may believe less, and
  // connections whose peers are refused have to leave. It does not block: peers
  // are verified on the port's own thread, or when they call.
  virtual void SetTrust(VerifyPeer verify, bool withdrawn) = 0;
  // The number of the certificate that handshakes show from now on. Connections
  // on which one up to `withdrawn` was shown have to leave. 0: there are none.
  virtual void SetShown(uint64_t number, uint64_t withdrawn) = 0;
  // Closes the port. Connections stay. The server's Shutdown() needs no such
  // call; with one before it no connection comes in vain.
  virtual void Close() = 0;

  virtual Counts counts() const = 0;
};

// Adds the port `address` ("0.0.0.0:8443") to the server that `builder` is to
// build; see BindPort(). It takes TLS and plaintext alike, and does what
// Attach() does. `port`, which may be null, is set to the port at once. The
// port accepts when the server has started, and is closed when a connection
// finds the server shut down, or when the server is destroyed. The result need
// not be kept.
//
// INVALID_ARGUMENT: `address` is no IP address with a port.
// FAILED_PRECONDITION: Listen() or Attach() was called for `builder`.
// UNAVAILABLE, RESOURCE_EXHAUSTED, INTERNAL: the system or OpenSSL refuses.
absl::StatusOr<std::shared_ptr<ServerDoor>> Listen(grpc::ServerBuilder* builder,
                                                   absl::string_view address,
                                                   ListenOptions options,
                                                   int* port);

}  // namespace mesh::server

#endif  // MESH_SERVER_LISTEN_H_
