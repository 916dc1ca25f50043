#ifndef MESH_CHANNEL_HEDGE_H_
#define MESH_CHANNEL_HEDGE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "grpcpp/support/status.h"
#include "mesh/base/mutex.h"
#include "mesh/base/scheduler.h"
#include "mesh/call/call_machine.h"
#include "mesh/grpc/raw_call.h"

namespace mesh::channel {

class Call;

// What a call has beside the attempt that its application's batches run on, if
// its policy hedges: the attempts that race with it.
//
// The application's batches are on one attempt at a time, the native one, which
// they began with or were started again on (Call::TryAgain). A hedge is a call
// of mesh's own, received as bytes. When it wins, the native attempt is
// cancelled; its status comes to the thread that waits for it, and there the
// application's batches are started once more, on a call inside the process
// that answers with the winner's bytes (in_process_answer.h). A native attempt
// that fails while hedges run is parked: its batches are held until one of them
// has ended.
//
// So the events of a hedged call come on several threads: the application's or
// gRPC's for the native attempt, gRPC's for hedges, the control thread for the
// timer. Each is told to the machine under this object's lock, and what follows
// is done after it has been released. Only who finds the native attempt parked,
// or brings its end, may touch the application's batches.
//
// It outlives the Call: a hedge that ends late finds it detached.
class Hedging : public std::enable_shared_from_this<Hedging> {
 public:
  // `call` lives until Detach().
  explicit Hedging(Call* call);
  ~Hedging();
  Hedging(const Hedging&) = delete;
  Hedging& operator=(const Hedging&) = delete;

  // --- From the call, for its native attempt

  // It is about to begin, as `action` says, on `core`.
  void OnNativeStart(const mesh::call::Action& action, grpc_call* core);
  // The request is there: from now on hedges can be made.
  void OnRequest();
  // It has ended with `status`, which is in its batches, and they are held.
  // Goes on with them. The call may be gone when this returns.
  void OnNativeDone(grpc::Status* status);
  // It was to begin, and has not, for the application has cancelled the call.
  void OnNativeCancelled(const mesh::call::AttemptOutcome& outcome);
  // Something of its answer is about to be handed to the application. False: it
  // must not be, another attempt has won.
  bool TryCommit();

  // The attempt that has won while the native one ran. Null: none.
  std::shared_ptr<core::RawCall> Winner();
  // Call::SayPreviousAttempts(), while nobody else reads or changes what it
  // does.
  void SayPreviousAttempts();

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
  void Take(mesh::call::Action action, std::shared_ptr<core::RawCall> answer,
            Todo* todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StartHedge(const mesh::call::Action& action, Todo* todo)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(Todo* todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void GiveUpHedges(Todo* todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetTimer(absl::Time at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Without it.
  void Do(Todo* todo);

  void OnTimer();
  void OnHedgeDone(int attempt);
  void EndParked();

  // Constant. The loop lives as long as the call, for whose hedges it is used.
  base::Scheduler* const loop_;

  base::Mutex mu_;
  Call* call_ ABSL_GUARDED_BY(mu_);  // Null once it is detached.
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

#endif  // MESH_CHANNEL_HEDGE_H_
