#include "mesh/service/endpoint.h"

#include <utility>

namespace mesh::service {

Connection* ConnectedEndpoint::Open(std::unique_ptr<Connection> connection) {
  Connection* const opened = connection.get();
  connections_.push_back(std::move(connection));
  ++next_generation_;
  newest_.store(opened, std::memory_order_release);
  main_core_.store(opened->Core(/*exact=*/false), std::memory_order_release);
  return opened;
}

Connection* ConnectedEndpoint::Find(uint64_t generation) const {
  for (const auto& connection : connections_) {
    if (connection->generation() == generation) return connection.get();
  }
  return nullptr;
}

void ConnectedEndpoint::SetReadiness(Connection* connection,
                                     cluster::Readiness readiness) {
  connection->set_readiness(readiness);
  if (connection == newest()) set_readiness(readiness);
}

EndpointState ConnectedEndpoint::State() const {
  EndpointState state;
  state.readiness = readiness();
  state.health = health();
  for (const auto& connection : connections_) {
    state.connections.push_back(
        {connection->generation(), connection->readiness()});
  }
  if (state.connections.empty()) return state;
  ConnectionState& newest = state.connections.back();
  const cluster::SilenceEvidence& silence = observations().silence;
  newest.in_flight = in_flight();
  const int32_t unanswered = silence.unanswered();
  newest.unanswered = unanswered > 0 ? unanswered : 0;
  newest.quiet_since = silence.quiet_since.load(std::memory_order_relaxed);
  return state;
}

}  // namespace mesh::service
