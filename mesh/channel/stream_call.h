#ifndef MESH_CHANNEL_STREAM_CALL_H_
#define MESH_CHANNEL_STREAM_CALL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "mesh/base/mutex.h"
#include "mesh/channel/logical_call.h"
#include "mesh/channel/spare_memory.h"
#include "mesh/channel/stream_retry.h"
#include "mesh/grpc/call_hook.h"
#include "mesh/grpc/op_set.h"
#include "mesh/service/live_stream.h"

namespace mesh::channel {

// A call that streams: any number of batches, on several threads. It is tried
// again until it is committed (StreamRetry), if its policy keeps what it sends.
// From then on it costs what gRPC's own stream costs, since batches that bring
// no status are not seen.
class StreamCall final : public LogicalCall,
                         public core::Hooked<StreamCall>,
                         public service::LiveStream,
                         private StreamRetry::Host {
 public:
  StreamCall(std::shared_ptr<Channel> channel, service::Method* method,
             const grpc::internal::RpcMethod& rpc, grpc::ClientContext* context,
             grpc::CompletionQueue* queue)
      : LogicalCall(std::move(channel), method, rpc, context, queue) {}
  ~StreamCall() override;

  static void* operator new(size_t size) {
    return SpareMemory<StreamCall>::New(size);
  }
  static void operator delete(void* block) {
    SpareMemory<StreamCall>::Delete(block);
  }

  // Chooses the first endpoint and returns the grpc_call to begin with, which
  // is a placeholder while there is none. Never null.
  grpc_call* Begin();

  // --- From gRPC
  void StartBatch(Ops* ops);
  void Intercept(Methods* methods) override;
  void InterceptRestarted(Methods* methods) override;

  // --- From the service's control thread
  grpc_call* RefIfOn(const cluster::LiveEndpoint* endpoint) override;
  absl::Time CheckIdle(absl::Time now, grpc_call** idle) override;

 private:
  bool watches_idle() const {
    return idle_timeout_ != absl::InfiniteDuration();
  }
  void OnDown(Methods* methods);
  void OnUp(Methods* methods, bool restarted);
  void NoteMessage(Methods* methods, bool up);
  bool MayGoUnseen(Ops* ops);
  bool IsAnswer(Methods* methods) const;
  void Unlist();
  grpc_call* NewAttempt(cluster::LiveEndpoint* endpoint);

  void Act(const Action& action) override;
  void EndParked() override;

  // For the retry.
  std::optional<Action> LookForEndpoint() override {
    return LogicalCall::LookForEndpoint();
  }
  Action JudgeAttempt(const grpc::Status& status, bool can_replay) override;
  grpc_call* MakeAttempt(const Action& action) override;
  bool BeginAttempt(grpc_call* next) override;
  void StopWaiting() override;
  void Park(const Action& action) override { LogicalCall::Park(action); }
  void OnNoAttempt(const absl::Status& status) override;
  void OnAnswer() override;
  void OnHeadersUp(Methods* methods) override;
  void OnStatus(const grpc::Status& status) override;
  void OnOver() override;
  void OnUnknownType(Ops* ops) override { KnowsItsType(ops); }

  // Constant after Begin().
  std::optional<StreamRetry> retry_;  // Nothing: it is not tried again.
  absl::Duration idle_timeout_ = absl::InfiniteDuration();

  core::StatuslessBatches statusless_;
  std::atomic<bool> answered_{false};  // The answer has begun.
  std::atomic<int64_t> active_{0};     // When a message came or went, Unix ns.
  std::atomic<bool> idle_{false};      // It has ended as idle.
  std::atomic<bool> listed_{false};    // It is among the service's streams.

  // For what the control thread asks, which may come while the context goes
  // away: the grpc_call, to which we hold a reference, and where it runs.
  base::Mutex mu_;
  grpc_call* stream_ ABSL_GUARDED_BY(mu_) = nullptr;
  const cluster::LiveEndpoint* stream_on_ ABSL_GUARDED_BY(mu_) = nullptr;
};

}  // namespace mesh::channel

#endif  // MESH_CHANNEL_STREAM_CALL_H_
