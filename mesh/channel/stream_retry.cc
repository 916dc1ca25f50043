#include "mesh/channel/stream_retry.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/base/clock.h"
#include "mesh/channel/call.h"
#include "mesh/channel/channel.h"
#include "mesh/grpc/op_set.h"

namespace mesh::channel {
namespace {

using call::Action;
using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;
using grpc::internal::CallOpClientRecvStatus;
using grpc::internal::CallOpClientSendClose;
using grpc::internal::CallOpGenericRecvMessage;
using grpc::internal::CallOpRecvInitialMetadata;
using grpc::internal::CallOpSendInitialMetadata;
using grpc::internal::CallOpSendMessage;
using grpc::internal::CallOpSetInterface;
using grpc::internal::InterceptorBatchMethodsImpl;

// What a server takes before it reads: less than HTTP/2's first window. When
// nobody reads a bidi stream's answers while more than that is sent again, both
// sides may wait for each other.
constexpr uint64_t kTakenUnread = 60000;

}  // namespace

StreamRetry::StreamRetry(Call* call, Until until, uint64_t limit,
                         base::ByteBudget* shared, bool waiting)
    : call_(call),
      until_(until),
      phase_(waiting ? Phase::kWaiting : Phase::kRunning),
      attempted_(!waiting),
      sent_(limit, shared) {}

// --- Batches on their way down

bool StreamRetry::Perform(Ops* ops) {
  if (over_.load(std::memory_order_acquire) &&
      !special_.load(std::memory_order_relaxed)) {
    return false;
  }
  const bool typed = call_->KnowsItsType(ops);
  grpc_call* running;
  Steps steps;
  {
    base::MutexLock lock(&mu_);
    if (over_.load(std::memory_order_relaxed)) {
      if (!special_.load(std::memory_order_relaxed) || !typed) return false;
      // The status has been received already, and maybe the initial metadata:
      // the core does not give them twice. OnDown() sees to the latter.
      if (has_status_ &&
          dynamic_cast<CallOpClientRecvStatus*>(ops) != nullptr) {
        ops->SetHijackingState();
        if (auto* op = dynamic_cast<CallOpGenericRecvMessage*>(ops)) {
          op->got_message = false;
        }
      } else if (!own_headers_ ||
                 dynamic_cast<CallOpRecvInitialMetadata*>(ops) == nullptr) {
        return false;
      }
      running = call_->running_;
      grpc_call_ref(running);
    } else if (!typed && !std::exchange(used_, true)) {
      // Of a stub that was compiled without RTTI: it can't be started again.
      over_.store(true, std::memory_order_release);
      return false;
    } else {
      used_ = true;
      if (!typed) {
        full_ = true;
        if (phase_ == Phase::kRunning) Commit(&steps);
      }
      running = call_->running_;
      grpc_call_ref(running);  // Another attempt may take its place.
    }
  }
  if (!steps.empty()) Run(&steps);
  grpc::internal::Call full(running, call_, call_->queue_, call_->info_);
  ops->FillOps(&full);
  grpc_call_unref(running);
  return true;
}

bool StreamRetry::OnDown(Methods* methods) {
  Batch batch;
  batch.methods = methods;
  batch.ops = core::OpsOf(methods);
  batch.filled = (core::Impl(methods)->*core::CallMember())->call();
  batch.status = methods->GetRecvStatus();
  Steps steps;
  bool look = false;
  {
    base::MutexLock lock(&mu_);
    if (call_->KnowsItsType(batch.ops)) {
      if (auto* op = dynamic_cast<CallOpRecvInitialMetadata*>(batch.ops)) {
        batch.headers = op->*core::MetadataMember() != nullptr;
      }
    }
    if (over_.load(std::memory_order_relaxed)) {
      if (has_status_ && batch.status != nullptr) {
        *batch.status = status_;
        return false;
      }
      if (!used_ || (batch.filled == call_->running_ &&
                     !(own_headers_ && batch.headers))) {
        return false;
      }
    }
    batch.start = methods->QueryInterceptionHookPoint(
        InterceptionHookPoints::PRE_SEND_INITIAL_METADATA);
    batch.send = methods->QueryInterceptionHookPoint(
        InterceptionHookPoints::PRE_SEND_MESSAGE);
    batch.close = methods->QueryInterceptionHookPoint(
        InterceptionHookPoints::PRE_SEND_CLOSE);
    batch.read = methods->GetRecvMessage() != nullptr &&
                 batch.status == nullptr && !batch.send;
    if (call_->KnowsItsType(batch.ops)) {
      if (batch.status != nullptr) {
        if (auto* op = dynamic_cast<CallOpGenericRecvMessage*>(batch.ops)) {
          core::Deserializer& deserializer = op->*core::DeserializerMember();
          batch.deserializer = std::move(deserializer);
          deserializer =
              std::make_unique<core::Borrowed>(batch.deserializer.get());
        }
      }
      auto* const op = dynamic_cast<CallOpSendMessage*>(batch.ops);
      if (batch.send && op != nullptr && !committed_ && !full_) {
        batch.owes_post_send =
            call_->channel_->application_interceptors() > 0 &&
            methods->GetSendMessage() != nullptr;
        full_ = !sent_.Add(*methods->GetSerializedSendMessage(),
                           op->*core::WriteOptionsMember());
        if (full_ && phase_ == Phase::kRunning) Commit(&steps);
      }
    }
    batch.where = Where::kDown;
    batches_.push_back(std::move(batch));
    switch (phase_) {
      case Phase::kReplaying:
      case Phase::kRunning:
        if (!starting_) StartHeld(&steps);
        break;
      case Phase::kEnded:
        Start(&batches_.back(), &steps);
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
    auto action = call_->machine_->OnEndpointsChanged(call_->Now());
    // Not for endpoints, then, but for a time.
    if (!action.has_value()) action = call_->machine_->OnTimer(call_->Now());
    if (action.has_value()) call_->Act(*action);
    return true;
  }
  Run(&steps);
  return true;
}

// --- Batches on their way up

bool StreamRetry::IsUp(Methods* methods) {
  return core::Impl(methods)->*core::ReverseMember();
}

bool StreamRetry::OnUp(Methods* methods, bool restarted) {
  Steps steps;
  bool judge = false;
  bool starting;
  {
    base::MutexLock lock(&mu_);
    Batch* const batch = Find(core::OpsOf(methods));
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
  Run(&steps);
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

// Once what was to be started has been, in its order: what came meanwhile from
// either side. That nothing is let up before keeps the call alive.
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
        judge = Arrived(Find(ops), &steps);
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
    batch->ok = own_headers_ok_;  // In its place.
  }
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
    const bool none = core::TrailersOnly(call_->running_);
    bool commit = ok && !none;
    if (!ok && !none && batch->send) {
      // Headers may have come though the request could not be sent to its end.
      // Unless a message is waited for, none may be asked for as long as this
      // batch is held, and without that there is no status.
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
    if (until_ == Until::kSent) {
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
      if (ok && !core::TrailersOnly(call_->running_)) {
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
      if (ok && !core::TrailersOnly(call_->running_)) Commit(steps);
      MaybeOver();
      return false;
    }
  }
  return false;
}

// Once the attempt has failed, and nothing of it is left below. True: Judge()
// is to be called.
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
    status_ops_->ClientRecvStatus(call_->context_, &status_);
    status_ops_->set_core_cq_tag(batch->ops->core_cq_tag());
  } else {
    asked_headers_ = true;
    own_headers_ = true;
    header_ops_.emplace();
    static_cast<CallOpRecvInitialMetadata&>(*header_ops_).*
        core::MetadataMember() =
        &core::Access::InitialMetadata(call_->context_);
    header_ops_->set_core_cq_tag(batch->ops->core_cq_tag());
  }
  Step step{Step::kOwn, {}};
  step.batch.errand = errand;
  steps->push_back(std::move(step));
}

// --- Batches are started

// On a new grpc_call: what the application is still to be told of under its own
// tags, the rest under the tag of one of those.
void StreamRetry::StartAll(Steps* steps) {
  const bool replay = MustReplay();
  phase_ = replay ? Phase::kReplaying : Phase::kRunning;
  Ops* const vehicle = replay ? Vehicle()->ops : nullptr;
  for (Batch& batch : batches_) {
    if (batch.where == Where::kUp) batch.where = Where::kPending;
  }
  for (Batch& batch : batches_) {
    if (batch.start) Start(&batch, steps);
  }
  if (vehicle != nullptr) Replay(Find(vehicle), steps);
  StartHeld(steps);
  if (full_) committed_ = true;
  MaybeOver();
}

void StreamRetry::StartHeld(Steps* steps) {
  for (const bool early : {true, false}) {
    for (Batch& batch : batches_) {
      if ((batch.where != Where::kDown && batch.where != Where::kPending) ||
          batch.errand != Errand::kNone ||
          (batch.start || batch.headers) != early || WaitsForHeaders(batch)) {
        continue;
      }
      const bool sends = batch.start || batch.send || batch.close;
      if (phase_ != Phase::kReplaying || !sends) Start(&batch, steps);
    }
  }
}

// A message may not come before response headers have been asked for: the core
// would not know how it is compressed.
bool StreamRetry::WaitsForHeaders(const Batch& batch) const {
  if (!batch.read || batch.headers || asked_headers_) return false;
  for (const Batch& other : batches_) {
    if (other.headers) return true;
  }
  return false;
}

bool StreamRetry::MustReplay() const {
  return started_ || closed_ || sent_.done() > 0;
}

// The batch under whose tag is sent again what had been sent: it starts only
// after that. Better not one that receives messages.
StreamRetry::Batch* StreamRetry::Vehicle() {
  Batch* best = nullptr;
  int best_rank = 0;
  for (Batch& batch : batches_) {
    if (batch.where != Where::kUp || batch.start) continue;
    const int rank = batch.read                ? 1
                     : batch.headers           ? 2
                     : batch.status != nullptr ? 3
                                               : 4;
    if (rank > best_rank) {
      best = &batch;
      best_rank = rank;
    }
  }
  return best;
}

bool StreamRetry::CanReplay() {
  if (full_) return false;
  if (!MustReplay()) return true;
  const Batch* const vehicle = Vehicle();
  if (vehicle == nullptr) return false;
  bool unread = false;  // Until all has been sent.
  for (const Batch& batch : batches_) {
    unread |= batch.read && (vehicle == &batch || vehicle->headers);
  }
  return !unread || sent_.bytes() <= kTakenUnread ||
         call_->type_ != grpc::internal::RpcMethod::BIDI_STREAMING;
}

void StreamRetry::Replay(Batch* vehicle, Steps* steps) {
  replay_ops_.emplace();
  if (replayed_ == 0 && started_) {
    replay_ops_->SendInitialMetadata(
        &core::Access::SentMetadata(call_->context_),
        core::Access::InitialMetadataFlags(call_->context_));
  }
  if (replayed_ < sent_.done()) {
    const SendBuffer::Message& message = sent_.messages()[replayed_++];
    // A ByteBuffer is its own serialization: this cannot fail.
    const grpc::Status ignored =
        replay_ops_->SendMessage(message.bytes, message.options);
    (void)ignored;
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
    // Asked for apart, so that headers are known when they come.
    Disarm(batch);
    batch->where = Where::kPending;
    Ask(batch, Errand::kOwnHeaders, steps);
    return;
  }
  const bool again = batch->where != Where::kDown || batch->disarmed ||
                     batch->filled != call_->running_;
  if (batch->where != Where::kDown || batch->disarmed) Rearm(batch);
  if (batch->headers && std::exchange(asked_headers_, true)) {
    auto* const op = dynamic_cast<CallOpRecvInitialMetadata*>(batch->ops);
    op->*core::MetadataMember() = nullptr;
    batch->owes_post_headers = true;
  }
  batch->where = Where::kInCore;
  batch->disarmed = false;
  ++in_core_;
  Step step{again ? Step::kRestart : Step::kLetDown, {}};
  step.batch.ops = batch->ops;
  step.batch.methods = batch->methods;
  step.batch.filled = std::exchange(batch->filled, call_->running_);
  steps->push_back(std::move(step));
}

void StreamRetry::Rearm(Batch* batch) {
  grpc::ClientContext* const context = call_->context_;
  // A CallOpRecvMessage stays armed, whatever its type is.
  if (batch->start) {
    dynamic_cast<CallOpSendInitialMetadata*>(batch->ops)
        ->SendInitialMetadata(&core::Access::SentMetadata(context),
                              core::Access::InitialMetadataFlags(context));
  }
  if (batch->send) {
    auto* const op = dynamic_cast<CallOpSendMessage*>(batch->ops);
    *op = CallOpSendMessage();  // It remembers that it failed.
    const SendBuffer::Message& message = sent_.messages().back();
    const grpc::Status ignored =
        op->SendMessage(message.bytes, message.options);
    (void)ignored;
  }
  if (batch->close) {
    dynamic_cast<CallOpClientSendClose*>(batch->ops)->ClientSendClose();
  }
  if (batch->headers) {
    auto* const op = dynamic_cast<CallOpRecvInitialMetadata*>(batch->ops);
    op->*core::MetadataMember() = &core::Access::InitialMetadata(context);
    batch->owes_post_headers = false;
  }
  if (batch->deserializer != nullptr) {
    dynamic_cast<CallOpGenericRecvMessage*>(batch->ops)
            ->*core::DeserializerMember() =
        std::make_unique<core::Borrowed>(batch->deserializer.get());
  }
  if (batch->status != nullptr) {
    auto* const op = dynamic_cast<CallOpClientRecvStatus*>(batch->ops);
    new (op) CallOpClientRecvStatus();  // It keeps the old debug string.
    op->ClientRecvStatus(context, batch->status);
  }
}

// Makes a batch that has not been started one that does nothing, so that
// another can come back under its tag.
void StreamRetry::Disarm(Batch* batch) {
  batch->disarmed = true;
  if (auto* op = dynamic_cast<CallOpRecvInitialMetadata*>(batch->ops)) {
    op->*core::MetadataMember() = nullptr;
  }
  if (auto* op = dynamic_cast<CallOpGenericRecvMessage*>(batch->ops)) {
    (op->*core::DeserializerMember()).reset();
  }
  if (auto* op = dynamic_cast<CallOpClientRecvStatus*>(batch->ops)) {
    new (op) CallOpClientRecvStatus();
  }
}

// --- The end of it

void StreamRetry::Commit(Steps* steps) {
  committed_ = true;
  if (phase_ == Phase::kAsking) phase_ = Phase::kRunning;
  // The status last: with it the call may end.
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
  Erase(batch);
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
  call_->HeedTrailers();
  mesh::call::AttemptOutcome outcome = call_->Outcome(status);
  outcome.committed =
      !can_replay || call_->idle_.load(std::memory_order_relaxed);
  const Action action = call_->machine_->OnAttemptDone(
      call_->machine_->attempts(), outcome, call_->Now());
  if (action.kind == Action::Kind::kFinish && !status.ok()) {
    call_->TellStory();
  }
  call_->Act(action);
}

bool StreamRetry::Act(const Action& action) {
  if (over_.load(std::memory_order_acquire)) return false;
  switch (action.kind) {
    case Action::Kind::kStartAttempt:
      NextAttempt(call_->NewCall(action.endpoint, action.at));
      return true;
    case Action::Kind::kSetTimer:
    case Action::Kind::kWait: {
      {
        base::MutexLock lock(&mu_);
        phase_ = Phase::kWaiting;
      }
      call_->Park(action);
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
        NextAttempt(call_->NewFailedCall(action.status));
        return true;
      }
      const grpc::Status status(
          static_cast<grpc::StatusCode>(action.status.code()),
          std::string(action.status.message()));
      call_->TellParent();
      core::Access::SetDebugString(
          call_->context_, absl::StrCat("mesh: ", action.status.message()));
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

// Cancelled between two attempts, or before the first.
void StreamRetry::GiveUp() {
  Steps steps;
  {
    base::MutexLock lock(&mu_);
    call_->StopWaiting();
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
  grpc_call* previous = nullptr;
  if (!call_->Swap(next, &previous)) {
    grpc_call_unref(next);
    call_->EndCancelled();
    return GiveUp();
  }
  call_->PrepareNext();
  call_->ApplyCredentials(next);
  Steps steps;
  {
    base::MutexLock lock(&mu_);
    // Batches hold references of their own to the call that they were started
    // on. The first call of all is kept: it may own their memory.
    call_->running_ = next;
    if (call_->first_ == nullptr) {
      call_->first_ = std::exchange(previous, nullptr);
    }
    attempted_ = true;
    failed_ = false;
    asked_headers_ = false;
    own_headers_ = false;
    has_status_ = false;
    replayed_ = 0;
    call_->StopWaiting();
    starting_ = true;
    StartAll(&steps);
  }
  if (previous != nullptr) grpc_call_unref(previous);
  Run(&steps);
  FinishStart();
}

// The call has its status: the one given, or that of the last attempt.
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
      batch.ops->SetHijackingState();
      if (auto* op = dynamic_cast<CallOpGenericRecvMessage*>(batch.ops)) {
        op->got_message = false;
      }
      *batch.status = status_;
      steps.push_back({Step::kLetDown, std::move(batch)});
      Erase(&batch);
      break;
    }
    sent_.Clear();
    special_.store(true, std::memory_order_relaxed);
    over_.store(true, std::memory_order_release);
  }
  call_->service_->streams().Remove(call_);
  Run(&steps);
}

// --- Small parts

void StreamRetry::Run(Steps* steps) {
  for (Step& step : *steps) {
    Batch& batch = step.batch;
    switch (step.kind) {
      case Step::kLetDown:
        batch.methods->Proceed();
        break;
      case Step::kLetUp:
        if (batch.status != nullptr) call_->EndStream(*batch.status);
        // Errands under its tag have left what became of them.
        core::Succeeded(batch.methods) = batch.ok;
        if (batch.owes_post_send) {
          core::Impl(batch.methods)
              ->AddInterceptionHookPoint(
                  InterceptionHookPoints::POST_SEND_MESSAGE);
        }
        if (batch.owes_post_headers) {
          core::Impl(batch.methods)
              ->AddInterceptionHookPoint(
                  InterceptionHookPoints::POST_RECV_INITIAL_METADATA);
          core::Impl(batch.methods)
              ->SetRecvInitialMetadata(
                  &core::Access::InitialMetadata(call_->context_));
        }
        call_->Proceed(batch.methods, batch.restarted);
        break;
      case Step::kRestart:
        call_->Restart(batch.ops, batch.filled);
        break;
      case Step::kOwn: {
        grpc::internal::Call plain(call_->running_, call_, call_->queue_);
        if (batch.errand == Errand::kReplay) {
          replay_ops_->FillOps(&plain);
        } else if (batch.errand == Errand::kStatus) {
          status_ops_->FillOps(&plain);
        } else {
          header_ops_->FillOps(&plain);
        }
        break;
      }
    }
  }
}

StreamRetry::Batch* StreamRetry::Find(const Ops* ops) {
  for (Batch& batch : batches_) {
    if (batch.ops == ops) return &batch;
  }
  return nullptr;
}

void StreamRetry::Erase(Batch* batch) {
  batches_.erase(batches_.begin() + (batch - batches_.data()));
}

}  // namespace mesh::channel
