#include "mesh/resilience/health/ledger.h"

#include "mesh/resilience/failures.h"

namespace mesh::resilience {
namespace {

using cluster::EndpointObservations;

Finding::Kind KindOf(const AttemptResult& result, bool timed_out) {
  // A stream that lives until its deadline is as it should be.
  if (result.given_up || result.never_sent || (timed_out && !result.unary) ||
      (result.local && result.code == absl::StatusCode::kCancelled)) {
    return Finding::Kind::kNothing;
  }
  if (result.local) return Finding::Kind::kLocalFailure;
  if (kFailures.Contains(result.code)) return Finding::Kind::kFailure;
  return Finding::Kind::kSuccess;
}

void CountKind(EndpointObservations* seen, Finding::Kind kind) {
  switch (kind) {
    case Finding::Kind::kSuccess:
      break;
    case Finding::Kind::kFailure:
      seen->failures.fetch_add(1, std::memory_order_relaxed);
      break;
    case Finding::Kind::kLocalFailure:
      seen->local_failures.fetch_add(1, std::memory_order_relaxed);
      break;
    case Finding::Kind::kNothing:
      seen->discounted.fetch_add(1, std::memory_order_relaxed);
      break;
  }
}

}  // namespace

Finding AttemptLedger::OnEnd(EndpointObservations* seen,
                             const AttemptResult& result, bool in_use,
                             absl::Time now) {
  Finding finding;
  finding.unary = result.unary;
  finding.timed_out =
      result.local && result.code == absl::StatusCode::kDeadlineExceeded;
  finding.unavailable = result.code == absl::StatusCode::kUnavailable;
  finding.latency = std::max<int64_t>(0, Nanos(result.latency));
  finding.began = absl::ToUnixNanos(now) - finding.latency;
  finding.capped_log = CappedLogOf(finding.latency);
  finding.kind = KindOf(result, finding.timed_out);
  CountKind(seen, finding.kind);
  if (!result.unary) {
    seen->streams_ended.fetch_add(1, std::memory_order_relaxed);
  } else if (finding.kind == Finding::Kind::kSuccess && in_use) {
    OnAnswer(seen, finding.latency, now);
  } else {
    finding.telling =
        (finding.timed_out || result.given_up) && !result.never_sent &&
        finding.latency >= telling_age_.load(std::memory_order_relaxed);
    EndUnanswered(seen, in_use, finding);
  }
  return finding;
}

void AttemptLedger::EndUnanswered(EndpointObservations* seen, bool in_use,
                                  const Finding& finding) {
  uint64_t ended = 1;
  if (finding.telling && in_use) {
    ended |= uint64_t{finding.capped_log} << EndpointObservations::kEndedBits;
  } else {
    seen->untimed.fetch_add(1, std::memory_order_relaxed);
  }
  seen->ended.fetch_add(ended, std::memory_order_release);
  if (finding.kind == Finding::Kind::kNothing && !finding.telling) {
    cluster::SilenceEvidence& silence = seen->silence;
    if (silence.unanswered() > 0 &&
        finding.began >= silence.quiet_since.load(std::memory_order_relaxed)) {
      silence.accounted.fetch_add(1, std::memory_order_relaxed);
    }
  } else if (!finding.telling && !finding.timed_out) {
    // It was answered; or its connection is gone, and all that waited there.
    seen->silence.Forget();
  }
}

uint64_t AttemptLedger::CountRow(EndpointObservations* seen,
                                 const Finding& finding, bool suspect) const {
  uint64_t before = seen->consecutive.load(std::memory_order_relaxed);
  switch (finding.kind) {
    case Finding::Kind::kNothing:
      return before;
    case Finding::Kind::kSuccess:
      if (before != 0) seen->consecutive.store(0, std::memory_order_relaxed);
      return before;
    case Finding::Kind::kFailure:
    case Finding::Kind::kLocalFailure:
      break;
  }
  if (finding.timed_out) {
    // A deadline that is shorter than most calls take passes anywhere.
    const int64_t age = telling_age_.load(std::memory_order_relaxed);
    if (suspect || finding.latency < kMillisecond ||
        finding.latency < (age == kNever ? 0 : age)) {
      return before;
    }
  }
  FailureRow after(before);
  do {
    after = FailureRow(before);
    if (finding.kind == Finding::Kind::kLocalFailure) {
      ++after.local;
    } else {
      after.local = 0;
      ++after.failures;
      after.gateway = finding.unavailable ? after.gateway + 1 : 0;
    }
  } while (!seen->consecutive.compare_exchange_weak(before, after.Packed(),
                                                    std::memory_order_relaxed));
  return before;
}

Counted TakeCounts(const EndpointObservations& seen, LookedAt* last) {
  Counted counted;
  const uint64_t ended = seen.ended.load(std::memory_order_acquire);
  const uint32_t untimed = seen.untimed.load(std::memory_order_relaxed);
  const uint64_t change = ended - last->ended;
  const auto unary =
      static_cast<uint32_t>(change) & EndpointObservations::kEndedMask;
  const auto timed = static_cast<int32_t>(unary - (untimed - last->untimed));
  last->ended = ended;
  last->untimed = untimed;
  if (timed > 0) {
    counted.timed = timed;
    counted.log_latency =
        static_cast<double>((change - unary) >>
                            EndpointObservations::kEndedBits) /
        256;
  }

  const uint32_t streams = seen.streams_ended.load(std::memory_order_relaxed);
  const uint32_t failures = seen.failures.load(std::memory_order_relaxed) +
                            seen.local_failures.load(std::memory_order_relaxed);
  const uint32_t discounted = seen.discounted.load(std::memory_order_relaxed);
  const auto total =
      static_cast<int32_t>(unary + (streams - last->streams_ended) -
                           (discounted - last->discounted));
  if (total > 0) counted.total = total;
  counted.failed = failures - last->failures;
  last->streams_ended = streams;
  last->failures = failures;
  last->discounted = discounted;
  return counted;
}

}  // namespace mesh::resilience
