#ifndef MESH_GRPC_CORE_QUEUE_H_
#define MESH_GRPC_CORE_QUEUE_H_

#include <functional>

#include "grpc/grpc.h"

namespace mesh::core {

// A queue of gRPC's core whose events run closures, on gRPC's own threads, as
// they come. It owns no thread and polls no sockets. A thread that polls would
// take the work of the callers' threads, and each answer would cross from it to
// them. Thread-safe.
class CoreQueue {
 public:
  CoreQueue();
  // Waits for nothing: outstanding events still come.
  ~CoreQueue();
  CoreQueue(const CoreQueue&) = delete;
  CoreQueue& operator=(const CoreQueue&) = delete;

  grpc_completion_queue* queue() const { return queue_; }

  // A tag for one operation on the queue. It runs `run` when its event has
  // come, on a thread that holds no lock of gRPC's or the application's. With
  // `inlined`, that may be inside whatever call of gRPC brings the event. Then
  // `run` must be quick, and take no lock that is held around such a call.
  static void* Tag(std::function<void()> run, bool inlined = false);
  // Runs a tag whose operation the core did not take.
  static void RunRefused(void* tag);

 private:
  grpc_completion_queue* const queue_;
};

}  // namespace mesh::core

#endif  // MESH_GRPC_CORE_QUEUE_H_
