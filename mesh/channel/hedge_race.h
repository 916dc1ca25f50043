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

// The attempts that race with the one on which the application's batches run,
// for a call whose policy hedges.
//
// The application's batches are on one attempt at a time, the native one. They
// began with it or were started again on it. A hedge is a call of mesh's own,
// received as bytes. When a hedge wins, the native attempt is cancelled. Its
// status comes to the thread that waits for it. There the application's batches
// are started once more, on a call inside the process that answers with the
// winner's bytes (in_process_answer.h). A native attempt that fails while
// hedges run is parked: its batches are held until one of them has ended.
//
// So the events of a hedged call come on several threads: the application's or
// gRPC's for the native attempt, gRPC's for hedges, the control thread for the
// timer. The machine is told each event under this object's lock. What follows
// is done after the lock has been released. Only the thread that finds the
// native attempt parked, or that brings its end, may touch the application's
// batches.
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
  // the call alive. They must not call the race.
  class Host {
   public:
    // The moment at which an event is handled.
    virtual call::Moment MomentOfRace() = 0;
    // What the end of the native attempt, or of a hedge, says about the attempt
    // and its endpoint (which may be null).
    virtual call::AttemptOutcome NativeOutcome(
        const grpc::Status& status, cluster::LiveEndpoint* endpoint) = 0;
    virtual call::AttemptOutcome HedgeOutcome(const core::RawAnswer& answer,
                                              cluster::LiveEndpoint* endpoint,
                                              absl::Time deadline) = 0;
    // A hedge as `action` says.
    virtual NewHedge MakeHedge(const call::Action& action,
                               int previous_attempts) = 0;
    // Goes on with the application's batches, all of which are held. It goes on
    // with `action`, or with `answer`. With neither, the batches are delivered
    // as they are. Called with no lock held. The call may be gone when this
    // returns.
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

  // --- The call tells about its native attempt

  // It is about to begin, as `action` says, on `core`.
  void OnNativeStart(const call::Action& action, grpc_call* core);
  // The request is there: from now on hedges can be made.
  void OnRequest();
  // It has ended with `status`, which is in its batches, and they are held.
  // Goes on with them.
  void OnNativeDone(grpc::Status* status);
  // It was to begin, and has not, because the application has cancelled the
  // call.
  void OnNativeCancelled();
  // Something of its answer is about to be handed to the application. False:
  // another attempt has won, so it must not be.
  bool TryCommit();

  // The attempt that has won while the native one ran. Null: none.
  std::shared_ptr<core::RawCall> Winner();
  // Makes `metadata`, with which hedges are sent, too, say how many attempts
  // came before the native one.
  void SayPreviousAttempts(std::multimap<std::string, std::string>* metadata);

  // The application cancels. Any thread, also with gRPC's locks held.
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
  // What an event has led to. It is done once the lock is released.
  struct Todo;

  // Takes over what the machine said, with the lock held. `answer` is what the
  // attempt that ended has brought; null for the native one.
  void Take(call::Action action, std::shared_ptr<core::RawCall> answer,
            Todo* todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StartHedge(const call::Action& action, Todo* todo)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CancelNative(Todo* todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(Todo* todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void GiveUpHedges(Todo* todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetTimer(absl::Time at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Does it, without the lock.
  void Do(Todo* todo);

  void OnTimer();
  void OnHedgeDone(int attempt);
  void EndParked();

  // Constant.
  base::Scheduler* const loop_;

  // The application has cancelled. It is set before EndParked() is posted, and
  // read with the lock. So the later one of the two, EndParked() or the end of
  // the native attempt, sees the other.
  std::atomic<bool> cancelled_{false};

  base::Mutex mu_;
  Host* host_ ABSL_GUARDED_BY(mu_);  // Null once it is detached.
  call::CallMachine* const machine_ ABSL_PT_GUARDED_BY(mu_);
  int native_attempt_ ABSL_GUARDED_BY(mu_) = 0;
  // Acquired until the machine has been told of the attempt's end.
  cluster::LiveEndpoint* native_endpoint_ ABSL_GUARDED_BY(mu_) = nullptr;
  // Set while it runs; holds a reference.
  grpc_call* native_ ABSL_GUARDED_BY(mu_) = nullptr;
  bool parked_ ABSL_GUARDED_BY(mu_) = false;
  // The call has ended, as the machine says.
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  bool has_request_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Hedge> hedges_ ABSL_GUARDED_BY(mu_);  // Those that run.
  // The last one that failed. The call may end with its status.
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
