#include "mesh/service/connections.h"

#include <algorithm>
#include <utility>

#include "mesh/base/random.h"

namespace mesh::service {
namespace {

using cluster::Readiness;

// How often retired endpoints are looked at.
constexpr absl::Duration kSweepEvery = absl::Milliseconds(100);

Readiness ToReadiness(grpc_connectivity_state state) {
  switch (state) {
    case GRPC_CHANNEL_IDLE:
      return Readiness::kIdle;
    case GRPC_CHANNEL_CONNECTING:
      return Readiness::kConnecting;
    case GRPC_CHANNEL_READY:
      return Readiness::kReady;
    case GRPC_CHANNEL_TRANSIENT_FAILURE:
    case GRPC_CHANNEL_SHUTDOWN:
      return Readiness::kFailed;
  }
  return Readiness::kFailed;
}

}  // namespace

Connections::Connections(Seams seams, Listener* listener)
    : seams_(std::move(seams)),
      listener_(listener),
      settings_(std::make_shared<ConnectionSettings>()) {}

Connections::~Connections() {
  if (sweep_timer_ != 0) seams_.control->Cancel(sweep_timer_);
  for (const cluster::Member& member : members_) {
    member.live->Close();
    ConnectedEndpoint::Of(member.live.get())->Disconnect();
  }
  for (const Retired& retired : retired_) retired.endpoint->Disconnect();
}

bool Connections::Configure(const ConnectionSettings& settings) {
  if (settings == *settings_) return false;
  settings_ = std::make_shared<ConnectionSettings>(settings);
  return true;
}

cluster::Membership::Change Connections::Update(
    const cluster::EndpointSet& set) {
  cluster::Membership::Change change =
      membership_.Update(set, [this](const cluster::Endpoint& endpoint) {
        return std::make_shared<ConnectedEndpoint>(
            endpoint, /*main_is_exact=*/!settings_->all_idempotent);
      });
  members_ = membership_.members();
  if (!change.changed) return change;
  order_.clear();
  for (const cluster::Member& member : members_) {
    order_.push_back(ConnectedEndpoint::Of(member.live.get()));
  }
  // In an order of this process's own, so that not all connect to the same.
  std::shuffle(order_.begin(), order_.end(), base::ThreadRandom());
  Ensure();
  return change;
}

cluster::EndpointSet Connections::Forget(
    std::vector<cluster::LiveEndpointPtr>* forgotten) {
  cluster::EndpointSet set;
  for (const cluster::Member& member : members_) {
    cluster::Endpoint endpoint = member.live->endpoint();
    endpoint.weight = member.weight;
    endpoint.priority = member.priority;
    set.endpoints.push_back(std::move(endpoint));
    forgotten->push_back(member.live);
  }
  members_.clear();
  order_.clear();
  membership_ = cluster::Membership();
  return set;
}

void Connections::Retire(
    const std::vector<cluster::LiveEndpointPtr>& endpoints) {
  if (endpoints.empty()) return;
  const absl::Time cut_off_at =
      seams_.clock->Now() + settings_->options.drain_timeout;
  for (const cluster::LiveEndpointPtr& endpoint : endpoints) {
    endpoint->Close();
    auto connected = ConnectedEndpoint::Of(endpoint.get())->shared_from_this();
    seams_.closed(connected.get());
    retired_.push_back({std::move(connected), cut_off_at});
  }
  Sweep();
}

void Connections::Sweep() {
  const absl::Time now = seams_.clock->Now();
  std::vector<RetiredState> states;
  states.reserve(retired_.size());
  for (const Retired& retired : retired_) {
    states.push_back({retired.endpoint->Drained(), retired.cut_off_at});
  }
  const ConnectionPlan plan =
      PlanConnections({}, states, settings_->options, wanted_, now);
  for (size_t i : plan.cut_off) seams_.cut_off(retired_[i].endpoint.get());
  for (size_t i : plan.close) {
    retired_[i].endpoint->Disconnect();
    retired_[i].endpoint = nullptr;
  }
  retired_.erase(std::remove_if(retired_.begin(), retired_.end(),
                                [](const Retired& retired) {
                                  return retired.endpoint == nullptr;
                                }),
                 retired_.end());
  if (sweep_timer_ != 0) seams_.control->Cancel(sweep_timer_);
  sweep_timer_ = 0;
  if (retired_.empty()) return;
  sweep_timer_ = seams_.control->RunAt(now + kSweepEvery, [this] {
    sweep_timer_ = 0;
    Sweep();
  });
}

void Connections::Want() {
  // Once it is known, each change of connectivity sees to it.
  if (!std::exchange(wanted_, true)) Ensure();
}

void Connections::RedialLost() {
  if (std::exchange(lost_, false)) Ensure();
}

void Connections::Ensure() {
  std::vector<EndpointState> states;
  states.reserve(order_.size());
  for (const ConnectedEndpoint* endpoint : order_) {
    states.push_back(endpoint->State());
  }
  const ConnectionPlan plan = PlanConnections(states, {}, settings_->options,
                                              wanted_, seams_.clock->Now());
  for (size_t i : plan.dial) Dial(order_[i]);
}

void Connections::Dial(ConnectedEndpoint* endpoint) {
  Connection* connection = endpoint->newest();
  const bool first = connection == nullptr;
  if (first) {
    // Members have been made with the settings of now.
    connection = endpoint->Open(seams_.make(endpoint->endpoint(), settings_,
                                            endpoint->next_generation()));
  }
  const absl::Time now = seams_.clock->Now();
  connection->Begin(now, endpoint->succeeded());
  endpoint->NoteDial(absl::ToUnixNanos(now));
  connection->GetState(/*connect=*/true);
  endpoint->SetReadiness(connection, Readiness::kConnecting);
  listener_->OnReadinessChange();
  seams_.poll();
  if (first) Watch(endpoint, connection, GRPC_CHANNEL_IDLE);
}

void Connections::Watch(ConnectedEndpoint* endpoint, Connection* connection,
                        grpc_connectivity_state last) {
  // gRPC may tell when the object is gone: it has the scheduler only, which
  // knows.
  connection->Watch(
      last, [this, control = seams_.control, weak = endpoint->weak_from_this(),
             generation = connection->generation()] {
        control->Post([this, weak, generation] {
          const auto endpoint = weak.lock();
          if (endpoint != nullptr) OnChange(endpoint.get(), generation);
        });
      });
}

void Connections::OnChange(ConnectedEndpoint* endpoint, uint64_t generation) {
  Connection* const connection = endpoint->Find(generation);
  if (connection == nullptr) return;  // Disconnected.
  const grpc_connectivity_state state = connection->GetState(/*connect=*/false);
  const bool was_ready = connection->readiness() == Readiness::kReady;
  endpoint->SetReadiness(connection, ToReadiness(state));
  Watch(endpoint, connection, state);
  if (endpoint->closed()) return;
  if (state == GRPC_CHANNEL_READY && !was_ready) {
    listener_->OnConnected(endpoint);
  }
  if (state == GRPC_CHANNEL_CONNECTING) seams_.poll();
  if (state == GRPC_CHANNEL_IDLE || state == GRPC_CHANNEL_TRANSIENT_FAILURE) {
    lost_ = true;
    listener_->OnConnectionLost();
  }
  if (state == GRPC_CHANNEL_IDLE &&
      connection->LostAtOnce(seams_.clock->Now(), endpoint->succeeded())) {
    DialLater(endpoint, connection);
  }
  listener_->OnReadinessChange();
}

void Connections::DialLater(ConnectedEndpoint* endpoint,
                            Connection* connection) {
  // Not idle, which would be connected at once; nor failed: a call that has no
  // other endpoint waits for it.
  endpoint->SetReadiness(connection, Readiness::kConnecting);
  const absl::Duration wait = settings_->options.initial_backoff *
                              (0.8 + 0.4 * base::ThreadRandom().Unit());
  seams_.control->RunAt(seams_.clock->Now() + wait,
                        [this, weak = endpoint->weak_from_this(),
                         generation = connection->generation()] {
                          const auto endpoint = weak.lock();
                          if (endpoint == nullptr) return;
                          DialIfIdle(endpoint.get(), generation);
                        });
}

void Connections::DialIfIdle(ConnectedEndpoint* endpoint, uint64_t generation) {
  Connection* const connection = endpoint->Find(generation);
  if (connection == nullptr || endpoint->closed()) return;
  if (connection->GetState(/*connect=*/false) != GRPC_CHANNEL_IDLE) return;
  endpoint->SetReadiness(connection, Readiness::kIdle);
  Ensure();
  listener_->OnReadinessChange();
}

}  // namespace mesh::service
