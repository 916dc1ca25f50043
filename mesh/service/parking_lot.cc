#include "mesh/service/parking_lot.h"

#include <utility>
#include <vector>

#include "absl/base/optimization.h"

namespace mesh::service {

ParkingLot::ParkingLot(std::shared_ptr<base::Scheduler> control,
                       WatchParent watch_parent)
    : control_(std::move(control)), watch_parent_(std::move(watch_parent)) {}

uint64_t ParkingLot::Park(Waiter* call, Until until, absl::Time at,
                          grpc_call* parent) {
  uint64_t id;
  {
    base::MutexLock lock(&mu_);
    id = ++last_;
    Parked& parked = parked_[id];
    parked.call = call;
    parked.until = until;
  }
  // From here on any of the three may wake it.
  base::Scheduler::TimerId timer = 0;
  if (at != absl::InfiniteFuture()) {
    timer = control_->RunAt(at, [this, id] { WakeUp(id, Wake::kTimer); });
  }
  std::shared_ptr<void> watch;
  if (ABSL_PREDICT_FALSE(parent != nullptr)) {
    // A thread that has begun to tell may outlive the lot. So it does not look
    // at the lot: it holds only the scheduler, which knows.
    watch = watch_parent_(parent, [this, control = control_, id] {
      control->Post([this, id] { WakeUp(id, Wake::kCancelled); });
    });
  }
  if (timer == 0 && watch == nullptr) return id;
  bool woken;
  {
    base::MutexLock lock(&mu_);
    const auto found = parked_.find(id);
    woken = found == parked_.end();
    if (!woken) {
      found->second.timer = timer;
      found->second.parent.swap(watch);
    }
  }
  if (woken && timer != 0) control_->Cancel(timer);
  return id;
}

void ParkingLot::Cancel(uint64_t id) {
  control_->Post([this, id] { WakeUp(id, Wake::kCancelled); });
}

void ParkingLot::Heard(uint64_t id) {
  base::MutexLock lock(&mu_);
  const auto found = parked_.find(id);
  if (found == parked_.end()) return;
  found->second.heard = true;
  asking_.push_back(id);
}

void ParkingLot::WakeForEndpoints(bool also_asking) {
  std::vector<uint64_t> waiting;
  {
    base::MutexLock lock(&mu_);
    for (const auto& [id, parked] : parked_) {
      if (parked.until == Until::kEndpoints || (also_asking && parked.heard)) {
        waiting.push_back(id);
      }
    }
  }
  if (also_asking) asking_.clear();
  WakeAll(waiting);
}

void ParkingLot::WakeAsking() { WakeAll(std::exchange(asking_, {})); }

void ParkingLot::WakeAll(const std::vector<uint64_t>& ids) {
  for (uint64_t id : ids) WakeUp(id, Wake::kEndpoints);
}

void ParkingLot::WakeUp(uint64_t id, Wake why) {
  Parked parked;
  {
    base::MutexLock lock(&mu_);
    const auto found = parked_.find(id);
    if (found == parked_.end()) return;
    parked = std::move(found->second);
    parked_.erase(found);
  }
  if (parked.timer != 0 && why != Wake::kTimer) control_->Cancel(parked.timer);
  parked.parent.reset();
  switch (why) {
    case Wake::kTimer:
      return parked.call->OnTimer();
    case Wake::kEndpoints:
      return parked.call->OnEndpointsChanged();
    case Wake::kCancelled:
      return parked.call->OnCancelled();
  }
}

}  // namespace mesh::service
