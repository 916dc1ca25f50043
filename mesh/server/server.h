#ifndef MESH_SERVER_SERVER_H_
#define MESH_SERVER_SERVER_H_

#include <memory>

#include "grpcpp/server_builder.h"

// What a process that serves calls adds, so that the calls that it makes for
// them through mesh know what they are part of. See docs/server.md.

namespace mesh::server {

// A server that Attach() was called for.
class Attachment {
 public:
  virtual ~Attachment() = default;

  // The server is about to shut down: from now on the answer to every call has
  // the trailer `mesh-draining: 1`, and mesh clients that see it leave for
  // other endpoints, until they have a new connection to this one. So no call
  // reaches the server between its grpc::Server::Shutdown() and the client's
  // learning of that, which gRPC ends with CANCELLED. Announce it, go on
  // serving for some time (a second is much), and shut down. Thread-safe.
  virtual void AnnounceShutdown() = 0;
};

// Makes the server that `builder` is to build hand on what calls come with. Of
// calls that its handlers make on mesh channels, with a context from
// grpc::ClientContext::FromServerContext() or FromCallbackServerContext():
//
// - They end by the deadline of the call that they serve, and mesh knows it: an
//   attempt that can't finish by then is not begun.
// - When one of them failed although mesh tried it more than once, or would
//   have but for the budget, and the handler answers with a failure, the answer
//   has the trailer `grpc-retry-pushback-ms: -1` (gRFC A6): the caller does not
//   retry on top. A handler that sets the trailer itself has the last word.
//
// Calls with any other context inherit nothing, as in gRPC.
//
// Works for every kind of call and every API (sync, completion queue, callback,
// generic). Interceptors that the application gives the builder, before or
// after, stay, outside of this one. Call it once, before BuildAndStart().
//
// What it returns is only for AnnounceShutdown(): it need not be kept.
std::shared_ptr<Attachment> Attach(grpc::ServerBuilder* builder);

}  // namespace mesh::server

#endif  // MESH_SERVER_SERVER_H_
