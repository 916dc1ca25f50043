#ifndef MESH_GRPC_INTERCEPTORS_H_
#define MESH_GRPC_INTERCEPTORS_H_

#include <atomic>
#include <memory>

#include "absl/base/call_once.h"
#include "grpc/grpc.h"
#include "grpcpp/grpcpp.h"
#include "mesh/grpc/access.h"

namespace mesh::core {

// Makes the list of a call's interceptors. First come the application's, from
// number `position` of `factories` on, then gRPC's global one if there is one.
// `last`, which it takes, ends the list. gRPC itself puts the global one last.
// `position` beyond all of `factories`: only `last`.
grpc::experimental::ClientRpcInfo* MakeInterceptors(
    grpc::ClientContext* context, const grpc::internal::RpcMethod& method,
    grpc::ChannelInterface* channel, const InterceptorFactories& factories,
    size_t position, grpc::experimental::Interceptor* last);

// It sees restarted batches of a call as they come back.
class RestartedBatches {
 public:
  virtual void InterceptRestarted(
      grpc::experimental::InterceptorBatchMethods* methods) = 0;

 protected:
  ~RestartedBatches() = default;
};

// Starts the batches of one call through its interceptors, the last of which is
// mesh's own. Starts them again past those interceptors that have seen them
// already. Thread-safe.
class BatchRunner {
 public:
  using Ops = grpc::internal::CallOpSetInterface;
  using Methods = grpc::experimental::InterceptorBatchMethods;

  // The call is on `channel`. All pointers outlive it.
  BatchRunner(RestartedBatches* restarted, grpc::ChannelInterface* channel,
              grpc::CompletionQueue* queue)
      : restarted_batches_(restarted), channel_(channel), queue_(queue) {}
  BatchRunner(const BatchRunner&) = delete;
  BatchRunner& operator=(const BatchRunner&) = delete;

  // Call it once, before any batch: sets the interceptors of the call, whose
  // method is `method`. The last one is mesh's own.
  void Begin(grpc::experimental::ClientRpcInfo* info, const char* method,
             grpc::internal::RpcMethod::RpcType type) {
    info_ = info;
    application_interceptors_ = (info->*InterceptorsMember()).size() - 1;
    method_ = method;
    type_ = type;
  }

  // And gRPC's global one, if there is one.
  size_t application_interceptors() const { return application_interceptors_; }
  grpc::CompletionQueue* queue() const { return queue_; }

  // Starts a batch on `on`, past all interceptors or past none.
  void Start(Ops* ops, grpc_call* on);
  void StartUnseen(Ops* ops, grpc_call* on);

  // Starts on `on` a batch that was started on `was` and is no longer under
  // way. The application's interceptors don't see it go down again. What it
  // brings comes to RestartedBatches, if there are any. Otherwise it comes to
  // the last interceptor as usual.
  void Restart(Ops* ops, grpc_call* on, grpc_call* was);
  // Whether a batch has been started again.
  bool any_restarted() const {
    return any_restarted_.load(std::memory_order_acquire);
  }

  // The last interceptor asks this first. True: the batch only passes there
  // because of this object, and has been let go on.
  bool Passes(Methods* methods);

  // Lets a batch that came to InterceptRestarted() go on its way up.
  // `restarted`: through the application's interceptors.
  void LetUp(Methods* methods, bool restarted);
  // The same, inside the batch's own event. The call may be gone afterwards.
  void LetUpHere(Methods* methods, bool restarted);

 private:
  void PrepareRestarts(grpc_call* on);

  // Constant after Begin().
  RestartedBatches* const restarted_batches_;
  grpc::ChannelInterface* const channel_;
  grpc::CompletionQueue* const queue_;
  grpc::experimental::ClientRpcInfo* info_ = nullptr;
  size_t application_interceptors_ = 0;
  const char* method_ = nullptr;
  grpc::internal::RpcMethod::RpcType type_ =
      grpc::internal::RpcMethod::NORMAL_RPC;

  std::atomic<bool> any_restarted_{false};

  // Made for the first batch that is started again, then constant. Restarted
  // batches go through it: all interceptors but the application's.
  absl::once_flag prepared_;
  std::unique_ptr<grpc::ClientContext> restart_context_;
  grpc::experimental::ClientRpcInfo* restart_info_ = nullptr;
  // What such a batch has brought goes through it: all of them again.
  grpc::internal::Call full_call_;
};

}  // namespace mesh::core

#endif  // MESH_GRPC_INTERCEPTORS_H_
