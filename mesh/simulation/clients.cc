#include "mesh/simulation/clients.h"

#include <algorithm>

#include "mesh/simulation/calls.h"
#include "mesh/simulation/invariants.h"
#include "mesh/simulation/second_connections.h"
#include "mesh/simulation/servers.h"
#include "mesh/simulation/tally.h"

namespace mesh::simulation {
namespace {

// Dials per client and second, for calls or beside what is silent.
constexpr int kMostAsked = 10;

upstream::Upstream::Settings SettingsOf(const ServiceState& service,
                                        telemetry::Observer* observer,
                                        upstream::Upstream::Host* host) {
  upstream::Upstream::Settings settings;
  settings.name = service.options->name;
  settings.options = service.options;
  settings.observer = observer;
  settings.host = host;
  settings.now = TimeAt(0);
  return settings;
}

}  // namespace

std::vector<const upstream::Method*> RegisterMethods(
    const std::vector<std::string>& names, std::deque<upstream::Method>* into) {
  std::vector<const upstream::Method*> result;
  for (const std::string& name : names) {
    upstream::Method& method = into->emplace_back();
    method.name = name;
    method.index = result.size();
    result.push_back(&method);
  }
  return result;
}

Client::Client(uint32_t index, uint32_t service, const Parts& parts)
    : index(index),
      service(service),
      upstream(SettingsOf(parts.services[service], &parts.tally, this)),
      live(parts.services[service].count),
      parts_(parts) {
  RegisterMethods(parts.services[service].methods, &methods);
}

void Client::SendProbe(cluster::LiveEndpoint* endpoint) {
  parts_.clients.SendProbe(*this, static_cast<SimulatedEndpoint*>(endpoint));
}

void Client::OnHealthChange(const resilience::HealthChange& change) {
  parts_.seconds.OnHealthChange(index, change);
}

Clients::Clients(const Parts& parts) : parts_(parts), time_(parts.timeline) {}

uint32_t Clients::Add(uint32_t service) {
  const uint32_t index = static_cast<uint32_t>(clients_.size());
  clients_.push_back(std::make_unique<Client>(index, service, parts_));
  parts_.invariants.AddClient();
  return index;
}

void Clients::SetUp() {
  for (uint32_t i = 0; i < parts_.servers.size(); ++i) {
    const Server& server = parts_.servers.description(i);
    if (server.listed_from > absl::ZeroDuration()) {
      time_.Push(Nanoseconds(server.listed_from), EventKind::kListed, i, 1);
    } else {
      for (auto& client : clients_) {
        if (client->service != parts_.servers.service_of(i)) continue;
        auto& live = LiveOf(*client, i);
        live = NewEndpoint(i);
        live->set_readiness(cluster::Readiness::kReady);
        client->upstream.health().OnConnected(live.get(), time_.Now());
      }
    }
    time_.Push(Nanoseconds(server.listed_until), EventKind::kListed, i, 0);
  }
  for (auto& client : clients_) Rebuild(*client);
}

// ---- Endpoints and pickers ----

std::shared_ptr<SimulatedEndpoint> Clients::NewEndpoint(uint32_t server) {
  const Server& description = parts_.servers.description(server);
  cluster::Endpoint endpoint;
  endpoint.address = description.address;
  endpoint.weight = description.weight;
  endpoint.priority = description.priority;
  if (!description.zone.empty()) {
    auto details = std::make_shared<cluster::EndpointDetails>();
    details->locality.zone = description.zone;
    endpoint.details = std::move(details);
  }
  auto made = std::make_shared<SimulatedEndpoint>(std::move(endpoint), server);
  endpoint_of_[&made->endpoint()] = made.get();
  return made;
}

std::shared_ptr<SimulatedEndpoint>& Clients::LiveOf(Client& client,
                                                    uint32_t server) {
  return client.live[server - parts_.services[client.service].first];
}

void Clients::OnListed(uint32_t server, bool listed) {
  for (const auto& client : clients_) {
    if (client->service != parts_.servers.service_of(server)) continue;
    std::shared_ptr<SimulatedEndpoint>& live = LiveOf(*client, server);
    if (listed) {
      live = NewEndpoint(server);
      live->NoteDial(absl::ToUnixNanos(time_.Now()));
      live->set_readiness(cluster::Readiness::kConnecting);
      const int64_t connected =
          time_.now() + parts_.cluster.reconnection.Sample(time_.random());
      time_.Push(connected, EventKind::kSense, server, client->index);
    } else if (live != nullptr) {
      live->Close();
      parts_.seconds.GiveUp(live.get());
      EndProbesOn(live.get());
      client->removed.push_back(std::move(live));
      live = nullptr;
    }
    Rebuild(*client);
  }
}

void Clients::SenseLater(uint32_t server, const Distribution& delay) {
  for (const auto& client : clients_) {
    if (client->service != parts_.servers.service_of(server)) continue;
    time_.Push(time_.now() + delay.Sample(time_.random()), EventKind::kSense,
               server, client->index);
  }
}

void Clients::OnSense(uint32_t server, uint32_t index) {
  Client& client = *clients_[index];
  const auto& live = LiveOf(client, server);
  if (live == nullptr) return;
  for (uint32_t i = 0; i < probes_.size(); ++i) {
    if (probes_[i].endpoint == live.get() && probes_[i].lost)
      EndProbe(i, false);
  }
  const auto readiness = parts_.servers.refuses(server)
                             ? cluster::Readiness::kFailed
                             : cluster::Readiness::kReady;
  if (live->readiness() == readiness) return;
  // It is dialled at once, and refuses.
  live->NoteDial(absl::ToUnixNanos(time_.Now()));
  live->set_readiness(readiness);
  if (readiness == cluster::Readiness::kReady) {
    live->connected = time_.now();
    client.upstream.health().OnConnected(live.get(), time_.Now());
  } else {
    parts_.seconds.GiveUp(live.get());
  }
  Rebuild(client);
}

// Publishes a new picker and tells the calls that wait for one.
void Clients::Rebuild(Client& client) {
  std::vector<balancing::Member> members;
  client.endpoints.clear();
  for (const auto& live : client.live) {
    if (live == nullptr) continue;
    members.push_back(
        {live, live->endpoint().weight, live->endpoint().priority});
    client.endpoints.push_back(live);
  }
  client.rebuilt = time_.now();
  // The old one lives until what is told below has been told of.
  const balancing::PickerPtr before = std::move(client.picker);
  client.picker = client.upstream.MakePicker(
      {/*resolved=*/true, absl::OkStatus(), &members}, time_.Now());
  std::vector<uint32_t> waiting;
  waiting.swap(client.waiting);
  const bool connected = std::any_of(
      members.begin(), members.end(), [](const balancing::Member& member) {
        return member.live->readiness() == cluster::Readiness::kReady;
      });
  if (connected || members.empty()) {
    waiting.insert(waiting.end(), client.asking.begin(), client.asking.end());
    client.asking.clear();
  }
  for (uint32_t call : waiting) parts_.calls.Wake(call);
}

void Clients::Wait(CallState& call, bool asks) {
  Client& client = *clients_[call.client];
  if (!asks) return client.waiting.push_back(call.slot);
  client.asking.push_back(call.slot);
  if (!client.dialling) DialNext(client);
}

bool Clients::MayDial(const Client& client) const {
  return std::count_if(
             client.live.begin(), client.live.end(), [this](const auto& live) {
               return live != nullptr && live->asked + kAskAgain > time_.now();
             }) < kMostAsked;
}

// The one of the best priority that was asked for least recently.
void Clients::DialNext(Client& client) {
  SimulatedEndpoint* best = nullptr;
  for (const auto& live : client.live) {
    if (live == nullptr || live->asked + kAskAgain > time_.now() ||
        live->readiness() != cluster::Readiness::kFailed) {
      continue;
    }
    const uint32_t priority = live->endpoint().priority;
    if (best == nullptr || priority < best->endpoint().priority ||
        (priority == best->endpoint().priority && live->asked < best->asked)) {
      best = live.get();
    }
  }
  client.dialling = true;
  if (best == nullptr || !MayDial(client)) {
    time_.Push(time_.now(), EventKind::kDialled, kNoServer, client.index);
    return;
  }
  best->asked = time_.now();
  const Distribution& network =
      parts_.servers.description(best->server).network;
  time_.Push(time_.now() + network.Sample(time_.random()), EventKind::kDialled,
             best->server, client.index);
}

void Clients::OnDialled(uint32_t server, uint32_t index) {
  Client& client = *clients_[index];
  client.dialling = false;
  if (server != kNoServer) {
    OnSense(server, index);  // It may be back.
    if (!client.asking.empty()) DialNext(client);
    return;
  }
  std::vector<uint32_t> in_vain;
  in_vain.swap(client.asking);
  for (uint32_t call : in_vain) parts_.calls.Wake(call);
}

SimulatedEndpoint* Clients::Replace(Client& client, SimulatedEndpoint* before) {
  std::shared_ptr<SimulatedEndpoint>& live = LiveOf(client, before->server);
  client.removed.push_back(live);
  live = NewEndpoint(before->server);
  SimulatedEndpoint* const now = live.get();
  now->connected = time_.now();
  now->probed = before->probed;
  now->asked = before->asked;
  now->set_readiness(cluster::Readiness::kReady);
  now->mutable_counters().Add(before->counters());
  client.upstream.health().Inherit(before, now);
  client.upstream.health().OnConnected(now, time_.Now());
  Rebuild(client);
  before->Close();
  return now;
}

// ---- Probes ----

void Clients::SendProbe(Client& client, SimulatedEndpoint* endpoint) {
  parts_.tally.OnProbeSent(endpoint->server);
  parts_.invariants.OnProbe(client, *endpoint);
  endpoint->probed = time_.now();
  const uint32_t slot = probes_.Take();
  Probe& probe = probes_[slot];
  probe.client = client.index;
  probe.endpoint = endpoint;
  probe.connected = endpoint->connected;
  probe.lost = false;
  probe.network = parts_.servers.description(endpoint->server)
                      .network.Sample(time_.random());
  client.upstream.BeginProbe(endpoint, time_.Now());
  time_.Push(time_.now() + probe.network / 2, EventKind::kProbeReach, slot);
}

void Clients::OnProbeReach(uint32_t slot) {
  const Probe& probe = probes_[slot];
  if (probe.endpoint == nullptr) return probes_.Free(slot);
  if (LoseProbe(slot)) return;
  const uint32_t server = probe.endpoint->server;
  if (parts_.servers.TakeProbe(server, slot)) {
    AnswerProbe(slot, !parts_.servers.refuses(server));
  }
}

void Clients::AnswerProbe(uint32_t slot, bool answered) {
  time_.Push(time_.now() + probes_[slot].network / 2, EventKind::kProbeDone,
             slot, answered);
}

void Clients::OnProbeDone(uint32_t slot, bool answered) {
  SimulatedEndpoint* const endpoint = probes_[slot].endpoint;
  if (endpoint != nullptr) {
    if (answered && LoseProbe(slot)) return;
    EndProbe(slot, answered);
    if (answered) parts_.seconds.OnBrought(endpoint);
  }
  probes_.Free(slot);
}

// Whether its connection is dead.
bool Clients::LoseProbe(uint32_t slot) {
  Probe& probe = probes_[slot];
  probe.lost = parts_.servers.IsDead(probe.endpoint->server, probe.connected);
  return probe.lost;
}

void Clients::EndProbe(uint32_t slot, bool answered) {
  Probe& probe = probes_[slot];
  SimulatedEndpoint* const endpoint = probe.endpoint;
  probe.endpoint = nullptr;
  if (probe.lost) probes_.Free(slot);
  parts_.tally.OnProbeEnd(answered);
  clients_[probe.client]->upstream.EndProbe(endpoint, answered, time_.Now());
}

void Clients::EndProbesOn(const SimulatedEndpoint* endpoint) {
  for (uint32_t i = 0; i < probes_.size(); ++i) {
    if (probes_[i].endpoint == endpoint) EndProbe(i, false);
  }
}

void Clients::EndProbes() {
  for (uint32_t i = 0; i < probes_.size(); ++i) {
    if (probes_[i].endpoint != nullptr) EndProbe(i, false);
  }
}

}  // namespace mesh::simulation
