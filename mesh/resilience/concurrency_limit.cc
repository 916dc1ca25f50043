#include "mesh/resilience/concurrency_limit.h"

#include <algorithm>
#include <cmath>

namespace mesh::resilience {
namespace {

constexpr int64_t kSecond = 1'000'000'000;  // ns

// A window is at least this long, as long as a call takes, and has this many
// calls: enough to know the mean of anything to a quarter.
constexpr int64_t kMinWindow = kSecond / 25;
constexpr int64_t kMinCalls = 16;
// Windows that show the latency without queue have more.
constexpr double kBaseCalls = 64;
// Of calls that begin together the short ones end first: the first ones seen
// say too little, for so many latencies.
constexpr double kWarmUp = 5;

// How much latency may change by itself in ten seconds.
constexpr double kDrift = 0.1;
// What is said of a mean of calls before anything is known of their spread:
// that their deviation is as large as the mean, as where service times are
// exponential. Relative, squared.
double VarianceOfMean(double calls) { return 1 / std::max(1.0, calls); }
// How much of the way the limit goes in one window.
double Gain(double calls) {
  return kDrift * kDrift / (kDrift * kDrift + VarianceOfMean(calls));
}

// Up to so much above the latency without queue there is none.
constexpr double kNoQueue = 1.1;
// What is above it raises it more slowly than what is below it lowers it, or
// light load would pass for none.
constexpr double kRise = 0.1;

// The limit grows only below so much of the target: one call more must fit.
constexpr double kGrowBelow = 0.9;
constexpr double kMostGrowth = 1.25;  // A window.
constexpr double kMostCut = 0.5;      // A window.
constexpr double kFarAbove = 2;       // Times the target: that is not noise.
constexpr double kAimdCut = 0.9;

// Measuring.
constexpr int64_t kMeasureEvery = 10 * kSecond;
constexpr int64_t kMeasureSoon = kSecond;  // After one that changed much.
constexpr int64_t kMeasurePause = 10;      // Times what it took, at least.
constexpr double kMuch = 0.05;
constexpr double kMeasureShare = 0.7;  // Of limit / latency_factor.
constexpr double kMinSamples = 16;
constexpr double kMaxSamples = 64;
// Latency that fell so much when the limit was lowered was waiting among our
// own calls; that did not fall even so much, was not.
constexpr double kOwn = 0.65;
constexpr double kStayed = 0.9;
constexpr double kFell = 0.85;
constexpr double kSmooth = 0.2;
constexpr double kMostRise = 1.1;
config::AdaptiveConcurrencyOptions Sane(
    config::AdaptiveConcurrencyOptions options) {
  options.min_limit = std::max(1, options.min_limit);
  options.max_limit = std::max(options.min_limit, options.max_limit);
  if (!(options.latency_factor >= 1.01)) options.latency_factor = 1.01;
  options.latency_factor = std::min(options.latency_factor, 1e6);
  return options;
}

}  // namespace

ConcurrencyLimit::ConcurrencyLimit(
    const config::AdaptiveConcurrencyOptions& options, const Totals& totals,
    int64_t now)
    : options_(Sane(options)),
      random_(static_cast<uint64_t>(now)),
      limit_(options_.initial_limit),
      begin_(now),
      window_start_(now),
      window_totals_(totals),
      measure_at_(now) {
  Clamp();
}

void ConcurrencyLimit::SetOptions(
    const config::AdaptiveConcurrencyOptions& options) {
  options_ = Sane(options);
  if (options_.mode != config::Mode::kEnforce) measuring_ = false;
  Clamp();
}

int ConcurrencyLimit::limit() const {
  const double limit = measuring_ ? std::min(limit_, level_) : limit_;
  return std::max(1, static_cast<int>(limit));
}

void ConcurrencyLimit::Clamp() {
  limit_ = std::clamp(limit_, static_cast<double>(options_.min_limit),
                      static_cast<double>(options_.max_limit));
}

void ConcurrencyLimit::Update(const Totals& totals, bool met, int64_t now) {
  if (measuring_) {
    if (now >= level_until_ || has_samples()) EndLevel(now);
    // What was seen meanwhile is of before, or of the measurement.
    StartWindow(totals, now);
    return;
  }
  met_ = met_ || met;
  const int64_t elapsed = now - window_start_;
  const int64_t calls = totals.calls - window_totals_.calls;
  if (elapsed < kMinWindow || static_cast<double>(elapsed) < latency_ ||
      calls < kMinCalls) {
    return;
  }
  Window window;
  window.calls = static_cast<double>(calls);
  window.latency = std::max(
      1.0, static_cast<double>(totals.latency_ns - window_totals_.latency_ns) /
               window.calls);
  window.per_ns = window.calls / static_cast<double>(elapsed);
  window.used = met_ || window.per_ns * window.latency > limit_ / 2;
  window.overloaded = totals.overloaded > window_totals_.overloaded;
  StartWindow(totals, now);
  EndWindow(window, now);
}

void ConcurrencyLimit::StartWindow(const Totals& totals, int64_t now) {
  window_start_ = now;
  window_totals_ = totals;
  met_ = false;
}

void ConcurrencyLimit::EndWindow(const Window& window, int64_t now) {
  latency_ = window.latency;
  if (base_ == 0 &&
      static_cast<double>(now - begin_) < kWarmUp * window.latency) {
    return;
  }
  base_calls_ += window.calls;
  base_latency_ += window.calls * window.latency;
  if (base_ == 0 || base_calls_ >= kBaseCalls || window.latency < base_ / 2) {
    LearnBase(base_latency_ / base_calls_, now);
    base_calls_ = 0;
    base_latency_ = 0;
  }
  Adapt(window);
  smooth_latency_ +=
      (smooth_latency_ == 0 ? 1 : kSmooth) * (window.latency - smooth_latency_);
  if (limit_ >= high_limit_) {
    high_limit_ = limit_;
    high_latency_ = smooth_latency_;
  }
  high_latency_ = std::max(high_latency_, smooth_latency_);
  if (limit_ < kMostCut * high_limit_) {
    // With half the calls latency is what it was: it is not they that queue.
    if (smooth_latency_ > kFell * high_latency_) {
      suspect_base_ = true;
      measure_at_ = now;
    }
    high_limit_ = limit_;
    high_latency_ = smooth_latency_;
  }
  if (options_.mode == config::Mode::kEnforce && now >= measure_at_ &&
      window.used && (!measured_ || window.latency > kNoQueue * base_)) {
    measuring_ = true;
    base_before_ = base_;
    if (!measured_ || suspect_base_) doubt_ = 1;
    measure_start_ = now;
    latency_before_ = level_latency_ = window.latency;
    // What is under way where nothing waits.
    const double busy =
        std::min(limit_ / options_.latency_factor, window.per_ns * base_);
    StartLevel(kMeasureShare * busy, now);
  }
}

double ConcurrencyLimit::Believe(double variance, int64_t now) {
  const double pause = std::clamp(
      static_cast<double>(now - believed_at_) / (10.0 * kSecond), 0.0, 100.0);
  believed_at_ = now;
  doubt_ = std::min(1.0, doubt_ + kDrift * kDrift * pause);
  const double gain = doubt_ / (doubt_ + variance);
  doubt_ *= 1 - gain;
  return gain;
}

void ConcurrencyLimit::LearnBase(double latency, int64_t now) {
  if (base_ == 0) {
    base_ = latency;
    believed_at_ = now;
    doubt_ = 1;
    return;
  }
  const bool queued = latency > kNoQueue * base_;
  if (queued && options_.mode == config::Mode::kEnforce) return;
  double gain = Believe(VarianceOfMean(base_calls_), now);
  if (latency < base_ * (1 - 3 / std::sqrt(base_calls_))) gain = 1;
  if (latency > base_) gain *= kRise;
  // (In observe mode nothing can be measured: what is there becomes normal, in
  // the end.)
  base_ += gain * (std::min(latency, kNoQueue * base_) - base_);
  if (!queued && measured_) {  // It holds; no need to measure it.
    measure_at_ = std::max(measure_at_, now + kMeasureEvery);
  }
}

void ConcurrencyLimit::Adapt(const Window& window) {
  if (!window.used) return;
  if (options_.algorithm ==
      config::AdaptiveConcurrencyOptions::Algorithm::kAimd) {
    if (window.overloaded || window.latency > Target()) {
      limit_ *= kAimdCut;
    } else {
      limit_ += 1;
    }
  } else if (window.latency > Target()) {
    const double wanted = window.per_ns * Target();
    if (wanted < limit_) {
      const double gain =
          window.latency > kFarAbove * Target() ? 1 : Gain(window.calls);
      limit_ += gain * (std::max(wanted, kMostCut * limit_) - limit_);
    }
  } else if (window.latency < kGrowBelow * Target()) {
    const double growth = std::min(kMostGrowth, Target() / window.latency);
    limit_ += Gain(window.calls) * (growth - 1) * limit_;
  }
  Clamp();
}

void ConcurrencyLimit::StartLevel(double level, int64_t now) {
  level_ = std::max(1.0, level);
  wanted_ = static_cast<int>(
      std::clamp(spread_ / (kDrift * kDrift), kMinSamples,
                 std::clamp(8 * level_, kMinSamples, kMaxSamples)));
  taken_ = 0;
  samples_ = 0;
  sample_sum_ = 0;
  sample_squares_ = 0;
  const double rounds = 4 + wanted_ / level_;
  level_until_ =
      now + kSecond / 20 +
      static_cast<int64_t>(std::min(rounds * std::max(base_, latency_), 60e9));
}

bool ConcurrencyLimit::TakeSample() {
  if (!measuring_ || taken_ >= wanted_) return false;
  ++taken_;
  return true;
}

void ConcurrencyLimit::OnSample(int64_t latency_ns) {
  if (!measuring_) return;
  const double latency = static_cast<double>(std::max<int64_t>(1, latency_ns));
  ++samples_;
  sample_sum_ += latency;
  sample_squares_ += latency * latency;
}

void ConcurrencyLimit::LoseSample() {
  if (measuring_ && taken_ > 0) --taken_;
}

void ConcurrencyLimit::EndLevel(int64_t now) {
  double change = 0;
  if (samples_ >= kMinSamples / 2) {
    const double mean = sample_sum_ / samples_;
    spread_ = std::max(0.0, sample_squares_ / samples_ / (mean * mean) - 1);
    // Where latency fell as the limit did there was a queue, and may be still.
    const bool as_known = measured_ && !suspect_base_ &&
                          std::abs(mean / base_ - 1) < kNoQueue - 1;
    if (mean < kFell * level_latency_ && level_ > 1 && !as_known) {
      level_latency_ = mean;
      StartLevel(level_ / 2, now);
      return;
    }
    double base = base_ + Believe(spread_ / samples_, now) * (mean - base_);
    if (measured_ && base > base_ && mean > kOwn * latency_before_) {
      // Not all that waited was ours, so others may have made it slow.
      const double most = mean < kStayed * latency_before_ ? 1
                          : suspect_base_                  ? 2
                                                           : kMostRise;
      base = std::min(base, most * base_);
    }
    change = base / base_ - 1;
    base_ = base;
  }
  measuring_ = false;
  measured_ = true;
  suspect_base_ = false;
  high_limit_ = 0;
  // The limit was found for another latency.
  if (base_ < (1 - kDrift) * base_before_) {
    limit_ *= base_ / base_before_;
    Clamp();
  }
  const bool soon = std::abs(change) > kMuch;
  const auto pause = static_cast<double>(
      std::max(soon ? kMeasureSoon : kMeasureEvery,
               (soon ? 1 : 2) * kMeasurePause * (now - measure_start_)));
  measure_at_ =
      now + static_cast<int64_t>(pause * (0.8 + 0.4 * random_.Unit()));
}

}  // namespace mesh::resilience
