#ifndef MESH_CHANNEL_HEDGE_RACE_H_
#define MESH_CHANNEL_HEDGE_RACE_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"
#include "mesh/base/mutex.h"
#include "mesh/base/scheduler.h"
#include "mesh/call/call_machine.h"
#include "mesh/grpc/raw_call.h"

namespace mesh::channel {

// What a call has beside the attempt that its application's batches run on, if
// its policy hedges: the attempts that race with it.
//
// The application's batches are on one attempt at a time, the native one, which
// they began with or were started again on. A hedge is a call of mesh's own,
// received as bytes. When it wins, the native attempt is cancelled; its status
// comes to the thread that waits for it, and there the application's batches
// are started once more, on a call inside the process that answers with the
// winner's bytes (in_process_answer.h). A native attempt that fails while
// hedges run is parked: its batches are held until one of them has ended.
//
// So the events of a hedged call come on several threads: the application's or
// gRPC's for the native attempt, gRPC's for hedges, the control thread for the
// timer. Each is told to the machine under this object's lock, and what follows
// is done after it has been released. Only who finds the native attempt parked,
// or brings its end, may touch the application's batches.
//
// It outlives the call: a hedge that ends late finds it detached.
class HedgeRace : public std::enable_shared_from_this<HedgeRace> {
 public:
  // A hedge that is to be started.
  struct NewHedge {
    std::shared_ptr<core::RawCall> raw;
    std::multimap<std::string, std::string> metadata;
    uint32_t metadata_flags = 0;
    grpc::ByteBuffer request;
  };

  // The call. The first four are called with the race's lock held, which keeps
  // the call there: they must not call the race.
  class Host {
   public:
    // The moment at which an event is handled.
    virtual call::Moment MomentOfRace() = 0;
    // What the end of the native attempt, and of a hedge, tells of it and of
    // its endpoint (may be null).
    virtual call::AttemptOutcome NativeOutcome(
        const grpc::Status& status, cluster::LiveEndpoint* endpoint) = 0;
    virtual call::AttemptOutcome HedgeOutcome(const core::RawAnswer& answer,
                                              cluster::LiveEndpoint* endpoint,
                                              absl::Time deadline) = 0;
    // A hedge as `action` says.
    virtual NewHedge MakeHedge(const call::Action& action,
                               int previous_attempts) = 0;
    // Goes on with the application's batches, all of which are held: with
    // `action`, or with `answer`, or with neither: they are delivered as they
    // are. With no lock held. The call may be gone when this returns.
    virtual void GoOn(std::optional<call::Action> action,
                      std::shared_ptr<core::RawCall> answer) = 0;

   protected:
    ~Host() = default;
  };

  // `host` and `machine` live until Detach(), `loop` as long as the host.
  HedgeRace(Host* host, call::CallMachine* machine, base::Scheduler* loop)
      : loop_(loop), host_(host), machine_(machine) {}
  ~HedgeRace();
  HedgeRace(const HedgeRace&) = delete;
  HedgeRace& operator=(const HedgeRace&) = delete;

  // --- From the call, for its native attempt

  // It is about to begin, as `action` says, on `core`.
  void OnNativeStart(const call::Action& action, grpc_call* core);
  // The request is there: from now on hedges can be made.
  void OnRequest();
  // It has ended with `status`, which is in its batches, and they are held.
  // Goes on with them.
  void OnNativeDone(grpc::Status* status);
  // It was to begin, and has not, for the application has cancelled the call.
  void OnNativeCancelled();
  // Something of its answer is about to be handed to the application. False: it
  // must not be, another attempt has won.
  bool TryCommit();

  // The attempt that has won while the native one ran. Null: none.
  std::shared_ptr<core::RawCall> Winner();
  // Makes `metadata`, which hedges are sent with too, say how many attempts
  // came before the native one.
  void SayPreviousAttempts(std::multimap<std::string, std::string>* metadata);

  // The application cancels. Any thread, also with locks of gRPC's held.
  void OnCancelled();

  // The call goes away. Ends what still runs.
  void Detach();

 private:
  struct Hedge {
    int attempt = 0;
    cluster::LiveEndpoint* endpoint = nullptr;  // Acquired while it is here.
    absl::Time deadline;
    std::shared_ptr<core::RawCall> raw;
  };
  // What an event has led to, to be done once the lock is released.
  struct Todo;

  // With the lock held: takes over what the machine said. `answer` is what the
  // attempt that ended has brought, null if that is the native one.
  void Take(call::Action action, std::shared_ptr<core::RawCall> answer,
            Todo* todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StartHedge(const call::Action& action, Todo* todo)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CancelNative(Todo* todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(Todo* todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void GiveUpHedges(Todo* todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetTimer(absl::Time at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Without it.
  void Do(Todo* todo);

  void OnTimer();
  void OnHedgeDone(int attempt);
  void EndParked();

  // Constant.
  base::Scheduler* const loop_;

  // By the application. Set before EndParked() is posted, and read with the
  // lock: so the one that comes later, that or the end of the native attempt,
  // sees the other.
  std::atomic<bool> cancelled_{false};

  base::Mutex mu_;
  Host* host_ ABSL_GUARDED_BY(mu_);  // Null once it is detached.
  call::CallMachine* const machine_ ABSL_PT_GUARDED_BY(mu_);
  int native_attempt_ ABSL_GUARDED_BY(mu_) = 0;
  // Acquired until the machine has been told of the attempt's end.
  cluster::LiveEndpoint* native_endpoint_ ABSL_GUARDED_BY(mu_) = nullptr;
  // While it runs; referenced.
  grpc_call* native_ ABSL_GUARDED_BY(mu_) = nullptr;
  bool parked_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;  // The call, as the machine says.
  bool has_request_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Hedge> hedges_ ABSL_GUARDED_BY(mu_);  // That run.
  // The last one that failed: the call may end with what it said.
  int failed_attempt_ ABSL_GUARDED_BY(mu_) = 0;
  std::shared_ptr<core::RawCall> failed_ ABSL_GUARDED_BY(mu_);
  // How the call has ended while the native attempt ran.
  std::shared_ptr<core::RawCall> winner_ ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  // When the machine wants to be woken.
  absl::Time timer_at_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  base::Scheduler::TimerId timer_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace mesh::channel

#endif  // MESH_CHANNEL_HEDGE_RACE_H_
