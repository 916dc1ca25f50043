#include "mesh/service/endpoint.h"

#include <algorithm>
#include <utility>

namespace mesh::service {

using cluster::Health;

Connection* ConnectedEndpoint::Open(std::unique_ptr<Connection> connection) {
  assert(connection_ == nullptr);
  connection_ = std::move(connection);
  ++next_number_;
  for_calls_.store(connection_.get(), std::memory_order_seq_cst);
  main_core_.store(connection_->Core(/*exact=*/false),
                   std::memory_order_seq_cst);
  return connection_.get();
}

Connection* ConnectedEndpoint::Find(uint64_t number) const {
  return connection_ != nullptr && connection_->number() == number
             ? connection_.get()
             : nullptr;
}

std::unique_ptr<Connection> ConnectedEndpoint::Detach() {
  // The order matters, hence seq_cst. A call counts itself (Acquire) before it
  // reads these. The thread that closes the connection looks at the count after
  // these stores. So a call that found the connection is counted.
  main_core_.store(nullptr, std::memory_order_seq_cst);
  for_calls_.store(nullptr, std::memory_order_seq_cst);
  return std::move(connection_);
}

void ConnectedEndpoint::SetFailure(absl::Status why) {
  LastFailure& failure = failure_.Get();
  base::MutexLock lock(&failure.mu);
  std::swap(failure.why, why);
}

absl::Status ConnectedEndpoint::Failure() const {
  if (const LastFailure* const failure = failure_.Find()) {
    base::MutexLock lock(&failure->mu);
    if (!failure->why.ok()) return failure->why;
  }
  return absl::UnavailableError(
      "failed to connect to all addresses; last error: the connection was "
      "closed just now.");
}

DialRecord& ConnectedEndpoint::dial() {
  if (dial_ == nullptr) dial_ = std::make_unique<DialRecord>();
  return *dial_;
}

void ConnectedEndpoint::SetSecond(std::shared_ptr<ConnectedEndpoint> second) {
  second->dial().beside = this;
  dial().second = std::move(second);
}

std::shared_ptr<ConnectedEndpoint> ConnectedEndpoint::TakeSecond() {
  if (second() == nullptr) return nullptr;
  dial_->second->dial().beside = nullptr;
  return std::move(dial_->second);
}

void ConnectedEndpoint::GoOnFrom(ConnectedEndpoint* before) {
  SetFailure(before->Failure());
  set_readiness(before->readiness());
  if (before->first_dial() != 0) NoteDial(before->first_dial());
  dial_ = std::move(before->dial_);
  if (second() != nullptr) second()->dial().beside = this;
}

EndpointState ConnectedEndpoint::State(absl::Time now) {
  EndpointState state;
  state.priority = priority();
  state.ready = readiness() == cluster::Readiness::kReady;
  const Health is = health();
  state.out = cluster::IsOut(is);
  if (connection_ != nullptr) {
    state.connection = true;
    state.term = connection_->term();
  }
  state.silent = state.ready && is == Health::kSuspect;
  state.outdated = outdated_;
  if (second() != nullptr) {
    const DialRecord& dial = second()->dial();
    state.second = {true, dial.dialling, dial.redial_at};
  }
  if (dial_ == nullptr) return state;
  if (dial_->second_at > now && counters().Answered() == dial_->answered) {
    state.second.redial_at = std::max(state.second.redial_at, dial_->second_at);
  }
  state.busy = in_flight() > 0;
  const uint64_t attempts = counters().Attempts();
  if (state.busy || attempts != dial_->attempts) {
    dial_->attempts = attempts;
    dial_->used = now;
  }
  state.dialling = dial_->dialling;
  state.lingers = dial_->lingers;
  state.blind = dial_->blind;
  state.failures = dial_->failures;
  if (first_dial() != 0) state.first_dial = absl::FromUnixNanos(first_dial());
  state.dialled = dial_->dialled;
  state.redial_at = dial_->redial_at;
  state.asked = dial_->asked;
  state.used = dial_->used;
  return state;
}

}  // namespace mesh::service
