#include "mesh/resilience/admission.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "mesh/resilience/failures.h"

namespace mesh::resilience {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int64_t kUpdateEvery = 20'000'000;  // ns

constexpr auto relaxed = std::memory_order_relaxed;

// The service did not take the call, or did not finish it.
constexpr options::StatusCodeSet kRejections =
    options::StatusCodeSet::Of(absl::StatusCode::kUnavailable)
        .With(absl::StatusCode::kDeadlineExceeded)
        .With(absl::StatusCode::kResourceExhausted);

// Times with which nothing overflows.
int64_t Sane(int64_t time) {
  return std::clamp<int64_t>(time, 0, int64_t{1} << 62);
}

}  // namespace

Admission::Admission(const options::GuardOptions& options, absl::Time now)
    : breaker_(options.breaker),
      throttle_(options.throttle),
      concurrency_(options.adaptive_concurrency, Sane(absl::ToUnixNanos(now))),
      rate_limiter_(options.rate_limit),
      updated_(Sane(absl::ToUnixNanos(now))) {
  base::MutexLock lock(&mu_);
  caps_.SetOptions(options.caps);
  Publish();
}

Admission::~Admission() = default;

void Admission::SetOptions(const options::GuardOptions& options) {
  base::MutexLock lock(&mu_);
  const CallTotals totals = Sum();
  caps_.SetOptions(options.caps);
  breaker_.SetOptions(options.breaker, totals);
  throttle_.SetOptions(options.throttle, totals);
  concurrency_.SetOptions(options.adaptive_concurrency, totals, updated_);
  rate_limiter_.SetOptions(options.rate_limit);
  Publish();
}

void Admission::Publish() {
  const bool quiet = breaker_.quiet() && throttle_.quiet() &&
                     concurrency_.quiet() && rate_limiter_.quiet();
  // Streams under way come on top of adaptive concurrency's limit, and are not
  // counted here. The only effect is that a call too many asks.
  quiet_.store(quiet ? std::min(caps_.bound(), concurrency_.limit()) : 0,
               relaxed);
  const bool looks = breaker_.on() || throttle_.on() || concurrency_.on();
  due_.store(looks ? updated_ + kUpdateEvery : kNever, relaxed);
}

void Admission::Update(int64_t now) {
  now = Sane(now);
  if (!mu_.TryLock()) return;
  if (now >= due_.load(relaxed)) {
    updated_ = now;
    const CallTotals totals = Sum();
    breaker_.Update(totals, now);
    throttle_.Update(totals, now);
    concurrency_.Update(totals, now);
    Publish();
  }
  mu_.Unlock();
}

CallTotals Admission::Sum() const {
  CallTotals sum;
  for (const base::OnDemand<Shard>& slot : shards_) {
    const Shard* const shard = slot.Find();
    if (shard == nullptr) continue;
    sum.timed += shard->timed.load(relaxed);
    sum.latency += shard->latency.load(relaxed);
    sum.untimed += shard->untimed.load(relaxed);
    sum.failed += shard->failed.load(relaxed);
    sum.rejected += shard->rejected.load(relaxed);
  }
  return sum;
}

template <size_t kFirst>
bool Admission::AskFrom(Asking* asking) {
  auto guards = Guards();
  if constexpr (kFirst == std::tuple_size_v<decltype(guards)>) {
    return true;
  } else {
    auto& guard = std::get<kFirst>(guards);
    if (!guard.Admit(asking)) return false;
    if (AskFrom<kFirst + 1>(asking)) return true;
    guard.Undo(*asking);
    return false;
  }
}

std::optional<Refusal> Admission::Ask(
    absl::string_view method, const options::RateLimitOptions& method_limit,
    base::Random* random, Listener* listener, Ticket* ticket) {
  const int64_t now = ticket->start = Sane(ticket->start);
  Asking asking{method, &method_limit, random, listener, ticket, now};
  if (AskFrom(&asking)) {
    ticket->held = true;
    return std::nullopt;
  }
  if (listener != nullptr) listener->OnRefusal(asking.refusal);
  return std::move(asking.refusal);
}

void Admission::EndSpecial(const Ticket& ticket, absl::StatusCode code,
                           int64_t now) {
  if (!ticket.held) return;
  if (ticket.stream) {
    if (ticket.answered.First()) {
      caps_.Give();
      concurrency_.EndStream();
    }
    caps_.EndStream();
  } else {
    caps_.Give();
  }

  now = Sane(now);
  const int64_t latency =
      std::clamp<int64_t>(now - Sane(ticket.start), 0, kLongestCall);
  const bool cancelled = code == absl::StatusCode::kCancelled;
  const bool failed = kFailures.Contains(code);
  // Answers without fault. Others come faster than work is done, and only show
  // how slow the service is when they come late.
  const bool timed =
      !ticket.stream &&
      (code == absl::StatusCode::kOk ||
       (code == absl::StatusCode::kDeadlineExceeded &&
        static_cast<double>(latency) > 2 * concurrency_.base_ns()));
  if (!cancelled) {
    Shard& shard = shards_[base::ThisShard()].Get();
    if (timed) {
      shard.timed.fetch_add(1, relaxed);
      shard.latency.fetch_add(latency, relaxed);
    } else {
      shard.untimed.fetch_add(1, relaxed);
    }
    if (failed) shard.failed.fetch_add(1, relaxed);
    if (kRejections.Contains(code)) shard.rejected.fetch_add(1, relaxed);
  }
  if (ticket.probe != 0) {
    if (cancelled) {
      breaker_.LoseProbe(ticket);
    } else {
      breaker_.EndProbe(ticket, !failed, now);
    }
    base::MutexLock lock(&mu_);
    Publish();
  }
  if (ticket.sample) {
    // A call that was given up may have waited in a queue for all that time.
    if (code != absl::StatusCode::kOk) {
      concurrency_.LoseSample();
    } else if (concurrency_.EndSample(latency)) {
      base::MutexLock lock(&mu_);
      due_.store(now, relaxed);
    }
  }
}

Admission::State Admission::Snapshot(absl::Time now) const {
  State state;
  caps_.Describe(&state);
  breaker_.Describe(&state);
  throttle_.Describe(Sum(), Sane(absl::ToUnixNanos(now)), &state);
  concurrency_.Describe(&state);
  return state;
}

}  // namespace mesh::resilience
