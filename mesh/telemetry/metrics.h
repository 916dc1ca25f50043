#ifndef MESH_TELEMETRY_METRICS_H_
#define MESH_TELEMETRY_METRICS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mesh/base/guard.h"
#include "mesh/base/mutex.h"
#include "mesh/base/on_demand.h"
#include "mesh/base/sharded_counter.h"
#include "mesh/base/snapshot_slot.h"
#include "mesh/cluster/health.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/telemetry/events.h"
#include "mesh/telemetry/observer.h"
#include "mesh/telemetry/snapshot.h"

namespace mesh::telemetry {

// What is counted for one method. Thread-safe. Counting takes no lock. It
// allocates only when a thread meets a method or a status for the first time.
class MethodMetrics final : public MethodSlot {
 public:
  explicit MethodMetrics(absl::string_view name) : name_(name) {}
  MethodMetrics(const MethodMetrics&) = delete;
  MethodMetrics& operator=(const MethodMetrics&) = delete;

  const std::string& name() const { return name_; }

  MethodSnapshot Snapshot() const;

 private:
  friend class ServiceMetrics;

  static constexpr size_t kBuckets = 40;
  static constexpr int kCodes = 17;

  struct Histogram {
    std::array<std::atomic<uint64_t>, kBuckets> counts = {};
    std::atomic<uint64_t> sum_ns{0};
  };
  // What the threads of one shard count.
  struct alignas(64) Shard {
    std::atomic<uint64_t> attempts{0};
    std::atomic<uint64_t> retries{0};
    std::atomic<uint64_t> transparent_retries{0};
    std::atomic<uint64_t> hedges{0};
    std::atomic<uint64_t> hedges_won{0};
    std::atomic<uint64_t> hedges_observed{0};
    std::array<base::OnDemand<Histogram>, kCodes> by_status;
  };

  void CountAttempt(const AttemptEvent& event);
  void CountRepeated(Shard& shard, const AttemptEvent& event);
  void CountObservedHedge();
  void CountCall(absl::StatusCode code, uint64_t ns);
  Shard& ThisThreadsShard();

  const std::string name_;
  std::array<base::OnDemand<Shard>, base::kShards> shards_;
};

// Counts the calls of one service. Always on. Thread-safe; no event takes a
// lock.
class ServiceMetrics final : public Observer {
 public:
  // Tells at most `max_methods` methods apart.
  ServiceMetrics(absl::string_view service, int max_methods);

  // Where calls of `method` ("/shop.Cart/AddItem") are counted. The result is
  // always the same for one method, lives as long as this object, and is never
  // null. The first max_methods methods that a generated stub registers get
  // their own. All others are counted as "other"; so are methods that only
  // appear in generic calls, because a caller could make up names without end.
  MethodMetrics* Method(absl::string_view method, bool registered);

  // Calls whose slot is not null have one that Method() returned.
  void OnPick(const CallInfo& call, const PickEvent& event) override;
  void OnAttemptEnd(const CallInfo& call, const AttemptEvent& event) override;
  void OnRetryDecision(const CallInfo& call, const RetryEvent& event) override;
  void OnRefusal(const CallInfo& call, const RefusalEvent& event) override;
  void OnCallEnd(const CallInfo& call, const CallEvent& event) override;
  void OnHealth(const HealthEvent& event) override;
  void OnProbe(const ProbeEvent& event) override;

  // What was counted, with the state of `endpoints`, of which it lists the
  // first `max_endpoints`. The caller fills in the fields of the retry budget,
  // of admission and of discovery.
  ServiceSnapshot Snapshot(absl::Span<const cluster::LiveEndpointPtr> endpoints,
                           size_t max_endpoints) const;

 private:
  MethodMetrics& Of(const CallInfo& call);

  using MethodMap =
      absl::flat_hash_map<absl::string_view, std::shared_ptr<MethodMetrics>>;

  // Constant.
  const std::string service_;
  const size_t max_methods_;

  MethodMetrics other_{"other"};
  // By name. Only grows.
  base::SnapshotSlot<MethodMap> methods_{std::make_shared<MethodMap>()};
  base::Mutex add_method_mu_;  // Serializes additions.

  // Most services never need most of these.
  using Counter = base::OnDemand<base::ShardedCounter>;
  static uint64_t SumOf(const Counter& counter);

  Counter picks_failed_;
  Counter retries_denied_by_budget_;

  struct Refusals {  // By guard; [0] enforced, [1] observed.
    std::array<std::array<Counter, 2>, base::kGuards> of;
  };
  base::OnDemand<Refusals> refusals_;
  struct Changes {  // By new health and cause; [0] enforced, [1] observed.
    std::atomic<uint64_t> of[cluster::kHealths][cluster::kHealthCauses][2] = {};
  };
  base::OnDemand<Changes> health_changes_;
  std::atomic<uint64_t> picks_waited_{0};  // They take a lock anyway.
  std::array<std::atomic<uint64_t>, 3> probes_ = {};  // By stage.
};

// Hands every event to several observers, in order.
class FanOut final : public Observer {
 public:
  // None is null.
  explicit FanOut(std::vector<std::shared_ptr<Observer>> observers);

  void OnCallStart(const CallInfo& call, const CallStartEvent& event) override;
  void OnPick(const CallInfo& call, const PickEvent& event) override;
  void OnAttemptEnd(const CallInfo& call, const AttemptEvent& event) override;
  void OnRetryDecision(const CallInfo& call, const RetryEvent& event) override;
  void OnRefusal(const CallInfo& call, const RefusalEvent& event) override;
  void OnCallEnd(const CallInfo& call, const CallEvent& event) override;
  void OnHealth(const HealthEvent& event) override;
  void OnProbe(const ProbeEvent& event) override;
  void OnIdentity(const IdentityEvent& event) override;
  void OnDenial(const DenialEvent& event) override;
  void OnPortFailure(const PortFailureEvent& event) override;
  void OnPicker(const PickerEvent& event) override;
  bool WantsPicks() const override;

 private:
  const std::vector<std::shared_ptr<Observer>> observers_;
};

}  // namespace mesh::telemetry

#endif  // MESH_TELEMETRY_METRICS_H_
