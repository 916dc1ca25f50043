#include "mesh/simulation/invariants.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mesh/call/call_machine.h"
#include "mesh/cluster/load_shares.h"
#include "mesh/simulation/clients.h"
#include "mesh/telemetry/snapshot.h"

namespace mesh::simulation {

void Invariants::Violation(absl::string_view what) {
  if (violations_.size() >= 10) return;
  violations_.push_back(absl::StrCat(
      "at ", absl::FormatDuration(absl::Nanoseconds(parts_.timeline.now())),
      ": ", what));
}

// ---- Events ----

void Invariants::OnCallStart(const telemetry::CallInfo& info,
                             const telemetry::CallStartEvent& event) {
  CallState& call = CallState::Of(info);
  call.last_never_sent = false;
  call.replayable = event.replayable;
}

void Invariants::OnPick(const telemetry::CallInfo& info,
                        const telemetry::PickEvent& event) {
  CallState& call = CallState::Of(info);
  CheckReach(call, event);
  if (event.result != telemetry::PickEvent::Result::kUsed) return;
  if (event.endpoint.closed) {
    Violation(absl::StrCat(event.endpoint.address(),
                           " was picked though it is closed"));
  }
  CheckChoice(call, event);
  CheckHealth(call, event);
  CheckPanic(call, event);
}

void Invariants::OnAttemptEnd(const telemetry::CallInfo& info,
                              const telemetry::AttemptEvent& event) {
  CallState& call = CallState::Of(info);
  call.last_ended = parts_.clients.EndpointOf(event.endpoint);
  call.last_never_sent = event.never_sent;
}

void Invariants::OnRetryDecision(const telemetry::CallInfo& info,
                                 const telemetry::RetryEvent& event) {
  using Verdict = telemetry::RetryEvent::Verdict;
  CheckEnd(CallState::Of(info), event);
  if (event.verdict != Verdict::kRetry &&
      (event.verdict != Verdict::kHedge || event.observed)) {
    return;
  }
  // Retries and hedges never exceed the budget, whatever probes have taken.
  if (!Charge(CallState::Of(info).client)) {
    Violation("the budget was exceeded");
  }
}

void Invariants::OnCallEnd(const telemetry::CallInfo& info,
                           const telemetry::CallEvent&) {
  if (CallState::Of(info).ends != 1) Violation("a call ended twice");
}

void Invariants::OnProbe(const Client& client,
                         const SimulatedEndpoint& endpoint) {
  if (!Charge(client.index) &&
      parts_.timeline.now() - endpoint.probed < 1'000'000'000) {
    Violation("probes exceeded the budget and one per second");
  }
}

// ---- Rules ----

// Something is charged to the budget of a client: over any time it lets no more
// through than its share of the calls, its floor, and one burst. False, and not
// counted: there is no room.
bool Invariants::Charge(uint32_t client) {
  Account& account = accounts_[client];
  const options::RetryBudgetOptions& budget =
      parts_.services[parts_.clients[client].service].options->retry_budget;
  const double seconds = static_cast<double>(parts_.timeline.now()) * 1e-9;
  if (static_cast<double>(account.charged + 1) >
      budget.ratio * static_cast<double>(account.calls) +
          budget.min_per_second * (1 + seconds) + 1 + 1e-3) {
    return false;
  }
  ++account.charged;
  return true;
}

static bool RunsOn(const CallState& call, const SimulatedEndpoint* endpoint) {
  return std::any_of(call.attempts.begin(), call.attempts.end(),
                     [endpoint](const Attempt& attempt) {
                       return attempt.endpoint == endpoint;
                     });
}

static bool HasTried(const CallState& call, const SimulatedEndpoint* endpoint) {
  return std::find(call.round.begin(), call.round.end(), endpoint) !=
         call.round.end();
}

// An endpoint that the call has tried is used again only when no other is
// there for it in any priority, and never twice running while another is. (A
// hedge may go back where no server has seen the call. What it is hedged
// against is no other.)
void Invariants::CheckChoice(CallState& call,
                             const telemetry::PickEvent& event) {
  const SimulatedEndpoint* const chosen =
      parts_.clients.EndpointOf(event.endpoint);
  if (HasTried(call, chosen)) {
    const SimulatedEndpoint* const last = call.last_ended;
    for (const auto& live : parts_.clients[call.client].live) {
      if (live == nullptr || !live->available() || IsFull(call, *live)) {
        continue;
      }
      if (!HasTried(call, live.get())) {
        Violation(absl::StrCat(event.endpoint.address(),
                               " was tried again though ",
                               live->endpoint().address, " is ready"));
      } else if (chosen == last && live.get() != last &&
                 !(call.last_never_sent && RunsOn(call, live.get()))) {
        Violation(absl::StrCat(event.endpoint.address(),
                               " was tried twice running though ",
                               live->endpoint().address, " is ready"));
      }
    }
    call.round.clear();
    if (last != chosen) call.round.push_back(last);
    for (const Attempt& attempt : call.attempts) {
      call.round.push_back(attempt.endpoint);  // It has not left there.
    }
  }
  call.round.push_back(chosen);
}

// No call waits, fails, or goes where nobody is connected while there is a
// usable endpoint that has room. While all that are connected are out, health
// is ignored, so these count. A client of the simulation publishes what it
// learns at once, so not even one turn of a control thread is waited for.
void Invariants::CheckReach(const CallState& call,
                            const telemetry::PickEvent& event) {
  using Result = telemetry::PickEvent::Result;
  if (event.result == Result::kDeclined ||
      (event.result == Result::kUsed &&
       event.endpoint.readiness == cluster::Readiness::kReady)) {
    return;
  }
  const SimulatedEndpoint* usable = nullptr;
  const SimulatedEndpoint* connected = nullptr;
  bool all_out = true;
  for (const auto& live : parts_.clients[call.client].live) {
    if (live == nullptr || live->closed() ||
        live->readiness() != cluster::Readiness::kReady) {
      continue;
    }
    const bool out = live->share() == 0 ||
                     (live->health() == cluster::Health::kProbing &&
                      live->share() == cluster::LiveEndpoint::kProbeFree);
    all_out &= out;
    if (IsFull(call, *live)) continue;
    connected = live.get();
    if (!out) usable = live.get();
  }
  const SimulatedEndpoint* const missed = all_out ? connected : usable;
  if (missed == nullptr) return;
  Violation(absl::StrCat(
      "a call ",
      event.result == Result::kWaited ? "waits"
      : event.result == Result::kUsed ? "uses what is not connected"
                                      : "fails",
      " though ", missed->endpoint().address, " is connected"));
}

// No call ends with an attempt that no server has seen while there is a usable
// endpoint that it has not tried; but because of its deadline or a guard.
void Invariants::CheckEnd(const CallState& call,
                          const telemetry::RetryEvent& event) {
  using Verdict = telemetry::RetryEvent::Verdict;
  if ((event.verdict != Verdict::kNotRetryable &&
       event.verdict != Verdict::kAttemptsExhausted) ||
      !call.last_never_sent || !call.replayable ||
      event.attempt > call::kMaxTransparentRetries) {
    return;
  }
  for (const auto& live : parts_.clients[call.client].live) {
    if (live == nullptr || !live->available() || IsFull(call, *live) ||
        HasTried(call, live.get())) {
      continue;
    }
    return Violation(
        absl::StrCat("a call that no server has seen fails though ",
                     live->endpoint().address, " is usable"));
  }
}

// Whether an endpoint has as many calls as its cap allows.
bool Invariants::IsFull(const CallState& call,
                        const cluster::LiveEndpoint& endpoint) const {
  const options::CapsOptions& caps =
      parts_.services[parts_.clients[call.client].service].options->guards.caps;
  return caps.mode == options::Mode::kEnforce &&
         caps.max_calls_per_endpoint > 0 &&
         endpoint.in_flight() >= caps.max_calls_per_endpoint;
}

// No call goes to an endpoint that is suspect or ejected while another of any
// priority is well and has room; but in panic, when all have their share.
void Invariants::CheckHealth(const CallState& call,
                             const telemetry::PickEvent& event) {
  const cluster::EndpointView& chosen = event.endpoint;
  if (chosen.share > 0 || (chosen.health != cluster::Health::kEjected &&
                           chosen.health != cluster::Health::kSuspect)) {
    return;
  }
  for (const auto& live : parts_.clients[call.client].live) {
    if (live != nullptr && live->available() && !IsFull(call, *live)) {
      return Violation(absl::StrCat(chosen.address(),
                                    " was picked though it is ",
                                    cluster::NameOf(chosen.health), " and ",
                                    live->endpoint().address, " is well"));
    }
  }
}

// Whether so few endpoints of a priority are in use that all of them are to be:
// fewer than the threshold says, while the priorities together cannot carry the
// load. What has just been dialled may count or not.
bool Invariants::MayPanic(const Client& client, uint32_t priority) const {
  std::map<uint32_t, cluster::PriorityState> tallies;
  for (const auto& live : client.live) {
    if (live == nullptr) continue;
    cluster::PriorityState& tally = tallies[live->priority()];
    ++tally.endpoints;
    if (live->readiness() != cluster::Readiness::kReady) continue;
    ++tally.connected;
    const cluster::Health health = live->health();
    tally.usable += health == cluster::Health::kHealthy ||
                    health == cluster::Health::kRamping ||
                    health == cluster::Health::kTrial;
  }
  const options::ServiceOptions& options =
      *parts_.services[client.service].options;
  const auto threshold = static_cast<uint32_t>(
      options.guards.outlier_ejection.panic_threshold_percent);
  const cluster::PriorityState& its = tallies[priority];
  if (its.usable * 100 >= threshold * its.connected) return false;
  std::vector<cluster::PriorityState> states;
  for (const auto& [unused, tally] : tallies) states.push_back(tally);
  return states.size() == 1 ||
         cluster::SumOfCapacities(states, options.connections.ahead) <
             cluster::kWholeLoad;
}

// What is ejected is used only in panic; but by the one or two calls at whose
// start a monitor finds that the panic is over. Checked of first attempts,
// before which it has looked, and when no connection has changed just now.
void Invariants::CheckPanic(const CallState& call,
                            const telemetry::PickEvent& event) {
  const Client& client = parts_.clients[call.client];
  Account& account = accounts_[call.client];
  constexpr int64_t kSettled = 250'000'000;
  if (event.attempt != 1 || parts_.timeline.now() != call.started ||
      parts_.timeline.now() - client.rebuilt < kSettled) {
    return;
  }
  const cluster::EndpointView& chosen = event.endpoint;
  if (chosen.share != cluster::EndpointView::kFullShare ||
      chosen.health != cluster::Health::kEjected ||
      MayPanic(client, chosen.endpoint->priority)) {
    return;
  }
  const auto call_number = static_cast<int64_t>(account.calls);
  const int64_t since = call_number - account.needless_call;
  if (since > 5) {
    account.needless_call = call_number;
  } else if (since >= 2) {
    Violation(absl::StrCat(chosen.address(),
                           " is ejected and was picked without need"));
  }
}

// When all calls have ended nothing of them is left.
void Invariants::CheckAtRest(Client& client) {
  for (const auto* all : {&client.live, &client.removed}) {
    for (const auto& endpoint : *all) {
      if (endpoint == nullptr) continue;
      const std::string& address = endpoint->endpoint().address;
      if (endpoint->in_flight() != 0) {
        Violation(absl::StrCat(address, " ends with ", endpoint->in_flight(),
                               " attempts in flight"));
      }
      const int awaiting = endpoint->observations().awaiting();
      if (awaiting != 0) {
        Violation(
            absl::StrCat(address, " ends with ", awaiting, " answers awaited"));
      }
    }
  }
  telemetry::ServiceSnapshot state;
  client.upstream.Describe(parts_.timeline.Now(), &state);
  const telemetry::AdmissionSnapshot& admission = state.admission;
  if (admission.calls != 0 || admission.waiting != 0 ||
      admission.retries != 0) {
    Violation(absl::StrCat("admission ends with ", admission.calls, " calls, ",
                           admission.waiting, " that wait and ",
                           admission.retries, " retries"));
  }
}

}  // namespace mesh::simulation
