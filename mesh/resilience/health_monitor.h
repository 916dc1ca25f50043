#ifndef MESH_RESILIENCE_HEALTH_MONITOR_H_
#define MESH_RESILIENCE_HEALTH_MONITOR_H_

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mesh/base/random.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/config/options.h"
#include "mesh/resilience/retry_budget.h"

namespace mesh::resilience {

// How an attempt ended, for whoever judges its endpoint.
struct AttemptResult {
  absl::StatusCode code = absl::StatusCode::kOk;
  // It came about on this side: not connected, reset, attempt timed out.
  bool local = false;
  // Proved that no server has seen it: says nothing of the server.
  bool never_sent = false;
  // Given up by the caller (cancelled, or another attempt won): it was not
  // answered, and that is no failure.
  bool given_up = false;
  bool unary = true;
  absl::Duration latency;
};

// A change of an endpoint's health, or (`observed`) one that would have been
// made.
struct HealthChange {
  using Cause = cluster::HealthCause;
  cluster::LiveEndpoint* endpoint = nullptr;
  cluster::Health from = cluster::Health::kHealthy;
  cluster::Health to = cluster::Health::kHealthy;
  Cause cause = Cause::kRamped;
  bool observed = false;
  absl::Time time;
};

// Passive health checking of one service's endpoints: outlier ejection (gRFC
// A50, consecutive failures as Envoy has them, latency against the peers) and
// suspicion of peers that are silent. Owns no thread and no timer: whoever
// starts a call and finds Due() calls Tick(). Thread-safe.
class HealthMonitor {
 public:
  // What a shell does for it. Called on the thread that calls in, with no lock
  // held that a shell could need.
  class Host {
   public:
    virtual ~Host() = default;
    // Send a probe to `endpoint` (black_hole.probe_method; any answer of its
    // server counts) and call OnProbeDone() when it is answered or has failed.
    // It has no deadline: a peer that is stopped answers when it goes on. One
    // at a time an endpoint; `endpoint` is pinned (acquired) until then.
    virtual void Probe(cluster::LiveEndpoint* endpoint) = 0;
    virtual void OnHealthChange(const HealthChange& change) = 0;
  };

  // `budget` (probes are charged to it) and `host` outlive the monitor.
  HealthMonitor(const config::GuardOptions& options, RetryBudget* budget,
                Host* host);
  ~HealthMonitor();

  // New options, from a reload. What is known of endpoints is kept.
  void SetOptions(const config::GuardOptions& options);

  // An attempt begins on an endpoint that is acquired for it.
  void OnAttemptStart(cluster::LiveEndpoint* endpoint, bool unary,
                      absl::Time now);
  // It has ended; the endpoint is still acquired.
  void OnAttemptEnd(cluster::LiveEndpoint* endpoint,
                    const AttemptResult& result, absl::Time now);

  // Whether Tick() has something to do. A load and a comparison.
  bool Due(absl::Time now) const {
    return absl::ToUnixNanos(now) >= next_tick_.load(std::memory_order_relaxed);
  }
  // Looks at all endpoints of the service. Does nothing when another thread is
  // at it. `endpoints` lives until it returns.
  void Tick(absl::Span<const cluster::LiveEndpointPtr> endpoints,
            absl::Time now, base::Random* random);

  // The probe that Host::Probe() was asked for. `answered`: by a server.
  void OnProbeDone(cluster::LiveEndpoint* endpoint, bool answered,
                   absl::Time now);
  // The endpoint has a new connection.
  void OnConnected(cluster::LiveEndpoint* endpoint, absl::Time now);

 private:
  std::atomic<int64_t> next_tick_{0};  // Nanoseconds of the monotonic clock.
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_MONITOR_H_
