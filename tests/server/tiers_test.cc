// Tiers of processes, each with a mesh: what one retried in vain is not retried
// on top by the one before it, and deadlines go down the whole chain.

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/server/server.h"
#include "tests/scenario/scenario.h"
#include "tests/support/test_server.h"

namespace mesh::test {
namespace {

std::string TierProgram() {
  const char* root = std::getenv("TEST_SRCDIR");
  return absl::StrCat(root == nullptr ? "." : root,
                      "/mesh/tests/server/tier_main");
}

// What a tier, or the front, does with calls to the next one.
std::string ConfigText(const std::string& name,
                       const std::vector<std::string>& next,
                       const std::string& retry, const std::string& budget) {
  return absl::StrCat("services:\n  ", name, ":\n    endpoints: ['",
                      absl::StrJoin(next, "', '"),
                      "']\n    policy: {idempotent: true, retry: {", retry,
                      "}}\n    retry_budget: {", budget, "}\n");
}

constexpr char kThreeAttempts[] = "max_attempts: 3, initial_backoff: 1ms";
constexpr char kPlenty[] = "ratio: 1, min_per_second: 1000";

class TiersTest : public testing::Test {
 protected:
  TiersTest() {
    for (int i = 0; i < 3; ++i) {
      ServerProcess::Options options;
      options.journal = absl::StrCat(dir_.path(), "/leaf-", i);
      journals_.push_back(options.journal);
      leaves_.push_back(std::make_unique<ServerProcess>(std::move(options)));
      leaf_addresses_.push_back(leaves_.back()->address());
    }
    request_.mutable_directives()->set_key("k");
    request_.mutable_directives()->set_code(grpc::StatusCode::UNAVAILABLE);
    request_.mutable_directives()->set_message("the leaf failed");
  }

  // Starts a tier of three processes that call `next`. Their addresses.
  std::vector<std::string> StartTier(const std::vector<std::string>& next,
                                     bool attach = true,
                                     const std::string& retry = kThreeAttempts,
                                     const std::string& budget = kPlenty) {
    const std::string config =
        dir_.Write(absl::StrCat("tier-", processes_.size(), ".yaml"),
                   ConfigText("next", next, retry, budget));
    std::vector<std::string> addresses;
    for (int i = 0; i < 3; ++i) {
      std::vector<std::string> argv = {TierProgram(), "--config=" + config};
      if (!attach) argv.push_back("--bare");
      processes_.push_back(Process::Start(argv).value());
      addresses.push_back(
          processes_.back()->ReadLine(absl::Seconds(30)).value());
    }
    return addresses;
  }

  // The front's mesh, in this process, to `next`.
  std::unique_ptr<Mesh> Front(const std::vector<std::string>& next) {
    return Mesh::FromFile(
               dir_.Write("front.yaml",
                          ConfigText("test", next, kThreeAttempts, kPlenty)))
        .value();
  }

  int Executions() { return ReadJournals(journals_)["k"]; }

  TempDirectory dir_;
  std::vector<std::string> journals_;
  std::vector<std::unique_ptr<ServerProcess>> leaves_;
  std::vector<std::string> leaf_addresses_;
  std::vector<std::unique_ptr<Process>> processes_;
  Request request_;
};

TEST_F(TiersTest, WhatOneTierRetriedInVainIsNotRetriedOnTop) {
  const auto front = Front(StartTier(leaf_addresses_));
  const auto stub = StubOf(*front);

  const grpc::Status status = CallUnary(*stub, request_);

  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "the leaf failed")
      << "the leaf's own, byte for byte";
  EXPECT_EQ(Executions(), 3) << "the middle's attempts, and no more";
  EXPECT_EQ(Retries(*front), 0u);
}

TEST_F(TiersTest, WithoutAttachEachTierMultiplies) {
  const auto front = Front(StartTier(leaf_addresses_, /*attach=*/false));
  EXPECT_FALSE(CallUnary(*StubOf(*front), request_).ok());
  EXPECT_EQ(Executions(), 9);
}

TEST_F(TiersTest, TheStopGoesUpThroughEveryTier) {
  const auto front = Front(StartTier(StartTier(leaf_addresses_)));
  EXPECT_FALSE(CallUnary(*StubOf(*front), request_).ok());
  EXPECT_EQ(Executions(), 3) << "and not 27";
}

TEST_F(TiersTest, TheStopGoesThroughATierThatDoesNotRetry) {
  const auto between =
      StartTier(StartTier(leaf_addresses_), /*attach=*/true, "max_attempts: 1");
  const auto front = Front(between);
  EXPECT_FALSE(CallUnary(*StubOf(*front), request_).ok());
  EXPECT_EQ(Executions(), 3) << "and not 9";
}

TEST_F(TiersTest, ATierWhoseBudgetIsExhaustedIsNotRetriedEither) {
  const auto front = Front(StartTier(leaf_addresses_, /*attach=*/true,
                                     "max_attempts: 3, initial_backoff: 1ms",
                                     "ratio: 0, min_per_second: 0"));
  const auto stub = StubOf(*front);
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(CallUnary(*stub, request_).ok());
  // Each tier has room for one retry to begin with.
  EXPECT_LE(Executions(), 20 + 3);
  EXPECT_GE(Executions(), 20);
}

TEST_F(TiersTest, AFailureThatTheTierDidNotRetryIsTheFrontsToRetry) {
  const auto front =
      Front(StartTier(leaf_addresses_, /*attach=*/true, "max_attempts: 1"));
  request_.mutable_directives()->clear_code();
  EXPECT_TRUE(CallUnary(*StubOf(*front), request_).ok());
  request_.mutable_directives()->set_key("once");
  request_.mutable_directives()->set_code(grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(CallUnary(*StubOf(*front), request_).ok());
  EXPECT_EQ(ReadJournals(journals_)["once"], 3) << "the front's attempts";
}

TEST_F(TiersTest, ASuccessAfterRetriesIsASuccess) {
  const auto front = Front(StartTier({leaf_addresses_[0]}));
  request_.mutable_directives()->set_fail_first(2);
  EXPECT_TRUE(CallUnary(*StubOf(*front), request_).ok());
  EXPECT_EQ(Executions(), 3);
}

TEST_F(TiersTest, ACallWithAContextOfItsOwnInheritsNothing) {
  const auto middle = StartTier(leaf_addresses_);
  const auto front = Front(middle);
  // The handler of Once makes its own context, and fails in the same way.
  EXPECT_FALSE(CallOnce(*StubOf(*front), request_).ok());
  EXPECT_EQ(Executions(), 9);
}

// The call of a front without mesh, so that only the middle decides.
grpc::Status CallWithDeadline(const std::string& address,
                              absl::Duration deadline, const Request& request,
                              Reply* reply) {
  const auto stub = TestService::NewStub(
      grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
  return stub->Unary(&context, request, reply);
}

TEST_F(TiersTest, AnAttemptThatCannotFinishByTheInheritedDeadlineIsNotBegun) {
  // One leaf: every retry has to wait, longer than the front's deadline.
  const std::string patient =
      "max_attempts: 3, initial_backoff: 30s, max_backoff: 30s";
  Reply reply;
  const absl::Time start = absl::Now();
  const grpc::Status status = CallWithDeadline(
      StartTier({leaf_addresses_[0]}, /*attach=*/true, patient)[0],
      absl::Seconds(20), request_, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE)
      << status.error_message();
  EXPECT_EQ(status.error_message(), "the leaf failed");
  EXPECT_LT(absl::Now() - start, absl::Seconds(15));
  EXPECT_EQ(Executions(), 1);
}

TEST_F(TiersTest, WithoutAttachItWaitsInVain) {
  const std::string patient =
      "max_attempts: 3, initial_backoff: 30s, max_backoff: 30s";
  Reply reply;
  EXPECT_EQ(CallWithDeadline(
                StartTier({leaf_addresses_[0]}, /*attach=*/false, patient)[0],
                absl::Milliseconds(500), request_, &reply)
                .error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(TiersTest, TheLeafSeesTheFrontsDeadline) {
  const auto middle = StartTier(StartTier(leaf_addresses_));
  request_.mutable_directives()->clear_code();
  request_.mutable_directives()->set_echo(true);
  Reply reply;
  const grpc::Status status =
      CallWithDeadline(middle[0], absl::Seconds(20), request_, &reply);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_GT(reply.seen().deadline_ms(), 5000);
  EXPECT_LE(reply.seen().deadline_ms(), 20500);
}

// Calls that may not be tried again, on servers of which one shuts down after
// it has said so, again and again.
TEST(AnnounceShutdownTest, NoCallIsLostThoughNoneMayBeRetried) {
  constexpr int kServers = 3;
  std::vector<std::unique_ptr<TestServer>> servers(kServers);
  std::vector<std::shared_ptr<server::Attachment>> attachments(kServers);
  std::vector<std::string> addresses;
  const auto start = [&](int i, const std::string& address) {
    TestServer::Options options;
    options.addresses = {address};
    options.customize = [&, i](grpc::ServerBuilder* builder) {
      attachments[i] = server::Attach(builder);
    };
    auto server = TestServer::Start(std::move(options));
    if (!server.ok()) return false;
    servers[i] = *std::move(server);
    return true;
  };
  for (int i = 0; i < kServers; ++i) {
    ASSERT_TRUE(start(i, "127.0.0.1:0"));
    addresses.push_back(servers[i]->address());
  }
  const auto mesh = MakeMesh(OneService(addresses));
  const auto stub = StubOf(*mesh);
  Load load(400, 8, [&](int64_t) {
    Request request;
    request.mutable_directives()->set_key("k");
    request.mutable_directives()->set_sleep_ms(2);
    return CallOnce(*stub, request);
  });
  const auto executed = [&](int i) {
    return servers[i]->executions().Count("k").executions();
  };
  for (int round = 0; round < 2 * kServers; ++round) {
    const int i = round % kServers;
    ASSERT_TRUE(WaitUntil([&] { return executed(i) > 20; })) << "in use";
    attachments[i]->AnnounceShutdown();
    absl::SleepFor(absl::Milliseconds(500));
    const int64_t before = executed(i);
    absl::SleepFor(absl::Milliseconds(200));
    EXPECT_EQ(executed(i), before) << "all have left it";
    servers[i]->Shutdown(absl::Seconds(5));
    ASSERT_TRUE(WaitUntil([&] { return start(i, addresses[i]); }));
  }
  load.Stop();
  EXPECT_EQ(load.failed(), 0) << load.Failures();
}

// In one process, so that sanitizers see all of it.
TEST(TiersInOneProcessTest, ManyCallsAtOnceEndOnceEach) {
  std::vector<std::unique_ptr<TestServer>> leaves;
  std::vector<std::string> addresses;
  for (int i = 0; i < 3; ++i) {
    leaves.push_back(TestServer::Start().value());
    addresses.push_back(leaves.back()->address());
  }
  v1::Config config = OneService(addresses);
  TheService(&config).mutable_policy()->set_idempotent(true);
  const auto mesh = MakeMesh(config);

  class Middle final : public TestService::Service {
   public:
    explicit Middle(std::unique_ptr<TestService::Stub> next)
        : next_(std::move(next)) {}
    grpc::Status Unary(grpc::ServerContext* context, const Request* request,
                       Reply* reply) override {
      // Two at once for the same call.
      const auto first = grpc::ClientContext::FromServerContext(*context);
      const auto second = grpc::ClientContext::FromServerContext(*context);
      Reply ignored;
      grpc::Status other;
      std::thread beside(
          [&] { other = next_->Unary(second.get(), *request, &ignored); });
      const grpc::Status status = next_->Unary(first.get(), *request, reply);
      beside.join();
      return status.ok() ? other : status;
    }

   private:
    const std::unique_ptr<TestService::Stub> next_;
  };
  Middle middle(StubOf(*mesh));
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&middle);
  server::Attach(&builder);
  const auto server = builder.BuildAndStart();

  const auto front = MakeMesh(OneService({absl::StrCat("127.0.0.1:", port)}));
  const auto stub = StubOf(*front);
  {
    Load load(0, 4, [&](int64_t number) {
      Request request;
      request.mutable_directives()->set_fail_share(0.3);
      request.mutable_directives()->set_sleep_ms(number % 7 == 0 ? 20 : 0);
      grpc::ClientContext context;
      context.set_deadline(
          std::chrono::system_clock::now() +
          std::chrono::milliseconds(number % 5 == 0 ? 5 : 5000));
      Reply reply;
      return stub->Unary(&context, request, &reply);
    });
    WaitUntil([&] { return load.calls() > 400; });
    load.Stop();
    EXPECT_GT(load.calls(), 400);
    EXPECT_LT(load.failed(), load.calls());
  }
  server->Shutdown(std::chrono::system_clock::now());
}

}  // namespace
}  // namespace mesh::test
