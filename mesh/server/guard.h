#ifndef MESH_SERVER_GUARD_H_
#define MESH_SERVER_GUARD_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "grpcpp/security/auth_metadata_processor.h"
#include "grpcpp/support/status.h"
#include "mesh/base/clock.h"
#include "mesh/grpc/server_credentials.h"
#include "mesh/security/peer.h"
#include "mesh/server/blocking_pool.h"
#include "mesh/server/connection_ledger.h"

namespace mesh::server {

// A call at the door, as guards see it.
struct GuardedCall {
  Wire wire;
  grpc_auth_context* connection;
  absl::string_view path;  // ":path". Empty: there is none.
  const grpc_metadata* headers;
  size_t header_count;
  // Who calls. Null until the guard of peers has passed the call.
  std::shared_ptr<const security::Peer> peer;
};

// One condition for a call to be served. Check() runs on gRPC's threads before
// any handler sees the call. It must not block. Not OK: the call ends so, and
// no later guard is asked.
class CallGuard {
 public:
  virtual ~CallGuard() = default;
  virtual grpc::Status Check(GuardedCall* call) = 0;
};

// Admits calls of verified peers, and of those without TLS where the port takes
// such. UNAUTHENTICATED or UNAVAILABLE: see ConnectionLedger.
std::unique_ptr<CallGuard> PeerGuard(std::shared_ptr<ConnectionLedger> ledger,
                                     const base::Clock* clock);

// The ruling of `ledger` on a call of `connection`.
ConnectionLedger::Ruling RuleOn(ConnectionLedger* ledger, Wire wire,
                                grpc_auth_context* connection, absl::Time now);

// The wire of a connection that RuleOn() was asked about, whatever its ledger
// still knows. Nothing: its calls came to another port.
std::optional<Wire> RuledWire(const grpc_auth_context* connection);

// Whether the rules let `call` pass; its `peer` is not null.
using Authorize = std::function<bool(const GuardedCall& call)>;

// PERMISSION_DENIED, without the rule, where `authorize` says no.
std::unique_ptr<CallGuard> RulesGuard(Authorize authorize);

// Judges the calls of one port: the guards in their order, then the
// application's processor, if it has one. What that throws makes the call
// INTERNAL. Thread-safe.
class GuardList {
 public:
  GuardList(std::vector<std::unique_ptr<CallGuard>> guards,
            std::shared_ptr<grpc::AuthMetadataProcessor> processor);

  void Judge(Wire wire, const core::ArrivingCall& call);

 private:
  void Process(const core::ArrivingCall& call) const;

  const std::vector<std::unique_ptr<CallGuard>> guards_;
  const std::shared_ptr<grpc::AuthMetadataProcessor> processor_;
  BlockingPool pool_;  // For a processor that may block.
};

}  // namespace mesh::server

#endif  // MESH_SERVER_GUARD_H_
