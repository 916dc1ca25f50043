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

// How often what is to be closed is looked at.
constexpr absl::Duration kSweepEvery = absl::Milliseconds(100);
// After this time a call that goes by an old picker has begun.
constexpr absl::Duration kPickersLast = absl::Milliseconds(200);
// Each dial that fails makes the next one wait this many times longer, as in
// gRPC.
constexpr double kBackoffGrows = 1.6;
// How long a silent connection may still bring nothing after another one to the
// same endpoint has answered. Then it is dead.
constexpr absl::Duration kDeadAfter = absl::Seconds(1);

// How much has come from the endpoint, whatever it is. For comparison only.
uint64_t Brought(const ConnectedEndpoint& endpoint) {
  Connection* const connection = endpoint.connection();
  const std::optional<uint64_t> bytes =
      connection != nullptr ? connection->BytesReceived() : std::nullopt;
  return endpoint.counters().Answered() + bytes.value_or(0);
}

}  // namespace

Connections::Connections(std::shared_ptr<base::Scheduler> control,
                         const base::Clock* clock, Host* host)
    : control_(std::move(control)),
      clock_(clock),
      host_(host),
      settings_(std::make_shared<ConnectionSettings>()) {}

Connections::~Connections() {
  CancelTimer(&plan_timer_);
  CancelTimer(&sweep_timer_);
  for (const cluster::Member& member : members()) {
    member.live->Close();
    GiveUpSecond(ConnectedEndpoint::Of(member.live.get()));
    Close(ConnectedEndpoint::Of(member.live.get()));
  }
  for (const Retired& retired : replaced_) Close(retired.endpoint.get());
  for (const Retired& retired : retired_) Close(retired.endpoint.get());
  for (Dropped& dropped : dropped_)
    host_->CloseConnection(std::move(dropped.connection));
}

void Connections::CancelTimer(base::Scheduler::TimerId* timer) {
  if (*timer != 0) control_->Cancel(*timer);
  *timer = 0;
}

bool Connections::Configure(const ConnectionSettings& settings) {
  if (settings == *settings_) return false;
  settings_ = std::make_shared<ConnectionSettings>(settings);
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
  const std::vector<cluster::Member> before = members();
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

Connections::Retired& Connections::Replace(
    ConnectedEndpoint* before, std::shared_ptr<ConnectedEndpoint> now) {
  Retired retired;
  retired.endpoint = before->shared_from_this();
  retired.cut_off_at = clock_->Now() + settings_->options.drain_timeout;
  std::replace(order_.begin(), order_.end(), before, now.get());
  membership_.Replace(before, now);
  changed_ = true;
  host_->OnReplaced(before, now.get());
  for (std::vector<Retired>* earlier : {&replaced_, &retired_}) {
    for (Retired& one : *earlier) {
      if (one.successor.get() == before) Inherit(&one, now);
    }
  }
  Inherit(&retired, std::move(now));
  replaced_.push_back(std::move(retired));
  return replaced_.back();
}

void Connections::DialSecond(ConnectedEndpoint* endpoint) {
  const absl::Time now = clock_->Now();
  endpoint->dial().asked = now;
  if (endpoint->second() == nullptr) endpoint->SetSecond(Remake(endpoint));
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

void Connections::RetireReplaced() {
  if (replaced_.empty()) return;
  for (Retired& retired : replaced_) {
    retired.endpoint->Close();
    // A silent one may yet answer its probe.
    if (!retired.silent) host_->EndOwnCalls(retired.endpoint.get());
    retired_.push_back(std::move(retired));
  }
  replaced_.clear();
  Sweep();
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

void Connections::Inherit(Retired* retired,
                          std::shared_ptr<ConnectedEndpoint> successor) {
  retired->successor = std::move(successor);
  retired->answered = retired->successor->counters().Answered();
  retired->counted = 0;
  CountBefore(retired);
}

void Connections::CountBefore(Retired* retired) {
  const int64_t now = retired->endpoint->in_flight();
  retired->successor->AddInFlightBefore(now - retired->counted);
  retired->counted = now;
}

// Ends its calls like those of a lost connection.
void Connections::BreakIfDead(Retired* retired, absl::Time now) {
  ConnectedEndpoint* const silent = retired->endpoint.get();
  if (Brought(*silent) != retired->brought) {
    // It lives, and its calls may be long ones.
    retired->silent = false;
    return;
  }
  if (retired->quiet_since == absl::InfiniteFuture()) {
    if (retired->successor->counters().Answered() == retired->answered) return;
    retired->quiet_since = now;
  }
  if (now - retired->quiet_since < kDeadAfter) return;
  retired->silent = false;
  retired->cut_off_at = now + settings_->options.drain_timeout;
  Connection* const connection = silent->connection();
  if (connection == nullptr || !connection->Break()) host_->CutOff(silent);
  host_->EndOwnCalls(silent);
}

// --- Closing

void Connections::Retire(
    const std::vector<cluster::LiveEndpointPtr>& endpoints) {
  if (endpoints.empty()) return;
  const absl::Time cut_off_at =
      clock_->Now() + settings_->options.drain_timeout;
  for (const cluster::LiveEndpointPtr& endpoint : endpoints) {
    endpoint->Close();
    auto connected = ConnectedEndpoint::Of(endpoint.get())->shared_from_this();
    host_->EndOwnCalls(connected.get());
    Retired retired;
    retired.endpoint = std::move(connected);
    retired.cut_off_at = cut_off_at;
    retired_.push_back(std::move(retired));
  }
  Sweep();
}

void Connections::Close(ConnectedEndpoint* endpoint) {
  auto connection = endpoint->Detach();
  if (connection != nullptr) host_->CloseConnection(std::move(connection));
}

void Connections::Leave(ConnectedEndpoint* endpoint) {
  if (endpoint->outdated()) return Supersede(endpoint);
  endpoint->dial().leaving = true;
  endpoint->set_readiness(Readiness::kIdle);
  leaving_.push_back(
      {endpoint->shared_from_this(), clock_->Now() + kPickersLast});
  host_->OnReadinessChange();
  Sweep();
}

void Connections::Drop(ConnectedEndpoint* endpoint) {
  DialRecord& dial = endpoint->dial();
  dial.lingers = dial.blind = dial.leaving = false;
  if (!endpoint->Unused() && IsPlaced(endpoint)) return GoOnAnew(endpoint);
  dropped_.push_back({endpoint->shared_from_this(), endpoint->Detach()});
  Sweep();
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

void Connections::Sweep() {
  const absl::Time now = clock_->Now();
  SweepLeaving(now);
  SweepRetired(now);
  std::vector<Dropped> still;
  for (Dropped& dropped : dropped_) {
    if (dropped.endpoint->Unused()) {
      host_->CloseConnection(std::move(dropped.connection));
    } else {
      still.push_back(std::move(dropped));
    }
  }
  dropped_ = std::move(still);
  CancelTimer(&sweep_timer_);
  if (retired_.empty() && dropped_.empty() && leaving_.empty()) return;
  sweep_timer_ = control_->RunAt(now + kSweepEvery, [this] {
    sweep_timer_ = 0;
    Sweep();
  });
}

void Connections::SweepLeaving(absl::Time now) {
  std::vector<Leaving> still;
  for (Leaving& leaving : leaving_) {
    ConnectedEndpoint* const endpoint = leaving.endpoint.get();
    if (endpoint->closed() || !endpoint->dial().leaving) continue;
    if (now < leaving.at || !endpoint->Unused()) {
      still.push_back(std::move(leaving));
      continue;
    }
    endpoint->dial().leaving = false;
    dropped_.push_back({std::move(leaving.endpoint), endpoint->Detach()});
  }
  leaving_ = std::move(still);
}

void Connections::SweepRetired(absl::Time now) {
  for (Retired& retired : retired_) {
    if (retired.successor != nullptr) CountBefore(&retired);
    if (retired.silent) BreakIfDead(&retired, now);
  }
  std::vector<RetiredState> states;
  states.reserve(retired_.size());
  for (const Retired& retired : retired_) {
    states.push_back({retired.endpoint->Drained(), retired.cut_off_at});
  }
  const RetirementPlan plan = PlanRetirement(states, now);
  for (size_t i : plan.cut_off) {
    host_->EndOwnCalls(retired_[i].endpoint.get());
    host_->CutOff(retired_[i].endpoint.get());
  }
  for (size_t i : plan.close) {
    Close(retired_[i].endpoint.get());
    retired_[i].endpoint = nullptr;
  }
  retired_.erase(std::remove_if(retired_.begin(), retired_.end(),
                                [](const Retired& retired) {
                                  return retired.endpoint == nullptr;
                                }),
                 retired_.end());
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
  changed_ = false;
  std::vector<EndpointState> states;
  states.reserve(order_.size());
  bool connected = false;
  for (ConnectedEndpoint* const endpoint : order_) {
    states.push_back(endpoint->State(now));
    connected |= states.back().ready;
  }
  const bool asked = asked_;
  if (connected) wanted_ = asked_ = false;
  const ConnectionPlan plan =
      PlanConnections(states, settings_->options, {wanted_, asked_}, now);
  for (size_t i : plan.drop) Drop(order_[i]);
  for (size_t i : plan.leave) Leave(order_[i]);
  for (size_t i : plan.dial) Dial(order_[i], /*asked=*/false);
  for (size_t i : plan.ask) {
    // A new dial tells what becomes of it.
    if (order_[i]->DialsBlindly()) Drop(order_[i]);
    Dial(order_[i], /*asked=*/true);
  }
  for (size_t i : plan.second) DialSecond(order_[i]);
  for (size_t i : plan.single) GiveUpSecond(order_[i]);
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
  if (first) {
    // The endpoint has been made with the present settings.
    connection = endpoint->Open(host_->MakeConnection(
        endpoint->endpoint(), settings_, endpoint->next_number()));
  }
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
  if (ConnectedEndpoint* const before = endpoint->beside()) TakePlace(before);
  host_->OnConnected(endpoint);
  host_->OnReadinessChange();
}

// The second connection of `before` is ready: calls that begin use it.
void Connections::TakePlace(ConnectedEndpoint* before) {
  const bool silent = before->health() == cluster::Health::kSuspect;
  const std::shared_ptr<ConnectedEndpoint> now = before->TakeSecond();
  if (silent) {
    NoteSecond(*before, now.get());
    for (const Retired& one : retired_) {
      // Nobody has answered over the next one either: its probe is in vain.
      if (one.silent && one.successor.get() == before) {
        host_->EndOwnCalls(one.endpoint.get());
      }
    }
  }
  Retired& retired = Replace(before, now);
  now->dial().answered = now->counters().Answered();
  if (!silent) return;
  retired.silent = true;
  retired.brought = Brought(*before);
  // It may be alive, so its streams are left alone meanwhile.
  retired.cut_off_at = absl::InfiniteFuture();
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
