#include "mesh/channel/hedge.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "grpcpp/grpcpp.h"
#include "mesh/channel/call.h"

namespace mesh::channel {

using grpc::StatusCode;
using mesh::call::Action;

struct Hedging::Todo {
  struct Start {
    int attempt = 0;
    std::shared_ptr<core::RawCall> raw;
    std::multimap<std::string, std::string> metadata;
    uint32_t metadata_flags = 0;
    grpc::ByteBuffer request;
  };
  std::optional<Start> start;
  std::vector<std::shared_ptr<core::RawCall>> give_up;
  grpc_call* cancel = nullptr;  // The native attempt. Referenced.
  // To go on with the application's batches; `call` is null otherwise.
  Call* call = nullptr;
  std::optional<Action> act;              // If not: they are to be delivered,
  std::shared_ptr<core::RawCall> answer;  // with this answer, where not null.
};

Hedging::Hedging(Call* call)
    : loop_(&call->service_->runtime().loop()), call_(call) {}

Hedging::~Hedging() {
  if (native_ != nullptr) grpc_call_unref(native_);
}

// --- The native attempt

void Hedging::OnNativeStart(const Action& action, grpc_call* core) {
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

void Hedging::OnRequest() {
  base::MutexLock lock(&mu_);
  has_request_ = true;
  SetTimer(timer_at_);
}

void Hedging::OnNativeDone(grpc::Status* status) {
  Todo todo;
  grpc_call* ended;
  {
    base::MutexLock lock(&mu_);
    ended = std::exchange(native_, nullptr);
    // Also without a first attempt.
    if (ended_ || call_->machine_->finished()) {
      todo.call = call_;
      if (!failure_.ok()) {
        Action fail;
        fail.kind = Action::Kind::kFail;
        fail.status = failure_;
        todo.act = std::move(fail);
      } else if (!status->ok()) {
        todo.answer = winner_;
      }  // Else what the application has is as good.
    } else {
      parked_ = true;
      const mesh::call::Moment moment = call_->Now();
      call_->Heed(*core::Access::TrailingMetadata(call_->context_).arr(),
                  native_endpoint_);
      const mesh::call::AttemptOutcome outcome = call_->Outcome(*status);
      if (call_->cancelled_ && !hedges_.empty() && !status->ok()) {
        // The others are cancelled too, and so is the call.
        call_->machine_->OnCancelled(moment);
        *status = grpc::Status(StatusCode::CANCELLED, "CANCELLED");
      }
      Take(call_->machine_->OnAttemptDone(native_attempt_, outcome, moment),
           nullptr, &todo);
    }
  }
  if (ended != nullptr) grpc_call_unref(ended);
  Do(&todo);
}

void Hedging::OnNativeCancelled(const mesh::call::AttemptOutcome& outcome) {
  Todo todo;
  {
    base::MutexLock lock(&mu_);
    if (!ended_) {
      call_->machine_->OnAttemptDone(native_attempt_, outcome, call_->Now());
    }
    End(&todo);
  }
  Do(&todo);
}

bool Hedging::TryCommit() {
  Todo todo;
  {
    base::MutexLock lock(&mu_);
    if (winner_ != nullptr) return false;
    if (!ended_) {
      Take(call_->machine_->OnCommitted(native_attempt_, call_->Now()), nullptr,
           &todo);
    }
  }
  Do(&todo);
  return true;
}

std::shared_ptr<core::RawCall> Hedging::Winner() {
  base::MutexLock lock(&mu_);
  return winner_;
}

void Hedging::SayPreviousAttempts() {
  base::MutexLock lock(&mu_);
  call_->SayPreviousAttempts();
}

void Hedging::Detach() {
  Todo todo;
  {
    base::MutexLock lock(&mu_);
    End(&todo);
    call_ = nullptr;
  }
  Do(&todo);
}

// --- Hedges

void Hedging::OnTimer() {
  Todo todo;
  {
    base::MutexLock lock(&mu_);
    timer_ = 0;
    if (ended_ || timer_at_ == absl::InfiniteFuture()) return;
    std::optional<Action> action = call_->machine_->OnTimer(call_->Now());
    if (!action.has_value()) return;
    Take(*std::move(action), nullptr, &todo);
  }
  Do(&todo);
}

void Hedging::OnHedgeDone(int attempt) {
  Todo todo;
  {
    base::MutexLock lock(&mu_);
    const auto found = std::find_if(
        hedges_.begin(), hedges_.end(),
        [attempt](const Hedge& h) { return h.attempt == attempt; });
    if (found == hedges_.end()) return;  // Given up.
    const Hedge hedge = std::move(*found);
    hedges_.erase(found);
    const core::RawAnswer& answer = hedge.raw->answer();
    call_->Heed(answer.trailing_metadata, hedge.endpoint);
    if (!answer.status.ok()) {
      failed_attempt_ = attempt;
      failed_ = hedge.raw;
    }
    Take(call_->machine_->OnAttemptDone(
             attempt, call_->OutcomeOfHedge(answer, hedge.deadline),
             call_->Now()),
         hedge.raw, &todo);
  }
  Do(&todo);
}

void Hedging::OnCancelled() {
  // TryCancel() holds the context's lock, and cancels the native attempt.
  loop_->Post([weak = weak_from_this()] {
    if (auto self = weak.lock()) self->EndParked();
  });
}

// The application has cancelled the call. While its own batches run, their end
// tells of it. Otherwise that of the hedges, which are cancelled here.
void Hedging::EndParked() {
  std::vector<std::shared_ptr<core::RawCall>> running;
  {
    base::MutexLock lock(&mu_);
    if (ended_ || !parked_) return;
    call_->machine_->OnCancelled(call_->Now());
    for (const Hedge& hedge : hedges_) running.push_back(hedge.raw);
  }
  for (const auto& raw : running) raw->Cancel();
}

// --- What the machine said

void Hedging::Take(Action action, std::shared_ptr<core::RawCall> answer,
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
      todo->cancel = native_;
      if (native_ != nullptr) grpc_call_ref(native_);
      return;
    case Action::Kind::kFail:
      End(todo);
      if (parked_) break;
      failure_ = action.status;
      todo->cancel = native_;
      if (native_ != nullptr) grpc_call_ref(native_);
      return;
    case Action::Kind::kSetTimer:
    case Action::Kind::kWait:
      SetTimer(absl::InfiniteFuture());
      break;
  }
  // The native attempt is parked: who came here goes on with it.
  parked_ = false;
  todo->call = call_;
  if (action.kind == Action::Kind::kFinish && answer != nullptr) {
    todo->answer = std::move(answer);
  } else {
    todo->act = std::move(action);
  }
}

void Hedging::StartHedge(const Action& action, Todo* todo) {
  // The context is there: its call has not ended.
  todo->start = Todo::Start();
  Todo::Start& start = *todo->start;
  start.attempt = action.attempt;
  start.raw = std::make_shared<core::RawCall>(
      call_->NewHedge(action.endpoint, action.at));
  start.metadata = call_->HedgeMetadata();
  start.metadata_flags = core::Access::InitialMetadataFlags(call_->context_);
  start.request = call_->Request();
  hedges_.push_back({action.attempt, action.endpoint, action.at, start.raw});
}

void Hedging::End(Todo* todo) {
  ended_ = true;
  SetTimer(absl::InfiniteFuture());
  GiveUpHedges(todo);
}

void Hedging::GiveUpHedges(Todo* todo) {
  for (Hedge& hedge : hedges_) todo->give_up.push_back(std::move(hedge.raw));
  hedges_.clear();
}

void Hedging::SetTimer(absl::Time at) {
  if (at == timer_at_ && timer_ != 0) return;
  if (timer_ != 0) loop_->Cancel(timer_);
  timer_ = 0;
  timer_at_ = at;
  if (at == absl::InfiniteFuture() || !has_request_ || ended_) return;
  timer_ = loop_->RunAt(at, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->OnTimer();
  });
}

void Hedging::Do(Todo* todo) {
  for (const auto& raw : todo->give_up) raw->Cancel();
  if (todo->cancel != nullptr) {
    grpc_call_cancel(todo->cancel, nullptr);
    grpc_call_unref(todo->cancel);
  }
  if (todo->start.has_value()) {
    Todo::Start& start = *todo->start;
    core::RawCall::Start(std::move(start.raw), start.metadata,
                         start.metadata_flags, start.request,
                         [self = shared_from_this(), attempt = start.attempt] {
                           self->OnHedgeDone(attempt);
                         });
  }
  if (todo->call == nullptr) return;
  if (todo->act.has_value()) return todo->call->Act(*todo->act);
  if (todo->answer != nullptr) {
    return todo->call->AnswerWith(std::move(todo->answer));
  }
  if (!todo->call->FallBack()) todo->call->Deliver();
}

}  // namespace mesh::channel
