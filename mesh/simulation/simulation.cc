#include "mesh/simulation/simulation.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mesh/balancing/load_balancer.h"
#include "mesh/call/call_machine.h"
#include "mesh/resilience/retry_budget.h"
#include "mesh/simulation/event_queue.h"

namespace mesh::simulation {
namespace {

using call::Action;
using call::AttemptOutcome;

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
// Events later than this are never pushed, so that sums do not overflow.
constexpr int64_t kHorizon = int64_t{1} << 61;

absl::Time TimeAt(int64_t nanoseconds) {
  return nanoseconds == kNever ? absl::InfiniteFuture()
                               : absl::FromUnixNanos(nanoseconds);
}

// The first nanosecond that is not before `time`.
int64_t NanosecondOf(absl::Time time) {
  const int64_t result = absl::ToUnixNanos(time);
  return result < kHorizon && absl::FromUnixNanos(result) < time ? result + 1
                                                                 : result;
}

int64_t Nanoseconds(absl::Duration duration) {
  return absl::ToInt64Nanoseconds(duration);
}

int64_t Later(int64_t time, int64_t by) {
  return by >= kHorizon || time >= kHorizon ? kNever : time + by;
}

// One client's view of one server.
class SimulatedEndpoint final : public cluster::LiveEndpoint {
 public:
  SimulatedEndpoint(cluster::Endpoint endpoint, uint32_t server)
      : LiveEndpoint(std::move(endpoint)), server(server) {}
  const uint32_t server;
};

uint32_t ServerOf(const cluster::LiveEndpoint* endpoint) {
  return static_cast<const SimulatedEndpoint*>(endpoint)->server;
}

struct ClientState {
  explicit ClientState(const config::ServiceOptions& service)
      : balancer(balancing::MakeLoadBalancer(service.balancing)),
        budget(service.retry_budget, TimeAt(0)) {}

  const std::unique_ptr<balancing::LoadBalancer> balancer;
  resilience::RetryBudget budget;
  std::vector<std::shared_ptr<SimulatedEndpoint>> live;  // By server; or null.
  std::vector<std::shared_ptr<SimulatedEndpoint>> removed;
  balancing::PickerPtr picker;
  std::vector<uint32_t> waiting;  // Calls.
  uint64_t calls = 0;
  uint64_t retries = 0;
};

struct ServerState {
  bool refuses = false;  // Down or draining.
  bool down = false;
  bool swallows = false;
  double factor = 1;
  double error_share = 0;
  absl::StatusCode error = absl::StatusCode::kUnavailable;

  struct Queued {
    uint32_t call;
    uint16_t token;
  };
  int busy = 0;
  uint32_t epoch = 0;  // Of the process: counts its deaths.
  std::deque<Queued> queue;
};

struct LoadState {
  call::CallPlan plan;  // But for the budget.
  int64_t from = 0;
  int64_t until = 0;
  int64_t deadline = kNever;  // From the call's start.
  int64_t gap = 0;            // Mean, between calls of one client.
};

// One logical call and the part of the network that it occupies.
struct CallState : telemetry::CallInfo {
  std::optional<call::CallMachine> machine;
  uint32_t slot = 0;
  uint32_t client = 0;
  uint32_t load = 0;
  // Whatever still refers to the slot: events, queues. It is used again when
  // the call has ended and this is 0, so late events find the right call.
  int references = 0;
  int ends = 0;  // Times that OnCallEnd() came.
  int64_t started = 0;
  int64_t deadline_at = kNever;
  int64_t rests_until = 0;  // The end of its backoff.

  // The attempt that runs. `token` tells its events from those of others.
  uint16_t token = 0;
  bool attempting = false;
  bool at_server = false;
  bool deadline_armed = false;
  uint32_t server = 0;
  int64_t network = 0;  // There and back.
  int64_t attempt_deadline = kNever;
  int64_t served_at = kNever;  // When the server is done, once that is known.

  // Servers of the attempts of this round, to check what is tried.
  absl::InlinedVector<uint32_t, 4> round;
};

enum EventKind : uint8_t {
  kArrival,   // a: load, b: client. A call begins.
  kReach,     // a: call, b: token. An attempt reaches its server.
  kServed,    // a: server, b: epoch. A slot is free.
  kDone,      // a: call, b: token, code, flags. An answer reaches the client.
  kDeadline,  // a: call, b: token. The attempt's deadline.
  kTimer,     // a: call. The machine's timer.
  kStray,     // a: call. Endpoints changed, says somebody.
  kCancel,    // a: call. The caller cancels.
  kAbandon,   // a: call. The caller goes away.
  kFault,     // a: fault, b: whether it begins.
  kListed,    // a: server, b: whether it is.
  kSense,     // a: server, b: client. The client notices how the server is.
};

constexpr uint32_t kNeverSent = 1u << 24;
constexpr uint32_t kCommitted = 1u << 25;
constexpr uint32_t kPushback = 1u << 26;
constexpr uint32_t kNoRetry = 1u << 27;

// The simulated world, and the observer of all its calls.
class World final : public telemetry::Observer {
 public:
  World(const config::ServiceOptions& service, const Cluster& cluster,
        const Options& options)
      : service_(service),
        cluster_(cluster),
        options_(options),
        end_(Nanoseconds(options.duration)),
        step_(Nanoseconds(options.step)),
        random_(options.seed),
        decisions_(options.seed * 0x9e3779b97f4a7c15u + 1),
        user_(options.observer),
        user_wants_picks_(user_ != nullptr && user_->WantsPicks()) {}

  Result Run() {
    SetUp();
    while (!queue_.empty()) {
      const Event event = queue_.Pop();
      now_ = event.time;
      ++result_.events;
      Handle(event);
    }
    TearDown();
    return std::move(result_);
  }

  // ---- telemetry::Observer ----

  bool WantsPicks() const override { return true; }

  void OnCallStart(const telemetry::CallInfo& info,
                   const telemetry::CallStartEvent& event) override {
    if (user_wants_picks_) user_->OnCallStart(info, event);
  }

  void OnPick(const telemetry::CallInfo& info,
              const telemetry::PickEvent& event) override {
    CallState& call = Of(info);
    using Kind = telemetry::PickEvent::Result;
    Mix(static_cast<uint64_t>(event.result) << 32 |
        (event.endpoint == nullptr ? 0 : ServerOf(event.endpoint) + 1));
    if (event.result == Kind::kWaited) ++result_.waited;
    if (event.result == Kind::kUsed) CheckChoice(call, event);
    if (user_ != nullptr &&
        (user_wants_picks_ || event.result == Kind::kWaited ||
         event.result == Kind::kFailed)) {
      user_->OnPick(info, event);
    }
  }

  void OnAttemptEnd(const telemetry::CallInfo& info,
                    const telemetry::AttemptEvent& event) override {
    Mix(static_cast<uint64_t>(event.code) << 8 | event.attempt);
    Result::Endpoint& endpoint = result_.endpoints[ServerOf(event.endpoint)];
    ++endpoint.ended[static_cast<size_t>(event.code)];
    endpoint.never_sent += event.never_sent;
    if (user_ != nullptr) user_->OnAttemptEnd(info, event);
  }

  void OnRetryDecision(const telemetry::CallInfo& info,
                       const telemetry::RetryEvent& event) override {
    using Verdict = telemetry::RetryEvent::Verdict;
    Mix(static_cast<uint64_t>(event.verdict) << 56 ^
        static_cast<uint64_t>(Nanoseconds(event.delay)));
    if (event.verdict == Verdict::kTransparent) ++result_.transparent_retries;
    if (event.verdict == Verdict::kBudgetExhausted) ++result_.denied_by_budget;
    if (event.verdict == Verdict::kRetry) {
      ++result_.retries;
      ClientState& client = *clients_[Of(info).client];
      ++client.retries;
      const config::RetryBudgetOptions& budget = service_.retry_budget;
      if (client.retries > budget.ratio * client.calls +
                               budget.min_per_second * (1 + now_ * 1e-9) + 1 +
                               1e-3) {
        Violation("the budget was exceeded");
      }
    }
    if (user_ != nullptr) user_->OnRetryDecision(info, event);
  }

  void OnCallEnd(const telemetry::CallInfo& info,
                 const telemetry::CallEvent& event) override {
    Mix(static_cast<uint64_t>(event.code) << 40 ^ static_cast<uint64_t>(now_));
    CallState& call = Of(info);
    if (++call.ends != 1) Violation("a call ended twice");
    const int64_t latency = now_ - call.started;
    ++result_.ended[static_cast<size_t>(event.code)];
    result_.all.Add(latency);
    if (event.code == absl::StatusCode::kOk) result_.latency.Add(latency);
    if (Result::Step* step = StepNow()) {
      ++(event.code == absl::StatusCode::kOk ? step->ok : step->failed);
    }
    if (user_ != nullptr) user_->OnCallEnd(info, event);
  }

 private:
  static CallState& Of(const telemetry::CallInfo& info) {
    return const_cast<CallState&>(static_cast<const CallState&>(info));
  }

  void Mix(uint64_t value) {
    result_.hash = (result_.hash ^ value) * 0x9e3779b97f4a7c15u;
    result_.hash ^= result_.hash >> 29;
  }

  void Violation(absl::string_view what) {
    if (result_.violations.size() >= 10) return;
    result_.violations.push_back(absl::StrCat(
        "at ", absl::FormatDuration(absl::Nanoseconds(now_)), ": ", what));
  }

  void Push(int64_t time, EventKind kind, uint32_t a, uint32_t b = 0) {
    if (time >= kHorizon) return;
    if (kind == kReach || kind == kDone || kind == kDeadline ||
        kind == kTimer || kind == kStray || kind == kCancel ||
        kind == kAbandon) {
      ++calls_[a].references;
    }
    Event event;
    event.time = std::max(time, now_);
    event.kind = kind;
    event.a = a;
    event.b = b;
    queue_.Push(event);
  }

  bool Chaos() { return options_.chaos > 0 && random_.Unit() < options_.chaos; }
  int64_t UpTo(absl::Duration most) {
    return static_cast<int64_t>(random_.Unit() * Nanoseconds(most));
  }

  Result::Step* StepNow() {
    const size_t index = static_cast<size_t>(now_ / step_);
    if (index >= result_.steps.size()) {
      // Long after the last call began only stragglers end; they are counted
      // in the totals.
      constexpr size_t kMostSteps = 100'000;
      if (index >= kMostSteps) return nullptr;
      const size_t before = result_.steps.size();
      result_.steps.resize(index + 1);
      for (size_t i = before; i <= index; ++i) {
        result_.steps[i].attempts.resize(cluster_.servers.size());
      }
    }
    return &result_.steps[index];
  }

  // ---- The world's beginning and end ----

  void SetUp() {
    servers_.resize(cluster_.servers.size());
    result_.endpoints.resize(cluster_.servers.size());
    active_.resize(cluster_.faults.size());
    for (size_t i = 0; i < cluster_.servers.size(); ++i) {
      result_.endpoints[i].address = cluster_.servers[i].address;
      index_[cluster_.servers[i].address] = i;
    }
    for (int i = 0; i < cluster_.clients; ++i) {
      clients_.push_back(std::make_unique<ClientState>(service_));
      clients_.back()->live.resize(cluster_.servers.size());
    }
    for (size_t i = 0; i < cluster_.servers.size(); ++i) {
      const Server& server = cluster_.servers[i];
      if (server.listed_from > absl::ZeroDuration()) {
        Push(Nanoseconds(server.listed_from), kListed, i, 1);
      } else {
        for (auto& client : clients_) {
          client->live[i] = NewEndpoint(i);
          client->live[i]->set_readiness(cluster::Readiness::kReady);
        }
      }
      Push(Nanoseconds(server.listed_until), kListed, i, 0);
    }
    for (auto& client : clients_) Rebuild(*client);
    for (size_t i = 0; i < cluster_.faults.size(); ++i) {
      Push(Nanoseconds(cluster_.faults[i].from), kFault, i, 1);
    }
    for (size_t i = 0; i < cluster_.loads.size(); ++i) SetUpLoad(i);
  }

  void SetUpLoad(uint32_t index) {
    const Load& load = cluster_.loads[index];
    const config::MethodOptions& policy = service_.PolicyOf(load.method);
    LoadState state;
    state.plan.policy = &policy;
    state.plan.observer = this;
    state.plan.idempotent = policy.idempotent.value_or(false);
    state.plan.wait_for_ready =
        policy.wait_for_ready.value_or(load.wait_for_ready);
    state.plan.replayable = load.replayable;
    state.from = Nanoseconds(load.from);
    state.until = std::min(Nanoseconds(load.until), end_);
    state.deadline = Nanoseconds(std::min(load.deadline, policy.timeout));
    if (load.rate > 0) {
      state.gap = static_cast<int64_t>(1e9 * cluster_.clients / load.rate);
    }
    loads_.push_back(state);
    for (int client = 0; client < cluster_.clients; ++client) {
      if (load.rate > 0) {
        // Evenly: the clients take turns.
        Push(state.from + (load.evenly ? state.gap * client / cluster_.clients
                                       : Gap(load, state)),
             kArrival, index, client);
      }
    }
    for (int caller = 0; caller < load.callers; ++caller) {
      Push(state.from, kArrival, index, caller % cluster_.clients);
    }
  }

  int64_t Gap(const Load& load, const LoadState& state) {
    if (load.evenly) return state.gap;
    return static_cast<int64_t>(-static_cast<double>(state.gap) *
                                std::log(1 - random_.Unit()));
  }

  void TearDown() {
    for (CallState& call : calls_) {
      if (!call.machine.has_value()) continue;
      if (!call.machine->finished()) {
        ++result_.hanging;
        if (call.deadline_at != kNever) {
          Violation("a call with a deadline never ended");
        }
        call.machine->Abandon(TimeAt(now_));
      }
      if (call.ends != 1) Violation("a call did not end once");
    }
    for (const auto& client : clients_) {
      for (const auto* all : {&client->live, &client->removed}) {
        for (const auto& endpoint : *all) {
          if (endpoint != nullptr && endpoint->in_flight() != 0) {
            Violation(absl::StrCat(endpoint->endpoint().address, " ends with ",
                                   endpoint->in_flight(),
                                   " attempts in flight"));
          }
        }
      }
    }
    uint64_t ended = 0;
    for (uint64_t count : result_.ended) ended += count;
    if (ended != result_.calls) Violation("not every call ended");
    result_.simulated = absl::Nanoseconds(now_);
  }

  // ---- Events ----

  void Handle(const Event& event) {
    switch (event.kind) {
      case kArrival:
        return OnArrival(event.a, event.b);
      case kServed:
        if (servers_[event.a].epoch == event.b) OnServed(event.a);
        return;
      case kFault:
        return OnFault(event.a, event.b != 0);
      case kListed:
        return OnListed(event.a, event.b != 0);
      case kSense:
        return OnSense(event.a, *clients_[event.b]);
      default:
        break;
    }
    CallState& call = calls_[event.a];
    const bool current =
        call.attempting && call.token == static_cast<uint16_t>(event.b);
    switch (event.kind) {
      case kReach:
        if (current) OnReach(call);
        break;
      case kDone:
        if (current) OnDone(call, event.b);
        break;
      case kDeadline:
        if (current) OnAttemptDeadline(call);
        break;
      case kTimer:
        Perform(call, call.machine->OnTimer(Now(call)));
        break;
      case kStray:
        Perform(call, call.machine->OnEndpointsChanged(Now(call)));
        break;
      case kCancel:
        OnCancel(call);
        break;
      case kAbandon:
        call.attempting = false;
        ++call.token;
        if (!call.machine->finished()) {
          call.machine->Abandon(TimeAt(now_));
          CallEnded(call);
        }
        break;
    }
    Unreference(call);
  }

  void Unreference(CallState& call) {
    if (--call.references == 0 && call.machine->finished()) Recycle(call);
  }

  void Recycle(CallState& call) {
    if (call.ends != 1) Violation("a call did not end once");
    call.machine.reset();
    free_.push_back(call.slot);
  }

  call::Moment Now(const CallState& call) {
    return {TimeAt(now_), clients_[call.client]->picker.get(), &decisions_};
  }

  void OnArrival(uint32_t load_index, uint32_t client_index) {
    const Load& load = cluster_.loads[load_index];
    const LoadState& state = loads_[load_index];
    if (now_ >= state.until) return;
    if (load.rate > 0) {
      Push(now_ + Gap(load, state), kArrival, load_index, client_index);
    }

    if (free_.empty()) {
      calls_.emplace_back();
      calls_.back().slot = calls_.size() - 1;
      free_.push_back(calls_.back().slot);
    }
    CallState& call = calls_[free_.back()];
    free_.pop_back();
    call.service = service_.name;
    call.method = load.method;
    call.client = client_index;
    call.load = load_index;
    call.ends = 0;
    call.references = 1;  // Until it has begun.
    call.started = now_;
    call.start = TimeAt(now_);
    call.deadline_at = Later(now_, state.deadline);
    call.deadline = TimeAt(call.deadline_at);
    call.rests_until = 0;
    call.round.clear();
    ClientState& client = *clients_[client_index];
    call::CallPlan plan = state.plan;
    plan.budget = &client.budget;
    call.machine.emplace(plan, &call);

    ++result_.calls;
    ++client.calls;
    if (Result::Step* step = StepNow()) ++step->started;
    if (load.cancel_share > 0 && random_.Unit() < load.cancel_share) {
      const int64_t at = now_ + load.cancel_after.Sample(random_);
      Push(at, kCancel, call.slot);
      if (Chaos()) Push(at + UpTo(absl::Milliseconds(5)), kCancel, call.slot);
    }
    if (Chaos() && random_.Below(10) == 0) {
      Push(now_ + UpTo(absl::Milliseconds(100)), kAbandon, call.slot);
    }
    Perform(call, call.machine->Start(Now(call)));
    Unreference(call);
  }

  // ---- What the machine decides, done ----

  void Perform(CallState& call, std::optional<Action> action) {
    if (!action.has_value()) return;
    switch (action->kind) {
      case Action::Kind::kStartAttempt:
        return StartAttempt(call, *action);
      case Action::Kind::kSetTimer:
        call.rests_until = NanosecondOf(action->at);
        return SetTimer(call, NanosecondOf(action->at));
      case Action::Kind::kGoOn:
        return;
      case Action::Kind::kWait:
        clients_[call.client]->waiting.push_back(call.slot);
        ++call.references;
        return SetTimer(call, NanosecondOf(action->at));
      case Action::Kind::kFinish:
      case Action::Kind::kFail:
        if (action->kind == Action::Kind::kFail && action->status.ok()) {
          Violation("a call failed with OK");
        }
        return CallEnded(call);
    }
  }

  void SetTimer(CallState& call, int64_t at) {
    if (call.deadline_at != kNever && at > call.deadline_at) {
      Violation("a call waits beyond its deadline");
    }
    if (at >= kHorizon) return;
    if (Chaos()) {
      Push(now_ + static_cast<int64_t>(random_.Unit() * (at - now_)), kTimer,
           call.slot);  // Too early.
    }
    if (Chaos()) Push(at + UpTo(absl::Milliseconds(50)), kTimer, call.slot);
    Push(Chaos() ? at + UpTo(absl::Milliseconds(50)) : at, kTimer, call.slot);
  }

  void CallEnded(CallState& call) {
    call.attempting = false;
    if (!call.machine->finished()) Violation("a call ended unfinished");
    const Load& load = cluster_.loads[call.load];
    if (load.callers > 0) {
      Push(now_ + load.think.Sample(random_), kArrival, call.load, call.client);
    }
  }

  void StartAttempt(CallState& call, const Action& action) {
    if (now_ >= call.deadline_at &&
        (call.machine->attempts() > 1 || call.started < call.deadline_at)) {
      Violation("an attempt began after the deadline");
    }
    if (now_ < call.rests_until) Violation("a backoff was cut short");
    const uint32_t server = ServerOf(action.endpoint);
    ++result_.attempts;
    ++result_.endpoints[server].attempts;
    if (Result::Step* step = StepNow()) ++step->attempts[server];

    ++call.token;
    call.attempting = true;
    call.at_server = false;
    call.deadline_armed = false;
    call.server = server;
    call.network = cluster_.servers[server].network.Sample(random_);
    call.attempt_deadline = NanosecondOf(action.at);
    call.served_at = kNever;
    const int64_t reached = now_ + call.network / 2;
    Push(reached, kReach, call.slot, call.token);
    ArmDeadline(call, reached);
    if (Chaos()) {
      Push(now_ + UpTo(absl::Milliseconds(20)), kTimer, call.slot);
      Push(now_ + UpTo(absl::Milliseconds(20)), kStray, call.slot);
    }
  }

  // Sets a timer for the attempt's deadline if it comes before `next`, the
  // next thing that the client will see of the attempt. So the many deadlines
  // that never come are never in the queue.
  void ArmDeadline(CallState& call, int64_t next) {
    if (call.deadline_armed || call.attempt_deadline >= next) return;
    call.deadline_armed = true;
    Push(call.attempt_deadline, kDeadline, call.slot, call.token);
  }

  void AttemptEnded(CallState& call, const AttemptOutcome& outcome) {
    call.attempting = false;
    ++call.token;
    Perform(call, call.machine->OnAttemptDone(call.machine->attempts(), outcome,
                                              Now(call)));
  }

  void OnDone(CallState& call, uint32_t what) {
    AttemptOutcome outcome;
    outcome.code = static_cast<absl::StatusCode>(what >> 16 & 0xff);
    outcome.never_sent = (what & kNeverSent) != 0;
    outcome.committed = (what & kCommitted) != 0;
    if (what & kPushback) outcome.pushback = absl::Milliseconds(30);
    if (what & kNoRetry) outcome.pushback = absl::Milliseconds(-1);
    AttemptEnded(call, outcome);
  }

  void OnAttemptDeadline(CallState& call) {
    GiveUp(call);
    AttemptOutcome outcome;
    outcome.code = absl::StatusCode::kDeadlineExceeded;
    outcome.attempt_timed_out = call.attempt_deadline < call.deadline_at;
    AttemptEnded(call, outcome);
  }

  void OnCancel(CallState& call) {
    std::optional<Action> action = call.machine->OnCancelled(Now(call));
    if (action.has_value()) return Perform(call, *std::move(action));
    if (!call.attempting) return;
    GiveUp(call);
    AttemptOutcome outcome;
    outcome.code = absl::StatusCode::kCancelled;
    AttemptEnded(call, outcome);
  }

  void GiveUp(const CallState& call) {
    if (call.at_server && call.served_at != kNever) {
      ++result_.endpoints[call.server].wasted;
    }
  }

  // ---- Servers ----

  void Answer(CallState& call, int64_t at, absl::StatusCode code,
              uint32_t flags = 0) {
    uint32_t what = call.token | static_cast<uint32_t>(code) << 16 | flags;
    if (code != absl::StatusCode::kOk && options_.chaos > 0) {
      if (Chaos() && (flags & kNeverSent) == 0) what |= kCommitted;
      if (Chaos()) what |= kPushback;
      if (Chaos()) what |= kNoRetry;
    }
    at = Later(at, call.network / 2);
    if (Chaos()) at = Later(at, UpTo(absl::Milliseconds(1)));
    Push(at, kDone, call.slot, what);
    if (Chaos()) {  // The same again.
      Push(Later(at, UpTo(absl::Milliseconds(1))), kDone, call.slot, what);
    }
    ArmDeadline(call, at);
  }

  void OnReach(CallState& call) {
    const Server& server = cluster_.servers[call.server];
    ServerState& state = servers_[call.server];
    if (state.refuses) {
      Answer(call, now_, absl::StatusCode::kUnavailable, kNeverSent);
      return;
    }
    call.at_server = true;
    if (state.swallows) {
      ArmDeadline(call, kNever);
    } else if (server.slots == 0 || state.busy < server.slots) {
      Serve(call);
    } else if (static_cast<int>(state.queue.size()) < server.queue) {
      state.queue.push_back({call.slot, call.token});
      ++call.references;
      ArmDeadline(call, kNever);
    } else {
      call.at_server = false;
      Answer(call, now_, absl::StatusCode::kResourceExhausted);
    }
  }

  int64_t Occupy(uint32_t index) {
    const Server& server = cluster_.servers[index];
    ServerState& state = servers_[index];
    ++result_.endpoints[index].executed;
    int64_t time = server.latency.Sample(random_);
    if (state.factor != 1) {
      time = static_cast<int64_t>(
          std::min(static_cast<double>(time) * state.factor, 1e18));
    }
    if (server.slots > 0) {
      ++state.busy;
      Push(Later(now_, time), kServed, index, state.epoch);
    }
    return Later(now_, time);
  }

  void Serve(CallState& call) {
    const ServerState& state = servers_[call.server];
    call.served_at = Occupy(call.server);
    const bool error =
        state.error_share > 0 && random_.Unit() < state.error_share;
    Answer(call, call.served_at, error ? state.error : absl::StatusCode::kOk);
  }

  void OnServed(uint32_t index) {
    const Server& server = cluster_.servers[index];
    ServerState& state = servers_[index];
    --state.busy;
    while (!state.queue.empty() && state.busy < server.slots) {
      const ServerState::Queued next = state.queue.front();
      state.queue.pop_front();
      CallState& call = calls_[next.call];
      if (call.attempting && call.token == next.token) {
        Serve(call);
      } else if (!server.drops_abandoned) {
        ++result_.endpoints[index].wasted;
        Occupy(index);
      }
      Unreference(call);
    }
  }

  // ---- Faults and membership ----

  void OnFault(uint32_t index, bool begins) {
    const Fault& fault = cluster_.faults[index];
    const int64_t until = Nanoseconds(fault.until);
    active_[index] = begins && now_ < until;
    const uint32_t server = index_[fault.address];
    ServerState& state = servers_[server];
    const bool refused = state.refuses;
    const bool down = state.down;

    state.refuses = state.down = state.swallows = false;
    state.factor = 1;
    state.error_share = 0;
    for (size_t i = 0; i < cluster_.faults.size(); ++i) {
      const Fault& each = cluster_.faults[i];
      if (!active_[i] || index_[each.address] != server) continue;
      switch (each.kind) {
        case Fault::Kind::kDown:
          state.down = state.refuses = true;
          break;
        case Fault::Kind::kDraining:
          state.refuses = true;
          break;
        case Fault::Kind::kBlackHole:
          state.swallows = true;
          break;
        case Fault::Kind::kSlow:
          state.factor *= each.factor;
          break;
        case Fault::Kind::kErrors:
          state.error_share = each.share;
          state.error = each.code;
          break;
      }
    }

    if (now_ < until) {
      const int64_t half = Nanoseconds(fault.period) / 2;
      const int64_t next = half > 0 ? std::min(until, now_ + half) : until;
      // After the horizon of all calls nobody would see it.
      if (begins || now_ < end_) {
        Push(next, kFault, index, half > 0 ? !begins : 0);
      }
    }
    if (state.down && !down) Crash(server);
    if (state.refuses != refused) {
      const Distribution& delay =
          state.refuses ? cluster_.detection : cluster_.reconnection;
      for (size_t i = 0; i < clients_.size(); ++i) {
        Push(now_ + delay.Sample(random_), kSense, server, i);
      }
    }
  }

  // All that the server had is lost, and its clients see that the connection
  // broke.
  void Crash(uint32_t server) {
    ServerState& state = servers_[server];
    ++state.epoch;
    state.busy = 0;
    for (CallState& call : calls_) {
      if (!call.attempting || !call.at_server || call.server != server ||
          call.served_at <= now_) {
        continue;
      }
      ++call.token;  // What it would have answered never comes.
      const bool armed = call.deadline_armed;
      call.deadline_armed = false;
      call.at_server = false;
      Answer(call, now_, absl::StatusCode::kUnavailable);
      call.deadline_armed |= armed && call.attempt_deadline <= now_;
    }
    std::deque<ServerState::Queued> lost;
    lost.swap(state.queue);
    for (const ServerState::Queued& queued : lost) {
      Unreference(calls_[queued.call]);
    }
  }

  std::shared_ptr<SimulatedEndpoint> NewEndpoint(uint32_t server) const {
    cluster::Endpoint endpoint;
    endpoint.address = cluster_.servers[server].address;
    endpoint.weight = cluster_.servers[server].weight;
    endpoint.priority = cluster_.servers[server].priority;
    return std::make_shared<SimulatedEndpoint>(std::move(endpoint), server);
  }

  void OnListed(uint32_t server, bool listed) {
    for (size_t i = 0; i < clients_.size(); ++i) {
      ClientState& client = *clients_[i];
      std::shared_ptr<SimulatedEndpoint>& live = client.live[server];
      if (listed) {
        live = NewEndpoint(server);
        live->set_readiness(cluster::Readiness::kConnecting);
        Push(now_ + cluster_.reconnection.Sample(random_), kSense, server, i);
      } else if (live != nullptr) {
        live->Close();
        client.removed.push_back(std::move(live));
        live = nullptr;
      }
      Rebuild(client);
    }
  }

  void OnSense(uint32_t server, ClientState& client) {
    const auto& live = client.live[server];
    if (live == nullptr) return;
    const auto readiness = servers_[server].refuses
                               ? cluster::Readiness::kFailed
                               : cluster::Readiness::kReady;
    if (live->readiness() == readiness) return;
    live->set_readiness(readiness);
    Rebuild(client);
  }

  // Publishes a new picker and tells the calls that wait for one.
  void Rebuild(ClientState& client) {
    std::vector<balancing::Member> members;
    for (const auto& live : client.live) {
      if (live == nullptr) continue;
      members.push_back(
          {live, live->endpoint().weight, live->endpoint().priority});
    }
    // The old one lives until what is told below has been told of.
    const balancing::PickerPtr before = std::move(client.picker);
    client.picker = client.balancer->Update(
        members, absl::UnavailableError(absl::StrCat("service '", service_.name,
                                                     "' has no endpoints")));
    if (user_wants_picks_) {
      std::vector<telemetry::PickerEvent::Member> seen;
      for (const balancing::Member& member : members) {
        seen.push_back({member.live.get(), member.weight, member.priority,
                        member.live->readiness()});
      }
      telemetry::PickerEvent event;
      event.service = service_.name;
      event.time = TimeAt(now_);
      event.picker = client.picker.get();
      event.members = seen;
      user_->OnPicker(event);
    }
    std::vector<uint32_t> waiting;
    waiting.swap(client.waiting);
    for (uint32_t slot : waiting) {
      CallState& call = calls_[slot];
      Perform(call, call.machine->OnEndpointsChanged(Now(call)));
      Unreference(call);
    }
  }

  // ---- Invariants ----

  // An endpoint that the call has tried is used again only when no other is
  // ready, and never twice running while another is.
  void CheckChoice(CallState& call, const telemetry::PickEvent& event) {
    const uint32_t chosen = ServerOf(event.endpoint);
    const auto tried = [&call](uint32_t server) {
      return std::find(call.round.begin(), call.round.end(), server) !=
             call.round.end();
    };
    if (tried(chosen)) {
      const uint32_t last = call.round.back();
      for (const auto& live : clients_[call.client]->live) {
        if (live == nullptr ||
            live->readiness() != cluster::Readiness::kReady ||
            live->endpoint().priority != event.endpoint->endpoint().priority) {
          continue;
        }
        if (!tried(live->server)) {
          Violation(absl::StrCat(event.endpoint->endpoint().address,
                                 " was tried again though ",
                                 live->endpoint().address, " is ready"));
        } else if (chosen == last && live->server != last) {
          Violation(absl::StrCat(event.endpoint->endpoint().address,
                                 " was tried twice running though ",
                                 live->endpoint().address, " is ready"));
        }
      }
      call.round.clear();
      if (last != chosen) call.round.push_back(last);
    }
    call.round.push_back(chosen);
  }

  // Constant.
  const config::ServiceOptions& service_;
  const Cluster& cluster_;
  const Options& options_;
  const int64_t end_;
  const int64_t step_;

  int64_t now_ = 0;
  base::Random random_;     // The world's.
  base::Random decisions_;  // The machines'.
  telemetry::Observer* const user_;
  const bool user_wants_picks_;
  EventQueue queue_;
  std::map<std::string, uint32_t> index_;
  std::vector<ServerState> servers_;
  std::vector<bool> active_;  // By fault.
  std::vector<LoadState> loads_;
  std::vector<std::unique_ptr<ClientState>> clients_;
  std::deque<CallState> calls_;
  std::vector<uint32_t> free_;
  Result result_;
};

absl::Status Wrong(absl::string_view field, size_t index,
                   absl::string_view what, absl::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, "[", index, "].", what, " ", problem));
}

absl::Status Check(const Cluster& cluster, const Options& options) {
  if (!(options.duration > absl::ZeroDuration() &&
        options.duration <= absl::Hours(24 * 365))) {
    return absl::InvalidArgumentError(
        absl::StrCat("duration must be above 0s and at most a year, is ",
                     absl::FormatDuration(options.duration)));
  }
  if (options.step < absl::Milliseconds(1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "step must be at least 1ms, is ", absl::FormatDuration(options.step)));
  }
  if (!(options.chaos >= 0 && options.chaos <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("chaos must be in 0..1, is ", options.chaos));
  }
  if (cluster.clients < 1 || cluster.clients > 10'000) {
    return absl::InvalidArgumentError(
        absl::StrCat("clients must be in 1..10000, is ", cluster.clients));
  }
  for (const auto* delay : {&cluster.detection, &cluster.reconnection}) {
    if (absl::Status status = delay->Check(); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          delay == &cluster.detection ? "detection " : "reconnection ",
          status.message()));
    }
  }
  std::set<std::string> addresses;
  for (size_t i = 0; i < cluster.servers.size(); ++i) {
    const Server& server = cluster.servers[i];
    if (server.address.empty() || !addresses.insert(server.address).second) {
      return Wrong(
          "servers", i, "address",
          absl::StrCat("must be there and unique, is '", server.address, "'"));
    }
    if (absl::Status status = server.latency.Check(); !status.ok()) {
      return Wrong("servers", i, "latency", status.message());
    }
    if (absl::Status status = server.network.Check(); !status.ok()) {
      return Wrong("servers", i, "network", status.message());
    }
    if (server.slots < 0) {
      return Wrong("servers", i, "slots",
                   absl::StrCat("must not be negative, is ", server.slots));
    }
    if (server.queue < 0) {
      return Wrong("servers", i, "queue",
                   absl::StrCat("must not be negative, is ", server.queue));
    }
    if (server.weight == 0) {
      return Wrong("servers", i, "weight", "must not be 0");
    }
    if (server.listed_until < server.listed_from) {
      return Wrong("servers", i, "listed_until", "is before listed_from");
    }
  }
  for (size_t i = 0; i < cluster.faults.size(); ++i) {
    const Fault& fault = cluster.faults[i];
    if (addresses.count(fault.address) == 0) {
      return Wrong("faults", i, "address",
                   absl::StrCat("'", fault.address, "' is no server's"));
    }
    if (fault.from < absl::ZeroDuration() || fault.until < fault.from) {
      return Wrong("faults", i, "from",
                   absl::StrCat("must be in 0s..until, is ",
                                absl::FormatDuration(fault.from)));
    }
    if (!(fault.factor > 0 && fault.factor <= 1e6)) {
      return Wrong(
          "faults", i, "factor",
          absl::StrCat("must be above 0 and at most 1e6, is ", fault.factor));
    }
    if (!(fault.share >= 0 && fault.share <= 1)) {
      return Wrong("faults", i, "share",
                   absl::StrCat("must be in 0..1, is ", fault.share));
    }
    if (static_cast<int>(fault.code) < 1 || static_cast<int>(fault.code) > 16) {
      return Wrong("faults", i, "code", "must be an error");
    }
    if (fault.period < absl::ZeroDuration() ||
        (fault.period > absl::ZeroDuration() &&
         fault.period < absl::Milliseconds(1))) {
      return Wrong("faults", i, "period",
                   absl::StrCat("must be 0s or at least 1ms, is ",
                                absl::FormatDuration(fault.period)));
    }
  }
  for (size_t i = 0; i < cluster.loads.size(); ++i) {
    const Load& load = cluster.loads[i];
    if (!(load.rate >= 0 && load.rate <= 1e9)) {
      return Wrong("loads", i, "rate",
                   absl::StrCat("must be in 0..1e9, is ", load.rate));
    }
    if (load.callers < 0 || (load.rate > 0) == (load.callers > 0)) {
      return Wrong("loads", i, "callers",
                   "must be above 0 in a closed loop, and 0 where there is a "
                   "rate");
    }
    if (load.callers > 0 && load.think.Check().ok() &&
        load.deadline <= absl::ZeroDuration()) {
      return Wrong("loads", i, "deadline",
                   "must be above 0s in a closed loop: time would stand still");
    }
    if (absl::Status status = load.think.Check(); !status.ok()) {
      return Wrong("loads", i, "think", status.message());
    }
    if (absl::Status status = load.cancel_after.Check(); !status.ok()) {
      return Wrong("loads", i, "cancel_after", status.message());
    }
    if (load.from < absl::ZeroDuration()) {
      return Wrong("loads", i, "from", "must not be negative");
    }
    if (!(load.cancel_share >= 0 && load.cancel_share <= 1)) {
      return Wrong("loads", i, "cancel_share",
                   absl::StrCat("must be in 0..1, is ", load.cancel_share));
    }
  }
  return absl::OkStatus();
}

Fault MakeFault(Fault::Kind kind, std::string address, absl::Duration from,
                absl::Duration until) {
  Fault fault;
  fault.kind = kind;
  fault.address = std::move(address);
  fault.from = from;
  fault.until = until;
  return fault;
}

}  // namespace

Fault Fault::Down(std::string address, absl::Duration from,
                  absl::Duration until) {
  return MakeFault(Kind::kDown, std::move(address), from, until);
}
Fault Fault::Draining(std::string address, absl::Duration from,
                      absl::Duration until) {
  return MakeFault(Kind::kDraining, std::move(address), from, until);
}
Fault Fault::BlackHole(std::string address, absl::Duration from,
                       absl::Duration until) {
  return MakeFault(Kind::kBlackHole, std::move(address), from, until);
}
Fault Fault::Slow(std::string address, absl::Duration from,
                  absl::Duration until, double factor) {
  Fault fault = MakeFault(Kind::kSlow, std::move(address), from, until);
  fault.factor = factor;
  return fault;
}
Fault Fault::Errors(std::string address, absl::Duration from,
                    absl::Duration until, double share, absl::StatusCode code) {
  Fault fault = MakeFault(Kind::kErrors, std::move(address), from, until);
  fault.share = share;
  fault.code = code;
  return fault;
}

Load Load::Open(std::string method, double rate) {
  Load load;
  load.method = std::move(method);
  load.rate = rate;
  return load;
}
Load Load::Closed(std::string method, int callers) {
  Load load;
  load.method = std::move(method);
  load.callers = callers;
  return load;
}

void Histogram::Add(int64_t nanoseconds) {
  const uint64_t value =
      nanoseconds < 0 ? 0 : static_cast<uint64_t>(nanoseconds);
  constexpr uint64_t kSub = uint64_t{1} << kSubBits;
  size_t bucket = value;
  if (value >= kSub) {
    const int shift = 63 - __builtin_clzll(value) - kSubBits;
    bucket = (static_cast<size_t>(shift) << kSubBits) + (value >> shift);
  }
  ++counts_[bucket];
  ++count_;
  sum_ += static_cast<double>(value);
  max_ = std::max(max_, nanoseconds);
}

absl::Duration Histogram::Mean() const {
  return count_ == 0 ? absl::ZeroDuration()
                     : absl::Nanoseconds(sum_ / static_cast<double>(count_));
}

absl::Duration Histogram::Quantile(double q) const {
  if (count_ == 0) return absl::ZeroDuration();
  const double rank = std::clamp(q, 0.0, 1.0) * static_cast<double>(count_);
  uint64_t below = 0;
  for (size_t bucket = 0; bucket < counts_.size(); ++bucket) {
    below += counts_[bucket];
    if (counts_[bucket] == 0 || static_cast<double>(below) < rank) continue;
    constexpr size_t kSub = size_t{1} << kSubBits;
    if (bucket < kSub) return absl::Nanoseconds(bucket);
    // The middle of the bucket.
    const int shift = static_cast<int>(bucket >> kSubBits) - 1;
    const uint64_t low = uint64_t{(bucket & (kSub - 1)) | kSub} << shift;
    const uint64_t middle = low + ((uint64_t{1} << shift) >> 1);
    return absl::Nanoseconds(
        std::min<int64_t>(static_cast<int64_t>(middle), max_));
  }
  return Max();
}

std::string Result::Summary() const {
  std::string text = absl::StrFormat(
      "%d calls, %.3f%% ok, %d attempts, %d retries, %d transparent, %d denied "
      "by the budget\n"
      "latency p50 %s, p99 %s, p99.9 %s, most %s\n",
      calls, calls == 0 ? 0 : 100.0 * ok() / calls, attempts, retries,
      transparent_retries, denied_by_budget,
      absl::FormatDuration(
          absl::Trunc(latency.Quantile(0.5), absl::Microseconds(10))),
      absl::FormatDuration(
          absl::Trunc(latency.Quantile(0.99), absl::Microseconds(10))),
      absl::FormatDuration(
          absl::Trunc(latency.Quantile(0.999), absl::Microseconds(10))),
      absl::FormatDuration(absl::Trunc(latency.Max(), absl::Microseconds(10))));
  for (size_t code = 1; code < ended.size(); ++code) {
    if (ended[code] == 0) continue;
    absl::StrAppend(
        &text, "  ",
        absl::StatusCodeToString(static_cast<absl::StatusCode>(code)), " ",
        ended[code], "\n");
  }
  absl::StrAppendFormat(&text, "  %-24s %10s %7s %10s %10s %10s\n", "endpoint",
                        "attempts", "share", "ok", "never sent", "wasted");
  for (const Endpoint& endpoint : endpoints) {
    absl::StrAppendFormat(
        &text, "  %-24s %10d %6.2f%% %10d %10d %10d\n", endpoint.address,
        endpoint.attempts,
        attempts == 0 ? 0 : 100.0 * endpoint.attempts / attempts,
        endpoint.ended[0], endpoint.never_sent, endpoint.wasted);
  }
  return text;
}

absl::StatusOr<Result> Simulate(const config::ServiceOptions& service,
                                const Cluster& cluster,
                                const Options& options) {
  if (absl::Status status = Check(cluster, options); !status.ok()) {
    return status;
  }
  return World(service, cluster, options).Run();
}

}  // namespace mesh::simulation
