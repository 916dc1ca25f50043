#include "mesh/resilience/health_monitor.h"

#include <cmath>
#include <limits>

#include "absl/container/inlined_vector.h"
#include "mesh/resilience/failures.h"

namespace mesh::resilience {
namespace {

using cluster::EndpointObservations;
using cluster::Health;
using cluster::HealthCause;
using cluster::HealthRecord;
using cluster::LiveEndpoint;
using cluster::Readiness;
using options::Mode;

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kSecond = 1000 * kMillisecond;

// How often endpoints are looked at, if there are calls; and no endpoint more
// often than this for each that there is.
constexpr int64_t kTick = 25 * kMillisecond;
constexpr int64_t kTickAnEndpoint = 100'000;
// While there is nothing to compare.
constexpr int64_t kIdleTick = 100 * kMillisecond;
// A caller looks at so many endpoints: well under 100 us.
constexpr size_t kMostLooks = 512;

constexpr uint32_t kFullShare = 255;
// What an endpoint that returns begins with: a tenth.
constexpr uint32_t kLeastShare = 26;

// ---- Silence ----

// So many attempts, begun at different times and none of them answered, tell
// in half the time.
constexpr int32_t kPlenty = 8;
constexpr int64_t kProbeAgain = 100 * kMillisecond;
constexpr int kMostPatience = 4;  // Sixteen times.
// Each doubling of it, since it was last of use.
constexpr int64_t kPatienceLasts = 60 * kSecond;
// The slowest call of one to two of this is remembered.
constexpr int64_t kSlowestFor = 60 * kSecond;

// ---- Latency ----

// Log2 of a latency varies by so much until more is known: a factor of four
// either way.
constexpr double kFirstVariance = 4;
constexpr double kLeastVariance = 0.01;
// It is found from how much an endpoint's latency differs from one comparison
// to the next, which one that is always slow does not change. What one such
// difference weighs.
constexpr double kVarianceWeight = 1.0 / 64;
// Evidence of slowness, in log2 of latency, that is no chance: a random walk
// whose steps vary by v and go down by d on average climbs to h with a
// probability of exp(-2 d h / v) or less. Half of that exponent for tails that
// are longer than a normal distribution's, and one in 10^13.
constexpr double kCertainty = 30;
constexpr double kLeastEvidence = 12;
// A comparison waits until so many have reported, or for the interval.
constexpr uint32_t kEnoughReporters = 5;
// Among so many the median of the others is not that of all.
constexpr size_t kFew = 32;
constexpr double kReferenceWeight = 0.2;
// Of so many answers is the mean that tells how slow the peers are now.
constexpr double kRecentAnswers = 100;
// A probe is slow that is so many standard deviations from its peers.
constexpr double kSlowProbeDeviations = 2.5;

// A server that has said that it is draining and is still connected after so
// long is tried again.
constexpr int64_t kDrainingFor = 10 * kSecond;

// Failures in a row that end a ramp.
constexpr uint32_t kMostWhileRamping = 3;

int64_t Nanos(absl::Duration duration) {
  return absl::ToInt64Nanoseconds(duration);
}

bool IsOut(Health health) {
  return health == Health::kSuspect || health == Health::kEjected ||
         health == Health::kProbing;
}

bool IsSilence(HealthCause cause) { return cause == HealthCause::kSilence; }

// It is of a connection, or what is behind it, and goes with it.
bool EndsWithConnection(HealthCause cause) {
  return cause == HealthCause::kSilence ||
         cause == HealthCause::kConsecutiveLocalFailures ||
         cause == HealthCause::kDraining;
}

// Counts against max_ejection_percent.
bool CountsAsEjected(const HealthRecord& record) {
  // What leaves by itself takes no place of what fails.
  if (record.cause == HealthCause::kDraining) return false;
  return record.health == Health::kEjected ||
         (record.health == Health::kProbing && !IsSilence(record.cause));
}

// What most calls take. 0 while that is not known.
int64_t UsualAge(const std::atomic<int64_t>& telling_age) {
  const int64_t age = telling_age.load(std::memory_order_relaxed);
  return age == kNever ? 0 : age;
}

struct Consecutive {
  explicit Consecutive(uint64_t packed)
      : failures(packed & 0xffff),
        gateway(packed >> EndpointObservations::kGatewayShift & 0xffff),
        local(packed >> EndpointObservations::kLocalShift & 0xffff) {}
  uint64_t Packed() const {
    return uint64_t{std::min(failures, 0xffffu)} |
           uint64_t{std::min(gateway, 0xffffu)}
               << EndpointObservations::kGatewayShift |
           uint64_t{std::min(local, 0xffffu)}
               << EndpointObservations::kLocalShift;
  }
  uint32_t Most() const { return std::max({failures, gateway, local}); }

  uint32_t failures;
  uint32_t gateway;
  uint32_t local;
};

// An endpoint that fails fast is always idle, so that least request would send
// it more than its part: each failure in a row after the first halves what it
// gets.
uint32_t WaryShare(uint64_t consecutive) {
  if (ABSL_PREDICT_TRUE(consecutive == 0)) return kFullShare;
  const uint32_t most = Consecutive(consecutive).Most();
  if (most < 2) return kFullShare;
  return std::max(kFullShare >> std::min(most - 1, 4u), kLeastShare / 2);
}

int32_t Silent(const EndpointObservations& seen) {
  return static_cast<int32_t>(seen.begun.load(std::memory_order_relaxed) -
                              seen.accounted.load(std::memory_order_relaxed));
}

// Whatever waits now is no evidence any more.
void ForgetSilence(EndpointObservations* seen) {
  seen->accounted.store(seen->begun.load(std::memory_order_relaxed),
                        std::memory_order_relaxed);
}

void ForgetSlowness(HealthRecord* record) {
  record->timed = 0;
  record->log_latency = 0;
  record->slow_evidence = 0;
}

}  // namespace

// What the host is told once the lock is released.
class HealthMonitor::Outbox {
 public:
  explicit Outbox(Host* host) : host_(host) {}
  void Add(const HealthChange& change) { changes_.push_back(change); }
  void Probe(LiveEndpoint* endpoint) { probes_.push_back(endpoint); }
  void Send() {
    for (const HealthChange& change : changes_) host_->OnHealthChange(change);
    for (LiveEndpoint* endpoint : probes_) host_->Probe(endpoint);
  }

 private:
  Host* const host_;
  absl::InlinedVector<HealthChange, 2> changes_;
  absl::InlinedVector<LiveEndpoint*, 2> probes_;
};

// What an attempt says of its endpoint.
struct HealthMonitor::Verdict {
  enum class Kind : uint8_t { kSuccess, kFailure, kLocalFailure, kNothing };
  Kind kind = Kind::kNothing;
  bool unary = true;
  bool telling = false;  // kNothing: left unanswered for longer than the peers
                         // take, as a hedge's rival is.
  int64_t began = 0;
  int64_t latency = 0;
};

HealthMonitor::HealthMonitor(const options::GuardOptions& options,
                             RetryBudget* budget, Host* host)
    : budget_(budget),
      host_(host),
      telling_age_(kNever),
      variance_(kFirstVariance) {
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
  ejection_ = options.outlier_ejection;
  black_hole_ = options.black_hole;
  slow_from_ = std::log2(std::max(ejection_.latency.factor, 1.1));
  const bool enabled =
      ejection_.mode != Mode::kOff || black_hole_.mode != Mode::kOff;
  enabled_.store(enabled, std::memory_order_relaxed);
  // Nobody looks any more.
  if (!enabled) p10_latency_.store(0, std::memory_order_relaxed);
}

// ---- Attempts ----

// What is not a unary success on an endpoint of which nothing bad is known.
// Counts first, and takes the lock only when something follows from it.
void HealthMonitor::EndCarefully(LiveEndpoint* endpoint,
                                 const AttemptResult& result, absl::Time now) {
  using Kind = Verdict::Kind;
  EndpointObservations& seen = endpoint->observations();
  const Health health = endpoint->health();
  const bool in_use = !IsOut(health);
  const bool timed_out =
      result.local && result.code == absl::StatusCode::kDeadlineExceeded;

  Verdict verdict;
  verdict.unary = result.unary;
  verdict.latency = std::max<int64_t>(0, Nanos(result.latency));
  const int64_t at = absl::ToUnixNanos(now);
  verdict.began = at - verdict.latency;
  // A stream that lives until its deadline is as it should be.
  if (result.given_up || result.never_sent || (timed_out && !result.unary) ||
      (result.local && result.code == absl::StatusCode::kCancelled)) {
    verdict.kind = Kind::kNothing;
  } else if (result.local) {
    verdict.kind = Kind::kLocalFailure;
  } else if (kFailures.Contains(result.code)) {
    verdict.kind = Kind::kFailure;
  } else {
    verdict.kind = Kind::kSuccess;
  }

  switch (verdict.kind) {
    case Kind::kSuccess:
      break;
    case Kind::kFailure:
      seen.failures.fetch_add(1, std::memory_order_relaxed);
      break;
    case Kind::kLocalFailure:
      seen.local_failures.fetch_add(1, std::memory_order_relaxed);
      break;
    case Kind::kNothing:
      seen.discounted.fetch_add(1, std::memory_order_relaxed);
      break;
  }
  if (!result.unary) {
    seen.streams_ended.fetch_add(1, std::memory_order_relaxed);
  } else if (verdict.kind == Kind::kSuccess && in_use) {
    CountAnswer(&seen, verdict.latency, now);
  } else {
    const bool telling =
        (timed_out || result.given_up) && !result.never_sent &&
        verdict.latency >= telling_age_.load(std::memory_order_relaxed);
    verdict.telling = telling;
    uint64_t ended = 1;
    if (telling && in_use) {
      ended |= uint64_t{std::min(LogOf(verdict.latency),
                                 most_log_.load(std::memory_order_relaxed))}
               << EndpointObservations::kEndedBits;
    } else {
      seen.untimed.fetch_add(1, std::memory_order_relaxed);
    }
    seen.ended.fetch_add(ended, std::memory_order_release);
    if (verdict.kind == Kind::kNothing && !telling) {
      if (Silent(seen) > 0 &&
          verdict.began >= seen.quiet_since.load(std::memory_order_relaxed)) {
        seen.accounted.fetch_add(1, std::memory_order_relaxed);
      }
    } else if (!telling && !timed_out) {
      // It was answered; or its connection is gone, and all that waited there.
      ForgetSilence(&seen);
    }
  }
  if (!enabled_.load(std::memory_order_relaxed)) return;

  uint64_t before = seen.consecutive.load(std::memory_order_relaxed);
  switch (verdict.kind) {
    case Kind::kSuccess:
      if (before != 0) seen.consecutive.store(0, std::memory_order_relaxed);
      break;
    case Kind::kFailure:
    case Kind::kLocalFailure: {
      // That a silent peer lets attempts time out is known.
      if (health == Health::kSuspect && timed_out) break;
      // And that a deadline passes that is shorter than most calls take.
      if (timed_out && (verdict.latency < kMillisecond ||
                        verdict.latency < UsualAge(telling_age_))) {
        break;
      }
      Consecutive after(before);
      do {
        after = Consecutive(before);
        if (verdict.kind == Kind::kLocalFailure) {
          ++after.local;
        } else {
          after.local = 0;
          ++after.failures;
          after.gateway = result.code == absl::StatusCode::kUnavailable
                              ? after.gateway + 1
                              : 0;
        }
      } while (!seen.consecutive.compare_exchange_weak(
          before, after.Packed(), std::memory_order_relaxed));
      break;
    }
    case Kind::kNothing:
      break;
  }

  const bool troubled =
      health != Health::kHealthy || endpoint->share() != kFullShare;
  if (!troubled && (verdict.kind == Kind::kNothing ||
                    (verdict.kind == Kind::kSuccess && before == 0))) {
    return;
  }
  Outbox outbox(host_);
  {
    base::MutexLock lock(&mu_);
    JudgeAttempt(endpoint, verdict, at, &outbox);
  }
  outbox.Send();
}

void HealthMonitor::JudgeAttempt(LiveEndpoint* endpoint, const Verdict& verdict,
                                 int64_t now, Outbox* outbox) {
  using Kind = Verdict::Kind;
  const HealthRecord& record = endpoint->health_record();
  switch (record.health) {
    case Health::kHealthy:
    case Health::kRamping: {
      if (verdict.kind == Kind::kNothing) return;
      const Consecutive row(
          endpoint->observations().consecutive.load(std::memory_order_relaxed));
      auto reached = [&record](uint32_t count, int limit) {
        if (limit <= 0) return false;
        auto most = static_cast<uint32_t>(limit);
        if (record.health == Health::kRamping) {
          most = std::min(most, kMostWhileRamping);
        }
        return count >= most;
      };
      if (verdict.kind != Kind::kSuccess && ejection_.mode != Mode::kOff) {
        if (reached(row.gateway, ejection_.consecutive_gateway_failures)) {
          Eject(endpoint, HealthCause::kConsecutiveGatewayFailures, now,
                outbox);
        } else if (reached(row.failures, ejection_.consecutive_failures)) {
          Eject(endpoint, HealthCause::kConsecutiveFailures, now, outbox);
        } else if (reached(row.local, ejection_.consecutive_local_failures)) {
          Eject(endpoint, HealthCause::kConsecutiveLocalFailures, now, outbox);
        }
      }
      if (record.health == Health::kHealthy) Publish(endpoint, now);
      return;
    }
    case Health::kProbing:
      return JudgeProbing(endpoint, verdict, now, outbox);
    case Health::kSuspect:
      // It goes on: what waited is answered.
      if (verdict.kind == Kind::kSuccess || verdict.kind == Kind::kFailure) {
        LearnPatience(endpoint, now);
        BeginProbing(endpoint, HealthCause::kProbeAnswered, now, outbox);
      }
      return;
    case Health::kEjected:
      return;
  }
}

void HealthMonitor::JudgeProbing(LiveEndpoint* endpoint, const Verdict& verdict,
                                 int64_t now, Outbox* outbox) {
  using Kind = Verdict::Kind;
  HealthRecord& record = endpoint->health_record();
  // Begun before, and late: it says nothing of how the endpoint does now.
  if (verdict.began < record.since) return;
  switch (verdict.kind) {
    case Kind::kNothing:
      // Another attempt was quicker, each time.
      if (verdict.telling && ++record.slow >= 2) {
        if (Eject(endpoint, HealthCause::kLatency, now, outbox)) {
          record.ejected_log = LogOf(verdict.latency) / 256.0;
          return;
        }
        record.slow = 0;
      }
      break;
    case Kind::kSuccess: {
      // Who was silent may be slow now because all are: comparisons will tell.
      bool slow = false;
      if (IsSilence(record.cause) && verdict.unary) {
        ++record.timed;
        record.log_latency +=
            std::min(LogOf(verdict.latency),
                     most_log_.load(std::memory_order_relaxed)) /
            256.0;
      }
      if (!IsSilence(record.cause) && verdict.unary && reference_ > 0 &&
          ejection_.mode == Mode::kEnforce && ejection_.latency.enabled) {
        const double reference = std::max(reference_, recent_log_);
        const double usual = std::exp2(reference);
        slow = LogOf(verdict.latency) / 256.0 >
                   reference + std::max(slow_from_, kSlowProbeDeviations *
                                                        std::sqrt(variance_)) &&
               static_cast<double>(verdict.latency) - usual >=
                   static_cast<double>(Nanos(ejection_.latency.min_difference));
      }
      if (slow) {
        if (++record.slow >= 2 &&
            Eject(endpoint, HealthCause::kLatency, now, outbox)) {
          record.ejected_log = LogOf(verdict.latency) / 256.0;
          return;
        }
        break;
      }
      if (++record.good >= (EndsWithConnection(record.cause) ? 1 : 2)) {
        return BeginRamp(endpoint, HealthCause::kProbeAnswered, now, outbox);
      }
      break;
    }
    case Kind::kFailure:
    case Kind::kLocalFailure:
      if (Eject(endpoint, HealthCause::kProbeFailed, now, outbox)) return;
      // It may not be ejected. Silent again? Otherwise it is at work.
      if (verdict.kind == Kind::kFailure) {
        return BeginRamp(endpoint, HealthCause::kProbeAnswered, now, outbox);
      }
      record.next_probe = now + kSecond;
      record.silence = 0;
      return Change(endpoint, Health::kSuspect, HealthCause::kProbeFailed, now,
                    outbox);
  }
  // The next one.
  FreePlace(endpoint);
  if (!panic_) endpoint->set_health(Health::kProbing, LiveEndpoint::kProbeFree);
}

// Of what is probed: nobody has taken it.
void HealthMonitor::FreePlace(LiveEndpoint* endpoint) {
  HealthRecord& record = endpoint->health_record();
  record.claimed = 0;
  record.streams_begun =
      endpoint->observations().streams_begun.load(std::memory_order_relaxed);
}

// A suspect has answered. If it was soon, there was a call that takes long, or
// a pause of the process: next time it may be silent for twice as long.
void HealthMonitor::LearnPatience(LiveEndpoint* endpoint, int64_t now) {
  HealthRecord& record = endpoint->health_record();
  if (now - record.since >= 2 * record.silence) return;
  record.patience = std::min(record.patience + 1, kMostPatience);
  record.patience_since = now;
}

void HealthMonitor::OnProbeDone(LiveEndpoint* endpoint, bool answered,
                                absl::Time now) {
  const int64_t at = absl::ToUnixNanos(now);
  Outbox outbox(host_);
  {
    base::MutexLock lock(&mu_);
    HealthRecord& record = endpoint->health_record();
    record.probe_sent = false;
    if (record.health == Health::kSuspect) {
      if (answered) {
        LearnPatience(endpoint, at);
        BeginProbing(endpoint, HealthCause::kProbeAnswered, at, &outbox);
      } else {
        record.next_probe = at + kProbeAgain;
      }
    }
  }
  outbox.Send();
  endpoint->Release();
}

// Not bounded by max_ejection_percent, as it is the server's own word: panic is
// bound enough when all of them say so.
void HealthMonitor::OnDraining(LiveEndpoint* endpoint, absl::Time now) {
  const int64_t at = absl::ToUnixNanos(now);
  Outbox outbox(host_);
  {
    base::MutexLock lock(&mu_);
    HealthRecord& record = endpoint->health_record();
    if (ejection_.mode != Mode::kEnforce || total_ < 2 ||
        record.health == Health::kEjected) {
      return;
    }
    record.until = at + kDrainingFor;
    record.cause = HealthCause::kDraining;
    Change(endpoint, Health::kEjected, HealthCause::kDraining, at, &outbox);
  }
  outbox.Send();
}

void HealthMonitor::OnConnected(LiveEndpoint* endpoint, absl::Time now) {
  const int64_t at = absl::ToUnixNanos(now);
  EndpointObservations& seen = endpoint->observations();
  ForgetSilence(&seen);
  Outbox outbox(host_);
  {
    base::MutexLock lock(&mu_);
    HealthRecord& record = endpoint->health_record();
    switch (record.health) {
      case Health::kSuspect:
      case Health::kEjected:
      case Health::kProbing: {
        if (record.health != Health::kSuspect &&
            !EndsWithConnection(record.cause)) {
          break;
        }
        if (record.health == Health::kEjected) record.returned = at;
        bool again = false;
        if (record.cause == HealthCause::kConsecutiveLocalFailures) {
          // The last one came to nothing: calls try this one singly.
          again = record.reconnected != 0 &&
                  at - record.reconnected < EjectionTime(record);
          record.reconnected = at;
        }
        if (!again) {
          BeginRamp(endpoint, HealthCause::kNewConnection, at, &outbox);
        } else if (record.health != Health::kProbing) {
          BeginProbing(endpoint, HealthCause::kNewConnection, at, &outbox);
        }
        break;
      }
      case Health::kHealthy:
      case Health::kRamping: {
        Consecutive row(seen.consecutive.load(std::memory_order_relaxed));
        row.local = 0;
        seen.consecutive.store(row.Packed(), std::memory_order_relaxed);
        if (record.health == Health::kHealthy) Publish(endpoint, at);
        break;
      }
    }
  }
  outbox.Send();
}

// ---- Changes ----

int64_t HealthMonitor::EjectionTime(const HealthRecord& record) const {
  const int64_t base =
      std::max<int64_t>(1, Nanos(ejection_.base_ejection_time));
  const int64_t most = std::max(base, Nanos(ejection_.max_ejection_time));
  return record.ejections > most / base ? most : base * record.ejections;
}

bool HealthMonitor::Eject(LiveEndpoint* endpoint, HealthCause cause,
                          int64_t now, Outbox* outbox) {
  if (ejection_.mode == Mode::kOff || total_ < 2) return false;
  HealthRecord& record = endpoint->health_record();
  const int64_t base =
      std::max<int64_t>(1, Nanos(ejection_.base_ejection_time));
  if (ejection_.mode == Mode::kObserve) {
    if (now < record.observed_until) return false;
    record.observed_until = now + base;
    outbox->Add({endpoint, Health::kHealthy, Health::kEjected, cause,
                 /*observed=*/true, absl::FromUnixNanos(now)});
    return false;
  }
  const uint32_t others =
      ejected_ - std::min(ejected_, uint32_t{CountsAsEjected(record)});
  if (others > 0 &&
      (others + 1) * 100 >
          static_cast<uint32_t>(ejection_.max_ejection_percent) * total_) {
    return false;
  }

  // One is forgotten for each such time since the last one ended.
  const int64_t forgotten = std::max<int64_t>(0, now - record.returned) / base;
  record.ejections =
      static_cast<int>(std::max<int64_t>(0, record.ejections - forgotten) + 1);
  record.until = record.returned = now + EjectionTime(record);
  if (cause != HealthCause::kProbeFailed || IsSilence(record.cause)) {
    record.cause = cause;
  }
  endpoint->observations().consecutive.store(0, std::memory_order_relaxed);
  ForgetSlowness(&record);
  Change(endpoint, Health::kEjected, cause, now, outbox);
  return true;
}

void HealthMonitor::BeginProbing(LiveEndpoint* endpoint, HealthCause cause,
                                 int64_t now, Outbox* outbox) {
  HealthRecord& record = endpoint->health_record();
  record.good = record.slow = 0;
  FreePlace(endpoint);
  ForgetSilence(&endpoint->observations());
  endpoint->observations().consecutive.store(0, std::memory_order_relaxed);
  Change(endpoint, Health::kProbing, cause, now, outbox);
}

void HealthMonitor::BeginRamp(LiveEndpoint* endpoint, HealthCause cause,
                              int64_t now, Outbox* outbox) {
  ForgetSilence(&endpoint->observations());
  endpoint->observations().consecutive.store(0, std::memory_order_relaxed);
  HealthRecord& record = endpoint->health_record();
  if (!IsSilence(record.cause)) ForgetSlowness(&record);
  const bool ramps = black_hole_.ramp > absl::ZeroDuration();
  Change(endpoint, ramps ? Health::kRamping : Health::kHealthy, cause, now,
         outbox);
}

void HealthMonitor::SendProbe(LiveEndpoint* endpoint, int64_t now,
                              Outbox* outbox) {
  HealthRecord& record = endpoint->health_record();
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
  outbox->Probe(endpoint);
}

void HealthMonitor::Change(LiveEndpoint* endpoint, Health to, HealthCause cause,
                           int64_t now, Outbox* outbox) {
  HealthRecord& record = endpoint->health_record();
  outbox->Add({endpoint, record.health, to, cause, /*observed=*/false,
               absl::FromUnixNanos(now)});
  const bool was_out = IsOut(record.health);
  const bool was_ejected = CountsAsEjected(record);
  record.health = to;
  record.since = now;
  if (endpoint->readiness() == Readiness::kReady && was_out != IsOut(to)) {
    Tally& tally = tallies_[std::min<uint32_t>(endpoint->endpoint().priority,
                                               kPriorities - 1)];
    if (was_out) {
      tally.out -= std::min(tally.out, 1u);
    } else {
      ++tally.out;
    }
  }
  if (was_ejected != CountsAsEjected(record)) {
    if (was_ejected) {
      ejected_ -= std::min(ejected_, 1u);
    } else {
      ++ejected_;
    }
  }
  const bool panicked = panic_;
  panic_ = Panics();
  // The others are told by the next look.
  if (panic_ != panicked) SetDue(0);
  Publish(endpoint, now);
}

void HealthMonitor::Publish(LiveEndpoint* endpoint, int64_t now) {
  const HealthRecord& record = endpoint->health_record();
  uint32_t share = kFullShare;
  if (!panic_) {
    switch (record.health) {
      case Health::kHealthy:
        if (ejection_.mode == Mode::kEnforce && total_ >= 2) {
          share = WaryShare(endpoint->observations().consecutive.load(
              std::memory_order_relaxed));
        }
        break;
      case Health::kSuspect:
      case Health::kEjected:
        share = 0;
        break;
      case Health::kProbing:
        // While somebody has the place it is not free.
        share = endpoint->health() == Health::kProbing && endpoint->share() == 0
                    ? 0
                    : LiveEndpoint::kProbeFree;
        break;
      case Health::kRamping: {
        const double part =
            static_cast<double>(now - record.since) /
            static_cast<double>(std::max<int64_t>(1, Nanos(black_hole_.ramp)));
        share = static_cast<uint32_t>(
            std::clamp(part * kFullShare, double{kLeastShare}, 254.0));
        break;
      }
    }
  }
  if (endpoint->health() == record.health && endpoint->share() == share) return;
  endpoint->set_health(record.health, share);
}

// Whether too many are out in every priority that there is.
bool HealthMonitor::Panics() const {
  bool some = false;
  for (const Tally& tally : tallies_) {
    if (tally.ready == 0) continue;
    some = true;
    const uint32_t in_use = tally.ready - std::min(tally.ready, tally.out);
    if (in_use * 100 >=
        static_cast<uint32_t>(ejection_.panic_threshold_percent) *
            tally.ready) {
      return false;
    }
  }
  return some;
}

// ---- Looks ----

void HealthMonitor::Tick(absl::Span<const cluster::LiveEndpointPtr> endpoints,
                         absl::Time now, base::Random*) {
  if (!mu_.TryLock()) return;
  const int64_t at = absl::ToUnixNanos(now);
  const int64_t period = std::max<int64_t>(
      kTick, static_cast<int64_t>(endpoints.size()) * kTickAnEndpoint);
  if (at < next_tick_.load(std::memory_order_relaxed)) {
    mu_.Unlock();
    return;  // Another thread has just been here.
  }
  Outbox outbox(host_);
  // What changes on the way may want another look at once.
  SetDue(kNever);
  size_t left = kMostLooks;
  bool done = false;
  if (!comparing_) {
    if (cursor_ == 0) {
      // Whoever has not looked for long has perhaps not run, and others wait
      // for what is answered already: the next look is believed.
      const bool late = at - look_began_ > 4 * period && look_began_ != 0;
      stalled_ = late && !stalled_;
      look_began_ = at;
      counting_ = {};
      counting_total_ = counting_ejected_ = 0;
      reporters_.clear();
      success_candidates_.clear();
      compares_success_ = at - success_since_ >= Nanos(ejection_.interval);
      if (compares_success_) success_since_ = at;
      RefreshLatencies(at);
    }
    for (; left > 0 && cursor_ < endpoints.size(); --left, ++cursor_) {
      Look(cursor_, endpoints[cursor_].get(), at, &outbox);
    }
    if (cursor_ >= endpoints.size()) {
      EndLook(at);
      comparing_ = true;
      cursor_ = 0;
    }
  }
  if (comparing_) {
    const size_t reporters = compares_latency_ ? reporters_.size() : 0;
    const size_t all = reporters + success_candidates_.size();
    // Endpoints may have come and gone since they were looked at.
    auto find = [&endpoints](const auto& item) -> LiveEndpoint* {
      if (item.index >= endpoints.size()) return nullptr;
      LiveEndpoint* const endpoint = endpoints[item.index].get();
      return endpoint == item.endpoint ? endpoint : nullptr;
    };
    for (; left > 0 && cursor_ < all; --left, ++cursor_) {
      if (cursor_ < reporters) {
        LiveEndpoint* const endpoint = find(reporters_[cursor_]);
        if (endpoint != nullptr) CompareLatency(cursor_, endpoint, at, &outbox);
      } else {
        const Candidate& candidate = success_candidates_[cursor_ - reporters];
        LiveEndpoint* const endpoint = find(candidate);
        if (endpoint != nullptr) {
          CompareSuccess(candidate, endpoint, at, &outbox);
        }
      }
    }
    if (cursor_ >= all) {
      comparing_ = false;
      cursor_ = 0;
      done = true;
    }
  }
  int64_t next = at;
  if (done) {
    next += stalled_ || total_ >= 2 ? period : kIdleTick;
    if (!enabled_.load(std::memory_order_relaxed)) next = kNever;
  }
  SetDue(std::min(next, next_tick_.load(std::memory_order_relaxed)));
  mu_.Unlock();
  outbox.Send();
}

void HealthMonitor::Look(size_t index, LiveEndpoint* endpoint, int64_t now,
                         Outbox* outbox) {
  const bool ready = endpoint->readiness() == Readiness::kReady;
  if (!ready && endpoint->health() == Health::kHealthy) return;
  if (endpoint->closed()) return;
  HealthRecord& record = endpoint->health_record();

  if (record.health != Health::kHealthy) {
    const bool by_silence =
        record.health == Health::kSuspect || IsSilence(record.cause);
    if ((by_silence ? black_hole_.mode : ejection_.mode) != Mode::kEnforce) {
      // It is so no longer because of a policy that acts no longer.
      Change(endpoint, Health::kHealthy, HealthCause::kRamped, now, outbox);
    }
  }
  switch (record.health) {
    case Health::kHealthy:
      break;
    case Health::kSuspect:
      if (ready) SendProbe(endpoint, now, outbox);
      break;
    case Health::kEjected:
      if (now < record.until && PeersAreAsSlow(record, now)) {
        record.until = record.returned = now;
      }
      if (now >= record.until) {
        BeginProbing(endpoint, HealthCause::kEjectionOver, now, outbox);
      }
      break;
    case Health::kProbing:
      if (panic_ || endpoint->share() != 0) break;
      if (record.claimed == 0) record.claimed = now;
      if (now - record.claimed >= kSecond) {
        const int32_t silent = Silent(endpoint->observations());
        Verdict verdict;
        verdict.unary = false;
        verdict.began = record.claimed;
        if (silent <= 0) {
          // A stream that lasts. Or an attempt that was not made after all (the
          // call met a cap): nothing.
          if (endpoint->observations().streams_begun.load(
                  std::memory_order_relaxed) != record.streams_begun) {
            verdict.kind = Verdict::Kind::kSuccess;
          }
        } else if (silent >= kManySilent) {
          verdict.kind = Verdict::Kind::kLocalFailure;
        }  // Otherwise it may be a call that takes long: another one.
        JudgeProbing(endpoint, verdict, now, outbox);
      }
      break;
    case Health::kRamping:
      if (now - record.since >= Nanos(black_hole_.ramp)) {
        Change(endpoint, Health::kHealthy, HealthCause::kRamped, now, outbox);
      }
      break;
  }
  if (record.observed_until != 0 && now >= record.observed_until) {
    record.observed_until = 0;
    outbox->Add({endpoint, Health::kEjected, Health::kHealthy,
                 HealthCause::kEjectionOver, /*observed=*/true,
                 absl::FromUnixNanos(now)});
  }
  if (record.observed_suspect && Silent(endpoint->observations()) <= 0) {
    record.observed_suspect = false;
    outbox->Add({endpoint, Health::kSuspect, Health::kHealthy,
                 HealthCause::kProbeAnswered, /*observed=*/true,
                 absl::FromUnixNanos(now)});
  }

  TakeCounts(endpoint);
  if (ready && !IsOut(record.health)) LookForSilence(endpoint, now, outbox);
  Publish(endpoint, now);

  Tally& tally = counting_[std::min<uint32_t>(endpoint->endpoint().priority,
                                              kPriorities - 1)];
  if (ready) {
    ++tally.ready;
    if (IsOut(record.health)) ++tally.out;
  }
  if (ready || record.health == Health::kEjected) ++counting_total_;
  if (CountsAsEjected(record)) ++counting_ejected_;

  if (IsOut(record.health)) {
    if (!IsSilence(record.cause)) ForgetSlowness(&record);
  } else if (record.timed > 0) {
    reporters_.push_back({index, endpoint, record.log_latency / record.timed});
  }
  if (compares_success_) {
    if (!IsOut(record.health) && record.total > 0) {
      success_candidates_.push_back(
          {index, endpoint,
           1 - static_cast<double>(std::min(record.failed, record.total)) /
                   record.total,
           record.total});
    }
    record.total = record.failed = 0;
  }
}

// What has been counted since the last look.
void HealthMonitor::TakeCounts(LiveEndpoint* endpoint) {
  const EndpointObservations& seen = endpoint->observations();
  HealthRecord& record = endpoint->health_record();
  const uint64_t ended = seen.ended.load(std::memory_order_acquire);
  const uint32_t untimed = seen.untimed.load(std::memory_order_relaxed);
  const uint64_t change = ended - record.ended;
  const auto unary = static_cast<uint32_t>(change) & kEndedMask;
  const auto timed = static_cast<int32_t>(unary - (untimed - record.untimed));
  const double log_latency =
      static_cast<double>((change - unary) >>
                          EndpointObservations::kEndedBits) /
      256;
  record.ended = ended;
  record.untimed = untimed;
  if (timed > 0) {
    record.timed += timed;
    record.log_latency += log_latency;
    answers_ += timed;
    if (!IsOut(record.health)) {
      look_timed_ += timed;
      look_log_ += log_latency;
    }
  }

  const uint32_t streams = seen.streams_ended.load(std::memory_order_relaxed);
  const uint32_t failures = seen.failures.load(std::memory_order_relaxed) +
                            seen.local_failures.load(std::memory_order_relaxed);
  const uint32_t discounted = seen.discounted.load(std::memory_order_relaxed);
  const auto total =
      static_cast<int32_t>(unary + (streams - record.streams_ended) -
                           (discounted - record.discounted));
  if (total > 0) record.total += total;
  record.failed += failures - record.failures;
  record.streams_ended = streams;
  record.failures = failures;
  record.discounted = discounted;
}

// Silence is when attempts that have begun since the last answer wait for
// longer than the service's calls take. What began before that answer may be
// calls that take long, and is no evidence.
void HealthMonitor::LookForSilence(LiveEndpoint* endpoint, int64_t now,
                                   Outbox* outbox) {
  if (black_hole_.mode == Mode::kOff || stalled_ || usual_p99_ == 0) return;
  const EndpointObservations& seen = endpoint->observations();
  const int32_t silent = Silent(seen);
  // One alone may be a call that takes long.
  if (silent < 2) return;
  if (ready_ < 2) return;  // There is nowhere else to go.
  if (silent < kManySilent && seen.awaiting() == 0) return;

  HealthRecord& record = endpoint->health_record();
  if (record.patience > 0) {
    const int64_t steps = (now - record.patience_since) / kPatienceLasts;
    if (steps > 0) {
      record.patience =
          static_cast<int>(std::max<int64_t>(0, record.patience - steps));
      record.patience_since = now;
    }
  }
  const int64_t least = Nanos(black_hole_.min_silence);
  const auto usual = static_cast<int64_t>(black_hole_.latency_factor *
                                          static_cast<double>(usual_p99_));
  const int64_t most = std::max(least, usual);
  int64_t limit = most;
  if (silent >= kPlenty) {
    limit = std::max(least, usual / 2);
  } else if (silent == 2) {
    limit = std::max(
        {2 * limit, slowest_before_, slowest_.load(std::memory_order_relaxed)});
  }
  const int64_t quiet = now - seen.quiet_since.load(std::memory_order_relaxed);
  if (quiet < limit) return;
  if (record.patience > 0) {
    // It is silent as it was when it was suspected for nothing.
    record.patience_since = now;
    limit <<= record.patience;
    if (quiet < limit) return;
  }

  if (black_hole_.mode == Mode::kObserve) {
    if (record.observed_suspect) return;
    record.observed_suspect = true;
    outbox->Add({endpoint, record.health, Health::kSuspect,
                 HealthCause::kSilence, /*observed=*/true,
                 absl::FromUnixNanos(now)});
    return;
  }
  record.cause = HealthCause::kSilence;
  record.silence = std::min(limit, most << record.patience);
  record.next_probe = 0;
  Change(endpoint, Health::kSuspect, HealthCause::kSilence, now, outbox);
  SendProbe(endpoint, now, outbox);
}

void HealthMonitor::EndLook(int64_t now) {
  tallies_ = counting_;
  total_ = counting_total_;
  ejected_ = counting_ejected_;
  ready_ = 0;
  for (const Tally& tally : tallies_) ready_ += tally.ready;
  const bool panicked = panic_;
  panic_ = Panics();
  if (panic_ != panicked) SetDue(now);
  if (look_timed_ > 0) {
    const double mean = look_log_ / look_timed_;
    recent_log_ =
        recent_log_ == 0
            ? mean
            : recent_log_ + std::min(1.0, look_timed_ / kRecentAnswers) *
                                (mean - recent_log_);
    look_timed_ = 0;
    look_log_ = 0;
  }
  PrepareLatencies(now);
  PrepareSuccessRates();
}

void HealthMonitor::RefreshLatencies(int64_t now) {
  if (now - refreshed_ < 100 * kMillisecond) return;
  // Some hundred samples a second are enough.
  const double seconds =
      static_cast<double>(now - refreshed_) / static_cast<double>(kSecond);
  const double rate = answers_ / seconds;
  uint32_t mask = 0;
  while (mask < 255 && rate > 500.0 * (mask + 1)) mask = mask * 2 + 1;
  sample_mask_.store(mask, std::memory_order_relaxed);
  answers_ = 0;
  refreshed_ = now;

  const auto [p10, median, p90, p99] =
      latencies_.Quantiles<4>({0.1, 0.5, 0.9, 0.99}, absl::FromUnixNanos(now));
  // This one keeps attempts from being made, so that it is to be fresh.
  p10_latency_.store(p10 == absl::InfiniteDuration() ? 0 : Nanos(p10),
                     std::memory_order_relaxed);
  // What else was known last is good until there is something new.
  if (p99 != absl::InfiniteDuration()) {
    usual_p99_ = std::max<int64_t>(1, Nanos(p99));
    telling_age_.store(Nanos(p90), std::memory_order_relaxed);
    const absl::Duration most =
        std::max({16 * median, 4 * ejection_.latency.factor * median,
                  2 * (median + ejection_.latency.min_difference)});
    most_log_.store(LogOf(Nanos(most)), std::memory_order_relaxed);
  }
  if (now - slowest_since_ >= kSlowestFor) {
    slowest_since_ = now;
    slowest_before_ = slowest_.exchange(0, std::memory_order_relaxed);
  }
}

// ---- Latency against the peers ----

// Whether latencies are compared now: of all that were answered since the last
// comparison, so that what slows all of them at once shows in all of them.
void HealthMonitor::PrepareLatencies(int64_t now) {
  compares_latency_ = false;
  const auto& options = ejection_.latency;
  if (ejection_.mode == Mode::kOff || !options.enabled) return;
  uint32_t in_use = 0;
  for (const Tally& tally : tallies_) {
    in_use += tally.ready - std::min(tally.ready, tally.out);
  }
  const size_t hosts = reporters_.size();
  if (hosts < std::max<size_t>(2, options.minimum_hosts)) return;
  if (hosts < std::min(in_use, kEnoughReporters) &&
      now - latency_since_ < Nanos(ejection_.interval)) {
    return;
  }
  compares_latency_ = true;
  latency_since_ = now;
  sorted_.clear();
  for (const Reporter& reporter : reporters_) {
    sorted_.push_back(reporter.log_latency);
  }
  if (hosts <= kFew) {
    std::sort(sorted_.begin(), sorted_.end());
  } else {
    std::nth_element(sorted_.begin(), sorted_.begin() + hosts / 2,
                     sorted_.end());
  }
  const double median = hosts % 2 == 1 || hosts > kFew
                            ? sorted_[hosts / 2]
                            : (sorted_[hosts / 2 - 1] + sorted_[hosts / 2]) / 2;
  reference_ = reference_ == 0
                   ? median
                   : reference_ + kReferenceWeight * (median - reference_);
}

// The median of the others.
double HealthMonitor::ReferenceFor(size_t place) const {
  const size_t hosts = sorted_.size();
  if (hosts > kFew) return sorted_[hosts / 2];
  const auto own =
      static_cast<size_t>(std::lower_bound(sorted_.begin(), sorted_.end(),
                                           reporters_[place].log_latency) -
                          sorted_.begin());
  auto other = [&](size_t i) { return sorted_[i < own ? i : i + 1]; };
  const size_t others = hosts - 1;
  return others % 2 == 1 ? other(others / 2)
                         : (other(others / 2 - 1) + other(others / 2)) / 2;
}

// A cumulative sum (Page, "Continuous inspection schemes", 1954): what each
// attempt took beyond `factor` times its peers' median adds to the evidence,
// what it took less reduces it. So a change shows after the fewest attempts,
// and what was well before does not hide it.
void HealthMonitor::CompareLatency(size_t place, LiveEndpoint* endpoint,
                                   int64_t now, Outbox* outbox) {
  HealthRecord& record = endpoint->health_record();
  const auto& options = ejection_.latency;
  const double attempts = record.timed;
  const double latency = reporters_[place].log_latency;
  const uint32_t timed = record.timed;
  record.timed = 0;
  record.log_latency = 0;
  if (IsOut(record.health) || timed == 0) return;

  const double reference = ReferenceFor(place);
  const double beyond = latency - reference;
  if (record.last_timed > 0) {
    const double step = latency - record.last_latency;
    const double square = step * step / (1.0 / timed + 1.0 / record.last_timed);
    variance_ = std::max(kLeastVariance,
                         variance_ + kVarianceWeight * (square - variance_));
  }
  record.last_timed = timed;
  record.last_latency = latency;

  if (record.slow_evidence == 0) {
    record.slow_since = now;
    record.slow_attempts = 0;
    record.slow_log = record.slow_reference = 0;
  }
  const double enough =
      std::max(kLeastEvidence, kCertainty * variance_ / slow_from_);
  record.slow_evidence = std::clamp(
      record.slow_evidence + attempts * (beyond - slow_from_), 0.0, enough);
  if (record.slow_evidence == 0) return;
  record.slow_attempts += timed;
  record.slow_log += attempts * latency;
  record.slow_reference += attempts * reference;

  // Slow still, and not only for a moment (a pause to collect garbage).
  if (beyond <= slow_from_ || record.slow_evidence < enough ||
      record.slow_attempts < static_cast<uint32_t>(options.request_volume) ||
      now - record.slow_since < Nanos(ejection_.interval)) {
    return;
  }
  const double difference =
      std::exp2(record.slow_log / record.slow_attempts) -
      std::exp2(record.slow_reference / record.slow_attempts);
  if (difference < static_cast<double>(Nanos(options.min_difference))) return;
  const double ejected_log = record.slow_log / record.slow_attempts;
  if (Eject(endpoint, HealthCause::kLatency, now, outbox)) {
    record.ejected_log = ejected_log;
  }
}

// Whether an endpoint that was ejected for its latency would be no worse than
// the others by now: they have slowed since, perhaps because they carry its
// load. Out of use it helps nobody then.
bool HealthMonitor::PeersAreAsSlow(const HealthRecord& record,
                                   int64_t now) const {
  return record.cause == HealthCause::kLatency && recent_log_ > 0 &&
         recent_log_ >= record.ejected_log - slow_from_ / 2 &&
         now - record.since >= record.ejections * kSecond;
}

// ---- Success rate and failure percentage, as gRFC A50 has them ----

void HealthMonitor::PrepareSuccessRates() {
  success_threshold_ = -1;
  failure_percentage_ = false;
  if (ejection_.mode == Mode::kOff) success_candidates_.clear();
  if (success_candidates_.empty()) return;

  const auto& rates = ejection_.success_rate;
  const auto& percentage = ejection_.failure_percentage;
  double sum = 0, squares = 0;
  int rated = 0, counted = 0;
  for (const Candidate& candidate : success_candidates_) {
    if (candidate.total >= static_cast<uint32_t>(rates.request_volume)) {
      ++rated;
      sum += candidate.success_rate;
    }
    if (candidate.total >= static_cast<uint32_t>(percentage.request_volume)) {
      ++counted;
    }
  }
  if (rates.enabled && rated > 0 && rated >= rates.minimum_hosts) {
    const double mean = sum / rated;
    for (const Candidate& candidate : success_candidates_) {
      if (candidate.total >= static_cast<uint32_t>(rates.request_volume)) {
        squares +=
            (candidate.success_rate - mean) * (candidate.success_rate - mean);
      }
    }
    // Less a hair, for rates that are all the same but for rounding.
    success_threshold_ =
        mean - std::sqrt(squares / rated) * rates.stdev_factor / 1000 - 1e-9;
  }
  failure_percentage_ =
      percentage.enabled && counted > 0 && counted >= percentage.minimum_hosts;
}

void HealthMonitor::CompareSuccess(const Candidate& candidate,
                                   LiveEndpoint* endpoint, int64_t now,
                                   Outbox* outbox) {
  const HealthRecord& record = endpoint->health_record();
  if (IsOut(record.health)) return;
  const auto& rates = ejection_.success_rate;
  const auto& percentage = ejection_.failure_percentage;
  if (candidate.total >= static_cast<uint32_t>(rates.request_volume) &&
      candidate.success_rate < success_threshold_) {
    Eject(endpoint, HealthCause::kSuccessRate, now, outbox);
    if (IsOut(record.health)) return;
  }
  if (failure_percentage_ &&
      candidate.total >= static_cast<uint32_t>(percentage.request_volume) &&
      (1 - candidate.success_rate) * 100 >= percentage.threshold - 1e-9) {
    Eject(endpoint, HealthCause::kFailurePercentage, now, outbox);
  }
}

}  // namespace mesh::resilience
