#ifndef MESH_SERVICE_LIVE_STREAM_H_
#define MESH_SERVICE_LIVE_STREAM_H_

#include <cstdint>

#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "mesh/service/connection.h"

namespace mesh::service {

// A stream that runs, between Service::AddStream() and RemoveStream(). It is
// asked on the control thread.
class LiveStream {
 public:
  // A reference to the grpc_call of a stream that runs on `endpoint`, or null.
  virtual grpc_call* RefIfOn(const ConnectedEndpoint* endpoint) = 0;
  // A stream with an idle timeout that is watched under `id` says when to ask
  // again. Where the time is over, `idle` is a reference to its grpc_call,
  // which is to be cancelled.
  virtual absl::Time CheckIdle(uint64_t id, absl::Time now,
                               grpc_call** idle) = 0;

 protected:
  ~LiveStream() = default;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_LIVE_STREAM_H_
