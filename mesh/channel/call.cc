#include "mesh/channel/call.h"

#include <limits>
#include <new>
#include <string>
#include <utility>

#include "absl/base/optimization.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mesh/base/clock.h"
#include "mesh/base/random.h"
#include "mesh/channel/channel.h"
#include "mesh/grpc/failure.h"
#include "mesh/grpc/op_set.h"
#include "mesh/grpc/raw_call.h"
#include "mesh/grpc/time.h"
#include "mesh/incoming/incoming_call.h"
#include "mesh/upstream/plan.h"

namespace mesh::channel {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;
using grpc::internal::CallOpClientRecvStatus;
using grpc::internal::CallOpClientSendClose;
using grpc::internal::CallOpGenericRecvMessage;
using grpc::internal::CallOpRecvInitialMetadata;
using grpc::internal::CallOpSendInitialMetadata;
using grpc::internal::CallOpSendMessage;
using grpc::internal::InterceptorBatchMethodsImpl;
using mesh::call::Action;

constexpr char kPreviousAttempts[] = "grpc-previous-rpc-attempts";
constexpr char kPushback[] = "grpc-retry-pushback-ms";
constexpr char kDraining[] = "mesh-draining";  // mesh/server/server.h
constexpr char kFaultAbort[] = "mesh-fault-abort";
constexpr char kFaultDelay[] = "mesh-fault-delay-ms";

// How early the clock of the other side may let an attempt's deadline pass.
constexpr absl::Duration kClockSlack = absl::Milliseconds(5);

// Set around FillOps(): the batch that goes down on this thread is one that is
// started again.
thread_local Call* restarting = nullptr;
// Set around RunInterceptors(): what comes up is on its way to the application.
thread_local InterceptorBatchMethods* delivering = nullptr;

// What is not a number says: do not retry.
absl::Duration ParsePushback(absl::string_view text) {
  int64_t milliseconds = -1;
  if (!absl::SimpleAtoi(text, &milliseconds)) milliseconds = -1;
  return absl::Milliseconds(milliseconds);
}

// By name or number. Nullopt for OK and what is no code.
std::optional<absl::StatusCode> ParseCode(const std::string& text) {
  int number = 0;
  const bool is_number = absl::SimpleAtoi(text, &number);
  for (int code = 1; code <= 16; ++code) {
    const auto candidate = static_cast<absl::StatusCode>(code);
    if (is_number ? code == number
                  : text == absl::StatusCodeToString(candidate)) {
      return candidate;
    }
  }
  return std::nullopt;
}

// What stands in for a Call in the interceptor lists of restarted batches.
class RestartInterceptor final : public grpc::experimental::Interceptor {
 public:
  explicit RestartInterceptor(Call* call) : call_(call) {}
  void Intercept(InterceptorBatchMethods* methods) override {
    call_->InterceptRestarted(methods);
  }

 private:
  Call* const call_;
};

// What a thread keeps of the memory of calls that have ended there, for its
// next ones. Not under sanitizers, which are to see calls come and go.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kMostSpare = 0;
#else
constexpr size_t kMostSpare = 16;
#endif
class SpareMemory {
 public:
  ~SpareMemory() {
    while (count_ > 0) ::operator delete(blocks_[--count_]);
    gone_ = true;
  }

  void* Take() { return count_ > 0 ? blocks_[--count_] : nullptr; }
  bool Keep(void* block) {
    if (count_ >= kMostSpare) return false;
    blocks_[count_++] = block;
    return true;
  }

  // Null while the thread ends: calls may outlive its other variables.
  static SpareMemory* OfThread() {
    if (gone_) return nullptr;
    static thread_local SpareMemory spare;
    return &spare;
  }

 private:
  static thread_local bool gone_;

  void* blocks_[kMostSpare + 1];
  size_t count_ = 0;
};
thread_local bool SpareMemory::gone_ = false;

}  // namespace

void* Call::operator new(size_t size) {
  SpareMemory* const spare = SpareMemory::OfThread();
  void* const block = spare != nullptr ? spare->Take() : nullptr;
  return block != nullptr ? block : ::operator new(size);
}

void Call::operator delete(void* block) {
  SpareMemory* const spare = SpareMemory::OfThread();
  if (spare == nullptr || !spare->Keep(block)) ::operator delete(block);
}

Call::Call(std::shared_ptr<Channel> channel, service::Method* method,
           const grpc::internal::RpcMethod& rpc, grpc::ClientContext* context,
           grpc::CompletionQueue* queue)
    : channel_(std::move(channel)),
      service_(channel_->service()),
      method_(method != nullptr ? method : service_->FindMethod(rpc.name())),
      type_(rpc.method_type()),
      context_(context),
      queue_(queue),
      snapshot_(service_->Snapshot()) {
  if (ABSL_PREDICT_FALSE(method_ == nullptr)) own_name_ = rpc.name();
}

Call::~Call() {
  if (hedging_ != nullptr) hedging_->Detach();
  if (machine_.has_value() && !machine_->finished()) {
    machine_->Abandon(base::Clock::Real().Now());
  }
  if (!unary()) service_->streams().Remove(this);
  if (stream_ != nullptr) grpc_call_unref(stream_);
  if (first_ != nullptr) grpc_call_unref(first_);
  if (parent_ != nullptr) grpc_call_unref(parent_);
}

mesh::call::Moment Call::Now() {
  const service::ServiceView* const snapshot = service_->Snapshot().get();
  seen_ = snapshot;
  mesh::call::Moment moment;
  moment.now = base::Clock::Real().Now();
  moment.picker = snapshot->picker.get();
  moment.random = &base::ThreadRandom();
  moment.endpoints = snapshot->endpoints;
  return moment;
}

grpc_call* Call::Begin() {
  const mesh::call::Moment moment = Now();
  call_info_.service = service_->name();
  call_info_.method = method_ != nullptr ? absl::string_view(method_->name)
                                         : absl::string_view(own_name_);
  call_info_.metrics =
      method_ != nullptr ? method_->metrics : service_->other_methods();
  upstream::CallShape shape;
  shape.method = method_;
  shape.name = call_info_.method;
  shape.unary = unary();
  if (core::Access::wait_for_ready_is_set(context_)) {
    shape.wait_for_ready = core::Access::wait_for_ready(context_);
  }
  mesh::call::CallPlan plan =
      service_->upstream().Plan(snapshot_->policies, shape);
  const options::MethodOptions& policy = *plan.policy;
  context_deadline_ = core::ToMonotonic(context_->raw_deadline(), moment.now);
  call_info_.start = moment.now;
  call_info_.deadline = context_deadline_;
  if (policy.timeout != absl::InfiniteDuration()) {
    call_info_.deadline =
        std::min(context_deadline_, moment.now + policy.timeout);
  }
  if (policy.wait_for_ready.has_value() && !shape.wait_for_ready.has_value()) {
    context_->set_wait_for_ready(*policy.wait_for_ready);
  }
  idempotent_ = plan.idempotent;
  const bool retries_stream = !unary() && upstream::KeepsStream(policy);
  const auto until = idempotent_ && policy.retry.max_attempts > 1
                         ? StreamRetry::Until::kCommitted
                         : StreamRetry::Until::kSent;
  if (ABSL_PREDICT_FALSE(policy.fault.by_header)) TakeFaults(&plan);
  if (plan.replayable && plan.wait_for_ready) {
    // The machine waits, for any endpoint. gRPC would wait for this one, also
    // when it is gone for good.
    context_->set_wait_for_ready(false);
  }
  parent_ = core::Access::Parent(context_);
  if (ABSL_PREDICT_FALSE(parent_ != nullptr)) Inherit(moment.now);
  // Where all methods may be executed twice the machine retries whatever gRPC
  // itself would.
  exact_ =
      !snapshot_->policies.all_idempotent() ||
      !(unary() || (retries_stream && until == StreamRetry::Until::kCommitted));
  machine_.emplace(plan, &call_info_);
  if (ABSL_PREDICT_FALSE(policy.hedging.mode == options::Mode::kEnforce) &&
      unary() && idempotent_) {
    hedging_ = std::make_shared<Hedging>(this);
  }

  Action action = machine_->Start(moment);
  switch (action.kind) {
    case Action::Kind::kStartAttempt:
      running_ = NewCall(action.endpoint, action.at);
      if (hedging_ != nullptr) hedging_->OnNativeStart(action, running_);
      break;
    case Action::Kind::kFail:
    case Action::Kind::kFinish:
    case Action::Kind::kGoOn:
      running_ = NewFailedCall(action.status);
      break;
    case Action::Kind::kWait:
    case Action::Kind::kSetTimer:
      // Nothing is chosen before the first batch starts.
      born_waiting_ = true;
      waiting_.store(true, std::memory_order_relaxed);
      running_ = NewCallOn(service_->runtime().placeholder(), nullptr,
                           gpr_inf_future(GPR_CLOCK_REALTIME), queue_->cq());
      break;
  }
  if (!unary() && !machine_->finished()) {
    if (retries_stream) {
      stream_retry_ = std::make_unique<StreamRetry>(
          this, until, policy.retry.stream_bytes,
          &service_->runtime().stream_bytes(), born_waiting_);
    }
    if (ABSL_PREDICT_FALSE(policy.idle_timeout != absl::InfiniteDuration())) {
      idle_timeout_ = policy.idle_timeout;
      active_ = absl::ToUnixNanos(moment.now);
    }
    service_->streams().Add(this);
    if (idle_timeout_ != absl::InfiniteDuration()) {
      service_->streams().WatchIdle(this, moment.now + idle_timeout_);
    }
  }
  return running_;
}

// What the call takes from the one that it is made for.
void Call::Inherit(absl::Time now) {
  // A retry is a child of it too, and may begin when the server's call is over.
  grpc_call_ref(parent_);
  if ((core::Access::Propagation(context_) & GRPC_PROPAGATE_DEADLINE) == 0) {
    return;
  }
  // gRPC hands the deadline on, too, but does not say it.
  if (const auto incoming = incoming::FindIncoming(parent_)) {
    call_info_.deadline = std::min(call_info_.deadline,
                                   core::ToMonotonic(incoming->deadline, now));
  }
}

// Metadata that asks for faults is not sent on.
void Call::TakeFaults(mesh::call::CallPlan* plan) {
  auto& metadata = core::Access::SentMetadata(context_);
  if (const auto found = metadata.find(kFaultAbort); found != metadata.end()) {
    plan->abort_by_header = ParseCode(found->second);
    metadata.erase(kFaultAbort);
  }
  if (const auto found = metadata.find(kFaultDelay); found != metadata.end()) {
    uint32_t milliseconds = 0;
    if (absl::SimpleAtoi(found->second, &milliseconds)) {
      plan->delay_by_header = absl::Milliseconds(milliseconds);
    }
    metadata.erase(kFaultDelay);
  }
}

grpc_call* Call::NewCall(cluster::LiveEndpoint* endpoint, absl::Time deadline) {
  // An attempt of a stream may become the stream.
  if (!unary()) deadline = call_info_.deadline;
  attempt_deadline_ = deadline;
  grpc_call* const call =
      NewCallOn(service::ConnectedEndpoint::Of(endpoint)->CoreChannel(exact_),
                ParentOf(/*first=*/running_ == nullptr),
                deadline == context_deadline_ ? context_->raw_deadline()
                                              : core::ToGpr(deadline),
                queue_->cq());
  if (!unary()) {
    grpc_call_ref(call);
    grpc_call* previous;
    {
      base::MutexLock lock(&mu_);
      previous = std::exchange(stream_, call);
      stream_on_ = endpoint;
      if (idle_timeout_ != absl::InfiniteDuration()) {
        active_ = absl::ToUnixNanos(base::Clock::Real().Now());
      }
    }
    if (previous != nullptr) grpc_call_unref(previous);
  }
  return call;
}

// What an attempt is a child of.
grpc_call* Call::ParentOf(bool first) const {
  // gRPC cancels what begins as the child of a call that is over, also when it
  // was to inherit nothing.
  constexpr uint32_t kInherits =
      GRPC_PROPAGATE_DEADLINE | GRPC_PROPAGATE_CANCELLATION;
  const bool orphan =
      !first && (core::Access::Propagation(context_) & kInherits) == 0;
  return orphan ? nullptr : parent_;
}

grpc_call* Call::NewFailedCall(const absl::Status& status) {
  grpc_channel* const channel = grpc_lame_client_channel_create(
      "mesh", static_cast<grpc_status_code>(status.code()),
      std::string(status.message()).c_str());
  grpc_call* const call = NewCallOn(
      channel, nullptr, gpr_inf_future(GPR_CLOCK_REALTIME), queue_->cq());
  grpc_channel_destroy(channel);
  return call;
}

grpc_call* Call::NewCallOn(grpc_channel* channel, grpc_call* parent,
                           gpr_timespec deadline,
                           grpc_completion_queue* queue) {
  const std::string& authority = core::Access::Authority(context_);
  grpc_slice host;
  if (!authority.empty()) {
    host = grpc_slice_from_copied_buffer(authority.data(), authority.size());
  }
  const grpc_slice path =
      method_ != nullptr
          ? method_->path
          : grpc_slice_from_copied_buffer(own_name_.data(), own_name_.size());
  grpc_call* const call = grpc_channel_create_call(
      channel, parent, core::Access::Propagation(context_), queue, path,
      authority.empty() ? nullptr : &host, deadline, nullptr);
  if (method_ == nullptr) grpc_slice_unref(path);
  if (!authority.empty()) grpc_slice_unref(host);
  grpc_census_call_set_context(call, context_->census_context());
  return call;
}

// As ClientContext::set_credentials() does it.
void Call::ApplyCredentials(grpc_call* call) {
  if (context_->credentials() != nullptr &&
      !context_->credentials()->ApplyToCall(call)) {
    grpc_call_cancel_with_status(call, GRPC_STATUS_CANCELLED,
                                 "Failed to set credentials to rpc.", nullptr);
  }
}

// --- Batches on their way down

void Call::PerformOpsOnCall(Ops* ops, grpc::internal::Call*) {
  if (stream_retry_ != nullptr && stream_retry_->Perform(ops)) return;
  if (unary()) {
    if (batch_count_ == 0) {
      batches_[0].ops = ops;
      batch_count_ = 1;
    } else {
      if (KnowsItsType(ops)) {
        if (auto* op = dynamic_cast<CallOpGenericRecvMessage*>(ops)) {
          core::Deserializer& deserializer = op->*core::DeserializerMember();
          deserializer_ = std::move(deserializer);
          deserializer = std::make_unique<core::Borrowed>(deserializer_.get());
        }
      }
      // The first one may be on its way up.
      base::MutexLock lock(&mu_);
      batches_[1].ops = ops;
      batch_count_ = 2;
    }
  }
  if (born_waiting_ && PerformEarly(ops)) return;
  if (!unary() && channel_->application_interceptors() == 0 &&
      idle_timeout_ == absl::InfiniteDuration() &&
      grpc::internal::g_global_client_interceptor_factory == nullptr &&
      BringsNoStatus(ops)) {
    // Nothing to see in this batch: no interception, gRPC's own speed.
    grpc::internal::Call plain(running_, this, queue_);
    ops->FillOps(&plain);
    return;
  }
  grpc::internal::Call full(running_, this, queue_, info_);
  ops->FillOps(&full);
}

bool Call::PerformEarly(Ops* ops) {
  grpc_call* placeholder;
  {
    base::MutexLock lock(&mu_);
    if (!waiting_.load(std::memory_order_relaxed)) return false;
    early_.push_back({ops, nullptr});
    placeholder = running_;
  }
  // It goes down on the placeholder, through the application's interceptors,
  // as far as HoldIfEarly().
  grpc::internal::Call full(placeholder, this, queue_, info_);
  ops->FillOps(&full);
  return true;
}

bool Call::KnowsItsType(Ops* ops) const {
  // The slot before the first virtual function points to the type's
  // information (Itanium C++ ABI, 2.5.2). Null: compiled without RTTI.
  const void* const* const table = *reinterpret_cast<const void* const**>(ops);
  if (table[-1] != nullptr) return true;
  static std::atomic<bool> logged{false};
  if (!logged.exchange(true)) {
    service_->runtime().Log(
        LogSeverity::kWarning,
        "a stub was compiled without RTTI (-fno-rtti): its calls are balanced "
        "but not retried");
  }
  return false;
}

bool Call::BringsNoStatus(Ops* ops) {
  const void* const table = *reinterpret_cast<const void* const*>(ops);
  for (std::atomic<const void*>& known : plain_tables_) {
    const void* const seen = known.load(std::memory_order_relaxed);
    if (seen == table) return true;
    if (seen != nullptr) continue;
    if (!KnowsItsType(ops) ||
        dynamic_cast<CallOpClientRecvStatus*>(ops) != nullptr) {
      return false;
    }
    known.store(table, std::memory_order_relaxed);
    return true;
  }
  // More kinds than there are: looking costs more than intercepting.
  return false;
}

void Call::Intercept(InterceptorBatchMethods* methods) {
  if (methods->QueryInterceptionHookPoint(
          InterceptionHookPoints::PRE_SEND_CANCEL)) {
    return OnCancelHook();
  }
  if (restarting == this) {
    // The batch was counted as under way already when it was started before.
    restarting = nullptr;
    core::Access::CompleteAvalanching(queue_);
    return methods->Proceed();
  }
  if (delivering == methods) {
    delivering = nullptr;
    return methods->Proceed();
  }
  const bool up =
      !unary()
          ? StreamRetry::IsUp(methods)
          : core::IsAt(methods, InterceptionHookPoints::POST_RECV_STATUS) ||
                core::IsAt(methods,
                           InterceptionHookPoints::POST_RECV_INITIAL_METADATA);
  if (up) return OnUp(methods, /*restarted=*/false);
  OnDown(methods);
}

void Call::InterceptRestarted(InterceptorBatchMethods* methods) {
  if (restarting == this) {
    restarting = nullptr;
    core::Access::CompleteAvalanching(queue_);
    return methods->Proceed();
  }
  OnUp(methods, /*restarted=*/true);
}

void Call::NoteMessage(InterceptorBatchMethods* methods, bool up) {
  if (up ? methods->QueryInterceptionHookPoint(
               InterceptionHookPoints::POST_RECV_MESSAGE) &&
               methods->GetRecvMessage() != nullptr
         : methods->QueryInterceptionHookPoint(
               InterceptionHookPoints::PRE_SEND_MESSAGE)) {
    active_.store(absl::ToUnixNanos(base::Clock::Real().Now()),
                  std::memory_order_relaxed);
  }
}

void Call::OnDown(InterceptorBatchMethods* methods) {
  if (ABSL_PREDICT_FALSE(idle_timeout_ != absl::InfiniteDuration())) {
    NoteMessage(methods, /*up=*/false);
  }
  if (stream_retry_ != nullptr && stream_retry_->OnDown(methods)) return;
  if (unary() && !has_request_ &&
      core::IsAt(methods, InterceptionHookPoints::PRE_SEND_MESSAGE)) {
    owes_post_send_message_ = channel_->application_interceptors() > 0 &&
                              methods->GetSendMessage() != nullptr;
    // A reference to the serialized request, not a copy.
    const grpc::ByteBuffer& request = *methods->GetSerializedSendMessage();
    if (!request.TrySingleSlice(&request_slice_.emplace()).ok()) {
      request_ = request;
    }
    has_request_ = true;
    // Only batches whose type is known can be armed again.
    if (hedging_ != nullptr && KnowsItsType(batches_[0].ops) &&
        (batch_count_ < 2 || KnowsItsType(batches_[1].ops))) {
      hedging_->OnRequest();
    }
  }
  if (born_waiting_ && HoldIfEarly(methods)) return;
  methods->Proceed();
}

bool Call::HoldIfEarly(InterceptorBatchMethods* methods) {
  Ops* started_meanwhile = nullptr;
  {
    base::MutexLock lock(&mu_);
    // `methods` is a part of its batch, and batches don't overlap: so it is the
    // one that begins nearest before it.
    const auto at = reinterpret_cast<uintptr_t>(methods);
    constexpr uintptr_t kLargestBatch = 4096;
    EarlyBatch* batch = nullptr;
    for (EarlyBatch& candidate : early_) {
      const auto begin = reinterpret_cast<uintptr_t>(candidate.ops);
      if (candidate.held == nullptr && begin < at &&
          at - begin < kLargestBatch &&
          (batch == nullptr || candidate.ops > batch->ops)) {
        batch = &candidate;
      }
    }
    if (batch == nullptr) return false;  // On its way up, or not early.
    if (waiting_.load(std::memory_order_relaxed)) {
      batch->held = methods;
      if (std::exchange(engaged_, true)) return true;
    } else {
      // The wait ended while the application's interceptors had it.
      started_meanwhile = batch->ops;
      early_.erase(early_.begin() + (batch - early_.data()));
      if (first_ == nullptr) return false;  // Cancelled, as the placeholder is.
    }
  }
  if (started_meanwhile != nullptr) {
    Restart(started_meanwhile, first_);
    return true;
  }
  auto action = machine_->OnEndpointsChanged(Now());
  // Not for endpoints, then, but for a time.
  if (!action.has_value()) action = machine_->OnTimer(Now());
  if (action.has_value()) Act(*action);
  return true;
}

// --- Batches on their way up

void Call::OnUp(InterceptorBatchMethods* methods, bool restarted) {
  if (ABSL_PREDICT_FALSE(idle_timeout_ != absl::InfiniteDuration())) {
    NoteMessage(methods, /*up=*/true);
  }
  const bool has_status =
      core::IsAt(methods, InterceptionHookPoints::POST_RECV_STATUS);
  if (unary()) {
    if (has_status) return OnUnaryStatus(methods);
    if (core::IsAt(methods,
                   InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) {
      return OnUnaryStart(methods);
    }
  } else {
    if (stream_retry_ != nullptr && stream_retry_->OnUp(methods, restarted)) {
      return;
    }
    if (has_status) EndStream(*methods->GetRecvStatus());
  }
  Proceed(methods, restarted);
}

// A stream that can't be tried again has its status: learns from it.
void Call::EndStream(const grpc::Status& status) {
  if (machine_->finished()) return;
  HeedTrailers();
  mesh::call::AttemptOutcome outcome = Outcome(status);
  outcome.committed = true;
  machine_->OnAttemptDone(machine_->attempts(), outcome, Now());
  TellParent();
  service_->streams().Remove(this);
}

// The first of the two batches of a unary call. Its initial metadata is held
// back until it is known that it will not be another attempt's: unless there is
// some, or the application waits for it before it asks for the status.
void Call::OnUnaryStart(InterceptorBatchMethods* methods) {
  if (hedging_ != nullptr && answered_ == nullptr) {
    return OnHedgedStart(methods);
  }
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
      batches_[0].held = methods;
    } else {
      committed_ = true;
    }
    start_is_up_ = true;
    judge = batches_[1].held != nullptr;
  }
  if (!hold) Proceed(methods, restarted_);
  // If the other batch is not up, this object may be gone.
  if (judge) Judge();
}

// Whether the application has asked for the status too. With mu_ held.
bool Call::StatusWillCome() const {
  return batch_count_ == 2 ||
         // A tag of the callback API's: it starts both batches in one go.
         batches_[0].ops->core_cq_tag() != batches_[0].ops;
}

// The same while other attempts race: one may have won.
void Call::OnHedgedStart(InterceptorBatchMethods* methods) {
  bool status_will_come;
  {
    base::MutexLock lock(&mu_);
    status_will_come = StatusWillCome();
  }
  bool hold = status_will_come &&
              core::Access::InitialMetadata(context_).map()->empty();
  if (!hold && !hedging_->TryCommit()) {
    hold = true;
    if (!status_will_come && AnswerStart(methods)) return;
  }
  bool judge;
  {
    base::MutexLock lock(&mu_);
    if (hold) {
      batches_[0].held = methods;
    } else {
      committed_ = true;
    }
    start_is_up_ = true;
    judge = batches_[1].held != nullptr;
  }
  if (!hold) Proceed(methods, restarted_);
  if (judge) Judge();
}

void Call::OnUnaryStatus(InterceptorBatchMethods* methods) {
  if (batch_count_ == 2) {
    base::MutexLock lock(&mu_);
    batches_[1].held = methods;
    if (!start_is_up_) return;  // OnUnaryStart() goes on.
  } else {
    batches_[0].held = methods;
  }
  Judge();
}

void Call::Judge() {
  if (ABSL_PREDICT_FALSE(answered_ != nullptr)) return DeliverAnswer();
  if (ABSL_PREDICT_FALSE(hedging_ != nullptr)) {
    return hedging_->OnNativeDone(
        batches_[batch_count_ - 1].held->GetRecvStatus());
  }
  if (machine_->finished()) {
    if (!FallBack()) Deliver();
    return;
  }
  HeedTrailers();
  const grpc::Status& status =
      *batches_[batch_count_ - 1].held->GetRecvStatus();
  if (ABSL_PREDICT_TRUE(status.ok())) {
    static const mesh::call::AttemptOutcome answered;
    machine_->OnAttemptDone(machine_->attempts(), answered, Now());
    return Deliver();
  }
  Act(machine_->OnAttemptDone(machine_->attempts(), Outcome(status), Now()));
}

// What a server says of itself, with the answer to any call.
void Call::HeedTrailers() {
  auto& trailers = core::Access::TrailingMetadata(context_);
  if (ABSL_PREDICT_TRUE(trailers.arr()->count == 0)) return;
  Heed(*trailers.arr(), machine_->endpoint());
}

void Call::Heed(const grpc_metadata_array& trailers,
                cluster::LiveEndpoint* endpoint) {
  if (endpoint == nullptr) return;
  for (size_t i = 0; i < trailers.count; ++i) {
    if (grpc_slice_str_cmp(trailers.metadata[i].key, kDraining) != 0) continue;
    return service_->upstream().health().OnDraining(endpoint,
                                                    base::Clock::Real().Now());
  }
}

mesh::call::AttemptOutcome Call::Outcome(const grpc::Status& status) const {
  if (status.ok()) return {};
  mesh::call::AttemptOutcome outcome =
      Explain(status, context_->debug_error_string(), attempt_deadline_);
  outcome.committed = committed_ || !has_request_;
  for (int i = 0; i < batch_count_ && i < 2 && !outcome.committed; ++i) {
    // Only batches whose type is known can be armed again.
    outcome.committed = !KnowsItsType(batches_[i].ops);
  }
  const auto& trailers = context_->GetServerTrailingMetadata();
  const auto pushback = trailers.find(kPushback);
  if (pushback != trailers.end()) {
    outcome.pushback = ParsePushback(
        absl::string_view(pushback->second.data(), pushback->second.size()));
  }
  return outcome;
}

// Of an attempt that failed, what its status and debug string tell.
mesh::call::AttemptOutcome Call::Explain(const grpc::Status& status,
                                         const std::string& debug,
                                         absl::Time deadline) const {
  mesh::call::AttemptOutcome outcome;
  outcome.code = static_cast<absl::StatusCode>(status.error_code());
  if (status.error_code() < 0 || status.error_code() > 16) {
    outcome.code = absl::StatusCode::kUnknown;  // Whatever it may mean.
  }
  outcome.never_sent = core::NeverSent(status, debug);
  outcome.local = core::IsLocal(status, debug);
  if (idempotent_ && core::LooksDropped(status, debug)) {
    outcome.code = absl::StatusCode::kUnavailable;
  }
  // However gRPC puts it: "received from peer" is in its own ones, too.
  const bool out_of_time =
      status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED &&
      base::Clock::Real().Now() + kClockSlack >= deadline;
  outcome.local |= out_of_time;
  outcome.attempt_timed_out = out_of_time && deadline < call_info_.deadline;
  return outcome;
}

// --- Attempts that race

grpc_call* Call::NewHedge(cluster::LiveEndpoint* endpoint,
                          absl::Time deadline) {
  grpc_call* const call =
      NewCallOn(service::ConnectedEndpoint::Of(endpoint)->CoreChannel(exact_),
                ParentOf(/*first=*/false), core::ToGpr(deadline),
                service_->runtime().queue().queue());
  ApplyCredentials(call);
  return call;
}

std::multimap<std::string, std::string> Call::HedgeMetadata() const {
  std::multimap<std::string, std::string> metadata =
      core::Access::SentMetadata(context_);
  metadata.erase(kPreviousAttempts);
  if (machine_->previous_attempts() > 0) {
    metadata.emplace(kPreviousAttempts,
                     absl::StrCat(machine_->previous_attempts()));
  }
  return metadata;
}

mesh::call::AttemptOutcome Call::OutcomeOfHedge(const core::RawAnswer& answer,
                                                absl::Time deadline) const {
  if (answer.status.ok()) return {};
  mesh::call::AttemptOutcome outcome =
      Explain(answer.status, answer.debug, deadline);
  const grpc_metadata_array& trailers = answer.trailing_metadata;
  for (size_t i = 0; i < trailers.count; ++i) {
    const grpc_metadata& entry = trailers.metadata[i];
    if (grpc_slice_str_cmp(entry.key, kPushback) != 0) continue;
    outcome.pushback = ParsePushback(absl::string_view(
        reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(entry.value)),
        GRPC_SLICE_LENGTH(entry.value)));
    break;
  }
  return outcome;
}

grpc::ByteBuffer Call::Request() const {
  return request_.Valid() ? request_ : grpc::ByteBuffer(&*request_slice_, 1);
}

// --- Answers from elsewhere

grpc_call* Call::NewAnswer(core::InProcessAnswer answer, std::string debug,
                           std::shared_ptr<core::RawCall> by,
                           std::unique_ptr<Answered>* answered) {
  *answered = std::make_unique<Answered>();
  (*answered)->by = std::move(by);
  (*answered)->debug = std::move(debug);
  return service_->runtime().in_process().NewCall(
      std::move(answer), queue_->cq(), &(*answered)->registration);
}

// Hands the application what `winner` has brought. All its batches are held.
void Call::AnswerWith(std::shared_ptr<core::RawCall> winner) {
  core::InProcessAnswer answer(winner->answer());
  std::string debug = winner->answer().debug;
  TryAgain(NewAnswer(std::move(answer), std::move(debug), std::move(winner),
                     &answered_));
}

// The same when the application has only asked for the initial metadata yet:
// `methods` is of that batch. False, and nothing is done: meanwhile it has
// asked for the rest.
bool Call::AnswerStart(InterceptorBatchMethods* methods) {
  const std::shared_ptr<core::RawCall> winner = hedging_->Winner();
  std::unique_ptr<Answered> answered;
  grpc_call* const next = NewAnswer(core::InProcessAnswer(winner->answer()),
                                    winner->answer().debug, winner, &answered);
  bool late;
  grpc_call* was = nullptr;
  grpc_call* previous = nullptr;
  {
    base::MutexLock lock(&mu_);
    late = batch_count_ == 2;
    if (!late && Swap(next, &previous)) {
      was = std::exchange(running_, next);
      answered_ = std::move(answered);
    }
  }
  if (was == nullptr) {
    grpc_call_unref(next);
    if (late) return false;
    // Cancelled by the application, which then gets the end of the attempt.
    committed_ = true;
    start_is_up_ = true;
    Proceed(methods, restarted_);
    return true;
  }
  PrepareNext();
  Rearm(batches_[0].ops, nullptr);
  KeepFirst(previous);
  Restart(batches_[0].ops, was);
  return true;
}

// What was answered on a call inside the process is the winner's.
void Call::DeliverAnswer() {
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

// The call has ended: what became of it is told, if it failed, and delivered.
void Call::Conclude() {
  const grpc::Status& status =
      *batches_[batch_count_ - 1].held->GetRecvStatus();
  if (ABSL_PREDICT_FALSE(!status.ok())) {
    if (FallBack()) return;
    TellStory();
  }
  Deliver();
}

// Asks the application for an answer to a call that is about to fail. False:
// there is none. Otherwise the call is being answered.
bool Call::FallBack() {
  const Fallback* const fallback = service_->fallback();
  if (fallback == nullptr) return false;
  const grpc::Status& status =
      *batches_[batch_count_ - 1].held->GetRecvStatus();
  if (status.ok() || committed_ || !has_request_ || !unary() ||
      cancelled_.load(std::memory_order_relaxed) ||
      (answered_ != nullptr && answered_->by == nullptr)) {
    return false;
  }
  for (int i = 0; i < batch_count_; ++i) {
    if (!KnowsItsType(batches_[i].ops)) return false;
  }
  const grpc::ByteBuffer request = Request();
  FailedCall call;
  call.service = call_info_.service;
  call.method = call_info_.method;
  call.request = &request;
  call.status = &status;
  std::optional<grpc::ByteBuffer> reply = (*fallback)(call);
  if (!reply.has_value()) return false;
  core::InProcessAnswer answer;
  answer.has_message = true;
  answer.message = *std::move(reply);
  std::unique_ptr<Answered> answered;
  grpc_call* const next = NewAnswer(std::move(answer), "", nullptr, &answered);
  answered_ = std::move(answered);
  TryAgain(next);
  return true;
}

// --- What is to be done next

void Call::Act(const Action& action) {
  if (stream_retry_ != nullptr && stream_retry_->Act(action)) return;
  switch (action.kind) {
    case Action::Kind::kStartAttempt: {
      grpc_call* const next = NewCall(action.endpoint, action.at);
      if (hedging_ != nullptr) hedging_->OnNativeStart(action, next);
      if (waiting_.load(std::memory_order_relaxed)) return Start(next);
      return TryAgain(next);
    }
    case Action::Kind::kSetTimer:
    case Action::Kind::kWait:
      return Park(action);
    case Action::Kind::kFail:
      if (waiting_.load(std::memory_order_relaxed)) {
        TellParent();
        return Start(NewFailedCall(action.status));
      }
      *batches_[batch_count_ - 1].held->GetRecvStatus() =
          core::ToGrpc(action.status);
      core::Access::SetDebugString(
          context_, absl::StrCat("mesh: ", action.status.message()));
      if (FallBack()) return;
      TellParent();
      return Deliver();
    case Action::Kind::kFinish:
      return Conclude();
    case Action::Kind::kGoOn:
      return;
  }
}

// Has failed, maybe: then who made the call that this is part of should know.
void Call::TellParent() {
  if (ABSL_PREDICT_FALSE(parent_ != nullptr) && machine_->retried_in_vain()) {
    incoming::MarkRetriedInVain(parent_);
  }
}

// What became of a call that failed although it was retried, or would have
// been. Its status is a server's and stays as it is.
void Call::TellStory() {
  TellParent();
  if (machine_->attempts() < 2 && !machine_->retried_in_vain()) return;
  core::Access::SetDebugString(
      context_, absl::StrCat(context_->debug_error_string(), "; mesh: ",
                             machine_->Story(base::Clock::Real().Now())));
}

void Call::Park(const Action& action) {
  {
    // Whoever resumes the call takes this lock first.
    grpc::internal::MutexLock lock(core::Access::Mu(context_));
    if (!cancelled_.load(std::memory_order_relaxed)) {
      parked_ = service_->Park(
          this, action.kind == Action::Kind::kWait ? seen_ : nullptr, action.at,
          parent_ != nullptr && (core::Access::Propagation(context_) &
                                 GRPC_PROPAGATE_CANCELLATION) != 0
              ? parent_
              : nullptr);
      return;
    }
  }
  OnCancelled();
}

void Call::Resume() {
  grpc::internal::MutexLock lock(core::Access::Mu(context_));
  parked_ = 0;
}

void Call::OnTimer() {
  Resume();
  auto action = machine_->OnTimer(Now());
  if (action.has_value()) Act(*action);
}

void Call::OnEndpointsChanged() {
  Resume();
  auto action = machine_->OnEndpointsChanged(Now());
  if (action.has_value()) Act(*action);
}

void Call::OnCancelled() {
  Resume();
  {
    grpc::internal::MutexLock lock(core::Access::Mu(context_));
    if (!cancelled_.load(std::memory_order_relaxed)) {
      // With the call that it is made for. TryCancel() would have cancelled the
      // placeholder.
      OnCancelHook();
      grpc_call_cancel(running_, nullptr);
    }
  }
  machine_->OnCancelled(Now());
  if (stream_retry_ != nullptr && stream_retry_->OnCancelled()) return;
  if (waiting_.load(std::memory_order_relaxed)) return Start(nullptr);
  *batches_[batch_count_ - 1].held->GetRecvStatus() =
      grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED");
  Deliver();
}

// TryCancel() has the context's lock: nothing is done here but to tell.
void Call::OnCancelHook() {
  cancelled_.store(true, std::memory_order_relaxed);
  if (hedging_ != nullptr) hedging_->OnCancelled();
  const uint64_t parked = parked_.load(std::memory_order_relaxed);
  if (parked != 0) service_->parking().Cancel(parked);
}

absl::Time Call::CheckIdle(absl::Time now, grpc_call** idle) {
  base::MutexLock lock(&mu_);  // A new attempt is active under it.
  const absl::Time until =
      absl::FromUnixNanos(active_.load(std::memory_order_relaxed)) +
      idle_timeout_;
  if (now < until) return until;
  // A call that waits for an endpoint is not idle: it has none to hear of.
  if (stream_ == nullptr || parked_.load(std::memory_order_relaxed) != 0) {
    return now + idle_timeout_;
  }
  idle_.store(true, std::memory_order_relaxed);
  grpc_call_ref(stream_);
  *idle = stream_;
  return now + idle_timeout_;
}

grpc_call* Call::RefIfOn(const cluster::LiveEndpoint* endpoint) {
  base::MutexLock lock(&mu_);
  if (stream_on_ != endpoint) return nullptr;
  grpc_call_ref(stream_);
  return stream_;
}

// Makes `next` the context's call, so that TryCancel(), peer() and the like are
// about the attempt that runs. False when the call has been cancelled.
bool Call::Swap(grpc_call* next, grpc_call** previous) {
  grpc::internal::MutexLock lock(core::Access::Mu(context_));
  if (cancelled_.load(std::memory_order_relaxed)) return false;
  *previous = core::Access::SwapCall(context_, next);
  return true;
}

// Starts what was held until there was an endpoint, or a status. Null: the call
// was cancelled, and with it the placeholder.
void Call::Start(grpc_call* next) {
  grpc_call* placeholder = nullptr;
  if (next != nullptr && !Swap(next, &placeholder)) {
    grpc_call_unref(next);
    EndCancelled();
    next = nullptr;
  }
  if (next != nullptr) ApplyCredentials(next);
  absl::InlinedVector<EarlyBatch, 2> held;
  {
    base::MutexLock lock(&mu_);
    if (next != nullptr) {
      first_ = placeholder;
      running_ = next;
    }
    waiting_.store(false, std::memory_order_release);
    for (auto it = early_.begin(); it != early_.end();) {
      if (it->held == nullptr) {
        ++it;  // Still with the application's interceptors.
        continue;
      }
      held.push_back(*it);
      it = early_.erase(it);
    }
  }
  // With the last one the call may end, and this object with it.
  for (const EarlyBatch& batch : held) {
    if (next != nullptr) {
      Restart(batch.ops, placeholder);
    } else {
      batch.held->Proceed();
    }
  }
}

void Call::TryAgain(grpc_call* next) {
  grpc_call* previous = nullptr;
  if (!Swap(next, &previous)) {
    grpc_call_unref(next);
    answered_.reset();
    EndCancelled();
    *batches_[batch_count_ - 1].held->GetRecvStatus() =
        grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED");
    return Deliver();
  }
  PrepareNext();
  if (answered_ == nullptr) ApplyCredentials(next);
  grpc_call* const was = running_;
  running_ = next;
  start_is_up_ = false;
  const int count = batch_count_;
  Ops* ops[2] = {batches_[0].ops, batches_[1].ops};
  grpc::Status* const status = batches_[count - 1].held->GetRecvStatus();
  for (int i = 0; i < count; ++i) {
    Rearm(ops[i], i == count - 1 ? status : nullptr);
    batches_[i].held = nullptr;
  }
  // The batches hold references of their own to `was` until they are started
  // again. The first call of all is kept: it owns their memory.
  KeepFirst(previous);
  // With the last one the call may end, and this object with it.
  for (int i = 0; i < count; ++i) Restart(ops[i], was);
}

void Call::KeepFirst(grpc_call* previous) {
  if (first_ == nullptr) {
    first_ = previous;
  } else {
    grpc_call_unref(previous);
  }
}

// Forgets what the last attempt received, and says what the next one is to
// send.
void Call::PrepareNext() {
  // What was received lives in the call that received it.
  core::Access::InitialMetadata(context_).Reset();
  core::Access::TrailingMetadata(context_).Reset();
  core::Access::SetDebugString(context_, "");
  if (hedging_ != nullptr) return hedging_->SayPreviousAttempts();
  SayPreviousAttempts();
}

void Call::SayPreviousAttempts() {
  auto& metadata = core::Access::SentMetadata(context_);
  metadata.erase(kPreviousAttempts);
  if (machine_->previous_attempts() > 0) {
    metadata.emplace(kPreviousAttempts,
                     absl::StrCat(machine_->previous_attempts()));
  }
}

// An attempt that was to begin, and has not: the application has cancelled.
void Call::EndCancelled() {
  mesh::call::AttemptOutcome cancelled;
  cancelled.code = absl::StatusCode::kCancelled;
  cancelled.committed = true;
  if (hedging_ != nullptr) return hedging_->OnNativeCancelled(cancelled);
  if (machine_->finished()) return;
  machine_->OnAttemptDone(machine_->attempts(), cancelled, Now());
}

// The batches that were held until there was an attempt are started now.
void Call::StopWaiting() {
  base::MutexLock lock(&mu_);
  waiting_.store(false, std::memory_order_release);
}

void Call::Rearm(Ops* ops, grpc::Status* status) {
  // A CallOpRecvMessage stays armed, whatever its type is.
  if (auto* op = dynamic_cast<CallOpGenericRecvMessage*>(ops)) {
    op->*core::DeserializerMember() =
        std::make_unique<core::Borrowed>(deserializer_.get());
  }
  if (auto* op = dynamic_cast<CallOpSendInitialMetadata*>(ops)) {
    op->SendInitialMetadata(&core::Access::SentMetadata(context_),
                            core::Access::InitialMetadataFlags(context_));
  }
  if (auto* op = dynamic_cast<CallOpSendMessage*>(ops)) {
    *op = CallOpSendMessage();  // It remembers that it failed.
  }
  // Who only answers need not be asked.
  if (auto* op = dynamic_cast<CallOpSendMessage*>(ops);
      op != nullptr && answered_ == nullptr) {
    // A ByteBuffer is its own serialization: this cannot fail.
    const grpc::Status ignored = op->SendMessage(Request());
    (void)ignored;
  }
  if (auto* op = dynamic_cast<CallOpRecvInitialMetadata*>(ops)) {
    op->RecvInitialMetadata(context_);
  }
  if (auto* op = dynamic_cast<CallOpClientSendClose*>(ops);
      op != nullptr && answered_ == nullptr) {
    op->ClientSendClose();
  }
  if (status != nullptr) {
    auto* const op = dynamic_cast<CallOpClientRecvStatus*>(ops);
    new (op) CallOpClientRecvStatus();  // It keeps the old debug string.
    op->ClientRecvStatus(context_, status);
  }
}

// Starts a batch on running_ that was started on `was`.
void Call::Restart(Ops* ops, grpc_call* was) {
  grpc::experimental::ClientRpcInfo* info = info_;
  if (channel_->application_interceptors() > 0) {
    // The application's interceptors have seen it go down already. When a wait
    // ends two threads may come here.
    base::MutexLock lock(&mu_);
    if (restart_context_ == nullptr) {
      restart_context_ = std::make_unique<grpc::ClientContext>();
      const NextInterceptor next(new RestartInterceptor(this));
      // Not info_->method(): that of a GenericStub is gone by now.
      const grpc::internal::RpcMethod rpc(call_info_.method.data(), type_);
      restart_info_ = core::Access::SetRpcInfo(
          restart_context_.get(), rpc, channel_.get(), channel_->factories(),
          channel_->application_interceptors());
      // Only its interceptors matter.
      full_call_ = grpc::internal::Call(running_, this, queue_, info_);
    }
    info = restart_info_;
  }
  restarted_.store(true, std::memory_order_release);
  grpc::internal::Call call(running_, this, queue_, info);
  grpc_call_unref(was);  // FillOps() had taken a reference.
  restarting = this;
  ops->FillOps(&call);
}

void Call::Deliver() {
  const int count = batch_count_;
  InterceptorBatchMethods* held[2] = {batches_[0].held, batches_[1].held};
  const bool restarted = restarted_;
  request_.Clear();  // The context may live on for long.
  request_slice_.reset();
  for (int i = 0; i < count && i < 2; ++i) {
    batches_[i].held = nullptr;
  }
  for (int i = 0; i < count && i < 2; ++i) {
    if (held[i] != nullptr) Proceed(held[i], restarted);
  }
}

void Call::Proceed(InterceptorBatchMethods* methods, bool restarted) {
  if (owes_post_send_message_) {
    // It is the first batch that goes up, and the one with the request.
    owes_post_send_message_ = false;
    static_cast<InterceptorBatchMethodsImpl*>(methods)
        ->AddInterceptionHookPoint(InterceptionHookPoints::POST_SEND_MESSAGE);
  }
  if (!restarted || restart_info_ == nullptr) return methods->Proceed();
  // All the way up, through the application's interceptors too.
  auto* const batch = static_cast<InterceptorBatchMethodsImpl*>(methods);
  batch->SetCall(&full_call_);
  delivering = methods;
  batch->RunInterceptors();
}

}  // namespace mesh::channel
