#include "mesh/simulation/tally.h"

#include "mesh/simulation/clients.h"
#include "mesh/simulation/invariants.h"
#include "mesh/simulation/servers.h"

namespace mesh::simulation {

Tally::Tally(const Parts& parts)
    : parts_(parts),
      time_(parts.timeline),
      invariants_(parts.invariants),
      step_(Nanoseconds(parts.options.step)),
      user_(parts.options.observer),
      user_wants_picks_(user_ != nullptr && user_->WantsPicks()) {}

void Tally::SetUp() {
  result_.step = parts_.options.step;
  for (uint32_t i = 0; i < parts_.servers.size(); ++i) {
    result_.endpoints.emplace_back();
    result_.endpoints.back().address = parts_.servers.description(i).address;
  }
  for (const ServiceState& service : parts_.services) {
    result_.tiers.emplace_back();
    result_.tiers.back().first_endpoint = service.first;
    result_.tiers.back().endpoints = service.count;
  }
}

Result::Step* Tally::StepAt(int64_t time) {
  const size_t index = static_cast<size_t>(time / step_);
  if (index >= result_.steps.size()) {
    // Long after the last call began only stragglers end; they are counted in
    // the totals.
    constexpr size_t kMostSteps = 100'000;
    if (index >= kMostSteps) return nullptr;
    const size_t before = result_.steps.size();
    result_.steps.resize(index + 1);
    for (size_t i = before; i <= index; ++i) {
      result_.steps[i].attempts.resize(result_.endpoints.size());
    }
  }
  return &result_.steps[index];
}

Result::Tier& Tally::TierOf(const CallState& call) {
  return result_.tiers[parts_.clients[call.client].service];
}

uint64_t Tally::begun() const {
  uint64_t begun = 0;
  for (const Result::Tier& tier : result_.tiers) begun += tier.calls;
  return begun;
}

// ---- Events of calls ----

void Tally::OnCallBegin(const CallState& call) {
  ++TierOf(call).calls;
  if (call.execution != kNone) return;
  ++result_.calls;
  if (Result::Step* step = StepAt(call.started)) ++step->started;
}

void Tally::OnAttemptStart(const CallState& call, uint32_t server) {
  ++result_.attempts;
  ++TierOf(call).attempts;
  ++result_.endpoints[server].attempts;
  if (Result::Step* step = StepAt(time_.now())) ++step->attempts[server];
}

void Tally::OnCallStart(const telemetry::CallInfo& info,
                        const telemetry::CallStartEvent& event) {
  invariants_.OnCallStart(info, event);
  if (user_wants_picks_) user_->OnCallStart(info, event);
}

void Tally::OnPick(const telemetry::CallInfo& info,
                   const telemetry::PickEvent& event) {
  using Kind = telemetry::PickEvent::Result;
  Mix(static_cast<uint64_t>(event.result) << 32 |
      (event.endpoint ? parts_.clients.ServerOf(event.endpoint) + 1 : 0));
  if (event.result == Kind::kWaited) ++result_.waited;
  invariants_.OnPick(info, event);
  if (user_ != nullptr && (user_wants_picks_ || event.result == Kind::kWaited ||
                           event.result == Kind::kFailed)) {
    user_->OnPick(info, event);
  }
}

void Tally::OnAttemptEnd(const telemetry::CallInfo& info,
                         const telemetry::AttemptEvent& event) {
  Mix(static_cast<uint64_t>(event.code) << 8 | event.attempt);
  invariants_.OnAttemptEnd(info, event);
  Result::Endpoint& endpoint =
      result_.endpoints[parts_.clients.ServerOf(event.endpoint)];
  ++endpoint.ended[static_cast<size_t>(event.code)];
  endpoint.never_sent += event.never_sent;
  if (user_ != nullptr) user_->OnAttemptEnd(info, event);
}

void Tally::OnRetryDecision(const telemetry::CallInfo& info,
                            const telemetry::RetryEvent& event) {
  using Verdict = telemetry::RetryEvent::Verdict;
  Mix(static_cast<uint64_t>(event.verdict) << 56 ^
      static_cast<uint64_t>(Nanoseconds(event.delay)));
  Result::Tier& tier = TierOf(CallState::Of(info));
  switch (event.verdict) {
    case Verdict::kTransparent:
      ++result_.transparent_retries;
      break;
    case Verdict::kBudgetExhausted:
      ++result_.denied_by_budget;
      ++tier.denied_by_budget;
      break;
    case Verdict::kRetry:
      ++result_.retries;
      ++tier.retries;
      break;
    case Verdict::kHedge:
      if (event.observed) {
        ++result_.unmade_hedges;
      } else {
        ++result_.hedges;
        ++tier.hedges;
      }
      break;
    default:
      break;
  }
  invariants_.OnRetryDecision(info, event);
  if (user_ != nullptr) user_->OnRetryDecision(info, event);
}

void Tally::OnRefusal(const telemetry::CallInfo& info,
                      const telemetry::RefusalEvent& event) {
  Mix(static_cast<uint64_t>(event.guard) << 48 | event.observed);
  Result::Count& count = result_.refusals[static_cast<size_t>(event.guard)];
  ++(event.observed ? count.observed : count.enforced);
  if (user_ != nullptr) user_->OnRefusal(info, event);
}

void Tally::OnCallEnd(const telemetry::CallInfo& info,
                      const telemetry::CallEvent& event) {
  const int64_t now = time_.now();
  Mix(static_cast<uint64_t>(event.code) << 40 ^ static_cast<uint64_t>(now));
  CallState& call = CallState::Of(info);
  ++call.ends;
  call.code = event.code;
  invariants_.OnCallEnd(info, event);
  ++ended_;
  const bool ok = event.code == absl::StatusCode::kOk;
  if (ok) ++TierOf(call).ok;
  if (call.execution == kNone) {
    const int64_t latency = now - call.started;
    ++result_.ended[static_cast<size_t>(event.code)];
    result_.all.Add(latency);
    if (ok) result_.latency.Add(latency);
    if (Result::Step* step = StepAt(now)) ++(ok ? step->ok : step->failed);
    if (Result::Step* step = ok ? StepAt(call.started) : nullptr) {
      ++step->succeeded;
    }
  }
  if (user_ != nullptr) user_->OnCallEnd(info, event);
}

// ---- Events of endpoints ----

void Tally::OnHealth(const telemetry::HealthEvent& event) {
  Mix(static_cast<uint64_t>(event.to) << 40 |
      static_cast<uint64_t>(event.cause) << 32 |
      parts_.clients.ServerOf(event.endpoint));
  Result::Count& count = result_.health[static_cast<size_t>(event.to)];
  ++(event.observed ? count.observed : count.enforced);
  if (user_ != nullptr) user_->OnHealth(event);
}

void Tally::OnProbeSent(uint32_t server) {
  ++result_.probes;
  Mix(0x9700b3 + server);
}

void Tally::OnProbe(const telemetry::ProbeEvent& event) {
  if (user_ != nullptr) user_->OnProbe(event);
}

void Tally::OnPicker(const telemetry::PickerEvent& event) {
  if (user_wants_picks_) user_->OnPicker(event);
}

}  // namespace mesh::simulation
