#ifndef MESH_CHANNEL_LOGICAL_CALL_H_
#define MESH_CHANNEL_LOGICAL_CALL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "mesh/base/clock.h"
#include "mesh/call/call_machine.h"
#include "mesh/channel/early_batches.h"
#include "mesh/grpc/access.h"
#include "mesh/grpc/interceptors.h"
#include "mesh/service/service.h"
#include "mesh/service/waiter.h"
#include "mesh/telemetry/observer.h"

namespace mesh::channel {

class Channel;

// One logical call on gRPC: the shell around a CallMachine. It is the call's
// last interceptor, so it sees each batch go down and come back. gRPC owns it
// with the ClientContext. Its heirs are the two kinds of calls, UnaryCall and
// StreamCall. It holds what they share.
//
// The first attempt is gRPC's own batch, untouched. When its status comes back
// the machine judges it, on the thread that brought it. If the call is to be
// tried again, the application's own batches are armed once more. They are
// started on a grpc_call of another endpoint: same tag, same queue, same
// message objects, no thread between. Some batches must wait (for an endpoint,
// for a backoff). They are held by not letting the interceptors go on.
//
// The ways through the heirs:
// - Channel::CreateCall -> Begin.
// - A batch goes down: StartBatch (where gRPC has hooks) -> Intercept ->
//   OnDown.
// - A batch comes back: Intercept -> OnUp -> ... -> Act.
// - Act: deliver | try again | start (first attempt after a wait) | Park.
// - A parked call: OnTimer | OnEndpointsChanged | OnCancelled -> Act.
//
// Members without a guard belong to the one that receives the outstanding
// event. gRPC, or the lot of parked calls, hands them over.
class LogicalCall : public grpc::experimental::Interceptor,
                    public service::Waiter,
                    public core::RestartedBatches {
 public:
  ~LogicalCall() override;
  LogicalCall(const LogicalCall&) = delete;
  LogicalCall& operator=(const LogicalCall&) = delete;

  // `info`: the interceptors of the call. Its owner is the context.
  void set_info(grpc::experimental::ClientRpcInfo* info) {
    runner_.Begin(info, call_info_.method.data(), type_);
  }

  // --- From the service's control thread
  void OnTimer() final;
  void OnEndpointsChanged() final;
  void OnCancelled() final;

 protected:
  using Action = call::Action;
  using Methods = grpc::experimental::InterceptorBatchMethods;
  using Ops = grpc::internal::CallOpSetInterface;

  LogicalCall(std::shared_ptr<Channel> channel, service::Method* method,
              const grpc::internal::RpcMethod& rpc,
              grpc::ClientContext* context, grpc::CompletionQueue* queue);

  // --- What the heirs do in their own ways

  // What is to be done next.
  virtual void Act(const Action& action) = 0;
  // The call was cancelled while it was parked.
  virtual void EndParked() = 0;
  // The application cancels, or a parked call's parent is cancelled. It runs
  // with the context's lock held, which TryCancel() holds. So it only tells.
  virtual void NoteCancelled();
  // An attempt was to begin, and has not: the application has cancelled.
  virtual void EndCancelled();

  // --- The beginning

  // Settles the plan: what the context says, and the policy, which stays for
  // the call's life. The next one then starts the machine.
  call::CallPlan Plan(const call::Moment& moment, bool unary);
  void MakeMachine(const call::CallPlan& plan, const call::Moment& moment);
  // The grpc_call to begin with when the machine starts no attempt at once. It
  // is a placeholder while the call waits.
  grpc_call* BeginWithout(const Action& action);

  // --- Attempts

  call::Moment Now();
  absl::Time clock_now() const { return clock_.Now(); }
  // Makes an attempt on `endpoint`, with events on the call's queue.
  grpc_call* NewCall(cluster::LiveEndpoint* endpoint, absl::Time deadline);
  // Makes an attempt that runs beside it.
  grpc_call* NewCallBeside(cluster::LiveEndpoint* endpoint,
                           absl::Time deadline);
  // Makes an attempt that fails with `status`.
  grpc_call* NewFailedCall(const absl::Status& status,
                           grpc_completion_queue* queue);
  grpc_call* NewFailedCall(const absl::Status& status) {
    return NewFailedCall(status, queue_->cq());
  }
  void ApplyCredentials(grpc_call* call);
  // Makes `next` the context's call, so that TryCancel(), peer() and the like
  // are about the attempt that runs. False when the call has been cancelled.
  bool Swap(grpc_call* next, grpc_call** previous);
  // Gives `previous` up, which no longer runs. The first one of all is kept,
  // because it holds the arena of the application's batches.
  void KeepFirst(grpc_call* previous);
  // Forgets what the last attempt received.
  void ForgetReceived();
  // The wait for the first endpoint is over. What was held is started on
  // `next`, which is taken. Null: the call was cancelled, and with it the
  // placeholder.
  void StartHeld(grpc_call* next);

  // --- Ends

  // What a server says about itself, with the answer to any call.
  void Heed(const grpc_metadata_array& trailers,
            cluster::LiveEndpoint* endpoint);
  void HeedTrailers();
  call::AttemptOutcome Outcome(const grpc::Status& status, bool committed);
  call::AttemptOutcome OutcomeOf(const grpc::Status& status,
                                 absl::string_view debug,
                                 const grpc_metadata_array& trailers,
                                 absl::Time deadline);
  // The call may have failed. If so, the call that it is part of is told.
  void TellParent();
  // The text about a call that failed although it was retried, or would have
  // been. Its status is a server's and stays as it is.
  void TellStory();
  void SetDebugString(const absl::Status& status);

  // Waits, as `action` says. May come back by OnCancelled() at once.
  void Park(const Action& action);
  // The machine's answer when the first batch of a call that was born waiting
  // has come.
  std::optional<Action> LookForEndpoint();
  // Notes whether the stub was compiled with RTTI. False: it was not, which is
  // logged once. Call it with no lock held.
  bool KnowsItsType(Ops* ops) const;

  bool IsCancelled() const {
    return cancelled_.load(std::memory_order_relaxed);
  }
  bool IsParked() const { return parked_.load(std::memory_order_relaxed) != 0; }

  // Constant after Begin().
  const std::shared_ptr<Channel> channel_;
  service::Service* const service_;
  const base::Clock& clock_;
  service::Method* const method_;  // Null for a method that no stub registered.
  std::string own_name_;           // The method's name, if method_ is null.
  const grpc::internal::RpcMethod::RpcType type_;
  grpc::ClientContext* const context_;
  grpc::CompletionQueue* const queue_;
  // The policy, for the call's life.
  const service::ServiceViewPtr snapshot_;
  telemetry::CallInfo call_info_;
  absl::Time context_deadline_;  // The application's own.
  // The call of a ServerContext. We hold a reference.
  grpc_call* parent_ = nullptr;
  bool exact_ = true;  // On channels with gRPC's own retries.
  bool idempotent_ = false;

  std::optional<call::CallMachine> machine_;
  absl::Time attempt_deadline_ = absl::InfiniteFuture();

  // Thread-safe. What runs is the context's call.
  core::BatchRunner runner_;
  EarlyBatches early_;

 private:
  void InheritDeadline(absl::Time now);
  grpc_call* NewCallOn(grpc_channel* channel, grpc_call* parent,
                       gpr_timespec deadline, grpc_completion_queue* queue);
  grpc_channel* ChannelOf(service::ConnectedEndpoint* endpoint) const;
  grpc_call* ParentOf(bool first) const;
  void Resume();

  // Set once it no longer runs. We hold a reference.
  grpc_call* first_ = nullptr;
  // The endpoint of the last pick. It may be gone: do not use it.
  const service::ServiceView* seen_ = nullptr;
  // What the call is to wait for, if it asks for a dial and has not been
  // parked.
  std::optional<Action> unheard_;

  // Written with the context's lock, which TryCancel() holds. (It is atomic for
  // the sanitizer, which does not see that lock.)
  std::atomic<bool> cancelled_{false};
  std::atomic<uint64_t> parked_{0};  // The id, while the call is parked.
};

}  // namespace mesh::channel

#endif  // MESH_CHANNEL_LOGICAL_CALL_H_
