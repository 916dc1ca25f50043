#ifndef MESH_RESILIENCE_HEALTH_MONITOR_H_
#define MESH_RESILIENCE_HEALTH_MONITOR_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"
#include "mesh/base/random.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/options/guards.h"
#include "mesh/options/health.h"
#include "mesh/resilience/latency_tracker.h"
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
// suspicion of peers that are silent. docs/decisions/endpoint-health.md says
// what follows whom, and why. Owns no thread and no timer: whoever starts a
// call and finds Due() calls Tick(). Thread-safe.
//
//   kHealthy -- silence --> kSuspect -- probe answered --> kProbing
//   kHealthy -- failures, latency --> kEjected -- its time is over --> kProbing
//   kProbing -- real calls go well --> kRamping -- ramp --> kHealthy
//   kProbing, kRamping -- they fail, or are slow --> kEjected, for longer
//   kHealthy -- it says that it is draining --> kEjected
//   kSuspect, kEjected for local failures or draining -- new connection -->
//       kRamping; or kProbing, when the connection before failed soon, too
//
// Acts on picks through the share of each endpoint only. While fewer endpoints
// than panic_threshold_percent are in use in every priority, all have a full
// share.
class HealthMonitor {
 public:
  // What a shell does for it. Called on the thread that calls in, with no lock
  // held that a shell could need.
  class Host {
   public:
    virtual ~Host() = default;
    // Send a probe to `endpoint` (black_hole.probe_method; any answer of its
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
    cluster::EndpointObservations& seen = endpoint->observations();
    if (!unary) {
      seen.streams_begun.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    const uint32_t begun = seen.begun.fetch_add(1, std::memory_order_relaxed);
    const auto silent = static_cast<int32_t>(
        begun - seen.accounted.load(std::memory_order_relaxed));
    // The first or second since the last answer; or the first that runs now,
    // when there were but a few before it.
    if (silent <= 1 ||
        (silent < kManySilent &&
         (static_cast<uint32_t>(begun -
                                seen.ended.load(std::memory_order_relaxed)) &
          kEndedMask) == 0)) {
      seen.quiet_since.store(base::ToNanos(now), std::memory_order_relaxed);
    }
  }

  // It has ended; the endpoint is still acquired.
  void OnAttemptEnd(cluster::LiveEndpoint* endpoint,
                    const AttemptResult& result, absl::Time now) {
    cluster::EndpointObservations& seen = endpoint->observations();
    if (ABSL_PREDICT_FALSE(result.code != absl::StatusCode::kOk ||
                           !result.unary || !endpoint->available() ||
                           seen.consecutive.load(std::memory_order_relaxed) !=
                               0)) {
      return EndCarefully(endpoint, result, now);
    }
    CountAnswer(&seen, base::ToNanos(result.latency), now);
  }

  // Whether Tick() has something to do. A load and a comparison.
  bool Due(absl::Time now) const {
    return base::ToNanos(now) >= next_tick_.load(std::memory_order_relaxed);
  }
  // A tenth of the service's unary calls of the last ten seconds or so were
  // answered within this, whatever their methods; so hardly any could be
  // answered in less. Of a sample, and up to a look old. Zero while unknown.
  absl::Duration p10_latency() const {
    return absl::Nanoseconds(p10_latency_.load(std::memory_order_relaxed));
  }
  // Looks at all endpoints of the service: at some hundreds of them, the others
  // next time. Does nothing when another thread is at it. `endpoints` lives
  // until it returns.
  void Tick(absl::Span<const cluster::LiveEndpointPtr> endpoints,
            absl::Time now, base::Random* random);

  // The probe that Host::Probe() was asked for. `answered`: by a server. The
  // endpoint may be gone when this returns.
  void OnProbeDone(cluster::LiveEndpoint* endpoint, bool answered,
                   absl::Time now);
  // The server behind it says that it is about to shut down. It is ejected, and
  // comes back with a new connection.
  void OnDraining(cluster::LiveEndpoint* endpoint, absl::Time now);
  // The endpoint has a new connection.
  void OnConnected(cluster::LiveEndpoint* endpoint, absl::Time now);

 private:
  using Record = cluster::HealthRecord;
  class Outbox;

  // An endpoint that has answered since the last comparison of latencies.
  struct Reporter {
    size_t index;
    const cluster::LiveEndpoint* endpoint;
    double log_latency;  // Mean.
  };
  struct Candidate {
    size_t index;
    const cluster::LiveEndpoint* endpoint;
    double success_rate;
    uint32_t total;
  };
  // How many endpoints of a priority may be used as far as their connection
  // goes, and how many of those are suspect or ejected.
  struct Tally {
    uint32_t ready = 0;
    uint32_t out = 0;
  };
  static constexpr int kPriorities = 128;

  // Unanswered attempts that are evidence by their number alone.
  static constexpr int32_t kManySilent = 5;
  static constexpr uint32_t kEndedMask =
      (1u << cluster::EndpointObservations::kEndedBits) - 1;

  // 256 * log2(nanoseconds), the fraction by linear interpolation.
  static uint32_t LogOf(int64_t nanoseconds) {
    if (ABSL_PREDICT_FALSE(nanoseconds < 256)) nanoseconds = 256;
    const int exponent = 63 - __builtin_clzll(nanoseconds);
    return static_cast<uint32_t>(exponent) << 8 |
           (static_cast<uint32_t>(nanoseconds >> (exponent - 8)) & 0xff);
  }

  // A server has answered a unary attempt, and its latency counts.
  void CountAnswer(cluster::EndpointObservations* seen, int64_t nanoseconds,
                   absl::Time now) {
    // What is very slow counts as somewhat slow: a few such are no evidence.
    const uint32_t log =
        std::min(LogOf(nanoseconds), most_log_.load(std::memory_order_relaxed));
    seen->ended.fetch_add(
        uint64_t{log} << cluster::EndpointObservations::kEndedBits | 1,
        std::memory_order_release);
    const uint32_t begun = seen->begun.load(std::memory_order_relaxed);
    seen->accounted.store(begun, std::memory_order_relaxed);
    if (ABSL_PREDICT_FALSE(nanoseconds >
                           slowest_.load(std::memory_order_relaxed))) {
      slowest_.store(nanoseconds, std::memory_order_relaxed);
    }
    if (((begun * 0x9e3779b1u >> 20) &
         sample_mask_.load(std::memory_order_relaxed)) == 0) {
      latencies_.Record(absl::Nanoseconds(nanoseconds), now);
    }
  }

  void EndCarefully(cluster::LiveEndpoint* endpoint,
                    const AttemptResult& result, absl::Time now);

  // All below with the lock held; times in nanoseconds.
  struct Verdict;
  void JudgeAttempt(cluster::LiveEndpoint* endpoint, const Verdict& verdict,
                    int64_t now, Outbox* outbox)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void JudgeProbing(cluster::LiveEndpoint* endpoint, const Verdict& verdict,
                    int64_t now, Outbox* outbox)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void FreePlace(cluster::LiveEndpoint* endpoint)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LearnPatience(cluster::LiveEndpoint* endpoint, int64_t now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void Look(size_t index, cluster::LiveEndpoint* endpoint, int64_t now,
            Outbox* outbox) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LookForSilence(cluster::LiveEndpoint* endpoint, int64_t now,
                      Outbox* outbox) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TakeCounts(cluster::LiveEndpoint* endpoint)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EndLook(int64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void PrepareLatencies(int64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void PrepareSuccessRates() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CompareLatency(size_t place, cluster::LiveEndpoint* endpoint,
                      int64_t now, Outbox* outbox)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CompareSuccess(const Candidate& candidate,
                      cluster::LiveEndpoint* endpoint, int64_t now,
                      Outbox* outbox) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RefreshLatencies(int64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  double ReferenceFor(size_t place) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool PeersAreAsSlow(const Record& record, int64_t now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // How long an ejection with what has been counted is.
  int64_t EjectionTime(const Record& record) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Eject(cluster::LiveEndpoint* endpoint, cluster::HealthCause cause,
             int64_t now, Outbox* outbox) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void BeginProbing(cluster::LiveEndpoint* endpoint, cluster::HealthCause cause,
                    int64_t now, Outbox* outbox)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void BeginRamp(cluster::LiveEndpoint* endpoint, cluster::HealthCause cause,
                 int64_t now, Outbox* outbox)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SendProbe(cluster::LiveEndpoint* endpoint, int64_t now, Outbox* outbox)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Change(cluster::LiveEndpoint* endpoint, cluster::Health to,
              cluster::HealthCause cause, int64_t now, Outbox* outbox)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Publish(cluster::LiveEndpoint* endpoint, int64_t now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Panics() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetDue(int64_t at) { next_tick_.store(at, std::memory_order_relaxed); }
  void ApplyOptions(const options::GuardOptions& options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Constant.
  RetryBudget* const budget_;
  Host* const host_;

  // Read by every call.
  std::atomic<int64_t> next_tick_{0};    // Nanoseconds of the monotonic clock.
  std::atomic<uint32_t> most_log_{~0u};  // A latency counts as no more.
  std::atomic<uint32_t> sample_mask_{0};
  std::atomic<int64_t> slowest_{0};  // Of this minute. Nanoseconds.
  // An attempt that was given up after so long shows that it is slow.
  std::atomic<int64_t> telling_age_;
  std::atomic<bool> enabled_{true};
  std::atomic<int64_t> p10_latency_{0};  // Nanoseconds. Read by retries.

  LatencyTracker latencies_;  // Of the service; a sample.

  base::Mutex mu_;
  options::OutlierEjectionOptions ejection_ ABSL_GUARDED_BY(mu_);
  options::BlackHoleOptions black_hole_ ABSL_GUARDED_BY(mu_);
  double slow_from_ ABSL_GUARDED_BY(mu_) = 0;  // log2 of latency.factor.

  // The look that is under way.
  size_t cursor_ ABSL_GUARDED_BY(mu_) = 0;
  bool comparing_ ABSL_GUARDED_BY(mu_) = false;
  int64_t look_began_ ABSL_GUARDED_BY(mu_) = 0;
  bool stalled_ ABSL_GUARDED_BY(mu_) = false;
  std::array<Tally, kPriorities> counting_ ABSL_GUARDED_BY(mu_) = {};
  uint32_t counting_total_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t counting_ejected_ ABSL_GUARDED_BY(mu_) = 0;
  bool compares_latency_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Reporter> reporters_ ABSL_GUARDED_BY(mu_);
  std::vector<double> sorted_ ABSL_GUARDED_BY(mu_);  // Their latencies.
  bool compares_success_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Candidate> success_candidates_ ABSL_GUARDED_BY(mu_);

  // What the last one found, and changes since.
  std::array<Tally, kPriorities> tallies_ ABSL_GUARDED_BY(mu_) = {};
  uint32_t total_ ABSL_GUARDED_BY(mu_) = 0;    // Ready, or ejected.
  uint32_t ready_ ABSL_GUARDED_BY(mu_) = 0;    // Connected, out or not.
  uint32_t ejected_ ABSL_GUARDED_BY(mu_) = 0;  // Or probing since.
  bool panic_ ABSL_GUARDED_BY(mu_) = false;

  int64_t latency_since_ ABSL_GUARDED_BY(mu_) = 0;
  double variance_ ABSL_GUARDED_BY(mu_);       // Of one attempt's log2.
  double reference_ ABSL_GUARDED_BY(mu_) = 0;  // Usual log2; 0: unknown.
  // Mean log2 of the latest answers of endpoints in use; 0: unknown. And what
  // the look that is under way adds to it.
  double recent_log_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t look_timed_ ABSL_GUARDED_BY(mu_) = 0;
  double look_log_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t success_since_ ABSL_GUARDED_BY(mu_) = 0;
  double success_threshold_ ABSL_GUARDED_BY(mu_) = -1;
  bool failure_percentage_ ABSL_GUARDED_BY(mu_) = false;

  int64_t refreshed_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t usual_p99_ ABSL_GUARDED_BY(mu_) = 0;  // 0: unknown.
  int64_t slowest_before_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t slowest_since_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t answers_ ABSL_GUARDED_BY(mu_) = 0;  // Since the last refresh.
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_MONITOR_H_
