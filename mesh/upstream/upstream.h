#ifndef MESH_UPSTREAM_UPSTREAM_H_
#define MESH_UPSTREAM_UPSTREAM_H_

#include <cstddef>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/balancing/load_balancer.h"
#include "mesh/balancing/picker.h"
#include "mesh/base/mutex.h"
#include "mesh/base/on_demand.h"
#include "mesh/call/call_machine.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/cluster/load_shares.h"
#include "mesh/options/service.h"
#include "mesh/resilience/admission.h"
#include "mesh/resilience/health/monitor.h"
#include "mesh/resilience/latency_tracker.h"
#include "mesh/resilience/retry_budget.h"
#include "mesh/telemetry/observer.h"
#include "mesh/telemetry/snapshot.h"
#include "mesh/upstream/method_policies.h"
#include "mesh/upstream/plan.h"

namespace mesh::upstream {

// What discovery has found for a service.
struct Discovered {
  bool resolved = false;  // A set of endpoints has been accepted.
  absl::Status error;  // What the last try to find one met. OK: it succeeded.
  const std::vector<balancing::Member>* members = nullptr;  // Never null.
};

// All that one client keeps of one service: what it may retry, whom it trusts,
// what it admits, how it balances, and how long calls take. Both shells drive
// it: mesh/service over gRPC, mesh/simulation on virtual time. It does no I/O
// and owns no thread. Time comes in with each call.
class Upstream final : private resilience::HealthMonitor::Host {
 public:
  // What a shell does for it. Called on the thread that called in, with no lock
  // held.
  class Host {
   public:
    virtual ~Host() = default;
    // Send a probe to `endpoint`. Call BeginProbe(), which says what to send,
    // and EndProbe() when the probe is answered or has failed, later or from
    // inside. HealthMonitor::Host::Probe() has the rules.
    virtual void SendProbe(cluster::LiveEndpoint* endpoint) = 0;
    // An endpoint's health has changed, and not only in `observe` mode. The
    // observer has been told already; this is for the log.
    virtual void OnHealthChange(const resilience::HealthChange& change) = 0;
  };

  struct Settings {
    std::string name;  // The service's.
    // Null: the configuration does not know the service.
    std::shared_ptr<const options::ServiceOptions> options;
    // Both outlive the object. The observer may be null.
    telemetry::Observer* observer = nullptr;
    Host* host = nullptr;
    // How many methods that nobody has registered have latencies of their own.
    // The others share.
    size_t max_latencies = std::numeric_limits<size_t>::max();
    absl::Time now;
  };
  explicit Upstream(const Settings& settings);
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;

  // --- Any thread.
  const std::string& name() const { return name_; }
  resilience::HealthMonitor& health() { return health_; }

  // The plan of a call that begins. What it points to lives as long as this
  // object and `policies`.
  call::CallPlan Plan(const MethodPolicies& policies, const CallShape& shape) {
    call::CallPlan plan = PlanOf(policies, shape);
    plan.budget = &budget_;
    plan.observer = observer_;
    plan.health = &health_;
    plan.admission = &admission_;
    plan.pace = shape.method != nullptr ? &shape.method->pace.Get()
                                        : other_paces_.Of(shape.name);
    if (ABSL_PREDICT_FALSE(WantsLatency(*plan.policy, shape.unary))) {
      plan.latency = LatencyOf(shape.method, shape.name);
    }
    return plan;
  }

  // The latencies that the delay of hedges goes by. `method` null: those of the
  // unregistered method named `name`.
  resilience::LatencyTracker* LatencyOf(Method* method, absl::string_view name);

  // A probe that the host was asked for is sent. Returns its method.
  std::string BeginProbe(cluster::LiveEndpoint* endpoint, absl::Time now);
  // The probe has ended. `answered`: by a server. The endpoint may be gone when
  // this returns.
  void EndProbe(cluster::LiveEndpoint* endpoint, bool answered, absl::Time now);

  // Fills in the budget and the admission.
  void Describe(absl::Time now, telemetry::ServiceSnapshot* snapshot);

  // --- One thread at a time.
  // Takes a new configuration. What is known of endpoints, calls and methods is
  // kept. Null options: the service is unknown, and its calls fail with
  // `unknown`.
  void SetOptions(std::shared_ptr<const options::ServiceOptions> options,
                  absl::Status unknown);
  // The configuration says that there is no such service.
  bool unknown() const { return options_ == nullptr && !unknown_.ok(); }
  // The picker for what discovery has found. An observer of picks is told about
  // each picker that has endpoints.
  balancing::PickerPtr MakePicker(const Discovered& discovered, absl::Time now);

 private:
  // resilience::HealthMonitor::Host
  void Probe(cluster::LiveEndpoint* endpoint) override;
  void OnHealthChange(const resilience::HealthChange& change) override;

  void TellOfProbe(cluster::LiveEndpoint* endpoint,
                   telemetry::ProbeEvent::Stage stage, absl::Time now);
  // Brings the shares up to date for `members`.
  void UpdateShares(const std::vector<balancing::Member>& members,
                    absl::Time now);
  void TellOfPicker(const balancing::Picker* picker,
                    const std::vector<balancing::Member>& members,
                    absl::Time now);

  // Constant.
  const std::string name_;
  telemetry::Observer* const observer_;
  Host* const host_;
  const size_t max_latencies_;

  // Safe by themselves.
  resilience::RetryBudget budget_;
  resilience::HealthMonitor health_;
  resilience::Admission admission_;
  resilience::SharedPaces other_paces_;

  struct Latencies {
    base::Mutex mu;
    std::map<std::string, resilience::LatencyTracker, std::less<>> by_method
        ABSL_GUARDED_BY(mu);
  };
  base::OnDemand<Latencies> latencies_;  // Few services hedge.

  // For one thread at a time.
  std::shared_ptr<const options::ServiceOptions> options_;
  absl::Status unknown_;
  std::unique_ptr<balancing::LoadBalancer> balancer_;  // Null: unknown.
  // The load shares of the endpoints' priorities. Null: there is one at most.
  std::shared_ptr<cluster::LoadShares> shares_;
};

}  // namespace mesh::upstream

#endif  // MESH_UPSTREAM_UPSTREAM_H_
