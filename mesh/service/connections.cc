#include "mesh/service/connections.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "mesh/base/random.h"

namespace mesh::service {
namespace {

using cluster::Readiness;

// Each dial that fails makes the next one wait this many times longer, as in
// gRPC.
constexpr double kBackoffGrows = 1.6;

bool IsSilent(const ConnectedEndpoint& endpoint) {
  return endpoint.health() == cluster::Health::kSuspect;
}

}  // namespace

Connections::Connections(Seams seams, Host* host)
    : control_(std::move(seams.control)),
      clock_(seams.clock),
      wall_(std::move(seams.wall)),
      gate_(seams.gate),
      host_(host),
      settings_(std::make_shared<ConnectionSettings>()),
      closing_(control_, clock_, host) {}

Connections::~Connections() {
  CancelTimer(&plan_timer_);
  for (const cluster::Member& member : members()) {
    member.live->Close();
    GiveUpSecond(ConnectedEndpoint::Of(member.live.get()));
    Close(ConnectedEndpoint::Of(member.live.get()));
  }
}

void Connections::CancelTimer(base::Scheduler::TimerId* timer) {
  if (*timer != 0) control_->Cancel(*timer);
  *timer = 0;
}

bool Connections::Configure(const ConnectionSettings& settings) {
  if (settings == *settings_) return false;
  anew_ |= !members().empty() && !settings.IsRenewalOf(*settings_);
  settings_ = std::make_shared<ConnectionSettings>(settings);
  const Secrets& secrets = *settings_->secrets;
  generations_ = {secrets.generation, secrets.withdrawn_before, secrets.spread};
  closing_.Configure(settings_->options.drain_timeout, generations_);
  return true;
}

cluster::Membership::Change Connections::Update(
    const cluster::EndpointSet& set) {
  cluster::Membership::Change change =
      membership_.Update(set, [this](const cluster::Endpoint& endpoint) {
        // The order is this process's own, so that not all processes connect to
        // the same endpoint.
        return std::make_shared<ConnectedEndpoint>(
            endpoint, /*main_is_exact=*/!settings_->all_idempotent,
            base::ThreadRandom().Below(~uint32_t{0}));
      });
  for (const cluster::LiveEndpointPtr& removed : change.removed) {
    GiveUpSecond(ConnectedEndpoint::Of(removed.get()));
  }
  if (!change.changed) return change;
  std::vector<ConnectedEndpoint*> order;
  order.reserve(members().size());
  for (const cluster::Member& member : members()) {
    order.push_back(ConnectedEndpoint::Of(member.live.get()));
  }
  std::sort(order.begin(), order.end(),
            [](const ConnectedEndpoint* a, const ConnectedEndpoint* b) {
              return a->priority() != b->priority()
                         ? a->priority() < b->priority()
                         : a->rank() < b->rank();
            });
  order_ = std::move(order);
  Ensure();
  return change;
}

std::vector<cluster::LiveEndpointPtr> Connections::Forget() {
  std::vector<cluster::LiveEndpointPtr> forgotten;
  for (const cluster::Member& member : members()) {
    GiveUpSecond(ConnectedEndpoint::Of(member.live.get()));
    forgotten.push_back(member.live);
  }
  order_.clear();
  membership_ = cluster::Membership();
  return forgotten;
}

// --- Second connections

void Connections::Renew() {
  const std::vector<cluster::Member> before =
      std::exchange(anew_, false) ? members() : std::vector<cluster::Member>();
  for (const cluster::Member& member : before) {
    auto* const endpoint = ConnectedEndpoint::Of(member.live.get());
    GiveUpSecond(endpoint);
    endpoint->set_outdated();
    if (endpoint->readiness() == Readiness::kReady) continue;
    Replace(endpoint, Remake(endpoint));
  }
  Ensure();
}

std::shared_ptr<ConnectedEndpoint> Connections::Remake(
    const ConnectedEndpoint* endpoint) {
  return std::make_shared<ConnectedEndpoint>(
      endpoint->endpoint(), /*main_is_exact=*/!settings_->all_idempotent,
      endpoint->rank(), endpoint->next_number());
}

void Connections::Replace(ConnectedEndpoint* before,
                          std::shared_ptr<ConnectedEndpoint> now, bool silent) {
  auto kept = before->shared_from_this();  // The members have the other one.
  std::replace(order_.begin(), order_.end(), before, now.get());
  membership_.Replace(before, now);
  changed_ = true;
  host_->OnReplaced(before, now.get());
  closing_.Replaced(std::move(kept), std::move(now), silent);
}

void Connections::DialSecond(ConnectedEndpoint* endpoint) {
  const absl::Time now = clock_->Now();
  endpoint->dial().asked = now;
  if (endpoint->second() == nullptr) endpoint->SetSecond(Remake(endpoint));
  DropIfOld(endpoint->second());
  // Once it has taken the place, it is bounded like the first one.
  endpoint->second()->dial().asked = now;
  Dial(endpoint->second(), /*asked=*/false);
}

void Connections::GiveUpSecond(ConnectedEndpoint* endpoint) {
  const auto second = endpoint->TakeSecond();
  if (second == nullptr) return;
  second->Close();
  Close(second.get());
}

// An endpoint that accepts connections and never answers would be connected to
// again and again. So each connection in a row makes the next one wait longer,
// as dials that fail do.
void Connections::NoteSecond(ConnectedEndpoint& before,
                             ConnectedEndpoint* second) {
  DialRecord& dial = second->dial();
  const DialRecord& last = before.dial();
  const bool vain =
      last.vain_seconds > 0 && before.counters().Answered() == last.answered;
  dial.asked = last.asked;
  dial.vain_seconds = vain ? last.vain_seconds + 1 : 1;
  dial.second_at = clock_->Now() + Backoff(dial.vain_seconds);
}

// --- Generations of secrets

bool Connections::IsOld(const Connection& connection) const {
  return connection.generation() < generations_.newest;
}

// Its second connection is there for that reason alone.
bool Connections::IsRenewal(const ConnectedEndpoint& before) const {
  const Connection* const connection = before.connection();
  return connection != nullptr &&
         connection->term().renew_at <= clock_->Now() && !before.outdated() &&
         !IsSilent(before);
}

void Connections::SeeToGenerations(absl::Time now) {
  LeavePlaces(now);
  // What is replaced here keeps its index.
  for (size_t i = 0; i < order_.size(); ++i) {
    ConnectedEndpoint* const second = order_[i]->second();
    if (second != nullptr) SeeToGeneration(second, now);
    SeeToGeneration(order_[i], now);
  }
}

void Connections::SeeToGeneration(ConnectedEndpoint* endpoint, absl::Time now) {
  Connection* const connection = endpoint->connection();
  if (connection == nullptr) return;
  const ConnectionTerm term =
      PlanTerm(connection->term(), connection->generation(), generations_,
               &base::ThreadRandom(), now);
  if (!term.urgent() && !IsOld(*connection)) return;
  connection->set_term(term);
  const DialRecord& dial = endpoint->dial();
  if (endpoint->readiness() == Readiness::kReady || dial.leaving) {
    if (term.over(now)) Sever(endpoint);
  } else if (term.urgent() && dial.dialling) {
    AbortDial(endpoint);
  } else if (term.urgent() || (!dial.dialling && !dial.lingers)) {
    Drop(endpoint);
  }
}

// The dial would end with secrets that hold no longer. It is no failure. But
// where withdrawals come one after the other, an endpoint that does not answer
// is dialled no more often for that.
void Connections::AbortDial(ConnectedEndpoint* endpoint) {
  DialRecord& dial = endpoint->dial();
  const bool hangs = clock_->Now() - dial.dialled >= kDialHangs;
  dial.dialling = false;
  dial.failures = std::max(dial.failures + (hangs ? 1 : 0), 1);
  dial.redial_at = dial.dialled + Backoff(dial.failures);
  Drop(endpoint);
}

// Before a dial.
void Connections::DropIfOld(ConnectedEndpoint* endpoint) {
  Connection* const connection = endpoint->connection();
  if (connection == nullptr || !IsOld(*connection)) return;
  // It is used again rather than dialled.
  if (endpoint->dial().leaving && !connection->term().urgent()) return;
  Drop(endpoint);
}

// Its time is over, whether or not there is another one.
void Connections::Sever(ConnectedEndpoint* endpoint) {
  endpoint->dial().leaving = false;
  Supersede(endpoint);
}

void Connections::BeginRenewal(ConnectedEndpoint* endpoint) {
  if (endpoint->second() == nullptr) endpoint->SetSecond(Remake(endpoint));
  DropIfOld(endpoint->second());
  const std::shared_ptr<ConnectedEndpoint> second =
      endpoint->second()->shared_from_this();
  if (!endpoint->connection()->term().urgent()) {
    renewing_.push_back(
        {second, clock_->Now() + kRenewalHangs, std::exchange(place_, {})});
  }
  Dial(second.get(), /*asked=*/false);
}

void Connections::AskForPlace() {
  if (std::exchange(asked_for_place_, true)) return;
  // The gate may tell when the object is gone, as gRPC does. Then the place
  // goes with the closure.
  gate_->Enter([this, control = control_](RenewalGate::Place place) {
    control->Post([this, place = std::move(place)] {
      asked_for_place_ = false;
      place_ = place;
      Ensure();
    });
  });
}

void Connections::LeavePlaces(absl::Time now) {
  const auto left = [now](const Renewing& renewing) {
    const auto second = renewing.second.lock();
    return now >= renewing.until || second == nullptr ||
           !second->dial().dialling;
  };
  renewing_.erase(std::remove_if(renewing_.begin(), renewing_.end(), left),
                  renewing_.end());
}

void Connections::OnExpires(ConnectedEndpoint* endpoint, uint64_t number,
                            absl::Time wall) {
  Connection* connection = endpoint->Find(number);
  if (connection == nullptr) {
    connection = closing_.FindDropped(endpoint, number);
  }
  if (connection == nullptr) return;  // It is closed.
  ConnectionTerm term = connection->term();
  const absl::Time at = clock_->Now() + (wall - wall_());
  // A connection is made anew over the same channel where it was lost. What its
  // peer showed before may count for longer than it has to.
  term.expires_at = std::min(term.expires_at, at);
  connection->set_term(term);
  if (at < plan_at_) PlanAt(at);
}

// --- Closing

void Connections::Retire(
    const std::vector<cluster::LiveEndpointPtr>& endpoints) {
  if (endpoints.empty()) return;
  for (const cluster::LiveEndpointPtr& endpoint : endpoints) {
    closing_.Retire(ConnectedEndpoint::Of(endpoint.get())->shared_from_this());
  }
  closing_.Sweep();
}

void Connections::Close(ConnectedEndpoint* endpoint) {
  auto connection = endpoint->Detach();
  if (connection != nullptr) host_->CloseConnection(std::move(connection));
}

void Connections::Leave(ConnectedEndpoint* endpoint) {
  if (endpoint->outdated()) return Supersede(endpoint);
  endpoint->dial().leaving = true;
  endpoint->set_readiness(Readiness::kIdle);
  host_->OnReadinessChange();
  closing_.Leave(endpoint->shared_from_this());
}

void Connections::Drop(ConnectedEndpoint* endpoint) {
  DialRecord& dial = endpoint->dial();
  dial.lingers = dial.blind = dial.leaving = false;
  if (!endpoint->Unused() && IsPlaced(endpoint)) return GoOnAnew(endpoint);
  closing_.Drop(endpoint->shared_from_this(), endpoint->Detach());
}

bool Connections::IsPlaced(const ConnectedEndpoint* endpoint) const {
  return std::find(order_.begin(), order_.end(), endpoint) != order_.end();
}

// Attempts that run may know its channel, so that is kept until they have
// ended. The endpoint goes on as another object. Otherwise one stream that
// stays open would keep a channel of each failed dial.
void Connections::GoOnAnew(ConnectedEndpoint* endpoint) {
  const std::shared_ptr<ConnectedEndpoint> now = Remake(endpoint);
  now->GoOnFrom(endpoint);
  Replace(endpoint, now);
  host_->OnReadinessChange();
}

// --- Dialling

void Connections::Want() {
  if (!std::exchange(wanted_, true)) Ensure();
}

void Connections::Ask() {
  // Each call of an outage may come here.
  if (!changed_ && clock_->Now() < in_vain_until_) {
    return host_->OnAskedInVain();
  }
  if (asked_) return;
  wanted_ = asked_ = true;
  Ensure();
}

void Connections::Replan() {
  if (changed_) Ensure();
}

void Connections::Ensure() {
  const absl::Time now = clock_->Now();
  EndBlindDials(now);
  SeeToGenerations(now);
  changed_ = false;
  std::vector<EndpointState> states;
  states.reserve(order_.size());
  bool connected = false;
  for (ConnectedEndpoint* const endpoint : order_) {
    states.push_back(endpoint->State(now));
    EndpointState& state = states.back();
    if (state.term.renew_at <= now) {
      state.draining = closing_.Draining(endpoint);
    }
    connected |= state.ready;
  }
  const bool asked = asked_;
  if (connected) wanted_ = asked_ = false;
  ConnectionWishes wishes = {wanted_, asked_};
  wishes.may_dial = settings_->secrets->make != nullptr;
  wishes.place = place_ != nullptr;
  const ConnectionPlan plan =
      PlanConnections(states, settings_->options, wishes, now);
  for (size_t i : plan.drop) Drop(order_[i]);
  for (size_t i : plan.leave) Leave(order_[i]);
  for (size_t i : plan.dial) {
    DropIfOld(order_[i]);
    Dial(order_[i], /*asked=*/false);
  }
  for (size_t i : plan.ask) {
    // A new dial tells what becomes of it.
    if (order_[i]->DialsBlindly()) Drop(order_[i]);
    DropIfOld(order_[i]);
    Dial(order_[i], /*asked=*/true);
  }
  for (size_t i : plan.second) DialSecond(order_[i]);
  for (size_t i : plan.renew) BeginRenewal(order_[i]);
  for (size_t i : plan.single) GiveUpSecond(order_[i]);
  // Another service may have a place that this one does not use.
  place_ = nullptr;
  if (plan.wants_place) AskForPlace();
  // The asking calls are told with the next picker.
  if (asked && !asked_) host_->OnReadinessChange();
  in_vain_until_ = plan.in_vain ? plan.ask_again : absl::InfinitePast();
  if (plan.in_vain) {
    asked_ = false;
    host_->OnAskedInVain();
  }
  PlanAt(plan.next);
}

void Connections::PlanAt(absl::Time at) {
  CancelTimer(&plan_timer_);
  for (ConnectedEndpoint* const placed : order_) {
    for (ConnectedEndpoint* endpoint : {placed, placed->second()}) {
      if (endpoint == nullptr || !endpoint->DialsBlindly()) continue;
      at = std::min(
          at, endpoint->dial().dialled + settings_->options.connect_timeout);
    }
  }
  for (const Renewing& renewing : renewing_) at = std::min(at, renewing.until);
  plan_at_ = at;
  if (at == absl::InfiniteFuture()) return;
  plan_timer_ = control_->RunAt(at, [this] {
    plan_timer_ = 0;
    Ensure();
  });
}

void Connections::EndBlindDials(absl::Time now) {
  for (ConnectedEndpoint* const placed : order_) {
    for (ConnectedEndpoint* endpoint : {placed, placed->second()}) {
      if (endpoint != nullptr && endpoint->DialsBlindly() &&
          now >=
              endpoint->dial().dialled + settings_->options.connect_timeout) {
        FailDial(endpoint, endpoint->Failure(), /*lingers=*/true);
      }
    }
  }
}

void Connections::Dial(ConnectedEndpoint* endpoint, bool asked) {
  const absl::Time now = clock_->Now();
  DialRecord& dial = endpoint->dial();
  Connection* connection = endpoint->connection();
  const bool first = connection == nullptr;
  if (first) connection = MakeConnection(endpoint);
  BeginDial(endpoint, now);
  if (asked) dial.asked = now;
  if (dial.lingers) {
    // gRPC dials it already, or waits for a backoff of its own.
    dial.lingers = false;
    dial.blind = true;
    connection->ResetBackoff();
  } else if (connection->GetState(/*connect=*/true) == GRPC_CHANNEL_READY) {
    // It was about to leave, or is shared.
    if (first) Watch(endpoint, connection, GRPC_CHANNEL_READY);
    return OnReady(endpoint);
  }
  if (dial.failures == 0) endpoint->set_readiness(Readiness::kConnecting);
  host_->OnReadinessChange();
  host_->PollWhileConnecting();
  if (first) Watch(endpoint, connection, GRPC_CHANNEL_IDLE);
}

// The endpoint has been made with the present settings, or with ones of an
// earlier generation.
Connection* Connections::MakeConnection(ConnectedEndpoint* endpoint) {
  const uint64_t number = endpoint->next_number();
  auto made = host_->MakeConnection(
      endpoint->endpoint(), settings_, number,
      [this, control = control_, weak = endpoint->weak_from_this(),
       number](absl::Time wall) {
        control->Post([this, weak, number, wall] {
          const auto endpoint = weak.lock();
          if (endpoint != nullptr) OnExpires(endpoint.get(), number, wall);
        });
      });
  made->SetGeneration(
      generations_.newest,
      counts_->Add(endpoint->endpoint().address, generations_.newest));
  return endpoint->Open(std::move(made));
}

void Connections::BeginDial(ConnectedEndpoint* endpoint, absl::Time now) {
  DialRecord& dial = endpoint->dial();
  dial.dialling = true;
  dial.leaving = false;
  dial.dialled = dial.used = now;
  endpoint->NoteDial(absl::ToUnixNanos(now));
  endpoint->connection()->Begin(now, endpoint->succeeded());
}

void Connections::FailDial(ConnectedEndpoint* endpoint, absl::Status why,
                           bool lingers) {
  DialRecord& dial = endpoint->dial();
  dial.dialling = dial.blind = false;
  dial.redial_at = dial.dialled + Backoff(++dial.failures);
  endpoint->SetFailure(std::move(why));
  endpoint->set_readiness(Readiness::kFailed);
  if (lingers) {
    dial.lingers = true;
    endpoint->connection()->set_lingers(true);
  } else {
    Drop(endpoint);
  }
  changed_ = true;
  host_->OnConnectionLost();
  host_->OnReadinessChange();
}

absl::Duration Connections::Backoff(int failures) const {
  const options::ConnectionOptions& options = settings_->options;
  const absl::Duration backoff =
      options.initial_backoff * std::pow(kBackoffGrows, failures - 1);
  return std::min(backoff, options.max_backoff) *
         (0.8 + 0.4 * base::ThreadRandom().Unit());
}

// --- What becomes of connections

void Connections::Watch(ConnectedEndpoint* endpoint, Connection* connection,
                        grpc_connectivity_state last) {
  // gRPC may tell when the object is gone. So the closure holds only the
  // scheduler, which knows.
  connection->Watch(
      last, [this, control = control_, weak = endpoint->weak_from_this(),
             number = connection->number(), last] {
        control->Post([this, weak, number, last] {
          const auto endpoint = weak.lock();
          if (endpoint != nullptr) OnChange(endpoint.get(), number, last);
        });
      });
}

void Connections::OnChange(ConnectedEndpoint* endpoint, uint64_t number,
                           grpc_connectivity_state last) {
  Connection* const connection = endpoint->Find(number);
  if (connection == nullptr) return;  // It is closed.
  const grpc_connectivity_state state = connection->GetState(/*connect=*/false);
  Watch(endpoint, connection, state);
  if (endpoint->closed()) return;
  // Reads the present state: a call may have woken it already.
  const bool lost = last == GRPC_CHANNEL_READY || state == GRPC_CHANNEL_IDLE;
  if (lost) OnLost(endpoint, connection);
  const bool over =
      lost && (endpoint->outdated() || endpoint->connection() != connection);
  if (!over) OnState(endpoint, connection, state);
  changed_ = true;
  host_->OnReadinessChange();
}

void Connections::OnState(ConnectedEndpoint* endpoint, Connection* connection,
                          grpc_connectivity_state state) {
  DialRecord& dial = endpoint->dial();
  switch (state) {
    case GRPC_CHANNEL_READY:
      if (!dial.leaving && endpoint->readiness() != Readiness::kReady) {
        if (!dial.dialling) BeginDial(endpoint, clock_->Now());
        OnReady(endpoint);
      }
      break;
    case GRPC_CHANNEL_CONNECTING:
      // A call that came while it was idle may have done so.
      if (!dial.dialling) BeginDial(endpoint, clock_->Now());
      if (dial.failures == 0) endpoint->set_readiness(Readiness::kConnecting);
      host_->PollWhileConnecting();
      break;
    case GRPC_CHANNEL_IDLE:
      break;
    case GRPC_CHANNEL_TRANSIENT_FAILURE:
    case GRPC_CHANNEL_SHUTDOWN:
      OnFailure(endpoint, connection);
      break;
  }
}

void Connections::OnReady(ConnectedEndpoint* endpoint) {
  DialRecord& dial = endpoint->dial();
  dial.dialling = dial.blind = dial.lingers = false;
  endpoint->connection()->set_lingers(false);
  dial.used = clock_->Now();
  endpoint->connection()->Begin(dial.used, endpoint->succeeded());
  endpoint->set_readiness(Readiness::kReady);
  changed_ = true;
  ConnectedEndpoint* const before = endpoint->beside();
  const bool renewal = before != nullptr && IsRenewal(*before);
  if (before != nullptr) TakePlace(before);
  // A renewal is no news of an endpoint that is in use. One that has said that
  // it is draining is used again.
  if (!renewal || cluster::IsOut(endpoint->health())) {
    host_->OnConnected(endpoint);
  }
  host_->OnReadinessChange();
}

// The second connection of `before` is ready: calls that begin use it.
void Connections::TakePlace(ConnectedEndpoint* before) {
  const bool silent = IsSilent(*before);
  const bool renewal = IsRenewal(*before);
  const std::shared_ptr<ConnectedEndpoint> now = before->TakeSecond();
  if (silent) NoteSecond(*before, now.get());
  if (renewal) before->State(clock_->Now());  // Notes whether it is used.
  Replace(before, now, silent);
  now->dial().answered = now->counters().Answered();
  if (!renewal) return;
  now->dial().used = before->dial().used;
  now->dial().attempts = now->counters().Attempts();
}

// It was connected.
void Connections::OnLost(ConnectedEndpoint* endpoint, Connection* connection) {
  host_->OnConnectionLost();
  if (endpoint->outdated()) return Supersede(endpoint);
  DialRecord& dial = endpoint->dial();
  const absl::Time now = clock_->Now();
  dial.dialling = dial.blind = dial.lingers = false;
  dial.used = now;
  if (!connection->LostAtOnce(now, endpoint->succeeded())) {
    dial.failures = 0;
    // What calls asked for is done: the next one that asks is heard at once.
    dial.asked = absl::InfinitePast();
    endpoint->set_readiness(Readiness::kIdle);
    return;
  }
  // A server that closes what it has just accepted would be connected to
  // without end. So the endpoint is not idle, which would be dialled at once.
  // Nor has it failed at first: a call that has no other endpoint waits for it.
  // Calls that still know it as connected would wake the channel, so the
  // channel goes. It was connected, so its backoff does not grow, as in gRPC.
  dial.redial_at = now + Backoff(1);
  if (++dial.failures == 1) {
    endpoint->set_readiness(Readiness::kConnecting);
  } else {
    endpoint->SetFailure(absl::UnavailableError(
        absl::StrCat("failed to connect to all addresses; last error: ",
                     endpoint->endpoint().address,
                     ": the server closes each connection at once.")));
    endpoint->set_readiness(Readiness::kFailed);
  }
  Drop(endpoint);
}

// The connection is of no use any more. The next one need not wait for
// that.
void Connections::Supersede(ConnectedEndpoint* endpoint) {
  if (!IsPlaced(endpoint)) return;  // It has been done.
  endpoint->set_readiness(Readiness::kIdle);
  auto second = endpoint->TakeSecond();
  Replace(endpoint, second != nullptr ? std::move(second) : Remake(endpoint));
  host_->OnReadinessChange();
}

void Connections::OnFailure(ConnectedEndpoint* endpoint,
                            Connection* connection) {
  const absl::Time now = clock_->Now();
  DialRecord& dial = endpoint->dial();
  if (dial.lingers || dial.blind) return;  // It is known.
  if (!dial.dialling) BeginDial(endpoint, now);
  const absl::Duration timeout = settings_->options.connect_timeout;
  if (now - dial.dialled >= 0.9 * timeout) {
    // gRPC has begun anew already.
    const std::string why =
        absl::StrCat("failed to connect to all addresses; last error: ",
                     endpoint->endpoint().address,
                     ": no connection was made within "
                     "connections.connect_timeout (",
                     absl::FormatDuration(timeout), ").");
    return FailDial(endpoint, absl::UnavailableError(why), /*lingers=*/true);
  }
  connection->AskWhy([this, control = control_,
                      weak = endpoint->weak_from_this(),
                      number = connection->number()](absl::Status why) {
    control->Post([this, weak, number, why = std::move(why)]() mutable {
      const auto endpoint = weak.lock();
      if (endpoint == nullptr || endpoint->closed()) return;
      if (endpoint->Find(number) == nullptr) return;
      if (!endpoint->dial().dialling) return;
      FailDial(endpoint.get(), std::move(why), /*lingers=*/false);
    });
  });
}

}  // namespace mesh::service
