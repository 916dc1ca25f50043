#ifndef MESH_CERTS_AGENT_H_
#define MESH_CERTS_AGENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/support/status.h"
#include "mesh/security/identity.h"

namespace mesh::certs {

// One SVID of an answer. Its bundle is that of its trust domain in `bytes`, or
// the bundle "".
struct AgentSvid {
  std::string spiffe_id;
  std::string hint;
  security::IdentityBytes bytes;
};

// The bytes of an X509SVIDResponse. Bundles of other trust domains and lists
// are those of all SVIDs. INVALID_ARGUMENT: what should be PEM is none.
absl::StatusOr<std::string> AgentResponse(const std::vector<AgentSvid>& svids);

// A small agent of the SPIFFE Workload API: FetchX509SVID and nothing else. It
// gives to everybody who may open its socket the same, so it is for development
// and tests. Thread-safe.
class Agent {
 public:
  // Listens at `address`, which gRPC reads: "unix:/tmp/agent.sock". A socket
  // that nobody listens at is replaced. UNAVAILABLE: it cannot.
  static absl::StatusOr<std::unique_ptr<Agent>> Start(
      const std::string& address);
  // Ends all streams.
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // Sends `response` on all streams, and first of all on each new one.
  void Push(std::string response);
  // Ends all streams with `status`, and each new one. Push() ends that.
  void Refuse(const grpc::Status& status);
  // Says nothing on new streams until Push() is called.
  void Stall();
  // Ends the streams that are there, as an agent that goes away does.
  void Cut();

  // How many streams there have been, and how many there are.
  int64_t opened() const;
  int64_t open() const;

 private:
  class Impl;
  explicit Agent(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace mesh::certs

#endif  // MESH_CERTS_AGENT_H_
