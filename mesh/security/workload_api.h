#ifndef MESH_SECURITY_WORKLOAD_API_H_
#define MESH_SECURITY_WORKLOAD_API_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/base/clock.h"
#include "mesh/base/event_loop.h"
#include "mesh/security/source.h"
#include "mesh/security/svid_response.h"

namespace mesh::security {

// Where gRPC finds the agent at `endpoint`, as the SPIFFE Workload Endpoint
// standard writes it, section 4. It is "unix:///run/spire/agent.sock" or
// "unix:/PATH", absolute, or "tcp://127.0.0.1:8000" or "tcp:[::1]:8000".
// INVALID_ARGUMENT: it is something else.
absl::StatusOr<std::string> WorkloadTarget(absl::string_view endpoint);

// Publishes what an agent gives by FetchX509SVID of the SPIFFE Workload API, as
// long as it lives. There may be no agent yet: it is asked again for ever, and
// OnNotice() says why nothing comes.
class WorkloadApiSource final : public IdentitySource {
 public:
  // INVALID_ARGUMENT: `endpoint` is none (see WorkloadTarget()).
  // RESOURCE_EXHAUSTED: there is no thread.
  //
  // `loop` runs the source, with others if they share it; null: one of its own.
  // `wall` is the wall clock, for dates; it may be called on the loop.
  static absl::StatusOr<std::shared_ptr<WorkloadApiSource>> Make(
      absl::string_view endpoint, SvidChoice choice = {},
      std::shared_ptr<base::EventLoop> loop = nullptr,
      std::function<absl::Time()> wall = &base::WallTime);
  ~WorkloadApiSource() override;

  void Subscribe(std::weak_ptr<IdentityListener> listener) override;

 private:
  class Client;
  explicit WorkloadApiSource(std::shared_ptr<Client> client);

  const std::shared_ptr<Client> client_;
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_WORKLOAD_API_H_
