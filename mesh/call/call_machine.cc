#include "mesh/call/call_machine.h"

#include <algorithm>
#include <cassert>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "mesh/base/aside.h"
#include "mesh/call/call_machine_refusals.h"

namespace mesh::call {

using balancing::PickResult;
using base::Guard;
using options::Mode;
using telemetry::AttemptReason;
using telemetry::PickEvent;

namespace {

// How many endpoints at their cap a pick passes over before it gives up.
constexpr size_t kMostCapped = 64;

bool Forbids(std::optional<absl::Duration> pushback) {
  return pushback.has_value() &&
         (*pushback < absl::ZeroDuration() || *pushback > kMaxPushback);
}

telemetry::AttemptPolicy AttemptPolicyOf(const options::MethodOptions& method) {
  using Hedges = telemetry::AttemptPolicy::Hedges;
  static_assert(
      static_cast<int>(Hedges::kEnforce) == static_cast<int>(Mode::kEnforce) &&
      static_cast<int>(Hedges::kObserve) == static_cast<int>(Mode::kObserve));
  telemetry::AttemptPolicy policy;
  policy.max_attempts = method.retry.max_attempts;
  policy.retryable = method.retry.codes.bits();
  policy.initial_backoff = method.retry.initial_backoff;
  policy.max_backoff = method.retry.max_backoff;
  policy.backoff_multiplier = method.retry.backoff_multiplier;
  policy.attempt_timeout = method.retry.attempt_timeout;
  policy.hedges = static_cast<Hedges>(method.hedging.mode);
  policy.max_hedged_attempts = method.hedging.max_attempts;
  return policy;
}

}  // namespace

// ---- Events, in the order of a call's life ----

Action CallMachine::Start(const Moment& moment) {
  assert(state_ == State::kNew);
  if (plan_.health != nullptr && plan_.health->Due(moment.now)) {
    plan_.health->Tick(moment.endpoints, moment.now);
  }
  if (plan_.observer != nullptr && plan_.observer->WantsPicks()) {
    wants_picks_ = true;
    telemetry::CallStartEvent event;
    event.time = moment.now;
    event.policy = AttemptPolicyOf(*plan_.policy);
    event.idempotent = plan_.idempotent;
    event.wait_for_ready = plan_.wait_for_ready;
    event.replayable = plan_.replayable;
    event.unary = plan_.unary;
    plan_.observer->OnCallStart(*info_, event);
  }
  if (ABSL_PREDICT_FALSE(plan_.policy->fault.mode != Mode::kOff)) {
    std::optional<Action> fault = InjectFaults(moment);
    if (fault.has_value()) return *std::move(fault);
  }
  return Enter(moment);
}

Action CallMachine::OnAttemptDone(int attempt, const AttemptOutcome& outcome,
                                  const Moment& moment) {
  size_t index = 0;
  while (index < running_.size() && running_[index].number != attempt) ++index;
  if (ABSL_PREDICT_FALSE(index == running_.size())) return GoOn(attempt);
  cluster::LiveEndpoint* const endpoint = running_[index].endpoint;
  EndAttempt(index, outcome, /*given_up=*/false, moment.now);
  if (outcome.code == absl::StatusCode::kOk) {
    return Finish(attempt, outcome.code, moment.now);
  }
  last_code_ = outcome.code;
  last_attempt_ = attempt;
  if (Forbids(outcome.pushback)) pushed_back_ = true;

  // These end the call whatever the policy says.
  std::optional<Verdict> end;
  if (cancelled_) {
    end = Verdict::kCancelled;
  } else if (outcome.committed || committed_) {
    end = Verdict::kCommitted;
  } else if (!plan_.replayable) {
    end = Verdict::kNotRetryable;
  } else if (moment.now >= info_->deadline) {
    end = Verdict::kDeadline;
  }
  if (end.has_value()) {
    return Refuse(*end, attempt, outcome.code, Pause(), moment);
  }

  // Only a call that goes on needs to know where it has been.
  tried_.push_back(endpoint);
  if (outcome.never_sent) {
    ++unseen_;
    unseen_at_ = endpoint;
    std::optional<Action> again =
        RetryTransparently(attempt, outcome.code, moment);
    if (again.has_value()) return *std::move(again);
  }
  return running_.empty() ? RetryByPolicy(attempt, outcome, moment)
                          : GoOnWithout(attempt, outcome, moment);
}

Action CallMachine::OnCommitted(int attempt, const Moment& moment) {
  size_t index = 0;
  while (index < running_.size() && running_[index].number != attempt) ++index;
  if (index == running_.size()) return GoOn(attempt);
  committed_ = true;
  StopHedging();
  const Attempt committed = running_[index];
  const bool others = running_.size() > 1;
  running_.erase(index);
  GiveUp(/*another_counts=*/true, moment.now);
  running_.push_back(committed);
  Action action = GoOn(attempt);
  action.cancel_others = others;
  return action;
}

std::optional<Action> CallMachine::OnTimer(const Moment& moment) {
  switch (state_) {
    case State::kNew:
    case State::kFinished:
      return std::nullopt;
    case State::kAttempting:
      if (hedge_at() == absl::InfiniteFuture()) return std::nullopt;
      return moment.now < hedge_at() ? GoOn(attempts_) : Hedge(moment);
    case State::kDelayed:
    case State::kBackingOff:
    case State::kWaiting:
      break;
  }
  if (moment.now < timer_at_) {
    return Rest(state_ == State::kWaiting ? Action::Kind::kWait
                                          : Action::Kind::kSetTimer,
                timer_at_);
  }
  if (moment.now >= info_->deadline) return FailAtDeadline(moment.now);
  if (state_ != State::kDelayed) return PickAgain(moment);
  return abort_.has_value() ? Abort(*abort_, moment.now) : Enter(moment);
}

std::optional<Action> CallMachine::OnEndpointsChanged(const Moment& moment) {
  if (state_ != State::kWaiting) return std::nullopt;
  if (moment.now >= info_->deadline) return FailAtDeadline(moment.now);
  return PickAgain(moment);
}

std::optional<Action> CallMachine::OnCancelled(const Moment& moment) {
  switch (state_) {
    case State::kNew:
    case State::kFinished:
      return std::nullopt;
    case State::kAttempting:
      cancelled_ = true;
      StopHedging();
      return std::nullopt;
    case State::kDelayed:
      return Fail(absl::StatusCode::kCancelled,
                  "the call was cancelled during an injected delay.",
                  moment.now);
    case State::kBackingOff:
      return Fail(absl::StatusCode::kCancelled,
                  "the call was cancelled before a retry began.", moment.now);
    case State::kWaiting:
      return Fail(absl::StatusCode::kCancelled,
                  "the call was cancelled while it waited for an endpoint.",
                  moment.now);
  }
  return std::nullopt;
}

void CallMachine::Abandon(absl::Time now) {
  if (state_ == State::kNew || state_ == State::kFinished) return;
  cancelled_ = true;
  GiveUp(/*another_counts=*/false, now);
  End(absl::StatusCode::kCancelled, now);
}

// ---- Before the first attempt ----

std::optional<Action> CallMachine::InjectFaults(const Moment& moment) {
  const options::FaultOptions& fault = plan_.policy->fault;
  const bool enforced = fault.mode == Mode::kEnforce;
  base::Random aside = base::Aside(*moment.random);
  base::Random* const random = enforced ? moment.random : &aside;
  const auto drawn = [random](double share) {
    return share > 0 && random->Unit() < share;
  };
  abort_ = plan_.abort_by_header;
  if (!abort_.has_value() && drawn(fault.abort_share)) {
    abort_ = fault.abort_code;
  }
  std::optional<absl::Duration> delay = plan_.delay_by_header;
  if (!delay.has_value() && drawn(fault.delay_share)) delay = fault.delay;
  if (delay.has_value() && *delay <= absl::ZeroDuration()) delay.reset();

  if (delay.has_value()) {
    ReportRefusal(Guard::kFault, !enforced, absl::StatusCode::kOk,
                  absl::string_view(), *delay, moment.now);
    if (enforced) {
      state_ = State::kDelayed;
      return Rest(Action::Kind::kSetTimer,
                  std::min(moment.now + *delay, info_->deadline));
    }
  }
  if (!abort_.has_value()) return std::nullopt;
  if (enforced) return Abort(*abort_, moment.now);
  ReportRefusal(Guard::kFault, /*observed=*/true, *abort_, absl::string_view(),
                absl::ZeroDuration(), moment.now);
  return std::nullopt;
}

Action CallMachine::Abort(absl::StatusCode code, absl::Time now) {
  const std::string why = absl::StrCat(
      "fault injection ended this call with ", absl::StatusCodeToString(code),
      "; the method's fault settings ask for that.");
  ReportRefusal(Guard::kFault, /*observed=*/false, code, why,
                absl::ZeroDuration(), now);
  return Fail(code, why, now);
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline Action CallMachine::Enter(
    const Moment& moment) {
  // gRPC itself answers a call that is late already: no guard counts it.
  if (plan_.admission != nullptr &&
      ABSL_PREDICT_TRUE(moment.now < info_->deadline)) {
    Refusals refusals(this, moment.now, nullptr);
    ticket_.stream = !plan_.unary;
    const std::optional<resilience::Refusal> refusal =
        plan_.admission->Admit(info_->method, plan_.policy->rate_limit,
                               moment.now, moment.random, &refusals, &ticket_);
    if (ABSL_PREDICT_FALSE(refusal.has_value())) {
      return Fail(refusal->code, refusal->why, moment.now);
    }
    admitted_ = true;
  }
  // Retries are a share of the calls that are made, not of those refused.
  plan_.budget->OnCall();
  return PickAndStart(moment);
}

// ---- Choosing an endpoint ----

ABSL_ATTRIBUTE_ALWAYS_INLINE inline CallMachine::Choice CallMachine::Pick(
    absl::Span<const cluster::LiveEndpoint* const> tried,
    const cluster::LiveEndpoint* elsewhere_than, const Moment& moment) {
  Choice choice;
  balancing::PickArgs args;
  args.tried = tried;
  args.elsewhere_than = elsewhere_than;
  args.wait_for_ready = plan_.wait_for_ready;
  args.priority = &priority_;
  if (attempts_ == 0) args.coin = &choice.coin;
  args.random = moment.random;
  if (wants_picks_) {
    choice.random_state = moment.random->state();
    choice.trace = std::make_unique<balancing::PickTrace>();
    args.trace = choice.trace.get();
  }
  choice.result = moment.picker->Pick(args);
  if (plan_.caps != nullptr &&
      ABSL_PREDICT_FALSE(plan_.caps->max_calls_per_endpoint > 0) &&
      plan_.caps->mode != Mode::kOff) {
    PickBelowCap(args, &choice, moment);
  }
  return choice;
}

void CallMachine::PickBelowCap(balancing::PickArgs args, Choice* choice,
                               const Moment& moment) {
  const int cap = plan_.caps->max_calls_per_endpoint;
  const auto full = [cap](const PickResult& result) {
    return result.kind == PickResult::Kind::kUse &&
           result.endpoint->in_flight() + result.endpoint->in_flight_before() >
               cap;
  };
  PickResult& result = choice->result;
  if (!full(result)) return;
  choice->capped = true;
  if (plan_.caps->mode == Mode::kObserve) {
    return ReportRefusal(Guard::kMaxCallsPerEndpoint, /*observed=*/true,
                         absl::StatusCode::kResourceExhausted,
                         absl::string_view(), absl::ZeroDuration(), moment.now);
  }
  absl::InlinedVector<const cluster::LiveEndpoint*, 16> avoided(
      args.tried.begin(), args.tried.end());
  do {
    result.endpoint->Release();
    avoided.push_back(result.endpoint);
    args.tried = avoided;
    ++args.full;
    if (args.trace != nullptr) *args.trace = {};
    result = args.full > kMostCapped ? PickResult() : moment.picker->Pick(args);
  } while (full(result));
  if (result.kind != PickResult::Kind::kWait) return;
  unreachable_ = absl::ResourceExhaustedError(absl::StrCat(
      info_->service, ": too many calls are under way on every endpoint: ",
      "guards.caps.max_calls_per_endpoint is ", cap,
      ". Make fewer at once, or raise the cap."));
  result = {PickResult::Kind::kDrop, nullptr, &unreachable_};
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline CallMachine::Choice CallMachine::Choose(
    const Moment& moment) {
  Choice choice = Pick(tried_, nullptr, moment);
  if (ABSL_PREDICT_FALSE(!tried_.empty()) &&
      choice.result.kind == PickResult::Kind::kUse &&
      std::find(tried_.begin(), tried_.end(), choice.result.endpoint) !=
          tried_.end()) {
    // Every endpoint has been tried. The next round begins elsewhere than the
    // last one ended.
    if (choice.result.endpoint == tried_.back() && tried_.size() > 1) {
      Decline(choice, moment);
      choice = Pick(absl::MakeConstSpan(&tried_.back(), 1), nullptr, moment);
    }
    choice.again = true;
  }
  return choice;
}

ABSL_ATTRIBUTE_NOINLINE CallMachine::Choice CallMachine::ChooseAnother(
    const Moment& moment) {
  return Choose(moment);
}

CallMachine::Choice CallMachine::ChooseBeside(
    const Moment& moment, const cluster::LiveEndpoint* but) {
  absl::InlinedVector<const cluster::LiveEndpoint*, 8> taken;
  for (const cluster::LiveEndpoint* tried : tried_) {
    if (tried != but) taken.push_back(tried);
  }
  for (const Attempt& attempt : running_) taken.push_back(attempt.endpoint);
  Choice choice = Pick(taken, running_[0].endpoint, moment);
  choice.again = choice.result.kind == PickResult::Kind::kUse &&
                 std::find(taken.begin(), taken.end(),
                           choice.result.endpoint) != taken.end();
  return choice;
}

void CallMachine::Decline(const Choice& choice, const Moment& moment) {
  if (wants_picks_) Report(choice, PickEvent::Result::kDeclined, moment);
  if (choice.result.kind == PickResult::Kind::kUse) {
    choice.result.endpoint->Release();
  }
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline Action CallMachine::PickAndStart(
    const Moment& moment) {
  const Choice choice = Choose(moment);
  switch (choice.result.kind) {
    case PickResult::Kind::kUse:
      if (ABSL_PREDICT_FALSE(choice.result.unreachable) && !asked_) {
        return WaitForDial(choice, moment);
      }
      return Begin(choice, moment);
    case PickResult::Kind::kWait:
      return Wait(choice, moment);
    case PickResult::Kind::kFail:
      if (plan_.wait_for_ready) return Wait(choice, moment);
      break;
    case PickResult::Kind::kDrop:
      break;
  }
  return FailToPick(choice, *choice.result.status, moment);
}

ABSL_ATTRIBUTE_NOINLINE Action CallMachine::PickAgain(const Moment& moment) {
  return PickAndStart(moment);
}

ABSL_ATTRIBUTE_NOINLINE Action CallMachine::FailToPick(
    const Choice& choice, const absl::Status& status, const Moment& moment) {
  if (plan_.observer != nullptr) {
    Report(choice, PickEvent::Result::kFailed, moment);
    if (choice.capped && choice.result.kind == PickResult::Kind::kDrop) {
      ReportRefusal(Guard::kMaxCallsPerEndpoint, /*observed=*/false,
                    status.code(), status.message(), absl::ZeroDuration(),
                    moment.now);
    }
  }
  // The status of a server or a connection tells more than "no endpoint".
  if (attempts_ > 0) return Finish(last_attempt_, last_code_, moment.now);
  return Fail(status, moment.now);
}

ABSL_ATTRIBUTE_NOINLINE Action CallMachine::BeginAnother(const Choice& choice,
                                                         const Moment& moment) {
  return Begin(choice, moment);
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline Action CallMachine::Begin(
    const Choice& choice, const Moment& moment) {
  if (wants_picks_) Report(choice, PickEvent::Result::kUsed, moment);
  cluster::LiveEndpoint* const endpoint = choice.result.endpoint;
  if (ABSL_PREDICT_FALSE(choice.again)) {
    const cluster::LiveEndpoint* const last = tried_.back();
    tried_.clear();
    if (endpoint != last) tried_.push_back(last);
  }
  if (reason_ == AttemptReason::kTransparent) ++transparent_;
  if (ABSL_PREDICT_FALSE(holds_wait_)) {
    plan_.admission->EndWait();
    holds_wait_ = false;
  }
  ++attempts_;
  state_ = State::kAttempting;
  endpoint_ = endpoint;

  Action action;
  action.kind = Action::Kind::kStartAttempt;
  action.hedge = !running_.empty();
  action.endpoint = endpoint;
  action.attempt = attempts_;
  action.at = info_->deadline;
  // Each attempt of a call that may be made again is cut short. The last one
  // is, too: until it ends nobody knows that it is the last. For any other call
  // the timeout would only turn a slow answer into none. (Streams: an attempt
  // may become the stream, so shells give them the call's deadline.)
  const absl::Duration timeout = plan_.policy->retry.attempt_timeout;
  if (timeout != absl::InfiniteDuration() && plan_.replayable &&
      plan_.idempotent) {
    action.at = std::min(action.at, moment.now + timeout);
  }
  running_.push_back({endpoint, moment.now, attempts_, reason_,
                      std::exchange(holds_retry_, false), choice.coin.ticket});
  if (plan_.health != nullptr) {
    plan_.health->OnAttemptStart(endpoint, plan_.unary, moment.now);
  }
  if (ABSL_PREDICT_FALSE(plan_.policy->hedging.mode != Mode::kOff)) {
    ArmHedge(moment.now);
    action.timer = hedge_at();
  }
  return action;
}

Action CallMachine::Wait(const Choice& choice, const Moment& moment) {
  if (!holds_wait_ && plan_.admission != nullptr) {
    std::string why;
    Refusals refusals(this, moment.now, &why);
    if (!plan_.admission->TryWait(&refusals)) {
      return FailToPick(
          choice,
          absl::ResourceExhaustedError(absl::StrCat(info_->service, ": ", why)),
          moment);
    }
    holds_wait_ = true;
  }
  if (choice.result.kind == PickResult::Kind::kFail) {
    unreachable_ = *choice.result.status;
  }
  if (plan_.observer != nullptr) {
    Report(choice, PickEvent::Result::kWaited, moment);
  }
  state_ = State::kWaiting;
  if (moment.now >= info_->deadline) return FailAtDeadline(moment.now);
  Action action = Rest(Action::Kind::kWait, info_->deadline);
  // It asks once, and then waits for whatever comes.
  action.asks = choice.result.unreachable && !asked_;
  asked_ |= action.asks;
  return action;
}

ABSL_ATTRIBUTE_NOINLINE Action CallMachine::WaitForDial(const Choice& choice,
                                                        const Moment& moment) {
  Decline(choice, moment);
  Choice none;
  none.random_state = choice.random_state;
  none.result.unreachable = true;
  Action action = Wait(none, moment);
  if (action.kind == Action::Kind::kWait) {
    timer_at_ = action.at = std::min(action.at, moment.now + kAskWaits);
  }
  return action;
}

// ---- What is to be done ----

Action CallMachine::Rest(Action::Kind kind, absl::Time until) {
  timer_at_ = until;
  Action action;
  action.kind = kind;
  action.at = until;
  return action;
}

Action CallMachine::GoOn(int attempt) const {
  Action action;
  action.kind = Action::Kind::kGoOn;
  action.attempt = attempt;
  if (state_ == State::kAttempting) {
    action.timer = hedge_at();
  } else if (state_ != State::kFinished) {
    action.timer = timer_at_;
  }
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
    event.endpoint = choice.result.endpoint->View();
  }
  if (choice.trace != nullptr) {
    event.candidates = choice.trace->considered;
    for (int i = 0; i < std::min(event.candidates, 2); ++i) {
      event.candidate[i] = choice.trace->candidates[i].endpoint->View();
      event.candidate[i].in_flight = choice.trace->candidates[i].in_flight;
    }
    event.by_health = choice.trace->by_health || choice.capped;
  }
  event.endpoints = cluster::ViewsOf(moment.endpoints);
  event.random_state = choice.random_state;
  event.picker = moment.picker;
  plan_.observer->OnPick(*info_, event);
}

void CallMachine::ReportRefusal(Guard guard, bool observed,
                                absl::StatusCode code, absl::string_view why,
                                absl::Duration delay, absl::Time now) const {
  if (plan_.observer == nullptr) return;
  telemetry::RefusalEvent event;
  event.guard = guard;
  event.observed = observed;
  event.time = now;
  event.code = code;
  event.why = why;
  event.delay = delay;
  plan_.observer->OnRefusal(*info_, event);
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline void CallMachine::EndAttempt(
    size_t index, const AttemptOutcome& outcome, bool given_up,
    absl::Time now) {
  const Attempt& attempt = running_[index];
  cluster::LiveEndpoint* const endpoint = attempt.endpoint;
  endpoint->mutable_counters().CountEnd(outcome.code, outcome.never_sent);
  if (plan_.observer != nullptr) {
    telemetry::AttemptEvent event;
    event.attempt = attempt.number;
    event.reason = attempt.reason;
    event.endpoint = endpoint->View();
    event.start = attempt.start;
    event.end = now;
    event.code = outcome.code;
    event.never_sent = outcome.never_sent;
    event.timed_out = outcome.attempt_timed_out;
    event.committed = outcome.committed || committed_;
    event.local = outcome.local;
    event.given_up = given_up;
    event.pushback = outcome.pushback;
    plan_.observer->OnAttemptEnd(*info_, event);
  }
  if (plan_.health != nullptr) {
    resilience::AttemptResult result;
    result.code = outcome.code;
    result.local = outcome.local;
    result.never_sent = outcome.never_sent;
    result.own = outcome.own;
    result.answered = outcome.answered;
    result.ticket = attempt.ticket;
    result.pace = plan_.pace;
    result.given_up =
        given_up ||
        (cancelled_ && outcome.code == absl::StatusCode::kCancelled);
    result.unary = plan_.unary;
    result.latency = now - attempt.start;
    plan_.health->OnAttemptEnd(endpoint, result, now);
  }
  if (ABSL_PREDICT_FALSE(plan_.latency != nullptr) &&
      outcome.code == absl::StatusCode::kOk) {
    plan_.latency->Record(now - attempt.start, now);
  }
  if (ABSL_PREDICT_FALSE(plan_.policy->hedging.mode == Mode::kObserve)) {
    ReportUnmadeHedge(attempt, now);
  }
  if (ABSL_PREDICT_FALSE(attempt.holds_retry)) plan_.admission->EndRetry();
  if (ABSL_PREDICT_FALSE(outcome.code != absl::StatusCode::kOk)) {
    Remember(attempt, outcome.code);
  }
  running_.erase(index);
  endpoint->Release();
}

ABSL_ATTRIBUTE_NOINLINE void CallMachine::GiveUp(bool another_counts,
                                                 absl::Time now) {
  AttemptOutcome outcome;
  outcome.code = absl::StatusCode::kCancelled;
  outcome.local = true;
  while (!running_.empty()) EndAttempt(0, outcome, another_counts, now);
}

ABSL_ATTRIBUTE_NOINLINE void CallMachine::Remember(const Attempt& attempt,
                                                   absl::StatusCode code) {
  if (failures_.size() == kMostFailures) failures_.pop_back();
  failures_.push_back(
      {attempt.number, code, attempt.endpoint->endpoint().address});
}

void CallMachine::Decided(Verdict verdict, int attempt, absl::StatusCode code,
                          const Pause& pause, const Moment& moment) {
  if (plan_.observer == nullptr) return;
  telemetry::RetryEvent event;
  event.verdict = verdict;
  event.time = moment.now;
  event.attempt = attempt;
  event.code = code;
  event.delay = pause.delay;
  event.random_state = pause.random_state;
  plan_.observer->OnRetryDecision(*info_, event);
}

Action CallMachine::Refuse(Verdict verdict, int attempt, absl::StatusCode code,
                           const Pause& pause, const Moment& moment) {
  stopped_ = verdict;
  Decided(verdict, attempt, code, pause, moment);
  return Finish(attempt, code, moment.now);
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline Action CallMachine::Finish(
    int attempt, absl::StatusCode code, absl::Time now) {
  if (ABSL_PREDICT_FALSE(!running_.empty())) {
    GiveUp(/*another_counts=*/true, now);
  }
  End(code, now);
  Action action;
  action.attempt = attempt;
  return action;
}

Action CallMachine::Fail(absl::StatusCode code, absl::string_view why,
                         absl::Time now) {
  std::string message = absl::StrCat(info_->service, ": ", why);
  if (attempts_ > 0) absl::StrAppend(&message, " ", Account(now));
  return Fail(absl::Status(code, message), now);
}

Action CallMachine::Fail(absl::Status status, absl::Time now) {
  End(status.code(), now);
  Action action;
  action.kind = Action::Kind::kFail;
  action.status = std::move(status);
  return action;
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline void CallMachine::End(absl::StatusCode code,
                                                          absl::Time now) {
  state_ = State::kFinished;
  last_code_ = code;
  if (ABSL_PREDICT_FALSE(holds_wait_)) {
    plan_.admission->EndWait();
    holds_wait_ = false;
  }
  if (ABSL_PREDICT_FALSE(holds_retry_)) {
    plan_.admission->EndRetry();
    holds_retry_ = false;
  }
  if (admitted_) plan_.admission->OnCallEnd(ticket_, code, now);
  if (plan_.observer == nullptr) return;
  telemetry::CallEvent event;
  event.end = now;
  event.code = code;
  event.attempts = attempts_;
  plan_.observer->OnCallEnd(*info_, event);
}

}  // namespace mesh::call
