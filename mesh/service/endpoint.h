#ifndef MESH_SERVICE_ENDPOINT_H_
#define MESH_SERVICE_ENDPOINT_H_

#include <atomic>
#include <cassert>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "mesh/base/mutex.h"
#include "mesh/base/on_demand.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/service/connection.h"
#include "mesh/service/connection_plan.h"

namespace mesh::service {

class ConnectedEndpoint;

// What is known of the dials of an endpoint. Control thread only.
struct DialRecord {
  bool dialling = false;
  bool lingers = false;  // As in EndpointState.
  // gRPC will not say that the dial has failed; the time says it.
  bool blind = false;
  bool leaving = false;  // Connected, not wanted, and to be closed.
  int failures = 0;
  absl::Time dialled = absl::InfinitePast();
  absl::Time redial_at = absl::InfinitePast();
  absl::Time asked = absl::InfinitePast();
  absl::Time used = absl::InfinitePast();
  uint64_t attempts = 0;  // Attempts that had ended at `used`.
  // Connections in a row, this one too, that took the place of a silent one and
  // have not answered yet. And until when it gets no second one, unless it
  // answers.
  int vain_seconds = 0;
  // Answers of the endpoint when this connection took that place.
  uint64_t answered = 0;
  absl::Time second_at = absl::InfinitePast();
  // See second() and beside() of the endpoint.
  std::shared_ptr<ConnectedEndpoint> second;
  ConnectedEndpoint* beside = nullptr;
};

// An endpoint with its connection. It has none before it is first dialled, nor
// after a dial that failed. The control thread opens and closes it. Calls only
// read it, while they hold the endpoint acquired.
class ConnectedEndpoint final
    : public cluster::LiveEndpoint,
      public std::enable_shared_from_this<ConnectedEndpoint> {
 public:
  // `main_is_exact`: Core(false) of its connections has gRPC's transparent
  // retries, too. `number`: that of its first connection.
  ConnectedEndpoint(const cluster::Endpoint& endpoint, bool main_is_exact,
                    uint32_t rank = 0, uint64_t number = 0)
      : LiveEndpoint(endpoint),
        main_is_exact_(main_is_exact),
        rank_(rank),
        next_number_(number) {}

  // The one way here from what pickers and the monitor know. All endpoints of a
  // service are made by its Connections, so all have this type.
  static ConnectedEndpoint* Of(cluster::LiveEndpoint* endpoint) {
    assert(dynamic_cast<ConnectedEndpoint*>(endpoint) != nullptr);
    return static_cast<ConnectedEndpoint*>(endpoint);
  }

  // The connection's channel for a call; see Connection::Core(). Null: there is
  // none, and the call fails with Failure(). Any thread that holds the endpoint
  // acquired, which keeps the channel, too.
  grpc_channel* CoreChannel(bool exact) {
    if (!exact || main_is_exact_) {
      return main_core_.load(std::memory_order_seq_cst);
    }
    Connection* const connection = for_calls_.load(std::memory_order_seq_cst);
    return connection != nullptr ? connection->Core(exact) : nullptr;
  }
  // Why the last dial failed. Any thread.
  absl::Status Failure() const;

  // This process prefers an endpoint with a smaller number.
  uint32_t rank() const { return rank_; }

  // --- Control thread only.
  // Takes a connection that has the next number. The endpoint has none.
  uint64_t next_number() const { return next_number_; }
  Connection* Open(std::unique_ptr<Connection> connection);
  // Null: there is none.
  Connection* connection() const { return connection_.get(); }
  // The connection with that number. Null: it is no longer the endpoint's.
  Connection* Find(uint64_t number) const;
  // Takes the connection away, so that calls that begin do not find it. Keep it
  // until Unused(), since calls that are beginning may have found it.
  std::unique_ptr<Connection> Detach();
  // No attempt runs now.
  bool Unused() const { return CountedInFlight() == 0; }

  void SetFailure(absl::Status why);

  // Attempts that went well.
  uint64_t succeeded() const {
    return counters().ended[0].load(std::memory_order_relaxed);
  }

  // Its second connection, while there is one. It is an endpoint of its own, so
  // that calls in flight and silence are counted for each connection. It takes
  // this one's place when it is connected. Null: there is none.
  ConnectedEndpoint* second() const {
    return dial_ != nullptr ? dial_->second.get() : nullptr;
  }
  // The endpoint whose second connection this is. Null: none.
  ConnectedEndpoint* beside() const {
    return dial_ != nullptr ? dial_->beside : nullptr;
  }
  void SetSecond(std::shared_ptr<ConnectedEndpoint> second);
  // From now on this is nobody's second connection. Null: there was none.
  std::shared_ptr<ConnectedEndpoint> TakeSecond();

  // It was connected to with settings that are no longer in force.
  bool outdated() const { return outdated_; }
  void set_outdated() { outdated_ = true; }

  // Made with the first dial.
  DialRecord& dial();
  // Takes what is known of the dials of `before`, which gets no more. The
  // connection of `before` stays with it.
  void GoOnFrom(ConnectedEndpoint* before);
  // A dial is under way whose failure gRPC does not tell.
  bool DialsBlindly() const {
    return dial_ != nullptr && dial_->dialling && dial_->blind;
  }
  // What is known of it, for whoever decides on connections. Notes whether it
  // had a call since this was last asked.
  EndpointState State(absl::Time now);

 private:
  // Few bytes each: a service may know tens of thousands of endpoints. What
  // only dialled ones need is in `dial_`.

  // Constant.
  const bool main_is_exact_;
  // Control thread only.
  bool outdated_ = false;
  // Constant.
  const uint32_t rank_;

  // The connection's channel, which calls read.
  std::atomic<grpc_channel*> main_core_{nullptr};
  std::atomic<Connection*> for_calls_{nullptr};

  // Why the last dial failed.
  struct LastFailure {
    mutable base::Mutex mu;
    absl::Status why ABSL_GUARDED_BY(mu);
  };
  base::OnDemand<LastFailure> failure_;

  // Control thread only.
  uint64_t next_number_;
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<DialRecord> dial_;  // Null: never dialled.
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_ENDPOINT_H_
