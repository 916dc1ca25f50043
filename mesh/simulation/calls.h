#ifndef MESH_SIMULATION_CALLS_H_
#define MESH_SIMULATION_CALLS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "mesh/base/random.h"
#include "mesh/call/call_machine.h"
#include "mesh/simulation/call_state.h"
#include "mesh/simulation/parts.h"
#include "mesh/upstream/plan.h"

namespace mesh::simulation {

// The shell around the call machines. It begins calls, tells the machines what
// happens, and does what they say. Each call is in a slot.
class Calls {
 public:
  explicit Calls(const Parts& parts);

  // Makes the loads, and the first events of them.
  void SetUp();
  // Ends calls that nothing will end, and checks all.
  void TearDown();

  CallState& operator[](uint32_t slot) { return calls_[slot]; }
  // Whether its answer comes in parts.
  bool streams(const CallState& call) const {
    const Load* const load = loads_[call.load].load;
    return load != nullptr && load->stream;
  }
  // What it asks for. Null: the server decides.
  const Request* request(const CallState& call) const {
    return call.request == kNone
               ? nullptr
               : &loads_[call.load].load->requests[call.request];
  }
  void Reference(CallState& call) { ++call.references; }
  void Unreference(CallState& call);

  // ---- Events ----
  void OnArrival(uint32_t load, uint32_t client);
  void OnEvent(const Event& event);  // An event of a call.
  // There is another picker, and a call waited for it. Drops the reference to
  // the call.
  void Wake(uint32_t slot);

  // ---- For servers ----
  // Makes the call of `service` that `execution` waits for.
  void CallBehind(uint32_t service, uint32_t client, int64_t deadline_cap,
                  uint32_t execution);
  // An event of `attempt` at `at`.
  void Tell(int64_t at, EventKind kind, CallState& call,
            const Attempt& attempt) {
    Push(at, kind, call, attempt.token);
  }
  // The server's answer leaves it at `at`.
  void Send(Answer answer, CallState& call, Attempt& attempt, int64_t at);
  // Sees to it that the attempt's deadline comes if it comes before `next`, the
  // next thing that the client will see of the attempt. So the many deadlines
  // that never come are never in the queue.
  void ArmDeadline(CallState& call, Attempt& attempt, int64_t next);
  // The connections to `server` break, with all that was under way there.
  void BreakConnections(uint32_t server);
  // The connection of `endpoint` is ended under the attempts that run over it.
  // The server goes on with what it has.
  void BreakConnection(const SimulatedEndpoint* endpoint);
  // Ends all calls of a client whose process ends.
  void AbandonAllOf(uint32_t client);

 private:
  struct LoadState {
    const Load* load = nullptr;  // Null: a tier's.
    upstream::CallShape shape;   // All but the method.
    size_t method = 0;           // In ServiceState::methods.
    int64_t from = 0;
    int64_t until = 0;
    int64_t deadline = kNever;   // From the call's start.
    int64_t gap = 0;             // Mean, between calls of one client.
    double weight = 0;           // The sum over its requests.
    std::vector<uint32_t> turn;  // The turn of its requests, by client.
  };

  LoadState MakeLoad(const ServiceState& service, size_t method,
                     absl::Duration deadline) const;
  void SetUpLoad(const Load& load);
  int64_t Gap(const LoadState& state);
  uint32_t NextRequest(LoadState& state, uint32_t client);
  void Begin(uint32_t load, uint32_t client, int64_t deadline_at,
             uint32_t execution);
  void PlanToLeave(const Load& load, CallState& call);
  call::Moment Now(const CallState& call);

  bool Push(int64_t at, EventKind kind, CallState& call, uint32_t b = 0) {
    const bool pushed = time_.Push(at, kind, call.slot, b);
    call.references += pushed;
    return pushed;
  }

  void OnAttemptEvent(CallState& call, Attempt& attempt, const Event& event);
  void OnFirst(CallState& call, Attempt& attempt);
  void OnDone(CallState& call, const Attempt& attempt, Answer answer);
  void OnAttemptDeadline(CallState& call, const Attempt& attempt);
  void AttemptEnded(CallState& call, const Attempt& attempt,
                    call::AttemptOutcome outcome);
  void OnLate(CallState& call, int number);
  void OnTimer(CallState& call, bool stray);
  void OnCancel(CallState& call);
  void Abandon(CallState& call);

  void Perform(CallState& call, std::optional<call::Action> action);
  void StartAttempt(CallState& call, const call::Action& action);
  void SetTimer(CallState& call, int64_t at);
  void CancelOthers(CallState& call, int but);
  void Cancelled(CallState& call, const Attempt& attempt);
  void Break(CallState& call, Attempt& attempt);
  void Ended(CallState& call);

  const Parts& parts_;
  Timeline& time_;
  Tally& tally_;
  Invariants& invariants_;
  Servers& servers_;
  Clients& clients_;
  const int64_t end_;             // Calls begin until then.
  base::Random decisions_;        // The machines'.
  std::vector<LoadState> loads_;  // Cluster::loads, then the tiers'.
  Slots<CallState> calls_;
};

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_CALLS_H_
