#include "mesh/resilience/health/state.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "mesh/resilience/health/silence.h"

namespace mesh::resilience {
namespace {

using cluster::EndpointObservations;
using cluster::Health;
using cluster::HealthCause;
using cluster::LiveEndpoint;
using cluster::Readiness;
using options::Mode;

constexpr uint32_t kFullShare = 255;
// The share that an endpoint begins with when it returns: a tenth.
constexpr uint32_t kLeastShare = 26;

// A server that has said that it is draining, and is still connected after this
// long, is tried again.
constexpr int64_t kDrainingFor = 10 * kSecond;

// Where others fail this often, one failure says little about an endpoint.
constexpr double kOthersFail = 0.1;

// An endpoint that was silent and answers probes is ejected when calls on it
// run into their deadlines. As many calls elsewhere would all have failed with
// this chance at most: it takes two where few of the others fail.
constexpr double kLeastChance = 0.02;

// No ejection lasts longer than so many times base_ejection_time: an endpoint
// that has recovered must be found some time.
constexpr int64_t kMostEjectionTimes = 10;

// Failures of connections in a row that end a ramp.
constexpr uint32_t kMostWhileRamping = 3;

// Whether the cause lies with a connection, or with what is behind it, and ends
// with it.
bool EndsWithConnection(HealthCause cause) {
  return cause == HealthCause::kSilence ||
         cause == HealthCause::kConsecutiveLocalFailures ||
         cause == HealthCause::kDraining;
}

// Whether a trial has shown the cause.
bool IsByTrial(HealthCause cause) {
  return cause == HealthCause::kFailures || cause == HealthCause::kLatency;
}

FailureRow RowOf(const LiveEndpoint& endpoint) {
  return FailureRow(
      endpoint.observations().consecutive.load(std::memory_order_relaxed));
}

void ForgetFailures(LiveEndpoint* endpoint) {
  endpoint->mutable_observations().consecutive.store(0,
                                                     std::memory_order_relaxed);
}

// An endpoint that fails fast is always idle, so least request would send it
// more than its part. Each failure in a row after the first therefore halves
// what it gets.
uint32_t WaryShare(const LiveEndpoint& endpoint) {
  const uint32_t failures = RowOf(endpoint).failures;
  if (ABSL_PREDICT_TRUE(failures < 2)) return kFullShare;
  return std::max(kFullShare >> std::min(failures - 1, 4u), kLeastShare / 2);
}

int64_t BaseTime(const options::OutlierEjectionOptions& options) {
  return std::max<int64_t>(1, Nanos(options.base_ejection_time));
}

// Nobody has taken the place of the probe.
void FreePlace(LiveEndpoint* endpoint) {
  HealthRecord& record = RecordOf(endpoint);
  record.claimed = 0;
  record.streams_begun =
      endpoint->observations().streams_begun.load(std::memory_order_relaxed);
}

using PriorityStates = absl::InlinedVector<cluster::PriorityState, 4>;

PriorityStates StatesOf(const Population& population) {
  PriorityStates states;
  for (size_t i = 0; i < population.size(); ++i) {
    states.push_back(population[i].State());
  }
  return states;
}

HealthChange Observed(LiveEndpoint* endpoint, Health from, Health to,
                      HealthCause cause, int64_t now) {
  return {
      endpoint, from, to, cause, /*observed=*/true, absl::FromUnixNanos(now)};
}

}  // namespace

int64_t EjectionTime(const HealthRecord& record,
                     const options::OutlierEjectionOptions& options) {
  const int64_t base = BaseTime(options);
  return base * std::min<int64_t>(record.ejections, kMostEjectionTimes);
}

void HealthStates::SetOptions(const options::OutlierEjectionOptions& ejection,
                              const options::SilenceOptions& silence) {
  ejection_ = ejection;
  silence_ = silence;
}

// ---- What happens to it ----

void HealthStates::OnAttempt(LiveEndpoint* endpoint, const Finding& finding,
                             bool slow, int64_t now, HealthChanges* changes) {
  HealthRecord& record = RecordOf(endpoint);
  switch (record.health) {
    case Health::kHealthy:
    case Health::kRamping:
    case Health::kTrial:
      return JudgeInUse(endpoint, finding, now, changes);
    case Health::kProbing:
      return JudgeProbing(endpoint, finding, slow, now, changes);
    case Health::kSuspect:
      // It goes on: what waited is answered.
      if (finding.kind == Finding::Kind::kSuccess || finding.answered ||
          (finding.kind == Finding::Kind::kFailure && !finding.timed_out)) {
        LearnPatience(record.since, record.silence, now, &record.patience);
        BeginProbing(endpoint, HealthCause::kProbeAnswered, now, changes);
      }
      return;
    case Health::kEjected:
      return;
  }
}

void HealthStates::JudgeInUse(LiveEndpoint* endpoint, const Finding& finding,
                              int64_t now, HealthChanges* changes) {
  if (finding.kind == Finding::Kind::kNothing) return;
  const HealthRecord& record = RecordOf(endpoint);
  if (finding.kind == Finding::Kind::kConnectionFailure &&
      ejection_.consecutive_local_failures > 0) {
    auto most = static_cast<uint32_t>(ejection_.consecutive_local_failures);
    if (record.ramp_began != 0) most = std::min(most, kMostWhileRamping);
    if (RowOf(*endpoint).connection >= most) {
      Eject(endpoint, HealthCause::kConsecutiveLocalFailures, now, changes);
    }
  }
  if (record.health == Health::kHealthy) Publish(endpoint, now);
}

void HealthStates::JudgeProbing(LiveEndpoint* endpoint, const Finding& finding,
                                bool slow, int64_t now,
                                HealthChanges* changes) {
  HealthRecord& record = RecordOf(endpoint);
  // The attempt began before, and is late. It says nothing about how the
  // endpoint does now.
  if (finding.began < record.since) return;
  SlowMethod slow_for;
  slow_for.Add(finding.pace, LogOf(finding.latency) / 256.0);
  switch (finding.kind) {
    case Finding::Kind::kNothing:
      // This side did not take its answer, but somebody was there to answer.
      if (finding.answered && EndsWithConnection(record.cause)) {
        return BeginRamp(endpoint, HealthCause::kProbeAnswered, now, changes);
      }
      // Another attempt was quicker, each time.
      if (finding.telling && ++record.slow >= 2) {
        if (EjectForLatency(endpoint, slow_for, now, changes)) return;
        record.slow = 0;
      }
      break;
    case Finding::Kind::kSuccess:
      if (slow) {
        if (++record.slow >= 2 &&
            EjectForLatency(endpoint, slow_for, now, changes)) {
          return;
        }
        break;
      }
      record.by_chance = 1;
      if (++record.good >= (EndsWithConnection(record.cause) ? 1 : 2)) {
        return BeginRamp(endpoint, HealthCause::kProbeAnswered, now, changes);
      }
      break;
    case Finding::Kind::kFailure:
    case Finding::Kind::kConnectionFailure: {
      const bool of_call = finding.kind == Finding::Kind::kFailure;
      if (of_call && finding.hasty) break;
      const bool others_fail = finding.others_fail >= kOthersFail;
      bool spared = false;
      if (of_call && !finding.timed_out) {
        record.by_chance = 1;
      } else if (of_call && IsSilence(record.cause)) {
        record.by_chance *= std::max(finding.others_fail, kOthersFail);
        spared = record.by_chance > kLeastChance;
      }
      // One failure does not convict: where more follow, a trial tells. An
      // endpoint that was convicted before is ejected again, unless the others
      // fail as well. Calls that run into their deadlines may be long ones.
      if (of_call && (IsByTrial(record.cause) || spared ? others_fail
                                                        : !finding.timed_out)) {
        return BeginRamp(endpoint, HealthCause::kProbeAnswered, now, changes);
      }
      if (!spared && Eject(endpoint, HealthCause::kProbeFailed, now, changes)) {
        return;
      }
      // It may not be ejected. If it is silent again, silence acts. Otherwise
      // it works.
      if (of_call && !finding.timed_out) {
        return BeginRamp(endpoint, HealthCause::kProbeAnswered, now, changes);
      }
      record.next_probe = now + (spared ? kProbeAgain : kSecond);
      record.silence = 0;
      return Change(endpoint, Health::kSuspect, HealthCause::kProbeFailed, now,
                    changes);
    }
  }
  // The next one.
  FreePlace(endpoint);
  if (!Panics(*endpoint)) {
    endpoint->set_health(Health::kProbing, LiveEndpoint::kProbeFree);
  }
}

void HealthStates::OnProbeDone(LiveEndpoint* endpoint, bool answered,
                               int64_t now, HealthChanges* changes) {
  HealthRecord& record = RecordOf(endpoint);
  record.probe_sent = false;
  if (record.health != Health::kSuspect) return;
  if (!answered) {
    record.next_probe = now + kProbeAgain;
    return;
  }
  LearnPatience(record.since, record.silence, now, &record.patience);
  BeginProbing(endpoint, HealthCause::kProbeAnswered, now, changes);
}

// max_ejection_percent does not bound this, since it is the server's own word.
// Panic bounds it when all of them say so.
void HealthStates::OnDraining(LiveEndpoint* endpoint, int64_t now,
                              HealthChanges* changes) {
  HealthRecord& record = RecordOf(endpoint);
  if (ejection_.mode != Mode::kEnforce || population_.total() < 2 ||
      record.health == Health::kEjected) {
    return;
  }
  record.until = now + kDrainingFor;
  record.cause = HealthCause::kDraining;
  Change(endpoint, Health::kEjected, HealthCause::kDraining, now, changes);
}

void HealthStates::OnConnected(LiveEndpoint* endpoint, int64_t now,
                               HealthChanges* changes) {
  EndpointObservations& seen = endpoint->mutable_observations();
  seen.silence.Forget();
  // Nothing is held against it.
  if (endpoint->health_memory() == nullptr) return;
  HealthRecord& record = RecordOf(endpoint);
  if (!IsOut(record.health)) {
    FailureRow row = RowOf(*endpoint);
    row.failures -= std::min(row.failures, row.connection);
    row.connection = 0;
    seen.consecutive.store(row.Packed(), std::memory_order_relaxed);
    if (record.health == Health::kHealthy) Publish(endpoint, now);
    return;
  }
  if (record.health != Health::kSuspect && !EndsWithConnection(record.cause)) {
    return;
  }
  if (record.health == Health::kEjected) record.returned = now;
  bool again = false;
  if (record.cause == HealthCause::kConsecutiveLocalFailures) {
    // The last new connection helped nothing, so calls try this one singly.
    again = record.reconnected != 0 &&
            now - record.reconnected < EjectionTime(record, ejection_);
    record.reconnected = now;
  }
  if (!again) {
    BeginRamp(endpoint, HealthCause::kNewConnection, now, changes);
  } else if (record.health != Health::kProbing) {
    BeginProbing(endpoint, HealthCause::kNewConnection, now, changes);
  }
}

void HealthStates::OnSilence(LiveEndpoint* endpoint, int64_t silence,
                             int64_t now, HealthChanges* changes) {
  HealthRecord& record = RecordOf(endpoint);
  if (silence_.mode == Mode::kObserve) {
    if (record.observed_suspect) return;
    record.observed_suspect = true;
    changes->push_back(Observed(endpoint, record.health, Health::kSuspect,
                                HealthCause::kSilence, now));
    return;
  }
  record.cause = HealthCause::kSilence;
  record.silence = silence;
  record.next_probe = 0;
  Change(endpoint, Health::kSuspect, HealthCause::kSilence, now, changes);
}

// ---- What time brings ----

void HealthStates::Advance(LiveEndpoint* endpoint, bool peers_are_as_slow,
                           int64_t now, HealthChanges* changes) {
  HealthRecord& record = RecordOf(endpoint);
  if (record.health != Health::kHealthy) {
    // An endpoint on trial still has the cause of an earlier time.
    const bool by_silence =
        record.health == Health::kSuspect ||
        (record.health != Health::kTrial && IsSilence(record.cause));
    if ((by_silence ? silence_.mode : ejection_.mode) != Mode::kEnforce) {
      // A policy that no longer acts has set this health.
      Change(endpoint, Health::kHealthy, HealthCause::kRamped, now, changes);
    }
  }
  switch (record.health) {
    case Health::kHealthy:
    case Health::kSuspect:
      break;
    case Health::kEjected:
      if (now < record.until && peers_are_as_slow) {
        record.until = record.returned = now;
      }
      if (now >= record.until) {
        BeginProbing(endpoint, HealthCause::kEjectionOver, now, changes);
      }
      break;
    case Health::kProbing:
      AdvanceProbing(endpoint, now, changes);
      break;
    case Health::kRamping:
      if (now - record.ramp_began >= Nanos(ejection_.ramp)) {
        Change(endpoint, Health::kHealthy, HealthCause::kRamped, now, changes);
      }
      break;
    case Health::kTrial:
      if (now - record.ramp_began >= Nanos(ejection_.ramp)) {
        record.ramp_began = 0;
      }
      break;
  }
  EndObserved(endpoint, now, changes);
}

// Somebody may hold the place of the probe for long.
void HealthStates::AdvanceProbing(LiveEndpoint* endpoint, int64_t now,
                                  HealthChanges* changes) {
  HealthRecord& record = RecordOf(endpoint);
  if (Panics(*endpoint) || endpoint->share() != 0) return;
  if (record.claimed == 0) record.claimed = now;
  if (now - record.claimed < kSecond) return;
  const EndpointObservations& seen = endpoint->observations();
  const int32_t silent = seen.silence.unanswered();
  Finding finding;
  finding.unary = false;
  finding.began = record.claimed;
  if (silent <= 0) {
    // It is a stream that lasts. Or it is an attempt that was not made after
    // all (the call met a cap), so there is nothing.
    if (seen.streams_begun.load(std::memory_order_relaxed) !=
        record.streams_begun) {
      finding.kind = Finding::Kind::kSuccess;
    }
  } else if (silent >= AttemptLedger::kManySilent) {
    finding.kind = Finding::Kind::kConnectionFailure;
  }  // Otherwise it may be a call that takes long: another one may try.
  JudgeProbing(endpoint, finding, /*slow=*/false, now, changes);
}

void HealthStates::EndObserved(LiveEndpoint* endpoint, int64_t now,
                               HealthChanges* changes) {
  HealthRecord& record = RecordOf(endpoint);
  if (record.observed_until != 0 && now >= record.observed_until) {
    record.observed_until = 0;
    changes->push_back(Observed(endpoint, Health::kEjected, Health::kHealthy,
                                HealthCause::kEjectionOver, now));
  }
  if (record.observed_suspect &&
      endpoint->observations().silence.unanswered() <= 0) {
    record.observed_suspect = false;
    changes->push_back(Observed(endpoint, Health::kSuspect, Health::kHealthy,
                                HealthCause::kProbeAnswered, now));
  }
}

// ---- Trials ----

void HealthStates::BeginTrial(LiveEndpoint* endpoint, uint32_t trial,
                              HealthCause cause, int64_t now,
                              HealthChanges* changes) {
  endpoint->set_trial(trial);
  Change(endpoint, Health::kTrial, cause, now, changes);
}

void HealthStates::EndTrial(LiveEndpoint* endpoint, int64_t now,
                            HealthChanges* changes) {
  if (RecordOf(endpoint).health != Health::kTrial) return;
  ForgetFailures(endpoint);
  Change(
      endpoint,
      RecordOf(endpoint).ramp_began != 0 ? Health::kRamping : Health::kHealthy,
      HealthCause::kAcquitted, now, changes);
}

void HealthStates::TellOfDoubt(LiveEndpoint* endpoint, HealthCause cause,
                               int64_t now, HealthChanges* changes) {
  changes->push_back(Observed(endpoint, RecordOf(endpoint).health,
                              Health::kTrial, cause, now));
}

// ---- Changes ----

bool HealthStates::Eject(LiveEndpoint* endpoint, HealthCause cause, int64_t now,
                         HealthChanges* changes) {
  if (ejection_.mode == Mode::kOff || population_.total() < 2) return false;
  HealthRecord& record = RecordOf(endpoint);
  const int64_t base = BaseTime(ejection_);
  if (ejection_.mode == Mode::kObserve) {
    if (now < record.observed_until) return false;
    record.observed_until = now + base;
    changes->push_back(
        Observed(endpoint, Health::kHealthy, Health::kEjected, cause, now));
    return false;
  }
  if (CapForbids(*endpoint, record)) return false;

  // One ejection is forgotten for each such time since the last one ended.
  const int64_t forgotten = std::max<int64_t>(0, now - record.returned) / base;
  record.ejections =
      static_cast<int>(std::max<int64_t>(0, record.ejections - forgotten) + 1);
  record.until = record.returned = now + EjectionTime(record, ejection_);
  if (cause != HealthCause::kProbeFailed || IsSilence(record.cause)) {
    record.cause = cause;
  }
  ForgetFailures(endpoint);
  Change(endpoint, Health::kEjected, cause, now, changes);
  return true;
}

// max_ejection_percent counts within a priority, where one endpoint may always
// be ejected. It does not bind while the priorities together can carry the load
// without the endpoint.
bool HealthStates::CapForbids(const LiveEndpoint& endpoint,
                              const HealthRecord& record) const {
  const size_t place = population_.PlaceOf(endpoint);
  if (place == population_.size()) return false;
  const Population::Tally& tally = population_[place];
  const uint32_t others =
      tally.ejected -
      std::min(tally.ejected, uint32_t{CountsAsEjected(record)});
  const auto percent = static_cast<uint32_t>(ejection_.max_ejection_percent);
  if (others == 0 || (others + 1) * 100 <= percent * tally.total) return false;
  if (shares_ == nullptr) return true;
  PriorityStates states = StatesOf(population_);
  cluster::PriorityState& its = states[place];
  if (endpoint.readiness() == Readiness::kReady && !IsOut(record.health)) {
    its.usable -= std::min(its.usable, 1u);
  }
  return cluster::SumOfCapacities(states, ahead_) < cluster::kWholeLoad;
}

bool HealthStates::EjectForLatency(LiveEndpoint* endpoint,
                                   const SlowMethod& slow, int64_t now,
                                   HealthChanges* changes) {
  if (!Eject(endpoint, HealthCause::kLatency, now, changes)) return false;
  RecordOf(endpoint).slow_for = slow;
  return true;
}

void HealthStates::BeginProbing(LiveEndpoint* endpoint, HealthCause cause,
                                int64_t now, HealthChanges* changes) {
  HealthRecord& record = RecordOf(endpoint);
  record.good = record.slow = 0;
  FreePlace(endpoint);
  endpoint->mutable_observations().silence.Forget();
  ForgetFailures(endpoint);
  Change(endpoint, Health::kProbing, cause, now, changes);
}

void HealthStates::BeginRamp(LiveEndpoint* endpoint, HealthCause cause,
                             int64_t now, HealthChanges* changes) {
  endpoint->mutable_observations().silence.Forget();
  ForgetFailures(endpoint);
  const bool ramps = ejection_.ramp > absl::ZeroDuration();
  HealthRecord& record = RecordOf(endpoint);
  record.ramp_began = ramps ? now : 0;
  Change(endpoint, ramps ? Health::kRamping : Health::kHealthy, cause, now,
         changes);
}

void HealthStates::Change(LiveEndpoint* endpoint, Health to, HealthCause cause,
                          int64_t now, HealthChanges* changes) {
  HealthRecord& record = RecordOf(endpoint);
  changes->push_back({endpoint, record.health, to, cause, /*observed=*/false,
                      absl::FromUnixNanos(now)});
  const Health from = record.health;
  const bool was_ejected = CountsAsEjected(record);
  if (record.health == Health::kTrial) endpoint->set_trial(0);
  if (to != Health::kRamping && to != Health::kTrial) record.ramp_began = 0;
  if (to == Health::kHealthy) record.by_chance = 1;
  record.health = to;
  record.since = now;
  population_.Move(*endpoint, from, was_ejected, record);
  // The next look tells the others.
  UpdateLoad();
  Publish(endpoint, now);
}

// ---- The load of each priority ----

HealthStates::Members HealthStates::Sort(
    absl::Span<const cluster::Member> members,
    const cluster::LoadShares& shares) {
  Members result;
  result.named.resize(shares.priorities().size());
  for (const cluster::Member& member : members) {
    const size_t place = shares.PlaceOf(member.priority);
    if (place < result.named.size()) ++result.named[place];
    LiveEndpoint* const live = member.live.get();
    if (live->readiness() == Readiness::kReady ||
        live->health() != Health::kHealthy || live->first_dial() != 0) {
      result.known.push_back(live);
    }
  }
  return result;
}

void HealthStates::SetMembers(const Members& members,
                              std::shared_ptr<cluster::LoadShares> shares,
                              int ahead, int64_t now) {
  static const auto* const healthy = new HealthRecord;
  ahead_ = ahead;
  shares_ = shares;
  population_.SetPriorities(std::move(shares));
  population_.SetNamed(members.named);
  population_.Begin();
  for (LiveEndpoint* live : members.known) {
    if (live->readiness() != Readiness::kReady &&
        live->health() == Health::kHealthy) {
      population_.AddUnconnected(*live, now);
      continue;
    }
    const bool judged = live->health_memory() != nullptr;
    population_.Add(*live, judged ? RecordOf(live) : *healthy);
  }
  FinishCount();
}

void HealthStates::ForgetMembers() {
  if (shares_ == nullptr) return;
  shares_ = nullptr;
  population_.SetPriorities(nullptr);
  UpdateLoad();
}

void HealthStates::FinishCount() {
  population_.Finish();
  UpdateLoad();
}

void HealthStates::UpdateLoad() {
  const auto too_few = [this](const Population::Tally& tally) {
    return tally.ready > 0 &&
           tally.InUse() * 100 <
               static_cast<uint32_t>(ejection_.panic_threshold_percent) *
                   tally.ready;
  };
  absl::InlinedVector<bool, 1> panics(population_.size(), false);
  if (shares_ == nullptr) {
    panics[0] = too_few(population_[0]);
  } else {
    const PriorityStates states = StatesOf(population_);
    const std::vector<uint32_t> shares = cluster::SpreadLoad(states, ahead_);
    const bool carried =
        cluster::SumOfCapacities(states, ahead_) >= cluster::kWholeLoad;
    size_t to_probe = shares.size();
    size_t last = 0;  // The last priority that carries load.
    for (size_t i = 0; i < shares.size(); ++i) {
      if (shares[i] > 0) last = i;
      // A priority without load has no load that could be too much for few
      // endpoints.
      panics[i] = !carried && shares[i] > 0 && too_few(population_[i]);
    }
    // Calls reach it only for this. Otherwise its endpoints would never come
    // back.
    for (size_t i = last; i-- > 0;) {
      if (shares[i] == 0 && population_[i].probing > 0) to_probe = i;
    }
    shares_->Set(shares, to_probe);
  }
  panic_changed_ |= panics != panics_;
  panics_ = std::move(panics);
}

bool HealthStates::TakePanicChanged() {
  const bool changed = panic_changed_;
  panic_changed_ = false;
  return changed;
}

// ---- Shares ----

void HealthStates::Publish(LiveEndpoint* endpoint, int64_t now) {
  const HealthRecord& record = RecordOf(endpoint);
  const uint32_t share =
      Panics(*endpoint) ? kFullShare : ShareOf(*endpoint, record, now);
  if (endpoint->health() == record.health && endpoint->share() == share) return;
  endpoint->set_health(record.health, share);
}

uint32_t HealthStates::ShareOf(const LiveEndpoint& endpoint,
                               const HealthRecord& record, int64_t now) const {
  switch (record.health) {
    case Health::kHealthy:
      return ejection_.mode == Mode::kEnforce && population_.total() >= 2
                 ? WaryShare(endpoint)
                 : kFullShare;
    case Health::kSuspect:
    case Health::kEjected:
      return 0;
    case Health::kProbing:
      // While somebody has the place it is not free.
      return endpoint.health() == Health::kProbing && endpoint.share() == 0
                 ? 0
                 : LiveEndpoint::kProbeFree;
    case Health::kTrial:
      if (record.ramp_began == 0) return kFullShare;
      ABSL_FALLTHROUGH_INTENDED;
    case Health::kRamping: {
      const double part =
          static_cast<double>(now - record.ramp_began) /
          static_cast<double>(std::max<int64_t>(1, Nanos(ejection_.ramp)));
      return static_cast<uint32_t>(
          std::clamp(part * kFullShare, double{kLeastShare}, 254.0));
    }
  }
  return kFullShare;
}

}  // namespace mesh::resilience
