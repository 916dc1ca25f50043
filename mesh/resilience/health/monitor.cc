#include "mesh/resilience/health/monitor.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "mesh/resilience/health/record.h"
#include "mesh/resilience/health/silence.h"

namespace mesh::resilience {
namespace {

using cluster::Health;
using cluster::HealthCause;
using cluster::LiveEndpoint;
using cluster::Readiness;
using options::Mode;

// How often endpoints are looked at, if there are calls. With many endpoints it
// is rarer: this time for each of them is the least.
constexpr int64_t kTick = 25 * kMillisecond;
constexpr int64_t kTickAnEndpoint = 100'000;
// How often, while there is nothing to compare with.
constexpr int64_t kIdleTick = 100 * kMillisecond;
// How many endpoints a caller looks at: well under 100 us.
constexpr size_t kMostLooks = 512;

constexpr uint32_t kFullShare = 255;

// A doubt that is only observed rests as if a trial of this many calls had come
// to nothing.
constexpr uint32_t kObservedTrial = 128;

// How much quicker than an ejected endpoint the others may be and still count
// as slow as it: half of `latency.factor`'s logarithm.
constexpr double kAsSlow = 0.5;

HealthCause CauseOf(Doubt doubt) {
  switch (doubt) {
    case Doubt::kRow:
      return HealthCause::kFailuresInARow;
    case Doubt::kFailures:
      return HealthCause::kFailureRate;
    case Doubt::kSlowness:
      return HealthCause::kSlowAnswers;
  }
  return HealthCause::kFailureRate;
}

}  // namespace

struct HealthMonitor::Outbox {
  HealthChanges changes;
  absl::InlinedVector<LiveEndpoint*, 2> probes;
};

HealthMonitor::HealthMonitor(const options::GuardOptions& options,
                             RetryBudget* budget, Host* host)
    : budget_(budget), host_(host) {
  base::MutexLock lock(&mu_);
  ApplyOptions(options);
}

HealthMonitor::~HealthMonitor() = default;

void HealthMonitor::SetOptions(const options::GuardOptions& options) {
  base::MutexLock lock(&mu_);
  ApplyOptions(options);
  SetDue(0);
}

void HealthMonitor::ApplyOptions(const options::GuardOptions& options) {
  states_.SetOptions(options.outlier_ejection, options.silence);
  ledger_.set_slowness(Slowness::Of(options.outlier_ejection));
  rules_ = TrialRules::Of(options.outlier_ejection.trial_error,
                          Nanos(options.outlier_ejection.latency.min_duration));
  enabled_.store(options.outlier_ejection.mode != Mode::kOff ||
                     options.silence.mode != Mode::kOff,
                 std::memory_order_relaxed);
}

void HealthMonitor::Send(const Outbox& outbox) {
  for (const HealthChange& change : outbox.changes) {
    host_->OnHealthChange(change);
  }
  for (LiveEndpoint* endpoint : outbox.probes) host_->Probe(endpoint);
}

void HealthMonitor::LookAtOnceIfPanicChanged() {
  if (states_.TakePanicChanged()) SetDue(0);
}

// ---- What happens to an endpoint ----

// Handles every end except a unary success, quick enough, on an endpoint of
// which nothing bad is known. It counts first, and takes the lock only when
// something follows.
void HealthMonitor::EndCarefully(LiveEndpoint* endpoint,
                                 const AttemptResult& result, absl::Time now) {
  cluster::EndpointObservations& seen = endpoint->mutable_observations();
  const Health health = endpoint->health();
  Finding finding = ledger_.OnEnd(&seen, result, !IsOut(health), now);
  if (!enabled_.load(std::memory_order_relaxed)) return;
  const bool ended_row = finding.kind == Finding::Kind::kSuccess &&
                         !finding.overloaded && AttemptLedger::EndRow(&seen);
  const bool troubled =
      health != Health::kHealthy || endpoint->share() != kFullShare;
  if (!troubled && !ended_row && !finding.Failed() && !finding.lags &&
      !finding.overloaded && !result.ticket) {
    return;
  }
  const int64_t at = absl::ToUnixNanos(now);
  Outbox outbox;
  {
    base::MutexLock lock(&mu_);
    HealthRecord& record = RecordOf(endpoint);
    if (finding.kind == Finding::Kind::kConnectionFailure) {
      // A lost connection takes many calls with it: one of them counts.
      if (finding.began < record.connection_failed) {
        finding.kind = Finding::Kind::kNothing;
        finding.duplicate = true;
      } else {
        record.connection_failed = at;
      }
    }
    // The timeouts of a suspect say nothing new.
    if (finding.timed_out && health == Health::kSuspect) finding.hasty = true;
    if (finding.kind == Finding::Kind::kFailure) {
      finding.others_fail = doubts_.OthersFail(record.doubts);
    }
    AttemptLedger::CountFailure(&seen, finding);
    if (result.ticket) CountInTrial(endpoint, result, finding, at, &outbox);
    states_.OnAttempt(endpoint, finding, IsSlowProbe(record, result, finding),
                      at, &outbox.changes);
    Weigh(endpoint, result, finding, at, &outbox);
    LookAtOnceIfPanicChanged();
  }
  Send(outbox);
}

std::string HealthMonitor::probe_method() {
  base::MutexLock lock(&mu_);
  return states_.silence().probe_method;
}

void HealthMonitor::OnProbeDone(LiveEndpoint* endpoint, bool answered,
                                absl::Time now) {
  Outbox outbox;
  {
    base::MutexLock lock(&mu_);
    states_.OnProbeDone(endpoint, answered, absl::ToUnixNanos(now),
                        &outbox.changes);
    LookAtOnceIfPanicChanged();
  }
  Send(outbox);
  endpoint->Release();
}

void HealthMonitor::OnDraining(LiveEndpoint* endpoint, absl::Time now) {
  Outbox outbox;
  {
    base::MutexLock lock(&mu_);
    states_.OnDraining(endpoint, absl::ToUnixNanos(now), &outbox.changes);
    LookAtOnceIfPanicChanged();
  }
  Send(outbox);
}

void HealthMonitor::OnConnected(LiveEndpoint* endpoint, absl::Time now) {
  Outbox outbox;
  {
    base::MutexLock lock(&mu_);
    states_.OnConnected(endpoint, absl::ToUnixNanos(now), &outbox.changes);
    LookAtOnceIfPanicChanged();
  }
  Send(outbox);
}

void HealthMonitor::OnMembers(absl::Span<const cluster::Member> members,
                              std::shared_ptr<cluster::LoadShares> shares,
                              int ahead, absl::Time now) {
  // Few of ten thousand endpoints have a record: the lock is held for these.
  HealthStates::Members sorted;
  if (shares != nullptr) sorted = HealthStates::Sort(members, *shares);
  base::MutexLock lock(&mu_);
  if (shares == nullptr) {
    states_.ForgetMembers();
    SetDue(0);  // Nothing is counted.
  } else {
    states_.SetMembers(sorted, std::move(shares), ahead,
                       absl::ToUnixNanos(now));
  }
  LookAtOnceIfPanicChanged();
  // Endpoints dialled a moment ago count until then.
  SetDue(std::min(next_tick_.load(std::memory_order_relaxed),
                  states_.population().dialled_until()));
}

void HealthMonitor::Inherit(LiveEndpoint* from, LiveEndpoint* to) {
  base::MutexLock lock(&mu_);
  if (from->health_memory() == nullptr) return;
  to->health_memory() = std::move(from->health_memory());
  HealthRecord& record = RecordOf(to);
  const cluster::EndpointObservations& before = from->observations();
  cluster::EndpointObservations& seen = to->mutable_observations();
  TakeCounts(seen, &record.looked_at);
  record.streams_begun = seen.streams_begun.load(std::memory_order_relaxed);
  record.claimed = 0;
  record.probe_sent = false;
  if (record.health == Health::kSuspect) {
    record.doubts = DoubtMemory();
  } else {
    Doubts::Rebase(Told(before), Told(seen), &record.doubts);
    FailureRow row(before.consecutive.load(std::memory_order_relaxed));
    row.failures -= std::min(row.failures, row.connection);
    row.connection = 0;
    seen.consecutive.store(row.Packed(), std::memory_order_relaxed);
  }
  if (record.health == Health::kTrial) {
    // Who still picks `from` tosses the coin of the same trial.
    trials_.Move(from->trial(), to, Told(before), Told(seen));
    to->set_trial(from->trial());
  }
  to->set_health(record.health, from->share());
}

// ---- Doubt and trial ----

void HealthMonitor::Weigh(LiveEndpoint* endpoint, const AttemptResult& result,
                          const Finding& finding, int64_t now, Outbox* outbox) {
  HealthRecord& record = RecordOf(endpoint);
  if (states_.ejection().mode == Mode::kOff || endpoint->closed() ||
      (record.health != Health::kHealthy &&
       record.health != Health::kRamping)) {
    return;
  }
  const cluster::EndpointObservations& seen = endpoint->observations();
  std::optional<Doubt> doubt;
  if (finding.Failed()) {
    if (finding.hasty) return;
    const FailureRow row(seen.consecutive.load(std::memory_order_relaxed));
    doubt = doubts_.OnFailure(row.failures, Told(seen), &record.doubts);
  } else if (finding.lags && result.pace != nullptr) {
    const Slowness slowness = ledger_.slowness();
    const int64_t elsewhere = result.pace->Elsewhere(&seen);
    // A call that was given up would have taken longer still.
    const int64_t limit = finding.telling ? elsewhere + slowness.difference
                                          : slowness.Limit(elsewhere);
    if (slowness.factor == 0 || elsewhere == 0 || finding.latency <= limit) {
      return;
    }
    doubt = Doubts::OnSlowAnswer(Told(seen), now, &record.doubts);
  }
  if (doubt.has_value()) Try(endpoint, *doubt, now, outbox);
}

void HealthMonitor::Try(LiveEndpoint* endpoint, Doubt doubt, int64_t now,
                        Outbox* outbox) {
  // A coin needs two places to send to.
  if (states_.population().InUse() < 2) return;
  // Endpoints that are not in doubt may not be flooded, or they get slow. So at
  // most half of a priority is on trial for slowness; one endpoint always may
  // be. The doubt stays, and comes again. (Where failures are the doubt, all
  // may be on trial: then calls go to the next priority.)
  const Population& population = states_.population();
  const size_t place = population.PlaceOf(*endpoint);
  const uint32_t on_trial = trials_.CountOf(endpoint->priority());
  if (doubt == Doubt::kSlowness && on_trial > 0 &&
      (place == population.size() ||
       2 * (on_trial + 1) > population[place].InUse())) {
    return;
  }
  HealthRecord& record = RecordOf(endpoint);
  const uint32_t ended = Told(endpoint->observations());
  if (states_.ejection().mode == Mode::kObserve) {
    HealthStates::TellOfDoubt(endpoint, CauseOf(doubt), now, &outbox->changes);
    Doubts::Acquit(doubt, kObservedTrial, ended, ended, &record.doubts);
    return;
  }
  const int64_t slow_since =
      doubt == Doubt::kSlowness ? record.doubts.slow_since : now;
  const uint32_t number =
      trials_.Begin(Trial(doubt, slow_since), endpoint, ended, now);
  states_.BeginTrial(endpoint, number, CauseOf(doubt), now, &outbox->changes);
}

void HealthMonitor::CountInTrial(LiveEndpoint* endpoint,
                                 const AttemptResult& result,
                                 const Finding& finding, int64_t now,
                                 Outbox* outbox) {
  const uint32_t number = result.ticket.trial();
  Trials::Running* const running = trials_.Find(number);
  if (running == nullptr) return;
  TrialCall call;
  call.here = result.ticket.here();
  call.failed = finding.Failed();
  // Endpoints of another priority may be far away. But leaving out the calls
  // that went there would make it depend on their side which calls are
  // compared.
  if (endpoint->priority() != running->priority) {
    running->trial.IgnoreSlowness();
  }
  // There is something to compare with while some endpoint of its priority is
  // not in doubt. The side of the call has no part in that.
  const Population& population = states_.population();
  const size_t place = population.PlaceOf(*endpoint);
  const Slowness slowness = ledger_.slowness();
  if (finding.unary && !call.failed && !finding.duplicate &&
      result.pace != nullptr && slowness.factor > 0 &&
      place < population.size() &&
      population[place].InUse() > trials_.CountOf(running->priority)) {
    const int64_t usual = result.pace->UsualIn(running->epoch);
    call.timed = usual > 0;
    call.slow = call.timed && (finding.latency > slowness.Limit(usual) ||
                               (finding.telling && finding.lags &&
                                finding.latency > usual + slowness.difference));
  }
  if (call.here && call.slow) {
    running->slow.Add(result.pace, LogOf(finding.latency) / 256.0);
  }
  running->trial.Count(call, now);
  if (running->endpoint == endpoint && endpoint->trial() == number) {
    return Settle(endpoint, number, running, now, outbox);
  }
  // The next call that begins holds that endpoint, and does what follows.
  if (running->trial.Judge(rules_, now) == Ruling::kNone) {
    return running->trial.Resume(rules_);
  }
  trials_.SetDue(number, running);
  // An endpoint that could not be ejected is tried again by the next look that
  // is due.
  if (!running->refused) SetDue(0);
}

void HealthMonitor::Settle(LiveEndpoint* endpoint, uint32_t number,
                           Trials::Running* running, int64_t now,
                           Outbox* outbox) {
  HealthRecord& record = RecordOf(endpoint);
  const Trial& trial = running->trial;
  bool over = false;
  const Ruling ruling = trial.Judge(rules_, now);
  switch (ruling) {
    case Ruling::kNone:
      break;
    case Ruling::kFails:
      over = states_.Eject(endpoint, HealthCause::kFailures, now,
                           &outbox->changes);
      if (over) Doubts::Forget(&record.doubts);
      break;
    case Ruling::kSlow:
      over = states_.EjectForLatency(endpoint, running->slow, now,
                                     &outbox->changes);
      if (over) Doubts::Forget(&record.doubts);
      break;
    case Ruling::kAcquitted:
      over = true;
      Doubts::Acquit(trial.doubt(), trial.calls(), running->began,
                     Told(endpoint->observations()), &record.doubts);
      states_.EndTrial(endpoint, now, &outbox->changes);
      break;
  }
  if (over) {
    trials_.End(number);
  } else {
    // The trial goes on while it may not be ejected.
    running->refused |= ruling != Ruling::kNone;
    running->trial.Resume(rules_);
  }
}

void HealthMonitor::SettleDue(
    absl::Span<const cluster::LiveEndpointPtr> endpoints, int64_t now,
    Outbox* outbox) {
  for (const uint32_t number : trials_.TakeDue()) {
    const auto found = std::find_if(
        endpoints.begin(), endpoints.end(),
        [number](const auto& live) { return live->trial() == number; });
    Trials::Running* const running = trials_.Find(number);
    if (running == nullptr || found == endpoints.end()) continue;
    Settle(found->get(), number, running, now, outbox);
  }
}

// An endpoint that was silent may be slow now because all are. One that failed
// is judged by its failures.
bool HealthMonitor::IsSlowProbe(const HealthRecord& record,
                                const AttemptResult& result,
                                const Finding& finding) const {
  return record.health == Health::kProbing &&
         record.cause == HealthCause::kLatency &&
         finding.kind == Finding::Kind::kSuccess && finding.unary &&
         result.pace != nullptr &&
         finding.latency > ledger_.slowness().Limit(result.pace->usual());
}

// The other endpoints have slowed since, perhaps because they carry its load.
// Then keeping it out of use helps nobody.
bool HealthMonitor::PeersAreAsSlow(const HealthRecord& record,
                                   int64_t now) const {
  if (record.cause != HealthCause::kLatency) return false;
  const SlowMethod& slow = record.slow_for;
  const int64_t usual = slow.pace == nullptr ? 0 : slow.pace->usual();
  const double factor = ledger_.slowness().factor;
  return usual > 0 && factor > 0 &&
         LogOf(usual) / 256.0 >= slow.log - kAsSlow * std::log2(factor) &&
         now - record.since >= record.ejections * kSecond;
}

// ---- Looks ----

void HealthMonitor::Tick(absl::Span<const cluster::LiveEndpointPtr> endpoints,
                         absl::Time now) {
  if (!mu_.TryLock()) return;
  const int64_t at = absl::ToUnixNanos(now);
  if (at < next_tick_.load(std::memory_order_relaxed)) {
    mu_.Unlock();
    return;  // Another thread has just been here.
  }
  const int64_t period = std::max<int64_t>(
      kTick, static_cast<int64_t>(endpoints.size()) * kTickAnEndpoint);
  Outbox outbox;
  // No other thread looks meanwhile.
  SetDue(kNever);
  if (trials_.some_due()) SettleDue(endpoints, at, &outbox);
  if (look_.cursor == 0) BeginLook(period, at);
  for (size_t left = kMostLooks; left > 0 && look_.cursor < endpoints.size();
       --left, ++look_.cursor) {
    Look(endpoints[look_.cursor].get(), at, &outbox);
  }
  const bool done = look_.cursor >= endpoints.size();
  if (done) EndLook();
  int64_t next = at;
  if (done) {
    // In every mode, since retries read what calls usually take.
    next +=
        look_.stalled || states_.population().total() >= 2 ? period : kIdleTick;
  }
  SetDue(next);
  LookAtOnceIfPanicChanged();
  mu_.Unlock();
  Send(outbox);
}

void HealthMonitor::BeginLook(int64_t period, int64_t now) {
  // A process that has not looked for long has perhaps not run. Then others
  // wait for what is answered already. So the next look is believed, not this
  // one.
  const bool late = now - look_.began > 4 * period && look_.began != 0;
  look_.stalled = late && !look_.stalled;
  look_.began = now;
  states_.BeginCount();
  doubts_.BeginLook();
  trials_.BeginLook();
  usual_.Refresh(now, &ledger_);
}

void HealthMonitor::EndLook() {
  look_.cursor = 0;
  states_.FinishCount();
  doubts_.EndLook();
  trials_.EndLook();
}

void HealthMonitor::Look(LiveEndpoint* endpoint, int64_t now, Outbox* outbox) {
  const bool ready = endpoint->readiness() == Readiness::kReady;
  if (endpoint->closed()) return;
  if (!ready && endpoint->health() == Health::kHealthy) {
    return states_.CountUnconnected(*endpoint, now);
  }
  HealthRecord& record = RecordOf(endpoint);
  const bool peers_are_as_slow =
      record.health == Health::kEjected && PeersAreAsSlow(record, now);
  states_.Advance(endpoint, peers_are_as_slow, now, &outbox->changes);

  const Counted counted =
      TakeCounts(endpoint->observations(), &record.looked_at);
  usual_.AddAnswers(counted.ended);
  doubts_.Count(counted, Told(endpoint->observations()), &record.doubts);
  if (record.health == Health::kTrial) {
    if (trials_.Find(endpoint->trial()) != nullptr) {
      trials_.Saw(endpoint->trial());
    } else {
      // As endpoints came and went, another look may have passed it already.
      states_.EndTrial(endpoint, now, &outbox->changes);
    }
  }
  if (ready && !IsOut(record.health)) LookForSilence(endpoint, now, outbox);
  if (ready && record.health == Health::kSuspect) {
    SendProbe(endpoint, now, outbox);
  }

  states_.Publish(endpoint, now);
  states_.Count(*endpoint, record);
}

void HealthMonitor::LookForSilence(LiveEndpoint* endpoint, int64_t now,
                                   Outbox* outbox) {
  const cluster::EndpointObservations& seen = endpoint->observations();
  SilenceCounts counts;
  counts.unanswered = seen.silence.unanswered();
  counts.awaited = seen.awaiting() != 0;
  counts.quiet_since = seen.silence.quiet_since.load(std::memory_order_relaxed);
  SilencePeers peers;
  peers.stalled = look_.stalled;
  peers.usual_p99 = usual_.p99();
  peers.usual_most = std::max(usual_.slowest_before(), ledger_.slowest());
  const std::optional<int64_t> silence = FindSilence(
      counts, peers, states_.silence(), now, &RecordOf(endpoint).patience);
  if (silence.has_value()) {
    states_.OnSilence(endpoint, *silence, now, &outbox->changes);
  }
}

void HealthMonitor::SendProbe(LiveEndpoint* endpoint, int64_t now,
                              Outbox* outbox) {
  HealthRecord& record = RecordOf(endpoint);
  if (record.probe_sent || now < record.next_probe) return;
  // Retries may leave the budget empty for long. A probe per second is owed all
  // the same.
  const absl::Time at = absl::FromUnixNanos(now);
  const bool owed = now - record.probed >= kSecond;
  if (budget_ != nullptr && !owed && !budget_->TryWithdraw(at)) {
    record.next_probe = now + kProbeAgain;
    return;
  }
  if (!endpoint->Acquire()) return;
  if (budget_ != nullptr && owed) budget_->Overdraw(at);
  record.probe_sent = true;
  record.probed = now;
  outbox->probes.push_back(endpoint);
}

}  // namespace mesh::resilience
