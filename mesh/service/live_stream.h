#ifndef MESH_SERVICE_LIVE_STREAM_H_
#define MESH_SERVICE_LIVE_STREAM_H_

#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "mesh/cluster/live_endpoint.h"

namespace mesh::service {

// A stream that runs, between LiveStreams::Add() and Remove(). Both questions
// are asked on the control thread, with no lock held. Remove() waits for an
// answer that is being given, so an answer takes the stream's own lock at most,
// which nobody holds around Remove(), and calls nothing of mesh's or gRPC's but
// grpc_call_ref().
class LiveStream {
 public:
  // A reference to the grpc_call of a stream that runs on `endpoint`, or null.
  virtual grpc_call* RefIfOn(const cluster::LiveEndpoint* endpoint) = 0;
  // When a stream that is watched is to be asked again. Where it has been idle
  // for too long, `idle` is a reference to its grpc_call, which is to be
  // cancelled.
  virtual absl::Time CheckIdle(absl::Time now, grpc_call** idle) = 0;

 protected:
  ~LiveStream() = default;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_LIVE_STREAM_H_
