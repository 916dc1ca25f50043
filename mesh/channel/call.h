#ifndef MESH_CHANNEL_CALL_H_
#define MESH_CHANNEL_CALL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "mesh/base/mutex.h"
#include "mesh/call/call_machine.h"
#include "mesh/channel/hedge.h"
#include "mesh/channel/stream_retry.h"
#include "mesh/grpc/access.h"
#include "mesh/grpc/in_process_answer.h"
#include "mesh/grpc/raw_call.h"
#include "mesh/service/endpoint.h"
#include "mesh/service/live_stream.h"
#include "mesh/service/service.h"
#include "mesh/service/waiter.h"
#include "mesh/telemetry/observer.h"

namespace mesh::channel {

class Channel;

// One logical call on gRPC: the shell around a CallMachine. It is the call's
// last interceptor, so it sees each batch go down and come back, and its hook,
// so it sees which batches the application starts. gRPC owns it with the
// ClientContext.
//
// The first attempt is gRPC's own batch, untouched. When its status comes back
// the machine judges it, on the thread that brought it; if the call is to be
// tried again, the application's own batches are armed once more and started on
// a grpc_call of another endpoint: same tag, same queue, same message objects,
// no thread between. A batch that must wait (there is no endpoint yet, a
// backoff) is held by not letting the interceptors go on.
//
// The ways through this file:
//   CreateCall -> Begin
//   a batch goes down: PerformOpsOnCall -> Intercept -> OnDown
//   a batch comes back: Intercept -> OnUp -> OnStatus -> Act
//   Act: Deliver | TryAgain | Start (first attempt after a wait) | Park
//   a parked call: OnTimer | OnEndpointsChanged | OnCancelled -> Act
class Call final : public grpc::experimental::Interceptor,
                   public grpc::internal::CallHook,
                   public service::Waiter,
                   public service::LiveStream {
 public:
  Call(std::shared_ptr<Channel> channel, service::Method* method,
       const grpc::internal::RpcMethod& rpc, grpc::ClientContext* context,
       grpc::CompletionQueue* queue);
  ~Call() override;

  // A thread keeps the memory of a few calls for its next ones. Not of any
  // other size: this class is final.
  static void* operator new(size_t size);
  static void operator delete(void* block);

  // Chooses the first endpoint and returns the grpc_call to begin with, which
  // is a placeholder while there is none. Never null.
  grpc_call* Begin();
  // `info`: the interceptors of the call. Its owner is the context.
  void set_info(grpc::experimental::ClientRpcInfo* info) { info_ = info; }

  // --- From gRPC
  void PerformOpsOnCall(grpc::internal::CallOpSetInterface* ops,
                        grpc::internal::Call* call) override;
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override;

  // --- From the service's control thread
  void OnTimer() override;
  void OnEndpointsChanged() override;
  void OnCancelled() override;
  grpc_call* RefIfOn(const cluster::LiveEndpoint* endpoint) override;
  absl::Time CheckIdle(absl::Time now, grpc_call** idle) override;

  // From the interceptor that stands in for this one after a retry.
  void InterceptRestarted(grpc::experimental::InterceptorBatchMethods* methods);

 private:
  friend class Hedging;      // The part of it that races attempts.
  friend class StreamRetry;  // The part of it that tries a stream again.
  using Methods = grpc::experimental::InterceptorBatchMethods;
  using Ops = grpc::internal::CallOpSetInterface;

  // A batch of a unary call. There are one, or two when the application (or
  // the callback API) takes the initial metadata apart from the rest.
  struct Batch {
    Ops* ops = nullptr;
    Methods* held = nullptr;  // On its way up, not let go on.
  };
  // A batch that was started before there was an endpoint.
  struct EarlyBatch {
    Ops* ops = nullptr;
    Methods* held = nullptr;  // On its way down.
  };

  // An answer that the application's batches did not receive themselves.
  struct Answered {
    ~Answered() {
      if (in_process != nullptr) grpc_call_unref(in_process);
    }
    std::shared_ptr<core::RawCall> by;  // Null: by the application's fallback.
    std::shared_ptr<void> registration;
    // What the batches received it on: the memory of the metadata. Ours once
    // the winner's is the context's.
    grpc_call* in_process = nullptr;
    std::string debug;
  };

  bool unary() const { return type_ == grpc::internal::RpcMethod::NORMAL_RPC; }
  mesh::call::Moment Now();
  void Inherit(absl::Time now);
  void TakeFaults(mesh::call::CallPlan* plan);
  void HeedTrailers();
  void Heed(const grpc_metadata_array& trailers,
            cluster::LiveEndpoint* endpoint);
  grpc_call* NewCall(cluster::LiveEndpoint* endpoint, absl::Time deadline);
  grpc_call* NewFailedCall(const absl::Status& status);
  grpc_call* NewCallOn(grpc_channel* channel, grpc_call* parent,
                       gpr_timespec deadline, grpc_completion_queue* queue);
  grpc_call* ParentOf(bool first) const;
  void ApplyCredentials(grpc_call* call);

  // Batches on their way down.
  bool PerformEarly(Ops* ops);
  bool BringsNoStatus(Ops* ops);
  void OnDown(Methods* methods);
  void NoteMessage(Methods* methods, bool up);
  bool HoldIfEarly(Methods* methods);

  // Batches on their way up.
  void OnUp(Methods* methods, bool restarted);
  void EndStream(const grpc::Status& status);
  void OnUnaryStart(Methods* methods);
  void OnHedgedStart(Methods* methods);
  bool StatusWillCome() const;
  void OnUnaryStatus(Methods* methods);
  void Judge();
  mesh::call::AttemptOutcome Outcome(const grpc::Status& status) const;
  mesh::call::AttemptOutcome Explain(const grpc::Status& status,
                                     const std::string& debug,
                                     absl::Time deadline) const;

  // For the attempts that race with the one that the batches run on.
  grpc_call* NewHedge(cluster::LiveEndpoint* endpoint, absl::Time deadline);
  std::multimap<std::string, std::string> HedgeMetadata() const;
  mesh::call::AttemptOutcome OutcomeOfHedge(const core::RawAnswer& answer,
                                            absl::Time deadline) const;
  grpc::ByteBuffer Request() const;

  // Delivering what is known already.
  void AnswerWith(std::shared_ptr<core::RawCall> winner);
  bool AnswerStart(Methods* methods);
  grpc_call* NewAnswer(core::InProcessAnswer answer, std::string debug,
                       std::shared_ptr<core::RawCall> by,
                       std::unique_ptr<Answered>* answered);
  void DeliverAnswer();
  void Conclude();
  bool FallBack();

  // What is to be done next.
  void Act(const mesh::call::Action& action);
  void TellParent();
  void TellStory();
  void Park(const mesh::call::Action& action);
  void Resume();
  void Start(grpc_call* next);
  void TryAgain(grpc_call* next);
  void PrepareNext();
  void SayPreviousAttempts();
  void EndCancelled();
  void StopWaiting();
  void KeepFirst(grpc_call* previous);
  bool Swap(grpc_call* next, grpc_call** previous);
  void Rearm(Ops* ops, grpc::Status* status);
  void Restart(Ops* ops, grpc_call* was);
  void Deliver();
  void Proceed(Methods* methods, bool restarted);
  void OnCancelHook();
  bool KnowsItsType(Ops* ops) const;

  // Constant after Begin().
  const std::shared_ptr<Channel> channel_;
  service::Service* const service_;
  service::Method* const method_;  // Null for a method that no stub registered.
  std::string own_name_;           // Of the method, if method_ is null.
  const grpc::internal::RpcMethod::RpcType type_;
  grpc::ClientContext* const context_;
  grpc::CompletionQueue* const queue_;
  grpc::experimental::ClientRpcInfo* info_ = nullptr;
  // The policy, for the call's life.
  const service::ServiceViewPtr snapshot_;
  telemetry::CallInfo call_info_;
  absl::Time context_deadline_;  // The application's own.
  grpc_call* parent_ = nullptr;  // Of a ServerContext. Ours too.
  bool exact_ = true;            // On channels with gRPC's own retries.
  bool idempotent_ = false;
  bool born_waiting_ = false;

  // The machine, and all else that is not guarded, belongs to whom the one
  // outstanding event comes to: gRPC or the lot of parked calls hands it over.
  std::optional<mesh::call::CallMachine> machine_;
  grpc_call* running_ = nullptr;  // What batches are started on. The context's.
  grpc_call* first_ = nullptr;    // Once it runs no more. Holds the arena of
                                  // the application's batches. Ours.
  absl::Time attempt_deadline_ = absl::InfiniteFuture();
  // The one of the last pick. Not to be used.
  const service::ServiceView* seen_ = nullptr;
  std::atomic<bool> restarted_{false};  // Batches have been started again.
  bool committed_ = false;              // The application has initial metadata.
  bool start_is_up_ = false;
  bool has_request_ = false;
  // For gRPC to read the serialized request is to forget the message, and with
  // it a hook that interceptors wait for: it is given back.
  bool owes_post_send_message_ = false;
  // The serialized request: mostly one slice, which costs no allocation.
  std::optional<grpc::Slice> request_slice_;
  grpc::ByteBuffer request_;         // When it is not. Otherwise not valid.
  core::Deserializer deserializer_;  // Of the reply, where gRPC forgets it.
  Batch batches_[2];
  int batch_count_ = 0;

  std::shared_ptr<Hedging> hedging_;    // Null: it is not hedged.
  std::unique_ptr<Answered> answered_;  // Mostly null.

  // For what comes on several threads: batches of a call that waits for its
  // first endpoint, and the two batches of a unary call.
  base::Mutex mu_;
  std::atomic<bool> waiting_{false};           // Written with mu_.
  bool engaged_ ABSL_GUARDED_BY(mu_) = false;  // Someone looks for an endpoint.
  absl::InlinedVector<EarlyBatch, 2> early_ ABSL_GUARDED_BY(mu_);

  // Guarded by the context's lock, which TryCancel() holds.
  // (Atomic for the sanitizer, which does not see that lock.)
  std::atomic<bool> cancelled_{false};
  std::atomic<uint64_t> parked_{0};  // Id, once the call has been parked.

  // The grpc_call of a stream, which is ours too, and where it runs: for
  // RefIfOn(), which may come while the context goes away.
  grpc_call* stream_ = nullptr;
  const cluster::LiveEndpoint* stream_on_ ABSL_GUARDED_BY(mu_) = nullptr;

  // Interceptors of restarted batches: all but the application's own.
  std::unique_ptr<grpc::ClientContext> restart_context_;
  grpc::experimental::ClientRpcInfo* restart_info_ = nullptr;
  // With all interceptors again, for delivering what a restarted batch brought.
  grpc::internal::Call full_call_;

  // Of a stream that ends when no message comes or goes for so long.
  absl::Duration idle_timeout_ = absl::InfiniteDuration();
  std::atomic<int64_t> active_{0};  // When one did, in ns since the epoch.
  std::atomic<bool> idle_{false};   // It has ended so.

  // Of a stream that may be tried again.
  std::unique_ptr<StreamRetry> stream_retry_;

  // Virtual tables of this stream's batches that bring no status.
  std::atomic<const void*> plain_tables_[4] = {};
};

}  // namespace mesh::channel

#endif  // MESH_CHANNEL_CALL_H_
