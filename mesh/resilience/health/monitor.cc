#include "mesh/resilience/health/monitor.h"

#include <algorithm>
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

// How often endpoints are looked at, if there are calls; and no endpoint more
// often than this for each that there is.
constexpr int64_t kTick = 25 * kMillisecond;
constexpr int64_t kTickAnEndpoint = 100'000;
// While there is nothing to compare.
constexpr int64_t kIdleTick = 100 * kMillisecond;
// A caller looks at so many endpoints: well under 100 us.
constexpr size_t kMostLooks = 512;

constexpr uint32_t kFullShare = 255;

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
  SetDue(enabled_.load(std::memory_order_relaxed) ? 0 : kNever);
}

HealthMonitor::~HealthMonitor() = default;

void HealthMonitor::SetOptions(const options::GuardOptions& options) {
  base::MutexLock lock(&mu_);
  ApplyOptions(options);
  SetDue(0);
}

void HealthMonitor::ApplyOptions(const options::GuardOptions& options) {
  states_.SetOptions(options.outlier_ejection, options.black_hole);
  comparisons_.SetOptions(options.outlier_ejection);
  const bool enabled = options.outlier_ejection.mode != Mode::kOff ||
                       options.black_hole.mode != Mode::kOff;
  enabled_.store(enabled, std::memory_order_relaxed);
  // Nobody looks any more.
  if (!enabled) ledger_.set_p10_latency(0);
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

// What is not a unary success on an endpoint of which nothing bad is known.
// Counts first, and takes the lock only when something follows from it.
void HealthMonitor::EndCarefully(LiveEndpoint* endpoint,
                                 const AttemptResult& result, absl::Time now) {
  cluster::EndpointObservations& seen = endpoint->observations();
  const Health health = endpoint->health();
  const Finding finding = ledger_.OnEnd(&seen, result, !IsOut(health), now);
  if (!enabled_.load(std::memory_order_relaxed)) return;
  const uint64_t row =
      ledger_.CountRow(&seen, finding, health == Health::kSuspect);
  const bool troubled =
      health != Health::kHealthy || endpoint->share() != kFullShare;
  if (!troubled && (finding.kind == Finding::Kind::kNothing ||
                    (finding.kind == Finding::Kind::kSuccess && row == 0))) {
    return;
  }
  const int64_t at = absl::ToUnixNanos(now);
  Outbox outbox;
  {
    base::MutexLock lock(&mu_);
    const HealthRecord& record = RecordOf(endpoint);
    const bool slow = record.health == Health::kProbing &&
                      comparisons_.IsSlowProbe(record, finding);
    states_.OnAttempt(endpoint, finding, slow, at, &outbox.changes);
    LookAtOnceIfPanicChanged();
  }
  Send(outbox);
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
  // Of ten thousand endpoints few are known: the lock is held for these.
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
  // Without an enforced policy nobody looks otherwise.
  SetDue(std::min(next_tick_.load(std::memory_order_relaxed),
                  states_.population().dialled_until()));
}

void HealthMonitor::Inherit(LiveEndpoint* from, LiveEndpoint* to) {
  base::MutexLock lock(&mu_);
  if (from->health_memory() == nullptr) return;
  to->health_memory() = std::move(from->health_memory());
  HealthRecord& record = RecordOf(to);
  // Those were counts of the other connection.
  record.looked_at = LookedAt();
  record.probe_sent = false;
  record.claimed = 0;
  to->set_health(record.health, from->share());
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
  // Nobody else comes meanwhile.
  SetDue(kNever);
  size_t left = kMostLooks;
  bool done = false;
  if (!look_.comparing) {
    if (look_.cursor == 0) BeginLook(period, at);
    for (; left > 0 && look_.cursor < endpoints.size();
         --left, ++look_.cursor) {
      Look(look_.cursor, endpoints[look_.cursor].get(), at, &outbox);
    }
    if (look_.cursor >= endpoints.size()) {
      states_.FinishCount();
      comparisons_.EndLook(states_.population().InUse(), at);
      look_.comparing = true;
      look_.cursor = 0;
    }
  }
  if (look_.comparing) done = Compare(endpoints, left, at, &outbox);
  int64_t next = at;
  if (done) {
    next +=
        look_.stalled || states_.population().total() >= 2 ? period : kIdleTick;
    if (!enabled_.load(std::memory_order_relaxed)) {
      next = states_.population().dialled_until();
    }
  }
  SetDue(next);
  LookAtOnceIfPanicChanged();
  mu_.Unlock();
  Send(outbox);
}

void HealthMonitor::BeginLook(int64_t period, int64_t now) {
  // Whoever has not looked for long has perhaps not run, and others wait for
  // what is answered already: the next look is believed.
  const bool late = now - look_.began > 4 * period && look_.began != 0;
  look_.stalled = late && !look_.stalled;
  look_.began = now;
  states_.BeginCount();
  comparisons_.BeginLook(now);
  usual_.Refresh(states_.ejection().latency, now, &ledger_);
}

void HealthMonitor::Look(size_t index, LiveEndpoint* endpoint, int64_t now,
                         Outbox* outbox) {
  const bool ready = endpoint->readiness() == Readiness::kReady;
  if (endpoint->closed()) return;
  if (!ready && endpoint->health() == Health::kHealthy) {
    return states_.CountUnconnected(*endpoint, now);
  }
  HealthRecord& record = RecordOf(endpoint);
  const bool peers_are_as_slow = record.health == Health::kEjected &&
                                 comparisons_.PeersAreAsSlow(record, now);
  states_.Advance(endpoint, peers_are_as_slow, now, &outbox->changes);

  const Counted counted =
      TakeCounts(endpoint->observations(), &record.looked_at);
  usual_.AddAnswers(counted.timed);
  comparisons_.Count(counted, &record);
  if (ready && !IsOut(record.health)) LookForSilence(endpoint, now, outbox);
  if (ready && record.health == Health::kSuspect) {
    SendProbe(endpoint, now, outbox);
  }

  states_.Publish(endpoint, now);
  states_.Count(*endpoint, record);
  comparisons_.Take(index, endpoint, &record);
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

bool HealthMonitor::Compare(
    absl::Span<const cluster::LiveEndpointPtr> endpoints, size_t most,
    int64_t now, Outbox* outbox) {
  const size_t latencies = comparisons_.latencies();
  const size_t all = latencies + comparisons_.successes();
  for (; most > 0 && look_.cursor < all; --most, ++look_.cursor) {
    const bool by_latency = look_.cursor < latencies;
    const size_t place = by_latency ? look_.cursor : look_.cursor - latencies;
    const HealthComparisons::Subject subject =
        by_latency ? comparisons_.latency_subject(place)
                   : comparisons_.success_subject(place);
    // Endpoints may have come and gone since they were looked at.
    if (subject.index >= endpoints.size()) continue;
    LiveEndpoint* const endpoint = endpoints[subject.index].get();
    if (endpoint != subject.endpoint) continue;
    if (!by_latency) {
      CompareSuccess(place, endpoint, now, outbox);
      continue;
    }
    const std::optional<double> latency =
        comparisons_.CompareLatency(place, now, &RecordOf(endpoint));
    if (latency.has_value()) {
      states_.EjectForLatency(endpoint, *latency, now, &outbox->changes);
    }
  }
  if (look_.cursor < all) return false;
  look_.comparing = false;
  look_.cursor = 0;
  return true;
}

void HealthMonitor::CompareSuccess(size_t place, LiveEndpoint* endpoint,
                                   int64_t now, Outbox* outbox) {
  const HealthRecord& record = RecordOf(endpoint);
  if (IsOut(record.health)) return;
  if (comparisons_.SuccessRateIsLow(place)) {
    states_.Eject(endpoint, HealthCause::kSuccessRate, now, &outbox->changes);
    if (IsOut(record.health)) return;
  }
  if (comparisons_.FailurePercentageIsHigh(place)) {
    states_.Eject(endpoint, HealthCause::kFailurePercentage, now,
                  &outbox->changes);
  }
}

void HealthMonitor::SendProbe(LiveEndpoint* endpoint, int64_t now,
                              Outbox* outbox) {
  HealthRecord& record = RecordOf(endpoint);
  if (record.probe_sent || now < record.next_probe) return;
  // Retries may leave the budget empty for long: one probe a second is owed.
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
