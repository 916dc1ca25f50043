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
#include "mesh/service/closing.h"
#include "mesh/service/connection_counts.h"
#include "mesh/service/endpoint.h"
#include "mesh/service/grpc_connection.h"
#include "mesh/service/renewal_gate.h"

namespace mesh::service {

// The endpoints of one service and their connections. It opens and closes those
// that PlanConnections() says, and notices what becomes of them. All members on
// the control thread.
//
// When there is a newer generation of secrets, dials use it at once.
// Connections of earlier ones are replaced, each at a moment of its own: first
// the next one is made, then the old one drains. One that was withdrawn, or
// whose peer has expired, is gone seconds later, with its calls, whatever there
// is in its place (PlanTerm()).
//
// A dial is a channel: gRPC says once about a channel that it cannot connect,
// and then dials again as often as it likes. So mesh closes a channel whose
// dial has failed and keeps the reason. It dials with another channel when it
// wants to.
class Connections {
 public:
  // What its service does for it. On the control thread.
  class Host : public Closing::Host {
   public:
    // A connection of `endpoint`, which outlives it. `expires`: see Secrets.
    virtual std::unique_ptr<Connection> MakeConnection(
        const cluster::Endpoint& endpoint,
        std::shared_ptr<const ConnectionSettings> settings, uint64_t number,
        Secrets::Expires expires) = 0;
    // Connections are being made or closed, so gRPC is to do its I/O.
    virtual void PollWhileConnecting() = 0;

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
      std::shared_ptr<const ConnectionSettings> settings, uint64_t number,
      Secrets::Expires expires)>;

  // All outlive the object. Closures on `control` run on the control thread,
  // and only while the object lives.
  struct Seams {
    std::shared_ptr<base::Scheduler> control;
    const base::Clock* clock = nullptr;
    std::function<absl::Time()> wall = base::WallTime;
    RenewalGate* gate = nullptr;
  };
  Connections(Seams seams, Host* host);
  // Ends all connections.
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  // Settings for connections that are made from now on. False: they have not
  // changed. For existing connections call Renew().
  bool Configure(const ConnectionSettings& settings);
  // Any thread.
  const ConnectionCounts& counts() const { return *counts_; }
  const ConnectionSettings& settings() const { return *settings_; }

  // Makes the endpoints what `set` describes, and connects. The caller
  // publishes the members and then has those that were removed retired.
  cluster::Membership::Change Update(const cluster::EndpointSet& set);
  const std::vector<cluster::Member>& members() const {
    return membership_.members();
  }
  // Forgets all members. The caller is to retire them.
  std::vector<cluster::LiveEndpointPtr> Forget();
  // Connects to all members anew, unless all that has changed is that there is
  // a newer generation of secrets. Connected ones are used until that has been
  // done. The others are made anew at once.
  void Renew();
  // Retires what OnReplaced() told of, once the members are published.
  void RetireReplaced() { closing_.RetireReplaced(); }

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
  // A renewal that is being dialled, and holds its place until then at most.
  struct Renewing {
    std::weak_ptr<ConnectedEndpoint> second;
    absl::Time until;
    RenewalGate::Place place;
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
  Connection* MakeConnection(ConnectedEndpoint* endpoint);
  void DialSecond(ConnectedEndpoint* endpoint);
  void GiveUpSecond(ConnectedEndpoint* endpoint);
  // Puts `now` in the place of `before`, which is to be retired.
  void Replace(ConnectedEndpoint* before,
               std::shared_ptr<ConnectedEndpoint> now, bool silent = false);
  std::shared_ptr<ConnectedEndpoint> Remake(const ConnectedEndpoint* endpoint);
  void NoteSecond(ConnectedEndpoint& before, ConnectedEndpoint* second);
  bool IsPlaced(const ConnectedEndpoint* endpoint) const;
  void GoOnAnew(ConnectedEndpoint* endpoint);
  void Leave(ConnectedEndpoint* endpoint);
  void Drop(ConnectedEndpoint* endpoint);

  // Generations of secrets.
  bool IsOld(const Connection& connection) const;
  bool IsRenewal(const ConnectedEndpoint& before) const;
  void SeeToGenerations(absl::Time now);
  void SeeToGeneration(ConnectedEndpoint* endpoint, absl::Time now);
  void AbortDial(ConnectedEndpoint* endpoint);
  void DropIfOld(ConnectedEndpoint* endpoint);
  void Sever(ConnectedEndpoint* endpoint);
  void BeginRenewal(ConnectedEndpoint* endpoint);
  void AskForPlace();
  void LeavePlaces(absl::Time now);
  void OnExpires(ConnectedEndpoint* endpoint, uint64_t number, absl::Time wall);

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
  const std::function<absl::Time()> wall_;
  RenewalGate* const gate_;
  Host* const host_;
  const std::shared_ptr<ConnectionCounts> counts_ =
      std::make_shared<ConnectionCounts>();

  // Control thread only.
  std::shared_ptr<const ConnectionSettings> settings_;  // Never null.
  Generations generations_;                             // As in settings_.
  bool anew_ = false;  // More has changed than the generation, since Renew().
  cluster::Membership membership_;
  // The members, as PlanConnections() wants them.
  std::vector<ConnectedEndpoint*> order_;
  bool wanted_ = false;
  bool asked_ = false;
  absl::Time in_vain_until_ = absl::InfinitePast();  // Nobody may ask before.
  bool changed_ = false;                             // Since the last plan.
  base::Scheduler::TimerId plan_timer_ = 0;
  absl::Time plan_at_ = absl::InfiniteFuture();  // Its time.
  RenewalGate::Place place_;      // For the next renewal. Null: none.
  bool asked_for_place_ = false;  // It will come.
  std::vector<Renewing> renewing_;
  Closing closing_;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_CONNECTIONS_H_
