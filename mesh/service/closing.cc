#include "mesh/service/closing.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "mesh/base/random.h"

namespace mesh::service {
namespace {

// How often what is to be closed is looked at.
constexpr absl::Duration kSweepEvery = absl::Milliseconds(100);
// After this time a call that goes by an old picker has begun.
constexpr absl::Duration kPickersLast = absl::Milliseconds(200);
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

Closing::Closing(std::shared_ptr<base::Scheduler> control,
                 const base::Clock* clock, Host* host)
    : control_(std::move(control)), clock_(clock), host_(host) {}

Closing::~Closing() {
  if (timer_ != 0) control_->Cancel(timer_);
  for (const Retired& retired : replaced_) Close(retired.endpoint.get());
  for (const Retired& retired : retired_) Close(retired.endpoint.get());
  for (Dropped& dropped : dropped_) {
    host_->CloseConnection(std::move(dropped.connection));
  }
}

void Closing::Configure(absl::Duration drain_timeout,
                        const Generations& generations) {
  drain_timeout_ = drain_timeout;
  generations_ = generations;
  Sweep();
}

// --- What comes in

void Closing::Replaced(std::shared_ptr<ConnectedEndpoint> before,
                       std::shared_ptr<ConnectedEndpoint> now, bool silent) {
  Retired retired;
  retired.cut_off_at = clock_->Now() + drain_timeout_;
  if (silent) {
    retired.silent = true;
    retired.brought = Brought(*before);
    retired.cut_off_at = absl::InfiniteFuture();
    for (const Retired& one : retired_) {
      // Nobody has answered over the next one either: its probe is in vain.
      if (one.silent && one.successor == before) {
        host_->EndOwnCalls(one.endpoint.get());
      }
    }
  }
  for (std::vector<Retired>* earlier : {&replaced_, &retired_}) {
    for (Retired& one : *earlier) {
      if (one.successor == before) Inherit(&one, now);
    }
  }
  retired.endpoint = std::move(before);
  Inherit(&retired, std::move(now));
  replaced_.push_back(std::move(retired));
}

void Closing::RetireReplaced() {
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

void Closing::Retire(std::shared_ptr<ConnectedEndpoint> endpoint) {
  endpoint->Close();
  host_->EndOwnCalls(endpoint.get());
  Retired retired;
  retired.endpoint = std::move(endpoint);
  retired.cut_off_at = clock_->Now() + drain_timeout_;
  retired_.push_back(std::move(retired));
}

void Closing::Leave(std::shared_ptr<ConnectedEndpoint> endpoint) {
  leaving_.push_back({std::move(endpoint), clock_->Now() + kPickersLast});
  Sweep();
}

void Closing::Drop(std::shared_ptr<ConnectedEndpoint> endpoint,
                   std::unique_ptr<Connection> connection) {
  dropped_.push_back({std::move(endpoint), std::move(connection)});
  Sweep();
}

int Closing::Draining(const ConnectedEndpoint* endpoint) const {
  int open = 0;
  for (const std::vector<Retired>* all : {&replaced_, &retired_}) {
    for (const Retired& one : *all) {
      if (one.successor.get() == endpoint) ++open;
    }
  }
  return open;
}

Connection* Closing::FindDropped(const ConnectedEndpoint* endpoint,
                                 uint64_t number) const {
  for (const Dropped& dropped : dropped_) {
    if (dropped.endpoint.get() == endpoint &&
        dropped.connection->number() == number) {
      return dropped.connection.get();
    }
  }
  return nullptr;
}

void Closing::Inherit(Retired* retired,
                      std::shared_ptr<ConnectedEndpoint> successor) {
  retired->successor = std::move(successor);
  retired->answered = retired->successor->counters().Answered();
  retired->counted = 0;
  CountBefore(retired);
}

void Closing::CountBefore(Retired* retired) {
  const int64_t now = retired->endpoint->in_flight();
  retired->successor->AddInFlightBefore(now - retired->counted);
  retired->counted = now;
}

// --- What goes

void Closing::Close(ConnectedEndpoint* endpoint) {
  auto connection = endpoint->Detach();
  if (connection != nullptr) host_->CloseConnection(std::move(connection));
}

// Ends its calls like those of a lost connection.
void Closing::BreakIfDead(Retired* retired, absl::Time now) {
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
  retired->cut_off_at = now + drain_timeout_;
  Connection* const connection = silent->connection();
  if (connection == nullptr || !connection->Break()) {
    host_->CutOff(silent, LiveStreams::Cause::kRemoved);
  }
  host_->EndOwnCalls(silent);
}

const ConnectionTerm& Closing::TermOf(Connection* connection, absl::Time now) {
  connection->set_term(PlanTerm(connection->term(), connection->generation(),
                                generations_, &base::ThreadRandom(), now));
  return connection->term();
}

void Closing::Sever(const ConnectedEndpoint* endpoint, Connection* connection) {
  host_->EndOwnCalls(endpoint);
  // With a reason. What else runs on it ends as if the connection were lost.
  host_->CutOff(endpoint, LiveStreams::Cause::kWithdrawn);
  if (connection != nullptr) connection->Break();
}

void Closing::Sweep() {
  const absl::Time now = clock_->Now();
  SweepLeaving(now);
  SweepRetired(now);
  SweepDropped(now);
  if (timer_ != 0) control_->Cancel(timer_);
  timer_ = 0;
  if (retired_.empty() && dropped_.empty() && leaving_.empty()) return;
  timer_ = control_->RunAt(now + kSweepEvery, [this] {
    timer_ = 0;
    Sweep();
  });
}

void Closing::SweepLeaving(absl::Time now) {
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

void Closing::SweepRetired(absl::Time now) {
  std::vector<RetiredState> states;
  states.reserve(retired_.size());
  for (Retired& retired : retired_) {
    if (retired.successor != nullptr) CountBefore(&retired);
    if (retired.silent) BreakIfDead(&retired, now);
    Connection* const connection = retired.endpoint->connection();
    states.push_back({retired.endpoint->Drained(), retired.cut_off_at,
                      connection != nullptr ? TermOf(connection, now).gone_by
                                            : absl::InfiniteFuture()});
  }
  const RetirementPlan plan = PlanRetirement(states, now);
  for (size_t i : plan.cut_off) {
    host_->EndOwnCalls(retired_[i].endpoint.get());
    host_->CutOff(retired_[i].endpoint.get(), LiveStreams::Cause::kRemoved);
  }
  for (size_t i : plan.sever) {
    Sever(retired_[i].endpoint.get(), retired_[i].endpoint->connection());
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

void Closing::SweepDropped(absl::Time now) {
  std::vector<Dropped> still;
  for (Dropped& dropped : dropped_) {
    Connection* const connection = dropped.connection.get();
    if (dropped.endpoint->Unused()) {
      host_->CloseConnection(std::move(dropped.connection));
      continue;
    }
    if (TermOf(connection, now).over(now)) connection->Break();
    still.push_back(std::move(dropped));
  }
  dropped_ = std::move(still);
}

}  // namespace mesh::service
