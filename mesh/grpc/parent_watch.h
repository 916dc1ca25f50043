#ifndef MESH_GRPC_PARENT_WATCH_H_
#define MESH_GRPC_PARENT_WATCH_H_

#include <functional>
#include <memory>

#include "grpc/grpc.h"
#include "mesh/grpc/core_queue.h"

namespace mesh::core {

// Notices that a call of a server is cancelled, or over, for one that is made
// for it and runs on no grpc_call at the moment, which the core would cancel.
// A call of the core's own is cancelled with its parent and tells; so this one
// is a silent child of it.
class ParentWatch {
 public:
  // `core` is a child of the call to be watched that nothing is sent on and
  // nothing ends by itself (InProcessServer::NewSilentCall()), with events on a
  // CoreQueue; it is taken. `cancelled` is called at most once, maybe already
  // in here, inside whatever call of gRPC's brings it: it must be quick and
  // take no lock that is held around one. Not once the watch is gone, but for
  // a thread that has begun already.
  ParentWatch(grpc_call* core, std::function<void()> cancelled);
  ~ParentWatch();
  ParentWatch(const ParentWatch&) = delete;
  ParentWatch& operator=(const ParentWatch&) = delete;

 private:
  struct State;

  const std::shared_ptr<State> state_;  // Also of the event to come.
};

}  // namespace mesh::core

#endif  // MESH_GRPC_PARENT_WATCH_H_
