#include "mesh/channel/runtime.h"

#include <cstdio>
#include <utility>

#include "grpc/grpc.h"
#include "mesh/base/clock.h"
#include "mesh/channel/grpc_access.h"

namespace mesh::channel {
namespace {

// How often gRPC gets to do I/O on the control thread: while connections are
// being opened, and otherwise.
constexpr absl::Duration kPollFast = absl::Milliseconds(2);
constexpr absl::Duration kPollSlow = absl::Milliseconds(200);
// How long after a connection has begun to be opened.
constexpr absl::Duration kFastFor = absl::Milliseconds(500);

void LogToStderr(LogSeverity severity, absl::string_view line) {
  if (severity == LogSeverity::kInfo) return;
  std::fprintf(stderr, "mesh %s: %.*s\n",
               severity == LogSeverity::kError ? "error" : "warning",
               static_cast<int>(line.size()), line.data());
}

}  // namespace

Runtime::Runtime(LogSink log,
                 std::vector<std::shared_ptr<telemetry::Observer>> observers,
                 const config::TelemetryOptions& telemetry)
    : log_(log ? std::move(log) : LogSink(LogToStderr)),
      observers_(std::move(observers)),
      telemetry_(telemetry),
      placeholder_(grpc_lame_client_channel_create(
          "mesh", GRPC_STATUS_UNAVAILABLE, "waiting for an endpoint")),
      callback_channel_(Access::Wrap(placeholder_)),
      poll_queue_(grpc_completion_queue_create_for_next(nullptr)),
      loop_("mesh_control") {
  loop_.Post([this] { SchedulePoll(); });
}

Runtime::~Runtime() {
  grpc_completion_queue_shutdown(poll_queue_);
  while (grpc_completion_queue_next(poll_queue_,
                                    gpr_inf_future(GPR_CLOCK_REALTIME), nullptr)
             .type != GRPC_QUEUE_SHUTDOWN) {
  }
  grpc_completion_queue_destroy(poll_queue_);
}

void Runtime::Log(LogSeverity severity, absl::string_view line) const {
  log_(severity, line);
}

grpc::CompletionQueue* Runtime::CallbackQueue() {
  return Access::CallbackQueue(callback_channel_.get());
}

void Runtime::PollWhileConnecting() {
  const absl::Time now = base::Clock::Real().Now();
  const bool fast = now < poll_fast_until_;
  poll_fast_until_ = now + kFastFor;
  // Not put off again and again while many connections fail.
  if (fast) return;
  if (poll_timer_ != 0) loop_.Cancel(poll_timer_);
  SchedulePoll();
}

void Runtime::Poll() {
  grpc_completion_queue_next(poll_queue_, gpr_time_0(GPR_CLOCK_MONOTONIC),
                             nullptr);
  SchedulePoll();
}

void Runtime::SchedulePoll() {
  const absl::Time now = base::Clock::Real().Now();
  poll_timer_ =
      loop_.RunAt(now + (now < poll_fast_until_ ? kPollFast : kPollSlow),
                  [this] { Poll(); });
}

}  // namespace mesh::channel
