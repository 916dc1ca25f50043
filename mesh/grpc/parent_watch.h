#ifndef MESH_GRPC_PARENT_WATCH_H_
#define MESH_GRPC_PARENT_WATCH_H_

#include <functional>
#include <memory>

#include "grpc/grpc.h"
#include "mesh/grpc/core_queue.h"

namespace mesh::core {

// Notices that a call that a server serves is cancelled, or over. It serves a
// call made for that one that runs on no grpc_call at the moment. Otherwise the
// core would cancel it. The core cancels a call of its own with its parent, and
// tells; so this watch is a silent child of the parent.
class ParentWatch {
 public:
  // `core` is a child of the call to be watched
  // (InProcessServer::NewSilentCall()). Nothing is sent on it and nothing ends
  // it by itself. Its events are on a CoreQueue; the watch takes it.
  //
  // `cancelled` is called at most once, maybe already in here, inside whatever
  // call of gRPC brings it. It must be quick and take no lock that is held
  // around such a call. It is not called once the watch is gone, except by a
  // thread that has begun already.
  ParentWatch(grpc_call* core, std::function<void()> cancelled);
  ~ParentWatch();
  ParentWatch(const ParentWatch&) = delete;
  ParentWatch& operator=(const ParentWatch&) = delete;

 private:
  struct State;

  const std::shared_ptr<State> state_;  // The event to come shares it.
};

}  // namespace mesh::core

#endif  // MESH_GRPC_PARENT_WATCH_H_
