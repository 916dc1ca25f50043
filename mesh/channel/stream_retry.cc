#include "mesh/channel/stream_retry.h"

#include <memory>
#include <utility>

#include "absl/base/optimization.h"
#include "mesh/grpc/call_hook.h"
#include "mesh/grpc/failure.h"
#include "mesh/grpc/op_set.h"

namespace mesh::channel {
namespace {

using call::Action;
using grpc::experimental::InterceptionHookPoints;

// What a server takes before it reads: less than HTTP/2's first window. If more
// than that is sent again while nobody reads a bidi stream's answers, both
// sides may wait for each other.
constexpr uint64_t kTakenUnread = 60000;

}  // namespace

StreamRetry::StreamRetry(Host* host, grpc::ClientContext* context,
                         core::BatchRunner* runner, EarlyBatches* early,
                         const Traits& traits, base::ByteBudget* shared)
    : host_(host),
      context_(context),
      runner_(runner),
      early_(early),
      traits_(traits),
      phase_(early->waiting() ? Phase::kWaiting : Phase::kRunning),
      attempted_(!early->waiting()),
      sent_(traits.max_kept, shared) {}

// --- Batches on their way down

bool StreamRetry::Perform(Ops* ops) {
  if (!Admit(ops)) return false;
  grpc_call* const running = early_->RefRunning();
  runner_->Start(ops, running);
  grpc_call_unref(running);
  return true;
}

// Before a batch goes down. False: it does not concern this object.
bool StreamRetry::Admit(Ops* ops) {
  if (over_.load(std::memory_order_acquire) &&
      !special_.load(std::memory_order_relaxed)) {
    return false;
  }
  const bool typed = core::KnowsItsType(ops);
  if (ABSL_PREDICT_FALSE(!typed)) host_->OnUnknownType(ops);
  Steps steps;
  {
    base::MutexLock lock(&mu_);
    if (over_.load(std::memory_order_relaxed)) {
      if (!special_.load(std::memory_order_relaxed) || !typed) return false;
      // The status has been received already, and maybe the initial metadata:
      // the core does not give them twice. OnDown() sees to the latter.
      if (has_status_ && core::ReceivesStatus(ops)) {
        core::SkipReceiving(ops);
      } else if (!own_headers_ || !core::ReceivesHeaders(ops)) {
        return false;
      }
    } else if (!typed && !std::exchange(used_, true)) {
      // It can't be started again.
      over_.store(true, std::memory_order_release);
      return false;
    } else {
      used_ = true;
      if (!typed) {
        full_ = true;
        if (phase_ == Phase::kRunning) Commit(&steps);
      }
    }
  }
  if (!steps.empty()) Run(&steps);
  return true;
}

bool StreamRetry::OnDown(Methods* methods) {
  Ops* const ops = core::OpsOf(methods);
  if (!core::kCallHook && !Admit(ops)) return false;
  const bool typed = core::KnowsItsType(ops);
  Batch batch = DescribeBatch(methods, typed);
  Steps steps;
  bool look = false;
  {
    base::MutexLock lock(&mu_);
    if (over_.load(std::memory_order_relaxed)) {
      if (has_status_ && batch.status != nullptr) {
        *batch.status = status_;
        return false;
      }
      if (!used_ || !own_headers_ || !batch.headers) return false;
    }
    Keep(&batch, typed, &steps);
    batches_.Add(std::move(batch));
    switch (phase_) {
      case Phase::kReplaying:
      case Phase::kRunning:
        if (!starting_) StartHeld(&steps);
        break;
      case Phase::kEnded:
        Start(batches_.Find(ops), &steps);
        break;
      case Phase::kWaiting:
        look = !attempted_ && !std::exchange(engaged_, true);
        break;
      case Phase::kAsking:
      case Phase::kJudging:
        break;
    }
  }
  if (look) {
    const auto action = host_->LookForEndpoint();
    if (action.has_value()) Act(*action);
    return true;
  }
  Run(&steps);
  return true;
}

void StreamRetry::Keep(Batch* batch, bool typed, Steps* steps) {
  if (!typed) return;
  if (batch->status != nullptr) {
    batch->deserializer = core::KeepDeserializer(batch->ops);
  }
  if (!batch->send || committed_ || full_) return;
  auto* const op = core::SendMessageOf(batch->ops);
  if (op == nullptr) return;
  batch->owes_post_send = runner_->application_interceptors() > 0 &&
                          batch->methods->GetSendMessage() != nullptr;
  full_ = !sent_.Add(*batch->methods->GetSerializedSendMessage(),
                     core::WriteOptionsOf(op));
  if (full_ && phase_ == Phase::kRunning) Commit(steps);
}

// --- Batches on their way up

bool StreamRetry::OnUp(Methods* methods, bool restarted) {
  Steps steps;
  bool judge = false;
  bool starting;
  {
    base::MutexLock lock(&mu_);
    Batch* const batch = batches_.Find(core::OpsOf(methods));
    if (batch == nullptr) return false;
    batch->methods = methods;
    batch->restarted = restarted;
    if (starting_) {
      arrived_.push_back(batch->ops);
      return true;
    }
    judge = Arrived(batch, &steps);
    starting = starting_;
  }
  Run(&steps, methods);
  if (starting) {
    FinishStart();
    return true;
  }
  // If not, this object may be gone.
  if (judge) Judge();
  return true;
}

bool StreamRetry::Arrived(Batch* batch, Steps* steps) {
  --in_core_;
  return batch->errand == Errand::kNone ? CameUp(batch, steps)
                                        : CameBack(batch, steps);
}

// What came meanwhile from either side, once what was to be started has been
// started in its order. Nothing is let up before, which keeps the call alive.
void StreamRetry::FinishStart() {
  bool judge = false;
  for (bool starting = true; starting;) {
    Steps steps;
    {
      base::MutexLock lock(&mu_);
      StartHeld(&steps);
      starting_ = !steps.empty();
      while (!starting_ && !arrived_.empty()) {
        Ops* const ops = arrived_.front();
        arrived_.erase(arrived_.begin());
        judge = Arrived(batches_.Find(ops), &steps);
      }
      if (!starting_ && !judge) {
        MaybeOver();
        judge = Settle(&steps);
      }
      starting = starting_;
    }
    Run(&steps);
  }
  if (judge) Judge();
}

bool StreamRetry::CameUp(Batch* batch, Steps* steps) {
  batch->where = Where::kUp;
  batch->ok = core::Succeeded(batch->methods);
  if (batch->owes_post_headers && !batch->read && batch->status == nullptr) {
    batch->ok = own_headers_ok_;  // This takes its place.
  }
  if (IsAnswer(*batch)) host_->OnAnswer();
  if (committed_) {
    LetUp(batch, steps);
    return false;
  }
  const bool ok = batch->ok;
  if (batch->status != nullptr) {
    if (batch->status->ok()) {
      Commit(steps);
      return false;
    }
  } else if (batch->read) {
    if (batch->methods->GetRecvMessage() != nullptr) {
      Commit(steps);
      return false;
    }
  } else if (batch->headers) {
    const bool none = core::TrailersOnly(early_->running());
    bool commit = ok && !none;
    if (!ok && !none && batch->send) {
      // Headers may have come though the request could not be sent to its end.
      // Unless a message is waited for, none may be asked for while this batch
      // is held, and without that there is no status.
      commit = true;
      for (const Batch& other : batches_) commit = commit && !other.read;
    }
    if (commit) {
      Commit(steps);
      return false;
    }
  } else if (ok) {
    started_ |= batch->start;
    closed_ |= batch->close;
    if (batch->send) sent_.MarkDone();
    if (traits_.until == Until::kSent) {
      Commit(steps);
      return false;
    }
    LetUp(batch, steps);
    return Settle(steps);
  }
  failed_ = true;
  return Settle(steps);
}

bool StreamRetry::CameBack(Batch* batch, Steps* steps) {
  void* tag = nullptr;
  bool ok = core::Succeeded(batch->methods);
  const Errand errand = std::exchange(batch->errand, Errand::kNone);
  switch (errand) {
    case Errand::kNone:
      break;
    case Errand::kReplay:
      replay_ops_->FinalizeResult(&tag, &ok);
      if (replayed_ < sent_.done()) {
        Replay(batch, steps);
        return false;
      }
      phase_ = Phase::kRunning;
      starting_ = true;
      StartHeld(steps);
      return false;
    case Errand::kHeaders:
      header_ops_->FinalizeResult(&tag, &ok);
      own_headers_ok_ = ok;
      if (ok && !core::TrailersOnly(early_->running())) {
        host_->OnAnswer();
        Commit(steps);
      } else {
        Ask(batch, Errand::kStatus, steps);
      }
      return false;
    case Errand::kStatus:
      status_ops_->FinalizeResult(&tag, &ok);
      has_status_ = true;
      phase_ = Phase::kJudging;
      return true;
    case Errand::kOwnHeaders: {
      header_ops_->FinalizeResult(&tag, &ok);
      own_headers_ok_ = ok;
      Start(batch, steps);
      if (ok && !core::TrailersOnly(early_->running())) {
        host_->OnAnswer();
        Commit(steps);
      }
      MaybeOver();
      return false;
    }
  }
  return false;
}

// Whether a batch that has come up brings something that a server sent before
// the end.
bool StreamRetry::IsAnswer(const Batch& batch) const {
  if (batch.read && batch.methods->GetRecvMessage() != nullptr) return true;
  return batch.headers && batch.ok && !core::TrailersOnly(early_->running());
}

// Called once the attempt has failed, and nothing of it is left below. True:
// Judge() is to be called.
bool StreamRetry::Settle(Steps* steps) {
  if (phase_ != Phase::kRunning || !failed_ || committed_ || in_core_ > 0) {
    return false;
  }
  Batch* vehicle = nullptr;
  for (Batch& batch : batches_) {
    if (batch.status != nullptr) {
      phase_ = Phase::kJudging;
      return true;
    }
    if (vehicle == nullptr || !batch.read) vehicle = &batch;
  }
  phase_ = Phase::kAsking;
  Ask(vehicle, asked_headers_ ? Errand::kStatus : Errand::kHeaders, steps);
  return false;
}

void StreamRetry::Ask(Batch* batch, Errand errand, Steps* steps) {
  batch->errand = errand;
  ++in_core_;
  // A batch that comes up again has forgotten what it brought before.
  batch->owes_post_headers |= batch->headers;
  if (errand == Errand::kStatus) {
    status_ops_.emplace();
    status_ops_->ClientRecvStatus(context_, &status_);
    status_ops_->set_core_cq_tag(batch->ops->core_cq_tag());
  } else {
    asked_headers_ = true;
    own_headers_ = true;
    header_ops_.emplace();
    core::ReceiveHeaders(&*header_ops_, context_);
    header_ops_->set_core_cq_tag(batch->ops->core_cq_tag());
  }
  Step step{Step::kOwn, {}};
  step.batch.errand = errand;
  steps->push_back(std::move(step));
}

// --- Batches are started

// Starts on a new grpc_call what the application is still to be told of, under
// its own tags. The rest goes under the tag of one of those.
void StreamRetry::StartAll(Steps* steps) {
  const bool replay = MustReplay();
  phase_ = replay ? Phase::kReplaying : Phase::kRunning;
  Ops* const vehicle = replay ? batches_.Vehicle()->ops : nullptr;
  for (Batch& batch : batches_) {
    if (batch.where == Where::kUp) batch.where = Where::kPending;
  }
  for (Batch& batch : batches_) {
    if (batch.start) Start(&batch, steps);
  }
  if (vehicle != nullptr) Replay(batches_.Find(vehicle), steps);
  StartHeld(steps);
  if (full_) committed_ = true;
  MaybeOver();
}

void StreamRetry::StartHeld(Steps* steps) {
  for (const bool early : {true, false}) {
    for (Batch& batch : batches_) {
      if ((batch.where != Where::kDown && batch.where != Where::kPending) ||
          batch.errand != Errand::kNone ||
          (batch.start || batch.headers) != early ||
          (!asked_headers_ && batches_.WaitsForHeaders(batch))) {
        continue;
      }
      const bool sends = batch.start || batch.send || batch.close;
      if (phase_ != Phase::kReplaying || !sends) Start(&batch, steps);
    }
  }
}

bool StreamRetry::MustReplay() const {
  return started_ || closed_ || sent_.done() > 0;
}

bool StreamRetry::CanReplay() {
  if (full_) return false;
  if (!MustReplay()) return true;
  const Batch* const vehicle = batches_.Vehicle();
  if (vehicle == nullptr) return false;
  bool unread = false;  // Until all has been sent.
  for (const Batch& batch : batches_) {
    unread |= batch.read && (vehicle == &batch || vehicle->headers);
  }
  return !unread || sent_.bytes() <= kTakenUnread || !traits_.bidi;
}

void StreamRetry::Replay(Batch* vehicle, Steps* steps) {
  replay_ops_.emplace();
  if (replayed_ == 0 && started_) core::RearmStart(&*replay_ops_, context_);
  if (replayed_ < sent_.done()) {
    const SendBuffer::Message& message = sent_.messages()[replayed_++];
    core::SendBytes(&*replay_ops_, message.bytes, message.options);
  }
  if (closed_ && replayed_ == sent_.done()) replay_ops_->ClientSendClose();
  replay_ops_->set_core_cq_tag(vehicle->ops->core_cq_tag());
  vehicle->errand = Errand::kReplay;
  ++in_core_;
  Step step{Step::kOwn, {}};
  step.batch.errand = Errand::kReplay;
  steps->push_back(std::move(step));
}

void StreamRetry::Start(Batch* batch, Steps* steps) {
  if (batch->status != nullptr && batch->headers && !asked_headers_ &&
      !committed_) {
    // They are asked for apart, so that headers are known when they come.
    batch->disarmed = true;
    core::Disarm(batch->ops);
    batch->where = Where::kPending;
    Ask(batch, Errand::kOwnHeaders, steps);
    return;
  }
  const bool again = batch->where != Where::kDown || batch->disarmed ||
                     batch->filled != early_->running();
  if (batch->where != Where::kDown || batch->disarmed) {
    RearmBatch(batch, context_, sent_);
  }
  if (batch->headers && std::exchange(asked_headers_, true)) {
    core::SkipHeaders(batch->ops);
    batch->owes_post_headers = true;
  }
  batch->where = Where::kInCore;
  batch->disarmed = false;
  ++in_core_;
  Step step{again ? Step::kRestart : Step::kLetDown, {}};
  step.batch.ops = batch->ops;
  step.batch.methods = batch->methods;
  step.batch.filled = std::exchange(batch->filled, early_->running());
  steps->push_back(std::move(step));
}

// --- The end of it

void StreamRetry::Commit(Steps* steps) {
  committed_ = true;
  if (phase_ == Phase::kAsking) phase_ = Phase::kRunning;
  // The status goes last: with it the call may end.
  for (const bool status : {false, true}) {
    for (size_t i = 0; i < batches_.size();) {
      Batch& batch = batches_[i];
      if (batch.where == Where::kUp && batch.errand == Errand::kNone &&
          (batch.status != nullptr) == status) {
        LetUp(&batch, steps);
      } else {
        ++i;
      }
    }
  }
  if (phase_ == Phase::kRunning && !starting_) StartHeld(steps);
  MaybeOver();
}

void StreamRetry::MaybeOver() {
  if (!committed_ || phase_ != Phase::kRunning || starting_) return;
  for (const Batch& batch : batches_) {
    if (batch.errand != Errand::kNone) return;
  }
  sent_.Clear();
  special_.store(own_headers_, std::memory_order_relaxed);
  over_.store(true, std::memory_order_release);
}

void StreamRetry::LetUp(Batch* batch, Steps* steps) {
  steps->push_back({Step::kLetUp, std::move(*batch)});
  batches_.Erase(batch);
}

void StreamRetry::Judge() {
  grpc::Status status;
  bool can_replay;
  {
    base::MutexLock lock(&mu_);
    status = status_;
    for (const Batch& batch : batches_) {
      if (batch.status != nullptr && batch.where == Where::kUp) {
        status = *batch.status;
      }
    }
    can_replay = CanReplay();
  }
  Act(host_->JudgeAttempt(status, can_replay));
}

bool StreamRetry::Act(const Action& action) {
  if (over_.load(std::memory_order_acquire)) return false;
  switch (action.kind) {
    case Action::Kind::kStartAttempt:
      NextAttempt(host_->MakeAttempt(action));
      return true;
    case Action::Kind::kSetTimer:
    case Action::Kind::kWait: {
      {
        base::MutexLock lock(&mu_);
        phase_ = Phase::kWaiting;
      }
      host_->Park(action);
      return true;
    }
    case Action::Kind::kFail: {
      bool attempted;
      {
        base::MutexLock lock(&mu_);
        attempted = attempted_;
        if (!attempted_) committed_ = true;
      }
      if (!attempted) {
        NextAttempt(host_->MakeAttempt(action));
        return true;
      }
      const grpc::Status status = core::ToGrpc(action.status);
      host_->OnNoAttempt(action.status);
      End(&status);
      return true;
    }
    case Action::Kind::kFinish:
      End(nullptr);
      return true;
    case Action::Kind::kGoOn:
      return true;
  }
  return true;
}

bool StreamRetry::OnCancelled() {
  if (over_.load(std::memory_order_acquire)) return false;
  GiveUp();
  return true;
}

// The call was cancelled between two attempts, or before the first.
void StreamRetry::GiveUp() {
  host_->StopWaiting();
  Steps steps;
  {
    base::MutexLock lock(&mu_);
    if (!attempted_) {
      // The placeholder is cancelled; all that is to be started on it fails.
      committed_ = true;
      StartAll(&steps);
    }
  }
  if (!steps.empty()) return Run(&steps);
  const grpc::Status cancelled(grpc::StatusCode::CANCELLED, "CANCELLED");
  End(&cancelled);
}

void StreamRetry::NextAttempt(grpc_call* next) {
  // From here on batches go down on `next`. They are held until below.
  if (!host_->BeginAttempt(next)) return GiveUp();
  Steps steps;
  {
    base::MutexLock lock(&mu_);
    attempted_ = true;
    failed_ = false;
    asked_headers_ = false;
    own_headers_ = false;
    has_status_ = false;
    replayed_ = 0;
    starting_ = true;
    StartAll(&steps);
  }
  Run(&steps);
  FinishStart();
}

// The call has its status: the given one, or that of the last attempt.
void StreamRetry::End(const grpc::Status* status) {
  Steps steps;
  {
    base::MutexLock lock(&mu_);
    phase_ = Phase::kEnded;
    committed_ = true;
    if (status != nullptr) status_ = *status;
    has_status_ = true;
    for (size_t i = 0; i < batches_.size();) {
      Batch& batch = batches_[i];
      if (batch.status != nullptr) {
        ++i;
      } else if (batch.where == Where::kUp) {
        LetUp(&batch, &steps);
      } else {
        if (batch.where == Where::kDown) Start(&batch, &steps);
        ++i;
      }
    }
    for (size_t i = 0; i < batches_.size(); ++i) {
      Batch& batch = batches_[i];
      if (batch.status == nullptr) continue;
      if (batch.where == Where::kUp) {
        if (status != nullptr) *batch.status = *status;
        LetUp(&batch, &steps);
        break;
      }
      // The core gives it only once, and has given it.
      core::SkipReceiving(batch.ops);
      *batch.status = status_;
      steps.push_back({Step::kLetDown, std::move(batch)});
      batches_.Erase(&batch);
      break;
    }
    sent_.Clear();
    special_.store(true, std::memory_order_relaxed);
    over_.store(true, std::memory_order_release);
  }
  host_->OnOver();
  Run(&steps);
}

// --- Small parts

void StreamRetry::Run(Steps* steps, Methods* here) {
  for (Step& step : *steps) {
    Batch& batch = step.batch;
    switch (step.kind) {
      case Step::kLetDown:
        batch.methods->Proceed();
        break;
      case Step::kLetUp:
        LetUpNow(&batch, batch.methods == here);
        break;
      case Step::kRestart:
        runner_->Restart(batch.ops, early_->running(), batch.filled);
        break;
      case Step::kOwn:
        RunOwn(batch.errand);
        break;
    }
  }
}

void StreamRetry::LetUpNow(Batch* batch, bool here) {
  if (batch->status != nullptr) host_->OnStatus(*batch->status);
  // What became of errands under its tag is left in it.
  core::Succeeded(batch->methods) = batch->ok;
  if (batch->headers) host_->OnHeadersUp(batch->methods);
  if (batch->owes_post_send) {
    core::Impl(batch->methods)
        ->AddInterceptionHookPoint(InterceptionHookPoints::POST_SEND_MESSAGE);
  }
  if (batch->owes_post_headers) {
    core::Impl(batch->methods)
        ->AddInterceptionHookPoint(
            InterceptionHookPoints::POST_RECV_INITIAL_METADATA);
    core::Impl(batch->methods)
        ->SetRecvInitialMetadata(&core::Access::InitialMetadata(context_));
  }
  if (here) return runner_->LetUpHere(batch->methods, batch->restarted);
  runner_->LetUp(batch->methods, batch->restarted);
}

void StreamRetry::RunOwn(Errand errand) {
  grpc_call* const running = early_->running();
  if (errand == Errand::kReplay) {
    runner_->StartUnseen(&*replay_ops_, running);
  } else if (errand == Errand::kStatus) {
    runner_->StartUnseen(&*status_ops_, running);
  } else {
    runner_->StartUnseen(&*header_ops_, running);
  }
}

}  // namespace mesh::channel
