#ifndef MESH_SIMULATION_CLIENTS_H_
#define MESH_SIMULATION_CLIENTS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mesh/balancing/picker.h"
#include "mesh/call/call_machine.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/simulation/call_state.h"
#include "mesh/simulation/parts.h"
#include "mesh/upstream/upstream.h"

namespace mesh::simulation {

// How often an endpoint is dialled at most, for calls or beside a silent
// connection.
inline constexpr int64_t kAskAgain = 1'000'000'000;

// One client's view of one server, over one connection after the other. A
// connection that takes the place of a silent one has an endpoint of its own.
class SimulatedEndpoint final : public cluster::LiveEndpoint {
 public:
  SimulatedEndpoint(cluster::Endpoint endpoint, uint32_t server)
      : LiveEndpoint(std::move(endpoint)), server(server) {}
  const uint32_t server;
  int64_t connected = 0;    // When its connection was made.
  uint64_t brought = 0;     // What has come over it. For comparison only.
  uint32_t second = kNone;  // The dial of another connection beside it.
  // The last time that it was probed, and dialled since a call asked.
  int64_t probed = std::numeric_limits<int64_t>::min() / 2;
  int64_t asked = std::numeric_limits<int64_t>::min() / 2;
};

// Methods registered under the service's names, in `into`.
std::vector<const upstream::Method*> RegisterMethods(
    const std::vector<std::string>& names, std::deque<upstream::Method>* into);

// A process that calls one service.
struct Client final : upstream::Upstream::Host {
  Client(uint32_t index, uint32_t service, const Parts& parts);

  // upstream::Upstream::Host
  void SendProbe(cluster::LiveEndpoint* endpoint) override;
  void OnHealthChange(const resilience::HealthChange& change) override;

  const uint32_t index;
  const uint32_t service;
  upstream::Upstream upstream;
  std::deque<upstream::Method> methods;  // As ServiceState::methods.
  // By server of the service; may be null.
  std::vector<std::shared_ptr<SimulatedEndpoint>> live;
  std::vector<std::shared_ptr<SimulatedEndpoint>> removed;
  std::vector<cluster::LiveEndpointPtr> endpoints;  // As `live`, no null.
  balancing::PickerPtr picker;
  std::vector<uint32_t> waiting;  // Calls.
  std::vector<uint32_t> asking;   // Calls that wait for a dial.
  bool dialling = false;          // A dial for those calls is under way.
  int64_t rebuilt = 0;            // When `picker` was made.

 private:
  const Parts& parts_;
};

// The control half of all clients: endpoints that come and go, connections that
// break and come back, pickers, and probes.
class Clients {
 public:
  explicit Clients(const Parts& parts);

  Client& operator[](uint32_t index) { return *clients_[index]; }
  const Client& operator[](uint32_t index) const { return *clients_[index]; }
  size_t size() const { return clients_.size(); }

  // What an event tells about: the endpoint, and its server.
  const SimulatedEndpoint* EndpointOf(
      const cluster::EndpointView& endpoint) const {
    return endpoint_of_.find(endpoint.endpoint)->second;
  }
  uint32_t ServerOf(const cluster::EndpointView& endpoint) const {
    return EndpointOf(endpoint)->server;
  }
  // The client's endpoint of `server` that calls are to use. Null: it is not
  // listed.
  std::shared_ptr<SimulatedEndpoint>& LiveOf(Client& client, uint32_t server);
  // Whether a client may dial one more, for calls that ask or beside a silent
  // connection.
  bool MayDial(const Client& client) const;

  // Returns its index.
  uint32_t Add(uint32_t service);
  // Lists the servers that are there from the beginning.
  void SetUp();
  // Ends the probes that are under way.
  void EndProbes();

  // A server has come or gone: its clients notice, each in its time.
  void SenseLater(uint32_t server, const Distribution& delay);
  // Keeps `call` until there is another picker. With `asks`, servers that
  // refused are dialled. The call is then kept until one does not refuse, or
  // none is left that may be dialled. The bounds are those of mesh/service.
  void Wait(CallState& call, bool asks);
  // Another connection takes the place of that of `before`. Returns its
  // endpoint.
  SimulatedEndpoint* Replace(Client& client, SimulatedEndpoint* before);
  // The probes on `endpoint` are in vain.
  void EndProbesOn(const SimulatedEndpoint* endpoint);

  void OnListed(uint32_t server, bool listed);
  void OnSense(uint32_t server, uint32_t client);
  void OnDialled(uint32_t server, uint32_t client);
  void SendProbe(Client& client, SimulatedEndpoint* endpoint);
  void OnProbeReach(uint32_t probe);
  void OnProbeDone(uint32_t probe, bool answered);
  void AnswerProbe(uint32_t probe, bool answered);

 private:
  // A health monitor's probe on its way.
  struct Probe {
    uint32_t client = 0;
    SimulatedEndpoint* endpoint = nullptr;  // Null: nobody waits for it.
    int64_t connected = 0;  // When the connection that it is on was made.
    int64_t network = 0;    // There and back.
    bool lost = false;      // No event tells of it any more.
  };

  std::shared_ptr<SimulatedEndpoint> NewEndpoint(uint32_t server);
  void Rebuild(Client& client);
  void DialNext(Client& client);
  bool LoseProbe(uint32_t probe);
  void EndProbe(uint32_t probe, bool answered);

  const Parts& parts_;
  Timeline& time_;
  std::vector<std::unique_ptr<Client>> clients_;
  Slots<Probe> probes_;
  // By the identity that events give to an endpoint.
  std::unordered_map<const cluster::Endpoint*, const SimulatedEndpoint*>
      endpoint_of_;
};

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_CLIENTS_H_
