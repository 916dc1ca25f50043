#ifndef MESH_SERVER_SERVER_H_
#define MESH_SERVER_SERVER_H_

#include <memory>

#include "grpcpp/server_builder.h"

// What a process that serves calls adds. With it, the calls that handlers make
// through mesh know which call they serve. See docs/server.md.

namespace mesh::server {

// A server that Attach() was called for.
class Attachment {
 public:
  virtual ~Attachment() = default;

  // Announces that the server is about to shut down. From now on the answer to
  // every call has the trailer `mesh-draining: 1`. A mesh client that sees it
  // sends its calls to other endpoints, until it has a new connection to this
  // one.
  //
  // A call that arrives after grpc::Server::Shutdown() ends with CANCELLED.
  // With the announcement clients have left by then, so no such call arrives.
  // Announce, go on serving for some time (a second is much), and shut down.
  // Thread-safe.
  virtual void AnnounceShutdown() = 0;
};

// Makes the server that `builder` is to build pass on what its calls came with.
// It acts on calls that handlers make on mesh channels with a context from
// grpc::ClientContext::FromServerContext() or FromCallbackServerContext():
//
// - Such a call ends by the deadline of the call that it serves. Mesh knows
//   that deadline, so it begins no attempt that can't finish by then.
// - Such a call may fail although mesh tried it more than once, or would have
//   but for the budget. If the handler then answers with a failure, the answer
//   has the trailer `grpc-retry-pushback-ms: -1` (gRFC A6). It keeps the caller
//   from retrying on top. A handler that sets the trailer itself has the last
//   word.
//
// Calls with any other context inherit nothing, as in gRPC.
//
// Works for every kind of call and every API (sync, completion queue, callback,
// generic). Interceptors that the application gives the builder, before or
// after, stay, outside of this one. Call it once, before BuildAndStart().
//
// The result serves only to call AnnounceShutdown(): it need not be kept.
std::shared_ptr<Attachment> Attach(grpc::ServerBuilder* builder);

}  // namespace mesh::server

#endif  // MESH_SERVER_SERVER_H_
