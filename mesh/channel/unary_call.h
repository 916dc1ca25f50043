#ifndef MESH_CHANNEL_UNARY_CALL_H_
#define MESH_CHANNEL_UNARY_CALL_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "mesh/base/mutex.h"
#include "mesh/channel/hedge_race.h"
#include "mesh/channel/logical_call.h"
#include "mesh/channel/spare_memory.h"
#include "mesh/grpc/call_hook.h"
#include "mesh/grpc/in_process_answer.h"
#include "mesh/grpc/raw_call.h"

namespace mesh::channel {

// A call of one request and one answer. It is one batch of the application's.
// It is two when the application (or the callback API) takes the initial
// metadata apart from the rest. It is tried again until the application has
// been given something of its answer. It is tried by itself or by a race of
// hedges.
class UnaryCall final : public LogicalCall,
                        public core::Hooked<UnaryCall>,
                        private HedgeRace::Host {
 public:
  UnaryCall(std::shared_ptr<Channel> channel, service::Method* method,
            const grpc::internal::RpcMethod& rpc, grpc::ClientContext* context,
            grpc::CompletionQueue* queue)
      : LogicalCall(std::move(channel), method, rpc, context, queue) {}
  ~UnaryCall() override;

  static void* operator new(size_t size) {
    return SpareMemory<UnaryCall>::New(size);
  }
  static void operator delete(void* block) {
    SpareMemory<UnaryCall>::Delete(block);
  }

  // Chooses the first endpoint and returns the grpc_call to begin with, which
  // is a placeholder while there is none. Never null.
  grpc_call* Begin();

  // --- From gRPC
  void StartBatch(Ops* ops);
  void Intercept(Methods* methods) override;
  void InterceptRestarted(Methods* methods) override;

 private:
  struct Batch {
    Ops* ops = nullptr;
    Methods* held = nullptr;  // On its way up, and not let go on.
  };

  struct Batches {
    Batch of[2];
    int count = 0;
    bool committed = false;  // The application has initial metadata.
    bool start_is_up = false;
  };

  // An answer that the application's batches did not receive themselves.
  struct Answered {
    ~Answered() {
      if (in_process != nullptr) grpc_call_unref(in_process);
    }
    // Null: the application's fallback made it.
    std::shared_ptr<core::RawCall> by;
    std::shared_ptr<void> registration;
    // The attempt on which the batches received it: it owns the memory of the
    // metadata. We hold it once the winner's metadata is the context's.
    grpc_call* in_process = nullptr;
    std::string debug;
  };

  // Batches on their way down.
  void NoteBatch(Ops* ops);
  void OnDown(Methods* methods);
  void TakeRequest(Methods* methods);
  grpc::ByteBuffer Request() const;

  // Batches on their way up.
  void OnUp(Methods* methods, bool restarted);
  void OnStart(Methods* methods);
  void OnStartInRace(Methods* methods);
  bool StatusWillCome() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnStatus(Methods* methods);
  grpc::Status* StatusOfBatches() const {
    return all_held().of[all_held().count - 1].held->GetRecvStatus();
  }
  void Judge();
  bool Committed() const;

  // Delivering what is known already.
  grpc_call* NewAnswer(core::InProcessAnswer answer, std::string debug,
                       std::shared_ptr<core::RawCall> by,
                       std::unique_ptr<Answered>* answered);
  void AnswerWith(std::shared_ptr<core::RawCall> winner);
  bool AnswerStart(Methods* methods);
  void DeliverAnswer();
  void Conclude();
  bool FallBack();
  void Deliver();
  void LetUp(Methods* methods, bool restarted);

  // What is to be done next.
  void Act(const Action& action) override;
  void TryAgain(grpc_call* next);
  void PrepareNext();
  void Rearm(Ops* ops, grpc::Status* status);
  void EndParked() override;
  void NoteCancelled() override;
  void EndCancelled() override;

  // For the race.
  call::Moment MomentOfRace() override { return Now(); }
  call::AttemptOutcome NativeOutcome(const grpc::Status& status,
                                     cluster::LiveEndpoint* endpoint) override;
  call::AttemptOutcome HedgeOutcome(const core::RawAnswer& answer,
                                    cluster::LiveEndpoint* endpoint,
                                    absl::Time deadline) override;
  HedgeRace::NewHedge MakeHedge(const Action& action,
                                int previous_attempts) override;
  void GoOn(std::optional<Action> action,
            std::shared_ptr<core::RawCall> answer) override;

  // Constant after Begin(). Null: the call is not hedged.
  std::shared_ptr<HedgeRace> race_;

  // The serialized request, once it exists. It is mostly one slice, which costs
  // no allocation.
  bool has_request_ = false;
  std::optional<grpc::Slice> request_slice_;
  // Used when it is not one slice. Otherwise not valid.
  grpc::ByteBuffer request_;
  core::Deserializer deserializer_;  // Reads the reply, where gRPC forgets how.
  // When gRPC reads the serialized request it forgets the message, and with it
  // a hook that interceptors wait for. This gives the hook back.
  bool owes_post_send_message_ = false;
  std::unique_ptr<Answered> answered_;  // Mostly null.

  // A call of two batches has them on two threads, until both are held.
  base::Mutex mu_;
  Batches batches_ ABSL_GUARDED_BY(mu_);
  // Without the lock: for the thread that has all batches that there are, since
  // then no other one touches them.
  Batches& all_held() ABSL_NO_THREAD_SAFETY_ANALYSIS { return batches_; }
  const Batches& all_held() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return batches_;
  }
};

}  // namespace mesh::channel

#endif  // MESH_CHANNEL_UNARY_CALL_H_
