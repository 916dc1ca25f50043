#include "mesh/grpc/op_set.h"

#include "grpcpp/support/client_callback.h"

namespace mesh::core {

bool TrailersOnly(grpc_call* call) {
  class Reactor final : public grpc::internal::ClientReactor {
   public:
    void OnDone(const grpc::Status&) override {}
  };
  static const auto* const reactor = new Reactor;
  return reactor->InternalTrailersOnly(call);
}

}  // namespace mesh::core
