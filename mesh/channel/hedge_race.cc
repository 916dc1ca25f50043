#include "mesh/channel/hedge_race.h"

#include <algorithm>
#include <utility>

#include "mesh/channel/outcome.h"

namespace mesh::channel {

using call::Action;

struct HedgeRace::Todo {
  int start_attempt = 0;
  std::optional<NewHedge> start;
  std::vector<std::shared_ptr<core::RawCall>> give_up;
  grpc_call* cancel = nullptr;  // The native attempt. Referenced.
  // To go on with the application's batches; else `host` is null.
  Host* host = nullptr;
  std::optional<Action> act;
  std::shared_ptr<core::RawCall> answer;
};

HedgeRace::~HedgeRace() {
  if (native_ != nullptr) grpc_call_unref(native_);
}

// --- The native attempt

void HedgeRace::OnNativeStart(const Action& action, grpc_call* core) {
  grpc_call_ref(core);
  bool in_vain;
  {
    base::MutexLock lock(&mu_);
    native_attempt_ = action.attempt;
    native_endpoint_ = action.endpoint;
    native_ = core;
    // The call may have ended since it was unparked.
    in_vain = ended_;
    if (!in_vain) SetTimer(action.timer);
  }
  if (in_vain) grpc_call_cancel(core, nullptr);
}

void HedgeRace::OnRequest() {
  base::MutexLock lock(&mu_);
  has_request_ = true;
  SetTimer(timer_at_);
}

void HedgeRace::OnNativeDone(grpc::Status* status) {
  Todo todo;
  grpc_call* ended;
  {
    base::MutexLock lock(&mu_);
    ended = std::exchange(native_, nullptr);
    // Also without a first attempt.
    if (ended_ || machine_->finished()) {
      todo.host = host_;
      if (!failure_.ok()) {
        Action fail;
        fail.kind = Action::Kind::kFail;
        fail.status = failure_;
        todo.act = std::move(fail);
      } else if (!status->ok()) {
        todo.answer = winner_;
      }  // Otherwise what the application has will do.
    } else {
      parked_ = true;
      const call::Moment moment = host_->MomentOfRace();
      const call::AttemptOutcome outcome =
          host_->NativeOutcome(*status, native_endpoint_);
      if (cancelled_.load(std::memory_order_relaxed) && !hedges_.empty() &&
          !status->ok()) {
        // The others are cancelled too, and so is the call.
        machine_->OnCancelled(moment);
        *status = grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED");
      }
      Take(machine_->OnAttemptDone(native_attempt_, outcome, moment), nullptr,
           &todo);
    }
  }
  if (ended != nullptr) grpc_call_unref(ended);
  Do(&todo);
}

void HedgeRace::OnNativeCancelled() {
  Todo todo;
  {
    base::MutexLock lock(&mu_);
    if (!ended_) {
      call::AttemptOutcome outcome;
      outcome.code = absl::StatusCode::kCancelled;
      outcome.committed = true;
      machine_->OnAttemptDone(native_attempt_, outcome, host_->MomentOfRace());
    }
    End(&todo);
  }
  Do(&todo);
}

bool HedgeRace::TryCommit() {
  Todo todo;
  {
    base::MutexLock lock(&mu_);
    if (winner_ != nullptr) return false;
    if (!ended_) {
      Take(machine_->OnCommitted(native_attempt_, host_->MomentOfRace()),
           nullptr, &todo);
    }
  }
  Do(&todo);
  return true;
}

std::shared_ptr<core::RawCall> HedgeRace::Winner() {
  base::MutexLock lock(&mu_);
  return winner_;
}

void HedgeRace::SayPreviousAttempts(
    std::multimap<std::string, std::string>* metadata) {
  base::MutexLock lock(&mu_);
  channel::SayPreviousAttempts(machine_->previous_attempts(), metadata);
}

void HedgeRace::Detach() {
  Todo todo;
  {
    base::MutexLock lock(&mu_);
    End(&todo);
    host_ = nullptr;
  }
  Do(&todo);
}

// --- Hedges

void HedgeRace::OnTimer() {
  Todo todo;
  {
    base::MutexLock lock(&mu_);
    timer_ = 0;
    if (ended_ || timer_at_ == absl::InfiniteFuture()) return;
    std::optional<Action> action = machine_->OnTimer(host_->MomentOfRace());
    if (!action.has_value()) return;
    Take(*std::move(action), nullptr, &todo);
  }
  Do(&todo);
}

void HedgeRace::OnHedgeDone(int attempt) {
  Todo todo;
  Hedge hedge;  // Goes, with what it replaces, after the lock.
  std::shared_ptr<core::RawCall> replaced;
  {
    base::MutexLock lock(&mu_);
    const auto found = std::find_if(
        hedges_.begin(), hedges_.end(),
        [attempt](const Hedge& h) { return h.attempt == attempt; });
    if (found == hedges_.end()) return;  // It was given up.
    hedge = std::move(*found);
    hedges_.erase(found);
    const core::RawAnswer& answer = hedge.raw->answer();
    const call::AttemptOutcome outcome =
        host_->HedgeOutcome(answer, hedge.endpoint, hedge.deadline);
    if (!answer.status.ok()) {
      failed_attempt_ = attempt;
      replaced = std::exchange(failed_, hedge.raw);
    }
    Take(machine_->OnAttemptDone(attempt, outcome, host_->MomentOfRace()),
         hedge.raw, &todo);
  }
  Do(&todo);
}

void HedgeRace::OnCancelled() {
  // TryCancel() holds the context's lock, and cancels the native attempt.
  cancelled_.store(true, std::memory_order_relaxed);
  loop_->Post([weak = weak_from_this()] {
    if (auto self = weak.lock()) self->EndParked();
  });
}

// The application has cancelled the call. While its own batches run, their end
// tells so. Otherwise the end of the hedges does; they are cancelled here.
void HedgeRace::EndParked() {
  std::vector<std::shared_ptr<core::RawCall>> running;
  {
    base::MutexLock lock(&mu_);
    if (ended_ || !parked_) return;
    machine_->OnCancelled(host_->MomentOfRace());
    for (const Hedge& hedge : hedges_) running.push_back(hedge.raw);
  }
  for (const auto& raw : running) raw->Cancel();
}

// --- What the machine said

void HedgeRace::Take(Action action, std::shared_ptr<core::RawCall> answer,
                     Todo* todo) {
  switch (action.kind) {
    case Action::Kind::kStartAttempt:
      if (!parked_) {
        SetTimer(action.timer);
        return StartHedge(action, todo);
      }
      break;  // On the application's own batches.
    case Action::Kind::kGoOn:
      SetTimer(action.timer);
      if (action.cancel_others) GiveUpHedges(todo);
      return;
    case Action::Kind::kFinish:
      End(todo);
      if (action.attempt == native_attempt_) {
        answer = nullptr;
      } else if (action.attempt == failed_attempt_) {
        answer = failed_;
      }
      if (parked_) break;
      winner_ = std::move(answer);
      return CancelNative(todo);
    case Action::Kind::kFail:
      End(todo);
      if (parked_) break;
      failure_ = action.status;
      return CancelNative(todo);
    case Action::Kind::kSetTimer:
    case Action::Kind::kWait:
      SetTimer(absl::InfiniteFuture());
      break;
  }
  // The native attempt is parked, so this thread goes on with it.
  parked_ = false;
  todo->host = host_;
  if (action.kind == Action::Kind::kFinish && answer != nullptr) {
    todo->answer = std::move(answer);
  } else {
    todo->act = std::move(action);
  }
}

void HedgeRace::StartHedge(const Action& action, Todo* todo) {
  // The context still exists, since its call has not ended.
  todo->start_attempt = action.attempt;
  todo->start = host_->MakeHedge(action, machine_->previous_attempts());
  hedges_.push_back(
      {action.attempt, action.endpoint, action.at, todo->start->raw});
}

void HedgeRace::CancelNative(Todo* todo) {
  todo->cancel = native_;
  if (native_ != nullptr) grpc_call_ref(native_);
}

void HedgeRace::End(Todo* todo) {
  ended_ = true;
  SetTimer(absl::InfiniteFuture());
  GiveUpHedges(todo);
}

void HedgeRace::GiveUpHedges(Todo* todo) {
  for (Hedge& hedge : hedges_) todo->give_up.push_back(std::move(hedge.raw));
  hedges_.clear();
}

void HedgeRace::SetTimer(absl::Time at) {
  if (at == timer_at_ && timer_ != 0) return;
  if (timer_ != 0) loop_->Cancel(timer_);
  timer_ = 0;
  timer_at_ = at;
  if (at == absl::InfiniteFuture() || !has_request_ || ended_) return;
  timer_ = loop_->RunAt(at, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->OnTimer();
  });
}

void HedgeRace::Do(Todo* todo) {
  for (const auto& raw : todo->give_up) raw->Cancel();
  if (todo->cancel != nullptr) {
    grpc_call_cancel(todo->cancel, nullptr);
    grpc_call_unref(todo->cancel);
  }
  if (todo->start.has_value()) {
    NewHedge& start = *todo->start;
    core::RawCall::Start(
        std::move(start.raw), start.metadata, start.metadata_flags,
        start.request,
        [self = shared_from_this(), attempt = todo->start_attempt] {
          self->OnHedgeDone(attempt);
        });
  }
  if (todo->host != nullptr) {
    todo->host->GoOn(std::move(todo->act), std::move(todo->answer));
  }
}

}  // namespace mesh::channel
