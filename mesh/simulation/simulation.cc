#include "mesh/simulation/simulation.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mesh/call/call_machine.h"
#include "mesh/simulation/description.h"
#include "mesh/simulation/event_queue.h"
#include "mesh/telemetry/snapshot.h"
#include "mesh/upstream/upstream.h"

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

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

class World;

// One client's view of one server.
class SimulatedEndpoint final : public cluster::LiveEndpoint {
 public:
  SimulatedEndpoint(cluster::Endpoint endpoint, uint32_t server)
      : LiveEndpoint(std::move(endpoint)), server(server) {}
  const uint32_t server;
  int64_t probed = std::numeric_limits<int64_t>::min() / 2;  // The last time.
};

uint32_t ServerOf(const cluster::LiveEndpoint* endpoint) {
  return static_cast<const SimulatedEndpoint*>(endpoint)->server;
}

// A service as its clients know it: `count` servers from `first` on.
struct ServiceState {
  std::shared_ptr<const options::ServiceOptions> options;
  std::vector<std::string> methods;  // That its clients call.
  upstream::MethodPolicies policies;
  uint32_t first = 0;
  uint32_t count = 0;
};

// Registers methods under these names.
std::vector<const upstream::Method*> MakeMethods(
    const std::vector<std::string>& names, std::deque<upstream::Method>* into);

// A process that calls one service.
struct ClientState final : upstream::Upstream::Host {
  ClientState(const ServiceState& of, uint32_t service, World* world);

  // upstream::Upstream::Host
  void SendProbe(cluster::LiveEndpoint* endpoint) override;
  void OnHealthChange(const resilience::HealthChange&) override {}

  const uint32_t service;
  upstream::Upstream upstream;
  std::deque<upstream::Method> methods;  // As ServiceState::methods.
  // By server of the service; or null.
  std::vector<std::shared_ptr<SimulatedEndpoint>> live;
  std::vector<std::shared_ptr<SimulatedEndpoint>> removed;
  std::vector<cluster::LiveEndpointPtr> endpoints;  // As `live`, no null.
  balancing::PickerPtr picker;
  std::vector<uint32_t> waiting;  // Calls.
  int64_t rebuilt = 0;            // When `picker` was made.
  // Which call it was that last used an ejected endpoint without need.
  int64_t needless_call = -100;
  uint64_t calls = 0;
  // To the budget: retries, hedges and probes, but those beyond it.
  uint64_t charged = 0;
  World* const world;
};

struct ServerState {
  const Server* description = nullptr;
  uint32_t service = 0;
  uint32_t client = kNone;  // That calls the tier behind.

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
  int places = 0;  // Of the queue that are taken.
  std::vector<uint32_t> swallowed_probes;
};

struct LoadState {
  const Load* load = nullptr;  // Null: a tier's.
  upstream::CallShape shape;   // But for the method.
  size_t method = 0;           // Of ServiceState::methods.
  int64_t from = 0;
  int64_t until = 0;
  int64_t deadline = kNever;  // From the call's start.
  int64_t gap = 0;            // Mean, between calls of one client.
};

// An attempt that runs, and the part of the network that it occupies.
struct Attempt {
  int number = 0;
  uint16_t token = 0;  // Tells its events from those of others.
  bool at_server = false;
  bool queued = false;
  bool deadline_armed = false;
  bool committed = false;
  uint32_t server = 0;
  int64_t network = 0;  // There and back.
  int64_t deadline = kNever;
  int64_t served_at = kNever;  // When the server is done, once that is known.
};

// One logical call.
struct CallState : telemetry::CallInfo {
  std::optional<call::CallMachine> machine;
  uint32_t slot = 0;
  uint32_t client = 0;
  uint32_t load = 0;
  uint32_t execution = kNone;  // Under which it is made.
  // Whatever still refers to the slot: events, queues. It is used again when
  // the call has ended and this is 0, so late events find the right call.
  int references = 0;
  int ends = 0;  // Times that OnCallEnd() came.
  absl::StatusCode code = absl::StatusCode::kOk;
  int64_t started = 0;
  int64_t deadline_at = kNever;
  int64_t rests_until = 0;  // The end of its backoff.
  int64_t timer_at = kNever;
  uint16_t last_token = 0;
  absl::InlinedVector<Attempt, 2> attempts;  // That run.

  // To check what is tried: servers of the attempts of this round, and that of
  // the attempt that was the last to end.
  absl::InlinedVector<uint32_t, 4> round;
  uint32_t last_ended = kNone;

  Attempt* Find(uint16_t token) {
    for (Attempt& attempt : attempts) {
      if (attempt.token == token) return &attempt;
    }
    return nullptr;
  }
};

// A call that a server executes while it calls the tier behind.
struct Execution {
  uint32_t server = 0;
  uint32_t epoch = 0;
  uint32_t call = kNone;  // Whose attempt it answers. kNone: nobody's.
  uint16_t token = 0;
};

// A health monitor's probe on its way.
struct Probe {
  uint32_t client = 0;
  SimulatedEndpoint* endpoint = nullptr;  // Null: nobody waits for it.
  int64_t network = 0;                    // There and back.
};

enum EventKind : uint8_t {
  // Of a call, which is `a` and is referred to.
  kReach,     // b: token. An attempt reaches its server.
  kFirst,     // b: token. The first message of its answer reaches the client.
  kDone,      // b: token, code, flags. Its answer does.
  kDeadline,  // b: token. Its deadline.
  kLate,      // b: number. Word of an attempt that was cancelled.
  kTimer,     // b: whether it is a stray one. The machine's timer.
  kStray,     // Endpoints changed, says somebody.
  kCancel,    // The caller cancels.
  kAbandon,   // The caller goes away.
  kLastOfCalls = kAbandon,

  kArrival,     // a: load, b: client. A call begins.
  kServed,      // a: server, b: epoch. A slot is free.
  kBehind,      // a: execution. It calls the tier behind.
  kFault,       // a: fault, b: whether it begins.
  kListed,      // a: server, b: whether it is.
  kSense,       // a: server, b: client. The client notices how the server is.
  kProbeReach,  // a: probe. It reaches its server.
  kProbeDone,   // a: probe, b: whether it was answered.
};

constexpr uint32_t kNeverSent = 1u << 24;
constexpr uint32_t kCommitted = 1u << 25;
constexpr uint32_t kPushback = 1u << 26;
constexpr uint32_t kNoRetry = 1u << 27;
constexpr uint32_t kLocal = 1u << 28;

// The simulated world, and the observer of all its calls.
class World final : public telemetry::Observer {
 public:
  World(const options::ServiceOptions& service, const Cluster& cluster,
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
    if (event.result == Kind::kUsed) {
      CheckChoice(call, event);
      CheckHealth(call, event);
      CheckPanic(call, event);
    }
    if (user_ != nullptr &&
        (user_wants_picks_ || event.result == Kind::kWaited ||
         event.result == Kind::kFailed)) {
      user_->OnPick(info, event);
    }
  }

  void OnAttemptEnd(const telemetry::CallInfo& info,
                    const telemetry::AttemptEvent& event) override {
    Mix(static_cast<uint64_t>(event.code) << 8 | event.attempt);
    Of(info).last_ended = ServerOf(event.endpoint);
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
    const CallState& call = Of(info);
    Result::Tier& tier = result_.tiers[clients_[call.client]->service];
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
        CheckBudget(*clients_[call.client]);
        break;
      case Verdict::kHedge:
        if (event.observed) {
          ++result_.unmade_hedges;
          break;
        }
        ++result_.hedges;
        ++tier.hedges;
        CheckBudget(*clients_[call.client]);
        break;
      default:
        break;
    }
    if (user_ != nullptr) user_->OnRetryDecision(info, event);
  }

  void OnRefusal(const telemetry::CallInfo& info,
                 const telemetry::RefusalEvent& event) override {
    Mix(static_cast<uint64_t>(event.guard) << 48 | event.observed);
    Result::Count& count = result_.refusals[static_cast<size_t>(event.guard)];
    ++(event.observed ? count.observed : count.enforced);
    if (user_ != nullptr) user_->OnRefusal(info, event);
  }

  void OnCallEnd(const telemetry::CallInfo& info,
                 const telemetry::CallEvent& event) override {
    Mix(static_cast<uint64_t>(event.code) << 40 ^ static_cast<uint64_t>(now_));
    CallState& call = Of(info);
    if (++call.ends != 1) Violation("a call ended twice");
    call.code = event.code;
    ++ended_;
    const bool ok = event.code == absl::StatusCode::kOk;
    if (ok) ++result_.tiers[clients_[call.client]->service].ok;
    if (call.execution == kNone) {
      const int64_t latency = now_ - call.started;
      ++result_.ended[static_cast<size_t>(event.code)];
      result_.all.Add(latency);
      if (ok) result_.latency.Add(latency);
      if (Result::Step* step = StepAt(now_)) ++(ok ? step->ok : step->failed);
      if (Result::Step* step = ok ? StepAt(call.started) : nullptr) {
        ++step->succeeded;
      }
    }
    if (user_ != nullptr) user_->OnCallEnd(info, event);
  }

  void OnHealth(const telemetry::HealthEvent& event) override {
    Mix(static_cast<uint64_t>(event.to) << 40 |
        static_cast<uint64_t>(event.cause) << 32 | ServerOf(event.endpoint));
    Result::Count& count = result_.health[static_cast<size_t>(event.to)];
    ++(event.observed ? count.observed : count.enforced);
    if (user_ != nullptr) user_->OnHealth(event);
  }

  void OnProbe(const telemetry::ProbeEvent& event) override {
    if (user_ != nullptr) user_->OnProbe(event);
  }

  void OnPicker(const telemetry::PickerEvent& event) override {
    if (user_wants_picks_) user_->OnPicker(event);
  }

  // ---- What health monitors ask for ----

  void SendProbe(ClientState& client, SimulatedEndpoint* endpoint) {
    ++result_.probes;
    Mix(0x9700b3 + endpoint->server);
    if (!Charge(client) && now_ - endpoint->probed < 1'000'000'000) {
      Violation("probes exceeded the budget and one a second");
    }
    endpoint->probed = now_;
    uint32_t slot;
    if (free_probes_.empty()) {
      slot = probes_.size();
      probes_.emplace_back();
    } else {
      slot = free_probes_.back();
      free_probes_.pop_back();
    }
    Probe& probe = probes_[slot];
    probe.client = IndexOf(client);
    probe.endpoint = endpoint;
    probe.network =
        servers_[endpoint->server].description->network.Sample(random_);
    client.upstream.BeginProbe(endpoint, TimeAt(now_));
    Push(now_ + probe.network / 2, kProbeReach, slot);
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
    if (kind <= kLastOfCalls) ++calls_[a].references;
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

  Result::Step* StepAt(int64_t time) {
    const size_t index = static_cast<size_t>(time / step_);
    if (index >= result_.steps.size()) {
      // Long after the last call began only stragglers end; they are counted
      // in the totals.
      constexpr size_t kMostSteps = 100'000;
      if (index >= kMostSteps) return nullptr;
      const size_t before = result_.steps.size();
      result_.steps.resize(index + 1);
      for (size_t i = before; i <= index; ++i) {
        result_.steps[i].attempts.resize(servers_.size());
      }
    }
    return &result_.steps[index];
  }

  // ---- The world's beginning and end ----

  void SetUp() {
    std::vector<std::string> methods;
    for (const Load& load : cluster_.loads) methods.push_back(load.method);
    AddService(service_, cluster_.servers, std::move(methods));
    for (const Tier& tier : cluster_.behind) {
      AddService(tier.service, tier.servers, {tier.method});
    }
    result_.step = options_.step;
    result_.endpoints.resize(servers_.size());
    for (size_t i = 0; i < servers_.size(); ++i) {
      result_.endpoints[i].address = servers_[i].description->address;
      index_[servers_[i].description->address] = i;
    }
    active_.resize(cluster_.faults.size());

    for (int i = 0; i < cluster_.clients; ++i) AddClient(0);
    for (ServerState& server : servers_) {
      if (server.service + 1 >= services_.size()) continue;
      server.client = clients_.size();
      AddClient(server.service + 1);
    }
    for (size_t i = 0; i < servers_.size(); ++i) {
      const Server& server = *servers_[i].description;
      if (server.listed_from > absl::ZeroDuration()) {
        Push(Nanoseconds(server.listed_from), kListed, i, 1);
      } else {
        for (auto& client : clients_) {
          if (client->service != servers_[i].service) continue;
          auto& live = client->live[i - services_[client->service].first];
          live = NewEndpoint(i);
          live->set_readiness(cluster::Readiness::kReady);
          client->upstream.health().OnConnected(live.get(), TimeAt(now_));
        }
      }
      Push(Nanoseconds(server.listed_until), kListed, i, 0);
    }
    for (auto& client : clients_) Rebuild(*client);
    for (size_t i = 0; i < cluster_.faults.size(); ++i) {
      Push(Nanoseconds(cluster_.faults[i].from), kFault, i, 1);
    }
    for (const Load& load : cluster_.loads) SetUpLoad(load);
    for (size_t i = 0; i < cluster_.behind.size(); ++i) {
      loads_.push_back(
          MakeLoad(services_[i + 1], 0, cluster_.behind[i].deadline));
    }
  }

  void AddService(const options::ServiceOptions& options,
                  const std::vector<Server>& servers,
                  std::vector<std::string> methods) {
    ServiceState service;
    // The caller's own: it outlives the world.
    service.options = std::shared_ptr<const options::ServiceOptions>(
        std::shared_ptr<void>(), &options);
    service.methods = std::move(methods);
    std::deque<upstream::Method> registered;
    const auto pointers = MakeMethods(service.methods, &registered);
    service.policies = upstream::MethodPolicies(service.options, pointers);
    service.first = servers_.size();
    service.count = servers.size();
    for (const Server& server : servers) {
      servers_.emplace_back();
      servers_.back().description = &server;
      servers_.back().service = services_.size();
    }
    services_.push_back(std::move(service));
    result_.tiers.emplace_back();
    result_.tiers.back().first_endpoint = services_.back().first;
    result_.tiers.back().endpoints = services_.back().count;
  }

  void AddClient(uint32_t service) {
    clients_.push_back(
        std::make_unique<ClientState>(services_[service], service, this));
    client_index_[clients_.back().get()] = clients_.size() - 1;
  }

  uint32_t IndexOf(const ClientState& client) const {
    return client_index_.find(&client)->second;
  }

  // `method`: its place in the service's.
  LoadState MakeLoad(const ServiceState& service, size_t method,
                     absl::Duration deadline) {
    LoadState state;
    state.method = method;
    state.shape.name = service.methods[method];
    state.deadline = Nanoseconds(std::min(
        deadline, service.options->PolicyOf(state.shape.name).timeout));
    return state;
  }

  void SetUpLoad(const Load& load) {
    const uint32_t index = loads_.size();
    LoadState state = MakeLoad(services_[0], index, load.deadline);
    state.load = &load;
    if (load.wait_for_ready) state.shape.wait_for_ready = true;
    state.shape.unary = !load.stream;
    state.shape.keeps_request = load.replayable;
    state.from = Nanoseconds(load.from);
    state.until = std::min(Nanoseconds(load.until), end_);
    if (load.rate > 0) {
      state.gap = static_cast<int64_t>(1e9 * cluster_.clients / load.rate);
    }
    loads_.push_back(state);
    for (int client = 0; client < cluster_.clients; ++client) {
      if (load.rate > 0) {
        // Evenly: the clients take turns.
        Push(state.from + (load.evenly ? state.gap * client / cluster_.clients
                                       : Gap(state)),
             kArrival, index, client);
      }
    }
    for (int caller = 0; caller < load.callers; ++caller) {
      Push(state.from, kArrival, index, caller % cluster_.clients);
    }
  }

  int64_t Gap(const LoadState& state) {
    if (state.load->evenly) return state.gap;
    return static_cast<int64_t>(-static_cast<double>(state.gap) *
                                std::log(1 - random_.Unit()));
  }

  void TearDown() {
    for (Probe& probe : probes_) {
      if (probe.endpoint != nullptr) EndProbe(probe, false);
    }
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
    for (const auto& client : clients_) CheckAtRest(*client);
    uint64_t begun = 0;
    for (const Result::Tier& tier : result_.tiers) begun += tier.calls;
    if (ended_ != begun) Violation("not every call ended");
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
      case kBehind:
        return OnBehind(event.a);
      case kFault:
        return OnFault(event.a, event.b != 0);
      case kListed:
        return OnListed(event.a, event.b != 0);
      case kSense:
        return OnSense(event.a, *clients_[event.b]);
      case kProbeReach:
        return OnProbeReach(event.a);
      case kProbeDone:
        return OnProbeDone(event.a, event.b != 0);
      default:
        break;
    }
    CallState& call = calls_[event.a];
    switch (event.kind) {
      case kReach:
      case kFirst:
      case kDone:
      case kDeadline:
        // Of an attempt that runs no more nothing is heard.
        if (Attempt* const attempt =
                call.Find(static_cast<uint16_t>(event.b))) {
          OnAttemptEvent(call, *attempt, event);
        }
        break;
      case kLate:
        OnLate(call, event.b);
        break;
      case kTimer:
        OnTimer(call, event.b != 0);
        break;
      case kStray:
        Perform(call, call.machine->OnEndpointsChanged(Now(call)));
        break;
      case kCancel:
        OnCancel(call);
        break;
      case kAbandon:
        if (!call.machine->finished()) Abandon(call);
        break;
    }
    Unreference(call);
  }

  void OnAttemptEvent(CallState& call, Attempt& attempt, const Event& event) {
    switch (event.kind) {
      case kReach:
        return OnReach(call, attempt);
      case kFirst:
        attempt.committed = true;
        return Perform(call,
                       call.machine->OnCommitted(attempt.number, Now(call)));
      case kDone:
        return OnDone(call, attempt, event.b);
      case kDeadline:
        return OnAttemptDeadline(call, attempt);
    }
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
    const ClientState& client = *clients_[call.client];
    return {TimeAt(now_), client.picker.get(), &decisions_, client.endpoints};
  }

  void OnArrival(uint32_t load_index, uint32_t client_index) {
    const LoadState& state = loads_[load_index];
    if (now_ >= state.until) return;
    if (state.load->rate > 0) {
      Push(now_ + Gap(state), kArrival, load_index, client_index);
    }
    BeginCall(load_index, client_index, Later(now_, state.deadline), kNone);
  }

  void BeginCall(uint32_t load_index, uint32_t client_index,
                 int64_t deadline_at, uint32_t execution) {
    const LoadState& state = loads_[load_index];
    if (free_.empty()) {
      calls_.emplace_back();
      calls_.back().slot = calls_.size() - 1;
      free_.push_back(calls_.back().slot);
    }
    CallState& call = calls_[free_.back()];
    free_.pop_back();
    ClientState& client = *clients_[client_index];
    call.service = services_[client.service].options->name;
    call.method = state.shape.name;
    call.client = client_index;
    call.load = load_index;
    call.execution = execution;
    call.ends = 0;
    call.references = 1;  // Until it has begun.
    call.started = now_;
    call.start = TimeAt(now_);
    call.deadline_at = deadline_at;
    call.deadline = TimeAt(deadline_at);
    call.rests_until = 0;
    call.timer_at = kNever;
    call.attempts.clear();
    call.round.clear();
    call.last_ended = kNone;
    upstream::CallShape shape = state.shape;
    shape.method = &client.methods[state.method];
    call.machine.emplace(
        client.upstream.Plan(services_[client.service].policies, shape), &call);

    ++client.calls;
    ++result_.tiers[client.service].calls;
    if (execution == kNone) {
      ++result_.calls;
      if (Result::Step* step = StepAt(now_)) ++step->started;
      const Load& load = *state.load;
      if (load.cancel_share > 0 && random_.Unit() < load.cancel_share) {
        const int64_t at = now_ + load.cancel_after.Sample(random_);
        Push(at, kCancel, call.slot);
        if (Chaos()) Push(at + UpTo(absl::Milliseconds(5)), kCancel, call.slot);
      }
      if (Chaos() && random_.Below(10) == 0) {
        Push(now_ + UpTo(absl::Milliseconds(100)), kAbandon, call.slot);
      }
    }
    Perform(call, call.machine->Start(Now(call)));
    Unreference(call);
  }

  // ---- What the machine decides, done ----

  void Perform(CallState& call, std::optional<Action> action) {
    if (!action.has_value()) return;
    switch (action->kind) {
      case Action::Kind::kStartAttempt:
        if (!action->hedge && !call.attempts.empty()) {
          Violation("an attempt began that forgets those that run");
        }
        SetTimer(call, NanosecondOf(action->timer));
        return StartAttempt(call, *action);
      case Action::Kind::kSetTimer:
        if (call.attempts.empty()) call.rests_until = NanosecondOf(action->at);
        return SetTimer(call, NanosecondOf(action->at));
      case Action::Kind::kGoOn:
        if (action->cancel_others) CancelOthers(call, action->attempt);
        if (call.attempts.empty()) {
          Violation("a call is to go on, but no attempt of it runs");
        }
        return SetTimer(call, NanosecondOf(action->timer));
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

  // The one timer of a call; kNever: none.
  void SetTimer(CallState& call, int64_t at) {
    call.timer_at = at;
    if (at >= kHorizon) return;
    if (call.deadline_at != kNever && at > call.deadline_at) {
      Violation("a call waits beyond its deadline");
    }
    if (Chaos()) {
      Push(now_ + static_cast<int64_t>(random_.Unit() * (at - now_)), kTimer,
           call.slot, 1);  // Too early.
    }
    if (Chaos()) Push(at + UpTo(absl::Milliseconds(50)), kTimer, call.slot, 1);
    Push(Chaos() ? at + UpTo(absl::Milliseconds(50)) : at, kTimer, call.slot);
  }

  void OnTimer(CallState& call, bool stray) {
    if (call.machine->finished() && !stray) return;
    const int64_t at = call.timer_at;
    if (now_ < at && !stray) return;  // Another has replaced it.
    if (now_ >= at) call.timer_at = kNever;
    Perform(call, call.machine->OnTimer(Now(call)));
  }

  void CallEnded(CallState& call) {
    for (const Attempt& attempt : call.attempts) Cancelled(call, attempt);
    call.attempts.clear();
    call.timer_at = kNever;
    if (!call.machine->finished()) Violation("a call ended unfinished");
    if (call.execution != kNone) {
      return EndExecution(call.execution, call.code,
                          call.machine->retried_in_vain());
    }
    const Load& load = *loads_[call.load].load;
    if (load.callers > 0) {
      Push(now_ + load.think.Sample(random_), kArrival, call.load, call.client);
    }
  }

  void Abandon(CallState& call) {
    call.machine->Abandon(TimeAt(now_));
    CallEnded(call);
  }

  void StartAttempt(CallState& call, const Action& action) {
    if (now_ >= call.deadline_at &&
        (call.machine->attempts() > 1 || call.started < call.deadline_at)) {
      Violation("an attempt began after the deadline");
    }
    if (NanosecondOf(action.at) > call.deadline_at) {
      Violation("an attempt may run beyond the deadline");
    }
    if (now_ < call.rests_until) Violation("a backoff was cut short");
    call.rests_until = 0;
    const uint32_t server = ServerOf(action.endpoint);
    ++result_.attempts;
    ++result_.tiers[clients_[call.client]->service].attempts;
    ++result_.endpoints[server].attempts;
    if (Result::Step* step = StepAt(now_)) ++step->attempts[server];

    Attempt attempt;
    attempt.number = action.attempt;
    attempt.token = ++call.last_token;
    attempt.server = server;
    attempt.network = servers_[server].description->network.Sample(random_);
    attempt.deadline = NanosecondOf(action.at);
    const int64_t reached = now_ + attempt.network / 2;
    Push(reached, kReach, call.slot, attempt.token);
    ArmDeadline(call, attempt, reached);
    call.attempts.push_back(attempt);
    if (Chaos()) {
      Push(now_ + UpTo(absl::Milliseconds(20)), kTimer, call.slot, 1);
      Push(now_ + UpTo(absl::Milliseconds(20)), kStray, call.slot);
    }
  }

  // Sets a timer for the attempt's deadline if it comes before `next`, the
  // next thing that the client will see of the attempt. So the many deadlines
  // that never come are never in the queue.
  void ArmDeadline(const CallState& call, Attempt& attempt, int64_t next) {
    if (attempt.deadline_armed || attempt.deadline >= next) return;
    attempt.deadline_armed = true;
    Push(attempt.deadline, kDeadline, call.slot, attempt.token);
  }

  void AttemptEnded(CallState& call, const Attempt& attempt,
                    AttemptOutcome outcome) {
    const int number = attempt.number;
    outcome.committed |= attempt.committed;
    call.attempts.erase(call.attempts.begin() +
                        (&attempt - call.attempts.data()));
    Perform(call, call.machine->OnAttemptDone(number, outcome, Now(call)));
  }

  void OnDone(CallState& call, const Attempt& attempt, uint32_t what) {
    AttemptOutcome outcome;
    outcome.code = static_cast<absl::StatusCode>(what >> 16 & 0xff);
    outcome.never_sent = (what & kNeverSent) != 0;
    outcome.committed = (what & kCommitted) != 0;
    outcome.local = (what & kLocal) != 0;
    if (what & kPushback) outcome.pushback = absl::Milliseconds(30);
    if (what & kNoRetry) outcome.pushback = absl::Milliseconds(-1);
    AttemptEnded(call, attempt, outcome);
  }

  void OnAttemptDeadline(CallState& call, const Attempt& attempt) {
    GiveUp(attempt);
    AttemptOutcome outcome;
    outcome.code = absl::StatusCode::kDeadlineExceeded;
    outcome.local = true;
    outcome.attempt_timed_out = attempt.deadline < call.deadline_at;
    AttemptEnded(call, attempt, outcome);
  }

  void OnCancel(CallState& call) {
    std::optional<Action> action = call.machine->OnCancelled(Now(call));
    if (action.has_value()) return Perform(call, *std::move(action));
    // Each attempt ends cancelled; the first such word that the machine wants
    // to hear ends the call.
    while (!call.attempts.empty()) {
      GiveUp(call.attempts.front());
      AttemptOutcome outcome;
      outcome.code = absl::StatusCode::kCancelled;
      outcome.local = true;
      AttemptEnded(call, call.attempts.front(), outcome);
      if (!call.machine->finished() && call.attempts.empty()) {
        Violation("a cancelled call goes on");
        break;
      }
    }
  }

  void CancelOthers(CallState& call, int but) {
    for (size_t i = call.attempts.size(); i-- > 0;) {
      if (call.attempts[i].number == but) continue;
      Cancelled(call, call.attempts[i]);
      call.attempts.erase(call.attempts.begin() + i);
    }
  }

  // An attempt that nobody wants any more.
  void Cancelled(const CallState& call, const Attempt& attempt) {
    GiveUp(attempt);
    if (Chaos()) {
      Push(now_ + UpTo(absl::Milliseconds(10)), kLate, call.slot,
           attempt.number);
    }
  }

  // The word of a cancelled attempt crossed the wish to cancel it.
  void OnLate(CallState& call, int number) {
    AttemptOutcome outcome;
    outcome.code = random_.Below(2) == 0 ? absl::StatusCode::kOk
                                         : absl::StatusCode::kUnavailable;
    const bool finished = call.machine->finished();
    const Action action =
        call.machine->OnAttemptDone(number, outcome, Now(call));
    if (action.kind != Action::Kind::kGoOn || action.cancel_others ||
        finished != call.machine->finished()) {
      Violation("a cancelled attempt was heard");
    }
    if (!finished) SetTimer(call, NanosecondOf(action.timer));
  }

  // The server learns of it at once.
  void GiveUp(const Attempt& attempt) {
    if (!attempt.at_server) return;
    ServerState& state = servers_[attempt.server];
    if (attempt.queued) {
      if (state.description->drops_abandoned) --state.places;
    } else if (attempt.served_at != kNever) {
      ++result_.endpoints[attempt.server].wasted;
    }
  }

  // ---- Servers ----

  void Answer(CallState& call, Attempt& attempt, int64_t at,
              absl::StatusCode code, uint32_t flags = 0) {
    uint32_t what = attempt.token | static_cast<uint32_t>(code) << 16 | flags;
    if (code != absl::StatusCode::kOk && options_.chaos > 0) {
      if (Chaos() && (flags & kNeverSent) == 0) what |= kCommitted;
      if (Chaos()) what |= kPushback;
      if (Chaos()) what |= kNoRetry;
    }
    at = Later(at, attempt.network / 2);
    if (Chaos()) at = Later(at, UpTo(absl::Milliseconds(1)));
    Push(at, kDone, call.slot, what);
    if (Chaos()) {  // The same again.
      Push(Later(at, UpTo(absl::Milliseconds(1))), kDone, call.slot, what);
    }
    ArmDeadline(call, attempt, at);
  }

  void OnReach(CallState& call, Attempt& attempt) {
    ServerState& state = servers_[attempt.server];
    const Server& server = *state.description;
    if (state.refuses) {
      Answer(call, attempt, now_, absl::StatusCode::kUnavailable,
             kNeverSent | kLocal);
      return;
    }
    attempt.at_server = true;
    if (state.swallows) {
      ArmDeadline(call, attempt, kNever);
    } else if (server.slots == 0 || state.busy < server.slots) {
      Serve(call, attempt);
    } else if (state.places < server.queue) {
      state.queue.push_back({call.slot, attempt.token});
      ++state.places;
      attempt.queued = true;
      ++call.references;
      ArmDeadline(call, attempt, kNever);
    } else {
      attempt.at_server = false;
      Answer(call, attempt, now_, absl::StatusCode::kResourceExhausted);
    }
  }

  // A slot is taken for a call. When it would be served, by this server alone.
  int64_t Occupy(uint32_t index) {
    ServerState& state = servers_[index];
    ++result_.endpoints[index].executed;
    int64_t time = state.description->latency.Sample(random_);
    if (state.factor != 1) {
      time = static_cast<int64_t>(
          std::min(static_cast<double>(time) * state.factor, 1e18));
    }
    if (state.description->slots > 0) ++state.busy;
    return Later(now_, time);
  }

  bool HasBehind(const ServerState& state) const {
    return state.client != kNone;
  }

  void FreeSlotAt(uint32_t server, int64_t at) {
    const ServerState& state = servers_[server];
    if (state.description->slots > 0) Push(at, kServed, server, state.epoch);
  }

  void Serve(CallState& call, Attempt& attempt) {
    const uint32_t server = attempt.server;
    const ServerState& state = servers_[server];
    const int64_t served = Occupy(server);
    const bool error =
        state.error_share > 0 && random_.Unit() < state.error_share;
    if (HasBehind(state) && !error) {
      Execute(server, served, call.slot, attempt.token);
      ++call.references;
      return ArmDeadline(call, attempt, kNever);
    }
    FreeSlotAt(server, served);
    attempt.served_at = served;
    if (!error && loads_[call.load].load != nullptr &&
        loads_[call.load].load->stream) {
      Push(now_ + (served - now_) / 2 + attempt.network / 2, kFirst, call.slot,
           attempt.token);
    }
    Answer(call, attempt, served, error ? state.error : absl::StatusCode::kOk);
  }

  // What was given up while it queued is executed for nobody.
  void ServeNobody(uint32_t server) {
    ++result_.endpoints[server].wasted;
    const int64_t served = Occupy(server);
    if (HasBehind(servers_[server])) return Execute(server, served, kNone, 0);
    FreeSlotAt(server, served);
  }

  void OnServed(uint32_t index) {
    ServerState& state = servers_[index];
    const Server& server = *state.description;
    if (server.slots == 0) return;
    --state.busy;
    while (!state.queue.empty() && state.busy < server.slots) {
      const ServerState::Queued next = state.queue.front();
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
      Unreference(call);
    }
  }

  // ---- The tier behind ----

  void Execute(uint32_t server, int64_t at, uint32_t call, uint16_t token) {
    uint32_t slot;
    if (free_executions_.empty()) {
      slot = executions_.size();
      executions_.emplace_back();
    } else {
      slot = free_executions_.back();
      free_executions_.pop_back();
    }
    executions_[slot] = {server, servers_[server].epoch, call, token};
    Push(at, kBehind, slot);
  }

  Attempt* AttemptOf(const Execution& execution) {
    return execution.call == kNone
               ? nullptr
               : calls_[execution.call].Find(execution.token);
  }

  void OnBehind(uint32_t slot) {
    const Execution& execution = executions_[slot];
    const ServerState& state = servers_[execution.server];
    const Attempt* const attempt = AttemptOf(execution);
    if (execution.epoch != state.epoch ||
        (attempt == nullptr && state.description->drops_abandoned)) {
      return EndExecution(slot, absl::StatusCode::kCancelled, false);
    }
    const uint32_t load = cluster_.loads.size() + state.service;
    int64_t deadline = Later(now_, loads_[load].deadline);
    if (cluster_.context_crosses_tiers && attempt != nullptr) {
      deadline = std::min(deadline, attempt->deadline);
    }
    BeginCall(load, state.client, deadline, slot);
  }

  void EndExecution(uint32_t slot, absl::StatusCode code, bool in_vain) {
    const Execution execution = executions_[slot];
    free_executions_.push_back(slot);
    Attempt* const attempt = AttemptOf(execution);
    if (attempt != nullptr) {
      attempt->served_at = now_;
      Answer(calls_[execution.call], *attempt, now_, code,
             in_vain && cluster_.context_crosses_tiers ? kNoRetry : 0);
    } else if (execution.call != kNone) {
      ++result_.endpoints[execution.server].wasted;
    }
    if (execution.call != kNone) Unreference(calls_[execution.call]);
    if (execution.epoch == servers_[execution.server].epoch) {
      OnServed(execution.server);
    }
  }

  // ---- Probes ----

  void OnProbeReach(uint32_t slot) {
    const Probe& probe = probes_[slot];
    if (probe.endpoint == nullptr) return free_probes_.push_back(slot);
    ServerState& state = servers_[probe.endpoint->server];
    if (state.swallows && !state.refuses) {
      state.swallowed_probes.push_back(slot);
    } else {
      AnswerProbe(slot, !state.refuses);
    }
  }

  void AnswerProbe(uint32_t slot, bool answered) {
    Push(now_ + probes_[slot].network / 2, kProbeDone, slot, answered);
  }

  void OnProbeDone(uint32_t slot, bool answered) {
    if (probes_[slot].endpoint != nullptr) EndProbe(probes_[slot], answered);
    free_probes_.push_back(slot);
  }

  void EndProbe(Probe& probe, bool answered) {
    SimulatedEndpoint* const endpoint = probe.endpoint;
    probe.endpoint = nullptr;
    Mix(0x97d0 + answered);
    ClientState& client = *clients_[probe.client];
    client.upstream.EndProbe(endpoint, answered, TimeAt(now_));
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
    if (!state.swallows || state.refuses) {
      // The end of a black hole: what it kept is answered, or lost.
      std::vector<uint32_t> probes;
      probes.swap(state.swallowed_probes);
      for (uint32_t probe : probes) AnswerProbe(probe, !state.refuses);
    }
    if (state.refuses != refused) {
      const Distribution& delay =
          state.refuses ? cluster_.detection : cluster_.reconnection;
      for (size_t i = 0; i < clients_.size(); ++i) {
        if (clients_[i]->service != state.service) continue;
        Push(now_ + delay.Sample(random_), kSense, server, i);
      }
    }
  }

  // All that the server had is lost, and its clients see that the connection
  // broke. (Its own budget and health of the tier behind survive: a
  // simplification.)
  void Crash(uint32_t server) {
    ServerState& state = servers_[server];
    ++state.epoch;
    state.busy = 0;
    for (CallState& call : calls_) {
      for (Attempt& attempt : call.attempts) {
        if (!attempt.at_server || attempt.server != server ||
            attempt.served_at <= now_) {
          continue;
        }
        attempt.token = ++call.last_token;  // What it would have answered
                                            // never comes.
        const bool armed = attempt.deadline_armed;
        attempt.deadline_armed = false;
        attempt.at_server = false;
        Answer(call, attempt, now_, absl::StatusCode::kUnavailable, kLocal);
        attempt.deadline_armed |= armed && attempt.deadline <= now_;
      }
    }
    std::deque<ServerState::Queued> lost;
    lost.swap(state.queue);
    state.places = 0;
    for (const ServerState::Queued& queued : lost) {
      Unreference(calls_[queued.call]);
    }
    if (!HasBehind(state)) return;
    for (CallState& call : calls_) {
      if (call.machine.has_value() && !call.machine->finished() &&
          call.client == state.client) {
        ++call.references;
        Abandon(call);
        Unreference(call);
      }
    }
  }

  std::shared_ptr<SimulatedEndpoint> NewEndpoint(uint32_t server) const {
    const Server& description = *servers_[server].description;
    cluster::Endpoint endpoint;
    endpoint.address = description.address;
    endpoint.weight = description.weight;
    endpoint.priority = description.priority;
    endpoint.locality.zone = description.zone;
    return std::make_shared<SimulatedEndpoint>(std::move(endpoint), server);
  }

  std::shared_ptr<SimulatedEndpoint>& LiveOf(ClientState& client,
                                             uint32_t server) {
    return client.live[server - services_[client.service].first];
  }

  void OnListed(uint32_t server, bool listed) {
    for (size_t i = 0; i < clients_.size(); ++i) {
      ClientState& client = *clients_[i];
      if (client.service != servers_[server].service) continue;
      std::shared_ptr<SimulatedEndpoint>& live = LiveOf(client, server);
      if (listed) {
        live = NewEndpoint(server);
        live->set_readiness(cluster::Readiness::kConnecting);
        Push(now_ + cluster_.reconnection.Sample(random_), kSense, server, i);
      } else if (live != nullptr) {
        live->Close();
        for (Probe& probe : probes_) {
          if (probe.endpoint == live.get()) EndProbe(probe, false);
        }
        client.removed.push_back(std::move(live));
        live = nullptr;
      }
      Rebuild(client);
    }
  }

  void OnSense(uint32_t server, ClientState& client) {
    const auto& live = LiveOf(client, server);
    if (live == nullptr) return;
    const auto readiness = servers_[server].refuses
                               ? cluster::Readiness::kFailed
                               : cluster::Readiness::kReady;
    if (live->readiness() == readiness) return;
    live->set_readiness(readiness);
    if (readiness == cluster::Readiness::kReady) {
      client.upstream.health().OnConnected(live.get(), TimeAt(now_));
    }
    Rebuild(client);
  }

  // Publishes a new picker and tells the calls that wait for one.
  void Rebuild(ClientState& client) {
    std::vector<balancing::Member> members;
    client.endpoints.clear();
    for (const auto& live : client.live) {
      if (live == nullptr) continue;
      members.push_back(
          {live, live->endpoint().weight, live->endpoint().priority});
      client.endpoints.push_back(live);
    }
    client.rebuilt = now_;
    // The old one lives until what is told below has been told of.
    const balancing::PickerPtr before = std::move(client.picker);
    client.picker = client.upstream.MakePicker(
        {/*resolved=*/true, absl::OkStatus(), &members}, TimeAt(now_));
    std::vector<uint32_t> waiting;
    waiting.swap(client.waiting);
    for (uint32_t slot : waiting) {
      CallState& call = calls_[slot];
      Perform(call, call.machine->OnEndpointsChanged(Now(call)));
      Unreference(call);
    }
  }

  // ---- Invariants ----

  // Something is charged to the budget of a client: over any time it lets no
  // more through than its share of the calls, its floor, and one burst. False,
  // and not counted: there is no room.
  bool Charge(ClientState& client) {
    const options::RetryBudgetOptions& budget =
        services_[client.service].options->retry_budget;
    if (static_cast<double>(client.charged + 1) >
        budget.ratio * static_cast<double>(client.calls) +
            budget.min_per_second * (1 + static_cast<double>(now_) * 1e-9) + 1 +
            1e-3) {
      return false;
    }
    ++client.charged;
    return true;
  }

  // Retries and hedges never exceed it, whatever probes have taken.
  void CheckBudget(ClientState& client) {
    if (!Charge(client)) Violation("the budget was exceeded");
  }

  // An endpoint that the call has tried is used again only when no other is
  // there for it, and never twice running while another is.
  void CheckChoice(CallState& call, const telemetry::PickEvent& event) {
    const uint32_t chosen = ServerOf(event.endpoint);
    const auto tried = [&call](uint32_t server) {
      return std::find(call.round.begin(), call.round.end(), server) !=
             call.round.end();
    };
    if (tried(chosen)) {
      const uint32_t last = call.last_ended;
      for (const auto& live : clients_[call.client]->live) {
        if (live == nullptr || !live->available() || IsFull(call, *live) ||
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

  // Whether an endpoint has as many calls as its cap allows.
  bool IsFull(const CallState& call,
              const cluster::LiveEndpoint& endpoint) const {
    const options::CapsOptions& caps =
        services_[clients_[call.client]->service].options->guards.caps;
    return caps.mode == options::Mode::kEnforce &&
           caps.max_calls_per_endpoint > 0 &&
           endpoint.in_flight() >= caps.max_calls_per_endpoint;
  }

  // No call goes to an endpoint that is suspect or ejected while another of its
  // priority is well and has room; but in panic, when all have their share.
  void CheckHealth(const CallState& call, const telemetry::PickEvent& event) {
    const cluster::LiveEndpoint& chosen = *event.endpoint;
    if (chosen.share() > 0 || (chosen.health() != cluster::Health::kEjected &&
                               chosen.health() != cluster::Health::kSuspect)) {
      return;
    }
    for (const auto& live : clients_[call.client]->live) {
      if (live != nullptr && live->available() && !IsFull(call, *live) &&
          live->endpoint().priority == chosen.endpoint().priority) {
        return Violation(absl::StrCat(chosen.endpoint().address,
                                      " was picked though it is ",
                                      cluster::NameOf(chosen.health()), " and ",
                                      live->endpoint().address, " is well"));
      }
    }
  }

  // Whether so few endpoints are in use that all of them are to be: in no
  // priority are there as many as the threshold says.
  bool MayPanic(ClientState& client) const {
    struct Tally {
      int ready = 0;
      int in_use = 0;
    };
    std::map<uint32_t, Tally> tallies;
    for (const auto& live : client.live) {
      if (live == nullptr || live->readiness() != cluster::Readiness::kReady) {
        continue;
      }
      Tally& tally = tallies[live->endpoint().priority];
      ++tally.ready;
      const cluster::Health health = live->health();
      tally.in_use += health == cluster::Health::kHealthy ||
                      health == cluster::Health::kRamping;
    }
    const int threshold =
        services_[client.service]
            .options->guards.outlier_ejection.panic_threshold_percent;
    for (const auto& [priority, tally] : tallies) {
      if (tally.in_use * 100 >= threshold * tally.ready) return false;
    }
    return true;
  }

  // What is ejected is used only in panic; but by the one or two calls at whose
  // start a monitor finds that the panic is over. Of first attempts, before
  // which it has looked, and when no connection has changed just now.
  void CheckPanic(const CallState& call, const telemetry::PickEvent& event) {
    ClientState& client = *clients_[call.client];
    constexpr int64_t kSettled = 250'000'000;
    if (event.attempt != 1 || now_ != call.started ||
        now_ - client.rebuilt < kSettled) {
      return;
    }
    const cluster::LiveEndpoint* const chosen = event.endpoint;
    if (chosen->share() != 255 ||
        chosen->health() != cluster::Health::kEjected || MayPanic(client)) {
      return;
    }
    const auto call_number = static_cast<int64_t>(client.calls);
    const int64_t since = call_number - client.needless_call;
    if (since > 5) {
      client.needless_call = call_number;
    } else if (since >= 2) {
      Violation(absl::StrCat(chosen->endpoint().address,
                             " is ejected and was picked without need"));
    }
  }

  // When all calls have ended nothing of them is left.
  void CheckAtRest(ClientState& client) {
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
          Violation(absl::StrCat(address, " ends with ", awaiting,
                                 " answers awaited"));
        }
      }
    }
    telemetry::ServiceSnapshot state;
    client.upstream.Describe(TimeAt(now_), &state);
    const telemetry::AdmissionSnapshot& admission = state.admission;
    if (admission.calls != 0 || admission.waiting != 0 ||
        admission.retries != 0) {
      Violation(absl::StrCat("admission ends with ", admission.calls,
                             " calls, ", admission.waiting, " that wait and ",
                             admission.retries, " retries"));
    }
  }

  // Constant.
  const options::ServiceOptions& service_;
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
  std::vector<ServiceState> services_;
  std::vector<ServerState> servers_;  // Of all services.
  std::vector<bool> active_;          // By fault.
  std::vector<LoadState> loads_;      // Cluster::loads, then the tiers'.
  std::vector<std::unique_ptr<ClientState>> clients_;
  std::map<const ClientState*, uint32_t> client_index_;
  std::deque<CallState> calls_;
  std::vector<uint32_t> free_;
  std::deque<Execution> executions_;
  std::vector<uint32_t> free_executions_;
  std::deque<Probe> probes_;
  std::vector<uint32_t> free_probes_;
  uint64_t ended_ = 0;  // Calls, of all tiers.
  Result result_;
};

std::vector<const upstream::Method*> MakeMethods(
    const std::vector<std::string>& names, std::deque<upstream::Method>* into) {
  std::vector<const upstream::Method*> result;
  for (const std::string& name : names) {
    upstream::Method& method = into->emplace_back();
    method.name = name;
    method.index = result.size();
    result.push_back(&method);
  }
  return result;
}

upstream::Upstream::Settings SettingsOf(const ServiceState& service,
                                        telemetry::Observer* observer,
                                        upstream::Upstream::Host* host) {
  upstream::Upstream::Settings settings;
  settings.name = service.options->name;
  settings.options = service.options;
  settings.observer = observer;
  settings.host = host;
  settings.now = TimeAt(0);
  return settings;
}

ClientState::ClientState(const ServiceState& of, uint32_t service, World* world)
    : service(service),
      upstream(SettingsOf(of, world, this)),
      live(of.count),
      world(world) {
  MakeMethods(of.methods, &methods);
}

void ClientState::SendProbe(cluster::LiveEndpoint* endpoint) {
  world->SendProbe(*this, static_cast<SimulatedEndpoint*>(endpoint));
}

}  // namespace

absl::StatusOr<Result> Simulate(const options::ServiceOptions& service,
                                const Cluster& cluster,
                                const Options& options) {
  if (absl::Status status = Check(cluster, options); !status.ok()) {
    return status;
  }
  return World(service, cluster, options).Run();
}

}  // namespace mesh::simulation
