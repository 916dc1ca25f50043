#include "mesh/channel/channel.h"

#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/base/mutex.h"
#include "mesh/mesh.h"
#include "mesh/v1/config.pb.h"
#include "tests/support/test_server.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::channel {
namespace {

using test::TestServer;
using test::TestService;

class ChannelTest : public testing::Test {
 protected:
  // Endpoints of the service "test", with all methods idempotent or not.
  std::unique_ptr<Mesh> MakeMesh(const std::vector<std::string>& addresses,
                                 bool idempotent) {
    v1::Config config;
    v1::Service& service = (*config.mutable_services())["test"];
    for (const std::string& address : addresses) {
      service.add_endpoints()->set_address(address);
    }
    service.mutable_policy()->set_idempotent(idempotent);
    service.mutable_retry_budget()->set_min_per_second(10000);
    auto mesh = Mesh::Create(config);
    EXPECT_TRUE(mesh.ok()) << mesh.status();
    return *std::move(mesh);
  }
};

TEST_F(ChannelTest, AnswersAUnaryCall) {
  auto server_started = TestServer::Start();
  ASSERT_TRUE(server_started.ok());
  TestServer& server = **server_started;
  auto mesh = MakeMesh({server.address()}, true);
  auto stub = TestService::NewStub(mesh->Channel("test"));
  for (int i = 0; i < 100; ++i) {
    grpc::ClientContext context;
    test::Request request;
    request.set_payload("hello");
    test::Reply reply;
    const grpc::Status status = stub->Unary(&context, request, &reply);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(reply.payload(), "hello");
  }
}

TEST_F(ChannelTest, RetriesElsewhereInEveryStyle) {
  auto good_started = TestServer::Start();
  ASSERT_TRUE(good_started.ok());
  TestServer& good = **good_started;
  auto bad_started = TestServer::Start();
  ASSERT_TRUE(bad_started.ok());
  TestServer& bad = **bad_started;
  auto mesh = MakeMesh({good.address(), "127.0.0.1:1", bad.address()}, true);
  auto stub = TestService::NewStub(mesh->Channel("test"));
  {
    // Both are connected from here on.
    grpc::ClientContext context;
    test::Reply reply;
    ASSERT_TRUE(stub->Unary(&context, test::Request(), &reply).ok());
  }
  for (int i = 0; i < 30; ++i) {
    test::Request request;
    request.set_payload("hello");
    request.mutable_directives()->set_key(absl::StrCat("key", i));
    request.mutable_directives()->set_fail_first(1);
    {
      grpc::ClientContext context;
      test::Reply reply;
      request.mutable_directives()->set_key(absl::StrCat("sync", i));
      const grpc::Status status = stub->Unary(&context, request, &reply);
      // The two servers count apart: it fails on both, then succeeds.
      ASSERT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(reply.payload(), "hello");
      EXPECT_EQ(context.debug_error_string(), "");
    }
    {
      grpc::CompletionQueue queue;
      grpc::ClientContext context;
      test::Reply reply;
      grpc::Status status;
      request.mutable_directives()->set_key(absl::StrCat("async", i));
      auto call = stub->AsyncUnary(&context, request, &queue);
      call->Finish(&reply, &status, &reply);
      void* tag = nullptr;
      bool ok = false;
      ASSERT_TRUE(queue.Next(&tag, &ok));
      EXPECT_TRUE(ok);
      EXPECT_EQ(tag, &reply);
      ASSERT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(reply.payload(), "hello");
      queue.Shutdown();
      EXPECT_FALSE(queue.Next(&tag, &ok));
    }
    {
      grpc::ClientContext context;
      test::Reply reply;
      request.mutable_directives()->set_key(absl::StrCat("callback", i));
      std::promise<grpc::Status> done;
      stub->async()->Unary(
          &context, &request, &reply,
          [&](grpc::Status status) { done.set_value(status); });
      const grpc::Status status = done.get_future().get();
      ASSERT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(reply.payload(), "hello");
    }
    {
      class Reactor : public grpc::ClientUnaryReactor {
       public:
        void OnDone(const grpc::Status& status) override {
          done.set_value(status);
        }
        std::promise<grpc::Status> done;
      } reactor;
      grpc::ClientContext context;
      test::Reply reply;
      request.mutable_directives()->set_key(absl::StrCat("reactor", i));
      stub->async()->Unary(&context, &request, &reply, &reactor);
      reactor.StartCall();
      const grpc::Status status = reactor.done.get_future().get();
      ASSERT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(reply.payload(), "hello");
    }
  }
  const telemetry::Snapshot snapshot = mesh->Metrics();
  ASSERT_EQ(snapshot.services.size(), 1u);
}

TEST_F(ChannelTest, AnUnreachableEndpointIsPassedOverForAnyMethod) {
  auto good_started = TestServer::Start();
  ASSERT_TRUE(good_started.ok());
  TestServer& good = **good_started;
  auto mesh = MakeMesh({good.address(), "127.0.0.1:1"}, false);
  auto stub = TestService::NewStub(mesh->Channel("test"));
  for (int i = 0; i < 100; ++i) {
    grpc::ClientContext context;
    test::Reply reply;
    const grpc::Status status = stub->Unary(&context, test::Request(), &reply);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
}

TEST_F(ChannelTest, WithNoEndpointReachableItSaysWhatTheConnectionSaid) {
  auto mesh = MakeMesh({"127.0.0.1:1"}, false);
  auto stub = TestService::NewStub(mesh->Channel("test"));
  grpc::ClientContext context;
  test::Reply reply;
  const grpc::Status status = stub->Unary(&context, test::Request(), &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_NE(status.error_message().find("failed to connect"), std::string::npos)
      << status.error_message();
}

TEST_F(ChannelTest, AServiceThatIsNotConfiguredIsNamed) {
  auto mesh = MakeMesh({"127.0.0.1:1"}, false);
  auto stub = TestService::NewStub(mesh->Channel("tset"));
  grpc::ClientContext context;
  test::Reply reply;
  const grpc::Status status = stub->Unary(&context, test::Request(), &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(),
            "the service \"tset\" is not in the configuration; did you mean "
            "\"test\"? It has \"test\".");
}

TEST_F(ChannelTest, ADeadlineWhileWaitingForAnEndpointEndsTheCall) {
  auto mesh = MakeMesh({"127.0.0.1:1"}, false);
  auto stub = TestService::NewStub(mesh->Channel("test"));
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(100));
  test::Reply reply;
  const grpc::Status status = stub->Unary(&context, test::Request(), &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(ChannelTest, ACancelWhileWaitingForAnEndpointEndsTheCall) {
  auto mesh = MakeMesh({"127.0.0.1:1"}, false);
  auto stub = TestService::NewStub(mesh->Channel("test"));
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    context.TryCancel();
  });
  test::Reply reply;
  const grpc::Status status = stub->Unary(&context, test::Request(), &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  canceller.join();
}

TEST_F(ChannelTest, StreamsWaitForTheirEndpointToo) {
  auto server_started = TestServer::Start();
  ASSERT_TRUE(server_started.ok());
  TestServer& server = **server_started;
  auto mesh = MakeMesh({server.address()}, false);
  auto stub = TestService::NewStub(mesh->Channel("test"));
  grpc::ClientContext context;
  auto stream = stub->Bidi(&context);
  for (int i = 0; i < 10; ++i) {
    test::Request request;
    request.set_payload(absl::StrCat("message ", i));
    ASSERT_TRUE(stream->Write(request));
    test::Reply reply;
    ASSERT_TRUE(stream->Read(&reply));
    EXPECT_EQ(reply.payload(), request.payload());
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ChannelTest, ChannelsOutliveTheirMesh) {
  auto server_started = TestServer::Start();
  ASSERT_TRUE(server_started.ok());
  TestServer& server = **server_started;
  auto mesh = MakeMesh({server.address()}, true);
  auto channel = mesh->Channel("test");
  mesh.reset();
  auto stub = TestService::NewStub(channel);
  grpc::ClientContext context;
  test::Reply reply;
  EXPECT_TRUE(stub->Unary(&context, test::Request(), &reply).ok());
}

TEST_F(ChannelTest, IsConnectedWhenAnyEndpointIs) {
  auto server_started = TestServer::Start();
  ASSERT_TRUE(server_started.ok());
  TestServer& server = **server_started;
  auto mesh = MakeMesh({"127.0.0.1:1", server.address()}, true);
  auto channel = mesh->Channel("test");
  EXPECT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() +
                                        std::chrono::seconds(10)));
  EXPECT_EQ(channel->GetState(false), GRPC_CHANNEL_READY);
  EXPECT_FALSE(channel->WaitForStateChange(
      GRPC_CHANNEL_READY,
      std::chrono::system_clock::now() + std::chrono::milliseconds(20)));
}

TEST_F(ChannelTest, AWaitingCallIsNotTiedToAnEndpointThatIsGone) {
  auto gone = TestServer::Start();
  ASSERT_TRUE(gone.ok());
  auto other = TestServer::Start();
  ASSERT_TRUE(other.ok());
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["test"];
  service.add_endpoints()->set_address((*gone)->address());
  auto mesh = Mesh::Create(config);
  ASSERT_TRUE(mesh.ok());
  auto channel = (*mesh)->Channel("test");
  ASSERT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() +
                                        std::chrono::seconds(10)));
  auto stub = TestService::NewStub(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(20));
  // It has its endpoint from here on.
  auto call = stub->PrepareAsyncUnary(&context, test::Request(), &queue);
  (*gone)->Shutdown(absl::ZeroDuration());
  gone->reset();
  service.mutable_endpoints(0)->set_address((*other)->address());
  ASSERT_TRUE((*mesh)->Reload(config).ok());
  call->StartCall();
  test::Reply reply;
  grpc::Status status;
  call->Finish(&reply, &status, &reply);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(ChannelTest, ARetryMayBeginWhenTheCallThatItIsMadeForIsOver) {
  auto server_started = TestServer::Start();
  ASSERT_TRUE(server_started.ok());
  TestServer& server = **server_started;
  auto mesh = MakeMesh({server.address()}, true);

  // Answers before what it calls has answered.
  class Front final : public TestService::Service {
   public:
    explicit Front(std::shared_ptr<grpc::ChannelInterface> onward)
        : stub_(TestService::NewStub(std::move(onward))) {}
    grpc::Status Unary(grpc::ServerContext* context,
                       const test::Request* request, test::Reply*) override {
      grpc::PropagationOptions options;
      options.disable_cancellation_propagation();
      options.disable_deadline_propagation();
      onward_ = grpc::ClientContext::FromServerContext(*context, options);
      request_ = *request;
      stub_->async()->Unary(
          onward_.get(), &request_, &reply_,
          [this](grpc::Status status) { done.set_value(status); });
      return grpc::Status::OK;
    }
    std::promise<grpc::Status> done;

   private:
    const std::unique_ptr<TestService::Stub> stub_;
    std::unique_ptr<grpc::ClientContext> onward_;
    test::Request request_;
    test::Reply reply_;
  } front(mesh->Channel("test"));
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&front);
  auto front_server = builder.BuildAndStart();

  auto stub = TestService::NewStub(grpc::CreateChannel(
      absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
  test::Request request;
  request.mutable_directives()->set_key("over");
  request.mutable_directives()->set_fail_first(1);
  request.mutable_directives()->set_pushback_ms("300");
  grpc::ClientContext context;
  test::Reply reply;
  ASSERT_TRUE(stub->Unary(&context, request, &reply).ok());
  const grpc::Status status = front.done.get_future().get();
  EXPECT_TRUE(status.ok()) << status.error_message();
  front_server->Shutdown();
}

TEST_F(ChannelTest, CallsWhoseDeadlineIsOverSayNothingOfTheEndpoint) {
  auto first = TestServer::Start();
  auto second = TestServer::Start();
  ASSERT_TRUE(first.ok() && second.ok());
  auto mesh = MakeMesh({(*first)->address(), (*second)->address()}, false);
  auto stub = TestService::NewStub(mesh->Channel("test"));
  grpc::ClientContext warm;
  test::Reply reply;
  ASSERT_TRUE(stub->Unary(&warm, test::Request(), &reply).ok());
  for (int i = 0; i < 50; ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() -
                         std::chrono::milliseconds(100));
    EXPECT_EQ(stub->Unary(&context, test::Request(), &reply).error_code(),
              grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  const telemetry::Snapshot metrics = mesh->Metrics();
  for (const auto& endpoint : metrics.services[0].endpoints) {
    EXPECT_EQ(endpoint.health, "healthy") << endpoint.address;
    EXPECT_EQ(endpoint.share, 1) << endpoint.address;
  }
}

TEST_F(ChannelTest, WhatTheGuardsGoByIsInTheSnapshot) {
  auto server_started = TestServer::Start();
  ASSERT_TRUE(server_started.ok());
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["test"];
  service.add_endpoints()->set_address((*server_started)->address());
  auto mesh = Mesh::Create(config);
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  auto stub = TestService::NewStub((*mesh)->Channel("test"));
  test::Request request;
  request.mutable_directives()->set_sleep_ms(1);
  test::Request fails = request;
  fails.mutable_directives()->set_code(grpc::StatusCode::INTERNAL);
  telemetry::AdmissionSnapshot seen;
  const auto give_up =
      std::chrono::steady_clock::now() + std::chrono::seconds(30);
  int calls = 0;
  while (std::chrono::steady_clock::now() < give_up) {
    grpc::ClientContext context;
    test::Reply reply;
    const bool fail = ++calls % 4 == 0;
    stub->Unary(&context, fail ? fails : request, &reply);
    seen = (*mesh)->Metrics().services[0].admission;
    if (seen.breaker_calls >= 20 && seen.min_latency > absl::ZeroDuration()) {
      break;
    }
  }
  EXPECT_GE(seen.breaker_calls, 20);
  EXPECT_LE(seen.breaker_calls, calls);
  EXPECT_NEAR(seen.breaker_failed_ratio, 0.25, 0.1);
  EXPECT_GT(seen.concurrency_limit, 0);
  EXPECT_GT(seen.min_latency, absl::ZeroDuration());
  EXPECT_LT(seen.min_latency, absl::Seconds(5));

  // A call that counts against the limit.
  test::Request slow;
  slow.mutable_directives()->set_key("under way");
  slow.mutable_directives()->set_sleep_ms(20000);
  grpc::ClientContext context;
  test::Reply reply;
  std::promise<void> ended;
  stub->async()->Unary(&context, &slow, &reply,
                       [&](const grpc::Status&) { ended.set_value(); });
  EXPECT_EQ((*mesh)->Metrics().services[0].admission.concurrency, 1);
  context.TryCancel();
  ended.get_future().wait();
  EXPECT_EQ((*mesh)->Metrics().services[0].admission.concurrency, 0);
}

// How often of `names` in turn a generic stub may call until it is limited.
int CallsUntilLimited(const std::shared_ptr<grpc::ChannelInterface>& channel,
                      const std::function<std::string(int)>& name) {
  grpc::GenericStub stub(channel);
  for (int i = 0; i < 20; ++i) {
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    auto call = stub.PrepareUnaryCall(&context, name(i),
                                      grpc::ByteBuffer(nullptr, 0), &queue);
    call->StartCall();
    grpc::ByteBuffer reply;
    grpc::Status status;
    call->Finish(&reply, &status, &reply);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) return i;
  }
  return -1;
}

TEST_F(ChannelTest, MethodsThatNoStubKnowsAreLimitedByTheirPolicy) {
  auto server_started = TestServer::Start();
  ASSERT_TRUE(server_started.ok());
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["test"];
  service.add_endpoints()->set_address((*server_started)->address());
  const auto limit = [](v1::RateLimit* limit, uint32_t burst) {
    limit->set_per_second(0.001);
    limit->set_burst(burst);
  };
  limit(service.mutable_policy()->mutable_rate_limit(), 2);
  auto& methods = *service.mutable_methods();
  limit(methods["mesh.test.TestService/*"].mutable_rate_limit(), 3);
  limit(methods["mesh.test.TestService/Unary"].mutable_rate_limit(), 4);
  limit(methods["mesh.test.TestService/Once"].mutable_rate_limit(), 5);
  auto mesh = Mesh::Create(config);
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  auto channel = (*mesh)->Channel("test");
  const auto always = [](const std::string& name) {
    return [name](int) { return name; };
  };
  const std::string service_name = "/mesh.test.TestService/";
  // Named in the configuration.
  EXPECT_EQ(CallsUntilLimited(channel, always(service_name + "Unary")), 4);
  EXPECT_EQ(CallsUntilLimited(channel, always(service_name + "Once")), 5);
  // Made up: together.
  const auto made_up = [](const std::string& service) {
    return [service](int i) { return absl::StrCat(service, "Made", i); };
  };
  EXPECT_EQ(CallsUntilLimited(channel, made_up(service_name)), 3);
  EXPECT_EQ(CallsUntilLimited(channel, always(service_name + "New")), 0);
  EXPECT_EQ(CallsUntilLimited(channel, made_up("/another.Service/")), 2);
  // One that a stub knows has its own tokens.
  auto stub = TestService::NewStub(channel);
  EXPECT_EQ(CallsUntilLimited(channel, always(service_name + "Count")), 3);
  EXPECT_EQ(CallsUntilLimited(channel, always(service_name + "Unary")), 0);
  // Also after a reload, and the tokens stay.
  ASSERT_TRUE((*mesh)->Reload(config).ok());
  EXPECT_EQ(CallsUntilLimited(channel, made_up(service_name)), 0);

  grpc::ClientContext context;
  test::Reply reply;
  EXPECT_EQ(stub->Unary(&context, test::Request(), &reply).error_message(),
            "test: the rate limit of /mesh.test.TestService/Unary is reached: "
            "the rate_limit of its policy allows 0.001 calls per second, and 4 "
            "at once. Call less often, or raise it.");
}

TEST_F(ChannelTest, AReloadThatChangesNoSecretKeepsTheConnections) {
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["test"];
  service.add_endpoints()->set_address("127.0.0.1:1");
  service.mutable_tls();
  struct Log {
    base::Mutex mu;
    std::vector<std::string> lines;
    std::promise<void> last;
  };
  const auto log = std::make_shared<Log>();
  Options options;
  options.log_sink = [log](LogSeverity, absl::string_view line) {
    base::MutexLock lock(&log->mu);
    if (!absl::StrContains(line, " added, ")) return;
    log->lines.emplace_back(line);
    if (absl::StrContains(line, "endpoints is 2")) log->last.set_value();
  };
  auto mesh = Mesh::Create(config, std::move(options));
  ASSERT_TRUE(mesh.ok());
  auto channel = (*mesh)->Channel("test");
  ASSERT_TRUE((*mesh)->Reload(config).ok());
  service.add_endpoints()->set_address("127.0.0.1:2");
  ASSERT_TRUE((*mesh)->Reload(config).ok());
  log->last.get_future().wait();
  base::MutexLock lock(&log->mu);
  EXPECT_EQ(log->lines,
            (std::vector<std::string>{
                "test: the number of endpoints is 1 (1 added, 0 removed).",
                "test: the number of endpoints is 2 (1 added, 0 removed)."}));
}

// Throws on all that it is told.
class ThrowingObserver final : public telemetry::Observer {
 public:
  void OnCallStart(const telemetry::CallInfo&,
                   const telemetry::CallStartEvent&) override {
    throw std::runtime_error("start");
  }
  void OnPick(const telemetry::CallInfo&,
              const telemetry::PickEvent&) override {
    throw std::runtime_error("pick");
  }
  void OnAttemptEnd(const telemetry::CallInfo&,
                    const telemetry::AttemptEvent&) override {
    throw std::runtime_error("attempt");
  }
  void OnCallEnd(const telemetry::CallInfo&,
                 const telemetry::CallEvent&) override {
    throw std::runtime_error("end");
  }
  bool WantsPicks() const override { return true; }
};

TEST_F(ChannelTest, CodeOfTheApplicationThatThrowsChangesNoCall) {
  auto server_started = TestServer::Start();
  ASSERT_TRUE(server_started.ok());
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["test"];
  service.add_endpoints()->set_address((*server_started)->address());
  Options options;
  options.observers.push_back(std::make_shared<ThrowingObserver>());
  options.log_sink = [](LogSeverity, absl::string_view) {
    throw std::runtime_error("log");
  };
  options.fallbacks["test"] =
      [](const FailedCall&) -> std::optional<grpc::ByteBuffer> {
    throw std::runtime_error("fallback");
  };
  auto mesh = Mesh::Create(config, std::move(options));
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  auto stub = TestService::NewStub((*mesh)->Channel("test"));
  test::Request request;
  for (const bool fails : {false, true}) {
    grpc::ClientContext context;
    test::Reply reply;
    request.mutable_directives()->set_code(fails ? grpc::StatusCode::NOT_FOUND
                                                 : grpc::StatusCode::OK);
    EXPECT_EQ(stub->Unary(&context, request, &reply).error_code(),
              request.directives().code());
  }
  std::map<std::string, uint64_t> thrown;
  for (const auto& one : (*mesh)->Metrics().exceptions) {
    thrown[one.code] = one.count;
  }
  EXPECT_GE(thrown["observers[0]"], 8u) << "4 for each call";
  EXPECT_EQ(thrown["fallbacks[test]"], 1u);
  EXPECT_GE(thrown["log_sink"], 1u) << "that there is an endpoint";
}

// Calls the mesh back on all that it is told of calls.
class CallingBack final : public telemetry::Observer {
 public:
  explicit CallingBack(v1::Config config) : config_(std::move(config)) {}
  void SetMesh(Mesh* mesh) { mesh_ = mesh; }
  int hedges() const { return hedges_; }

  void OnCallStart(const telemetry::CallInfo&,
                   const telemetry::CallStartEvent&) override {
    CallBack();
  }
  void OnPick(const telemetry::CallInfo&,
              const telemetry::PickEvent&) override {
    CallBack();
  }
  void OnAttemptEnd(const telemetry::CallInfo&,
                    const telemetry::AttemptEvent&) override {
    CallBack();
  }
  void OnRetryDecision(const telemetry::CallInfo&,
                       const telemetry::RetryEvent& event) override {
    hedges_ += event.verdict == telemetry::RetryEvent::Verdict::kHedge;
    CallBack();
  }
  void OnCallEnd(const telemetry::CallInfo&,
                 const telemetry::CallEvent&) override {
    CallBack();
  }
  bool WantsPicks() const override { return true; }

 private:
  void CallBack() {
    Mesh* const mesh = mesh_;
    if (mesh == nullptr) return;
    EXPECT_EQ(mesh->Metrics().config_error, "");
    EXPECT_TRUE(mesh->Reload(config_).ok());
  }

  const v1::Config config_;
  std::atomic<Mesh*> mesh_{nullptr};
  std::atomic<int> hedges_{0};
};

// What a hedged call tells comes under a lock of that call. If the mesh took it
// for what it is asked then, this would hang.
TEST_F(ChannelTest, AnObserverOfAHedgedCallMayCallTheMesh) {
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["test"];
  std::vector<std::unique_ptr<TestServer>> servers;
  for (int i = 0; i < 2; ++i) {
    servers.push_back(TestServer::Start().value());
    service.add_endpoints()->set_address(servers.back()->address());
  }
  v1::Hedging& hedging = *service.mutable_policy()->mutable_hedging();
  hedging.set_mode(v1::MODE_ENFORCE);
  hedging.mutable_delay()->set_nanos(2'000'000);
  service.mutable_policy()->set_idempotent(true);
  service.mutable_retry_budget()->set_min_per_second(10000);
  const auto observer = std::make_shared<CallingBack>(config);
  Options options;
  options.observers.push_back(observer);
  auto mesh = Mesh::Create(config, std::move(options));
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  auto stub = TestService::NewStub((*mesh)->Channel("test"));
  observer->SetMesh(mesh->get());
  // The first or the second attempt wins, both fail, or time runs out.
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    test::Request request;
    test::Reply reply;
    request.mutable_directives()->set_sleep_ms(i == 0 ? 20000 : 20);
    if (i % 2 != 0) {
      request.mutable_directives()->set_code(grpc::StatusCode::UNAVAILABLE);
    }
    if (i == 0) {
      context.set_deadline(std::chrono::system_clock::now() +
                           std::chrono::milliseconds(100));
    }
    EXPECT_EQ(stub->Unary(&context, request, &reply).ok(),
              i != 0 && i % 2 == 0);
  }
  observer->SetMesh(nullptr);
  EXPECT_GT(observer->hedges(), 0);
}

TEST_F(ChannelTest, AMeshFromAFileMayGoBeforeItHasAChannel) {
  const std::string path = absl::StrCat(testing::TempDir(), "/unused.yaml");
  std::ofstream(path) << "services: {test: {endpoints: [127.0.0.1:1]}}\n";
  for (int i = 0; i < 20; ++i) {
    auto mesh = Mesh::FromFile(path);
    ASSERT_TRUE(mesh.ok()) << mesh.status();
  }
}

TEST_F(ChannelTest,
       AStreamOnARemovedEndpointIsCutOffWhenItHasDrainedForTooLong) {
  auto server_started = TestServer::Start();
  ASSERT_TRUE(server_started.ok());
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["test"];
  service.add_endpoints()->set_address((*server_started)->address());
  service.mutable_connections()->mutable_drain_timeout()->set_nanos(1000000);
  auto mesh = Mesh::Create(config);
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  auto stub = TestService::NewStub((*mesh)->Channel("test"));
  grpc::ClientContext context;
  auto stream = stub->Bidi(&context);
  test::Reply reply;
  ASSERT_TRUE(stream->Write(test::Request()));
  ASSERT_TRUE(stream->Read(&reply));
  service.mutable_endpoints(0)->set_address("127.0.0.1:1");
  ASSERT_TRUE((*mesh)->Reload(config).ok());
  EXPECT_FALSE(stream->Read(&reply));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_NE(status.error_message().find("drain_timeout is over."),
            std::string::npos)
      << status.error_message();
}

TEST_F(ChannelTest, ABadTargetIsSaidToBeBad) {
  for (const std::string target :
       {"ftp://host:80", "dns:///host:70000", "127.0.0.1:70000", "dns:///"}) {
    auto stub = TestService::NewStub(CreateChannel(target));
    grpc::ClientContext context;
    test::Reply reply;
    const grpc::Status status = stub->Unary(&context, test::Request(), &reply);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT)
        << target;
    EXPECT_NE(status.error_message().find(target), std::string::npos)
        << status.error_message();
  }
}

TEST_F(ChannelTest, BothBatchesOfACallMayBeStartedAnewAtOnceWhenItsWaitEnds) {
  class Pass final : public grpc::experimental::Interceptor {
   public:
    void Intercept(
        grpc::experimental::InterceptorBatchMethods* methods) override {
      methods->Proceed();
    }
  };
  class Passes final
      : public grpc::experimental::ClientInterceptorFactoryInterface {
   public:
    grpc::experimental::Interceptor* CreateClientInterceptor(
        grpc::experimental::ClientRpcInfo*) override {
      return new Pass;
    }
  };
  auto server_started = TestServer::Start();
  ASSERT_TRUE(server_started.ok());
  TestServer& server = **server_started;
  for (int round = 0; round < 50; ++round) {
    auto mesh = MakeMesh({server.address()}, true);
    ChannelOptions options;
    options.interceptors.push_back(std::make_unique<Passes>());
    auto stub = TestService::NewStub(mesh->Channel("test", std::move(options)));
    // They begin before there is an endpoint, and go on when it comes.
    struct One {
      grpc::ClientContext context;
      test::Request request;
      test::Reply reply;
      std::promise<grpc::Status> done;
    } calls[20];
    for (One& call : calls) {
      call.request.set_payload("hello");
      stub->async()->Unary(
          &call.context, &call.request, &call.reply,
          [&call](grpc::Status status) { call.done.set_value(status); });
    }
    for (One& call : calls) {
      const grpc::Status status = call.done.get_future().get();
      ASSERT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(call.reply.payload(), "hello");
    }
  }
}

}  // namespace
}  // namespace mesh::channel
