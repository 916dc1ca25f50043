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
using HealthChanges = absl::InlinedVector<HealthChange, 2>;

// When a probe was not answered, or there was no budget for it.
inline constexpr int64_t kProbeAgain = 100 * kMillisecond;

// How long an ejection with what has been counted is.
int64_t EjectionTime(const HealthRecord& record,
                     const options::OutlierEjectionOptions& options);

// The state machine of the endpoints of one service: acts on the record of an
// endpoint, and through that on the share which picks leave it. What it decides
// is added to `changes`, for whoever tells others once the lock is released.
// Not thread-safe.
//
//   kHealthy -- silence --> kSuspect -- probe answered --> kProbing
//   kHealthy, kRamping -- doubt --> kTrial -- acquitted --> as before
//   kTrial -- it fails, or is slow --> kEjected -- its time is over -->
//   kProbing kHealthy, kRamping, kTrial -- its connections fail --> kEjected
//   kProbing -- real calls go well --> kRamping -- ramp --> kHealthy
//   kProbing, kRamping -- they fail, or are slow --> kEjected, for longer
//   kHealthy -- it says that it is draining --> kEjected
//   kSuspect, kEjected for local failures or draining -- new connection -->
//       kRamping; or kProbing, when the connection before failed soon, too
class HealthStates {
 public:
  void SetOptions(const options::OutlierEjectionOptions& ejection,
                  const options::BlackHoleOptions& silence);
  const options::OutlierEjectionOptions& ejection() const { return ejection_; }
  const options::BlackHoleOptions& silence() const { return silence_; }

  // An attempt on it has ended. `slow`: it probes, and took for longer than its
  // peers take.
  void OnAttempt(cluster::LiveEndpoint* endpoint, const Finding& finding,
                 bool slow, int64_t now, HealthChanges* changes);
  // The probe of a silent one.
  void OnProbeDone(cluster::LiveEndpoint* endpoint, bool answered, int64_t now,
                   HealthChanges* changes);
  void OnDraining(cluster::LiveEndpoint* endpoint, int64_t now,
                  HealthChanges* changes);
  void OnConnected(cluster::LiveEndpoint* endpoint, int64_t now,
                   HealthChanges* changes);
  // It is in use and silent, for longer than `silence`. A suspect is to be
  // probed.
  void OnSilence(cluster::LiveEndpoint* endpoint, int64_t silence, int64_t now,
                 HealthChanges* changes);
  // A coin decides who gets its calls from now on: the trial of that number. It
  // is healthy or ramps.
  void BeginTrial(cluster::LiveEndpoint* endpoint, uint32_t trial,
                  cluster::HealthCause cause, int64_t now,
                  HealthChanges* changes);
  // It is acquitted.
  void EndTrial(cluster::LiveEndpoint* endpoint, int64_t now,
                HealthChanges* changes);
  // Who observes only cannot toss coins: tells that it would have.
  static void TellOfDoubt(cluster::LiveEndpoint* endpoint,
                          cluster::HealthCause cause, int64_t now,
                          HealthChanges* changes);
  // It fails, or is slow. False: it may not be ejected.
  bool Eject(cluster::LiveEndpoint* endpoint, cluster::HealthCause cause,
             int64_t now, HealthChanges* changes);
  // Likewise, for calls of that method.
  bool EjectForLatency(cluster::LiveEndpoint* endpoint, const SlowMethod& slow,
                       int64_t now, HealthChanges* changes);
  // What time brings. `peers_are_as_slow`: it was ejected for its latency, and
  // would be no worse than the others by now.
  void Advance(cluster::LiveEndpoint* endpoint, bool peers_are_as_slow,
               int64_t now, HealthChanges* changes);
  // Sets the share of the endpoint.
  void Publish(cluster::LiveEndpoint* endpoint, int64_t now);

  // The endpoints that discovery names, whenever it names others or one of them
  // was connected to or lost; of a service with several priorities. The shares
  // of these are set from then on. `ahead`: as the configuration has it.
  struct Members {
    std::vector<uint32_t> named;  // How many there are, by priority.
    // Those that were dialled, are connected, or are not healthy.
    std::vector<cluster::LiveEndpoint*> known;
  };
  static Members Sort(absl::Span<const cluster::Member> members,
                      const cluster::LoadShares& shares);
  void SetMembers(const Members& members,
                  std::shared_ptr<cluster::LoadShares> shares, int ahead,
                  int64_t now);
  // There is one priority only.
  void ForgetMembers();

  // A look: Count() of each endpoint, or CountUnconnected() of one that is
  // healthy and not connected, between the two others.
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
  // Whether panic began or ended since this was asked: all are to be looked at.
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
  options::BlackHoleOptions silence_;
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
