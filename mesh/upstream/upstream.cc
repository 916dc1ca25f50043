#include "mesh/upstream/upstream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/upstream/placeholder.h"

namespace mesh::upstream {
namespace {

using telemetry::ProbeEvent;

const options::ServiceOptions& OrDefaults(
    const options::ServiceOptions* options) {
  static const auto* const defaults = new options::ServiceOptions;
  return options != nullptr ? *options : *defaults;
}

}  // namespace

Upstream::Upstream(const Settings& settings)
    : name_(settings.name),
      observer_(settings.observer),
      host_(settings.host),
      max_latencies_(settings.max_latencies),
      budget_(OrDefaults(settings.options.get()).retry_budget, settings.now),
      health_(OrDefaults(settings.options.get()).guards, &budget_, this),
      admission_(OrDefaults(settings.options.get()).guards, settings.now),
      options_(settings.options) {
  if (options_ != nullptr) {
    balancer_ = balancing::MakeLoadBalancer(options_->balancing);
  }
}

// ---- Calls ----

resilience::LatencyTracker* Upstream::LatencyOf(Method* method,
                                                absl::string_view name) {
  if (method != nullptr) {
    auto* const known = method->latency.load(std::memory_order_acquire);
    if (known != nullptr) return known;
  }
  Latencies& latencies = latencies_.Get();
  base::MutexLock lock(&latencies.mu);
  auto& by_method = latencies.by_method;
  auto found = by_method.find(name);
  if (found == by_method.end()) {
    const bool own = method != nullptr || by_method.size() < max_latencies_;
    found = by_method.try_emplace(own ? std::string(name) : "").first;
  }
  if (method != nullptr) {
    method->latency.store(&found->second, std::memory_order_release);
  }
  return &found->second;
}

void Upstream::Describe(absl::Time now, telemetry::ServiceSnapshot* snapshot) {
  snapshot->retry_budget_balance = budget_.Balance(now);
  const resilience::Admission::State state = admission_.Snapshot(now);
  auto& admission = snapshot->admission;
  admission.calls = state.calls;
  admission.streams = state.streams;
  admission.waiting = state.waiting;
  admission.retries = state.retries;
  admission.breaker = std::string(state.breaker);
  admission.breaker_calls = state.breaker_calls;
  admission.breaker_failed_ratio = state.breaker_failed_share;
  admission.throttle_probability = state.throttle_probability;
  admission.concurrency_limit = state.concurrency_limit;
  admission.concurrency = state.concurrency;
  admission.min_latency = state.min_latency;
}

// ---- Health ----

void Upstream::Probe(cluster::LiveEndpoint* endpoint) {
  host_->SendProbe(endpoint);
}

std::string Upstream::BeginProbe(cluster::LiveEndpoint* endpoint,
                                 absl::Time now) {
  TellOfProbe(endpoint, ProbeEvent::Stage::kSent, now);
  return health_.probe_method();
}

void Upstream::EndProbe(cluster::LiveEndpoint* endpoint, bool answered,
                        absl::Time now) {
  TellOfProbe(
      endpoint,
      answered ? ProbeEvent::Stage::kAnswered : ProbeEvent::Stage::kFailed,
      now);
  health_.OnProbeDone(endpoint, answered, now);
}

void Upstream::TellOfProbe(cluster::LiveEndpoint* endpoint,
                           ProbeEvent::Stage stage, absl::Time now) {
  if (observer_ == nullptr) return;
  ProbeEvent event;
  event.stage = stage;
  event.service = name_;
  event.time = now;
  event.endpoint = endpoint->View();
  observer_->OnProbe(event);
}

void Upstream::OnHealthChange(const resilience::HealthChange& change) {
  if (observer_ != nullptr) {
    telemetry::HealthEvent event;
    event.service = name_;
    event.time = change.time;
    event.endpoint = change.endpoint->View();
    event.from = change.from;
    event.to = change.to;
    event.cause = change.cause;
    event.observed = change.observed;
    observer_->OnHealth(event);
  }
  if (!change.observed) host_->OnHealthChange(change);
}

// ---- Configuration and endpoints ----

void Upstream::SetOptions(
    std::shared_ptr<const options::ServiceOptions> options,
    absl::Status unknown) {
  const std::shared_ptr<const options::ServiceOptions> old =
      std::exchange(options_, std::move(options));
  unknown_ = std::move(unknown);
  if (options_ == nullptr) {
    balancer_ = nullptr;
    return;
  }
  budget_.SetOptions(options_->retry_budget);
  health_.SetOptions(options_->guards);
  admission_.SetOptions(options_->guards);
  if (old == nullptr || old->balancing != options_->balancing) {
    balancer_ = balancing::MakeLoadBalancer(options_->balancing);
  }
}

balancing::PickerPtr Upstream::MakePicker(const Discovered& discovered,
                                          absl::Time now) {
  if (options_ == nullptr) return UnknownPicker(unknown_);
  const absl::Status& error = discovered.error;
  if (!discovered.resolved) {
    return NoEndpointsPicker(
        error.ok()
            ? absl::OkStatus()
            : absl::UnavailableError(absl::StrCat(
                  name_, ": the service has no endpoints: ", error.message())));
  }
  UpdateShares(*discovered.members, now);
  balancing::PickerPtr picker = balancer_->Update(
      *discovered.members,
      absl::UnavailableError(absl::StrCat(
          name_, ": the service has no endpoints: ",
          error.ok() ? "discovery reports an empty list." : error.message())),
      shares_);
  TellOfPicker(picker.get(), *discovered.members, now);
  return picker;
}

void Upstream::UpdateShares(const std::vector<balancing::Member>& members,
                            absl::Time now) {
  std::vector<uint32_t> priorities;
  for (const balancing::Member& member : members) {
    if (std::find(priorities.begin(), priorities.end(), member.priority) ==
        priorities.end()) {
      priorities.push_back(member.priority);
    }
  }
  std::sort(priorities.begin(), priorities.end());
  const bool had_several = shares_ != nullptr;
  if (priorities.size() < 2) {
    shares_ = nullptr;
  } else if (shares_ == nullptr || shares_->priorities() != priorities) {
    // Pickers that were made before keep their shares, which nobody sets any
    // more.
    shares_ = std::make_shared<cluster::LoadShares>(std::move(priorities));
  }
  if (shares_ == nullptr && !had_several) return;
  health_.OnMembers(members, shares_, options_->connections.ahead, now);
}

void Upstream::TellOfPicker(const balancing::Picker* picker,
                            const std::vector<balancing::Member>& members,
                            absl::Time now) {
  if (observer_ == nullptr || !observer_->WantsPicks()) return;
  std::vector<telemetry::PickerEvent::Member> seen;
  seen.reserve(members.size());
  for (const balancing::Member& member : members) {
    seen.push_back({member.live->View(), member.weight, member.priority});
  }
  telemetry::PickerEvent event;
  event.service = name_;
  event.time = now;
  event.picker = picker;
  event.members = seen;
  observer_->OnPicker(event);
}

}  // namespace mesh::upstream
