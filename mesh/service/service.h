#ifndef MESH_SERVICE_SERVICE_H_
#define MESH_SERVICE_SERVICE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "grpcpp/grpcpp.h"
#include "mesh/balancing/picker.h"
#include "mesh/base/on_demand.h"
#include "mesh/base/scheduler.h"
#include "mesh/base/snapshot_slot.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/discovery/feed.h"
#include "mesh/fallback.h"
#include "mesh/options/service.h"
#include "mesh/resilience/health/monitor.h"
#include "mesh/service/connections.h"
#include "mesh/service/connectivity.h"
#include "mesh/service/health_log.h"
#include "mesh/service/lingering.h"
#include "mesh/service/live_streams.h"
#include "mesh/service/method_table.h"
#include "mesh/service/parking_lot.h"
#include "mesh/service/prober.h"
#include "mesh/service/runtime.h"
#include "mesh/service/secrets.h"
#include "mesh/service/waiter.h"
#include "mesh/telemetry/metrics.h"
#include "mesh/telemetry/snapshot.h"
#include "mesh/upstream/method_policies.h"
#include "mesh/upstream/upstream.h"

namespace mesh::service {

// All that a call reads of its service, at one moment. Immutable.
struct ServiceView {
  upstream::MethodPolicies policies;
  balancing::PickerPtr picker;  // Never null.
  std::vector<cluster::LiveEndpointPtr> endpoints;
  grpc_connectivity_state state = GRPC_CHANNEL_IDLE;
};
using ServiceViewPtr = std::shared_ptr<const ServiceView>;

// One service of a Mesh. It owns the parts that discover its endpoints, keep
// connections to them and wake calls, and publishes what calls need. The
// control half runs on the control thread, the data half anywhere. Its last
// reference may be dropped anywhere.
//
// The way of an update: Feed -> Connections -> Publish(). Upstream makes a
// picker, the snapshot is replaced, watchers and waiting calls are told.
class Service final : public std::enable_shared_from_this<Service>,
                      private upstream::Upstream::Host,
                      private discovery::Feed::Listener,
                      private Connections::Host {
 public:
  // `options`: what Configure() is about to say, so that a call made at once
  // has its policy. Null when the configuration does not know the service.
  static std::shared_ptr<Service> Create(
      std::shared_ptr<Runtime> runtime, std::string name,
      std::shared_ptr<const options::ServiceOptions> options);

  // --- Data plane; any thread.
  const std::string& name() const { return name_; }
  Runtime& runtime() { return *runtime_; }
  const ServiceViewPtr& Snapshot() const { return snapshot_.Get(); }
  upstream::Upstream& upstream() { return upstream_; }
  const Fallback* fallback() const { return fallback_; }  // Null: none.

  // Never null, and the same for the same name. It lives as long as the
  // service.
  Method* RegisterMethod(absl::string_view name);
  // Null when no stub has registered it.
  Method* FindMethod(absl::string_view name) { return methods_.Find(name); }
  telemetry::MethodMetrics* MetricsOf(Method* method) {
    return methods_.MetricsOf(method);
  }
  telemetry::MethodMetrics* other_methods() { return other_methods_; }

  // Keeps `call` until `at`. With `seen`: also until the snapshot is another
  // one than `seen`, and then a connection is wanted. With `asks`: endpoints
  // that failed are dialled as soon as may be, and the call is woken when one
  // of them is connected, or none can be. ParkingLot::Park() says the rest.
  uint64_t Park(Waiter* call, const ServiceView* seen, bool asks, absl::Time at,
                grpc_call* parent);
  // A call has failed because there is no endpoint at all. Asks discovery
  // again, at most once per second.
  void OnNoEndpoint();
  ParkingLot& parking() { return parking_; }
  LiveStreams& streams() { return streams_.Get(control_, &clock_); }

  // Aggregated over the endpoints.
  grpc_connectivity_state GetState(bool try_to_connect);
  Connectivity& connectivity() { return connectivity_; }

  telemetry::ServiceSnapshot Metrics();

  // --- Control plane; any thread, carried out in order.
  // Takes a new configuration. Null options: the service is unknown, and its
  // calls fail with `unknown`; otherwise `secrets` is not null. A greater
  // `version` is a later configuration. One that comes after a later one is
  // ignored. `target` says where the service is found. Null: where `options`
  // say, which others may share.
  void Configure(
      std::shared_ptr<const options::ServiceOptions> options,
      SecretsPtr secrets, absl::Status unknown, uint64_t version,
      std::shared_ptr<const options::TargetOptions> target = nullptr);
  // Takes new secrets. Those of a smaller generation than there was are
  // ignored, here and in Configure().
  //
  // While the secrets have no `make`, nothing is dialled. Where nothing is
  // connected either, calls wait or fail as `missing` says. Discovery runs.
  void SetSecrets(SecretsPtr secrets);
  // A channel exists: finds endpoints and connects. Further calls do nothing.
  void Start();

 private:
  Service(std::shared_ptr<Runtime> runtime, std::string name,
          std::shared_ptr<const options::ServiceOptions> options);
  ~Service() override = default;
  upstream::Upstream::Settings UpstreamSettings(
      std::shared_ptr<const options::ServiceOptions> options);
  discovery::Feed::Seams FeedSeams();
  Connections::Seams ConnectionSeams();

  // upstream::Upstream::Host
  void SendProbe(cluster::LiveEndpoint* endpoint) override;
  void OnHealthChange(const resilience::HealthChange& change) override;

  // All on the control thread. First discovery::Feed::Listener.
  void OnEndpoints(const cluster::EndpointSetPtr& set) override;
  void OnNoEndpoints() override { Publish(); }
  // Connections::Host
  std::unique_ptr<Connection> MakeConnection(
      const cluster::Endpoint& endpoint,
      std::shared_ptr<const ConnectionSettings> settings, uint64_t number,
      Secrets::Expires expires) override;
  void PollWhileConnecting() override { runtime_->PollWhileConnecting(); }
  void CloseConnection(std::unique_ptr<Connection> connection) override;
  void EndOwnCalls(const ConnectedEndpoint* endpoint) override;
  void CutOff(const ConnectedEndpoint* endpoint,
              LiveStreams::Cause cause) override;
  void OnConnected(cluster::LiveEndpoint* endpoint) override;
  void OnConnectionLost() override { feed_.Refresh(); }
  void OnReadinessChange() override { PublishSoon(); }
  void OnAskedInVain() override;
  void OnReplaced(cluster::LiveEndpoint* before,
                  cluster::LiveEndpoint* now) override;

  void ApplyConfig(std::shared_ptr<const options::ServiceOptions> options,
                   std::shared_ptr<const options::TargetOptions> target,
                   SecretsPtr secrets, absl::Status unknown);
  // Ignores those of a smaller generation than there was.
  void UseSecrets(SecretsPtr secrets);
  void Use(const cluster::EndpointSet& set);
  void WatchLingering();
  void EndLingering();
  // A call wants an endpoint.
  void AskAgainIfEmpty();
  void PublishSoon();
  void Publish();

  // Constant. Each of the objects is safe by itself.
  const std::shared_ptr<Runtime> runtime_;
  const std::string name_;
  // What is posted here runs on the control thread while the service lives.
  const std::shared_ptr<base::OwnedScheduler> control_;
  const base::Clock& clock_;
  Prober prober_;
  const std::shared_ptr<telemetry::ServiceMetrics> metrics_;
  const std::shared_ptr<telemetry::Observer> observer_;  // With metrics_.
  telemetry::MethodMetrics* const other_methods_;
  const Fallback* const fallback_;  // The runtime's.
  base::OnDemand<HealthLog> health_log_;
  upstream::Upstream upstream_;  // It tells observer_ and health_log_.
  base::SnapshotSlot<ServiceView> snapshot_;
  MethodTable methods_;
  ParkingLot parking_;
  base::OnDemand<LiveStreams> streams_;
  Connectivity connectivity_;

  std::atomic<bool> configured_{false};
  std::atomic<bool> started_{false};
  std::atomic<int64_t> ask_again_at_{0};  // Unix ns.
  std::atomic<bool> plan_posted_{false};

  // Control thread only. They end in the order from the last to the first: what
  // finds endpoints, then the connections, then the watches of their state.
  uint64_t version_ = 0;  // The version of the configuration in force.
  bool running_ = false;
  bool dirty_ = false;    // Publish() is due.
  bool in_vain_ = false;  // Calls that ask are to be told so.
  std::shared_ptr<const options::ServiceOptions> options_;
  std::shared_ptr<const options::TargetOptions> target_;  // Null like options_.
  Lingering lingering_;
  bool named_ = false;  // The endpoints are addresses of the present name.
  base::Scheduler::TimerId linger_timer_ = 0;
  Connections connections_;
  discovery::Feed feed_;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_SERVICE_H_
