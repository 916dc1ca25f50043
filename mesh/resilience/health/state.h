#ifndef MESH_RESILIENCE_HEALTH_STATE_H_
#define MESH_RESILIENCE_HEALTH_STATE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mesh/cluster/health.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/cluster/load_shares.h"
#include "mesh/cluster/membership.h"
#include "mesh/options/health.h"
#include "mesh/resilience/health/ledger.h"
#include "mesh/resilience/health/population.h"
#include "mesh/resilience/health/record.h"

namespace mesh::resilience {

// A change of an endpoint's health. `observed`: mode enforce would have made
// it.
struct HealthChange {
  using Cause = cluster::HealthCause;
  cluster::LiveEndpoint* endpoint = nullptr;
  cluster::Health from = cluster::Health::kHealthy;
  cluster::Health to = cluster::Health::kHealthy;
  Cause cause = Cause::kRamped;
  bool observed = false;
  absl::Time time;
};
using HealthChanges = absl::InlinedVector<HealthChange, 2>;

// When a probe is repeated that was not answered, or had no budget.
inline constexpr int64_t kProbeAgain = 100 * kMillisecond;

// How long an ejection is, with what has been counted.
int64_t EjectionTime(const HealthRecord& record,
                     const options::OutlierEjectionOptions& options);

// The state machine of the endpoints of one service. It acts on the record of
// an endpoint, and through that on the share which picks leave it. What it
// decides is added to `changes`, for whoever tells others once the lock is
// released. Not thread-safe.
//
//   kHealthy                     silence           -> kSuspect
//   kSuspect                     probe answered    -> kProbing
//   kHealthy, kRamping           doubt             -> kTrial
//   kTrial                       acquitted         -> as before
//   kTrial                       fails, or is slow -> kEjected
//   kEjected                     its time is over  -> kProbing
//   kHealthy, kRamping, kTrial   connections fail  -> kEjected
//   kProbing                     calls go well     -> kRamping
//   kRamping                     its ramp is over  -> kHealthy
//   kProbing, kRamping           fails, or is slow -> kEjected, for longer
//   kHealthy                     says it is draining -> kEjected
//   kSuspect, and kEjected for local failures or draining:
//                                new connection    -> kRamping; or kProbing,
//                                when the connection before failed soon, too
class HealthStates {
 public:
  void SetOptions(const options::OutlierEjectionOptions& ejection,
                  const options::SilenceOptions& silence);
  const options::OutlierEjectionOptions& ejection() const { return ejection_; }
  const options::SilenceOptions& silence() const { return silence_; }

  // An attempt on it has ended. `slow`: the endpoint is probed, and the attempt
  // took longer than other endpoints take.
  void OnAttempt(cluster::LiveEndpoint* endpoint, const Finding& finding,
                 bool slow, int64_t now, HealthChanges* changes);
  // The probe of a silent one.
  void OnProbeDone(cluster::LiveEndpoint* endpoint, bool answered, int64_t now,
                   HealthChanges* changes);
  void OnDraining(cluster::LiveEndpoint* endpoint, int64_t now,
                  HealthChanges* changes);
  void OnConnected(cluster::LiveEndpoint* endpoint, int64_t now,
                   HealthChanges* changes);
  // It is in use and has been silent for longer than `silence`. A suspect is to
  // be probed.
  void OnSilence(cluster::LiveEndpoint* endpoint, int64_t silence, int64_t now,
                 HealthChanges* changes);
  // A coin decides who gets its calls from now on: the trial of that number.
  // The endpoint is healthy or ramps.
  void BeginTrial(cluster::LiveEndpoint* endpoint, uint32_t trial,
                  cluster::HealthCause cause, int64_t now,
                  HealthChanges* changes);
  // It is acquitted.
  void EndTrial(cluster::LiveEndpoint* endpoint, int64_t now,
                HealthChanges* changes);
  // In mode observe no coin may be tossed: tells that it would have been.
  static void TellOfDoubt(cluster::LiveEndpoint* endpoint,
                          cluster::HealthCause cause, int64_t now,
                          HealthChanges* changes);
  // It fails, or is slow. False: it may not be ejected.
  bool Eject(cluster::LiveEndpoint* endpoint, cluster::HealthCause cause,
             int64_t now, HealthChanges* changes);
  // The same, for calls of that method.
  bool EjectForLatency(cluster::LiveEndpoint* endpoint, const SlowMethod& slow,
                       int64_t now, HealthChanges* changes);
  // Makes the changes that time brings. `peers_are_as_slow`: it was ejected for
  // its latency, and would be no worse than the others by now.
  void Advance(cluster::LiveEndpoint* endpoint, bool peers_are_as_slow,
               int64_t now, HealthChanges* changes);
  // Sets the share of the endpoint.
  void Publish(cluster::LiveEndpoint* endpoint, int64_t now);

  // Sets the endpoints that discovery names, for a service with several
  // priorities. Call it whenever discovery names others, or one of them was
  // connected to or lost. It sets the shares of these priorities from then on.
  // `ahead`: the configuration's value.
  struct Members {
    std::vector<uint32_t> named;  // How many there are, by priority.
    // Endpoints that were dialled, are connected, or are not healthy.
    std::vector<cluster::LiveEndpoint*> known;
  };
  static Members Sort(absl::Span<const cluster::Member> members,
                      const cluster::LoadShares& shares);
  void SetMembers(const Members& members,
                  std::shared_ptr<cluster::LoadShares> shares, int ahead,
                  int64_t now);
  // There is one priority only.
  void ForgetMembers();

  // A look. Between the two others, call Count() for each endpoint, or
  // CountUnconnected() for one that is healthy and not connected.
  void BeginCount() { population_.Begin(); }
  void Count(const cluster::LiveEndpoint& endpoint,
             const HealthRecord& record) {
    population_.Add(endpoint, record);
  }
  void CountUnconnected(const cluster::LiveEndpoint& endpoint, int64_t now) {
    population_.AddUnconnected(endpoint, now);
  }
  void FinishCount();
  const Population& population() const { return population_; }

  // So few of its priority are in use that all of them are to be used.
  bool Panics(const cluster::LiveEndpoint& endpoint) const {
    const size_t place = population_.PlaceOf(endpoint);
    return place < panics_.size() && panics_[place];
  }
  // Whether panic began or ended since this was last asked. If so, all are to
  // be looked at.
  bool TakePanicChanged();

 private:
  void JudgeInUse(cluster::LiveEndpoint* endpoint, const Finding& finding,
                  int64_t now, HealthChanges* changes);
  void JudgeProbing(cluster::LiveEndpoint* endpoint, const Finding& finding,
                    bool slow, int64_t now, HealthChanges* changes);
  void AdvanceProbing(cluster::LiveEndpoint* endpoint, int64_t now,
                      HealthChanges* changes);
  void EndObserved(cluster::LiveEndpoint* endpoint, int64_t now,
                   HealthChanges* changes);
  void BeginProbing(cluster::LiveEndpoint* endpoint, cluster::HealthCause cause,
                    int64_t now, HealthChanges* changes);
  void BeginRamp(cluster::LiveEndpoint* endpoint, cluster::HealthCause cause,
                 int64_t now, HealthChanges* changes);
  void Change(cluster::LiveEndpoint* endpoint, cluster::Health to,
              cluster::HealthCause cause, int64_t now, HealthChanges* changes);
  uint32_t ShareOf(const cluster::LiveEndpoint& endpoint,
                   const HealthRecord& record, int64_t now) const;
  bool CapForbids(const cluster::LiveEndpoint& endpoint,
                  const HealthRecord& record) const;
  // Panic, and the shares of the priorities.
  void UpdateLoad();

  options::OutlierEjectionOptions ejection_;
  options::SilenceOptions silence_;
  Population population_;
  // By place, as in the population.
  absl::InlinedVector<bool, 1> panics_{false};
  bool panic_changed_ = false;
  // Null: there is one priority.
  std::shared_ptr<cluster::LoadShares> shares_;
  int ahead_ = 1;
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_STATE_H_
