#ifndef MESH_SERVER_PEER_H_
#define MESH_SERVER_PEER_H_

#include <optional>

#include "grpcpp/server_context.h"
#include "mesh/security/peer.h"

namespace mesh::server {

// Who makes the call that a handler serves, of any kind and any API. A peer
// with TLS is verified: its name is that of its certificate. Nothing: the call
// came to a port that is not mesh's (AddListeningPort()), or is over. A call
// keeps the name by which it was admitted, also when trust changes meanwhile.
// A peer with TLS and no name at all is one that mesh has forgotten among too
// many others, and refuses by now. Its call is cancelled.
// Thread-safe while the handler may use `context`.
std::optional<security::Peer> PeerOf(grpc::ServerContextBase* context);

}  // namespace mesh::server

#endif  // MESH_SERVER_PEER_H_
