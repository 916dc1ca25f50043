#ifndef MESH_SERVICE_PROBER_H_
#define MESH_SERVICE_PROBER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "mesh/base/mutex.h"
#include "mesh/grpc/core_queue.h"
#include "mesh/grpc/raw_call.h"
#include "mesh/service/endpoint.h"

namespace mesh::service {

// Probes endpoints: asks whether their servers still answer. Thread-safe.
class Prober {
 public:
  // `queue` outlives the prober, but not its probes.
  explicit Prober(core::CoreQueue* queue) : queue_(queue) {}
  // Ends all probes. Waits for nothing: what they were to tell is told later.
  ~Prober();
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;

  // Calls `method` ("/package.Service/Method") on `endpoint`, with an empty
  // request and no deadline. `endpoint` is acquired until `done` returns.
  // `done` is called once, on a thread of gRPC. `answered`: the endpoint's
  // server has said something, be it that it has no such method.
  void Probe(std::shared_ptr<ConnectedEndpoint> endpoint,
             const std::string& method,
             std::function<void(bool answered)> done);

  // Ends the probe of an endpoint that has been closed, if there is one. It
  // counts as not answered.
  void Cancel(const ConnectedEndpoint* endpoint);

 private:
  // Probes share it, since they may outlive the prober.
  struct Running {
    base::Mutex mu;
    std::map<const ConnectedEndpoint*, std::shared_ptr<core::RawCall>> probes
        ABSL_GUARDED_BY(mu);
  };

  core::CoreQueue* const queue_;
  const std::shared_ptr<Running> running_ = std::make_shared<Running>();
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_PROBER_H_
