#include "mesh/grpc/interceptors.h"

#include <utility>

#include "mesh/grpc/call_hook.h"
#include "mesh/grpc/op_set.h"

namespace mesh::core {
namespace {

using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;

// Set around FillOps(): the batch that goes down on this thread is a restarted
// one.
thread_local const BatchRunner* restarting = nullptr;
// Set around RunInterceptors(): what comes up is on its way to the application.
thread_local InterceptorBatchMethods* delivering = nullptr;

// What stands in for a call's own interceptor in the list of restarted batches.
class RestartInterceptor final : public Interceptor {
 public:
  explicit RestartInterceptor(RestartedBatches* batches) : batches_(batches) {}
  void Intercept(InterceptorBatchMethods* methods) override {
    batches_->InterceptRestarted(methods);
  }

 private:
  RestartedBatches* const batches_;
};

}  // namespace

grpc::experimental::ClientRpcInfo* MakeInterceptors(
    grpc::ClientContext* context, const grpc::internal::RpcMethod& method,
    grpc::ChannelInterface* channel, const InterceptorFactories& factories,
    size_t position, Interceptor* last) {
  grpc::experimental::ClientRpcInfo* const info =
      Access::SetRpcInfo(context, method, channel, factories, position);
  (info->*InterceptorsMember()).emplace_back(last);
  return info;
}

void BatchRunner::Start(Ops* ops, grpc_call* on) {
  grpc::internal::Call call = MakeCall(on, nullptr, queue_, info_);
  ops->FillOps(&call);
}

void BatchRunner::StartUnseen(Ops* ops, grpc_call* on) {
  grpc::internal::Call call = MakeCall(on, nullptr, queue_, nullptr);
  ops->FillOps(&call);
}

void BatchRunner::Restart(Ops* ops, grpc_call* on, grpc_call* was) {
  grpc::experimental::ClientRpcInfo* info = info_;
  if (application_interceptors() > 0) {
    absl::call_once(prepared_, &BatchRunner::PrepareRestarts, this, on);
    info = restart_info_;
  }
  any_restarted_.store(true, std::memory_order_release);
  grpc::internal::Call call = MakeCall(on, nullptr, queue_, info);
  grpc_call_unref(was);  // FillOps() had taken a reference.
  restarting = this;
  ops->FillOps(&call);
}

void BatchRunner::PrepareRestarts(grpc_call* on) {
  restart_context_ = std::make_unique<grpc::ClientContext>();
  // info_->method() will not do: that of a GenericStub is gone by now.
  const grpc::internal::RpcMethod rpc(method_, type_);
  constexpr size_t kBehindAll = 1;
  restart_info_ = MakeInterceptors(restart_context_.get(), rpc, channel_,
                                   InterceptorFactories(), kBehindAll,
                                   new RestartInterceptor(restarted_batches_));
  // Only its interceptors matter.
  full_call_ = MakeCall(on, nullptr, queue_, info_);
}

bool BatchRunner::Passes(Methods* methods) {
  if (restarting == this) {
    // The batch was counted as under way already when it was first started.
    restarting = nullptr;
    Access::CompleteAvalanching(queue_);
    methods->Proceed();
    return true;
  }
  if (delivering == methods) {
    delivering = nullptr;
    methods->Proceed();
    return true;
  }
  return false;
}

void BatchRunner::LetUpHere(Methods* methods, bool restarted) {
  if (application_interceptors_ == 0 && ComesToFunction(OpsOf(methods))) {
    return LetUpInPlace(methods);
  }
  LetUp(methods, restarted);
}

void BatchRunner::LetUp(Methods* methods, bool restarted) {
  if (!restarted || restart_info_ == nullptr) return methods->Proceed();
  // All the way up, through the application's interceptors too.
  Impl(methods)->SetCall(&full_call_);
  delivering = methods;
  Impl(methods)->RunInterceptors();
}

}  // namespace mesh::core
