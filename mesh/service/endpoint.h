#ifndef MESH_SERVICE_ENDPOINT_H_
#define MESH_SERVICE_ENDPOINT_H_

#include <atomic>
#include <cassert>
#include <cstdint>
#include <memory>

#include "absl/container/inlined_vector.h"
#include "grpc/grpc.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/service/connection.h"
#include "mesh/service/connection_plan.h"

namespace mesh::service {

// An endpoint with its connections. There is none before it is first dialled,
// and one from then on; a later generation takes the place of the one before
// for calls that begin, which then ends with the endpoint. (Nothing opens a
// second one yet.) The control thread opens and closes connections; calls only
// read which is the newest, while they hold the endpoint acquired.
class ConnectedEndpoint final
    : public cluster::LiveEndpoint,
      public std::enable_shared_from_this<ConnectedEndpoint> {
 public:
  // `main_is_exact`: Core(false) of its connections has gRPC's transparent
  // retries, too.
  ConnectedEndpoint(const cluster::Endpoint& endpoint, bool main_is_exact)
      : LiveEndpoint(endpoint), main_is_exact_(main_is_exact) {}

  // The one way from what pickers and the monitor know. All endpoints of a
  // service are made by its Connections, so all are of this type.
  static ConnectedEndpoint* Of(cluster::LiveEndpoint* endpoint) {
    assert(dynamic_cast<ConnectedEndpoint*>(endpoint) != nullptr);
    return static_cast<ConnectedEndpoint*>(endpoint);
  }

  // The newest connection's channel for a call; see Connection::Core(). Any
  // thread, once a picker that uses the endpoint is published.
  grpc_channel* CoreChannel(bool exact) {
    return !exact || main_is_exact_
               ? main_core_.load(std::memory_order_acquire)
               : newest_.load(std::memory_order_acquire)->Core(exact);
  }

  // Takes a connection of the next generation, which is the newest from now
  // on. Control thread only, as all that follows.
  uint64_t next_generation() const { return next_generation_; }
  Connection* Open(std::unique_ptr<Connection> connection);
  // The connection of that generation. Null once it has ended.
  Connection* Find(uint64_t generation) const;
  // Null: there is none, before the first Open() and after Disconnect().
  Connection* newest() const {
    return connections_.empty() ? nullptr : connections_.back().get();
  }

  // Notes how far `connection` is. That of the newest is the endpoint's.
  void SetReadiness(Connection* connection, cluster::Readiness readiness);

  // Attempts that went well.
  uint64_t succeeded() const {
    return counters().ended[0].load(std::memory_order_relaxed);
  }

  // What is known of it, for whoever decides on connections. Calls are counted
  // once, by the endpoint, and all begin on the newest connection. So that one
  // has the endpoint's calls in flight and its evidence of silence; older ones
  // have none. Counters of their own would cost each call, and wait for who
  // needs them.
  EndpointState State() const;

  // Ends its connections. Control thread only, once Drained() or when its calls
  // are to be cut off.
  void Disconnect() { connections_.clear(); }

 private:
  // Constant.
  const bool main_is_exact_;

  // Of the newest connection; read by calls.
  std::atomic<grpc_channel*> main_core_{nullptr};
  std::atomic<Connection*> newest_{nullptr};

  // Control thread only. By generation.
  uint64_t next_generation_ = 0;
  absl::InlinedVector<std::unique_ptr<Connection>, 1> connections_;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_ENDPOINT_H_
