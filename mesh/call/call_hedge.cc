// The part of the call machine that decides on another attempt beside one that
// has not been answered.

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/base/attributes.h"
#include "mesh/call/call_machine.h"

namespace mesh::call {

namespace {

// The adaptive delay: so many times this quantile of the method's recent
// latency. One call in twenty is then hedged, at most.
constexpr double kQuantile = 0.95;
constexpr double kFactor = 1.25;
// The least adaptive delay: below it a hedge costs more than it saves.
constexpr absl::Duration kMinDelay = absl::Milliseconds(1);

}  // namespace

using balancing::PickResult;
using options::Mode;
using telemetry::AttemptReason;

ABSL_ATTRIBUTE_NOINLINE void CallMachine::ArmHedge(absl::Time now) {
  if (!plan_.idempotent || !plan_.replayable || !plan_.unary) return;
  if (!hedging_.has_value()) {
    // Once per call: all its hedges come in the same step.
    hedging_.emplace();
    hedging_->delay = HedgeDelay(now);
  }
  if (hedging_->lost == 0) hedging_->wait = hedging_->delay;
  SetHedgeTimer(now);
}

void CallMachine::SetHedgeTimer(absl::Time now) {
  StopHedging();
  const options::HedgingOptions& policy = plan_.policy->hedging;
  if (!hedging_.has_value() || policy.mode != Mode::kEnforce || pushed_back_ ||
      counted_attempts() - hedging_->lost >= policy.max_attempts ||
      running_.full()) {
    return;
  }
  if (hedging_->wait < info_->deadline - now) {
    hedging_->at = now + hedging_->wait;
  }
}

absl::Duration CallMachine::HedgeDelay(absl::Time now) const {
  const options::HedgingOptions& policy = plan_.policy->hedging;
  if (policy.delay.has_value()) return *policy.delay;
  if (plan_.latency == nullptr) return absl::InfiniteDuration();
  return std::max(plan_.latency->Quantile(kQuantile, now) * kFactor, kMinDelay);
}

// Makes another attempt beside those that run. When there is no endpoint for it
// now, it is tried again, after twice as long each time.
Action CallMachine::Hedge(const Moment& moment) {
  StopHedging();
  const int unanswered = running_[0].number;
  const AttemptReason reason_before = reason_;
  reason_ = AttemptReason::kHedge;
  Pause pause;
  pause.delay = hedging_->delay;
  if (TooLate(absl::ZeroDuration(), moment.now)) {
    Decided(Verdict::kDeadline, unanswered, absl::StatusCode::kOk, pause,
            moment);
    reason_ = reason_before;
    return GoOn(unanswered);
  }
  std::optional<Verdict> refusal;
  Choice choice = ChooseBeside(moment, nullptr);
  bool back = false;
  if (choice.again && unseen_at_ != nullptr) {
    // The call has been everywhere. But the connection to this endpoint was
    // gone then, and may be back. That is better than waiting for one that does
    // not answer.
    Decline(choice, moment);
    choice = ChooseBeside(moment, unseen_at_);
    back = choice.result.endpoint == unseen_at_;
  }
  if (choice.result.kind != PickResult::Kind::kUse || choice.again) {
    refusal = Verdict::kGoOn;
  } else if (!plan_.budget->TryWithdraw(moment.now)) {
    refusal = Verdict::kBudgetExhausted;
  }
  if (!refusal.has_value()) {
    HoldRetry();
    Decided(Verdict::kHedge, unanswered, absl::StatusCode::kOk, pause, moment);
    choice.again = back;
    return BeginAnother(choice, moment);
  }
  Decline(choice, moment);
  Decided(*refusal, unanswered, absl::StatusCode::kOk, pause, moment);
  reason_ = reason_before;
  hedging_->wait *= 2;
  SetHedgeTimer(moment.now);
  return GoOn(unanswered);
}

// In observe mode, once it is known that the first attempt took as long.
ABSL_ATTRIBUTE_NOINLINE void CallMachine::ReportUnmadeHedge(
    const Attempt& attempt, absl::Time now) {
  if (attempt.reason != AttemptReason::kFirst || plan_.observer == nullptr ||
      !hedging_.has_value() || now - attempt.start < hedging_->delay ||
      hedging_->delay == absl::InfiniteDuration()) {
    return;
  }
  telemetry::RetryEvent event;
  event.verdict = Verdict::kHedge;
  event.observed = true;
  event.time = now;
  event.attempt = attempt.number;
  event.delay = hedging_->delay;
  plan_.observer->OnRetryDecision(*info_, event);
}

}  // namespace mesh::call
