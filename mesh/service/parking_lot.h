#ifndef MESH_SERVICE_PARKING_LOT_H_
#define MESH_SERVICE_PARKING_LOT_H_

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
#include "mesh/service/waiter.h"

namespace mesh::service {

// Keeps the calls that wait: for a time, for another snapshot, or for both. A
// call is woken once, by what comes first. What comes later finds it gone.
// Thread-safe.
class ParkingLot {
 public:
  // Calls `cancelled` at most once, when `parent`, a call of a server, is
  // cancelled or over. It may do so on any thread, maybe before it returns. It
  // does not once the result is destroyed, except on a thread that has begun
  // already.
  using WatchParent = std::function<std::shared_ptr<void>(
      grpc_call* parent, std::function<void()> cancelled)>;

  // Closures on `control` run on the control thread, and only while the lot
  // lives (base::OwnedScheduler).
  ParkingLot(std::shared_ptr<base::Scheduler> control,
             WatchParent watch_parent);
  ParkingLot(const ParkingLot&) = delete;
  ParkingLot& operator=(const ParkingLot&) = delete;

  // What a call waits for, beside its time.
  enum class Until {
    kTime,       // Nothing.
    kEndpoints,  // Another snapshot: WakeForEndpoints().
    // A connection, for which it asks. From Heard() on: WakeForEndpoints() for
    // those that ask, too, or WakeAsking().
    kAsking,
  };

  // Keeps `call` until `at`, or until what `until` says. When `parent`, if not
  // null, is cancelled or over, the call is woken as cancelled. Returns its id,
  // never 0.
  //
  // It may be woken before this returns. So the caller holds a lock that the
  // waiter takes first when it is woken.
  uint64_t Park(Waiter* call, Until until, absl::Time at, grpc_call* parent);
  // What a call asks for is being seen to. Nothing that happened before wakes
  // it. Control thread only.
  void Heard(uint64_t id);
  // Wakes a call as cancelled, on the control thread, if it is still parked. It
  // only posts.
  void Cancel(uint64_t id);
  // The snapshot is another one. Wakes all calls that wait for that and were
  // parked before, the oldest first. Wakes those that ask only with
  // `also_asking`. Control thread only.
  void WakeForEndpoints(bool also_asking);
  // What the asking calls asked for does not come. Control thread only.
  void WakeAsking();

 private:
  enum class Wake { kTimer, kEndpoints, kCancelled };
  struct Parked {
    Waiter* call = nullptr;
    Until until = Until::kTime;
    bool heard = false;
    base::Scheduler::TimerId timer = 0;
    std::shared_ptr<void> parent;  // Null: it has none.
  };

  void WakeAll(const std::vector<uint64_t>& ids);
  void WakeUp(uint64_t id, Wake why);

  // Constant.
  const std::shared_ptr<base::Scheduler> control_;
  const WatchParent watch_parent_;

  base::Mutex mu_;
  uint64_t last_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<uint64_t, Parked> parked_ ABSL_GUARDED_BY(mu_);

  // Calls that were heard since asking ones were last woken. Some may be gone.
  // Control thread only.
  std::vector<uint64_t> asking_;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_PARKING_LOT_H_
