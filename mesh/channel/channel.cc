#include "mesh/channel/channel.h"

#include <utility>

#include "mesh/channel/stream_call.h"
#include "mesh/channel/unary_call.h"
#include "mesh/grpc/interceptors.h"
#include "mesh/grpc/time.h"

namespace mesh::channel {
namespace {

// Puts `tag` on `queue` once, with the `ok` that Fire() is given. It is an
// empty batch of a call that goes nowhere. It deletes itself.
class Notification final : public grpc::internal::CompletionQueueTag {
 public:
  Notification(grpc_channel* placeholder, grpc::CompletionQueue* queue,
               void* tag)
      : queue_(queue),
        tag_(tag),
        call_(grpc_channel_create_call(
            placeholder, nullptr, GRPC_PROPAGATE_DEFAULTS, queue->cq(),
            grpc_slice_from_static_string("/"), nullptr,
            gpr_inf_future(GPR_CLOCK_REALTIME), nullptr)) {
    // The shutdown of the queue waits for this, as it does for gRPC's watches.
    core::Access::RegisterAvalanching(queue_);
  }

  void Fire(bool ok) {
    ok_ = ok;
    grpc_call_start_batch(call_, nullptr, 0, this, nullptr);
  }  // This object may be deleted by now.

  bool FinalizeResult(void** tag, bool* ok) override {
    *tag = tag_;
    *ok = ok_;
    grpc_call_unref(call_);
    core::Access::CompleteAvalanching(queue_);
    delete this;
    return true;
  }

 private:
  grpc::CompletionQueue* const queue_;
  void* const tag_;
  grpc_call* const call_;
  bool ok_ = false;
};

}  // namespace

Channel::Channel(std::shared_ptr<service::Service> service,
                 core::InterceptorFactories interceptors)
    : service_(std::move(service)), factories_(std::move(interceptors)) {}

grpc::internal::Call Channel::CreateCall(
    const grpc::internal::RpcMethod& method, grpc::ClientContext* context,
    grpc::CompletionQueue* queue) {
  return CreateCallInternal(method, context, queue, 0);
}

// An interceptor may make calls whose interceptors begin after itself: the
// application's, or gRPC's global one, which stands behind all of those.
grpc::internal::Call Channel::CreateCallInternal(
    const grpc::internal::RpcMethod& method, grpc::ClientContext* context,
    grpc::CompletionQueue* queue, size_t interceptor_position) {
  return method.method_type() == grpc::internal::RpcMethod::NORMAL_RPC
             ? Create<UnaryCall>(method, context, queue, interceptor_position)
             : Create<StreamCall>(method, context, queue, interceptor_position);
}

template <typename Shell>
grpc::internal::Call Channel::Create(const grpc::internal::RpcMethod& method,
                                     grpc::ClientContext* context,
                                     grpc::CompletionQueue* queue,
                                     size_t interceptor_position) {
  auto* const call = new Shell(
      shared_from_this(), static_cast<service::Method*>(method.channel_tag()),
      method, context, queue);
  grpc_call* const core = call->Begin();
  // The call is its own last interceptor.
  auto* const info = core::MakeInterceptors(context, method, this, factories_,
                                            interceptor_position, call);
  call->set_info(info);
  core::Access::SetCall(context, core);
  return core::MakeCall(core, plain_hook_.Or(call), queue, info);
}

void Channel::PerformOpsOnCall(grpc::internal::CallOpSetInterface* ops,
                               grpc::internal::Call* call) {
  ops->FillOps(call);
}

void* Channel::RegisterMethod(const char* method) {
  return service_->RegisterMethod(method);
}

grpc_connectivity_state Channel::GetState(bool try_to_connect) {
  return service_->GetState(try_to_connect);
}

void Channel::NotifyOnStateChangeImpl(grpc_connectivity_state last_observed,
                                      gpr_timespec deadline,
                                      grpc::CompletionQueue* queue, void* tag) {
  auto* const notification =
      new Notification(service_->runtime().placeholder(), queue, tag);
  service_->connectivity().Watch(
      last_observed,
      core::ToMonotonic(deadline, service_->runtime().clock().Now()),
      [notification](bool changed) { notification->Fire(changed); });
}

bool Channel::WaitForStateChangeImpl(grpc_connectivity_state last_observed,
                                     gpr_timespec deadline) {
  grpc::CompletionQueue queue;
  void* tag = nullptr;
  bool ok = false;
  NotifyOnStateChangeImpl(last_observed, deadline, &queue, nullptr);
  queue.Next(&tag, &ok);
  return ok;
}

grpc::CompletionQueue* Channel::CallbackCQ() {
  return service_->runtime().CallbackQueue();
}

}  // namespace mesh::channel
