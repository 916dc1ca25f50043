#ifndef MESH_SERVER_SERVER_H_
#define MESH_SERVER_SERVER_H_

#include "grpcpp/server_builder.h"

// What a process that serves calls adds, so that the calls that it makes for
// them through mesh know what they are part of. See docs/server.md.

namespace mesh::server {

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
// after, stay, outside of this one. Call it once, before BuildAndStart(); again
// it does nothing more.
void Attach(grpc::ServerBuilder* builder);

}  // namespace mesh::server

#endif  // MESH_SERVER_SERVER_H_
