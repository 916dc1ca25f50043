#include "mesh/simulation/calls.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <utility>

#include "mesh/simulation/clients.h"
#include "mesh/simulation/invariants.h"
#include "mesh/simulation/second_connections.h"
#include "mesh/simulation/servers.h"
#include "mesh/simulation/tally.h"

namespace mesh::simulation {

using call::Action;
using call::AttemptOutcome;

Calls::Calls(const Parts& parts)
    : parts_(parts),
      time_(parts.timeline),
      tally_(parts.tally),
      invariants_(parts.invariants),
      servers_(parts.servers),
      clients_(parts.clients),
      end_(Nanoseconds(parts.options.duration)),
      decisions_(parts.options.seed * 0x9e3779b97f4a7c15u + 1) {}

// ---- Loads ----

void Calls::SetUp() {
  for (const Load& load : parts_.cluster.loads) SetUpLoad(load);
  for (size_t i = 0; i < parts_.cluster.behind.size(); ++i) {
    loads_.push_back(
        MakeLoad(parts_.services[i + 1], 0, parts_.cluster.behind[i].deadline));
  }
}

// `method`: its place in the service's.
Calls::LoadState Calls::MakeLoad(const ServiceState& service, size_t method,
                                 absl::Duration deadline) const {
  LoadState state;
  state.method = method;
  state.shape.name = service.methods[method];
  state.deadline = Nanoseconds(
      std::min(deadline, service.options->PolicyOf(state.shape.name).timeout));
  return state;
}

void Calls::SetUpLoad(const Load& load) {
  const uint32_t index = static_cast<uint32_t>(loads_.size());
  const int clients = parts_.cluster.clients;
  LoadState state = MakeLoad(parts_.services[0], index, load.deadline);
  state.load = &load;
  if (load.wait_for_ready) state.shape.wait_for_ready = true;
  state.shape.unary = !load.stream;
  state.shape.keeps_request = load.replayable;
  state.from = Nanoseconds(load.from);
  state.until = std::min(Nanoseconds(load.until), end_);
  if (load.rate > 0) {
    state.gap = static_cast<int64_t>(1e9 * clients / load.rate);
  }
  for (const Request& request : load.requests) state.weight += request.weight;
  if (load.in_turn) state.turn.resize(clients);
  loads_.push_back(state);
  for (int client = 0; client < clients; ++client) {
    if (load.rate > 0) {
      // Evenly: the clients take turns.
      time_.Push(state.from +
                     (load.evenly ? state.gap * client / clients : Gap(state)),
                 EventKind::kArrival, index, client);
    }
  }
  for (int caller = 0; caller < load.callers; ++caller) {
    time_.Push(state.from, EventKind::kArrival, index, caller % clients);
  }
}

int64_t Calls::Gap(const LoadState& state) {
  if (state.load->evenly) return state.gap;
  return static_cast<int64_t>(-static_cast<double>(state.gap) *
                              std::log(1 - time_.random().Unit()));
}

uint32_t Calls::NextRequest(LoadState& state, uint32_t client) {
  if (state.load == nullptr || state.load->requests.empty()) return kNone;
  const std::vector<Request>& requests = state.load->requests;
  const auto count = static_cast<uint32_t>(requests.size());
  if (state.load->in_turn) return state.turn[client]++ % count;
  double drawn = time_.random().Unit() * state.weight;
  for (uint32_t i = 0; i + 1 < count; ++i) {
    drawn -= requests[i].weight;
    if (drawn < 0) return i;
  }
  return count - 1;
}

void Calls::OnArrival(uint32_t load, uint32_t client) {
  const LoadState& state = loads_[load];
  if (time_.now() >= state.until) return;
  if (parts_.options.enough != nullptr && *parts_.options.enough) return;
  if (state.load->rate > 0) {
    time_.Push(time_.now() + Gap(state), EventKind::kArrival, load, client);
  }
  Begin(load, client, Later(time_.now(), state.deadline), kNone);
}

void Calls::CallBehind(uint32_t service, uint32_t client, int64_t deadline_cap,
                       uint32_t execution) {
  const uint32_t load =
      static_cast<uint32_t>(parts_.cluster.loads.size()) + service;
  const int64_t deadline = Later(time_.now(), loads_[load].deadline);
  Begin(load, client, std::min(deadline, deadline_cap), execution);
}

// ---- A call's beginning and end ----

void Calls::Begin(uint32_t load_index, uint32_t client_index,
                  int64_t deadline_at, uint32_t execution) {
  LoadState& state = loads_[load_index];
  const uint32_t slot = calls_.Take();
  CallState& call = calls_[slot];
  Client& client = clients_[client_index];
  call.service = client.upstream.name();
  call.method = state.shape.name;
  call.slot = slot;
  call.client = client_index;
  call.load = load_index;
  call.request = NextRequest(state, client_index);
  call.execution = execution;
  call.ends = 0;
  call.references = 1;  // Until it has begun.
  call.started = time_.now();
  call.start = time_.Now();
  call.deadline_at = deadline_at;
  call.deadline = TimeAt(deadline_at);
  call.rests_until = 0;
  call.timer_at = kNever;
  call.attempts.clear();
  call.round.clear();
  call.last_ended = nullptr;
  upstream::CallShape shape = state.shape;
  shape.method = &client.methods[state.method];
  call.machine.emplace(
      client.upstream.Plan(parts_.services[client.service].policies, shape),
      &call);

  invariants_.OnCallBegin(call);
  tally_.OnCallBegin(call);
  if (execution == kNone) PlanToLeave(*state.load, call);
  Perform(call, call.machine->Start(Now(call)));
  Unreference(call);
}

// Whether and when the caller will lose patience.
void Calls::PlanToLeave(const Load& load, CallState& call) {
  const int64_t now = time_.now();
  if (load.cancel_share > 0 && time_.random().Unit() < load.cancel_share) {
    const int64_t at = now + load.cancel_after.Sample(time_.random());
    Push(at, EventKind::kCancel, call);
    if (time_.Chaos()) {
      Push(at + time_.UpTo(absl::Milliseconds(5)), EventKind::kCancel, call);
    }
  }
  if (time_.Chaos() && time_.random().Below(10) == 0) {
    Push(now + time_.UpTo(absl::Milliseconds(100)), EventKind::kAbandon, call);
  }
}

void Calls::Ended(CallState& call) {
  for (const Attempt& attempt : call.attempts) Cancelled(call, attempt);
  call.attempts.clear();
  call.timer_at = kNever;
  if (!call.machine->finished()) {
    invariants_.Violation("a call ended unfinished");
  }
  if (call.execution != kNone) {
    return servers_.EndExecution(call.execution, call.code,
                                 call.machine->retried_in_vain());
  }
  const Load& load = *loads_[call.load].load;
  if (load.callers > 0) {
    time_.Push(time_.now() + load.think.Sample(time_.random()),
               EventKind::kArrival, call.load, call.client);
  }
}

void Calls::Abandon(CallState& call) {
  call.machine->Abandon(time_.Now());
  Ended(call);
}

void Calls::AbandonAllOf(uint32_t client) {
  for (CallState& call : calls_) {
    if (call.machine.has_value() && !call.machine->finished() &&
        call.client == client) {
      Reference(call);
      Abandon(call);
      Unreference(call);
    }
  }
}

void Calls::Unreference(CallState& call) {
  if (--call.references > 0 || !call.machine->finished()) return;
  if (call.ends != 1) invariants_.Violation("a call did not end once");
  call.machine.reset();
  calls_.Free(call.slot);
}

void Calls::TearDown() {
  for (CallState& call : calls_) {
    if (!call.machine.has_value()) continue;
    if (!call.machine->finished()) {
      tally_.OnHanging();
      if (call.deadline_at != kNever) {
        invariants_.Violation("a call with a deadline never ended");
      }
      call.machine->Abandon(time_.Now());
    }
    if (call.ends != 1) invariants_.Violation("a call did not end once");
  }
}

// ---- Events ----

call::Moment Calls::Now(const CallState& call) {
  const Client& client = clients_[call.client];
  return {time_.Now(), client.picker.get(), &decisions_, client.endpoints};
}

void Calls::OnEvent(const Event& event) {
  CallState& call = calls_[event.a];
  switch (event.kind) {
    case EventKind::kReach:
    case EventKind::kFirst:
    case EventKind::kDone:
    case EventKind::kDeadline:
      // Nothing is heard of an attempt that no longer runs.
      if (Attempt* const attempt = call.Find(static_cast<uint16_t>(event.b))) {
        OnAttemptEvent(call, *attempt, event);
      }
      break;
    case EventKind::kLate:
      OnLate(call, static_cast<int>(event.b));
      break;
    case EventKind::kTimer:
      OnTimer(call, event.b != 0);
      break;
    case EventKind::kStray:
      Perform(call, call.machine->OnEndpointsChanged(Now(call)));
      break;
    case EventKind::kCancel:
      OnCancel(call);
      break;
    case EventKind::kAbandon:
      if (!call.machine->finished()) Abandon(call);
      break;
    default:
      break;
  }
  Unreference(call);
}

void Calls::OnAttemptEvent(CallState& call, Attempt& attempt,
                           const Event& event) {
  const bool comes =
      event.kind == EventKind::kFirst || event.kind == EventKind::kDone;
  if (comes && !event.answer.local &&
      servers_.IsDead(attempt.server, attempt.connected)) {
    attempt.served_at = kNever;  // As if it had none.
    return ArmDeadline(call, attempt, kNever);
  }
  switch (event.kind) {
    case EventKind::kReach:
      return servers_.OnReach(call, attempt);
    case EventKind::kFirst:
      return OnFirst(call, attempt);
    case EventKind::kDone:
      return OnDone(call, attempt, event.answer);
    default:
      return OnAttemptDeadline(call, attempt);
  }
}

void Calls::OnFirst(CallState& call, Attempt& attempt) {
  attempt.committed = true;
  parts_.seconds.OnBrought(attempt.endpoint);
  Perform(call, call.machine->OnCommitted(attempt.number, Now(call)));
}

void Calls::Wake(uint32_t slot) {
  CallState& call = calls_[slot];
  Perform(call, call.machine->OnEndpointsChanged(Now(call)));
  Unreference(call);
}

void Calls::OnTimer(CallState& call, bool stray) {
  if (call.machine->finished() && !stray) return;
  const int64_t at = call.timer_at;
  if (time_.now() < at && !stray) return;  // Another has replaced it.
  if (time_.now() >= at) call.timer_at = kNever;
  Perform(call, call.machine->OnTimer(Now(call)));
}

void Calls::AttemptEnded(CallState& call, const Attempt& attempt,
                         AttemptOutcome outcome) {
  const int number = attempt.number;
  outcome.committed |= attempt.committed;
  call.attempts.erase(call.attempts.begin() +
                      (&attempt - call.attempts.data()));
  Perform(call, call.machine->OnAttemptDone(number, outcome, Now(call)));
}

void Calls::OnDone(CallState& call, const Attempt& attempt, Answer answer) {
  AttemptOutcome outcome;
  outcome.code = answer.code;
  outcome.never_sent = answer.never_sent;
  outcome.committed = answer.committed;
  outcome.local = answer.local;
  if (answer.pushed_back) outcome.pushback = absl::Milliseconds(30);
  if (answer.no_retry) outcome.pushback = absl::Milliseconds(-1);
  SimulatedEndpoint* const endpoint = attempt.endpoint;
  AttemptEnded(call, attempt, outcome);
  if (!answer.local) parts_.seconds.OnBrought(endpoint);
}

void Calls::OnAttemptDeadline(CallState& call, const Attempt& attempt) {
  servers_.GiveUp(attempt);
  AttemptOutcome outcome;
  outcome.code = absl::StatusCode::kDeadlineExceeded;
  outcome.local = true;
  outcome.attempt_timed_out = attempt.deadline < call.deadline_at;
  AttemptEnded(call, attempt, outcome);
}

void Calls::OnCancel(CallState& call) {
  std::optional<Action> action = call.machine->OnCancelled(Now(call));
  if (action.has_value()) return Perform(call, *std::move(action));
  // Each attempt ends cancelled; the first such word that the machine wants
  // to hear ends the call.
  while (!call.attempts.empty()) {
    servers_.GiveUp(call.attempts.front());
    AttemptOutcome outcome;
    outcome.code = absl::StatusCode::kCancelled;
    outcome.local = true;
    AttemptEnded(call, call.attempts.front(), outcome);
    if (!call.machine->finished() && call.attempts.empty()) {
      invariants_.Violation("a cancelled call goes on");
      break;
    }
  }
}

// The word of a cancelled attempt crossed the wish to cancel it.
void Calls::OnLate(CallState& call, int number) {
  AttemptOutcome outcome;
  outcome.code = time_.random().Below(2) == 0 ? absl::StatusCode::kOk
                                              : absl::StatusCode::kUnavailable;
  const bool finished = call.machine->finished();
  const Action action = call.machine->OnAttemptDone(number, outcome, Now(call));
  if (action.kind != Action::Kind::kGoOn || action.cancel_others ||
      finished != call.machine->finished()) {
    invariants_.Violation("a cancelled attempt was heard");
  }
  if (!finished) SetTimer(call, NanosecondOf(action.timer));
}

// ---- What the machine decides, done ----

void Calls::Perform(CallState& call, std::optional<Action> action) {
  if (!action.has_value()) return;
  switch (action->kind) {
    case Action::Kind::kStartAttempt:
      if (!action->hedge && !call.attempts.empty()) {
        invariants_.Violation("an attempt began that forgets those that run");
      }
      SetTimer(call, NanosecondOf(action->timer));
      return StartAttempt(call, *action);
    case Action::Kind::kSetTimer:
      if (call.attempts.empty()) call.rests_until = NanosecondOf(action->at);
      return SetTimer(call, NanosecondOf(action->at));
    case Action::Kind::kGoOn:
      if (action->cancel_others) CancelOthers(call, action->attempt);
      if (call.attempts.empty()) {
        invariants_.Violation("a call is to go on, but no attempt of it runs");
      }
      return SetTimer(call, NanosecondOf(action->timer));
    case Action::Kind::kWait:
      Reference(call);
      clients_.Wait(call, action->asks);
      return SetTimer(call, NanosecondOf(action->at));
    case Action::Kind::kFinish:
    case Action::Kind::kFail:
      if (action->kind == Action::Kind::kFail && action->status.ok()) {
        invariants_.Violation("a call failed with OK");
      }
      return Ended(call);
  }
}

// The one timer of a call; kNever: none.
void Calls::SetTimer(CallState& call, int64_t at) {
  call.timer_at = at;
  if (at >= kHorizon) return;
  if (call.deadline_at != kNever && at > call.deadline_at) {
    invariants_.Violation("a call waits beyond its deadline");
  }
  if (time_.Chaos()) {
    Push(time_.now() +
             static_cast<int64_t>(time_.random().Unit() * (at - time_.now())),
         EventKind::kTimer, call, 1);  // Too early.
  }
  if (time_.Chaos())
    Push(at + time_.UpTo(absl::Milliseconds(50)), EventKind::kTimer, call, 1);
  Push(time_.Chaos() ? at + time_.UpTo(absl::Milliseconds(50)) : at,
       EventKind::kTimer, call);
}

void Calls::StartAttempt(CallState& call, const Action& action) {
  const int64_t now = time_.now();
  if (now >= call.deadline_at &&
      (call.machine->attempts() > 1 || call.started < call.deadline_at)) {
    invariants_.Violation("an attempt began after the deadline");
  }
  if (NanosecondOf(action.at) > call.deadline_at) {
    invariants_.Violation("an attempt may run beyond the deadline");
  }
  if (now < call.rests_until) {
    invariants_.Violation("a backoff was cut short");
  }
  call.rests_until = 0;
  auto* const endpoint = static_cast<SimulatedEndpoint*>(action.endpoint);
  const uint32_t server = endpoint->server;
  tally_.OnAttemptStart(call, server);

  Attempt attempt;
  attempt.number = action.attempt;
  attempt.token = ++call.last_token;
  attempt.server = server;
  attempt.endpoint = endpoint;
  attempt.connected = endpoint->connected;
  attempt.network = servers_.description(server).network.Sample(time_.random());
  attempt.deadline = NanosecondOf(action.at);
  const int64_t reached = now + attempt.network / 2;
  Tell(reached, EventKind::kReach, call, attempt);
  ArmDeadline(call, attempt, reached);
  call.attempts.push_back(attempt);
  if (time_.Chaos()) {
    Push(now + time_.UpTo(absl::Milliseconds(20)), EventKind::kTimer, call, 1);
    Push(now + time_.UpTo(absl::Milliseconds(20)), EventKind::kStray, call);
  }
}

void Calls::ArmDeadline(CallState& call, Attempt& attempt, int64_t next) {
  if (attempt.deadline_armed || attempt.deadline >= next) return;
  attempt.deadline_armed = true;
  Tell(attempt.deadline, EventKind::kDeadline, call, attempt);
}

void Calls::CancelOthers(CallState& call, int but) {
  for (size_t i = call.attempts.size(); i-- > 0;) {
    if (call.attempts[i].number == but) continue;
    Cancelled(call, call.attempts[i]);
    call.attempts.erase(call.attempts.begin() + i);
  }
}

// An attempt that nobody wants any more.
void Calls::Cancelled(CallState& call, const Attempt& attempt) {
  servers_.GiveUp(attempt);
  if (time_.Chaos()) {
    Push(time_.now() + time_.UpTo(absl::Milliseconds(10)), EventKind::kLate,
         call, static_cast<uint32_t>(attempt.number));
  }
}

// ---- What servers do ----

void Calls::Send(Answer answer, CallState& call, Attempt& attempt, int64_t at) {
  if (answer.code != absl::StatusCode::kOk && time_.has_chaos()) {
    if (time_.Chaos() && !answer.never_sent) answer.committed = true;
    if (time_.Chaos()) answer.pushed_back = true;
    if (time_.Chaos()) answer.no_retry = true;
  }
  at = Later(at, attempt.network / 2);
  if (time_.Chaos()) at = Later(at, time_.UpTo(absl::Milliseconds(1)));
  Event event;
  event.time = at;
  event.kind = EventKind::kDone;
  event.a = call.slot;
  event.b = attempt.token;
  event.answer = answer;
  call.references += time_.Push(event);
  if (time_.Chaos()) {  // The same again.
    event.time = Later(at, time_.UpTo(absl::Milliseconds(1)));
    call.references += time_.Push(event);
  }
  ArmDeadline(call, attempt, at);
}

void Calls::BreakConnections(uint32_t server) {
  const int64_t now = time_.now();
  for (CallState& call : calls_) {
    for (Attempt& attempt : call.attempts) {
      if (!attempt.at_server || attempt.server != server ||
          attempt.served_at <= now) {
        continue;
      }
      Break(call, attempt);
    }
  }
}

void Calls::BreakConnection(const SimulatedEndpoint* endpoint) {
  for (CallState& call : calls_) {
    for (Attempt& attempt : call.attempts) {
      if (attempt.endpoint != endpoint) continue;
      servers_.GiveUp(attempt);
      Break(call, attempt);
    }
  }
}

// What the attempt would have been answered never comes.
void Calls::Break(CallState& call, Attempt& attempt) {
  Answer broken(absl::StatusCode::kUnavailable);
  broken.local = true;
  attempt.token = ++call.last_token;
  const bool armed = attempt.deadline_armed;
  attempt.deadline_armed = false;
  attempt.at_server = attempt.queued = false;
  Send(broken, call, attempt, time_.now());
  attempt.deadline_armed |= armed && attempt.deadline <= time_.now();
}

}  // namespace mesh::simulation
