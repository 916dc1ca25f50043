#ifndef MESH_SERVICE_CONNECTIVITY_H_
#define MESH_SERVICE_CONNECTIVITY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "mesh/base/mutex.h"
#include "mesh/base/scheduler.h"
#include "mesh/cluster/membership.h"

namespace mesh::service {

// The best state that any of `members` has, as gRPC's round_robin aggregates
// it. `resolved`: it is known that there are none, or that they cannot be
// found.
grpc_connectivity_state Aggregate(const std::vector<cluster::Member>& members,
                                  bool resolved);

// The state of a service's connections as the application sees it, and who
// watches it. Thread-safe.
class Connectivity {
 public:
  // Called once: whether the state changed before the deadline.
  using Done = std::function<void(bool changed)>;

  // Closures on `control` run on the control thread, and only while this lives.
  explicit Connectivity(std::shared_ptr<base::Scheduler> control);
  // Ends. Who still watches is told GRPC_CHANNEL_SHUTDOWN, as gRPC tells of a
  // channel's end.
  ~Connectivity() { Set(GRPC_CHANNEL_SHUTDOWN); }
  Connectivity(const Connectivity&) = delete;
  Connectivity& operator=(const Connectivity&) = delete;

  grpc_connectivity_state state() const;

  // Calls `done` when the state is not `last`, maybe in here, or at `deadline`.
  // No lock is held then.
  void Watch(grpc_connectivity_state last, absl::Time deadline, Done done);

  // The state is `state` now. Tells those who watch.
  void Set(grpc_connectivity_state state);

 private:
  struct StateWatch {
    grpc_connectivity_state last = GRPC_CHANNEL_IDLE;
    Done done;
    base::Scheduler::TimerId timer = 0;
  };

  void OnDeadline(uint64_t id);

  const std::shared_ptr<base::Scheduler> control_;

  mutable base::Mutex mu_;
  grpc_connectivity_state state_ ABSL_GUARDED_BY(mu_) = GRPC_CHANNEL_IDLE;
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<uint64_t, StateWatch> watches_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_CONNECTIVITY_H_
