#include "mesh/simulation/second_connections.h"

#include <algorithm>

#include "mesh/simulation/calls.h"
#include "mesh/simulation/servers.h"
#include "mesh/simulation/tally.h"

namespace mesh::simulation {
namespace {

using cluster::Health;

// A silent connection is dead when it has brought nothing for so long.
constexpr int64_t kDeadAfter = 1'000'000'000;

}  // namespace

SecondConnections::SecondConnections(const Parts& parts)
    : parts_(parts),
      time_(parts.timeline),
      connections_die_(
          std::any_of(parts.cluster.faults.begin(), parts.cluster.faults.end(),
                      [](const Fault& fault) {
                        return fault.kind == Fault::Kind::kDeadConnections;
                      })) {}

void SecondConnections::OnHealthChange(uint32_t client,
                                       const resilience::HealthChange& change) {
  if (!connections_die_ ||
      (change.to != Health::kSuspect && change.from != Health::kSuspect)) {
    return;
  }
  const auto* const endpoint =
      static_cast<const SimulatedEndpoint*>(change.endpoint);
  time_.Push(time_.now(), EventKind::kLook, endpoint->server, client);
}

void SecondConnections::GiveUp(SimulatedEndpoint* endpoint) {
  if (endpoint->second == kNone) return;
  dials_[endpoint->second].endpoint = nullptr;
  endpoint->second = kNone;
}

// ---- Dials ----

// Whether another connection is wanted, and may be dialled now. It hangs at a
// silent one, as one to a stopped process does, and ends with connect_timeout.
void SecondConnections::OnLook(uint32_t server, uint32_t index) {
  Client& client = parts_.clients[index];
  SimulatedEndpoint* const live = parts_.clients.LiveOf(client, server).get();
  if (live == nullptr) return;
  if (live->health() != Health::kSuspect ||
      live->readiness() != cluster::Readiness::kReady) {
    return GiveUp(live);
  }
  // When no more calls begin nobody would see it.
  if (live->second != kNone ||
      time_.now() >= Nanoseconds(parts_.options.duration)) {
    return;
  }
  int64_t at = live->asked + kAskAgain;
  if (at <= time_.now() && !parts_.clients.MayDial(client)) {
    at = time_.now() + kAskAgain;
  }
  if (at > time_.now()) {
    time_.Push(at, EventKind::kLook, server, index);
    return;
  }
  live->asked = time_.now();
  live->second = dials_.Take();
  dials_[live->second] = {index, live};
  parts_.tally.OnSecondDial();
  time_.Push(time_.now() + parts_.cluster.reconnection.Sample(time_.random()),
             EventKind::kSecond, live->second);
}

void SecondConnections::OnSecond(uint32_t slot) {
  Dial& dial = dials_[slot];
  if (dial.endpoint == nullptr) return dials_.Free(slot);
  const uint32_t server = dial.endpoint->server;
  const bool refused = dial.hangs || parts_.servers.refuses(server);
  if (!refused && parts_.servers.swallows(server)) {
    dial.hangs = true;
    const ServiceState& service =
        parts_.services[parts_.clients[dial.client].service];
    time_.Push(dial.endpoint->asked +
                   Nanoseconds(service.options->connections.connect_timeout),
               EventKind::kSecond, slot);
    return;
  }
  const Dial ended = dial;
  dials_.Free(slot);
  ended.endpoint->second = kNone;
  if (refused) return OnLook(server, ended.client);
  Replace(ended);
}

void SecondConnections::Replace(const Dial& dial) {
  SimulatedEndpoint* const before = dial.endpoint;
  parts_.tally.OnReplaced(before->server);
  SimulatedEndpoint* const now =
      parts_.clients.Replace(parts_.clients[dial.client], before);
  // What was to show that another one is dead is silent itself.
  for (Replaced& replaced : replaced_) {
    if (replaced.successor == before) replaced.successor = now;
  }
  Replaced replaced;
  replaced.endpoint = before;
  replaced.successor = now;
  replaced.answered = now->counters().Answered();
  replaced.brought = before->brought;
  replaced_.push_back(replaced);
}

// ---- What was replaced ----

void SecondConnections::OnBrought(SimulatedEndpoint* endpoint) {
  ++endpoint->brought;
  for (uint32_t i = 0; i < replaced_.size(); ++i) {
    Replaced& replaced = replaced_[i];
    if (replaced.successor != endpoint ||
        endpoint->counters().Answered() == replaced.answered) {
      continue;
    }
    replaced.successor = nullptr;
    time_.Push(time_.now() + kDeadAfter, EventKind::kQuiet, i);
  }
}

void SecondConnections::OnQuiet(uint32_t index) {
  const Replaced& replaced = replaced_[index];
  SimulatedEndpoint* const endpoint = replaced.endpoint;
  if (endpoint->Drained() || endpoint->brought != replaced.brought) return;
  parts_.tally.OnBroken(endpoint->server);
  parts_.calls.BreakConnection(endpoint);
  parts_.clients.EndProbesOn(endpoint);
}

}  // namespace mesh::simulation
