#ifndef MESH_SERVICE_RUNTIME_H_
#define MESH_SERVICE_RUNTIME_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "grpc/grpc.h"
#include "grpcpp/grpcpp.h"
#include "mesh/base/byte_budget.h"
#include "mesh/base/clock.h"
#include "mesh/base/event_loop.h"
#include "mesh/base/mutex.h"
#include "mesh/base/scheduler.h"
#include "mesh/discovery/feed.h"
#include "mesh/fallback.h"
#include "mesh/grpc/core_queue.h"
#include "mesh/grpc/in_process_answer.h"
#include "mesh/log.h"
#include "mesh/options/service.h"
#include "mesh/service/application.h"
#include "mesh/service/connections.h"
#include "mesh/service/grpc_connection.h"
#include "mesh/telemetry/observer.h"

namespace mesh::service {

// What all services of one Mesh share: the control thread, the watcher of
// connections, and what was given in code. It lives until the last channel is
// gone, which may be after the Mesh. Thread-safe.
class Runtime {
 public:
  // Replaces the control thread, sockets and the like with what a test moves by
  // hand. It outlives the runtime. There is no thread then, and gRPC is not
  // polled. Resolvers and connections are those that a test makes
  // (service_test_util.h has all that is needed).
  struct Control {
    base::Scheduler* loop = nullptr;
    const base::Clock* clock = nullptr;
    discovery::Feed::MakeResolver make_resolver;
    Connections::Make make_connection;
    std::function<absl::Time()> wall = base::WallTime;
    RenewalGate* gate = &RenewalGate::OfProcess();
  };

  // A runtime that ends on its control thread, wherever the last reference is
  // dropped: that thread may be using it then.
  static std::shared_ptr<Runtime> Make(
      LogSink log, std::vector<std::shared_ptr<telemetry::Observer>> observers,
      std::map<std::string, Fallback> fallbacks,
      const options::TelemetryOptions& telemetry,
      const options::LimitsOptions& limits,
      discovery::ParseEndpoints parse_endpoints);

  // `control`: null but for tests.
  Runtime(LogSink log,
          std::vector<std::shared_ptr<telemetry::Observer>> observers,
          std::map<std::string, Fallback> fallbacks,
          const options::TelemetryOptions& telemetry,
          const options::LimitsOptions& limits,
          discovery::ParseEndpoints parse_endpoints,
          const Control* control = nullptr);
  ~Runtime();

  // The application's code.
  const Application& application() const { return application_; }
  void Log(LogSeverity severity, absl::string_view line) const {
    application_.Log(severity, line);
  }

  // Why nothing that is given to this will run: there is no control thread.
  // Empty: there is one.
  std::string failure() const {
    return thread_ != nullptr ? thread_->failure() : std::string();
  }
  // The control thread.
  base::Scheduler& loop() { return *loop_; }
  const base::Clock& clock() const { return clock_; }
  const std::function<absl::Time()>& wall() const { return wall_; }
  RenewalGate* gate() const { return gate_; }
  std::unique_ptr<discovery::Resolver> MakeResolver(
      const options::EndpointSource& source);

  // A connection of `endpoint`. Both the endpoint and the runtime outlive it.
  std::unique_ptr<Connection> MakeConnection(
      const cluster::Endpoint& endpoint,
      std::shared_ptr<const ConnectionSettings> settings, uint64_t number,
      Secrets::Expires expires);
  // Closes a connection that no call uses. It does so later while the
  // connection is being made. Control thread only.
  void CloseConnection(std::unique_ptr<Connection> connection);
  // The queue of the calls that mesh makes itself.
  core::CoreQueue& queue() { return queue_; }
  const options::TelemetryOptions& telemetry() const { return telemetry_; }

  // What all streams together may keep of what they send.
  base::ByteBudget& stream_bytes() { return stream_bytes_; }

  // A channel on which a call can be created, and none ever starts. A call has
  // it until there is an endpoint for it.
  grpc_channel* placeholder() const { return placeholder_; }

  // The queue of the callback API. It belongs to no endpoint.
  grpc::CompletionQueue* CallbackQueue();

  // Made when it is first needed.
  core::InProcessServer& in_process();

  // Lets gRPC do its I/O for a moment, now and then. So connections are opened
  // and lost also while no call polls. Control thread only.
  void PollWhileConnecting();

 private:
  void Poll();
  void SchedulePoll();
  void SweepClosing();

  // gRPC is up as long as this lives. The channel below is made without the C++
  // classes that would see to that.
  struct Library {
    Library() { grpc_init(); }
    ~Library() { grpc_shutdown(); }
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;
  };

  // Constant.
  const Library library_;  // First: the others need it.
  const Application application_;
  const options::TelemetryOptions telemetry_;
  const base::Clock& clock_;
  const discovery::ParseEndpoints parse_endpoints_;
  // Null except in a test.
  const discovery::Feed::MakeResolver make_resolver_;
  const Connections::Make make_connection_;
  const std::function<absl::Time()> wall_;
  RenewalGate* const gate_;
  base::ByteBudget stream_bytes_;
  grpc_channel* placeholder_;  // The channel below callback_channel_.
  std::shared_ptr<grpc::Channel> callback_channel_;
  grpc_completion_queue* const poll_queue_;

  // Control thread only.
  absl::Duration poll_interval_ = absl::Milliseconds(200);
  base::Scheduler::TimerId poll_timer_ = 0;
  struct PendingClose {
    std::unique_ptr<Connection> connection;
    absl::Time until;  // It is closed then, whether or not it may be.
  };
  std::vector<PendingClose> closing_;

  // It brings the events that tell of changed connections.
  core::CoreQueue watches_;
  core::CoreQueue queue_;
  base::Mutex in_process_mu_;
  std::unique_ptr<core::InProcessServer> in_process_
      ABSL_GUARDED_BY(in_process_mu_);

  // Last: it starts what uses the rest, and ends before the rest goes.
  const std::unique_ptr<base::EventLoop> thread_;  // Null in a test.
  base::Scheduler* const loop_;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_RUNTIME_H_
