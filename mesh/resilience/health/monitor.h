#ifndef MESH_RESILIENCE_HEALTH_MONITOR_H_
#define MESH_RESILIENCE_HEALTH_MONITOR_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/cluster/load_shares.h"
#include "mesh/cluster/membership.h"
#include "mesh/options/guards.h"
#include "mesh/resilience/health/doubt.h"
#include "mesh/resilience/health/ledger.h"
#include "mesh/resilience/health/pace.h"
#include "mesh/resilience/health/state.h"
#include "mesh/resilience/health/trial.h"
#include "mesh/resilience/health/usual.h"
#include "mesh/resilience/retry_budget.h"

namespace mesh::resilience {

// Passive health checking of one service's endpoints. What fails or is slow
// gets doubt and a trial by coin. What is silent becomes suspect. What loses
// its connections is ejected. docs/decisions/endpoint-health.md and
// trial-by-coin.md say why. The monitor owns no thread and no timer: whoever
// starts a call and finds Due() calls Tick(). Thread-safe.
//
// Its parts: the ledger counts attempts without a lock. An attempt that is bad,
// slow or part of a trial is weighed as it ends (doubt.h, trial.h). A look
// takes what was counted, asks the detector of silence (silence.h), and moves
// the states (state.h has the picture of them). All but the counting is under
// one lock, which guards the record of each endpoint, too.
//
// It acts on picks only through the share of each endpoint, the trial that the
// endpoint is on, and the share of each priority. While the priorities together
// cannot carry the load, some of them panic. A priority panics when less than
// panic_threshold_percent of it is in use. Then all its endpoints have a full
// share. (A priority that is alone panics whenever that little is in use.)
class HealthMonitor {
 public:
  // What a shell does for it. Called on the thread that calls in, with no lock
  // held that a shell could need.
  class Host {
   public:
    virtual ~Host() = default;
    // Send a probe to `endpoint` (silence.probe_method; any answer of its
    // server counts) and call OnProbeDone() when it is answered or has failed,
    // later or from inside. It has no deadline: a peer that is stopped answers
    // when it goes on. One at a time an endpoint. The monitor has acquired
    // `endpoint` for it and releases it in OnProbeDone(), so a shell ends the
    // probes of an endpoint that it retires.
    virtual void Probe(cluster::LiveEndpoint* endpoint) = 0;
    virtual void OnHealthChange(const HealthChange& change) = 0;
  };

  // `budget` (probes are charged to it) and `host` outlive the monitor.
  HealthMonitor(const options::GuardOptions& options, RetryBudget* budget,
                Host* host);
  ~HealthMonitor();
  HealthMonitor(const HealthMonitor&) = delete;
  HealthMonitor& operator=(const HealthMonitor&) = delete;

  // New options, from a reload. What is known of endpoints is kept.
  void SetOptions(const options::GuardOptions& options);

  // An attempt begins on an endpoint that is acquired for it.
  void OnAttemptStart(cluster::LiveEndpoint* endpoint, bool unary,
                      absl::Time now) {
    AttemptLedger::OnStart(&endpoint->mutable_observations(), unary, now);
  }

  // It has ended; the endpoint is still acquired.
  void OnAttemptEnd(cluster::LiveEndpoint* endpoint,
                    const AttemptResult& result, absl::Time now) {
    cluster::EndpointObservations& seen = endpoint->mutable_observations();
    const int64_t latency = base::ToNanos(result.latency);
    if (ABSL_PREDICT_FALSE(
            result.code != absl::StatusCode::kOk || !result.unary ||
            result.ticket || !endpoint->available() ||
            seen.consecutive.load(std::memory_order_relaxed) != 0 ||
            result.pace == nullptr || latency > result.pace->limit())) {
      return EndCarefully(endpoint, result, now);
    }
    ledger_.OnAnswer(&seen, result.pace, latency, now);
  }

  // Whether Tick() has something to do. A load and a comparison.
  bool Due(absl::Time now) const {
    return base::ToNanos(now) >= next_tick_.load(std::memory_order_relaxed);
  }
  // A tenth of the service's unary calls of the last ten seconds or so were
  // answered within this, whatever their methods. So hardly any could be
  // answered in less. It comes from a sample, and is up to a look old. Zero
  // while unknown. It is known in every mode, as is what the ledger samples.
  absl::Duration p10_latency() const { return ledger_.p10_latency(); }
  // Looks at all endpoints of the service. It looks at some hundreds of them,
  // and at the others next time. Does nothing when another thread is at it.
  // `endpoints` lives until it returns.
  void Tick(absl::Span<const cluster::LiveEndpointPtr> endpoints,
            absl::Time now);

  // What a probe calls.
  std::string probe_method();
  // The probe that Host::Probe() was asked for has ended. `answered`: by a
  // server. The endpoint may be gone when this returns.
  void OnProbeDone(cluster::LiveEndpoint* endpoint, bool answered,
                   absl::Time now);
  // The endpoint's server says that it is about to shut down. The endpoint is
  // ejected, and comes back with a new connection.
  void OnDraining(cluster::LiveEndpoint* endpoint, absl::Time now);
  // `to` is the same endpoint as `from`, over another connection, and takes its
  // place. From now on `to` has what is known of the endpoint: its row of
  // failures, its doubts and its trial go on. Where `from` was silent, all that
  // may have come of its connection, so doubt begins anew.
  void Inherit(cluster::LiveEndpoint* from, cluster::LiveEndpoint* to);
  // The endpoint has a new connection.
  void OnConnected(cluster::LiveEndpoint* endpoint, absl::Time now);
  // Call it before each new picker, with the endpoints that the picker is made
  // of and the shares of their priorities. The shares are right when this
  // returns. Null: there is one priority. `ahead`: the configuration's value.
  void OnMembers(absl::Span<const cluster::Member> members,
                 std::shared_ptr<cluster::LoadShares> shares, int ahead,
                 absl::Time now);

 private:
  // What the host is told once the lock is released.
  struct Outbox;
  // Where the look that is under way stands.
  struct LookState {
    size_t cursor = 0;
    int64_t began = 0;
    bool stalled = false;
  };

  void EndCarefully(cluster::LiveEndpoint* endpoint,
                    const AttemptResult& result, absl::Time now);
  void Send(const Outbox& outbox);

  // All times below are in nanoseconds.
  void ApplyOptions(const options::GuardOptions& options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void BeginLook(int64_t period, int64_t now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Look(cluster::LiveEndpoint* endpoint, int64_t now, Outbox* outbox)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EndLook() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LookForSilence(cluster::LiveEndpoint* endpoint, int64_t now,
                      Outbox* outbox) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // An attempt has ended: what it says in a trial, and what doubt it raises.
  void CountInTrial(cluster::LiveEndpoint* endpoint,
                    const AttemptResult& result, const Finding& finding,
                    int64_t now, Outbox* outbox)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Weigh(cluster::LiveEndpoint* endpoint, const AttemptResult& result,
             const Finding& finding, int64_t now, Outbox* outbox)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Try(cluster::LiveEndpoint* endpoint, Doubt doubt, int64_t now,
           Outbox* outbox) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Acts on the verdict of the trial of `endpoint`, if there is one.
  void Settle(cluster::LiveEndpoint* endpoint, uint32_t number,
              Trials::Running* running, int64_t now, Outbox* outbox)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SettleDue(absl::Span<const cluster::LiveEndpointPtr> endpoints,
                 int64_t now, Outbox* outbox)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsSlowProbe(const HealthRecord& record, const AttemptResult& result,
                   const Finding& finding) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool PeersAreAsSlow(const HealthRecord& record, int64_t now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SendProbe(cluster::LiveEndpoint* endpoint, int64_t now, Outbox* outbox)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // When panic begins or ends, all endpoints are to be told, by a look at once.
  void LookAtOnceIfPanicChanged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetDue(int64_t at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    next_tick_.store(at, std::memory_order_relaxed);
  }

  // Constant.
  RetryBudget* const budget_;
  Host* const host_;

  // Read by every call; written with the lock held.
  std::atomic<int64_t> next_tick_{0};
  std::atomic<bool> enabled_{true};  // Some policy is not off.

  AttemptLedger ledger_;  // Thread-safe.

  base::Mutex mu_;
  HealthStates states_ ABSL_GUARDED_BY(mu_);
  Doubts doubts_ ABSL_GUARDED_BY(mu_);
  Trials trials_ ABSL_GUARDED_BY(mu_);
  TrialRules rules_ ABSL_GUARDED_BY(mu_);
  UsualLatency usual_ ABSL_GUARDED_BY(mu_);
  LookState look_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_MONITOR_H_
