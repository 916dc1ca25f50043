#ifndef MESH_CHANNEL_CHANNEL_H_
#define MESH_CHANNEL_CHANNEL_H_

#include <memory>

#include "grpcpp/grpcpp.h"
#include "mesh/grpc/access.h"
#include "mesh/grpc/call_hook.h"
#include "mesh/service/service.h"

namespace mesh::channel {

// What a stub is given: gRPC's channel interface over one service. A
// LogicalCall is the shell of each call. Thread-safe.
class Channel final : public grpc::ChannelInterface,
                      public std::enable_shared_from_this<Channel> {
 public:
  // `interceptors`: the application's own, outermost first.
  Channel(std::shared_ptr<service::Service> service,
          core::InterceptorFactories interceptors);

  service::Service* service() const { return service_.get(); }
  grpc_connectivity_state GetState(bool try_to_connect) override;

 private:
  // A call of mesh: a UnaryCall or a StreamCall.
  template <typename Shell>
  grpc::internal::Call Create(const grpc::internal::RpcMethod& method,
                              grpc::ClientContext* context,
                              grpc::CompletionQueue* queue,
                              size_t interceptor_position);

  grpc::internal::Call CreateCall(const grpc::internal::RpcMethod& method,
                                  grpc::ClientContext* context,
                                  grpc::CompletionQueue* queue) override;
  grpc::internal::Call CreateCallInternal(
      const grpc::internal::RpcMethod& method, grpc::ClientContext* context,
      grpc::CompletionQueue* queue, size_t interceptor_position) override;
  // gRPC never calls it; newer versions may not have it.
  void PerformOpsOnCall(grpc::internal::CallOpSetInterface* ops,
                        grpc::internal::Call* call);  // NOLINT
  void* RegisterMethod(const char* method) override;
  void NotifyOnStateChangeImpl(grpc_connectivity_state last_observed,
                               gpr_timespec deadline,
                               grpc::CompletionQueue* queue,
                               void* tag) override;
  bool WaitForStateChangeImpl(grpc_connectivity_state last_observed,
                              gpr_timespec deadline) override;
  grpc::CompletionQueue* CallbackCQ() override;

  const std::shared_ptr<service::Service> service_;
  const core::InterceptorFactories factories_;  // The application's.
  core::PlainHook plain_hook_;
};

}  // namespace mesh::channel

#endif  // MESH_CHANNEL_CHANNEL_H_
