#include "mesh/resilience/admission.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/resilience/failures.h"

namespace mesh::resilience {
namespace {

using options::Guard;
using options::Mode;

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int64_t kUpdateEvery = 20'000'000;         // ns
constexpr int64_t kLongestCall = 3'600'000'000'000;  // Latencies count as less.

constexpr auto relaxed = std::memory_order_relaxed;

// Not taken by the service, or not finished.
constexpr options::StatusCodeSet kRejections =
    options::StatusCodeSet::Of(absl::StatusCode::kUnavailable)
        .With(absl::StatusCode::kDeadlineExceeded)
        .With(absl::StatusCode::kResourceExhausted);

// Times with which nothing overflows.
int64_t Sane(int64_t time) {
  return std::clamp<int64_t>(time, 0, int64_t{1} << 62);
}

int64_t Most(int cap) { return cap > 0 ? cap : kNever; }

void Report(Admission::Listener* listener, Guard guard) {
  if (listener == nullptr) return;
  Refusal refusal;
  refusal.guard = guard;
  refusal.observed = true;
  listener->OnRefusal(refusal);
}

Refusal Refuse(Admission::Listener* listener, Guard guard,
               absl::StatusCode code, std::string why) {
  Refusal refusal;
  refusal.guard = guard;
  refusal.code = code;
  refusal.why = std::move(why);
  if (listener != nullptr) listener->OnRefusal(refusal);
  return refusal;
}

absl::string_view NameOf(CircuitBreaker::State state) {
  switch (state) {
    case CircuitBreaker::State::kClosed:
      return "closed";
    case CircuitBreaker::State::kOpen:
      return "open";
    case CircuitBreaker::State::kHalfOpen:
      return "half_open";
  }
  return "";
}

}  // namespace

Admission::Admission(const options::GuardOptions& options, absl::Time now)
    : rate_limiter_(options.rate_limit),
      options_(options),
      breaker_(options.breaker, {}),
      throttle_(options.throttle, {}),
      concurrency_(options.adaptive_concurrency, {},
                   Sane(absl::ToUnixNanos(now))),
      updated_(Sane(absl::ToUnixNanos(now))) {
  base::MutexLock lock(&mu_);
  SetModes();
  Publish();
}

Admission::~Admission() = default;

void Admission::SetOptions(const options::GuardOptions& options) {
  rate_limiter_.SetOptions(options.rate_limit);
  base::MutexLock lock(&mu_);
  const options::GuardOptions old = std::exchange(options_, options);
  // What was off begins anew: its counts are of long ago.
  if (old.breaker.mode == Mode::kOff) {
    breaker_ = CircuitBreaker(options.breaker, BreakerTotals(Sum()));
  } else {
    breaker_.SetOptions(options.breaker);
  }
  if (old.throttle.mode == Mode::kOff) {
    throttle_ = Throttle(options.throttle, ThrottleTotals(Sum()));
  } else {
    throttle_.SetOptions(options.throttle);
  }
  if (old.adaptive_concurrency.mode == Mode::kOff) {
    concurrency_ = ConcurrencyLimit(options.adaptive_concurrency,
                                    ConcurrencyTotals(Sum()), updated_);
  } else {
    concurrency_.SetOptions(options.adaptive_concurrency);
  }
  SetModes();
  Publish();
}

void Admission::SetModes() {
  const options::CapsOptions& caps = options_.caps;
  caps_mode_.store(caps.mode, relaxed);
  max_calls_.store(Most(caps.max_calls), relaxed);
  max_waiting_.store(Most(caps.max_waiting), relaxed);
  max_retries_.store(Most(caps.max_retries), relaxed);
  breaker_mode_.store(options_.breaker.mode, relaxed);
  throttle_mode_.store(options_.throttle.mode, relaxed);
  limit_mode_.store(options_.adaptive_concurrency.mode, relaxed);
  rate_limited_.store(options_.rate_limit.mode != Mode::kOff, relaxed);
  const int64_t slow_call = absl::ToInt64Nanoseconds(
      std::clamp(options_.breaker.slow_call, absl::ZeroDuration(),
                 absl::Nanoseconds(kLongestCall)));
  slow_call_.store(slow_call, relaxed);
  slow_.store(static_cast<uint64_t>(slow_call), relaxed);
}

void Admission::Publish() {
  const bool breaker_closed =
      breaker_.state() == CircuitBreaker::State::kClosed;
  const double probability = throttle_.probability();
  const bool measuring = concurrency_.measuring();
  const int64_t limit =
      limit_mode_.load(relaxed) == Mode::kOff ? kNever : concurrency_.limit();
  breaker_closed_.store(breaker_closed, relaxed);
  throttle_probability_.store(probability, relaxed);
  limit_.store(limit, relaxed);
  measuring_.store(measuring, relaxed);
  base_.store(concurrency_.base_ns(), relaxed);

  const bool quiet = breaker_closed && probability == 0 && !measuring &&
                     !rate_limited_.load(relaxed);
  // A limit of adaptive concurrency has streams on top, which are not counted
  // here: a call too many asks, and that is all.
  const int64_t max_calls = caps_mode_.load(relaxed) == Mode::kOff
                                ? kNever
                                : max_calls_.load(relaxed);
  quiet_.store(quiet ? std::min(max_calls, limit) : 0, relaxed);
  const bool nothing = breaker_mode_.load(relaxed) == Mode::kOff &&
                       throttle_mode_.load(relaxed) == Mode::kOff &&
                       limit == kNever;
  due_.store(nothing ? kNever : updated_ + kUpdateEvery, relaxed);
}

void Admission::Update(int64_t now) {
  now = Sane(now);
  if (!mu_.TryLock()) return;
  if (now >= due_.load(relaxed)) {
    UpdateLocked(now);
    Publish();
  }
  mu_.Unlock();
}

Admission::Totals Admission::Sum() const {
  Totals sum;
  for (const Shard& shard : shards_) {
    sum.timed += shard.timed.load(relaxed);
    sum.latency += shard.latency.load(relaxed);
    sum.untimed += shard.untimed.load(relaxed);
    sum.failed += shard.failed.load(relaxed);
    sum.rejected += shard.rejected.load(relaxed);
    sum.slow += shard.slow.load(relaxed);
  }
  return sum;
}

CircuitBreaker::Totals Admission::BreakerTotals(const Totals& sum) const {
  return {sum.timed + sum.untimed, sum.failed, sum.slow};
}

Throttle::Totals Admission::ThrottleTotals(const Totals& sum) const {
  const int64_t calls = sum.timed + sum.untimed;
  return {calls + dropped_.load(relaxed), calls - sum.rejected};
}

ConcurrencyLimit::Totals Admission::ConcurrencyTotals(const Totals& sum) const {
  return {sum.timed, sum.latency, sum.rejected};
}

void Admission::UpdateLocked(int64_t now) {
  const Totals sum = Sum();
  updated_ = now;
  if (breaker_mode_.load(relaxed) != Mode::kOff) {
    breaker_.Update(BreakerTotals(sum), now);
  }
  if (throttle_mode_.load(relaxed) != Mode::kOff) {
    throttle_.Update(ThrottleTotals(sum), now);
  }
  if (limit_mode_.load(relaxed) != Mode::kOff) {
    concurrency_.Update(ConcurrencyTotals(sum),
                        met_limit_.exchange(false, relaxed), now);
  }
}

std::optional<Refusal> Admission::Ask(
    absl::string_view method, const options::RateLimitOptions& method_limit,
    base::Random* random, Listener* listener, Ticket* ticket) {
  const int64_t now = ticket->start = Sane(ticket->start);
  // When all are refused, nobody else will.
  if (now >= due_.load(relaxed)) Update(now);

  const int64_t calls = calls_.Take();
  const Mode caps_mode = caps_mode_.load(relaxed);
  const int64_t max_calls = max_calls_.load(relaxed);
  if (calls > max_calls && caps_mode != Mode::kOff) {
    if (caps_mode == Mode::kEnforce) {
      calls_.Give();
      return Refuse(listener, Guard::kMaxCalls,
                    absl::StatusCode::kResourceExhausted,
                    absl::StrCat("too many calls are under way: "
                                 "caps.max_calls is ",
                                 max_calls));
    }
    Report(listener, Guard::kMaxCalls);
  }

  const Mode breaker_mode = breaker_mode_.load(relaxed);
  if (!breaker_closed_.load(relaxed) && breaker_mode != Mode::kOff) {
    std::string why;
    bool refused = false;
    {
      base::MutexLock lock(&mu_);
      const CircuitBreaker::Verdict verdict = breaker_.Admit(now);
      ticket->probe = verdict.probe;
      refused = !verdict.admitted;
      if (refused && breaker_mode == Mode::kEnforce) why = breaker_.Why(now);
    }
    if (refused) {
      if (breaker_mode == Mode::kEnforce) {
        calls_.Give();
        return Refuse(listener, Guard::kBreaker, absl::StatusCode::kUnavailable,
                      std::move(why));
      }
      Report(listener, Guard::kBreaker);
    }
  }
  const bool probe = ticket->probe != 0 && breaker_mode == Mode::kEnforce;

  const Mode throttle_mode = throttle_mode_.load(relaxed);
  const double probability = throttle_probability_.load(relaxed);
  if (probability > 0 && !probe && throttle_mode != Mode::kOff &&
      random->Unit() < probability) {
    if (throttle_mode == Mode::kEnforce) {
      calls_.Give();
      dropped_.fetch_add(1, relaxed);
      std::string why;
      {
        base::MutexLock lock(&mu_);
        breaker_.OnProbeLost(ticket->probe);
        why = throttle_.Why();
      }
      return Refuse(listener, Guard::kThrottle, absl::StatusCode::kUnavailable,
                    std::move(why));
    }
    Report(listener, Guard::kThrottle);
  }

  const Mode limit_mode = limit_mode_.load(relaxed);
  if (!ticket->stream && !probe && limit_mode != Mode::kOff) {
    const int64_t limit = limit_.load(relaxed);
    const int64_t counted = calls - streams_.count();
    if (counted > limit) {
      met_limit_.store(true, relaxed);
      if (limit_mode == Mode::kEnforce) {
        calls_.Give();
        if (ticket->probe != 0) {
          base::MutexLock lock(&mu_);
          breaker_.OnProbeLost(ticket->probe);
        }
        return Refuse(listener, Guard::kAdaptiveConcurrency,
                      absl::StatusCode::kResourceExhausted,
                      absl::StrCat("too many calls are under way: adaptive "
                                   "concurrency allows ",
                                   limit));
      }
      Report(listener, Guard::kAdaptiveConcurrency);
    } else if (measuring_.load(relaxed)) {
      base::MutexLock lock(&mu_);
      ticket->sample = concurrency_.TakeSample();
    }
  }

  if (rate_limited_.load(relaxed) || method_limit.mode != Mode::kOff) {
    bool observed = false;
    const RateLimiter::Verdict verdict =
        rate_limiter_.TryTake(method, method_limit, now, &observed);
    if (verdict != RateLimiter::Verdict::kAdmit) {
      calls_.Give();
      if (ticket->probe != 0 || ticket->sample) {
        base::MutexLock lock(&mu_);
        breaker_.OnProbeLost(ticket->probe);
        if (ticket->sample) concurrency_.LoseSample();
      }
      return Refuse(listener, Guard::kRateLimit,
                    absl::StatusCode::kResourceExhausted,
                    rate_limiter_.Why(verdict, method, method_limit));
    }
    if (observed) Report(listener, Guard::kRateLimit);
  }

  if (ticket->stream) streams_.Take();
  ticket->held = true;
  return std::nullopt;
}

void Admission::EndSpecial(const Ticket& ticket, absl::StatusCode code,
                           int64_t now) {
  if (!ticket.held) return;
  calls_.Give();
  if (ticket.stream) streams_.Give();

  now = Sane(now);
  const int64_t latency =
      std::clamp<int64_t>(now - Sane(ticket.start), 0, kLongestCall);
  const bool cancelled = code == absl::StatusCode::kCancelled;
  const bool failed = kFailures.Contains(code);
  const bool slow = !ticket.stream && latency >= slow_call_.load(relaxed) &&
                    slow_call_.load(relaxed) < kLongestCall;
  // Answers without fault. Others come faster than work is done, and only show
  // how slow the service is when they come late.
  const bool timed = !ticket.stream &&
                     (code == absl::StatusCode::kOk ||
                      (code == absl::StatusCode::kDeadlineExceeded &&
                       static_cast<double>(latency) > 2 * base_.load(relaxed)));
  if (!cancelled) {
    Shard& shard = shards_[base::ThisShard()];
    if (timed) {
      shard.timed.fetch_add(1, relaxed);
      shard.latency.fetch_add(latency, relaxed);
    } else {
      shard.untimed.fetch_add(1, relaxed);
    }
    if (failed) shard.failed.fetch_add(1, relaxed);
    if (kRejections.Contains(code)) shard.rejected.fetch_add(1, relaxed);
    if (slow) shard.slow.fetch_add(1, relaxed);
  }
  if (ticket.probe == 0 && !ticket.sample) return;
  base::MutexLock lock(&mu_);
  if (ticket.probe != 0) {
    if (cancelled) {
      breaker_.OnProbeLost(ticket.probe);
    } else {
      breaker_.OnProbeEnd(ticket.probe, !failed && !slow, now);
    }
    Publish();
  }
  if (ticket.sample) {
    if (timed) {
      concurrency_.OnSample(latency);
      if (concurrency_.has_samples()) due_.store(now, relaxed);
    } else {
      concurrency_.LoseSample();
    }
  }
}

bool Admission::TryTakeCapped(Cap* cap, const std::atomic<int64_t>& most,
                              Guard guard, Listener* listener) {
  const Mode mode = caps_mode_.load(relaxed);
  const int64_t count = cap->Take();
  if (mode == Mode::kOff || count <= most.load(relaxed)) return true;
  if (mode == Mode::kObserve) {
    Report(listener, guard);
    return true;
  }
  cap->Give();
  const bool waiting = guard == Guard::kMaxWaiting;
  Refuse(listener, guard, absl::StatusCode::kResourceExhausted,
         absl::StrCat(waiting ? "too many calls wait for an endpoint: "
                                "caps.max_waiting is "
                              : "too many retries are under way: "
                                "caps.max_retries is ",
                      most.load(relaxed)));
  return false;
}

bool Admission::TryWait(Listener* listener) {
  return TryTakeCapped(&waiting_, max_waiting_, Guard::kMaxWaiting, listener);
}

bool Admission::TryRetry(Listener* listener) {
  return TryTakeCapped(&retries_, max_retries_, Guard::kMaxRetries, listener);
}

Admission::State Admission::Snapshot(absl::Time now) const {
  State state;
  state.calls = calls_.count();
  state.waiting = waiting_.count();
  state.retries = retries_.count();
  base::MutexLock lock(&mu_);
  if (options_.breaker.mode != Mode::kOff) {
    state.breaker = NameOf(breaker_.state());
    state.breaker_calls = breaker_.calls();
    state.breaker_failed_share = breaker_.failed_share();
    state.breaker_slow_share = breaker_.slow_share();
  }
  if (options_.throttle.mode != Mode::kOff) {
    // Without calls nobody has looked at it for long.
    Throttle throttle = throttle_;
    throttle.Update(ThrottleTotals(Sum()), Sane(absl::ToUnixNanos(now)));
    state.throttle_probability = throttle.probability();
  }
  if (options_.adaptive_concurrency.mode != Mode::kOff) {
    state.concurrency_limit = static_cast<int>(concurrency_.found());
    state.concurrency = state.calls - streams_.count();
    state.min_latency = absl::Nanoseconds(concurrency_.base_ns());
  }
  return state;
}

}  // namespace mesh::resilience
