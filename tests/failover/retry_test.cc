// What retries do and do not, as servers see them.

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/scenario/scenario.h"
#include "tests/support/test_server.h"

namespace mesh::test {
namespace {

class RetryTest : public testing::Test {
 protected:
  RetryTest() : executions_(std::make_shared<Executions>()) {
    for (int i = 0; i < 3; ++i) {
      TestServer::Options options;
      options.name = std::string(1, static_cast<char>('a' + i));
      options.executions = executions_;
      servers_.push_back(TestServer::Start(std::move(options)).value());
      addresses_.push_back(servers_.back()->address());
    }
    config_ = OneService(addresses_);
    policy_ = TheService(&config_).mutable_policy();
    policy_->set_idempotent(true);
    policy_->mutable_retry()->mutable_initial_backoff()->set_nanos(1'000'000);
    request_.mutable_directives()->set_key("k");
  }

  // Executions of the key "k", or of another one, on all servers together.
  int64_t Executed(const std::string& key = "k") const {
    return executions_->Count(key).executions();
  }

  // Shared by the servers.
  std::shared_ptr<Executions> executions_;
  std::vector<std::unique_ptr<TestServer>> servers_;
  std::vector<std::string> addresses_;
  v1::Config config_;
  v1::MethodPolicy* policy_;
  Request request_;
};

TEST_F(RetryTest, TellsTheServerHowManyAttemptsWentBefore) {
  const auto mesh = MakeMesh(config_);
  const auto stub = StubOf(*mesh);
  request_.mutable_directives()->set_fail_first(2);
  request_.mutable_directives()->set_echo(true);
  Reply reply;

  const grpc::Status status = CallUnary(*stub, request_, &reply);

  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(reply.seen().previous_attempts(), 2);
  EXPECT_EQ(Executed(), 3);
}

TEST_F(RetryTest, GoesToEndpointsThatWereNotTriedYet) {
  // Each server counts for itself here.
  std::vector<std::unique_ptr<TestServer>> servers;
  std::vector<std::string> addresses;
  for (int i = 0; i < 3; ++i) {
    servers.push_back(TestServer::Start().value());
    addresses.push_back(servers.back()->address());
  }
  v1::Config config = OneService(addresses);
  *TheService(&config).mutable_policy() = *policy_;
  const auto mesh = MakeMesh(config);
  const auto stub = StubOf(*mesh);
  ASSERT_TRUE(WaitUntil([&] {
    const auto endpoints = ServiceMetrics(*mesh).endpoints;
    if (endpoints.size() != servers.size()) return false;
    for (const auto& endpoint : endpoints) {
      if (endpoint.state != "ready") return false;
    }
    return CallUnary(*stub, Request()).ok();
  }));
  request_.mutable_directives()->set_code(grpc::StatusCode::UNAVAILABLE);
  // As many as the budget's floor allows.
  for (int i = 0; i < 2; ++i) {
    request_.mutable_directives()->set_key(std::to_string(i));
    EXPECT_EQ(CallUnary(*stub, request_).error_code(),
              grpc::StatusCode::UNAVAILABLE);
    for (const auto& server : servers) {
      EXPECT_EQ(server->executions().Count(std::to_string(i)).executions(), 1);
    }
  }
}

TEST_F(RetryTest, IsBoundedByTheBudgetWhenAllServersFail) {
  const auto mesh = MakeMesh(config_);
  const auto stub = StubOf(*mesh);
  ASSERT_TRUE(CallUnary(*stub, Request()).ok());
  request_.mutable_directives()->set_code(grpc::StatusCode::UNAVAILABLE);
  const absl::Time start = absl::Now();

  constexpr int kCalls = 2000;
  for (int i = 0; i < kCalls; ++i) {
    EXPECT_EQ(CallUnary(*stub, request_).error_code(),
              grpc::StatusCode::UNAVAILABLE);
  }

  // A tenth of the calls, ten per second, and as much again as may have been
  // saved up for a second.
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  const int64_t retries = Executed() - kCalls;
  EXPECT_LE(retries, 0.1 * kCalls + 10 * (seconds + 1) + 1);
  EXPECT_GE(retries, 0.1 * kCalls / 2) << "the budget is there to be used";
  EXPECT_GT(ServiceMetrics(*mesh).retries_denied_by_budget, 0u);
}

TEST_F(RetryTest, StopsWhenTheServerSaysNotTo) {
  const auto mesh = MakeMesh(config_);
  const auto stub = StubOf(*mesh);
  request_.mutable_directives()->set_code(grpc::StatusCode::UNAVAILABLE);
  request_.mutable_directives()->set_pushback_ms("-1");

  EXPECT_EQ(CallUnary(*stub, request_).error_code(),
            grpc::StatusCode::UNAVAILABLE);

  EXPECT_EQ(Executed(), 1);
}

TEST_F(RetryTest, WaitsAsLongAsTheServerSays) {
  const auto mesh = MakeMesh(config_);
  const auto stub = StubOf(*mesh);
  request_.mutable_directives()->set_fail_first(1);
  request_.mutable_directives()->set_pushback_ms("300");
  const absl::Time start = absl::Now();

  const grpc::Status status = CallUnary(*stub, request_);

  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(300));
  EXPECT_EQ(Executed(), 2);
}

TEST_F(RetryTest, NeverGoesOnPastTheDeadline) {
  policy_->mutable_retry()->mutable_initial_backoff()->set_nanos(0);
  policy_->mutable_retry()->mutable_initial_backoff()->set_seconds(20);
  policy_->mutable_retry()->mutable_max_backoff()->set_seconds(20);
  policy_->mutable_retry()->set_max_attempts(10);
  const auto mesh = MakeMesh(config_);
  const auto stub = StubOf(*mesh);
  ASSERT_TRUE(CallUnary(*stub, Request()).ok());
  request_.mutable_directives()->set_code(grpc::StatusCode::UNAVAILABLE);
  const absl::Time start = absl::Now();

  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(500));
  Reply reply;
  const grpc::Status status = stub->Unary(&context, request_, &reply);

  EXPECT_FALSE(status.ok());
  EXPECT_LT(absl::Now() - start, absl::Seconds(5)) << "of a backoff of 20 s";
}

TEST_F(RetryTest, GivesEachAttemptTheTimeThatIsLeft) {
  const auto mesh = MakeMesh(config_);
  const auto stub = StubOf(*mesh);
  request_.mutable_directives()->set_fail_first(1);
  request_.mutable_directives()->set_pushback_ms("500");
  request_.mutable_directives()->set_echo(true);
  Reply reply;

  ASSERT_TRUE(CallUnary(*stub, request_, &reply).ok());

  EXPECT_GT(reply.seen().deadline_ms(), 0);
  EXPECT_LE(reply.seen().deadline_ms(), 9500) << "of 10 s, after 0.5 s";
}

TEST_F(RetryTest, IsNotMadeOfMethodsThatAreNotIdempotent) {
  (*TheService(&config_).mutable_methods())["mesh.test.TestService/Once"]
      .set_idempotent(false);
  const auto mesh = MakeMesh(config_);
  const auto stub = StubOf(*mesh);
  request_.mutable_directives()->set_fail_first(1);

  EXPECT_EQ(CallOnce(*stub, request_).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Executed(), 1);

  request_.mutable_directives()->set_key("other");
  EXPECT_TRUE(CallUnary(*stub, request_).ok());
  EXPECT_EQ(Executed("other"), 2);
}

TEST_F(RetryTest, IsNotMadeAfterOtherCodes) {
  const auto mesh = MakeMesh(config_);
  const auto stub = StubOf(*mesh);
  request_.mutable_directives()->set_code(grpc::StatusCode::INTERNAL);

  EXPECT_EQ(CallUnary(*stub, request_).error_code(),
            grpc::StatusCode::INTERNAL);

  EXPECT_EQ(Executed(), 1);
}

}  // namespace
}  // namespace mesh::test
