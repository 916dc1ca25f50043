#include "mesh/telemetry/metrics.h"

#include <algorithm>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/numeric/bits.h"
#include "mesh/base/clock.h"

namespace mesh::telemetry {
namespace {

using cluster::Readiness;

// Upper bounds of the latency buckets, in nanoseconds; the last is infinite.
constexpr size_t kBuckets = 40;
constexpr std::array<uint64_t, kBuckets> MakeBounds() {
  constexpr uint64_t kTenths[] = {10, 15, 20, 30, 50, 70};
  std::array<uint64_t, kBuckets> bounds = {};
  size_t size = 0;
  bounds[size++] = 50'000;
  bounds[size++] = 70'000;
  for (uint64_t tenth = 10'000; tenth <= 1'000'000'000; tenth *= 10) {
    for (uint64_t factor : kTenths) bounds[size++] = tenth * factor;
  }
  bounds[size++] = 100'000'000'000;
  bounds[size++] = ~uint64_t{0};
  return bounds;
}
constexpr std::array<uint64_t, kBuckets> kBounds = MakeBounds();

// Quarters of octaves: the numbers of one cell differ by less than a quarter,
// so that a cell holds one bound at most.
constexpr int kCells = 4 * 64;
constexpr uint64_t FirstOfCell(int cell) {
  const int octave = cell / 4;
  return octave < 2 ? 0 : (uint64_t{4} + cell % 4) << (octave - 2);
}
inline int CellOf(uint64_t ns) {
  const int octave = 63 ^ absl::countl_zero(ns | 4);
  return octave * 4 + static_cast<int>(ns >> (octave - 2) & 3);
}

// For each cell the bucket of its first number.
constexpr std::array<uint8_t, kCells> MakeBucketOfCell() {
  std::array<uint8_t, kCells> buckets = {};
  uint8_t bucket = 0;
  for (int cell = 0; cell < kCells; ++cell) {
    while (kBounds[bucket] < FirstOfCell(cell)) ++bucket;
    buckets[cell] = bucket;
  }
  return buckets;
}
constexpr std::array<uint8_t, kCells> kBucketOfCell = MakeBucketOfCell();

// The first bucket whose bound is not less than `ns`.
inline size_t BucketOf(uint64_t ns) {
  const size_t bucket = kBucketOfCell[CellOf(ns)];
  return bucket + (ns > kBounds[bucket]);
}

// A status code as an index. What is no status of gRPC counts as UNKNOWN.
inline size_t IndexOf(absl::StatusCode code) {
  const auto index = static_cast<size_t>(code);
  return index < 17 ? index : static_cast<size_t>(absl::StatusCode::kUnknown);
}

inline void Increment(std::atomic<uint64_t>& counter) {
  counter.fetch_add(1, std::memory_order_relaxed);
}

const char* NameOf(Readiness readiness) {
  switch (readiness) {
    case Readiness::kIdle:
      return "idle";
    case Readiness::kConnecting:
      return "connecting";
    case Readiness::kReady:
      return "ready";
    case Readiness::kFailed:
      return "failed";
  }
  return "";
}

HistogramSnapshot EmptyHistogram() {
  static const auto& bounds = *new std::vector<absl::Duration>([] {
    std::vector<absl::Duration> all;
    for (uint64_t ns : kBounds) all.push_back(absl::Nanoseconds(ns));
    all.back() = absl::InfiniteDuration();
    return all;
  }());
  HistogramSnapshot histogram;
  histogram.bounds = bounds;
  histogram.counts.resize(bounds.size());
  return histogram;
}

}  // namespace

absl::Duration HistogramSnapshot::Quantile(double q) const {
  if (count == 0) return absl::ZeroDuration();
  const double rank = std::clamp(q, 0.0, 1.0) * static_cast<double>(count);
  double below = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const auto here = static_cast<double>(counts[i]);
    if (here > 0 && below + here >= rank) {
      const absl::Duration low = i == 0 ? absl::ZeroDuration() : bounds[i - 1];
      if (bounds[i] == absl::InfiniteDuration()) return low;
      return low + (bounds[i] - low) * ((rank - below) / here);
    }
    below += here;
  }
  return absl::ZeroDuration();  // Not reached: `count` is the sum of `counts`.
}

inline MethodMetrics::Shard& MethodMetrics::ThisThreadsShard() {
  return shards_[base::ThisShard()].Get();
}

inline void MethodMetrics::CountAttempt(const AttemptEvent& event) {
  Shard& shard = ThisThreadsShard();
  Increment(shard.attempts);
  if (ABSL_PREDICT_FALSE(event.reason != AttemptReason::kFirst)) {
    CountRepeated(shard, event);
  }
}

ABSL_ATTRIBUTE_NOINLINE void MethodMetrics::CountRepeated(
    Shard& shard, const AttemptEvent& event) {
  switch (event.reason) {
    case AttemptReason::kFirst:
      break;
    case AttemptReason::kTransparent:
      Increment(shard.transparent_retries);
      break;
    case AttemptReason::kRetry:
      Increment(shard.retries);
      break;
    case AttemptReason::kHedge:
      Increment(shard.hedges);
      if (event.code == absl::StatusCode::kOk) Increment(shard.hedges_won);
      break;
  }
}

void MethodMetrics::CountObservedHedge() {
  Increment(ThisThreadsShard().hedges_observed);
}

inline void MethodMetrics::CountCall(absl::StatusCode code, uint64_t ns) {
  static_assert(kBuckets == telemetry::kBuckets);
  Histogram& histogram = ThisThreadsShard().by_status[IndexOf(code)].Get();
  Increment(histogram.counts[BucketOf(ns)]);
  histogram.sum_ns.fetch_add(ns, std::memory_order_relaxed);
}

MethodSnapshot MethodMetrics::Snapshot() const {
  MethodSnapshot method;
  method.method = name_;
  method.latency = EmptyHistogram();
  for (const base::OnDemand<Shard>& slot : shards_) {
    const Shard* const shard = slot.Find();
    if (shard == nullptr) continue;
    method.attempts += shard->attempts.load(std::memory_order_relaxed);
    method.retries += shard->retries.load(std::memory_order_relaxed);
    method.transparent_retries +=
        shard->transparent_retries.load(std::memory_order_relaxed);
    method.hedges += shard->hedges.load(std::memory_order_relaxed);
    method.hedges_won += shard->hedges_won.load(std::memory_order_relaxed);
    method.hedges_observed +=
        shard->hedges_observed.load(std::memory_order_relaxed);
    for (int code = 0; code < kCodes; ++code) {
      const Histogram* const histogram = shard->by_status[code].Find();
      if (histogram == nullptr) continue;
      auto [it, added] = method.latency_by_status.try_emplace(code);
      if (added) it->second = EmptyHistogram();
      HistogramSnapshot& sum = it->second;
      for (size_t i = 0; i < kBuckets; ++i) {
        const uint64_t n = histogram->counts[i].load(std::memory_order_relaxed);
        sum.counts[i] += n;
        sum.count += n;
      }
      sum.sum +=
          absl::Nanoseconds(histogram->sum_ns.load(std::memory_order_relaxed));
    }
  }
  for (const auto& [code, histogram] : method.latency_by_status) {
    method.calls[code] = histogram.count;
    for (size_t i = 0; i < kBuckets; ++i) {
      method.latency.counts[i] += histogram.counts[i];
    }
    method.latency.count += histogram.count;
    method.latency.sum += histogram.sum;
  }
  return method;
}

ServiceMetrics::ServiceMetrics(absl::string_view service, int max_methods)
    : service_(service), max_methods_(static_cast<size_t>(max_methods)) {}

MethodMetrics* ServiceMetrics::Method(absl::string_view method,
                                      bool registered) {
  {
    const MethodMap& known = *methods_.Get();
    if (const auto it = known.find(method); it != known.end()) {
      return it->second.get();
    }
    if (!registered || known.size() >= max_methods_) return &other_;
  }
  base::MutexLock lock(&add_method_mu_);
  auto next = std::make_shared<MethodMap>(*methods_.Get());
  if (const auto it = next->find(method); it != next->end()) {
    return it->second.get();
  }
  if (next->size() >= max_methods_) return &other_;
  auto added = std::make_shared<MethodMetrics>(method);
  MethodMetrics* const result = added.get();
  next->emplace(result->name(), std::move(added));
  methods_.Set(std::move(next));
  return result;
}

inline MethodMetrics& ServiceMetrics::Of(const CallInfo& call) {
  return call.slot != nullptr ? *static_cast<MethodMetrics*>(call.slot)
                              : other_;
}

void ServiceMetrics::OnPick(const CallInfo&, const PickEvent& event) {
  switch (event.result) {
    case PickEvent::Result::kUsed:
    case PickEvent::Result::kDeclined:
      break;
    case PickEvent::Result::kWaited:
      picks_waited_.fetch_add(1, std::memory_order_relaxed);
      break;
    case PickEvent::Result::kFailed:
      picks_failed_.Get().Add(1);
      break;
  }
}

void ServiceMetrics::OnAttemptEnd(const CallInfo& call,
                                  const AttemptEvent& event) {
  Of(call).CountAttempt(event);
}

void ServiceMetrics::OnRetryDecision(const CallInfo& call,
                                     const RetryEvent& event) {
  if (event.verdict == RetryEvent::Verdict::kBudgetExhausted) {
    retries_denied_by_budget_.Get().Add(1);
  } else if (event.verdict == RetryEvent::Verdict::kHedge && event.observed) {
    Of(call).CountObservedHedge();
  }
}

void ServiceMetrics::OnRefusal(const CallInfo&, const RefusalEvent& event) {
  const auto guard = static_cast<size_t>(event.guard);
  if (guard >= base::kGuards) return;
  refusals_.Get().of[guard][event.observed].Get().Add(1);
}

void ServiceMetrics::OnHealth(const HealthEvent& event) {
  const auto to = static_cast<size_t>(event.to);
  const auto cause = static_cast<size_t>(event.cause);
  if (to < cluster::kHealths && cause < cluster::kHealthCauses) {
    Increment(health_changes_.Get().of[to][cause][event.observed]);
  }
}

void ServiceMetrics::OnProbe(const ProbeEvent& event) {
  const auto stage = static_cast<size_t>(event.stage);
  if (stage < probes_.size()) Increment(probes_[stage]);
}

void ServiceMetrics::OnCallEnd(const CallInfo& call, const CallEvent& event) {
  const int64_t ns = base::ToNanos(event.end) - base::ToNanos(call.start);
  Of(call).CountCall(event.code, ns < 0 ? 0 : static_cast<uint64_t>(ns));
}

uint64_t ServiceMetrics::SumOf(const Counter& counter) {
  const base::ShardedCounter* const made = counter.Find();
  return made == nullptr ? 0 : static_cast<uint64_t>(made->Sum());
}

ServiceSnapshot ServiceMetrics::Snapshot(
    absl::Span<const cluster::LiveEndpointPtr> endpoints,
    size_t max_endpoints) const {
  ServiceSnapshot snapshot;
  snapshot.service = service_;
  for (const auto& [name, method] : *methods_.Get()) {
    snapshot.methods.push_back(method->Snapshot());
  }
  std::sort(snapshot.methods.begin(), snapshot.methods.end(),
            [](const MethodSnapshot& a, const MethodSnapshot& b) {
              return a.method < b.method;
            });
  MethodSnapshot other = other_.Snapshot();
  if (other.attempts > 0 || other.latency.count > 0) {
    snapshot.methods.push_back(std::move(other));
  }

  const size_t listed = std::min(endpoints.size(), max_endpoints);
  for (const cluster::LiveEndpointPtr& live : endpoints.first(listed)) {
    EndpointSnapshot endpoint;
    endpoint.address = live->endpoint().address;
    endpoint.state = NameOf(live->readiness());
    endpoint.health = std::string(NameOf(live->health()));
    endpoint.share = live->share() / 255.0;
    endpoint.in_flight = live->in_flight();
    for (size_t code = 0; code < endpoint.ended.size(); ++code) {
      endpoint.ended[code] =
          live->counters().ended[code].load(std::memory_order_relaxed);
    }
    endpoint.attempts = live->counters().Attempts();
    endpoint.never_sent =
        live->counters().never_sent.load(std::memory_order_relaxed);
    snapshot.endpoints.push_back(std::move(endpoint));
  }
  snapshot.endpoints_left_out = endpoints.size() - listed;

  snapshot.picks_waited = picks_waited_.load(std::memory_order_relaxed);
  snapshot.picks_failed = SumOf(picks_failed_);
  snapshot.retries_denied_by_budget = SumOf(retries_denied_by_budget_);

  const Refusals* const refusals = refusals_.Find();
  for (size_t guard = 0; refusals != nullptr && guard < base::kGuards;
       ++guard) {
    RefusalSnapshot refusal;
    refusal.guard = std::string(base::NameOf(static_cast<base::Guard>(guard)));
    refusal.enforced = SumOf(refusals->of[guard][0]);
    refusal.observed = SumOf(refusals->of[guard][1]);
    if (refusal.enforced + refusal.observed == 0) continue;
    snapshot.refusals.push_back(std::move(refusal));
  }
  const Changes* const changes = health_changes_.Find();
  for (int to = 0; changes != nullptr && to < cluster::kHealths; ++to) {
    for (int cause = 0; cause < cluster::kHealthCauses; ++cause) {
      const auto& counts = changes->of[to][cause];
      HealthChangeSnapshot change;
      change.enforced = counts[0].load(std::memory_order_relaxed);
      change.observed = counts[1].load(std::memory_order_relaxed);
      if (change.enforced + change.observed == 0) continue;
      change.to = std::string(NameOf(static_cast<cluster::Health>(to)));
      change.cause =
          std::string(NameOf(static_cast<cluster::HealthCause>(cause)));
      snapshot.health_changes.push_back(std::move(change));
    }
  }
  const auto probes = [this](ProbeEvent::Stage stage) {
    return probes_[static_cast<size_t>(stage)].load(std::memory_order_relaxed);
  };
  snapshot.probes_sent = probes(ProbeEvent::Stage::kSent);
  snapshot.probes_answered = probes(ProbeEvent::Stage::kAnswered);
  snapshot.probes_failed = probes(ProbeEvent::Stage::kFailed);
  return snapshot;
}

FanOut::FanOut(std::vector<std::shared_ptr<Observer>> observers)
    : observers_(std::move(observers)) {}

void FanOut::OnCallStart(const CallInfo& call, const CallStartEvent& event) {
  for (const auto& observer : observers_) observer->OnCallStart(call, event);
}

void FanOut::OnPick(const CallInfo& call, const PickEvent& event) {
  for (const auto& observer : observers_) observer->OnPick(call, event);
}

void FanOut::OnAttemptEnd(const CallInfo& call, const AttemptEvent& event) {
  for (const auto& observer : observers_) observer->OnAttemptEnd(call, event);
}

void FanOut::OnRetryDecision(const CallInfo& call, const RetryEvent& event) {
  for (const auto& observer : observers_) {
    observer->OnRetryDecision(call, event);
  }
}

void FanOut::OnRefusal(const CallInfo& call, const RefusalEvent& event) {
  for (const auto& observer : observers_) observer->OnRefusal(call, event);
}

void FanOut::OnCallEnd(const CallInfo& call, const CallEvent& event) {
  for (const auto& observer : observers_) observer->OnCallEnd(call, event);
}

void FanOut::OnHealth(const HealthEvent& event) {
  for (const auto& observer : observers_) observer->OnHealth(event);
}

void FanOut::OnProbe(const ProbeEvent& event) {
  for (const auto& observer : observers_) observer->OnProbe(event);
}

void FanOut::OnIdentity(const IdentityEvent& event) {
  for (const auto& observer : observers_) observer->OnIdentity(event);
}

void FanOut::OnDenial(const DenialEvent& event) {
  for (const auto& observer : observers_) observer->OnDenial(event);
}

void FanOut::OnPortFailure(const PortFailureEvent& event) {
  for (const auto& observer : observers_) observer->OnPortFailure(event);
}

void FanOut::OnPicker(const PickerEvent& event) {
  for (const auto& observer : observers_) observer->OnPicker(event);
}

bool FanOut::WantsPicks() const {
  return std::any_of(
      observers_.begin(), observers_.end(),
      [](const auto& observer) { return observer->WantsPicks(); });
}

}  // namespace mesh::telemetry
