#include "mesh/channel/unary_call.h"

#include <utility>

#include "absl/base/optimization.h"
#include "mesh/channel/fallback.h"
#include "mesh/channel/outcome.h"
#include "mesh/grpc/access.h"
#include "mesh/grpc/failure.h"
#include "mesh/grpc/op_set.h"

namespace mesh::channel {

using grpc::experimental::InterceptionHookPoints;

UnaryCall::~UnaryCall() {
  if (race_ != nullptr) race_->Detach();
}

grpc_call* UnaryCall::Begin() {
  const call::Moment moment = Now();
  const call::CallPlan plan = Plan(moment, /*unary=*/true);
  // Where all methods may be executed twice, the machine retries whatever gRPC
  // itself would.
  exact_ = !snapshot_->policies.all_idempotent();
  MakeMachine(plan, moment);
  if (ABSL_PREDICT_FALSE(plan.policy->hedging.mode ==
                         options::Mode::kEnforce) &&
      idempotent_) {
    race_ =
        std::make_shared<HedgeRace>(static_cast<HedgeRace::Host*>(this),
                                    &*machine_, &service_->runtime().loop());
  }
  const Action action = machine_->Start(moment);
  if (action.kind != Action::Kind::kStartAttempt) return BeginWithout(action);
  grpc_call* const first = NewCall(action.endpoint, action.at);
  if (race_ != nullptr) race_->OnNativeStart(action, first);
  early_.Begin(first, /*waiting=*/false);
  return first;
}

// --- Batches on their way down

void UnaryCall::StartBatch(Ops* ops) {
  NoteBatch(ops);
  runner_.Start(ops, early_.running());
}

void UnaryCall::NoteBatch(Ops* ops) {
  Batches& batches = all_held();  // Only this thread writes the count.
  if (batches.count == 0) {
    batches.of[0].ops = ops;
    batches.count = 1;
    return;
  }
  if (KnowsItsType(ops)) {
    core::Deserializer kept = core::KeepDeserializer(ops);
    if (kept != nullptr) deserializer_ = std::move(kept);
  }
  // The first one may be on its way up.
  base::MutexLock lock(&mu_);
  batches_.of[1].ops = ops;
  batches_.count = 2;
}

void UnaryCall::Intercept(Methods* methods) {
  if (methods->QueryInterceptionHookPoint(
          InterceptionHookPoints::PRE_SEND_CANCEL)) {
    return NoteCancelled();
  }
  if (runner_.Passes(methods)) return;
  if (core::IsUp(methods)) return OnUp(methods, /*restarted=*/false);
  OnDown(methods);
}

void UnaryCall::InterceptRestarted(Methods* methods) {
  if (!runner_.Passes(methods)) OnUp(methods, /*restarted=*/true);
}

void UnaryCall::OnDown(Methods* methods) {
  if constexpr (!core::kCallHook) NoteBatch(core::OpsOf(methods));
  if (!has_request_ &&
      core::IsAt(methods, InterceptionHookPoints::PRE_SEND_MESSAGE)) {
    TakeRequest(methods);
  }
  if (!core::kCallHook || early_.born_waiting()) {
    switch (early_.OnDown(methods)) {
      case EarlyBatches::Down::kGoOn:
        break;
      case EarlyBatches::Down::kHeldFirst: {
        const auto action = LookForEndpoint();
        if (action.has_value()) Act(*action);
        return;
      }
      case EarlyBatches::Down::kHeld:
        return;
    }
  }
  methods->Proceed();
}

void UnaryCall::TakeRequest(Methods* methods) {
  owes_post_send_message_ = runner_.application_interceptors() > 0 &&
                            methods->GetSendMessage() != nullptr;
  // A reference to the serialized request, not a copy.
  const grpc::ByteBuffer& request = *methods->GetSerializedSendMessage();
  if (!request.TrySingleSlice(&request_slice_.emplace()).ok()) {
    request_ = request;
  }
  has_request_ = true;
  // Only batches whose type is known can be armed again.
  const Batches& batches = all_held();
  if (race_ != nullptr && KnowsItsType(batches.of[0].ops) &&
      (batches.count < 2 || KnowsItsType(batches.of[1].ops))) {
    race_->OnRequest();
  }
}

grpc::ByteBuffer UnaryCall::Request() const {
  return request_.Valid() ? request_ : grpc::ByteBuffer(&*request_slice_, 1);
}

// --- Batches on their way up

void UnaryCall::OnUp(Methods* methods, bool restarted) {
  if (core::IsAt(methods, InterceptionHookPoints::POST_RECV_STATUS)) {
    return OnStatus(methods);
  }
  if (core::IsAt(methods, InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) {
    return OnStart(methods);
  }
  LetUp(methods, restarted);
}

// The first of the two batches has come. Its initial metadata is held back
// until it is known that it will not be another attempt's. It is not held back
// if there is some, or if the application waits for it before it asks for the
// status.
void UnaryCall::OnStart(Methods* methods) {
  if (race_ != nullptr && answered_ == nullptr) return OnStartInRace(methods);
  bool hold;
  bool judge;
  {
    base::MutexLock lock(&mu_);
    // When the call has failed already there may be a fallback.
    const bool open = !machine_->finished() ||
                      (service_->fallback() != nullptr && answered_ == nullptr);
    hold = StatusWillCome() && open &&
           core::Access::InitialMetadata(context_).map()->empty();
    if (hold) {
      batches_.of[0].held = methods;
    } else {
      batches_.committed = true;
    }
    batches_.start_is_up = true;
    judge = batches_.of[1].held != nullptr;
  }
  if (!hold) LetUp(methods, runner_.any_restarted());
  // If the other batch is not up, this object may be gone.
  if (judge) Judge();
}

// Whether the application has asked for the status too.
bool UnaryCall::StatusWillCome() const {
  return batches_.count == 2 ||
         // The callback API's tag: it starts both batches in one go.
         batches_.of[0].ops->core_cq_tag() != batches_.of[0].ops;
}

// The same while other attempts race: one may have won.
void UnaryCall::OnStartInRace(Methods* methods) {
  bool status_will_come;
  {
    base::MutexLock lock(&mu_);
    status_will_come = StatusWillCome();
  }
  bool hold = status_will_come &&
              core::Access::InitialMetadata(context_).map()->empty();
  if (!hold && !race_->TryCommit()) {
    hold = true;
    if (!status_will_come && AnswerStart(methods)) return;
  }
  bool judge;
  {
    base::MutexLock lock(&mu_);
    if (hold) {
      batches_.of[0].held = methods;
    } else {
      batches_.committed = true;
    }
    batches_.start_is_up = true;
    judge = batches_.of[1].held != nullptr;
  }
  if (!hold) LetUp(methods, runner_.any_restarted());
  if (judge) Judge();
}

void UnaryCall::OnStatus(Methods* methods) {
  if (all_held().count == 2) {
    base::MutexLock lock(&mu_);
    batches_.of[1].held = methods;
    if (!batches_.start_is_up) return;  // OnStart() goes on.
  } else {
    all_held().of[0].held = methods;
  }
  Judge();
}

void UnaryCall::Judge() {
  if (ABSL_PREDICT_FALSE(answered_ != nullptr)) return DeliverAnswer();
  if (ABSL_PREDICT_FALSE(race_ != nullptr)) {
    return race_->OnNativeDone(StatusOfBatches());
  }
  if (machine_->finished()) {
    if (!FallBack()) Deliver();
    return;
  }
  HeedTrailers();
  const grpc::Status& status = *StatusOfBatches();
  if (ABSL_PREDICT_TRUE(status.ok())) {
    static const call::AttemptOutcome answered;
    machine_->OnAttemptDone(machine_->attempts(), answered, Now());
    return Deliver();
  }
  Act(machine_->OnAttemptDone(machine_->attempts(),
                              Outcome(status, Committed()), Now()));
}

bool UnaryCall::Committed() const {
  const Batches& batches = all_held();
  if (batches.committed || !has_request_) return true;
  for (int i = 0; i < batches.count; ++i) {
    // Only batches whose type is known can be armed again.
    if (!KnowsItsType(batches.of[i].ops)) return true;
  }
  return false;
}

// --- Answers from elsewhere

grpc_call* UnaryCall::NewAnswer(core::InProcessAnswer answer, std::string debug,
                                std::shared_ptr<core::RawCall> by,
                                std::unique_ptr<Answered>* answered) {
  *answered = std::make_unique<Answered>();
  (*answered)->by = std::move(by);
  (*answered)->debug = std::move(debug);
  return service_->runtime().in_process().NewCall(
      std::move(answer), queue_->cq(), &(*answered)->registration);
}

// Hands the application what `winner` has brought. All its batches are held.
void UnaryCall::AnswerWith(std::shared_ptr<core::RawCall> winner) {
  core::InProcessAnswer answer(winner->answer());
  std::string debug = winner->answer().debug;
  TryAgain(NewAnswer(std::move(answer), std::move(debug), std::move(winner),
                     &answered_));
}

// The same when the application has so far only asked for the initial metadata;
// `methods` belongs to that batch. False, and nothing is done: meanwhile it has
// asked for the rest.
bool UnaryCall::AnswerStart(Methods* methods) {
  const std::shared_ptr<core::RawCall> winner = race_->Winner();
  std::unique_ptr<Answered> answered;
  grpc_call* const next = NewAnswer(core::InProcessAnswer(winner->answer()),
                                    winner->answer().debug, winner, &answered);
  bool late;
  bool begun = false;
  Ops* first = nullptr;
  grpc_call* const was = early_.running();
  grpc_call* previous = nullptr;
  {
    // The second batch is noted with the lock held, and then started on what
    // runs. So either it comes before this, or it runs on `next`.
    base::MutexLock lock(&mu_);
    late = batches_.count == 2;
    begun = !late && Swap(next, &previous);
    first = batches_.of[0].ops;
    if (begun) {
      early_.RunOn(next);
      answered_ = std::move(answered);
    } else if (!late) {
      // The application has cancelled, and then gets the end of the attempt.
      batches_.committed = true;
      batches_.start_is_up = true;
    }
  }
  if (!begun) {
    grpc_call_unref(next);
    if (late) return false;
    LetUp(methods, runner_.any_restarted());
    return true;
  }
  PrepareNext();
  Rearm(first, nullptr);
  KeepFirst(previous);
  runner_.Restart(first, next, was);
  return true;
}

// What a call inside the process answered is the winner's.
void UnaryCall::DeliverAnswer() {
  if (!answered_->debug.empty()) {
    core::Access::SetDebugString(context_, answered_->debug);
  }
  if (answered_->by != nullptr && answered_->in_process == nullptr) {
    grpc_call* const winner = answered_->by->call();
    grpc_call_ref(winner);
    grpc::internal::MutexLock lock(core::Access::Mu(context_));
    answered_->in_process = core::Access::SwapCall(context_, winner);
  }
  Conclude();
}

// The call has ended. What became of it is told, if it failed, and delivered.
void UnaryCall::Conclude() {
  if (ABSL_PREDICT_FALSE(!StatusOfBatches()->ok())) {
    if (FallBack()) return;
    TellStory();
  }
  Deliver();
}

// Asks the application for an answer to a call that is about to fail. False:
// there is none. Otherwise the call is being answered.
bool UnaryCall::FallBack() {
  const Fallback* const fallback = service_->fallback();
  if (fallback == nullptr) return false;
  const grpc::Status& status = *StatusOfBatches();
  if (status.ok() || IsCancelled() || Committed() ||
      (answered_ != nullptr && answered_->by == nullptr)) {
    return false;
  }
  std::optional<core::InProcessAnswer> answer =
      AskFallback(*fallback, call_info_, Request(), status);
  if (!answer.has_value()) return false;
  std::unique_ptr<Answered> answered;
  grpc_call* const next = NewAnswer(*std::move(answer), "", nullptr, &answered);
  answered_ = std::move(answered);
  TryAgain(next);
  return true;
}

void UnaryCall::Deliver() {
  Batches& batches = all_held();
  const int count = batches.count;
  Methods* held[2] = {batches.of[0].held, batches.of[1].held};
  const bool restarted = runner_.any_restarted();
  request_.Clear();  // The context may live on for long.
  request_slice_.reset();
  for (int i = 0; i < count && i < 2; ++i) {
    batches.of[i].held = nullptr;
  }
  for (int i = 0; i < count && i < 2; ++i) {
    if (held[i] != nullptr) LetUp(held[i], restarted);
  }
}

void UnaryCall::LetUp(Methods* methods, bool restarted) {
  if (owes_post_send_message_) {
    // It is the first batch that goes up, and it has the request.
    owes_post_send_message_ = false;
    core::Impl(methods)->AddInterceptionHookPoint(
        InterceptionHookPoints::POST_SEND_MESSAGE);
  }
  runner_.LetUp(methods, restarted);
}

// --- What is to be done next

void UnaryCall::Act(const Action& action) {
  switch (action.kind) {
    case Action::Kind::kStartAttempt: {
      grpc_call* const next = NewCall(action.endpoint, action.at);
      if (race_ != nullptr) race_->OnNativeStart(action, next);
      if (early_.waiting()) return StartHeld(next);
      return TryAgain(next);
    }
    case Action::Kind::kSetTimer:
    case Action::Kind::kWait:
      return Park(action);
    case Action::Kind::kFail:
      if (early_.waiting()) {
        TellParent();
        return StartHeld(NewFailedCall(action.status));
      }
      *StatusOfBatches() = core::ToGrpc(action.status);
      SetDebugString(action.status);
      if (FallBack()) return;
      TellParent();
      return Deliver();
    case Action::Kind::kFinish:
      return Conclude();
    case Action::Kind::kGoOn:
      return;
  }
}

void UnaryCall::TryAgain(grpc_call* next) {
  grpc_call* previous = nullptr;
  if (!Swap(next, &previous)) {
    grpc_call_unref(next);
    answered_.reset();
    EndCancelled();
    *StatusOfBatches() = grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED");
    return Deliver();
  }
  PrepareNext();
  if (answered_ == nullptr) ApplyCredentials(next);
  grpc_call* const was = early_.running();
  early_.RunOn(next);
  Batches& batches = all_held();
  batches.start_is_up = false;
  const int count = batches.count;
  Ops* ops[2] = {batches.of[0].ops, batches.of[1].ops};
  grpc::Status* const status = StatusOfBatches();
  for (int i = 0; i < count; ++i) {
    Rearm(ops[i], i == count - 1 ? status : nullptr);
    batches.of[i].held = nullptr;
  }
  // The batches hold references of their own to `was` until they are started
  // again. The first call of all is kept, because it owns their memory.
  KeepFirst(previous);
  // With the last one the call may end, and this object with it.
  for (int i = 0; i < count; ++i) runner_.Restart(ops[i], next, was);
}

// Forgets what the last attempt received, and says what the next one is to
// send.
void UnaryCall::PrepareNext() {
  ForgetReceived();
  auto* const metadata = &core::Access::SentMetadata(context_);
  if (race_ != nullptr) return race_->SayPreviousAttempts(metadata);
  SayPreviousAttempts(machine_->previous_attempts(), metadata);
}

void UnaryCall::Rearm(Ops* ops, grpc::Status* status) {
  // A CallOpRecvMessage stays armed, whatever its type is.
  if (deserializer_ != nullptr) {
    core::LendDeserializer(ops, deserializer_.get());
  }
  core::RearmStart(ops, context_);
  if (answered_ == nullptr) {
    core::RearmMessage(ops, Request(), grpc::WriteOptions());
    core::RearmClose(ops);
  } else {
    core::DropMessage(ops);  // A call that only answers need not be asked.
  }
  core::RearmHeaders(ops, context_);
  if (status != nullptr) core::RearmStatus(ops, context_, status);
}

void UnaryCall::EndParked() {
  if (early_.waiting()) return StartHeld(nullptr);
  *StatusOfBatches() = grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED");
  Deliver();
}

void UnaryCall::NoteCancelled() {
  if (race_ != nullptr) race_->OnCancelled();
  LogicalCall::NoteCancelled();
}

void UnaryCall::EndCancelled() {
  if (race_ != nullptr) return race_->OnNativeCancelled();
  LogicalCall::EndCancelled();
}

// --- For the race

call::AttemptOutcome UnaryCall::NativeOutcome(const grpc::Status& status,
                                              cluster::LiveEndpoint* endpoint) {
  Heed(*core::Access::TrailingMetadata(context_).arr(), endpoint);
  return Outcome(status, Committed());
}

call::AttemptOutcome UnaryCall::HedgeOutcome(const core::RawAnswer& answer,
                                             cluster::LiveEndpoint* endpoint,
                                             absl::Time deadline) {
  Heed(answer.trailing_metadata, endpoint);
  return OutcomeOf(answer.status, answer.debug, answer.trailing_metadata,
                   deadline);
}

HedgeRace::NewHedge UnaryCall::MakeHedge(const Action& action,
                                         int previous_attempts) {
  HedgeRace::NewHedge hedge;
  hedge.raw = std::make_shared<core::RawCall>(
      NewCallBeside(action.endpoint, action.at));
  hedge.metadata = core::Access::SentMetadata(context_);
  SayPreviousAttempts(previous_attempts, &hedge.metadata);
  hedge.metadata_flags = core::Access::InitialMetadataFlags(context_);
  hedge.request = Request();
  return hedge;
}

void UnaryCall::GoOn(std::optional<Action> action,
                     std::shared_ptr<core::RawCall> answer) {
  if (action.has_value()) return Act(*action);
  if (answer != nullptr) return AnswerWith(std::move(answer));
  if (!FallBack()) Deliver();
}

}  // namespace mesh::channel
