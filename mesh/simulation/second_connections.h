#ifndef MESH_SIMULATION_SECOND_CONNECTIONS_H_
#define MESH_SIMULATION_SECOND_CONNECTIONS_H_

#include <cstdint>
#include <vector>

#include "mesh/resilience/health/monitor.h"
#include "mesh/simulation/call_state.h"
#include "mesh/simulation/clients.h"
#include "mesh/simulation/parts.h"

namespace mesh::simulation {

// The connections that clients dial beside silent ones, as mesh/service does. A
// new one takes the place of the silent one, unless that has answered before.
// Then the silent one gets no more calls. It is dead when the new one has
// answered, and the silent one has still brought nothing a second later. Its
// calls then end like those of a lost connection.
//
// This happens only where connections may die. Elsewhere a silent server is
// silent on all connections, and what it owes comes over the first one.
class SecondConnections {
 public:
  explicit SecondConnections(const Parts& parts);

  // An endpoint has become silent, or is no longer silent.
  void OnHealthChange(uint32_t client, const resilience::HealthChange& change);
  // No other connection is wanted beside that of `endpoint`.
  void GiveUp(SimulatedEndpoint* endpoint);
  // Something has come over the connection of `endpoint`.
  void OnBrought(SimulatedEndpoint* endpoint);

  // ---- Events ----
  void OnLook(uint32_t server, uint32_t client);
  void OnSecond(uint32_t dial);
  void OnQuiet(uint32_t replaced);

 private:
  struct Dial {
    uint32_t client = 0;
    SimulatedEndpoint* endpoint = nullptr;  // Null: it was given up.
    bool hangs = false;
  };
  // A connection that was silent when another one took its place.
  struct Replaced {
    SimulatedEndpoint* endpoint = nullptr;
    // Null: the silent one has answered since.
    SimulatedEndpoint* successor = nullptr;
    uint64_t answered = 0;  // Answers of the successor at first.
    uint64_t brought = 0;   // What the endpoint had brought at first.
  };

  void Replace(const Dial& dial);

  const Parts& parts_;
  Timeline& time_;
  bool connections_die_ = false;
  Slots<Dial> dials_;
  std::vector<Replaced> replaced_;
};

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_SECOND_CONNECTIONS_H_
