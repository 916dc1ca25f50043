#ifndef MESH_SERVICE_SERVICE_TEST_UTIL_H_
#define MESH_SERVICE_SERVICE_TEST_UTIL_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "mesh/base/scheduler.h"
#include "mesh/discovery/fake_discovery_test_util.h"
#include "mesh/log.h"
#include "mesh/service/connection.h"
#include "mesh/service/connections.h"
#include "mesh/service/runtime.h"
#include "mesh/telemetry/observer.h"
#include "mesh/testing/fake_loop.h"

// What tests of the service's parts, and of what uses a Service, need in place
// of a thread, a clock, sockets and a registry.

namespace mesh::service {

// A control thread that a test moves. The test may let its parts go.
struct FakeControl {
  FakeControl() { scheduler->Bind(owner); }

  testing::FakeClock clock;
  testing::FakeLoop loop{&clock};
  std::shared_ptr<int> owner = std::make_shared<int>(0);
  const std::shared_ptr<base::OwnedScheduler> scheduler =
      std::make_shared<base::OwnedScheduler>(&loop);
};

// The wall clock of a test is ahead of its clock.
inline constexpr absl::Duration kWallIsAhead = absl::Hours(1000);

// A scheduler that lets others go first: after each timer that is set it runs
// `between`. So what a part does next comes second.
class InterruptedScheduler final : public base::Scheduler {
 public:
  explicit InterruptedScheduler(base::Scheduler* scheduler)
      : scheduler_(scheduler) {}

  void Post(Closure closure) override { scheduler_->Post(std::move(closure)); }
  TimerId RunAt(absl::Time at, Closure closure) override {
    const TimerId timer = scheduler_->RunAt(at, std::move(closure));
    if (between) std::exchange(between, nullptr)();
    return timer;
  }
  bool Cancel(TimerId timer) override { return scheduler_->Cancel(timer); }

  std::function<void()> between;

 private:
  base::Scheduler* const scheduler_;
};

// The connections of all endpoints, whose state a test sets. A connection is
// known by its endpoint's address; of several the newest counts.
class FakeNetwork {
 public:
  // For Runtime::Control and tests of Connections. This outlives what is made.
  Connections::Make Maker() {
    return [this](const cluster::Endpoint& endpoint,
                  std::shared_ptr<const ConnectionSettings> settings,
                  uint64_t number, Secrets::Expires expires) {
      ++made_[endpoint.address];
      expires_[endpoint.address] = std::move(expires);
      last_settings_ = std::move(settings);
      return std::make_unique<FakeConnection>(this, endpoint.address, number);
    };
  }

  // Changes the state of the connection to `address`, and tells those who
  // watch.
  void Set(const std::string& address, grpc_connectivity_state state) {
    FakeConnection* const connection = newest_[address];
    if (connection != nullptr) connection->Set(state);
  }
  // A function that changes the state of the connection that is the newest one
  // now.
  std::function<void(grpc_connectivity_state)> newest(
      const std::string& address) {
    return [connection = newest_[address]](grpc_connectivity_state state) {
      connection->Set(state);
    };
  }
  // Tells the connection that was made last until when its peer is valid, as
  // its handshake does.
  void Expires(const std::string& address, absl::Time wall) {
    expires_[address](wall);
  }
  // All connections to it that were made, and those that still exist.
  int made(const std::string& address) { return made_[address]; }
  int live(const std::string& address) { return live_[address]; }
  // Whether the newest one is being dialled.
  bool connecting(const std::string& address) {
    FakeConnection* const connection = newest_[address];
    return connection != nullptr &&
           connection->state() == GRPC_CHANNEL_CONNECTING;
  }
  // How often a connection was asked to connect.
  int dials(const std::string& address) { return dials_[address]; }
  // How often a connection was told not to wait for its backoff.
  int resets(const std::string& address) { return resets_[address]; }
  // How often a connection was ended under its calls.
  int broken(const std::string& address) { return broken_[address]; }
  int all_live() const {
    int all = 0;
    for (const auto& [address, live] : live_) all += live;
    return all;
  }
  const ConnectionSettings& last_settings() const { return *last_settings_; }

  // What has come over connections to an address, in bytes.
  std::map<std::string, uint64_t> received;
  // What calls are made on. None by default.
  std::function<grpc_channel*(const std::string& address, bool exact)> core;

 private:
  class FakeConnection final : public Connection {
   public:
    FakeConnection(FakeNetwork* network, std::string address, uint64_t number)
        : Connection(number), network_(network), address_(std::move(address)) {
      network_->newest_[address_] = this;
      ++network_->live_[address_];
    }
    ~FakeConnection() override {
      --network_->live_[address_];
      if (network_->newest_[address_] == this) {
        network_->newest_[address_] = nullptr;
      }
      Set(GRPC_CHANNEL_SHUTDOWN);
    }

    grpc_channel* Core(bool exact) override {
      return network_->core ? network_->core(address_, exact) : nullptr;
    }
    grpc_connectivity_state GetState(bool connect) override {
      if (connect) ++network_->dials_[address_];
      if (connect && state_ == GRPC_CHANNEL_IDLE) Set(GRPC_CHANNEL_CONNECTING);
      return state_;
    }
    void ResetBackoff() override { ++network_->resets_[address_]; }
    void AskWhy(std::function<void(absl::Status)> done) override {
      done(absl::UnavailableError("failed to connect to all addresses"));
    }
    std::optional<uint64_t> BytesReceived() override {
      return network_->received[address_];
    }
    bool Break() override {
      ++network_->broken_[address_];
      Set(GRPC_CHANNEL_IDLE);
      return true;
    }
    bool MayClose() override {
      return state_ != GRPC_CHANNEL_CONNECTING && !lingers();
    }
    void Watch(grpc_connectivity_state last,
               std::function<void()> changed) override {
      if (state_ != last) return changed();
      changed_ = std::move(changed);
    }

    grpc_connectivity_state state() const { return state_; }
    void Set(grpc_connectivity_state state) {
      if (state == state_) return;
      state_ = state;
      if (changed_) std::exchange(changed_, nullptr)();
    }

   private:
    FakeNetwork* const network_;
    const std::string address_;
    grpc_connectivity_state state_ = GRPC_CHANNEL_IDLE;
    std::function<void()> changed_;
  };

  std::map<std::string, FakeConnection*> newest_;
  std::map<std::string, int> made_;
  std::map<std::string, int> live_;
  std::map<std::string, int> dials_;
  std::map<std::string, int> resets_;
  std::map<std::string, int> broken_;
  std::map<std::string, Secrets::Expires> expires_;
  std::shared_ptr<const ConnectionSettings> last_settings_;
};

// A runtime without a thread, a clock or a socket. Services run when the test
// runs the loop; connections and endpoints are what it says.
struct FakeRuntime {
  explicit FakeRuntime(
      std::vector<std::shared_ptr<telemetry::Observer>> observers = {},
      std::map<std::string, Fallback> fallbacks = {}) {
    Runtime::Control control;
    control.loop = &loop;
    control.clock = &clock;
    control.make_resolver = discovery.Maker();
    control.make_connection = network.Maker();
    control.wall = [this] { return clock.Now() + kWallIsAhead; };
    control.gate = &gate;
    runtime = std::make_shared<Runtime>(
        [this](LogSeverity, absl::string_view line) { log.emplace_back(line); },
        std::move(observers), std::move(fallbacks), options::TelemetryOptions(),
        options::LimitsOptions(), nullptr, &control);
  }
  // What was posted last runs, so services are destroyed.
  ~FakeRuntime() {
    loop.Run();
    runtime.reset();
    loop.Run();
  }

  testing::FakeClock clock;
  RenewalGate gate{2};
  testing::FakeLoop loop{&clock};
  discovery::FakeDiscovery discovery;
  FakeNetwork network;
  std::vector<std::string> log;
  std::shared_ptr<Runtime> runtime;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_SERVICE_TEST_UTIL_H_
