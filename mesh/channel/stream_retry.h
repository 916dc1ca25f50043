#ifndef MESH_CHANNEL_STREAM_RETRY_H_
#define MESH_CHANNEL_STREAM_RETRY_H_

#include <atomic>
#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/container/inlined_vector.h"
#include "grpcpp/grpcpp.h"
#include "mesh/base/byte_budget.h"
#include "mesh/base/mutex.h"
#include "mesh/call/call_machine.h"
#include "mesh/channel/early_batches.h"
#include "mesh/channel/send_buffer.h"
#include "mesh/channel/stream_batches.h"
#include "mesh/grpc/interceptors.h"

namespace mesh::channel {

// The part of a StreamCall that tries a stream again until it is committed. It
// is committed when response headers or a message of its answer arrive (gRFC
// A6). A stream that may not be executed twice is committed when it has been
// sent at all. From then on the stream's batches go with no interception.
//
// Until then it sees each batch of the application go down and come up. (A
// batch is a gRPC CallOpSet: some of send initial metadata, send message,
// half-close, receive initial metadata, receive message, receive status.) It
// keeps what was sent. It holds back what tells of a failure, by not letting
// the interceptors go on, until the status is known and the call machine has
// judged it. Then all that is held is let go, or is started again. It is
// started on a grpc_call of another endpoint, each batch under its own tag,
// after what had been sent before.
//
// It has operations of its own: asking for the status, and sending again. They
// run under the tag of a held batch, because that is the only tag which is sure
// to be looked for on any kind of queue. Such a batch is on an errand; its tag
// brings the hook back here.
//
// The states of an attempt:
//   kWaiting    there is none: no endpoint yet, or a backoff. Batches are held
//               on their way down.
//   kReplaying  what was sent before is being sent again. Sends are held.
//   kRunning    batches are gRPC's.
//   kAsking     it has failed; its status is asked for. Batches are held.
//   kJudging    the machine decides. Batches are held.
//   kEnded      the call has its status.
//
// A failure shows in a batch that comes up failed or empty. Then all others
// will come up, too, as the core has no more for them. When none is left below,
// the status is there, if the application had asked for it. Otherwise it is
// asked for.
//
// Whether headers have come is known before that. An empty batch may be held
// only where none have come, since the core does not give the status of an
// answer that has not been read.
//
// Thread-safe: batches of a stream come and go on several threads.
class StreamRetry {
 public:
  using Methods = grpc::experimental::InterceptorBatchMethods;
  using Ops = grpc::internal::CallOpSetInterface;

  enum class Until { kSent, kCommitted };

  // What is settled when the stream begins.
  struct Traits {
    Until until;        // Until what it may be tried again.
    bool bidi;          // Reads while it writes.
    uint64_t max_kept;  // Bytes of what it sends.
  };

  // The call. Called with no lock of this object held.
  class Host {
   public:
    // The first batch of a call that waits has come: decides what is to be
    // done.
    virtual std::optional<call::Action> LookForEndpoint() = 0;
    // An attempt has ended with `status`; `can_replay`: another could follow.
    virtual call::Action JudgeAttempt(const grpc::Status& status,
                                      bool can_replay) = 0;
    // The grpc_call that `action`, kStartAttempt or kFail, speaks of.
    virtual grpc_call* MakeAttempt(const call::Action& action) = 0;
    // Makes `next`, which it takes, what the call runs on. False: the call has
    // been cancelled.
    virtual bool BeginAttempt(grpc_call* next) = 0;
    // It was cancelled while it waited for its first attempt.
    virtual void StopWaiting() = 0;
    // Waits, as `action` says.
    virtual void Park(const call::Action& action) = 0;
    // The call ends with `status`, which is the machine's.
    virtual void OnNoAttempt(const absl::Status& status) = 0;
    // Something of the answer has come. It may be called more than once, and
    // with this object's lock held: it takes no lock.
    virtual void OnAnswer() = 0;
    // The application is about to be told that headers have come, or not.
    virtual void OnHeadersUp(Methods* methods) = 0;
    // The application is about to be told of the stream's status.
    virtual void OnStatus(const grpc::Status& status) = 0;
    // The stream has its status.
    virtual void OnOver() = 0;
    // `ops` are of a stub that was compiled without RTTI.
    virtual void OnUnknownType(Ops* ops) = 0;

   protected:
    ~Host() = default;
  };

  // Keeps what the stream sends within `shared`, too. `early` waits if there is
  // no attempt yet, but a placeholder. All pointers outlive it.
  StreamRetry(Host* host, grpc::ClientContext* context,
              core::BatchRunner* runner, EarlyBatches* early,
              const Traits& traits, base::ByteBudget* shared);
  StreamRetry(const StreamRetry&) = delete;
  StreamRetry& operator=(const StreamRetry&) = delete;

  // False: the batch does not concern this object, and is to be started as
  // usual.
  bool Perform(Ops* ops);
  // False: the batch is to be dealt with as usual.
  bool OnDown(Methods* methods);
  bool OnUp(Methods* methods, bool restarted);

  // What the machine says is to be done next; and that it is to be cancelled.
  // False: this stream is not tried again, deal with it as usual.
  bool Act(const call::Action& action);
  bool OnCancelled();

 private:
  enum class Phase : uint8_t {
    kWaiting,
    kReplaying,
    kRunning,
    kAsking,
    kJudging,
    kEnded,
  };
  using Batch = StreamBatch;
  using Where = StreamBatch::Where;
  using Errand = StreamBatch::Errand;

  // What is to be done once the lock is released. A batch in it keeps the call
  // alive until it is dealt with. After the last one the call may be gone.
  struct Step {
    enum Kind : uint8_t { kLetDown, kLetUp, kRestart, kOwn } kind;
    Batch batch;
  };
  using Steps = absl::InlinedVector<Step, 4>;
  // `here`: the batch whose event this is. Null: there is none that may be let
  // up.
  void Run(Steps* steps, Methods* here = nullptr);
  void LetUpNow(Batch* batch, bool here);
  void RunOwn(Errand errand);

  bool Admit(Ops* ops);
  // Keeps what is sent, or commits if that is too much.
  void Keep(Batch* batch, bool typed, Steps* steps)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Takes in what has come up. True: Judge() is to be called.
  bool CameUp(Batch* batch, Steps* steps) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool CameBack(Batch* batch, Steps* steps) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsAnswer(const Batch& batch) const;
  bool Settle(Steps* steps) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Ask(Batch* batch, Errand errand, Steps* steps)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  bool Arrived(Batch* batch, Steps* steps) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FinishStart();
  void StartAll(Steps* steps) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StartHeld(Steps* steps) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Start(Batch* batch, Steps* steps) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Replay(Batch* vehicle, Steps* steps) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool MustReplay() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool CanReplay() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Nothing of this attempt will be tried again.
  void Commit(Steps* steps) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MaybeOver() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LetUp(Batch* batch, Steps* steps) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void Judge();
  void NextAttempt(grpc_call* next);
  void GiveUp();
  void End(const grpc::Status* status);

  // Constant.
  Host* const host_;
  grpc::ClientContext* const context_;
  core::BatchRunner* const runner_;
  EarlyBatches* const early_;
  const Traits traits_;

  // No batch that starts from now on needs to be seen; and, if not special_,
  // none is changed.
  std::atomic<bool> over_{false};
  std::atomic<bool> special_{false};

  base::Mutex mu_;
  Phase phase_ ABSL_GUARDED_BY(mu_);
  bool used_ ABSL_GUARDED_BY(mu_) = false;       // It has seen a batch.
  bool engaged_ ABSL_GUARDED_BY(mu_) = false;    // Someone looks for endpoints.
  bool attempted_ ABSL_GUARDED_BY(mu_) = false;  // An attempt has begun.
  bool committed_ ABSL_GUARDED_BY(mu_) = false;
  bool full_ ABSL_GUARDED_BY(mu_) = false;  // More was sent than is kept.
  // The attempt has failed, as a batch tells.
  bool failed_ ABSL_GUARDED_BY(mu_) = false;
  bool asked_headers_ ABSL_GUARDED_BY(mu_) = false;  // In this attempt.
  bool own_headers_ ABSL_GUARDED_BY(mu_) = false;    // An errand asked.
  bool own_headers_ok_ ABSL_GUARDED_BY(mu_) = false;
  // The application knows that it has started, and half-closed. A new attempt
  // does both again here.
  bool started_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  int in_core_ ABSL_GUARDED_BY(mu_) = 0;  // Those on errands included.
  // Batches are being started one after the other, with mu_ not held. Others
  // would get between them. So those that go down then are held, and those that
  // come up are in arrived_.
  bool starting_ ABSL_GUARDED_BY(mu_) = false;
  absl::InlinedVector<Ops*, 4> arrived_ ABSL_GUARDED_BY(mu_);
  StreamBatches batches_ ABSL_GUARDED_BY(mu_);
  SendBuffer sent_ ABSL_GUARDED_BY(mu_);
  size_t replayed_ ABSL_GUARDED_BY(mu_) = 0;
  grpc::Status status_ ABSL_GUARDED_BY(mu_);  // An errand brought it.
  bool has_status_ ABSL_GUARDED_BY(mu_) = false;

  // The batches of errands; one of each at a time.
  using ReplayOps =
      grpc::internal::CallOpSet<grpc::internal::CallOpSendInitialMetadata,
                                grpc::internal::CallOpSendMessage,
                                grpc::internal::CallOpClientSendClose>;
  using HeaderOps =
      grpc::internal::CallOpSet<grpc::internal::CallOpRecvInitialMetadata>;
  using StatusOps =
      grpc::internal::CallOpSet<grpc::internal::CallOpClientRecvStatus>;
  // Only the thread to which its errand has come touches each.
  std::optional<ReplayOps> replay_ops_;
  std::optional<HeaderOps> header_ops_;
  std::optional<StatusOps> status_ops_;
};

}  // namespace mesh::channel

#endif  // MESH_CHANNEL_STREAM_RETRY_H_
