#ifndef MESH_SERVICE_CONNECTIONS_H_
#define MESH_SERVICE_CONNECTIONS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "mesh/base/clock.h"
#include "mesh/base/scheduler.h"
#include "mesh/cluster/endpoint.h"
#include "mesh/cluster/membership.h"
#include "mesh/service/endpoint.h"
#include "mesh/service/grpc_connection.h"

namespace mesh::service {

// The endpoints of one service and their connections. It opens and closes those
// that PlanConnections() says, and notices what becomes of them. It drains and
// closes the connections of endpoints that discovery no longer names. All
// members on the control thread.
//
// A dial is a channel: gRPC says once about a channel that it cannot connect,
// and then dials again as often as it likes. So mesh closes a channel whose
// dial has failed and keeps the reason. It dials with another channel when it
// wants to.
class Connections {
 public:
  // What its service does for it. On the control thread.
  class Host {
   public:
    // A connection of `endpoint`, which outlives it.
    virtual std::unique_ptr<Connection> MakeConnection(
        const cluster::Endpoint& endpoint,
        std::shared_ptr<const ConnectionSettings> settings,
        uint64_t number) = 0;
    // Connections are being made or closed, so gRPC is to do its I/O.
    virtual void PollWhileConnecting() = 0;
    // Closes a connection that no call uses, once it may be closed.
    virtual void CloseConnection(std::unique_ptr<Connection> connection) = 0;
    // The endpoint is closed: ends what mesh itself does on it.
    virtual void EndOwnCalls(const ConnectedEndpoint* endpoint) = 0;
    // Ends the streams on an endpoint.
    virtual void CutOff(const ConnectedEndpoint* endpoint) = 0;

    // A connection of `endpoint` is ready that was not.
    virtual void OnConnected(cluster::LiveEndpoint* endpoint) = 0;
    // A connection was lost, or could not be made.
    virtual void OnConnectionLost() = 0;
    // The readiness of an endpoint may have changed. Replan() is due soon.
    virtual void OnReadinessChange() = 0;
    // `now`, the same endpoint, has taken the place of `before` among the
    // members. RetireReplaced() retires `before` once that is published.
    virtual void OnReplaced(cluster::LiveEndpoint* before,
                            cluster::LiveEndpoint* now) = 0;
    // Calls that ask for a connection get none: no dial is under way any more.
    virtual void OnAskedInVain() = 0;

   protected:
    ~Host() = default;
  };

  // Another way to make connections, for tests.
  using Make = std::function<std::unique_ptr<Connection>(
      const cluster::Endpoint& endpoint,
      std::shared_ptr<const ConnectionSettings> settings, uint64_t number)>;

  // Closures on `control` run on the control thread, and only while the object
  // lives. All three outlive it.
  Connections(std::shared_ptr<base::Scheduler> control,
              const base::Clock* clock, Host* host);
  // Ends all connections.
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  // Settings for connections that are made from now on. False: they have not
  // changed. For existing connections call Renew().
  bool Configure(const ConnectionSettings& settings);
  const ConnectionSettings& settings() const { return *settings_; }

  // Makes the endpoints what `set` describes, and connects. The caller
  // publishes the members and then has those that were removed retired.
  cluster::Membership::Change Update(const cluster::EndpointSet& set);
  const std::vector<cluster::Member>& members() const {
    return membership_.members();
  }
  // Forgets all members. The caller is to retire them.
  std::vector<cluster::LiveEndpointPtr> Forget();
  // Connects to all members anew. Connected ones are used until that has been
  // done. The others are made anew at once.
  void Renew();
  // Retires what OnReplaced() told of, once the members are published.
  void RetireReplaced();

  // Lets no new call on `endpoints`, waits for those that run (for as long as
  // drain_timeout says, then ends their streams), and disconnects.
  void Retire(const std::vector<cluster::LiveEndpointPtr>& endpoints);

  // Somebody waits: connects to at least one endpoint, whatever `ahead` says.
  // This is forgotten when one is connected.
  void Want();
  // A call waits that has found only failures: dials again those endpoints that
  // may be dialled. OnAskedInVain() follows unless one of them is connected.
  void Ask();
  bool asking() const { return asked_; }
  // An endpoint is silent or out of use, or is so no longer.
  void OnHealthChange() { Ensure(); }
  // Once for all that has changed since the last time.
  void Replan();

 private:
  struct Retired {
    std::shared_ptr<ConnectedEndpoint> endpoint;
    absl::Time cut_off_at;
    // The one that has its place, and how many calls that one counts for it.
    std::shared_ptr<ConnectedEndpoint> successor;  // Null: none.
    int64_t counted = 0;
    // It was silent when it lost its place. It is dead when its successor has
    // answered more than it had then, and it has brought nothing a while later.
    bool silent = false;
    uint64_t answered = 0;
    uint64_t brought = 0;
    absl::Time quiet_since = absl::InfiniteFuture();
  };
  // The connection of an endpoint that lives on.
  struct Dropped {
    std::shared_ptr<ConnectedEndpoint> endpoint;
    std::unique_ptr<Connection> connection;
  };
  // An endpoint that calls are no longer to use. Some may still know it.
  struct Leaving {
    std::shared_ptr<ConnectedEndpoint> endpoint;
    absl::Time at;
  };

  void CancelTimer(base::Scheduler::TimerId* timer);

  // Does what PlanConnections() says, now.
  void Ensure();
  void EndBlindDials(absl::Time now);
  void PlanAt(absl::Time at);
  void Dial(ConnectedEndpoint* endpoint, bool asked);
  void BeginDial(ConnectedEndpoint* endpoint, absl::Time now);
  void FailDial(ConnectedEndpoint* endpoint, absl::Status why, bool lingers);
  absl::Duration Backoff(int failures) const;
  void Close(ConnectedEndpoint* endpoint);
  void DialSecond(ConnectedEndpoint* endpoint);
  void GiveUpSecond(ConnectedEndpoint* endpoint);
  // Puts `now` in the place of `before`, which is to be retired.
  Retired& Replace(ConnectedEndpoint* before,
                   std::shared_ptr<ConnectedEndpoint> now);
  std::shared_ptr<ConnectedEndpoint> Remake(const ConnectedEndpoint* endpoint);
  void NoteSecond(ConnectedEndpoint& before, ConnectedEndpoint* second);
  void Inherit(Retired* retired, std::shared_ptr<ConnectedEndpoint> successor);
  void CountBefore(Retired* retired);
  void BreakIfDead(Retired* retired, absl::Time now);
  bool IsPlaced(const ConnectedEndpoint* endpoint) const;
  void GoOnAnew(ConnectedEndpoint* endpoint);
  void Leave(ConnectedEndpoint* endpoint);
  void Drop(ConnectedEndpoint* endpoint);

  void Sweep();
  void SweepLeaving(absl::Time now);
  void SweepRetired(absl::Time now);

  void Watch(ConnectedEndpoint* endpoint, Connection* connection,
             grpc_connectivity_state last);
  // It is no longer in the state `last`.
  void OnChange(ConnectedEndpoint* endpoint, uint64_t number,
                grpc_connectivity_state last);
  void OnState(ConnectedEndpoint* endpoint, Connection* connection,
               grpc_connectivity_state state);
  void OnReady(ConnectedEndpoint* endpoint);
  void TakePlace(ConnectedEndpoint* before);
  void Supersede(ConnectedEndpoint* endpoint);
  void OnLost(ConnectedEndpoint* endpoint, Connection* connection);
  void OnFailure(ConnectedEndpoint* endpoint, Connection* connection);

  // Constant.
  const std::shared_ptr<base::Scheduler> control_;
  const base::Clock* const clock_;
  Host* const host_;

  // Control thread only.
  std::shared_ptr<const ConnectionSettings> settings_;  // Never null.
  cluster::Membership membership_;
  // The members, as PlanConnections() wants them.
  std::vector<ConnectedEndpoint*> order_;
  bool wanted_ = false;
  bool asked_ = false;
  absl::Time in_vain_until_ = absl::InfinitePast();  // Nobody may ask before.
  bool changed_ = false;                             // Since the last plan.
  base::Scheduler::TimerId plan_timer_ = 0;
  std::vector<Retired> replaced_;  // To be retired.
  std::vector<Leaving> leaving_;
  std::vector<Dropped> dropped_;
  std::vector<Retired> retired_;
  base::Scheduler::TimerId sweep_timer_ = 0;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_CONNECTIONS_H_
