#include "mesh/resilience/concurrency_limit.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace mesh::resilience {
namespace {

constexpr int64_t kSecond = 1'000'000'000;  // ns

// A window is at least this long, as long as a call takes, and has this many
// calls. That is enough to know the mean of anything to a quarter.
constexpr int64_t kMinWindow = kSecond / 25;
constexpr int64_t kMinCalls = 16;
// Windows that show the latency without queue have more.
constexpr double kBaseCalls = 64;
// Short calls end first among calls that begin together. The first ones seen
// say too little, for so many latencies.
constexpr double kWarmUp = 5;

// How much latency may change by itself in ten seconds.
constexpr double kDrift = 0.1;
// The assumption about a mean of calls before their spread is known: their
// deviation is as large as the mean, as with exponential service times.
// Relative, squared.
double VarianceOfMean(double calls) { return 1 / std::max(1.0, calls); }
// How much of the way the limit goes in one window.
double Gain(double calls) {
  return kDrift * kDrift / (kDrift * kDrift + VarianceOfMean(calls));
}

// Up to this much above the latency without queue, there is no queue.
constexpr double kNoQueue = 1.1;
// A mean above it raises it more slowly than one below lowers it. Otherwise
// light load would pass for no load.
constexpr double kRise = 0.1;

// The limit grows only below this much of the target, so that one more call
// fits.
constexpr double kGrowBelow = 0.9;
constexpr double kMostGrowth = 1.25;  // A window.
constexpr double kMostCut = 0.5;      // A window.
constexpr double kFarAbove = 1.5;     // Times the target: that is not noise.

// When the latency without queue is measured, at what limit (of the calls that
// are worked on) and with how many calls.
constexpr int64_t kLater = 10 * kSecond;
constexpr int64_t kSoon = kSecond;  // After one that changed much.
constexpr double kMuch = 0.05;
constexpr double kMeasureShare = 0.7;
constexpr double kMinSamples = 16;
constexpr double kMaxSamples = 64;

// A latency that falls below this share of itself with a lower limit has
// fallen: it has not stayed what it was.
constexpr double kFell = 0.85;
constexpr double kStayed = 0.9;
// A latency that has stayed above this much of the target means that the
// latency without queue is higher than was thought. It may be taken to be this
// many times as high.
constexpr double kTooSlow = 1.1;
constexpr double kMostRise = 1.5;
// The weight of a window in the mean that decides about that, and growth.
constexpr double kSmooth = 0.2;

options::AdaptiveConcurrencyOptions Sane(
    options::AdaptiveConcurrencyOptions options) {
  options.min_limit = std::clamp(options.min_limit, 1,
                                 static_cast<int>(ConcurrencyLimit::kMaxLimit));
  if (!(options.latency_factor >= 1.01)) options.latency_factor = 1.01;
  options.latency_factor = std::min(options.latency_factor, 1e6);
  return options;
}

ConcurrencyLimit::Totals TotalsOf(const CallTotals& totals) {
  return {totals.timed, totals.latency};
}

}  // namespace

ConcurrencyLimit::ConcurrencyLimit(
    const options::AdaptiveConcurrencyOptions& options, const Totals& totals,
    int64_t now)
    : options_(Sane(options)),
      random_(static_cast<uint64_t>(now)),
      limit_(FirstLimit(options)),
      begin_(now),
      window_start_(now),
      window_totals_(totals),
      measure_at_(now) {}

int ConcurrencyLimit::FirstLimit(
    const options::AdaptiveConcurrencyOptions& options) {
  return std::max(static_cast<int>(kInitialLimit), Sane(options).min_limit);
}

void ConcurrencyLimit::SetOptions(
    const options::AdaptiveConcurrencyOptions& options) {
  options_ = Sane(options);
  if (options_.mode != options::Mode::kEnforce) measuring_ = false;
  Clamp();
}

int ConcurrencyLimit::limit() const {
  const double limit = measuring_ ? std::min(limit_, level_) : limit_;
  return std::max(1, static_cast<int>(limit));
}

void ConcurrencyLimit::Clamp() {
  limit_ =
      std::clamp(limit_, static_cast<double>(options_.min_limit), kMaxLimit);
}

void ConcurrencyLimit::Update(const Totals& totals, bool met, int64_t now) {
  if (measuring_) {
    if (now >= level_until_ || has_samples()) EndLevel(now);
    // What was seen meanwhile belongs to the time before, or to the
    // measurement. So does what ends soon after it.
    StartWindow(totals,
                now + (measuring_ ? 0 : static_cast<int64_t>(latency_)));
    return;
  }
  if (now < window_start_) {
    StartWindow(totals, window_start_);
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
  smooth_latency_ +=
      (smooth_latency_ == 0 ? 1 : kSmooth) * (window.latency - smooth_latency_);
  Adapt(window);
  if (!suspect_base_ && LatencyStays(window)) {
    suspect_base_ = true;
    measure_at_ = std::min(measure_at_, std::max(now, measured_at_ + kSoon));
  }
  if (options_.mode == options::Mode::kEnforce && now >= measure_at_ &&
      window.used && (!measured_ || window.latency > kNoQueue * base_)) {
    StartMeasuring(window, now);
  }
}

bool ConcurrencyLimit::LatencyStays(const Window& window) {
  if (limit_ >= high_limit_) {
    high_limit_ = limit_;
    high_latency_ = smooth_latency_;
  }
  high_latency_ = std::max(high_latency_, smooth_latency_);
  const bool halved = limit_ < high_limit_ / 2;
  const bool stays = smooth_latency_ > kFell * high_latency_;
  if (halved) {
    high_limit_ = limit_;
    high_latency_ = smooth_latency_;
  }
  const bool least = limit_ <= options_.min_limit;
  return window.used && smooth_latency_ > kTooSlow * Target() &&
         (least || (halved && stays));
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
  if (queued && options_.mode == options::Mode::kEnforce) return;
  double gain = Believe(VarianceOfMean(base_calls_), now);
  if (latency < base_ * (1 - 3 / std::sqrt(base_calls_))) gain = 1;
  if (latency > base_) gain *= kRise;
  // (In observe mode nothing can be measured: what is there becomes normal, in
  // the end.)
  base_ += gain * (std::min(latency, kNoQueue * base_) - base_);
  if (!queued && measured_) {  // It holds; no need to measure it.
    measure_at_ = std::max(measure_at_, now + kLater);
  }
}

void ConcurrencyLimit::Adapt(const Window& window) {
  if (!window.used) return;
  if (window.latency > Target()) {
    const double wanted = window.per_ns * Target();
    if (wanted < limit_) {
      const double gain =
          window.latency > kFarAbove * Target() ? 1 : Gain(window.calls);
      limit_ += gain * (std::max(wanted, kMostCut * limit_) - limit_);
    }
  } else if (std::max(window.latency, smooth_latency_) <
             kGrowBelow * Target()) {
    const double growth = std::min(
        kMostGrowth, Target() / std::max(window.latency, smooth_latency_));
    limit_ += Gain(window.calls) * (growth - 1) * limit_;
  }
  Clamp();
}

void ConcurrencyLimit::StartMeasuring(const Window& window, int64_t now) {
  measuring_ = true;
  measured_at_ = now;
  base_before_ = base_;
  level_latency_ = window.latency;
  if (!measured_ || suspect_base_) doubt_ = 1;
  // How many calls are under way where nothing waits.
  const double busy =
      std::min(limit_ / options_.latency_factor, window.per_ns * base_);
  StartLevel(kMeasureShare * busy, now);
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
    // Where latency fell as the limit did, there was a queue, and there may be
    // one still.
    const bool as_known = measured_ && !suspect_base_ &&
                          std::abs(mean / base_ - 1) < kNoQueue - 1;
    if (mean < kFell * level_latency_ && level_ > 1 && !as_known) {
      level_latency_ = mean;
      StartLevel(level_ / 2, now);
      return;
    }
    double base = base_ + Believe(spread_ / samples_, now) * (mean - base_);
    bool stays = false;
    if (measured_ && mean > kNoQueue * base_) {
      // This may be the queue of other clients. So the latency without queue
      // rises only if latency stayed high as the limit fell, and by little.
      stays = suspect_base_ && mean > kStayed * level_latency_;
      base = std::min(base, (stays ? kMostRise : 1) * base_);
    }
    suspect_base_ = stays;
    change = base / base_ - 1;
    base_ = base;
  }
  measuring_ = false;
  measured_ = true;
  high_limit_ = 0;
  // The limit was found for another latency.
  if (base_ < (1 - kDrift) * base_before_) {
    limit_ *= base_ / base_before_;
    Clamp();
  }
  // Rarely, and for a small part of the time.
  const bool soon = std::abs(change) > kMuch;
  const int64_t took = now - measured_at_;
  const auto pause = static_cast<double>(
      soon ? std::max(kSoon, (suspect_base_ ? 3 : 10) * took)
           : std::max(kLater, 20 * took));
  measure_at_ =
      now + static_cast<int64_t>(pause * (0.8 + 0.4 * random_.Unit()));
}

// ---- The guard ----

ConcurrencyGuard::ConcurrencyGuard(
    const options::AdaptiveConcurrencyOptions& options, int64_t now)
    : mode_(options.mode), options_(options), began_(now) {
  base::MutexLock lock(&mu_);
  Publish();
}

void ConcurrencyGuard::SetOptions(
    const options::AdaptiveConcurrencyOptions& options,
    const CallTotals& totals, int64_t now) {
  base::MutexLock lock(&mu_);
  options_ = options;
  if (options.mode == options::Mode::kOff) {
    concurrency_ = nullptr;
  } else if (!on()) {
    // A limit that was off begins anew: its counts are old.
    concurrency_ =
        std::make_unique<ConcurrencyLimit>(options, TotalsOf(totals), now);
  } else if (concurrency_ != nullptr) {
    concurrency_->SetOptions(options);
  }
  mode_.store(options.mode, std::memory_order_relaxed);
  Publish();
}

void ConcurrencyGuard::Publish() {
  const bool made = concurrency_ != nullptr;
  measuring_.store(made && concurrency_->measuring(),
                   std::memory_order_relaxed);
  limit_.store(!on()  ? kNoLimit
               : made ? concurrency_->limit()
                      : ConcurrencyLimit::FirstLimit(options_),
               std::memory_order_relaxed);
  base_.store(made ? concurrency_->base_ns() : 0, std::memory_order_relaxed);
}

void ConcurrencyGuard::Update(const CallTotals& totals, int64_t now) {
  if (!on()) return;
  base::MutexLock lock(&mu_);
  if (concurrency_ == nullptr) {
    concurrency_ = std::make_unique<ConcurrencyLimit>(
        options_, ConcurrencyLimit::Totals(), began_);
  }
  concurrency_->Update(TotalsOf(totals),
                       met_limit_.exchange(false, std::memory_order_relaxed),
                       now);
  Publish();
}

bool ConcurrencyGuard::Admit(Asking* asking) {
  if (asking->ticket->stream) {
    streams_.Take();
    return true;
  }
  const options::Mode mode = mode_.load(std::memory_order_relaxed);
  if (asking->probes || mode == options::Mode::kOff) return true;
  const int64_t most = limit();
  if (asking->calls - streams_.count() > most) {
    met_limit_.store(true, std::memory_order_relaxed);
    if (mode == options::Mode::kEnforce) {
      return asking->Refuse(
          base::Guard::kAdaptiveConcurrency,
          absl::StatusCode::kResourceExhausted,
          absl::StrCat(
              "too many calls are under way: guards.adaptive_concurrency "
              "allows ",
              most, ", by the latency. Make fewer at once, or add servers."));
    }
    asking->Observe(base::Guard::kAdaptiveConcurrency);
  } else if (!quiet()) {
    base::MutexLock lock(&mu_);
    asking->ticket->sample =
        concurrency_ != nullptr && concurrency_->TakeSample();
  }
  return true;
}

void ConcurrencyGuard::Undo(const Asking& asking) {
  if (asking.ticket->stream) {
    streams_.Give();
  } else if (asking.ticket->sample) {
    LoseSample();
  }
}

bool ConcurrencyGuard::EndSample(int64_t latency_ns) {
  base::MutexLock lock(&mu_);
  if (concurrency_ == nullptr) return false;
  concurrency_->OnSample(latency_ns);
  return concurrency_->has_samples();
}

void ConcurrencyGuard::LoseSample() {
  base::MutexLock lock(&mu_);
  if (concurrency_ != nullptr) concurrency_->LoseSample();
}

void ConcurrencyGuard::Describe(AdmissionState* state) const {
  if (!on()) return;
  base::MutexLock lock(&mu_);
  state->concurrency_limit = concurrency_ != nullptr
                                 ? static_cast<int>(concurrency_->found())
                                 : ConcurrencyLimit::FirstLimit(options_);
  state->concurrency = state->calls - streams_.count();
  if (concurrency_ != nullptr) {
    state->min_latency = absl::Nanoseconds(concurrency_->base_ns());
  }
}

}  // namespace mesh::resilience
