#ifndef MESH_SIMULATION_INVARIANTS_H_
#define MESH_SIMULATION_INVARIANTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/simulation/call_state.h"
#include "mesh/simulation/parts.h"
#include "mesh/telemetry/observer.h"

namespace mesh::simulation {

struct Client;
class SimulatedEndpoint;

// Checks what holds whatever happens: each decision, as it is made, and what is
// left at the end. A broken invariant is a bug of ours.
class Invariants final : public telemetry::Observer {
 public:
  explicit Invariants(const Parts& parts) : parts_(parts) {}

  // ---- telemetry::Observer ----
  void OnCallStart(const telemetry::CallInfo& info,
                   const telemetry::CallStartEvent& event) override;
  void OnPick(const telemetry::CallInfo& info,
              const telemetry::PickEvent& event) override;
  void OnAttemptEnd(const telemetry::CallInfo& info,
                    const telemetry::AttemptEvent& event) override;
  void OnRetryDecision(const telemetry::CallInfo& info,
                       const telemetry::RetryEvent& event) override;
  void OnCallEnd(const telemetry::CallInfo& info,
                 const telemetry::CallEvent& event) override;

  // ---- What no observer is told of ----
  void AddClient() { accounts_.emplace_back(); }
  void OnCallBegin(const CallState& call) { ++accounts_[call.client].calls; }
  // A probe is about to be sent.
  void OnProbe(const Client& client, const SimulatedEndpoint& endpoint);
  // When all calls have ended.
  void CheckAtRest(Client& client);

  // Something is broken: "a call ended twice". The first ten are kept.
  void Violation(absl::string_view what);
  const std::vector<std::string>& violations() const { return violations_; }

 private:
  // What a client has begun, and what of it was charged to its budget. That is
  // retries, hedges and probes, except those beyond the budget.
  struct Account {
    uint64_t calls = 0;
    uint64_t charged = 0;
    // The call that last used an ejected endpoint without need.
    int64_t needless_call = -100;
  };

  bool Charge(uint32_t client);
  void CheckChoice(CallState& call, const telemetry::PickEvent& event);
  void CheckHealth(const CallState& call, const telemetry::PickEvent& event);
  void CheckPanic(const CallState& call, const telemetry::PickEvent& event);
  void CheckReach(const CallState& call, const telemetry::PickEvent& event);
  void CheckEnd(const CallState& call, const telemetry::RetryEvent& event);
  bool IsFull(const CallState& call,
              const cluster::LiveEndpoint& endpoint) const;
  bool MayPanic(const Client& client, uint32_t priority) const;

  const Parts& parts_;
  std::vector<Account> accounts_;  // By client.
  std::vector<std::string> violations_;
};

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_INVARIANTS_H_
