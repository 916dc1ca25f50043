#include "mesh/service/runtime.h"

#include <algorithm>
#include <utility>

#include "grpc/grpc.h"
#include "mesh/grpc/access.h"

namespace mesh::service {
namespace {

// How often gRPC gets to do I/O on the control thread: when connections begin
// to be opened, and in the end. In between the interval grows by a quarter each
// time, so that what is ready waits a quarter longer than it took, at most.
constexpr absl::Duration kPollFirst = absl::Milliseconds(2);
constexpr absl::Duration kPollLast = absl::Milliseconds(200);
// How often a connection is looked at that is to be closed.
constexpr absl::Duration kCloseAgain = absl::Milliseconds(50);
// gRPC goes on with a dial whose time was over, unseen. It ends again after 6.4
// s at the soonest, with the default of connect_timeout.
constexpr absl::Duration kLingers = absl::Seconds(6);

}  // namespace

Runtime::Runtime(LogSink log,
                 std::vector<std::shared_ptr<telemetry::Observer>> observers,
                 std::map<std::string, Fallback> fallbacks,
                 const options::TelemetryOptions& telemetry,
                 const options::LimitsOptions& limits,
                 discovery::ParseEndpoints parse_endpoints,
                 const Control* control)
    : application_(
          std::move(log), std::move(observers), std::move(fallbacks),
          // Later: whoever logs may take its time.
          [this](const std::string& line) {
            loop_->Post([this, line] { Log(LogSeverity::kError, line); });
          }),
      telemetry_(telemetry),
      clock_(control != nullptr ? *control->clock : base::Clock::Real()),
      parse_endpoints_(std::move(parse_endpoints)),
      make_resolver_(control != nullptr ? control->make_resolver : nullptr),
      make_connection_(control != nullptr ? control->make_connection : nullptr),
      wall_(control != nullptr ? control->wall : base::WallTime),
      gate_(control != nullptr ? control->gate : &RenewalGate::OfProcess()),
      stream_bytes_(limits.stream_retry_bytes),
      placeholder_(grpc_lame_client_channel_create(
          "mesh", GRPC_STATUS_UNAVAILABLE,
          "mesh: the call waits for an endpoint.")),
      callback_channel_(core::Access::Wrap(placeholder_)),
      poll_queue_(grpc_completion_queue_create_for_next(nullptr)),
      thread_(control != nullptr
                  ? nullptr
                  : std::make_unique<base::EventLoop>("mesh_control")),
      loop_(control != nullptr ? control->loop : thread_.get()) {
  if (thread_ != nullptr) loop_->Post([this] { SchedulePoll(); });
}

std::shared_ptr<Runtime> Runtime::Make(
    LogSink log, std::vector<std::shared_ptr<telemetry::Observer>> observers,
    std::map<std::string, Fallback> fallbacks,
    const options::TelemetryOptions& telemetry,
    const options::LimitsOptions& limits,
    discovery::ParseEndpoints parse_endpoints) {
  return {
      new Runtime(std::move(log), std::move(observers), std::move(fallbacks),
                  telemetry, limits, std::move(parse_endpoints)),
      [](Runtime* gone) {
        if (!gone->failure().empty()) {
          delete gone;  // There is no thread.
          return;
        }
        gone->loop().Post([gone] { delete gone; });
      }};
}

Runtime::~Runtime() {
  grpc_completion_queue_shutdown(poll_queue_);
  while (grpc_completion_queue_next(poll_queue_,
                                    gpr_inf_future(GPR_CLOCK_REALTIME), nullptr)
             .type != GRPC_QUEUE_SHUTDOWN) {
  }
  grpc_completion_queue_destroy(poll_queue_);
}

std::unique_ptr<discovery::Resolver> Runtime::MakeResolver(
    const options::EndpointSource& source) {
  return thread_ != nullptr
             ? discovery::MakeResolver(source, thread_.get(), parse_endpoints_)
             : make_resolver_(source);
}

std::unique_ptr<Connection> Runtime::MakeConnection(
    const cluster::Endpoint& endpoint,
    std::shared_ptr<const ConnectionSettings> settings, uint64_t number,
    Secrets::Expires expires) {
  return thread_ != nullptr
             ? MakeGrpcConnection(endpoint, std::move(settings), number,
                                  std::move(expires), &watches_)
             : make_connection_(endpoint, std::move(settings), number,
                                std::move(expires));
}

grpc::CompletionQueue* Runtime::CallbackQueue() {
  return core::Access::CallbackQueue(callback_channel_.get());
}

core::InProcessServer& Runtime::in_process() {
  base::MutexLock lock(&in_process_mu_);
  if (in_process_ == nullptr) {
    in_process_ = std::make_unique<core::InProcessServer>();
  }
  return *in_process_;
}

void Runtime::CloseConnection(std::unique_ptr<Connection> connection) {
  const absl::Time until =
      connection->lingers() ? clock_.Now() + kLingers : absl::InfiniteFuture();
  closing_.push_back({std::move(connection), until});
  if (closing_.size() == 1) SweepClosing();
}

void Runtime::SweepClosing() {
  const absl::Time now = clock_.Now();
  const auto first = std::remove_if(
      closing_.begin(), closing_.end(), [now](const PendingClose& closing) {
        return closing.connection->MayClose() || now >= closing.until;
      });
  // gRPC closes what it may when it does I/O.
  if (first != closing_.end()) PollWhileConnecting();
  closing_.erase(first, closing_.end());
  if (closing_.empty()) return;
  loop_->RunAt(clock_.Now() + kCloseAgain, [this] { SweepClosing(); });
}

void Runtime::PollWhileConnecting() {
  if (thread_ == nullptr) return;
  // Not put off again and again while many connections fail.
  const bool soon = poll_interval_ < 4 * kPollFirst;
  poll_interval_ = kPollFirst;
  if (soon) return;
  if (poll_timer_ != 0) loop_->Cancel(poll_timer_);
  SchedulePoll();
}

void Runtime::Poll() {
  grpc_completion_queue_next(poll_queue_, gpr_time_0(GPR_CLOCK_MONOTONIC),
                             nullptr);
  poll_interval_ = std::min(1.25 * poll_interval_, kPollLast);
  SchedulePoll();
}

void Runtime::SchedulePoll() {
  poll_timer_ = loop_->RunAt(clock_.Now() + poll_interval_, [this] { Poll(); });
}

}  // namespace mesh::service
