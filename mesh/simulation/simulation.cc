#include "mesh/simulation/simulation.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mesh/simulation/calls.h"
#include "mesh/simulation/clients.h"
#include "mesh/simulation/description.h"
#include "mesh/simulation/invariants.h"
#include "mesh/simulation/parts.h"
#include "mesh/simulation/second_connections.h"
#include "mesh/simulation/servers.h"
#include "mesh/simulation/tally.h"
#include "mesh/simulation/timeline.h"

namespace mesh::simulation {
namespace {

// The loop: takes one event after the other and hands it to whom it concerns.
//   a load -> Calls (the machine decides) -> Servers -> Calls -> the machine
//   a fault -> Servers -> Clients (a new picker) -> Calls that wait
// Decisions are told to Tally, which has Invariants check them.
class Simulation {
 public:
  Simulation(const options::ServiceOptions& service, const Cluster& cluster,
             const Options& options)
      : service_(service),
        timeline_(options),
        parts_{cluster,     options,  timeline_, services_, tally_,
               invariants_, servers_, clients_,  seconds_,  calls_},
        tally_(parts_),
        invariants_(parts_),
        servers_(parts_),
        clients_(parts_),
        seconds_(parts_),
        calls_(parts_) {}

  Result Run() {
    SetUp();
    while (!timeline_.over()) {
      const Event event = timeline_.Next();
      tally_.OnEvent();
      Handle(event);
    }
    TearDown();
    return std::move(tally_.result());
  }

 private:
  void SetUp() {
    std::vector<std::string> methods;
    for (const Load& load : parts_.cluster.loads) {
      methods.push_back(load.method);
    }
    AddService(service_, parts_.cluster.servers, std::move(methods));
    for (const Tier& tier : parts_.cluster.behind) {
      AddService(tier.service, tier.servers, {tier.method});
    }
    tally_.SetUp();
    for (int i = 0; i < parts_.cluster.clients; ++i) clients_.Add(0);
    servers_.MakeClients();
    clients_.SetUp();
    servers_.SetUpFaults();
    calls_.SetUp();
  }

  void AddService(const options::ServiceOptions& options,
                  const std::vector<Server>& servers,
                  std::vector<std::string> methods) {
    ServiceState service;
    // The caller's own: it outlives the simulation.
    service.options = std::shared_ptr<const options::ServiceOptions>(
        std::shared_ptr<void>(), &options);
    service.methods = std::move(methods);
    std::deque<upstream::Method> registered;
    service.policies = upstream::MethodPolicies(
        service.options, RegisterMethods(service.methods, &registered));
    service.first = static_cast<uint32_t>(servers_.size());
    service.count = static_cast<uint32_t>(servers.size());
    for (const Server& server : servers) {
      servers_.Add(server, static_cast<uint32_t>(services_.size()));
    }
    services_.push_back(std::move(service));
  }

  void Handle(const Event& event) {
    if (IsOfCall(event.kind)) return calls_.OnEvent(event);
    switch (event.kind) {
      case EventKind::kArrival:
        return calls_.OnArrival(event.a, event.b);
      case EventKind::kServed:
        return servers_.OnServed(event.a, event.b);
      case EventKind::kBehind:
        return servers_.OnBehind(event.a);
      case EventKind::kFault:
        return servers_.OnFault(event.a, event.b != 0);
      case EventKind::kListed:
        return clients_.OnListed(event.a, event.b != 0);
      case EventKind::kSense:
        return clients_.OnSense(event.a, event.b);
      case EventKind::kDialled:
        return clients_.OnDialled(event.a, event.b);
      case EventKind::kLook:
        return seconds_.OnLook(event.a, event.b);
      case EventKind::kSecond:
        return seconds_.OnSecond(event.a);
      case EventKind::kQuiet:
        return seconds_.OnQuiet(event.a);
      case EventKind::kProbeReach:
        return clients_.OnProbeReach(event.a);
      case EventKind::kProbeDone:
        return clients_.OnProbeDone(event.a, event.b != 0);
      default:
        break;
    }
  }

  void TearDown() {
    clients_.EndProbes();
    calls_.TearDown();
    for (size_t i = 0; i < clients_.size(); ++i) {
      invariants_.CheckAtRest(clients_[static_cast<uint32_t>(i)]);
    }
    if (tally_.ended() != tally_.begun()) {
      invariants_.Violation("not every call ended");
    }
    tally_.result().simulated = absl::Nanoseconds(timeline_.now());
    tally_.result().violations = invariants_.violations();
  }

  const options::ServiceOptions& service_;
  Timeline timeline_;
  std::vector<ServiceState> services_;
  const Parts parts_;
  Tally tally_;
  Invariants invariants_;
  Servers servers_;
  Clients clients_;
  SecondConnections seconds_;
  Calls calls_;
};

}  // namespace

absl::StatusOr<Result> Simulate(const options::ServiceOptions& service,
                                const Cluster& cluster,
                                const Options& options) {
  if (absl::Status status = Check(cluster, options); !status.ok()) {
    return status;
  }
  return Simulation(service, cluster, options).Run();
}

}  // namespace mesh::simulation
