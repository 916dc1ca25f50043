#include "mesh/resilience/health/comparisons.h"

#include <algorithm>
#include <cmath>

namespace mesh::resilience {
namespace {

using options::Mode;

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
// The mean that tells how slow the peers are now is over so many answers.
constexpr double kRecentAnswers = 100;
// A probe is slow that is so many standard deviations from its peers.
constexpr double kSlowProbeDeviations = 2.5;

}  // namespace

void HealthComparisons::SetOptions(
    const options::OutlierEjectionOptions& options) {
  options_ = options;
  slow_from_ = std::log2(std::max(options.latency.factor, 1.1));
}

void HealthComparisons::BeginLook(int64_t now) {
  reporters_.clear();
  candidates_.clear();
  compares_success_ = now - success_since_ >= Nanos(options_.interval);
  if (compares_success_) success_since_ = now;
}

void HealthComparisons::Count(const Counted& counted, HealthRecord* record) {
  Compared& compared = record->compared;
  if (counted.timed > 0) {
    compared.AddTimed(counted.timed, counted.log_latency);
    if (!IsOut(record->health)) {
      look_timed_ += counted.timed;
      look_log_ += counted.log_latency;
    }
  }
  compared.total += counted.total;
  compared.failed += counted.failed;
}

void HealthComparisons::Take(size_t index,
                             const cluster::LiveEndpoint* endpoint,
                             HealthRecord* record) {
  Compared& compared = record->compared;
  if (IsOut(record->health)) {
    if (!IsSilence(record->cause)) compared.ForgetSlowness();
  } else if (compared.timed > 0) {
    reporters_.push_back(
        {index, endpoint, compared.log_latency / compared.timed});
  }
  if (!compares_success_) return;
  if (!IsOut(record->health) && compared.total > 0) {
    candidates_.push_back(
        {index, endpoint,
         1 - static_cast<double>(std::min(compared.failed, compared.total)) /
                 compared.total,
         compared.total});
  }
  compared.total = compared.failed = 0;
}

void HealthComparisons::EndLook(uint32_t in_use, int64_t now) {
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
  PrepareLatencies(in_use, now);
  PrepareSuccessRates();
}

// ---- Latency against the peers ----

// Whether latencies are compared now: of all that were answered since the last
// comparison, so that what slows all of them at once shows in all of them.
void HealthComparisons::PrepareLatencies(uint32_t in_use, int64_t now) {
  compares_latency_ = false;
  const auto& options = options_.latency;
  if (options_.mode == Mode::kOff || !options.enabled) return;
  const size_t count = reporters_.size();
  if (count < std::max<size_t>(2, options.minimum_hosts)) return;
  if (count < std::min(in_use, kEnoughReporters) &&
      now - latency_since_ < Nanos(options_.interval)) {
    return;
  }
  compares_latency_ = true;
  latency_since_ = now;
  sorted_.clear();
  for (const Reporter& reporter : reporters_) {
    sorted_.push_back(reporter.log_latency);
  }
  if (count <= kFew) {
    std::sort(sorted_.begin(), sorted_.end());
  } else {
    std::nth_element(sorted_.begin(), sorted_.begin() + count / 2,
                     sorted_.end());
  }
  const double median = count % 2 == 1 || count > kFew
                            ? sorted_[count / 2]
                            : (sorted_[count / 2 - 1] + sorted_[count / 2]) / 2;
  reference_ = reference_ == 0
                   ? median
                   : reference_ + kReferenceWeight * (median - reference_);
}

// The median of the others.
double HealthComparisons::ReferenceFor(size_t place) const {
  const size_t count = sorted_.size();
  if (count > kFew) return sorted_[count / 2];
  const auto own =
      static_cast<size_t>(std::lower_bound(sorted_.begin(), sorted_.end(),
                                           reporters_[place].log_latency) -
                          sorted_.begin());
  auto other = [&](size_t i) { return sorted_[i < own ? i : i + 1]; };
  const size_t others = count - 1;
  return others % 2 == 1 ? other(others / 2)
                         : (other(others / 2 - 1) + other(others / 2)) / 2;
}

// A cumulative sum (Page, "Continuous inspection schemes", 1954): what each
// attempt took beyond `factor` times its peers' median adds to the evidence,
// what it took less reduces it. So a change shows after the fewest attempts,
// and what was well before does not hide it.
std::optional<double> HealthComparisons::CompareLatency(size_t place,
                                                        int64_t now,
                                                        HealthRecord* record) {
  Compared& compared = record->compared;
  const auto& options = options_.latency;
  const double attempts = compared.timed;
  const double latency = reporters_[place].log_latency;
  const uint32_t timed = compared.timed;
  compared.timed = 0;
  compared.log_latency = 0;
  if (IsOut(record->health) || timed == 0) return std::nullopt;

  const double reference = ReferenceFor(place);
  const double beyond = latency - reference;
  if (compared.last_timed > 0) {
    const double step = latency - compared.last_latency;
    const double square =
        step * step / (1.0 / timed + 1.0 / compared.last_timed);
    variance_ = std::max(kLeastVariance,
                         variance_ + kVarianceWeight * (square - variance_));
  }
  compared.last_timed = timed;
  compared.last_latency = latency;

  if (compared.slow_evidence == 0) {
    compared.slow_since = now;
    compared.slow_attempts = 0;
    compared.slow_log = compared.slow_reference = 0;
  }
  const double enough =
      std::max(kLeastEvidence, kCertainty * variance_ / slow_from_);
  compared.slow_evidence = std::clamp(
      compared.slow_evidence + attempts * (beyond - slow_from_), 0.0, enough);
  if (compared.slow_evidence == 0) return std::nullopt;
  compared.slow_attempts += timed;
  compared.slow_log += attempts * latency;
  compared.slow_reference += attempts * reference;

  // Slow still, and not only for a moment (a pause to collect garbage).
  if (beyond <= slow_from_ || compared.slow_evidence < enough ||
      compared.slow_attempts < static_cast<uint32_t>(options.request_volume) ||
      now - compared.slow_since < Nanos(options_.interval)) {
    return std::nullopt;
  }
  const double difference =
      std::exp2(compared.slow_log / compared.slow_attempts) -
      std::exp2(compared.slow_reference / compared.slow_attempts);
  if (difference < static_cast<double>(Nanos(options.min_difference))) {
    return std::nullopt;
  }
  return compared.slow_log / compared.slow_attempts;
}

bool HealthComparisons::IsSlowProbe(const HealthRecord& record,
                                    const Finding& finding) const {
  // Who was silent may be slow now because all are: comparisons will tell.
  if (finding.kind != Finding::Kind::kSuccess || IsSilence(record.cause) ||
      !finding.unary || reference_ <= 0 || options_.mode != Mode::kEnforce ||
      !options_.latency.enabled) {
    return false;
  }
  const double reference = std::max(reference_, recent_log_);
  const double usual = std::exp2(reference);
  return AttemptLedger::LogOf(finding.latency) / 256.0 >
             reference + std::max(slow_from_, kSlowProbeDeviations *
                                                  std::sqrt(variance_)) &&
         static_cast<double>(finding.latency) - usual >=
             static_cast<double>(Nanos(options_.latency.min_difference));
}

// The peers have slowed since, perhaps because they carry its load. Out of use
// it helps nobody then.
bool HealthComparisons::PeersAreAsSlow(const HealthRecord& record,
                                       int64_t now) const {
  return record.cause == cluster::HealthCause::kLatency && recent_log_ > 0 &&
         recent_log_ >= record.ejected_log - slow_from_ / 2 &&
         now - record.since >= record.ejections * kSecond;
}

// ---- Success rate and failure percentage, as gRFC A50 has them ----

void HealthComparisons::PrepareSuccessRates() {
  success_threshold_ = -1;
  failure_percentage_ = false;
  if (options_.mode == Mode::kOff) candidates_.clear();
  if (candidates_.empty()) return;

  const auto& rates = options_.success_rate;
  const auto& percentage = options_.failure_percentage;
  double sum = 0, squares = 0;
  int rated = 0, counted = 0;
  for (const Candidate& candidate : candidates_) {
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
    for (const Candidate& candidate : candidates_) {
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

bool HealthComparisons::SuccessRateIsLow(size_t place) const {
  const Candidate& candidate = candidates_[place];
  const auto& rates = options_.success_rate;
  return candidate.total >= static_cast<uint32_t>(rates.request_volume) &&
         candidate.success_rate < success_threshold_;
}

bool HealthComparisons::FailurePercentageIsHigh(size_t place) const {
  const Candidate& candidate = candidates_[place];
  const auto& percentage = options_.failure_percentage;
  return failure_percentage_ &&
         candidate.total >= static_cast<uint32_t>(percentage.request_volume) &&
         (1 - candidate.success_rate) * 100 >= percentage.threshold - 1e-9;
}

}  // namespace mesh::resilience
