#ifndef MESH_SERVICE_SERVICE_H_
#define MESH_SERVICE_SERVICE_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "grpc/grpc.h"
#include "mesh/balancing/picker.h"
#include "mesh/base/event_loop.h"
#include "mesh/base/mutex.h"
#include "mesh/base/snapshot_slot.h"
#include "mesh/cluster/membership.h"
#include "mesh/discovery/resolver.h"
#include "mesh/discovery/update_filter.h"
#include "mesh/grpc/parent_watch.h"
#include "mesh/options/service.h"
#include "mesh/resilience/health_monitor.h"
#include "mesh/service/connection.h"
#include "mesh/service/live_stream.h"
#include "mesh/service/prober.h"
#include "mesh/service/runtime.h"
#include "mesh/service/waiter.h"
#include "mesh/telemetry/metrics.h"
#include "mesh/telemetry/snapshot.h"
#include "mesh/upstream/method_policies.h"
#include "mesh/upstream/upstream.h"

namespace mesh::service {

// A method as a stub registers it.
struct Method : upstream::Method {
  grpc_slice path;
  telemetry::MethodMetrics* metrics = nullptr;
};

// All that a call reads of its service, at one moment. Immutable.
struct ServiceSnapshot {
  upstream::MethodPolicies policies;
  balancing::PickerPtr picker;  // Never null.
  std::vector<cluster::LiveEndpointPtr> endpoints;
  grpc_connectivity_state state = GRPC_CHANNEL_IDLE;
};
using ServiceSnapshotPtr = std::shared_ptr<const ServiceSnapshot>;

// One service of a Mesh: discovers its endpoints, keeps connections to them,
// and publishes what calls need. The control half runs on the control thread,
// the data half anywhere. Its last reference may be dropped anywhere.
class Service final : private upstream::Upstream::Host {
 public:
  // `options`: what Configure() is about to say, so that a call made at once
  // has its policy; null when the configuration does not know the service.
  static std::shared_ptr<Service> Create(
      std::shared_ptr<Runtime> runtime, std::string name,
      std::shared_ptr<const options::ServiceOptions> options);

  // --- Data plane; any thread.
  const std::string& name() const { return name_; }
  Runtime& runtime() { return *runtime_; }
  const ServiceSnapshotPtr& Snapshot() const { return snapshot_.Get(); }
  upstream::Upstream& upstream() { return upstream_; }
  const Fallback* fallback() const { return fallback_; }  // Null: none.

  // Never null; the same for the same name. Lives as long as the service.
  Method* RegisterMethod(absl::string_view name);
  // Null when no stub has registered it.
  Method* FindMethod(absl::string_view name);
  telemetry::MethodMetrics* other_methods() { return other_methods_; }

  // Keeps `call` until `at`, or, where `seen` is not null, until the snapshot
  // is another one than `seen`. Then its OnTimer() or OnEndpointsChanged() is
  // called on the control thread. Returns its id, never 0. When `parent`, if
  // not null, a call of a server, is cancelled or over, this call is resumed as
  // cancelled. With a lock held that whoever is called takes first.
  uint64_t Park(Waiter* call, const ServiceSnapshot* seen, absl::Time at,
                grpc_call* parent);
  // Resumes the call as cancelled, on the control thread, if it is parked
  // still. Only posts.
  void CancelParked(uint64_t id);
  // Calls that are cut off when their endpoint has been gone for too long.
  void AddStream(LiveStream* call);
  void RemoveStream(LiveStream* call);
  // Ends `call` when it is idle for too long; asks it first at `at`. `id` is of
  // NextWatch(): the call may be gone by then, and another in its place.
  void WatchIdle(LiveStream* call, uint64_t id, absl::Time at);
  uint64_t NextWatch() {
    return next_idle_watch_.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  // Aggregated over the endpoints.
  grpc_connectivity_state GetState(bool try_to_connect);
  // Calls `done(changed)` once, on any thread.
  void WatchState(grpc_connectivity_state last, absl::Time deadline,
                  std::function<void(bool)> done);

  telemetry::ServiceSnapshot Metrics();

  // --- Control plane; any thread, carried out in order.
  // New configuration. Null options: the service is unknown, and its calls
  // fail with `unknown`. A greater `version` is a later configuration: one that
  // comes after a later one is left aside.
  void Configure(std::shared_ptr<const options::ServiceOptions> options,
                 std::shared_ptr<grpc::ChannelCredentials> credentials,
                 absl::Status unknown, uint64_t version);
  // A channel exists: find endpoints and connect. Further calls do nothing.
  void Start();

 private:
  enum class Wake { kTimer, kEndpoints, kCancelled };
  struct Parked {
    Waiter* call = nullptr;
    bool until_endpoints_change = false;
    base::EventLoop::TimerId timer = 0;
    std::unique_ptr<core::ParentWatch> parent;  // Null: it has none.
  };
  struct Retired {
    std::shared_ptr<ConnectedEndpoint> endpoint;
    absl::Time cut_off_at;
  };
  struct StateWatch {
    grpc_connectivity_state last;
    std::function<void(bool)> done;
    base::EventLoop::TimerId timer = 0;
  };

  Service(std::shared_ptr<Runtime> runtime, std::string name,
          std::shared_ptr<const options::ServiceOptions> options);
  ~Service() override;
  upstream::Upstream::Settings UpstreamSettings(
      std::shared_ptr<const options::ServiceOptions> options);

  // upstream::Upstream::Host
  void SendProbe(cluster::LiveEndpoint* endpoint) override;
  void OnHealthChange(const resilience::HealthChange& change) override;

  // All on the control thread.
  void LogHealth(const std::string& line);
  void ApplyConfig(std::shared_ptr<const options::ServiceOptions> options,
                   std::shared_ptr<grpc::ChannelCredentials> credentials,
                   absl::Status unknown);
  void StartDiscovery();
  void StopDiscovery();
  void OnResolved(absl::StatusOr<cluster::EndpointSetPtr> update);
  void Apply(const discovery::UpdateFilter::Decision& decision);
  void Accept(const cluster::EndpointSetPtr& set);
  void Retire(const std::vector<cluster::LiveEndpointPtr>& endpoints);
  void SweepRetired();
  void CutOff(const ConnectedEndpoint* endpoint);
  void Connect(const std::shared_ptr<ConnectedEndpoint>& endpoint);
  // After a while: a server that closes what it has just accepted would be
  // connected to without end.
  void ConnectLater(const std::shared_ptr<ConnectedEndpoint>& endpoint);
  void WatchConnection(const std::shared_ptr<ConnectedEndpoint>& endpoint,
                       grpc_connectivity_state last);
  void OnConnectivity(const std::shared_ptr<ConnectedEndpoint>& endpoint);
  void EnsureConnections();
  void WantConnection();
  void PublishSoon();
  void Publish();
  void WatchParent(uint64_t id, grpc_call* parent);
  void Wakeup(uint64_t id, Wake why);
  void FireStateWatches();

  // Constant.
  const std::shared_ptr<Runtime> runtime_;
  const std::string name_;
  std::weak_ptr<Service> self_;
  Prober prober_;
  const std::shared_ptr<telemetry::ServiceMetrics> metrics_;
  const std::shared_ptr<telemetry::Observer> observer_;  // With metrics_.
  telemetry::MethodMetrics* const other_methods_;
  const Fallback* const fallback_;  // The runtime's.
  upstream::Upstream upstream_;     // It tells observer_.

  base::SnapshotSlot<ServiceSnapshot> snapshot_;

  mutable base::Mutex methods_mu_;
  absl::flat_hash_map<std::string, std::unique_ptr<Method>> methods_
      ABSL_GUARDED_BY(methods_mu_);
  std::vector<const upstream::Method*> methods_by_index_
      ABSL_GUARDED_BY(methods_mu_);

  base::Mutex parked_mu_;
  uint64_t next_parked_ ABSL_GUARDED_BY(parked_mu_) = 1;
  std::map<uint64_t, Parked> parked_ ABSL_GUARDED_BY(parked_mu_);

  std::atomic<uint64_t> next_idle_watch_{0};
  base::Mutex streams_mu_;
  // With the timer that watches whether it is idle, or 0.
  std::map<LiveStream*, base::EventLoop::TimerId> streams_
      ABSL_GUARDED_BY(streams_mu_);

  base::Mutex state_mu_;
  grpc_connectivity_state state_ ABSL_GUARDED_BY(state_mu_) = GRPC_CHANNEL_IDLE;
  uint64_t next_watch_ ABSL_GUARDED_BY(state_mu_) = 1;
  std::map<uint64_t, StateWatch> state_watches_ ABSL_GUARDED_BY(state_mu_);

  // What the last resolution said, for telemetry.
  mutable base::Mutex discovery_mu_;
  uint64_t discovery_updates_ ABSL_GUARDED_BY(discovery_mu_) = 0;
  uint64_t discovery_failures_ ABSL_GUARDED_BY(discovery_mu_) = 0;
  uint64_t discovery_doubted_ ABSL_GUARDED_BY(discovery_mu_) = 0;
  std::string discovery_error_ ABSL_GUARDED_BY(discovery_mu_);

  std::atomic<bool> configured_{false};
  std::atomic<bool> started_{false};

  // Control thread only.
  uint64_t version_ = 0;  // Of the configuration that holds.
  bool running_ = false;
  bool dirty_ = false;
  bool lost_ = false;    // A connection, since the last Publish().
  bool wanted_ = false;  // Somebody waits: connect, whatever `ahead` says.
  std::shared_ptr<const options::ServiceOptions> options_;
  ConnectionSettings settings_;
  std::unique_ptr<discovery::Resolver> resolver_;
  discovery::UpdateFilter filter_;
  base::EventLoop::TimerId filter_timer_ = 0;
  cluster::Membership membership_;
  bool resolved_ = false;          // An endpoint set has been accepted.
  absl::Status resolution_error_;  // Of the last try.
  std::vector<balancing::Member> members_;
  std::vector<ConnectedEndpoint*> connect_order_;
  std::vector<Retired> retired_;
  base::EventLoop::TimerId sweep_timer_ = 0;
  // Lines about health in the second that began then.
  absl::Time health_lines_since_ = absl::InfinitePast();
  int health_lines_ = 0;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_SERVICE_H_
