// Servers that die, stop answering, or are all away.

#include <signal.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/telemetry/observer.h"
#include "tests/scenario/scenario.h"

namespace mesh::test {
namespace {

class OutageTest : public testing::Test {
 protected:
  OutageTest() : servers_(3) {
    for (ServerProcess& server : servers_) {
      addresses_.push_back(server.address());
    }
  }

  std::vector<ServerProcess> servers_;
  std::vector<std::string> addresses_;
};

TEST_F(OutageTest, NoIdempotentCallFailsWhenServersAreKilledOneAfterAnother) {
  v1::Config config = OneService(addresses_);
  TheService(&config).mutable_policy()->set_idempotent(true);
  const std::unique_ptr<Mesh> mesh = MakeMesh(config);
  const auto stub = StubOf(*mesh);
  Request request;
  request.mutable_directives()->set_sleep_ms(5);  // Calls are in flight, then.
  ASSERT_EQ(CallUnary(*stub, request).error_code(), grpc::StatusCode::OK);

  Load load(1000, 24, [&](int64_t) { return CallUnary(*stub, request); });
  for (int kill = 0; kill < 20; ++kill) {
    ServerProcess& victim = servers_[kill % servers_.size()];
    absl::SleepFor(absl::Milliseconds(200));
    victim.Kill();
    absl::SleepFor(absl::Milliseconds(200));
    victim.Start();
    // The next one is killed when this one is back at work.
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
  EXPECT_GT(load.calls(), 5000);
  EXPECT_GT(Retries(*mesh), 0u) << "the kills have hit nothing";
}

// Until its first message a stream is tried elsewhere; from then on its caller
// is told.
TEST_F(OutageTest, StreamsOfServersThatAreKilledAreWholeOrSaySo) {
  v1::Config config = OneService(addresses_);
  TheService(&config).mutable_policy()->set_idempotent(true);
  const std::unique_ptr<Mesh> mesh = MakeMesh(config);
  const auto stub = StubOf(*mesh);
  constexpr int kReplies = 3;
  Request request;
  request.mutable_directives()->set_sleep_ms(10);
  request.mutable_directives()->set_replies(kReplies);
  request.mutable_directives()->set_reply_interval_ms(2);
  ASSERT_EQ(CallUnary(*stub, request).error_code(), grpc::StatusCode::OK);

  std::atomic<int64_t> cut{0};
  Load load(500, 24, [&](int64_t) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(10));
    const auto stream = stub->ServerStream(&context, request);
    Reply reply;
    int received = 0;
    while (stream->Read(&reply)) ++received;
    const grpc::Status status = stream->Finish();
    EXPECT_LE(received, kReplies);
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE && received > 0) {
      ++cut;
      return grpc::Status();
    }
    if (status.ok()) {
      EXPECT_EQ(received, kReplies);
    }
    return status;
  });
  for (int kill = 0; kill < 12; ++kill) {
    ServerProcess& victim = servers_[kill % servers_.size()];
    absl::SleepFor(absl::Milliseconds(150));
    victim.Kill();
    absl::SleepFor(absl::Milliseconds(150));
    victim.Start();
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
  EXPECT_GT(load.calls(), 1500);
  EXPECT_GT(Retries(*mesh), 0u) << "the kills have hit nothing";
  EXPECT_LT(cut, load.calls() / 20);
}

TEST_F(OutageTest, IdempotentCallsSurviveAServerThatStopsAnswering) {
  v1::Config config = OneService(addresses_);
  v1::MethodPolicy& policy = *TheService(&config).mutable_policy();
  policy.set_idempotent(true);
  policy.mutable_retry()->mutable_attempt_timeout()->set_nanos(200'000'000);
  policy.mutable_retry()->add_codes("UNAVAILABLE");
  policy.mutable_retry()->add_codes("DEADLINE_EXCEEDED");
  const std::unique_ptr<Mesh> mesh = MakeMesh(config);
  const auto stub = StubOf(*mesh);
  ASSERT_EQ(CallUnary(*stub, Request()).error_code(), grpc::StatusCode::OK);

  Load load(300, 24, [&](int64_t) { return CallUnary(*stub, Request()); });
  absl::SleepFor(absl::Milliseconds(300));
  servers_[1].Signal(SIGSTOP);
  absl::SleepFor(absl::Seconds(3));
  servers_[1].Signal(SIGCONT);
  absl::SleepFor(absl::Milliseconds(300));
  load.Stop();

  EXPECT_EQ(load.failed(), 0) << load.Failures();
  EXPECT_GT(Retries(*mesh), 0u) << "the stop has hit nothing";
}

// What a server that is stopped did not say must not count as its answer.
TEST_F(OutageTest, ADeadlineThatPassesIsNoAnswerOfTheServer) {
  struct Attempts final : telemetry::Observer {
    void OnAttemptEnd(const telemetry::CallInfo&,
                      const telemetry::AttemptEvent& event) override {
      ++all;
      local += event.local;
    }
    std::atomic<int> all{0};
    std::atomic<int> local{0};
  };
  const auto attempts = std::make_shared<Attempts>();
  Options options;
  options.observers.push_back(attempts);
  const std::unique_ptr<Mesh> mesh =
      MakeMesh(OneService({addresses_[0]}), std::move(options));
  const auto stub = StubOf(*mesh);
  ASSERT_TRUE(CallUnary(*stub, Request()).ok());
  servers_[0].Signal(SIGSTOP);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(100));
  Reply reply;
  const grpc::Status status = stub->Unary(&context, Request(), &reply);
  servers_[0].Signal(SIGCONT);

  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(attempts->all, 2);
  EXPECT_EQ(attempts->local, 1);
}

TEST_F(OutageTest, CallsFailAtOnceWithTheReasonWhenAllServersAreDown) {
  v1::Config config = OneService(addresses_);
  TheService(&config).mutable_policy()->set_idempotent(true);
  const std::unique_ptr<Mesh> mesh = MakeMesh(config);
  const auto stub = StubOf(*mesh);
  ASSERT_EQ(CallUnary(*stub, Request()).error_code(), grpc::StatusCode::OK);
  for (ServerProcess& server : servers_) server.Kill();
  ASSERT_TRUE(WaitUntil([&] { return !CallUnary(*stub, Request()).ok(); }));

  const absl::Time start = absl::Now();
  const grpc::Status status = CallUnary(*stub, Request());
  const absl::Duration taken = absl::Now() - start;

  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), testing::HasSubstr("onnect"));
  EXPECT_LT(taken, absl::Seconds(5)) << "of its deadline of 10 s";
}

TEST_F(OutageTest, ACallThatWaitsForReadyIsServedWhenAServerComesBack) {
  for (ServerProcess& server : servers_) server.Kill();
  const std::unique_ptr<Mesh> mesh = MakeMesh(OneService(addresses_));
  const auto stub = StubOf(*mesh);
  ASSERT_EQ(CallUnary(*stub, Request()).error_code(),
            grpc::StatusCode::UNAVAILABLE);

  grpc::Status status;
  std::thread caller([&] {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(60));
    Reply reply;
    status = stub->Unary(&context, Request(), &reply);
  });
  absl::SleepFor(absl::Milliseconds(500));
  servers_[2].Start();
  caller.join();

  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(OutageTest, CallsGoOnAsBeforeOnceAllServersAreBack) {
  const std::unique_ptr<Mesh> mesh = MakeMesh(OneService(addresses_));
  const auto stub = StubOf(*mesh);
  for (ServerProcess& server : servers_) server.Kill();
  ASSERT_FALSE(CallUnary(*stub, Request()).ok());
  for (ServerProcess& server : servers_) server.Start();
  ASSERT_TRUE(WaitUntil([&] { return CallUnary(*stub, Request()).ok(); }));

  for (int i = 0; i < 200; ++i) {
    const grpc::Status status = CallUnary(*stub, Request());
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
}

}  // namespace
}  // namespace mesh::test
