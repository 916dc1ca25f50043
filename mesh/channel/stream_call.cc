#include "mesh/channel/stream_call.h"

#include <utility>

#include "absl/base/optimization.h"
#include "mesh/channel/outcome.h"
#include "mesh/grpc/access.h"

namespace mesh::channel {

using grpc::experimental::InterceptionHookPoints;

StreamCall::~StreamCall() {
  Unlist();
  grpc_call* stream;
  {
    base::MutexLock lock(&mu_);
    stream = stream_;
  }
  if (stream != nullptr) grpc_call_unref(stream);
}

grpc_call* StreamCall::Begin() {
  const call::Moment moment = Now();
  const call::CallPlan plan = Plan(moment, /*unary=*/false);
  const options::MethodOptions& policy = *plan.policy;
  const bool retries = plan.replayable;
  const auto until = idempotent_ && policy.retry.max_attempts > 1
                         ? StreamRetry::Until::kCommitted
                         : StreamRetry::Until::kSent;
  // Where all methods may be executed twice, the machine retries whatever gRPC
  // itself would.
  exact_ = !snapshot_->policies.all_idempotent() || !retries ||
           until != StreamRetry::Until::kCommitted;
  MakeMachine(plan, moment);
  const Action action = machine_->Start(moment);
  if (action.kind == Action::Kind::kStartAttempt) {
    early_.Begin(NewAttempt(action.endpoint), /*waiting=*/false);
  } else {
    BeginWithout(action);
  }
  if (machine_->finished()) return early_.running();
  if (retries) {
    retry_.emplace(
        static_cast<StreamRetry::Host*>(this), context_, &runner_, &early_,
        StreamRetry::Traits{until,
                            type_ == grpc::internal::RpcMethod::BIDI_STREAMING,
                            policy.retry.stream_bytes},
        &service_->runtime().stream_bytes());
  }
  if (ABSL_PREDICT_FALSE(policy.idle_timeout != absl::InfiniteDuration())) {
    idle_timeout_ = policy.idle_timeout;
    active_ = absl::ToUnixNanos(moment.now);
  }
  listed_ = true;
  service_->streams().Add(this);
  if (idle_timeout_ != absl::InfiniteDuration()) {
    service_->streams().WatchIdle(this, moment.now + idle_timeout_);
  }
  return early_.running();
}

grpc_call* StreamCall::NewAttempt(cluster::LiveEndpoint* endpoint) {
  // An attempt may become the stream, so its deadline is the call's.
  grpc_call* const call = NewCall(endpoint, call_info_.deadline);
  grpc_call_ref(call);
  grpc_call* previous;
  {
    base::MutexLock lock(&mu_);
    previous = std::exchange(stream_, call);
    stream_on_ = endpoint;
    if (watches_idle()) active_ = absl::ToUnixNanos(clock_now());
  }
  if (previous != nullptr) grpc_call_unref(previous);
  return call;
}

// --- Batches on their way down

void StreamCall::StartBatch(Ops* ops) {
  if (retry_.has_value() && retry_->Perform(ops)) return;
  if (MayGoUnseen(ops)) return runner_.StartUnseen(ops, early_.running());
  runner_.Start(ops, early_.running());
}

// Whether there is nothing to see in a batch. Then it goes with no
// interception, at gRPC's own speed.
bool StreamCall::MayGoUnseen(Ops* ops) {
  if (early_.waiting() || runner_.application_interceptors() > 0 ||
      watches_idle()) {
    return false;
  }
  // Once per stream: the beginning of its answer is to be seen.
  if (!answered_.load(std::memory_order_relaxed) &&
      core::ReceivesHeaders(ops)) {
    return false;
  }
  if (statusless_.Includes(ops)) return true;
  KnowsItsType(ops);  // Says so if it was compiled without RTTI.
  return false;
}

void StreamCall::Intercept(Methods* methods) {
  if (methods->QueryInterceptionHookPoint(
          InterceptionHookPoints::PRE_SEND_CANCEL)) {
    return NoteCancelled();
  }
  if (runner_.Passes(methods)) return;
  if (core::IsUp(methods)) return OnUp(methods, /*restarted=*/false);
  OnDown(methods);
}

void StreamCall::InterceptRestarted(Methods* methods) {
  if (!runner_.Passes(methods)) OnUp(methods, /*restarted=*/true);
}

void StreamCall::OnDown(Methods* methods) {
  if (ABSL_PREDICT_FALSE(watches_idle())) NoteMessage(methods, /*up=*/false);
  if (retry_.has_value() && retry_->OnDown(methods)) return;
  if (!core::kCallHook || early_.born_waiting() || retry_.has_value()) {
    switch (early_.OnDown(methods)) {
      case EarlyBatches::Down::kGoOn:
        break;
      case EarlyBatches::Down::kHeldFirst: {
        const auto action = LogicalCall::LookForEndpoint();
        if (action.has_value()) Act(*action);
        return;
      }
      case EarlyBatches::Down::kHeld:
        return;
    }
  }
  if (!core::kCallHook && MayGoUnseen(core::OpsOf(methods))) {
    return core::StartUnseen(methods);
  }
  methods->Proceed();
}

void StreamCall::NoteMessage(Methods* methods, bool up) {
  if (up ? methods->QueryInterceptionHookPoint(
               InterceptionHookPoints::POST_RECV_MESSAGE) &&
               methods->GetRecvMessage() != nullptr
         : methods->QueryInterceptionHookPoint(
               InterceptionHookPoints::PRE_SEND_MESSAGE)) {
    active_.store(absl::ToUnixNanos(clock_now()), std::memory_order_relaxed);
  }
}

// --- Batches on their way up

void StreamCall::OnUp(Methods* methods, bool restarted) {
  if (ABSL_PREDICT_FALSE(watches_idle())) NoteMessage(methods, /*up=*/true);
  if (retry_.has_value() && retry_->OnUp(methods, restarted)) return;
  if (core::IsAt(methods, InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) {
    if (IsAnswer(methods)) OnAnswer();
    OnHeadersUp(methods);
  }
  if (core::IsAt(methods, InterceptionHookPoints::POST_RECV_STATUS)) {
    OnStatus(*methods->GetRecvStatus());
  }
  runner_.LetUpHere(methods, restarted);
}

bool StreamCall::IsAnswer(Methods* methods) const {
  return core::Succeeded(methods) && !core::TrailersOnly(early_.running());
}

// Tells a reactor about headers, if gRPC cannot. gRPC tells with `ok` whether
// there are headers. For that it asks the grpc_call that the call began on,
// which it holds by value. It does not know about an attempt that has run
// since.
void StreamCall::OnHeadersUp(Methods* methods) {
  if (early_.running() == early_.begun_on()) return;
  // The batches of a reactor come back under tags of their own.
  Ops* const ops = core::OpsOf(methods);
  if (ops->core_cq_tag() == ops) return;
  if (machine_->attempts() == 0 || core::TrailersOnly(early_.running())) {
    core::Succeeded(methods) = false;
  }
}

void StreamCall::OnAnswer() {
  if (answered_.exchange(true, std::memory_order_relaxed)) return;
  machine_->OnStreamAnswer();
}

// A stream that can't be tried again has its status. The machine learns from
// it.
void StreamCall::OnStatus(const grpc::Status& status) {
  if (machine_->finished()) return;
  HeedTrailers();
  call::AttemptOutcome outcome = Outcome(status, /*committed=*/true);
  outcome.committed = true;  // Also where it is OK.
  machine_->OnAttemptDone(machine_->attempts(), outcome, Now());
  TellParent();
  Unlist();
}

// --- What is to be done next

void StreamCall::Act(const Action& action) {
  if (retry_.has_value() && retry_->Act(action)) return;
  switch (action.kind) {
    case Action::Kind::kStartAttempt:
      return StartHeld(NewAttempt(action.endpoint));
    case Action::Kind::kSetTimer:
    case Action::Kind::kWait:
      return Park(action);
    case Action::Kind::kFail:
      TellParent();
      return StartHeld(NewFailedCall(action.status));
    case Action::Kind::kFinish:
    case Action::Kind::kGoOn:
      return;
  }
}

void StreamCall::EndParked() {
  if (retry_.has_value() && retry_->OnCancelled()) return;
  StartHeld(nullptr);
}

// --- For the retry

call::Action StreamCall::JudgeAttempt(const grpc::Status& status,
                                      bool can_replay) {
  HeedTrailers();
  call::AttemptOutcome outcome = Outcome(status, /*committed=*/true);
  outcome.committed = !can_replay || idle_.load(std::memory_order_relaxed);
  Action action = machine_->OnAttemptDone(machine_->attempts(), outcome, Now());
  if (action.kind == Action::Kind::kFinish && !status.ok()) TellStory();
  return action;
}

grpc_call* StreamCall::MakeAttempt(const Action& action) {
  return action.kind == Action::Kind::kStartAttempt
             ? NewAttempt(action.endpoint)
             : NewFailedCall(action.status);
}

bool StreamCall::BeginAttempt(grpc_call* next) {
  grpc_call* previous = nullptr;
  if (!Swap(next, &previous)) {
    grpc_call_unref(next);
    EndCancelled();
    return false;
  }
  ForgetReceived();
  SayPreviousAttempts(machine_->previous_attempts(),
                      &core::Access::SentMetadata(context_));
  ApplyCredentials(next);
  early_.RunOn(next);
  early_.EndWait();  // The retry has what was held.
  KeepFirst(previous);
  return true;
}

void StreamCall::StopWaiting() { early_.EndWait(); }

void StreamCall::OnNoAttempt(const absl::Status& status) {
  TellParent();
  SetDebugString(status);
}

void StreamCall::OnOver() { Unlist(); }

// From now on nothing is asked of this stream.
void StreamCall::Unlist() {
  if (!listed_.load(std::memory_order_relaxed)) return;
  if (listed_.exchange(false)) service_->streams().Remove(this);
}

// --- From the control thread

absl::Time StreamCall::CheckIdle(absl::Time now, grpc_call** idle) {
  base::MutexLock lock(&mu_);  // A new attempt is active under it.
  const absl::Time until =
      absl::FromUnixNanos(active_.load(std::memory_order_relaxed)) +
      idle_timeout_;
  if (now < until) return until;
  // A call that waits for an endpoint is not idle: nobody could send it
  // anything.
  if (stream_ == nullptr || IsParked()) return now + idle_timeout_;
  idle_.store(true, std::memory_order_relaxed);
  grpc_call_ref(stream_);
  *idle = stream_;
  return now + idle_timeout_;
}

grpc_call* StreamCall::RefIfOn(const cluster::LiveEndpoint* endpoint) {
  base::MutexLock lock(&mu_);
  if (stream_on_ != endpoint) return nullptr;
  grpc_call_ref(stream_);
  return stream_;
}

}  // namespace mesh::channel
