// Calls that must not be executed twice, while connections are closed and
// servers restarted as they should be: none is lost and none is repeated.

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/scenario/scenario.h"

namespace mesh::test {
namespace {

// Every call has a key of its own, and servers write down what they execute.
class RestartTest : public testing::Test {
 protected:
  void StartServer(std::vector<std::string> flags = {}) {
    ServerProcess::Options options;
    options.journal =
        absl::StrCat(directory_.path(), "/journal", journals_.size());
    options.flags = std::move(flags);
    journals_.push_back(options.journal);
    servers_.push_back(std::make_unique<ServerProcess>(options));
  }

  std::vector<std::string> Addresses() const {
    std::vector<std::string> addresses;
    for (const auto& server : servers_) addresses.push_back(server->address());
    return addresses;
  }

  static grpc::Status CallWithKey(TestService::Stub& stub, int64_t number) {
    Request request;
    request.mutable_directives()->set_key(absl::StrCat("call", number));
    return CallOnce(stub, request);
  }

  void PublishEndpoints() const {
    directory_.Write("endpoints.yaml", EndpointsFile(Addresses()));
  }

  v1::Config FromEndpointsFile() const {
    PublishEndpoints();
    v1::Config config;
    TheService(&config).mutable_endpoints_file()->set_path(directory_.path() +
                                                           "/endpoints.yaml");
    return config;
  }

  static bool Known(const Mesh& mesh, const std::string& address) {
    const auto endpoints = ServiceMetrics(mesh).endpoints;
    for (const auto& endpoint : endpoints) {
      if (endpoint.address == address) return true;
    }
    return false;
  }

  // The newest server does.
  bool GetsCalls(const Mesh& mesh) const {
    const auto endpoints = ServiceMetrics(mesh).endpoints;
    for (const auto& endpoint : endpoints) {
      if (endpoint.address == servers_.back()->address()) {
        return endpoint.attempts > 0;
      }
    }
    return false;
  }

  // But for those that were `dropped`.
  void ExpectEachCallExecutedOnce(const Load& load, int dropped = 0) const {
    EXPECT_EQ(load.failed(), 0) << load.Failures();
    const std::map<std::string, int> executions = ReadJournals(journals_);
    EXPECT_EQ(static_cast<int64_t>(executions.size()), load.calls() - dropped);
    int twice = 0;
    for (const auto& [key, count] : executions) twice += count > 1;
    EXPECT_EQ(twice, 0) << "of " << load.calls() << " calls";
  }

  TempDirectory directory_;
  std::vector<std::string> journals_;
  std::vector<std::unique_ptr<ServerProcess>> servers_;
};

TEST_F(RestartTest, NothingIsLostOrRepeatedWhenConnectionsAreClosedByAge) {
  for (int i = 0; i < 3; ++i) {
    StartServer({"--arg=grpc.max_connection_age_ms=200"});
  }
  const std::unique_ptr<Mesh> mesh = MakeMesh(OneService(Addresses()));
  const auto stub = StubOf(*mesh);

  Load load(0, 8, [&](int64_t i) { return CallWithKey(*stub, i); });
  absl::SleepFor(absl::Seconds(6));
  load.Stop();

  ExpectEachCallExecutedOnce(load);
  EXPECT_GT(load.calls(), 1000);
}

TEST_F(RestartTest, NothingIsLostOrRepeatedWhenTheOnlyServersConnectionsAge) {
  StartServer({"--arg=grpc.max_connection_age_ms=200"});
  const std::unique_ptr<Mesh> mesh = MakeMesh(OneService(Addresses()));
  const auto stub = StubOf(*mesh);

  Load load(0, 8, [&](int64_t i) { return CallWithKey(*stub, i); });
  absl::SleepFor(absl::Seconds(4));
  load.Stop();

  ExpectEachCallExecutedOnce(load);
}

TEST_F(RestartTest, NothingIsLostOrRepeatedThroughARollingRestartOnNewPorts) {
  for (int i = 0; i < 3; ++i) StartServer();
  const std::unique_ptr<Mesh> mesh = MakeMesh(FromEndpointsFile());
  const auto stub = StubOf(*mesh);
  ASSERT_TRUE(CallOnce(*stub, Request()).ok());

  Load load(1000, 8, [&](int64_t i) { return CallWithKey(*stub, i); });
  for (int i = 0; i < 9; ++i) {
    absl::SleepFor(absl::Milliseconds(100));
    const std::unique_ptr<ServerProcess> old = std::move(servers_.front());
    servers_.erase(servers_.begin());
    PublishEndpoints();
    EXPECT_TRUE(WaitUntil([&] { return !Known(*mesh, old->address()); }));
    // A call that chose it just before may still be on its way there: what is
    // no longer listed is given a moment, as orchestrators do.
    absl::SleepFor(absl::Milliseconds(100));
    old->Terminate();
    StartServer();
    PublishEndpoints();
    EXPECT_TRUE(WaitUntil([&] { return GetsCalls(*mesh); }));
  }
  load.Stop();

  ExpectEachCallExecutedOnce(load);
  EXPECT_GT(load.calls(), 1000);
}

// A gRPC server drops the calls that reach it between its Shutdown() and the
// client's learning of it, with a status that it could also have given after
// executing them. They are lost, as on a bare channel; what may be executed
// twice is retried. A server that leaves its endpoints file first, as above,
// loses none.
TEST_F(RestartTest, NothingIsRepeatedWhenServersShutDownUnannounced) {
  for (int i = 0; i < 3; ++i) StartServer();
  const std::unique_ptr<Mesh> mesh = MakeMesh(FromEndpointsFile());
  const auto stub = StubOf(*mesh);
  ASSERT_TRUE(CallOnce(*stub, Request()).ok());

  std::atomic<int> dropped{0};
  Load load(1000, 8, [&](int64_t i) {
    const grpc::Status status = CallWithKey(*stub, i);
    if (status.error_code() != grpc::StatusCode::CANCELLED) return status;
    ++dropped;
    return grpc::Status::OK;
  });
  for (int i = 0; i < 9; ++i) {
    absl::SleepFor(absl::Milliseconds(100));
    servers_.front()->Terminate();
    servers_.erase(servers_.begin());
    StartServer();
    PublishEndpoints();
    EXPECT_TRUE(WaitUntil([&] { return GetsCalls(*mesh); }));
  }
  load.Stop();

  ExpectEachCallExecutedOnce(load, dropped);
  EXPECT_LE(dropped, 9 * 8) << "what can be under way when a server ends";
}

TEST_F(RestartTest, NoIdempotentCallIsLostWhenServersShutDownUnannounced) {
  for (int i = 0; i < 3; ++i) StartServer();
  v1::Config config = FromEndpointsFile();
  TheService(&config).mutable_policy()->set_idempotent(true);
  const std::unique_ptr<Mesh> mesh = MakeMesh(config);
  const auto stub = StubOf(*mesh);
  ASSERT_TRUE(CallUnary(*stub, Request()).ok());

  Load load(1000, 8, [&](int64_t) { return CallUnary(*stub, Request()); });
  for (int i = 0; i < 18; ++i) {
    absl::SleepFor(absl::Milliseconds(50));
    servers_.front()->Terminate();
    servers_.erase(servers_.begin());
    StartServer();
    PublishEndpoints();
    EXPECT_TRUE(WaitUntil([&] { return GetsCalls(*mesh); }));
  }
  load.Stop();

  EXPECT_EQ(load.failed(), 0) << load.Failures();
  EXPECT_GT(load.calls(), 1000);
}

TEST_F(RestartTest, IdempotentCallsOutliveRestartsOfAllServersInTurn) {
  for (int i = 0; i < 3; ++i) StartServer();
  v1::Config config = OneService(Addresses());
  TheService(&config).mutable_policy()->set_idempotent(true);
  const std::unique_ptr<Mesh> mesh = MakeMesh(config);
  const auto stub = StubOf(*mesh);
  ASSERT_TRUE(CallUnary(*stub, Request()).ok());

  Load load(500, 8, [&](int64_t) { return CallUnary(*stub, Request()); });
  for (const auto& server : servers_) {
    absl::SleepFor(absl::Milliseconds(200));
    server->Terminate();
    absl::SleepFor(absl::Milliseconds(200));
    server->Start();
    EXPECT_TRUE(WaitUntil([&] {
      const auto endpoints = ServiceMetrics(*mesh).endpoints;
      for (const auto& endpoint : endpoints) {
        if (endpoint.state != "ready") return false;
      }
      return true;
    }));
  }
  load.Stop();

  EXPECT_EQ(load.failed(), 0) << load.Failures();
}

}  // namespace
}  // namespace mesh::test
