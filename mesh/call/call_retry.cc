// The part of the call machine that decides on another attempt after one that
// failed.

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/base/optimization.h"
#include "mesh/call/call_machine.h"
#include "mesh/call/call_machine_refusals.h"

namespace mesh::call {

using balancing::PickResult;
using telemetry::AttemptReason;

// No server has seen the attempt that failed. It may be made again whatever the
// method is, costs no server anything, and is not charged to the budget.
//
// It is made at once while there is an endpoint that the call has not tried.
// When there is none, and no other attempt runs, it is made at once a single
// time: the endpoint may be well, and only its connection ended under the call.
// After that a call that waits for ready backs off. For any other call the
// policy decides (nullopt).
std::optional<Action> CallMachine::RetryTransparently(int attempt,
                                                      absl::StatusCode code,
                                                      const Moment& moment) {
  const bool alone = running_.empty();
  const AttemptReason reason_before = reason_;
  reason_ = AttemptReason::kTransparent;
  if (transparent_ < kMaxTransparentRetries) {
    const Choice choice =
        alone ? ChooseAnother(moment) : ChooseBeside(moment, nullptr);
    switch (choice.result.kind) {
      case PickResult::Kind::kUse:
        if (choice.result.unreachable && !asked_ && alone) {
          Decided(Verdict::kTransparent, attempt, code, Pause(), moment);
          return WaitForDial(choice, moment);
        }
        if (choice.again && (repeated_ || !alone)) break;
        repeated_ |= choice.again;
        Decided(Verdict::kTransparent, attempt, code, Pause(), moment);
        return BeginAnother(choice, moment);
      case PickResult::Kind::kWait:
        if (!alone) break;
        Decided(Verdict::kTransparent, attempt, code, Pause(), moment);
        return Wait(choice, moment);
      case PickResult::Kind::kFail:
      case PickResult::Kind::kDrop:
        break;
    }
    Decline(choice, moment);
  }
  if (plan_.wait_for_ready && alone) {
    Pause pause = NextBackoff(moment.random);
    pause.delay = std::min(pause.delay, info_->deadline - moment.now);
    Decided(Verdict::kTransparent, attempt, code, pause, moment);
    return BackOff(pause.delay, moment.now);
  }
  reason_ = reason_before;
  return std::nullopt;
}

// Retry of an attempt that a server may have seen, as gRFC A6 has it. The
// budget is asked last, so that it is charged only for a retry that is made.
Action CallMachine::RetryByPolicy(int attempt, const AttemptOutcome& outcome,
                                  const Moment& moment) {
  const options::RetryOptions& policy = plan_.policy->retry;
  const absl::StatusCode code = outcome.code;
  if (!MayRetry(outcome)) {
    return Refuse(Verdict::kNotRetryable, attempt, code, Pause(), moment);
  }
  if (counted_attempts() >= policy.max_attempts) {
    return Refuse(Verdict::kAttemptsExhausted, attempt, code, Pause(), moment);
  }
  if (pushed_back_) {
    return Refuse(Verdict::kPushedBack, attempt, code, Pause(), moment);
  }

  const AttemptReason reason_before = reason_;
  reason_ = AttemptReason::kRetry;
  const int backoffs_before = backoffs_;
  Pause pause;
  std::optional<Choice> at_once;
  if (outcome.pushback.has_value()) {
    pause.delay = *outcome.pushback;
    backoffs_ = 0;
  } else {
    // The first retry does not wait when it can go where this call has not
    // been: the failure says nothing about an endpoint elsewhere.
    if (retries_ == 0) {
      at_once = ChooseAnother(moment);
      if (at_once->result.kind != PickResult::Kind::kUse || at_once->again ||
          at_once->result.unreachable) {
        Decline(*at_once, moment);
        at_once.reset();
      }
    }
    if (!at_once.has_value()) pause = NextBackoff(moment.random);
  }

  std::optional<Verdict> refusal;
  if (TooLate(pause.delay, moment.now)) {
    refusal = Verdict::kDeadline;
  } else if (!plan_.budget->TryWithdraw(moment.now)) {
    refusal = Verdict::kBudgetExhausted;
  }
  if (refusal.has_value()) {
    if (at_once.has_value()) Decline(*at_once, moment);
    reason_ = reason_before;
    backoffs_ = backoffs_before;
    return Refuse(*refusal, attempt, code, pause, moment);
  }

  HoldRetry();
  ++retries_;
  asked_ = false;
  Decided(Verdict::kRetry, attempt, code, pause, moment);
  if (at_once.has_value()) return BeginAnother(*at_once, moment);
  return BackOff(pause.delay, moment.now);
}

// Judges as gRFC A6 has it for hedges. A failure that may be retried leaves the
// call to the other attempts, and the next hedge need not wait for its time.
// Any other failure is the call's. Pushback holds for all attempts that would
// follow. An attempt that no server has seen uses up none: there may be another
// hedge for it, after twice as long each time.
Action CallMachine::GoOnWithout(int attempt, const AttemptOutcome& outcome,
                                const Moment& moment) {
  if (!MayRetry(outcome) && !outcome.never_sent) {
    return Refuse(Verdict::kNotRetryable, attempt, outcome.code, Pause(),
                  moment);
  }
  Decided(Verdict::kGoOn, attempt, outcome.code, Pause(), moment);
  if (pushed_back_) {
    StopHedging();
  } else if (hedge_at() != absl::InfiniteFuture()) {
    hedging_->at = moment.now + outcome.pushback.value_or(absl::ZeroDuration());
    if (hedging_->at <= moment.now) return Hedge(moment);
    if (hedging_->at >= info_->deadline) StopHedging();
  } else if (outcome.never_sent && hedging_.has_value()) {
    ++hedging_->lost;
    hedging_->wait *= 2;
    SetHedgeTimer(moment.now);
  }
  return GoOn(running_[0].number);
}

bool CallMachine::MayRetry(const AttemptOutcome& outcome) const {
  return plan_.idempotent && (outcome.attempt_timed_out ||
                              plan_.policy->retry.codes.Contains(outcome.code));
}

bool CallMachine::TooLate(absl::Duration delay, absl::Time now) const {
  if (info_->deadline == absl::InfiniteFuture()) return false;
  return delay + NeededToAnswer(now) >= info_->deadline - now;
}

// The latency that only a tenth of the service's unary calls do not exceed.
// Methods may differ much, and a quick one is not to be judged by the slow
// ones. What hedging knows of the method is not used: hedging, or observing it,
// is to change no retry.
absl::Duration CallMachine::NeededToAnswer(absl::Time now) const {
  if (ABSL_PREDICT_FALSE(plan_.needed != nullptr)) {
    const absl::Duration median = plan_.needed->Median(now);
    if (median != absl::InfiniteDuration()) return median;
  }
  if (plan_.health == nullptr || !plan_.unary) return absl::ZeroDuration();
  return plan_.health->p10_latency();
}

void CallMachine::HoldRetry() {
  if (plan_.admission == nullptr) return;
  plan_.admission->BeginRetry();
  holds_retry_ = true;
}

CallMachine::Pause CallMachine::NextBackoff(base::Random* random) {
  const options::RetryOptions& policy = plan_.policy->retry;
  const double most = absl::ToDoubleSeconds(policy.max_backoff);
  const double seconds =
      std::min(most, absl::ToDoubleSeconds(policy.initial_backoff) *
                         std::pow(policy.backoff_multiplier, backoffs_));
  ++backoffs_;
  Pause pause;
  pause.random_state = random->state();
  // Whole microseconds: no timer has a finer grain.
  pause.delay = absl::Microseconds(
      std::llround(1e6 * seconds * (0.8 + 0.4 * random->Unit())));
  return pause;
}

Action CallMachine::BackOff(absl::Duration delay, absl::Time now) {
  state_ = State::kBackingOff;
  return Rest(Action::Kind::kSetTimer, now + delay);
}

}  // namespace mesh::call
