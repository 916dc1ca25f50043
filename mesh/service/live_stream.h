#ifndef MESH_SERVICE_LIVE_STREAM_H_
#define MESH_SERVICE_LIVE_STREAM_H_

#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "mesh/cluster/live_endpoint.h"

namespace mesh::service {

// A stream that runs, between LiveStreams::Add() and Remove(). The control
// thread asks both questions, with no lock held. Remove() waits for an answer
// that is being given. So an answer takes at most the stream's own lock, which
// nobody holds around Remove(). It calls nothing of mesh or gRPC but
// grpc_call_ref().
class LiveStream {
 public:
  // A reference to the grpc_call of a stream that runs on `endpoint`, or null.
  virtual grpc_call* RefIfOn(const cluster::LiveEndpoint* endpoint) = 0;
  // When to ask a watched stream again. Where it has been idle for too long,
  // `idle` is a reference to its grpc_call, which is to be cancelled.
  virtual absl::Time CheckIdle(absl::Time now, grpc_call** idle) = 0;

 protected:
  ~LiveStream() = default;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_LIVE_STREAM_H_
