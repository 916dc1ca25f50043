#include "mesh/simulation/servers.h"

#include <algorithm>

#include "mesh/simulation/calls.h"
#include "mesh/simulation/clients.h"
#include "mesh/simulation/tally.h"

namespace mesh::simulation {

Servers::Servers(const Parts& parts)
    : parts_(parts),
      time_(parts.timeline),
      tally_(parts.tally),
      calls_(parts.calls) {}

void Servers::Add(const Server& description, uint32_t service) {
  index_[description.address] = static_cast<uint32_t>(servers_.size());
  servers_.emplace_back();
  servers_.back().description = &description;
  servers_.back().service = service;
}

void Servers::MakeClients() {
  for (State& server : servers_) {
    if (server.service + 1 >= parts_.services.size()) continue;
    server.client = parts_.clients.Add(server.service + 1);
  }
}

void Servers::SetUpFaults() {
  active_.resize(parts_.cluster.faults.size());
  for (uint32_t i = 0; i < active_.size(); ++i) {
    time_.Push(Nanoseconds(parts_.cluster.faults[i].from), EventKind::kFault, i,
               1);
  }
}

// ---- Attempts ----

void Servers::OnReach(CallState& call, Attempt& attempt) {
  State& state = servers_[attempt.server];
  const Server& server = *state.description;
  if (state.refuses) {
    Answer refusal(absl::StatusCode::kUnavailable);
    refusal.never_sent = true;
    refusal.local = true;
    return calls_.Send(refusal, call, attempt, time_.now());
  }
  attempt.at_server = true;
  if (state.swallows || IsDead(attempt.server, attempt.connected)) {
    calls_.ArmDeadline(call, attempt, kNever);
  } else if (server.slots == 0 || state.busy < server.slots) {
    Serve(call, attempt);
  } else if (state.places < server.queue) {
    state.queue.push_back({call.slot, attempt.token});
    ++state.places;
    attempt.queued = true;
    calls_.Reference(call);
    calls_.ArmDeadline(call, attempt, kNever);
  } else {
    attempt.at_server = false;
    calls_.Send(Answer(absl::StatusCode::kResourceExhausted), call, attempt,
                time_.now());
  }
}

void Servers::GiveUp(const Attempt& attempt) {
  if (!attempt.at_server) return;
  State& state = servers_[attempt.server];
  if (attempt.queued) {
    if (state.description->drops_abandoned) --state.places;
  } else if (attempt.served_at != kNever) {
    tally_.OnWasted(attempt.server);
  }
}

// How long a call takes in the server, if it goes well.
int64_t Servers::WorkTime(const State& state, const Request* request) {
  const bool own = request == nullptr || !request->work.has_value();
  const Distribution& work = own ? state.description->latency : *request->work;
  const int64_t time = work.Sample(time_.random());
  return state.factor == 1
             ? time
             : static_cast<int64_t>(
                   std::min(static_cast<double>(time) * state.factor, 1e18));
}

// A slot is taken for a call. When it would be served, by this server alone.
int64_t Servers::Occupy(uint32_t index, int64_t time) {
  State& state = servers_[index];
  tally_.OnExecuted(index);
  if (state.description->slots > 0) ++state.busy;
  return Later(time_.now(), time);
}

void Servers::FreeSlotAt(uint32_t server, int64_t at) {
  const State& state = servers_[server];
  if (state.description->slots > 0)
    time_.Push(at, EventKind::kServed, server, state.epoch);
}

void Servers::Serve(CallState& call, Attempt& attempt) {
  const uint32_t server = attempt.server;
  const State& state = servers_[server];
  const Request* const request = calls_.request(call);
  int64_t time = WorkTime(state, request);
  bool error =
      state.error_share > 0 && time_.random().Unit() < state.error_share;
  absl::StatusCode code = state.error;
  if (error && state.error_after.has_value()) {
    time = Nanoseconds(*state.error_after);
  }
  if (!error && request != nullptr && request->fails > 0 &&
      time_.random().Unit() < request->fails) {
    error = true;
    code = request->code;
    time = Nanoseconds(request->fails_after);
  }
  const int64_t served = Occupy(server, time);
  if (state.has_behind() && !error) {
    Execute(server, served, call.slot, attempt.token);
    calls_.Reference(call);
    return calls_.ArmDeadline(call, attempt, kNever);
  }
  FreeSlotAt(server, served);
  attempt.served_at = served;
  if (!error && calls_.streams(call)) {
    const int64_t now = time_.now();
    calls_.Tell(now + (served - now) / 2 + attempt.network / 2,
                EventKind::kFirst, call, attempt);
  }
  calls_.Send(Answer(error ? code : absl::StatusCode::kOk), call, attempt,
              served);
}

// What was given up while it queued is executed for nobody.
void Servers::ServeNobody(uint32_t server) {
  tally_.OnWasted(server);
  const int64_t served = Occupy(server, WorkTime(servers_[server], nullptr));
  if (servers_[server].has_behind()) return Execute(server, served, kNone, 0);
  FreeSlotAt(server, served);
}

void Servers::OnServed(uint32_t server, uint32_t epoch) {
  if (servers_[server].epoch == epoch) FreeSlot(server);
}

void Servers::FreeSlot(uint32_t index) {
  State& state = servers_[index];
  const Server& server = *state.description;
  if (server.slots == 0) return;
  --state.busy;
  while (!state.queue.empty() && state.busy < server.slots) {
    const State::Queued next = state.queue.front();
    state.queue.pop_front();
    CallState& call = calls_[next.call];
    if (Attempt* const attempt = call.Find(next.token)) {
      --state.places;
      attempt->queued = false;
      Serve(call, *attempt);
    } else if (!server.drops_abandoned) {
      --state.places;
      ServeNobody(index);
    }
    calls_.Unreference(call);
  }
}

// ---- The tier behind ----

void Servers::Execute(uint32_t server, int64_t at, uint32_t call,
                      uint16_t token) {
  const uint32_t slot = executions_.Take();
  executions_[slot] = {server, servers_[server].epoch, call, token};
  time_.Push(at, EventKind::kBehind, slot);
}

Attempt* Servers::AttemptOf(const Execution& execution) {
  return execution.call == kNone ? nullptr
                                 : calls_[execution.call].Find(execution.token);
}

void Servers::OnBehind(uint32_t slot) {
  const Execution& execution = executions_[slot];
  const State& state = servers_[execution.server];
  const Attempt* const attempt = AttemptOf(execution);
  if (execution.epoch != state.epoch ||
      (attempt == nullptr && state.description->drops_abandoned)) {
    return EndExecution(slot, absl::StatusCode::kCancelled, false);
  }
  const bool inherits =
      parts_.cluster.context_crosses_tiers && attempt != nullptr;
  calls_.CallBehind(state.service, state.client,
                    inherits ? attempt->deadline : kNever, slot);
}

void Servers::EndExecution(uint32_t slot, absl::StatusCode code, bool in_vain) {
  const Execution execution = executions_[slot];
  executions_.Free(slot);
  Attempt* const attempt = AttemptOf(execution);
  if (attempt != nullptr) {
    attempt->served_at = time_.now();
    Answer answer(code);
    answer.no_retry = in_vain && parts_.cluster.context_crosses_tiers;
    calls_.Send(answer, calls_[execution.call], *attempt, time_.now());
  } else if (execution.call != kNone) {
    tally_.OnWasted(execution.server);
  }
  if (execution.call != kNone) calls_.Unreference(calls_[execution.call]);
  if (execution.epoch == servers_[execution.server].epoch) {
    FreeSlot(execution.server);
  }
}

// ---- Faults ----

void Servers::ApplyFaults(uint32_t server) {
  State& state = servers_[server];
  state.refuses = state.down = state.swallows = false;
  state.factor = 1;
  state.error_share = 0;
  for (size_t i = 0; i < parts_.cluster.faults.size(); ++i) {
    const Fault& fault = parts_.cluster.faults[i];
    if (!active_[i] || index_[fault.address] != server) continue;
    switch (fault.kind) {
      case Fault::Kind::kDown:
        state.down = state.refuses = true;
        break;
      case Fault::Kind::kDraining:
        state.refuses = true;
        break;
      case Fault::Kind::kSilence:
        state.swallows = true;
        break;
      case Fault::Kind::kSlow:
        state.factor *= fault.factor;
        break;
      case Fault::Kind::kErrors:
        state.error_share = fault.share;
        state.error = fault.code;
        state.error_after = fault.after;
        break;
      case Fault::Kind::kDeadConnections:
        break;  // It strikes once.
    }
  }
}

// The end of a fault that has begun, or where it flaps its next half period.
void Servers::ScheduleFault(uint32_t index, bool begins) {
  const Fault& fault = parts_.cluster.faults[index];
  const int64_t until = Nanoseconds(fault.until);
  const int64_t now = time_.now();
  if (now >= until) return;
  const int64_t half = Nanoseconds(fault.period) / 2;
  const int64_t next = half > 0 ? std::min(until, now + half) : until;
  // After the horizon of all calls nobody would see it.
  if (begins || now < Nanoseconds(parts_.options.duration)) {
    time_.Push(next, EventKind::kFault, index, half > 0 ? !begins : 0);
  }
}

void Servers::OnFault(uint32_t index, bool begins) {
  const Fault& fault = parts_.cluster.faults[index];
  active_[index] = begins && time_.now() < Nanoseconds(fault.until);
  const uint32_t server = index_[fault.address];
  State& state = servers_[server];
  const bool refused = state.refuses;
  const bool down = state.down;
  if (active_[index] && fault.kind == Fault::Kind::kDeadConnections) {
    state.silenced = time_.now();
  }
  ApplyFaults(server);
  ScheduleFault(index, begins);
  if (state.down && !down) Crash(server);
  if (!state.swallows || state.refuses) {
    // What a silent server kept of probes is answered, or lost.
    std::vector<uint32_t> probes;
    probes.swap(state.swallowed_probes);
    for (uint32_t probe : probes) {
      parts_.clients.AnswerProbe(probe, !state.refuses);
    }
  }
  if (state.refuses != refused) {
    parts_.clients.SenseLater(server, state.refuses
                                          ? parts_.cluster.detection
                                          : parts_.cluster.reconnection);
  }
}

bool Servers::TakeProbe(uint32_t server, uint32_t probe) {
  State& state = servers_[server];
  if (!state.swallows || state.refuses) return true;
  state.swallowed_probes.push_back(probe);
  return false;
}

// All that the server had is lost, and its clients see that the connection
// broke. (Its own budget and health of the tier behind survive: a
// simplification.)
void Servers::Crash(uint32_t server) {
  State& state = servers_[server];
  ++state.epoch;
  state.silenced = -1;
  state.busy = 0;
  calls_.BreakConnections(server);
  std::deque<State::Queued> lost;
  lost.swap(state.queue);
  state.places = 0;
  for (const State::Queued& queued : lost) {
    calls_.Unreference(calls_[queued.call]);
  }
  if (state.has_behind()) calls_.AbandonAllOf(state.client);
}

}  // namespace mesh::simulation
