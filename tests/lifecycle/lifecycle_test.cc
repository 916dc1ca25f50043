// Channels at the edges of their life. Services don't exist, or endpoints are
// missing. Mesh, channels and stubs go in any order and on any thread.
// Processes fork and exit. Code is compiled without RTTI.

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"
#include "mesh/mesh.h"
#include "mesh/v1/config.pb.h"
#include "tests/process/process.h"
#include "tests/support/test_server.h"

namespace mesh::test {
namespace {

using grpc::StatusCode;
using testing::AllOf;
using testing::HasSubstr;

std::chrono::system_clock::time_point In(std::chrono::milliseconds left) {
  return std::chrono::system_clock::now() + left;
}

// Something that threads wait for.
class Event {
 public:
  void Set() {
    base::MutexLock lock(&mu_);
    set_ = true;
    changed_.SignalAll();
  }
  void Wait() {
    base::MutexLock lock(&mu_);
    while (!set_) changed_.Wait(&mu_);
  }

 private:
  base::Mutex mu_;
  base::CondVar changed_;
  bool set_ ABSL_GUARDED_BY(mu_) = false;
};

class Lifecycle : public testing::Test {
 protected:
  void SetUp() override {
    TestServer::Options options;
    options.addresses = {"127.0.0.1:0", "127.0.0.1:0"};
    auto server = TestServer::Start(std::move(options));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  // The configuration of the service "cart", all of whose methods may be
  // retried.
  v1::Config CartConfig() const {
    v1::Config config;
    v1::Service& cart = (*config.mutable_services())["cart"];
    for (const std::string& address : server_->addresses()) {
      cart.add_endpoints()->set_address(address);
    }
    cart.mutable_policy()->set_idempotent(true);
    cart.mutable_retry_budget()->set_min_per_second(10000);
    return config;
  }

  std::unique_ptr<mesh::Mesh> MakeMesh(const v1::Config& config) const {
    auto mesh = mesh::Mesh::Create(config);
    EXPECT_TRUE(mesh.ok()) << mesh.status();
    return mesh.ok() ? *std::move(mesh) : nullptr;
  }

  // A request that is executed as often as `executions` says until it succeeds.
  Request MakeRequest(int executions = 1) {
    Request request;
    request.mutable_directives()->set_key(absl::StrCat("call-", ++keys_));
    request.mutable_directives()->set_fail_first(executions - 1);
    return request;
  }

  grpc::Status CallOn(std::shared_ptr<grpc::ChannelInterface> channel,
                      int executions = 1) {
    auto stub = TestService::NewStub(std::move(channel));
    grpc::ClientContext context;
    Reply reply;
    return stub->Unary(&context, MakeRequest(executions), &reply);
  }

  std::unique_ptr<TestServer> server_;
  std::atomic<int> keys_{0};
};

// --- Nothing to call.

TEST_F(Lifecycle, UnknownServiceIsNamedWithTheNearestOne) {
  auto mesh = MakeMesh(CartConfig());
  const auto channel = mesh->Channel("card");
  const grpc::Status status = CallOn(channel);
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(),
              AllOf(HasSubstr("\"card\""), HasSubstr("\"cart\"")));
}

TEST_F(Lifecycle, UnknownServiceIsNotWaitedFor) {
  auto mesh = MakeMesh(CartConfig());
  auto stub = TestService::NewStub(mesh->Channel("card"));
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(In(std::chrono::seconds(20)));
  Reply reply;
  EXPECT_EQ(stub->Unary(&context, Request(), &reply).error_code(),
            StatusCode::UNAVAILABLE);
}

TEST_F(Lifecycle, UnknownServiceFailsEveryKindOfCall) {
  auto mesh = MakeMesh(CartConfig());
  auto stub = TestService::NewStub(mesh->Channel("card"));
  Reply reply;
  {
    grpc::ClientContext context;
    auto reader = stub->ServerStream(&context, Request());
    EXPECT_FALSE(reader->Read(&reply));
    EXPECT_THAT(reader->Finish().error_message(), HasSubstr("\"card\""));
  }
  {
    grpc::ClientContext context;
    auto writer = stub->ClientStream(&context, &reply);
    writer->Write(Request());
    writer->WritesDone();
    EXPECT_THAT(writer->Finish().error_message(), HasSubstr("\"card\""));
  }
  {
    grpc::ClientContext context;
    auto stream = stub->Bidi(&context);
    stream->Write(Request());
    EXPECT_FALSE(stream->Read(&reply));
    EXPECT_THAT(stream->Finish().error_message(), HasSubstr("\"card\""));
  }
}

TEST_F(Lifecycle, ReloadBringsAServiceToAChannelThatWaitedForIt) {
  v1::Config config = CartConfig();
  auto mesh = MakeMesh(v1::Config());
  const auto channel = mesh->Channel("cart");
  EXPECT_EQ(CallOn(channel).error_code(), StatusCode::UNAVAILABLE);
  ASSERT_TRUE(mesh->Reload(config).ok());
  // It is applied on another thread.
  grpc::Status status;
  for (int i = 0; i < 2000 && !(status = CallOn(channel)).ok(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(status.ok()) << status.error_message();
}

// A service whose endpoints file lists what `WriteEndpoints` says.
class NoEndpoints : public Lifecycle {
 protected:
  void SetUp() override {
    Lifecycle::SetUp();
    std::string pattern = testing::TempDir() + "/endpoints-XXXXXX";
    const int file = mkstemp(pattern.data());
    ASSERT_GE(file, 0);
    close(file);
    path_ = pattern;
    WriteEndpoints("[]");
    v1::Config config;
    v1::Service& cart = (*config.mutable_services())["cart"];
    cart.mutable_endpoints_file()->set_path(path_);
    mesh_ = MakeMesh(config);
    ASSERT_NE(mesh_, nullptr);
  }
  void TearDown() override { unlink(path_.c_str()); }

  void WriteEndpoints(const std::string& list) {
    const std::string next = path_ + ".next";
    std::ofstream(next) << "endpoints: " << list << "\n";
    ASSERT_EQ(rename(next.c_str(), path_.c_str()), 0);
  }

  std::string path_;
  std::unique_ptr<mesh::Mesh> mesh_;
};

TEST_F(NoEndpoints, CallsFailAndSaySo) {
  const grpc::Status status = CallOn(mesh_->Channel("cart"));
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_THAT(
      status.error_message(),
      AllOf(HasSubstr("cart"), HasSubstr("the service has no endpoints")));
}

TEST_F(NoEndpoints, CallsThatWaitForReadyGetTheFirstOne) {
  auto stub = TestService::NewStub(mesh_->Channel("cart"));
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(In(std::chrono::seconds(20)));
  std::thread writer([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    WriteEndpoints(absl::StrCat("['", server_->address(), "']"));
  });
  Reply reply;
  const grpc::Status status = stub->Unary(&context, Request(), &reply);
  EXPECT_TRUE(status.ok()) << status.error_message();
  writer.join();
}

TEST_F(NoEndpoints, CallsThatWaitForReadyEndAtTheirDeadline) {
  auto stub = TestService::NewStub(mesh_->Channel("cart"));
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(In(std::chrono::milliseconds(50)));
  Reply reply;
  EXPECT_EQ(stub->Unary(&context, Request(), &reply).error_code(),
            StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(NoEndpoints, MeshMayGoWhileCallsWait) {
  auto stub = TestService::NewStub(mesh_->Channel("cart"));
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(In(std::chrono::milliseconds(200)));
  Reply reply;
  Event done;
  grpc::Status status;
  const Request request;
  stub->async()->Unary(&context, &request, &reply, [&](grpc::Status s) {
    status = std::move(s);
    done.Set();
  });
  mesh_.reset();
  stub.reset();
  done.Wait();
  EXPECT_EQ(status.error_code(), StatusCode::DEADLINE_EXCEEDED);
}

// --- Absurd deadlines.

TEST_F(Lifecycle, DeadlinesMayBeAbsurd) {
  auto mesh = MakeMesh(CartConfig());
  auto stub = TestService::NewStub(mesh->Channel("cart"));
  struct {
    gpr_timespec deadline;
    StatusCode expected;
  } const deadlines[] = {
      {gpr_inf_past(GPR_CLOCK_REALTIME), StatusCode::DEADLINE_EXCEEDED},
      {gpr_inf_past(GPR_CLOCK_MONOTONIC), StatusCode::DEADLINE_EXCEEDED},
      {gpr_inf_future(GPR_CLOCK_REALTIME), StatusCode::OK},
      {gpr_inf_future(GPR_CLOCK_MONOTONIC), StatusCode::OK},
      {gpr_time_0(GPR_CLOCK_REALTIME), StatusCode::DEADLINE_EXCEEDED},
      {gpr_timespec{-1, 0, GPR_CLOCK_REALTIME}, StatusCode::DEADLINE_EXCEEDED},
      {gpr_timespec{1LL << 60, 0, GPR_CLOCK_REALTIME}, StatusCode::OK},
      {gpr_time_add(gpr_now(GPR_CLOCK_REALTIME),
                    gpr_time_from_nanos(1, GPR_TIMESPAN)),
       StatusCode::DEADLINE_EXCEEDED},
  };
  for (const auto& [deadline, expected] : deadlines) {
    for (int executions : {1, 2}) {
      grpc::ClientContext context;
      context.set_deadline(deadline);
      Reply reply;
      const grpc::Status status =
          stub->Unary(&context, MakeRequest(executions), &reply);
      EXPECT_EQ(status.error_code(), expected)
          << deadline.tv_sec << " s, clock " << deadline.clock_type << ": "
          << status.error_message();
    }
  }
}

// --- Several of them, and in what order they go.

TEST_F(Lifecycle, MeshesOfOneProcessDoNotKnowEachOther) {
  auto first = MakeMesh(CartConfig());
  auto second = MakeMesh(CartConfig());
  const auto first_channel = first->Channel("cart");
  const auto second_channel = second->Channel("cart");
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(CallOn(first_channel, 2).ok());
  EXPECT_TRUE(CallOn(second_channel).ok());
  first.reset();
  EXPECT_TRUE(CallOn(second_channel, 2).ok());
  const telemetry::Snapshot metrics = second->Metrics();
  ASSERT_EQ(metrics.services.size(), 1u);
  uint64_t calls = 0;
  for (const auto& method : metrics.services[0].methods) {
    for (uint64_t n : method.calls) calls += n;
  }
  EXPECT_EQ(calls, 2u);
}

TEST_F(Lifecycle, ChannelsGoOnWithoutTheirMesh) {
  auto mesh = MakeMesh(CartConfig());
  const auto channel = mesh->Channel("cart");
  mesh.reset();
  for (int i = 0; i < 10; ++i) {
    const grpc::Status status = CallOn(channel, 1 + i % 3);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
}

TEST_F(Lifecycle, MeshMayGoBeforeItsFirstConnection) {
  for (int i = 0; i < 20; ++i) {
    auto mesh = MakeMesh(CartConfig());
    auto channel = mesh->Channel("cart");
    if (i % 2 == 0) {
      mesh.reset();
      channel.reset();
    }
  }
}

TEST_F(Lifecycle, CallsOutliveStubChannelAndMesh) {
  constexpr int kCalls = 50;
  struct AsyncCall {
    grpc::ClientContext context;
    Reply reply;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<Reply>> reader;
  };
  std::vector<AsyncCall> calls(kCalls);
  grpc::CompletionQueue queue;
  {
    auto mesh = MakeMesh(CartConfig());
    auto stub = TestService::NewStub(mesh->Channel("cart"));
    for (int i = 0; i < kCalls; ++i) {
      AsyncCall& call = calls[i];
      Request request = MakeRequest(1 + i % 3);
      request.mutable_directives()->set_sleep_ms(i % 20);
      call.reader = stub->AsyncUnary(&call.context, request, &queue);
      call.reader->Finish(&call.reply, &call.status, &call);
    }
  }
  for (int i = 0; i < kCalls; ++i) {
    void* tag;
    bool ok;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    const grpc::Status& status = static_cast<AsyncCall*>(tag)->status;
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
}

TEST_F(Lifecycle, StreamsOutliveStubChannelAndMesh) {
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<Request, Reply>> stream;
  {
    auto mesh = MakeMesh(CartConfig());
    auto stub = TestService::NewStub(mesh->Channel("cart"));
    stream = stub->Bidi(&context);
  }
  Reply reply;
  for (int i = 0; i < 20; ++i) {
    Request request;
    request.set_payload(std::to_string(i));
    ASSERT_TRUE(stream->Write(request));
    ASSERT_TRUE(stream->Read(&reply));
    EXPECT_EQ(reply.payload(), request.payload());
  }
  EXPECT_TRUE(stream->WritesDone());
  EXPECT_FALSE(stream->Read(&reply));
  EXPECT_TRUE(stream->Finish().ok());
}

// What a callback holds is dropped on one of gRPC's threads.
TEST_F(Lifecycle, LastReferencesMayBeDroppedOnOneOfGrpcsThreads) {
  struct Everything {
    std::unique_ptr<mesh::Mesh> mesh;
    std::unique_ptr<TestService::Stub> stub;
    grpc::ClientContext context;
    Request request;
    Reply reply;
  };
  for (int i = 0; i < 20; ++i) {
    Event done;
    auto* const all = new Everything;
    all->mesh = MakeMesh(CartConfig());
    all->stub = TestService::NewStub(all->mesh->Channel("cart"));
    all->request = MakeRequest(1 + i % 2);
    all->stub->async()->Unary(&all->context, &all->request, &all->reply,
                              [all, &done](grpc::Status status) {
                                EXPECT_TRUE(status.ok());
                                delete all;
                                done.Set();
                              });
    done.Wait();
  }
}

TEST_F(Lifecycle, ChannelMayBeMadeAndDroppedOnManyThreads) {
  auto mesh = MakeMesh(CartConfig());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 25; ++i) {
        EXPECT_TRUE(CallOn(mesh->Channel("cart")).ok());
        EXPECT_EQ(CallOn(mesh->Channel("card")).error_code(),
                  StatusCode::UNAVAILABLE);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// This includes one that is made before the control thread has come to the
// service.
TEST_F(Lifecycle, TheFirstCallHasItsPolicyAlready) {
  v1::Config config = CartConfig();
  v1::MethodPolicy& policy =
      (*(*config.mutable_services())["cart"]
            .mutable_methods())["mesh.test.TestService/Unary"];
  policy.mutable_timeout()->set_nanos(20000000);
  for (int i = 0; i < 10; ++i) {
    auto mesh = MakeMesh(config);
    auto stub = TestService::NewStub(mesh->Channel("cart"));
    grpc::ClientContext context;
    Request request = MakeRequest();
    request.mutable_directives()->set_sleep_ms(20000);
    Reply reply;
    EXPECT_EQ(stub->Unary(&context, request, &reply).error_code(),
              StatusCode::DEADLINE_EXCEEDED);
  }
}

TEST_F(Lifecycle, CreateChannelNeedsNoMesh) {
  const auto channel =
      mesh::CreateChannel(absl::StrJoin(server_->addresses(), ","));
  EXPECT_TRUE(CallOn(channel).ok());
}

TEST_F(Lifecycle, WhatCreateChannelMadeIsCountedByItsTarget) {
  const std::string target = absl::StrJoin(server_->addresses(), ",");
  const auto one = mesh::CreateChannel(target);
  // Other credentials: another service.
  const auto two =
      mesh::CreateChannel(target, grpc::InsecureChannelCredentials());
  EXPECT_TRUE(CallOn(one).ok());
  EXPECT_TRUE(CallOn(two).ok());
  EXPECT_TRUE(CallOn(two).ok());
  std::map<std::string, uint64_t> attempts;
  for (const auto& service : mesh::DefaultMetrics().services) {
    for (const auto& endpoint : service.endpoints) {
      attempts[service.service] += endpoint.attempts;
    }
  }
  EXPECT_EQ(attempts[target], 1u);
  EXPECT_EQ(attempts[target + "#2"], 2u);
  EXPECT_THAT(mesh::DefaultPrometheusText(), testing::HasSubstr(target));
}

TEST_F(Lifecycle, CreateChannelWithABadTargetFailsCallsAndSaysWhy) {
  for (const char* target :
       {"", "127.0.0.1:70000", "dns:///", "ftp://somewhere:1", ",,"}) {
    const auto channel = mesh::CreateChannel(target);
    ASSERT_NE(channel, nullptr) << target;
    const grpc::Status status = CallOn(channel);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT)
        << "'" << target << "': " << status.error_message();
    EXPECT_NE(status.error_message(), "") << target;
  }
}

// --- Processes.

// The child has a copy of the Mesh and none of its threads. It may exit; the
// parent goes on.
TEST_F(Lifecycle, ForkedChildMayExitAndTheParentGoesOn) {
  auto mesh = MakeMesh(CartConfig());
  const auto channel = mesh->Channel("cart");
  EXPECT_TRUE(CallOn(channel).ok());
  for (int i = 0; i < 5; ++i) {
    const pid_t child = fork();
    if (child == 0) _exit(7);
    ASSERT_GT(child, 0);
    EXPECT_TRUE(CallOn(channel, 2).ok());
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
  }
  EXPECT_TRUE(CallOn(channel, 2).ok());
}

// Runs a program of this directory against a server whose answers take long.
absl::Status RunProgram(const std::string& program, const std::string& mode,
                        const TestServer& server) {
  const auto output = RunToEnd({absl::StrCat("tests/lifecycle/", program), mode,
                                absl::StrJoin(server.addresses(), ",")},
                               absl::Seconds(60));
  if (!output.ok()) return output.status();
  if (*output != "reached the end\n") {
    return absl::InternalError(absl::StrCat("it printed: ", *output));
  }
  return absl::OkStatus();
}

class Exit : public Lifecycle,
             public testing::WithParamInterface<const char*> {};

TEST_P(Exit, WithCallsInFlightIsCleanAndPrompt) {
  const absl::Time start = base::Clock::Real().Now();
  const absl::Status status = RunProgram("exit_main", GetParam(), *server_);
  EXPECT_TRUE(status.ok()) << status;
  // The server would take 20 s to answer.
  EXPECT_LT(base::Clock::Real().Now() - start, absl::Seconds(15));
}

INSTANTIATE_TEST_SUITE_P(All, Exit,
                         testing::Values("callback", "queue", "blocked_thread",
                                         "stream", "waiting", "retrying",
                                         "static_mesh", "static_channel",
                                         "create_channel", "leaked",
                                         "return_from_main", "quick_exit",
                                         "forked_child"),
                         [](const testing::TestParamInfo<const char*>& info) {
                           return std::string(info.param);
                         });

class NoRtti : public Lifecycle,
               public testing::WithParamInterface<const char*> {};

TEST_P(NoRtti, CallsPassThroughUnretried) {
  const absl::Status status = RunProgram("no_rtti_main", GetParam(), *server_);
  EXPECT_TRUE(status.ok()) << status;
}

INSTANTIATE_TEST_SUITE_P(All, NoRtti,
                         testing::Values("sync", "async", "callback",
                                         "function", "stream", "waiting"),
                         [](const testing::TestParamInfo<const char*>& info) {
                           return std::string(info.param);
                         });

}  // namespace
}  // namespace mesh::test
