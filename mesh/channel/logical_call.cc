#include "mesh/channel/logical_call.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "mesh/base/random.h"
#include "mesh/channel/channel.h"
#include "mesh/channel/outcome.h"
#include "mesh/grpc/failure.h"
#include "mesh/grpc/op_set.h"
#include "mesh/grpc/time.h"
#include "mesh/incoming/incoming_call.h"
#include "mesh/service/endpoint.h"
#include "mesh/upstream/plan.h"

namespace mesh::channel {

LogicalCall::LogicalCall(std::shared_ptr<Channel> channel,
                         service::Method* method,
                         const grpc::internal::RpcMethod& rpc,
                         grpc::ClientContext* context,
                         grpc::CompletionQueue* queue)
    : channel_(std::move(channel)),
      service_(channel_->service()),
      clock_(service_->runtime().clock()),
      method_(method != nullptr ? method : service_->FindMethod(rpc.name())),
      type_(rpc.method_type()),
      context_(context),
      queue_(queue),
      snapshot_(service_->Snapshot()),
      runner_(this, channel_.get(), queue) {
  if (ABSL_PREDICT_FALSE(method_ == nullptr)) own_name_ = rpc.name();
}

LogicalCall::~LogicalCall() {
  if (machine_.has_value() && !machine_->finished()) {
    machine_->Abandon(clock_now());
  }
  if (first_ != nullptr) grpc_call_unref(first_);
  if (parent_ != nullptr) grpc_call_unref(parent_);
}

call::Moment LogicalCall::Now() {
  const service::ServiceView* const snapshot = service_->Snapshot().get();
  seen_ = snapshot;
  call::Moment moment;
  moment.now = clock_now();
  moment.picker = snapshot->picker.get();
  moment.random = &base::ThreadRandom();
  moment.endpoints = snapshot->endpoints;
  return moment;
}

// --- The beginning

call::CallPlan LogicalCall::Plan(const call::Moment& moment, bool unary) {
  call_info_.service = service_->name();
  call_info_.method = method_ != nullptr ? absl::string_view(method_->name)
                                         : absl::string_view(own_name_);
  call_info_.slot = method_ != nullptr ? service_->MetricsOf(method_)
                                       : service_->other_methods();
  upstream::CallShape shape;
  shape.method = method_;
  shape.name = call_info_.method;
  shape.unary = unary;
  if (core::Access::wait_for_ready_is_set(context_)) {
    shape.wait_for_ready = core::Access::wait_for_ready(context_);
  }
  call::CallPlan plan = service_->upstream().Plan(snapshot_->policies, shape);
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
  if (ABSL_PREDICT_FALSE(policy.fault.by_header)) {
    const HeaderFaults faults =
        TakeFaults(&core::Access::SentMetadata(context_));
    plan.abort_by_header = faults.abort;
    plan.delay_by_header = faults.delay;
  }
  return plan;
}

void LogicalCall::MakeMachine(const call::CallPlan& plan,
                              const call::Moment& moment) {
  if (plan.replayable && plan.wait_for_ready) {
    // The machine waits, for any endpoint. gRPC would wait for this one, even
    // when it is gone for good.
    context_->set_wait_for_ready(false);
  }
  parent_ = core::Access::Parent(context_);
  if (ABSL_PREDICT_FALSE(parent_ != nullptr)) InheritDeadline(moment.now);
  machine_.emplace(plan, &call_info_);
}

// What the call takes from the call that it is made for.
void LogicalCall::InheritDeadline(absl::Time now) {
  // A retry is a child of it, too, and may begin when the server's call is
  // over.
  grpc_call_ref(parent_);
  if ((core::Access::Propagation(context_) & GRPC_PROPAGATE_DEADLINE) == 0) {
    return;
  }
  // gRPC passes the deadline on, too, but does not tell it.
  if (const auto incoming = incoming::FindIncoming(parent_)) {
    call_info_.deadline = std::min(call_info_.deadline,
                                   core::ToMonotonic(incoming->deadline, now));
  }
}

grpc_call* LogicalCall::BeginWithout(const Action& action) {
  const bool waits = action.kind == Action::Kind::kWait ||
                     action.kind == Action::Kind::kSetTimer;
  if (!waits && seen_->endpoints.empty()) service_->OnNoEndpoint();
  if (action.asks) unheard_ = action;
  // Nothing is chosen before the first batch starts.
  grpc_call* const call =
      waits ? NewCallOn(service_->runtime().placeholder(), nullptr,
                        gpr_inf_future(GPR_CLOCK_REALTIME), queue_->cq())
            : NewFailedCall(action.status);
  early_.Begin(call, waits);
  return call;
}

std::optional<call::Action> LogicalCall::LookForEndpoint() {
  // The machine asks for a dial once. Park() passes that on.
  if (ABSL_PREDICT_FALSE(unheard_.has_value())) {
    return std::exchange(unheard_, std::nullopt);
  }
  auto action = machine_->OnEndpointsChanged(Now());
  // It waits for a time then, not for endpoints.
  if (!action.has_value()) action = machine_->OnTimer(Now());
  return action;
}

// --- Attempts

grpc_call* LogicalCall::NewCall(cluster::LiveEndpoint* endpoint,
                                absl::Time deadline) {
  attempt_deadline_ = deadline;
  auto* const connected = service::ConnectedEndpoint::Of(endpoint);
  grpc_channel* const channel = ChannelOf(connected);
  if (ABSL_PREDICT_FALSE(channel == nullptr)) {
    return NewFailedCall(connected->Failure());
  }
  return NewCallOn(channel, ParentOf(/*first=*/early_.running() == nullptr),
                   deadline == context_deadline_ ? context_->raw_deadline()
                                                 : core::ToGpr(deadline),
                   queue_->cq());
}

grpc_call* LogicalCall::NewCallBeside(cluster::LiveEndpoint* endpoint,
                                      absl::Time deadline) {
  auto* const connected = service::ConnectedEndpoint::Of(endpoint);
  grpc_channel* const channel = ChannelOf(connected);
  grpc_completion_queue* const queue = service_->runtime().queue().queue();
  if (ABSL_PREDICT_FALSE(channel == nullptr)) {
    return NewFailedCall(connected->Failure(), queue);
  }
  grpc_call* const call = NewCallOn(channel, ParentOf(/*first=*/false),
                                    core::ToGpr(deadline), queue);
  ApplyCredentials(call);
  return call;
}

// Null: the attempt fails at once. A channel that is dialled again after a
// failure would keep a call that is not to wait.
grpc_channel* LogicalCall::ChannelOf(
    service::ConnectedEndpoint* endpoint) const {
  if (ABSL_PREDICT_FALSE(endpoint->readiness() ==
                         cluster::Readiness::kFailed) &&
      !core::Access::wait_for_ready(context_)) {
    return nullptr;
  }
  return endpoint->CoreChannel(exact_);
}

// What an attempt is a child of.
grpc_call* LogicalCall::ParentOf(bool first) const {
  // gRPC cancels a call that begins as the child of one that is over, even when
  // it was to inherit nothing.
  constexpr uint32_t kInherits =
      GRPC_PROPAGATE_DEADLINE | GRPC_PROPAGATE_CANCELLATION;
  const bool orphan =
      !first && (core::Access::Propagation(context_) & kInherits) == 0;
  return orphan ? nullptr : parent_;
}

grpc_call* LogicalCall::NewFailedCall(const absl::Status& status,
                                      grpc_completion_queue* queue) {
  grpc_channel* const channel = grpc_lame_client_channel_create(
      "mesh", static_cast<grpc_status_code>(status.code()),
      std::string(status.message()).c_str());
  grpc_call* const call =
      NewCallOn(channel, nullptr, gpr_inf_future(GPR_CLOCK_REALTIME), queue);
  grpc_channel_destroy(channel);
  return call;
}

grpc_call* LogicalCall::NewCallOn(grpc_channel* channel, grpc_call* parent,
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
void LogicalCall::ApplyCredentials(grpc_call* call) {
  if (context_->credentials() != nullptr &&
      !context_->credentials()->ApplyToCall(call)) {
    grpc_call_cancel_with_status(call, GRPC_STATUS_CANCELLED,
                                 "Failed to set credentials to rpc.", nullptr);
  }
}

bool LogicalCall::Swap(grpc_call* next, grpc_call** previous) {
  grpc::internal::MutexLock lock(core::Access::Mu(context_));
  if (IsCancelled()) return false;
  *previous = core::Access::SwapCall(context_, next);
  return true;
}

void LogicalCall::KeepFirst(grpc_call* previous) {
  if (first_ == nullptr) {
    first_ = previous;
  } else {
    grpc_call_unref(previous);
  }
}

void LogicalCall::ForgetReceived() {
  // What was received lives in the call that received it.
  core::Access::InitialMetadata(context_).Reset();
  core::Access::TrailingMetadata(context_).Reset();
  core::Access::SetDebugString(context_, "");
}

void LogicalCall::StartHeld(grpc_call* next) {
  grpc_call* placeholder = nullptr;
  if (next != nullptr && !Swap(next, &placeholder)) {
    grpc_call_unref(next);
    EndCancelled();
    next = nullptr;
  }
  if (next != nullptr) {
    ApplyCredentials(next);
    early_.RunOn(next);
    KeepFirst(placeholder);
  }
  // With the last one the call may end, and this object with it.
  for (Methods* methods : early_.EndWait()) methods->Proceed();
}

// --- Ends

void LogicalCall::Heed(const grpc_metadata_array& trailers,
                       cluster::LiveEndpoint* endpoint) {
  if (endpoint == nullptr || !SaysDraining(trailers)) return;
  service_->upstream().health().OnDraining(endpoint, clock_now());
}

void LogicalCall::HeedTrailers() {
  const auto& trailers = *core::Access::TrailingMetadata(context_).arr();
  if (ABSL_PREDICT_TRUE(trailers.count == 0)) return;
  Heed(trailers, machine_->endpoint());
}

call::AttemptOutcome LogicalCall::Outcome(const grpc::Status& status,
                                          bool committed) {
  if (status.ok()) return {};
  call::AttemptOutcome outcome = OutcomeOf(
      status, context_->debug_error_string(),
      *core::Access::TrailingMetadata(context_).arr(), attempt_deadline_);
  outcome.committed = committed;
  return outcome;
}

call::AttemptOutcome LogicalCall::OutcomeOf(const grpc::Status& status,
                                            absl::string_view debug,
                                            const grpc_metadata_array& trailers,
                                            absl::Time deadline) {
  if (status.ok()) return {};
  AttemptBounds bounds;
  bounds.now = clock_now();
  bounds.attempt_deadline = deadline;
  bounds.call_deadline = call_info_.deadline;
  bounds.idempotent = idempotent_;
  call::AttemptOutcome outcome = Explain(status, debug, bounds);
  outcome.pushback = PushbackOf(trailers);
  return outcome;
}

void LogicalCall::EndCancelled() {
  if (machine_->finished()) return;
  call::AttemptOutcome cancelled;
  cancelled.code = absl::StatusCode::kCancelled;
  cancelled.committed = true;
  machine_->OnAttemptDone(machine_->attempts(), cancelled, Now());
}

void LogicalCall::TellParent() {
  if (ABSL_PREDICT_FALSE(parent_ != nullptr) && machine_->retried_in_vain()) {
    incoming::MarkRetriedInVain(parent_);
  }
}

void LogicalCall::TellStory() {
  TellParent();
  if (machine_->attempts() < 2 && !machine_->retried_in_vain()) return;
  core::Access::SetDebugString(
      context_, absl::StrCat(context_->debug_error_string(),
                             "; mesh: ", machine_->Story(clock_now())));
}

void LogicalCall::SetDebugString(const absl::Status& status) {
  core::Access::SetDebugString(context_,
                               absl::StrCat("mesh: ", status.message()));
}

// --- Parked

void LogicalCall::Park(const Action& action) {
  {
    // The one who resumes the call takes this lock first.
    grpc::internal::MutexLock lock(core::Access::Mu(context_));
    if (!IsCancelled()) {
      parked_ = service_->Park(
          this, action.kind == Action::Kind::kWait ? seen_ : nullptr,
          action.asks, action.at,
          parent_ != nullptr && (core::Access::Propagation(context_) &
                                 GRPC_PROPAGATE_CANCELLATION) != 0
              ? parent_
              : nullptr);
      return;
    }
  }
  OnCancelled();
}

void LogicalCall::Resume() {
  grpc::internal::MutexLock lock(core::Access::Mu(context_));
  parked_ = 0;
}

void LogicalCall::OnTimer() {
  Resume();
  auto action = machine_->OnTimer(Now());
  if (action.has_value()) Act(*action);
}

void LogicalCall::OnEndpointsChanged() {
  Resume();
  auto action = machine_->OnEndpointsChanged(Now());
  if (action.has_value()) Act(*action);
}

void LogicalCall::OnCancelled() {
  Resume();
  {
    grpc::internal::MutexLock lock(core::Access::Mu(context_));
    if (!IsCancelled()) {
      // It ends with the call that it is made for. TryCancel() would have
      // cancelled the placeholder.
      NoteCancelled();
      grpc_call_cancel(early_.running(), nullptr);
    }
  }
  machine_->OnCancelled(Now());
  EndParked();
}

void LogicalCall::NoteCancelled() {
  cancelled_.store(true, std::memory_order_relaxed);
  const uint64_t parked = parked_.load(std::memory_order_relaxed);
  if (parked != 0) service_->parking().Cancel(parked);
}

// --- Small parts

bool LogicalCall::KnowsItsType(Ops* ops) const {
  if (ABSL_PREDICT_TRUE(core::KnowsItsType(ops))) return true;
  static std::atomic<bool> logged{false};
  if (!logged.exchange(true)) {
    service_->runtime().Log(
        LogSeverity::kWarning,
        "a stub was compiled without RTTI (-fno-rtti): its calls are balanced "
        "but not retried. Compile it with RTTI.");
  }
  return false;
}

}  // namespace mesh::channel
