#ifndef MESH_GRPC_OP_SET_H_
#define MESH_GRPC_OP_SET_H_

#include <cstddef>

#include "grpc/grpc.h"
#include "grpcpp/grpcpp.h"
#include "mesh/grpc/access.h"

// What batches of the application, whose type only gRPC knows, tell.

namespace mesh::core {

// What an interceptor is shown is a part of its batch.
inline grpc::internal::InterceptorBatchMethodsImpl* Impl(
    grpc::experimental::InterceptorBatchMethods* methods) {
  return static_cast<grpc::internal::InterceptorBatchMethodsImpl*>(methods);
}

inline grpc::internal::CallOpSetInterface* OpsOf(
    grpc::experimental::InterceptorBatchMethods* methods) {
  return Impl(methods)->*OpsMember();
}

// Whether `methods`, of a batch (and so not of a cancellation), is at `hook`.
// Without a virtual call: it is asked several times a call.
inline bool IsAt(grpc::experimental::InterceptorBatchMethods* methods,
                 grpc::experimental::InterceptionHookPoints hook) {
  return static_cast<grpc::internal::InterceptorBatchMethodsImpl*>(methods)
      ->InterceptorBatchMethodsImpl::QueryInterceptionHookPoint(hook);
}

// Whether the core said that the batch succeeded, and its operations too.
inline bool& Succeeded(grpc::experimental::InterceptorBatchMethods* methods) {
  static const ptrdiff_t distance = [] {
    AnyCallOpSet any;
    return reinterpret_cast<char*>(&(any.*SavedStatusMember())) -
           reinterpret_cast<char*>(&(any.*BatchMethodsMember()));
  }();
  return *reinterpret_cast<bool*>(reinterpret_cast<char*>(Impl(methods)) +
                                  distance);
}

// Whether what came instead of response headers is the status. Known once
// initial metadata has been received.
bool TrailersOnly(grpc_call* call);

// Reads a message as `whole` does, which it does not own.
class Borrowed final : public grpc::internal::DeserializeFunc {
 public:
  explicit Borrowed(DeserializeFunc* whole) : whole_(whole) {}
  grpc::Status Deserialize(grpc::ByteBuffer* buffer) override {
    return whole_->Deserialize(buffer);
  }

 private:
  DeserializeFunc* const whole_;
};

}  // namespace mesh::core

#endif  // MESH_GRPC_OP_SET_H_
