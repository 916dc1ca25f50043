#include "mesh/call/call_machine.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <string>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace mesh::call {

using balancing::PickResult;
using telemetry::AttemptReason;
using telemetry::PickEvent;

// ---- Events, in the order of a call's life ----

Action CallMachine::Start(const Moment& moment) {
  assert(state_ == State::kNew);
  plan_.budget->OnCall();
  if (plan_.observer != nullptr && plan_.observer->WantsPicks()) {
    wants_picks_ = true;
    telemetry::CallStartEvent event;
    event.time = moment.now;
    event.policy = plan_.policy;
    event.idempotent = plan_.idempotent;
    event.wait_for_ready = plan_.wait_for_ready;
    event.replayable = plan_.replayable;
    plan_.observer->OnCallStart(*info_, event);
  }
  return PickAndStart(moment);
}

Action CallMachine::OnAttemptDone(int, const AttemptOutcome& outcome,
                                  const Moment& moment) {
  assert(state_ == State::kAttempting);
  EndAttempt(outcome, moment.now);
  if (outcome.code == absl::StatusCode::kOk) {
    return Finish(outcome.code, moment.now);
  }
  last_code_ = outcome.code;

  // What ends the call whatever the policy says.
  if (cancelled_) return Refuse(Verdict::kCancelled, outcome.code, moment);
  if (outcome.committed) {
    return Refuse(Verdict::kCommitted, outcome.code, moment);
  }
  if (!plan_.replayable) {
    return Refuse(Verdict::kNotRetryable, outcome.code, moment);
  }
  if (moment.now >= info_->deadline) {
    return Refuse(Verdict::kDeadline, outcome.code, moment);
  }

  // Only a call that goes on needs to know where it has been.
  tried_.push_back(endpoint_);
  if (outcome.never_sent) {
    std::optional<Action> again = RetryTransparently(outcome.code, moment);
    if (again.has_value()) return *std::move(again);
  } else {
    ++previous_attempts_;
  }
  return RetryByPolicy(outcome, moment);
}

Action CallMachine::OnCommitted(int attempt, const Moment&) {
  Action action;
  action.kind = Action::Kind::kGoOn;
  action.attempt = attempt;
  return action;
}

bool CallMachine::retried_in_vain() const {
  return finished() && attempts_ > 1 && last_code_ != absl::StatusCode::kOk;
}

std::string CallMachine::Story(absl::Time now) const {
  return absl::StrCat(info_->service, ": ", attempts_, " attempts in ",
                      absl::FormatDuration(now - info_->start));
}

std::optional<Action> CallMachine::OnTimer(const Moment& moment) {
  if (state_ != State::kBackingOff && state_ != State::kWaiting) {
    return std::nullopt;
  }
  if (moment.now < timer_at_) {
    Action action;
    action.kind = state_ == State::kWaiting ? Action::Kind::kWait
                                            : Action::Kind::kSetTimer;
    action.at = timer_at_;
    return action;
  }
  if (moment.now >= info_->deadline) return FailAtDeadline(moment.now);
  return PickAndStart(moment);
}

std::optional<Action> CallMachine::OnEndpointsChanged(const Moment& moment) {
  if (state_ != State::kWaiting) return std::nullopt;
  if (moment.now >= info_->deadline) return FailAtDeadline(moment.now);
  return PickAndStart(moment);
}

std::optional<Action> CallMachine::OnCancelled(const Moment& moment) {
  switch (state_) {
    case State::kAttempting:
      cancelled_ = true;
      return std::nullopt;
    case State::kBackingOff:
      return Fail(absl::CancelledError("cancelled before it was retried"),
                  moment.now);
    case State::kWaiting:
      return Fail(absl::CancelledError(
                      absl::StrCat("cancelled while it waited for an endpoint "
                                   "of service '",
                                   info_->service, "'")),
                  moment.now);
    case State::kNew:
    case State::kFinished:
      return std::nullopt;
  }
  return std::nullopt;
}

void CallMachine::Abandon(absl::Time now) {
  if (state_ == State::kNew || state_ == State::kFinished) return;
  if (state_ == State::kAttempting) {
    AttemptOutcome outcome;
    outcome.code = absl::StatusCode::kCancelled;
    EndAttempt(outcome, now);
  }
  End(absl::StatusCode::kCancelled, now);
}

// ---- Choosing an endpoint ----

ABSL_ATTRIBUTE_ALWAYS_INLINE inline CallMachine::Choice CallMachine::Pick(
    absl::Span<const cluster::LiveEndpoint* const> tried,
    const Moment& moment) {
  Choice choice;
  balancing::PickArgs args;
  args.tried = tried;
  args.wait_for_ready = plan_.wait_for_ready;
  args.random = moment.random;
  if (wants_picks_) {
    choice.random_state = moment.random->state();
    args.trace = &choice.trace.emplace();
  }
  choice.result = moment.picker->Pick(args);
  return choice;
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline CallMachine::Choice CallMachine::Choose(
    const Moment& moment) {
  Choice choice = Pick(tried_, moment);
  if (ABSL_PREDICT_FALSE(!tried_.empty()) &&
      choice.result.kind == PickResult::Kind::kUse &&
      std::find(tried_.begin(), tried_.end(), choice.result.endpoint) !=
          tried_.end()) {
    // Every endpoint has been tried. The next round begins elsewhere than the
    // last one ended.
    if (choice.result.endpoint == endpoint_ && tried_.size() > 1) {
      Decline(choice, moment);
      choice = Pick(absl::MakeConstSpan(&tried_.back(), 1), moment);
    }
    choice.again = true;
  }
  return choice;
}

void CallMachine::Decline(const Choice& choice, const Moment& moment) {
  if (wants_picks_) Report(choice, PickEvent::Result::kDeclined, moment);
  if (choice.result.kind == PickResult::Kind::kUse) {
    choice.result.endpoint->Release();
  }
}

Action CallMachine::PickAndStart(const Moment& moment) {
  const Choice choice = Choose(moment);
  switch (choice.result.kind) {
    case PickResult::Kind::kUse:
      return Begin(choice, moment);
    case PickResult::Kind::kWait:
      return Wait(choice, moment);
    case PickResult::Kind::kFail:
      if (plan_.wait_for_ready) return Wait(choice, moment);
      break;
    case PickResult::Kind::kDrop:
      break;
  }
  if (plan_.observer != nullptr) {
    Report(choice, PickEvent::Result::kFailed, moment);
  }
  // What a server or a connection said tells more than that there is none.
  if (attempts_ > 0) return Finish(last_code_, moment.now);
  return Fail(*choice.result.status, moment.now);
}

Action CallMachine::Begin(const Choice& choice, const Moment& moment) {
  if (wants_picks_) Report(choice, PickEvent::Result::kUsed, moment);
  if (choice.again) {
    tried_.clear();
    if (choice.result.endpoint != endpoint_) tried_.push_back(endpoint_);
  }
  if (reason_ == AttemptReason::kTransparent) ++transparent_;
  ++attempts_;
  state_ = State::kAttempting;
  endpoint_ = choice.result.endpoint;
  attempt_start_ = moment.now;

  Action action;
  action.kind = Action::Kind::kStartAttempt;
  action.endpoint = endpoint_;
  action.attempt = attempts_;
  action.at = info_->deadline;
  // Only an attempt that another can follow is cut short.
  const absl::Duration timeout = plan_.policy->retry.attempt_timeout;
  if (timeout != absl::InfiniteDuration() && plan_.replayable &&
      plan_.idempotent) {
    action.at = std::min(action.at, moment.now + timeout);
  }
  return action;
}

Action CallMachine::Wait(const Choice& choice, const Moment& moment) {
  if (choice.result.kind == PickResult::Kind::kFail) {
    unreachable_ = *choice.result.status;
  }
  if (plan_.observer != nullptr) {
    Report(choice, PickEvent::Result::kWaited, moment);
  }
  state_ = State::kWaiting;
  if (moment.now >= info_->deadline) return FailAtDeadline(moment.now);
  return Rest(Action::Kind::kWait, info_->deadline);
}

// ---- Another attempt ----

// No server has seen the attempt that failed: it may be made again whatever
// the method is, costs no server anything, and is not charged to the budget.
// At once while there is an endpoint that the call has not tried, and once
// more when there is none: a connection may have ended under the call whose
// endpoint is well. After that a call that waits for ready backs off, for any
// other the policy decides (nullopt).
std::optional<Action> CallMachine::RetryTransparently(absl::StatusCode code,
                                                      const Moment& moment) {
  const AttemptReason reason_before = reason_;
  reason_ = AttemptReason::kTransparent;
  if (transparent_ < kMaxTransparentRetries) {
    const Choice choice = Choose(moment);
    switch (choice.result.kind) {
      case PickResult::Kind::kUse:
        if (choice.again && repeated_) break;
        repeated_ |= choice.again;
        Decided(Verdict::kTransparent, code, Pause(), moment);
        return Begin(choice, moment);
      case PickResult::Kind::kWait:
        Decided(Verdict::kTransparent, code, Pause(), moment);
        return Wait(choice, moment);
      case PickResult::Kind::kFail:
      case PickResult::Kind::kDrop:
        break;
    }
    Decline(choice, moment);
  }
  if (plan_.wait_for_ready) {
    Pause pause = NextBackoff(moment.random);
    pause.delay = std::min(pause.delay, info_->deadline - moment.now);
    Decided(Verdict::kTransparent, code, pause, moment);
    return BackOff(pause.delay, moment.now);
  }
  reason_ = reason_before;
  return std::nullopt;
}

// Retry of what a server may have seen, as gRFC A6 has it. The budget is asked
// last, so that it is charged only for a retry that is made.
Action CallMachine::RetryByPolicy(const AttemptOutcome& outcome,
                                  const Moment& moment) {
  const config::RetryOptions& policy = plan_.policy->retry;
  if (!plan_.idempotent ||
      !(outcome.attempt_timed_out || policy.codes.Contains(outcome.code))) {
    return Refuse(Verdict::kNotRetryable, outcome.code, moment);
  }
  if (1 + retries_ >= policy.max_attempts) {
    return Refuse(Verdict::kAttemptsExhausted, outcome.code, moment);
  }
  if (outcome.pushback.has_value() &&
      (*outcome.pushback < absl::ZeroDuration() ||
       *outcome.pushback > kMaxPushback)) {
    return Refuse(Verdict::kPushedBack, outcome.code, moment);
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
    // been: what failed says nothing of an endpoint elsewhere.
    if (retries_ == 0) {
      at_once = Choose(moment);
      if (at_once->result.kind != PickResult::Kind::kUse || at_once->again) {
        Decline(*at_once, moment);
        at_once.reset();
      }
    }
    if (!at_once.has_value()) pause = NextBackoff(moment.random);
  }

  std::optional<Verdict> refusal;
  if (pause.delay >= info_->deadline - moment.now) {
    refusal = Verdict::kDeadline;
  } else if (!plan_.budget->TryWithdraw(moment.now)) {
    refusal = Verdict::kBudgetExhausted;
  }
  if (refusal.has_value()) {
    if (at_once.has_value()) Decline(*at_once, moment);
    reason_ = reason_before;
    backoffs_ = backoffs_before;
    Decided(*refusal, outcome.code, pause, moment);
    return Finish(outcome.code, moment.now);
  }

  ++retries_;
  Decided(Verdict::kRetry, outcome.code, pause, moment);
  if (at_once.has_value()) return Begin(*at_once, moment);
  return BackOff(pause.delay, moment.now);
}

CallMachine::Pause CallMachine::NextBackoff(base::Random* random) {
  const config::RetryOptions& policy = plan_.policy->retry;
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

Action CallMachine::Rest(Action::Kind kind, absl::Time until) {
  timer_at_ = until;
  Action action;
  action.kind = kind;
  action.at = until;
  return action;
}

// ---- Accounting ----

void CallMachine::Report(const Choice& choice, PickEvent::Result result,
                         const Moment& moment) {
  PickEvent event;
  event.result = result;
  event.time = moment.now;
  event.reason = reason_;
  event.attempt = attempts_ + 1;
  if (choice.result.kind == PickResult::Kind::kUse) {
    event.endpoint = choice.result.endpoint;
  }
  if (choice.trace.has_value()) {
    event.candidates = choice.trace->considered;
    for (int i = 0; i < 2; ++i) {
      event.candidate[i] = choice.trace->candidates[i].endpoint;
      event.in_flight[i] = choice.trace->candidates[i].in_flight;
    }
  }
  event.random_state = choice.random_state;
  event.picker = moment.picker;
  plan_.observer->OnPick(*info_, event);
}

void CallMachine::EndAttempt(const AttemptOutcome& outcome, absl::Time now) {
  if (plan_.observer != nullptr) {
    telemetry::AttemptEvent event;
    event.attempt = attempts_;
    event.reason = reason_;
    event.endpoint = endpoint_;
    event.start = attempt_start_;
    event.end = now;
    event.code = outcome.code;
    event.never_sent = outcome.never_sent;
    event.timed_out = outcome.attempt_timed_out;
    event.committed = outcome.committed;
    event.pushback = outcome.pushback;
    plan_.observer->OnAttemptEnd(*info_, event);
  }
  endpoint_->Release();
}

void CallMachine::Decided(Verdict verdict, absl::StatusCode code,
                          const Pause& pause, const Moment& moment) {
  if (plan_.observer == nullptr) return;
  telemetry::RetryEvent event;
  event.verdict = verdict;
  event.time = moment.now;
  event.attempt = attempts_;
  event.code = code;
  event.delay = pause.delay;
  event.random_state = pause.random_state;
  plan_.observer->OnRetryDecision(*info_, event);
}

Action CallMachine::Refuse(Verdict verdict, absl::StatusCode code,
                           const Moment& moment) {
  Decided(verdict, code, Pause(), moment);
  return Finish(code, moment.now);
}

Action CallMachine::Finish(absl::StatusCode code, absl::Time now) {
  End(code, now);
  Action action;
  action.attempt = attempts_;
  return action;
}

Action CallMachine::Fail(absl::Status status, absl::Time now) {
  End(status.code(), now);
  Action action;
  action.kind = Action::Kind::kFail;
  action.status = std::move(status);
  return action;
}

Action CallMachine::FailAtDeadline(absl::Time now) {
  if (state_ == State::kBackingOff) {
    return Fail(absl::DeadlineExceededError(absl::StrCat(
                    "deadline exceeded before a retry could be made; the last "
                    "of ",
                    attempts_, " attempts ended with ",
                    absl::StatusCodeToString(last_code_))),
                now);
  }
  std::string why = absl::StrCat("deadline exceeded while waiting for an ",
                                 "endpoint of service '", info_->service, "'");
  if (!unreachable_.ok()) absl::StrAppend(&why, ": ", unreachable_.message());
  return Fail(absl::DeadlineExceededError(why), now);
}

void CallMachine::End(absl::StatusCode code, absl::Time now) {
  state_ = State::kFinished;
  if (plan_.observer == nullptr) return;
  telemetry::CallEvent event;
  event.end = now;
  event.code = code;
  event.attempts = attempts_;
  plan_.observer->OnCallEnd(*info_, event);
}

}  // namespace mesh::call
