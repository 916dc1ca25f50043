#include "mesh/service/connectivity.h"

#include <utility>

namespace mesh::service {

using cluster::Readiness;

grpc_connectivity_state Aggregate(const std::vector<cluster::Member>& members,
                                  bool resolved) {
  if (members.empty()) {
    return resolved ? GRPC_CHANNEL_TRANSIENT_FAILURE : GRPC_CHANNEL_IDLE;
  }
  bool connecting = false;
  bool idle = false;
  for (const cluster::Member& member : members) {
    switch (member.live->readiness()) {
      case Readiness::kReady:
        return GRPC_CHANNEL_READY;
      case Readiness::kConnecting:
        connecting = true;
        break;
      case Readiness::kIdle:
        idle = true;
        break;
      case Readiness::kFailed:
        break;
    }
  }
  if (connecting) return GRPC_CHANNEL_CONNECTING;
  return idle ? GRPC_CHANNEL_IDLE : GRPC_CHANNEL_TRANSIENT_FAILURE;
}

Connectivity::Connectivity(std::shared_ptr<base::Scheduler> control)
    : control_(std::move(control)) {}

grpc_connectivity_state Connectivity::state() const {
  base::MutexLock lock(&mu_);
  return state_;
}

void Connectivity::Watch(grpc_connectivity_state last, absl::Time deadline,
                         Done done) {
  uint64_t id = 0;
  {
    base::MutexLock lock(&mu_);
    if (state_ == last) {
      id = ++last_id_;
      StateWatch& watch = watches_[id];
      watch.last = last;
      watch.done = std::move(done);
    }
  }
  if (id == 0)
    return done(true);  // NOLINT(bugprone-use-after-move): not moved.
  if (deadline == absl::InfiniteFuture()) return;
  const base::Scheduler::TimerId timer =
      control_->RunAt(deadline, [this, id] { OnDeadline(id); });
  {
    base::MutexLock lock(&mu_);
    const auto found = watches_.find(id);
    if (found != watches_.end()) {
      found->second.timer = timer;
      return;
    }
  }
  control_->Cancel(timer);  // The state has changed meanwhile.
}

void Connectivity::OnDeadline(uint64_t id) {
  Done late;
  {
    base::MutexLock lock(&mu_);
    const auto found = watches_.find(id);
    if (found == watches_.end()) return;
    late = std::move(found->second.done);
    watches_.erase(found);
  }
  late(false);
}

void Connectivity::Set(grpc_connectivity_state state) {
  std::vector<StateWatch> fired;
  {
    base::MutexLock lock(&mu_);
    state_ = state;
    for (auto it = watches_.begin(); it != watches_.end();) {
      if (it->second.last == state) {
        ++it;
        continue;
      }
      fired.push_back(std::move(it->second));
      it = watches_.erase(it);
    }
  }
  for (const StateWatch& watch : fired) {
    if (watch.timer != 0) control_->Cancel(watch.timer);
    watch.done(true);
  }
}

}  // namespace mesh::service
