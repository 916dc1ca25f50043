#ifndef MESH_SIMULATION_SERVERS_H_
#define MESH_SIMULATION_SERVERS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "mesh/simulation/call_state.h"
#include "mesh/simulation/parts.h"

namespace mesh::simulation {

// The servers of all services: their slots and queues, what goes wrong with
// them, and what they execute. Where there is a tier behind them, each server
// calls it as a client of its own.
class Servers {
 public:
  explicit Servers(const Parts& parts);

  size_t size() const { return servers_.size(); }
  const Server& description(uint32_t server) const {
    return *servers_[server].description;
  }
  uint32_t service_of(uint32_t server) const {
    return servers_[server].service;
  }
  // Down or draining.
  bool refuses(uint32_t server) const { return servers_[server].refuses; }
  // It is silent.
  bool swallows(uint32_t server) const { return servers_[server].swallows; }
  // Whether nothing comes over a connection that was made at `connected`.
  bool IsDead(uint32_t server, int64_t connected) const {
    return connected <= servers_[server].silenced;
  }

  void Add(const Server& description, uint32_t service);
  // Once all servers exist: makes each a client of the tier behind it.
  void MakeClients();
  // The first events of faults.
  void SetUpFaults();

  // ---- What becomes of an attempt ----
  void OnReach(CallState& call, Attempt& attempt);
  // Nobody waits for it any more. The server learns that at once.
  void GiveUp(const Attempt& attempt);
  // A probe reaches the server. False: it is swallowed, and answered later.
  bool TakeProbe(uint32_t server, uint32_t probe);
  // The call that `execution` made to the tier behind has ended.
  void EndExecution(uint32_t execution, absl::StatusCode code, bool in_vain);

  // ---- Events ----
  void OnServed(uint32_t server, uint32_t epoch);
  void OnBehind(uint32_t execution);
  void OnFault(uint32_t fault, bool begins);

 private:
  struct State {
    const Server* description = nullptr;
    uint32_t service = 0;
    uint32_t client = kNone;  // The client that calls the tier behind.

    bool refuses = false;  // Down or draining.
    bool down = false;
    bool swallows = false;
    int64_t silenced = -1;  // Connections made until then are dead.
    double factor = 1;
    double error_share = 0;
    absl::StatusCode error = absl::StatusCode::kUnavailable;
    std::optional<absl::Duration> error_after;

    struct Queued {
      uint32_t call;
      uint16_t token;
    };
    int busy = 0;
    uint32_t epoch = 0;  // Counts the deaths of the process.
    std::deque<Queued> queue;
    int places = 0;  // How many places of the queue are taken.
    std::vector<uint32_t> swallowed_probes;

    bool has_behind() const { return client != kNone; }
  };

  // A call that a server executes while it calls the tier behind.
  struct Execution {
    uint32_t server = 0;
    uint32_t epoch = 0;
    // The call whose attempt it answers. kNone: there is none.
    uint32_t call = kNone;
    uint16_t token = 0;
  };

  int64_t WorkTime(const State& state, const Request* request);
  int64_t Occupy(uint32_t server, int64_t time);
  void FreeSlotAt(uint32_t server, int64_t at);
  void FreeSlot(uint32_t server);
  void Serve(CallState& call, Attempt& attempt);
  void ServeNobody(uint32_t server);
  void Execute(uint32_t server, int64_t at, uint32_t call, uint16_t token);
  Attempt* AttemptOf(const Execution& execution);
  void ApplyFaults(uint32_t server);
  void ScheduleFault(uint32_t fault, bool begins);
  void Crash(uint32_t server);

  const Parts& parts_;
  Timeline& time_;
  Tally& tally_;
  Calls& calls_;
  std::vector<State> servers_;
  std::map<std::string, uint32_t> index_;  // By address.
  std::vector<bool> active_;               // By fault.
  Slots<Execution> executions_;
};

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_SERVERS_H_
