#include "mesh/resilience/health/ledger.h"

#include "mesh/resilience/failures.h"

namespace mesh::resilience {
namespace {

using cluster::EndpointObservations;

Finding::Kind KindOf(const AttemptResult& result, bool timed_out) {
  // A stream that lives until its deadline is no failure.
  if (result.given_up || result.never_sent || result.own ||
      (timed_out && !result.unary) ||
      (result.local && result.code == absl::StatusCode::kCancelled)) {
    return Finding::Kind::kNothing;
  }
  if (result.local && result.code == absl::StatusCode::kUnavailable) {
    return Finding::Kind::kConnectionFailure;
  }
  if (kEndpointFailures.Contains(result.code)) return Finding::Kind::kFailure;
  return result.local && result.code != absl::StatusCode::kOk
             ? Finding::Kind::kNothing
             : Finding::Kind::kSuccess;
}

void Discount(EndpointObservations* seen) {
  seen->discounted.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

Finding AttemptLedger::OnEnd(EndpointObservations* seen,
                             const AttemptResult& result, bool in_use,
                             absl::Time now) {
  Finding finding;
  finding.unary = result.unary;
  finding.timed_out =
      result.local && result.code == absl::StatusCode::kDeadlineExceeded;
  finding.latency = std::max<int64_t>(0, Nanos(result.latency));
  finding.began = absl::ToUnixNanos(now) - finding.latency;
  finding.kind = KindOf(result, finding.timed_out);
  finding.overloaded = finding.kind == Finding::Kind::kSuccess &&
                       result.code == absl::StatusCode::kResourceExhausted;
  finding.answered = result.answered && !result.given_up;
  finding.pace = result.pace;
  if (finding.kind == Finding::Kind::kNothing) Discount(seen);
  if (!result.unary) {
    seen->streams_ended.fetch_add(1, std::memory_order_relaxed);
    return finding;
  }
  const int64_t age = telling_age_.load(std::memory_order_relaxed);
  if (finding.kind == Finding::Kind::kSuccess && in_use) {
    finding.lags =
        result.pace != nullptr && finding.latency > result.pace->limit();
    OnAnswer(seen, result.pace, finding.latency, now);
    return finding;
  }
  finding.telling = (finding.timed_out || result.given_up) &&
                    !result.never_sent && finding.latency >= age;
  finding.lags = finding.telling && result.given_up;
  finding.hasty =
      finding.timed_out && (finding.latency < kMillisecond ||
                            finding.latency < (age == kNever ? 0 : age));
  EndUnanswered(seen, finding);
  return finding;
}

void AttemptLedger::TakeSample(const EndpointObservations& seen,
                               MethodPace* pace, int64_t nanoseconds,
                               absl::Time now) {
  latencies_.Record(absl::Nanoseconds(nanoseconds), now);
  if (pace != nullptr) pace->Note(&seen, nanoseconds, slowness());
}

void AttemptLedger::EndUnanswered(EndpointObservations* seen,
                                  const Finding& finding) {
  seen->ended.fetch_add(1, std::memory_order_release);
  if (finding.kind == Finding::Kind::kNothing && !finding.telling &&
      !finding.answered) {
    cluster::SilenceEvidence& silence = seen->silence;
    if (silence.unanswered() > 0 &&
        finding.began >= silence.quiet_since.load(std::memory_order_relaxed)) {
      silence.accounted.fetch_add(1, std::memory_order_relaxed);
    }
  } else if (!finding.telling && !finding.timed_out) {
    // It was answered. Or its connection is gone, and all that waited there.
    seen->silence.Forget();
  }
}

void AttemptLedger::CountFailure(EndpointObservations* seen,
                                 const Finding& finding) {
  if (finding.duplicate || (finding.Failed() && finding.hasty)) {
    return Discount(seen);
  }
  if (!finding.Failed() && !finding.overloaded) return;
  if (finding.kind == Finding::Kind::kConnectionFailure) {
    seen->connection_failures.fetch_add(1, std::memory_order_relaxed);
  } else if (finding.Failed()) {
    seen->failures.fetch_add(1, std::memory_order_relaxed);
  }
  uint32_t before = seen->consecutive.load(std::memory_order_relaxed);
  FailureRow after(before);
  do {
    after = FailureRow(before);
    ++after.failures;
    if (finding.kind == Finding::Kind::kConnectionFailure) {
      ++after.connection;
    } else if (!finding.timed_out) {
      after.connection = 0;  // Somebody was there to answer.
    }
  } while (!seen->consecutive.compare_exchange_weak(before, after.Packed(),
                                                    std::memory_order_relaxed));
}

bool AttemptLedger::EndRow(EndpointObservations* seen) {
  if (seen->consecutive.load(std::memory_order_relaxed) == 0) return false;
  seen->consecutive.store(0, std::memory_order_relaxed);
  return true;
}

Counted TakeCounts(const EndpointObservations& seen, LookedAt* last) {
  Counted counted;
  const uint32_t ended = seen.ended.load(std::memory_order_acquire);
  counted.ended = ended - last->ended;
  last->ended = ended;

  const uint32_t streams = seen.streams_ended.load(std::memory_order_relaxed);
  const uint32_t failures =
      seen.failures.load(std::memory_order_relaxed) +
      seen.connection_failures.load(std::memory_order_relaxed);
  const uint32_t discounted = seen.discounted.load(std::memory_order_relaxed);
  const auto total =
      static_cast<int32_t>(counted.ended + (streams - last->streams_ended) -
                           (discounted - last->discounted));
  if (total > 0) counted.total = total;
  counted.failed = failures - last->failures;
  last->streams_ended = streams;
  last->failures = failures;
  last->discounted = discounted;
  return counted;
}

}  // namespace mesh::resilience
