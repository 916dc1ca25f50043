#ifndef MESH_GRPC_CALL_HOOK_H_
#define MESH_GRPC_CALL_HOOK_H_

// The door through which mesh sees the batches of a call.
//
// In every version of gRPC an interceptor is shown each batch on its way to the
// core and back. Below 1.79 a call can have a hook as well: gRPC hands each
// batch to it before anything else. The hook is cheaper where there is nothing
// to see in a batch. It has no other purpose: without it the interceptor does
// the same on the batch's way down.
//
// MESH_CALL_HOOK chooses: 1 below gRPC 1.79 and 0 from it on. It may be set to
// 0 for any version.

#include <type_traits>

#include "grpc/grpc.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/impl/call_op_set.h"
#include "grpcpp/version_info.h"
#include "mesh/grpc/access.h"
#include "mesh/grpc/op_set.h"

#ifndef MESH_CALL_HOOK
#if GRPC_CPP_VERSION_MAJOR > 1 || GRPC_CPP_VERSION_MINOR >= 79
#define MESH_CALL_HOOK 0
#else
#define MESH_CALL_HOOK 1
#endif
#endif

namespace mesh::core {

inline constexpr bool kCallHook = MESH_CALL_HOOK != 0;

// What gRPC starts batches on. Only the call that the application's stub is
// given uses `hook`; for others a null pointer will do. gRPC has one of two
// constructors. This is a template, so the other one need not exist.
template <typename Hook, typename Call = grpc::internal::Call>
Call MakeCall(grpc_call* core, Hook hook, grpc::CompletionQueue* queue,
              grpc::experimental::ClientRpcInfo* info) {
  if constexpr (std::is_constructible_v<Call, grpc_call*,
                                        grpc::CompletionQueue*,
                                        grpc::experimental::ClientRpcInfo*>) {
    return Call(core, queue, info);
  } else {
    return Call(core, hook, queue, info);
  }
}

#if MESH_CALL_HOOK

// Base of a class that is handed each batch of its call first. `Self` has
//    void StartBatch(grpc::internal::CallOpSetInterface* ops);
// which starts the batch (BatchRunner).
template <typename Self>
class Hooked : public grpc::internal::CallHook {
 public:
  void PerformOpsOnCall(grpc::internal::CallOpSetInterface* ops,
                        grpc::internal::Call*) final {
    static_cast<Self*>(this)->StartBatch(ops);
  }
};

// A hook that only starts the batches.
class PlainHook final : public grpc::internal::CallHook {
 public:
  grpc::internal::CallHook* get() { return this; }
  template <typename Self>
  grpc::internal::CallHook* Or(Hooked<Self>* hooked) {
    return hooked;
  }

 private:
  void PerformOpsOnCall(grpc::internal::CallOpSetInterface* ops,
                        grpc::internal::Call* call) override {
    ops->FillOps(call);
  }
};

#else

template <typename Self>
class Hooked {};

// A channel that goes nowhere, as gRPC's hook of a call that needs one.
class PlainHook final {
 public:
  PlainHook()
      : channel_(Access::Wrap(grpc_lame_client_channel_create(
            "mesh", GRPC_STATUS_UNAVAILABLE, "nothing runs here"))) {}
  grpc::Channel* get() { return channel_.get(); }
  template <typename Self>
  grpc::Channel* Or(Hooked<Self>*) {
    return channel_.get();
  }

 private:
  const std::shared_ptr<grpc::Channel> channel_;
};

#endif

// The grpc_call on which a batch that an interceptor is shown will be started,
// or has been.
inline grpc_call* CoreCallOf(grpc::experimental::InterceptorBatchMethods* m) {
  return (Impl(m)->*CallMember())->call();
}

// A batch on its way down will be started on `to`, which FillOps() did not
// know. The batch takes the reference that it holds along.
inline void Redirect(grpc::experimental::InterceptorBatchMethods* methods,
                     grpc_call* to) {
  grpc::internal::Call& call = *(Impl(methods)->*CallMember());
  if (call.call() == to) return;
  grpc_call_ref(to);
  grpc_call_unref(call.call());
  call = MakeCall(to, nullptr, call.cq(), call.client_rpc_info());
}

// Starts a batch that is on its way down; no interceptor will see it come back.
// The last of its interceptors calls this, when all have seen it. The effect is
// that gRPC has run none: a batch without interceptors does not count in its
// queue.
inline void StartUnseen(grpc::experimental::InterceptorBatchMethods* methods) {
  grpc::internal::Call& call = *(Impl(methods)->*CallMember());
  grpc::CompletionQueue* const queue = call.cq();
  call = MakeCall(call.call(), nullptr, queue, nullptr);
  // The batch may have ended when this returns, and be gone. The queue is not
  // gone: what is counted in it holds back its shutdown.
  OpsOf(methods)->ContinueFillOpsAfterInterception();
  Access::CompleteAvalanching(queue);
}

}  // namespace mesh::core

#endif  // MESH_GRPC_CALL_HOOK_H_
