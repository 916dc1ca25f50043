// Hedged calls beyond what matrix_test.cc plays: who wins, who loses, who goes
// away; and answers that the application gives itself.

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/base/random.h"
#include "mesh/mesh.h"
#include "mesh/v1/config.pb.h"
#include "tests/matrix/environment.h"
#include "tests/matrix/script.h"
#include "tests/support/test_server.h"

namespace mesh::test {
namespace {

using grpc::StatusCode;
using std::chrono::milliseconds;
using std::chrono::system_clock;

std::string Lines(const Trace& trace) {
  return absl::StrCat("\n  ", absl::StrJoin(trace, "\n  "));
}

std::vector<Way> UnaryWays() {
  std::vector<Way> ways;
  for (const Way& way : AllWays()) {
    if (way.kind == Kind::kUnary) ways.push_back(way);
  }
  return ways;
}

class HedgedWays : public testing::TestWithParam<Way> {
 protected:
  Script Usual() {
    Script script;
    script.steps = UsualSteps(Kind::kUnary);
    return script;
  }
  Played OnBare(const Script& script) {
    return Play(script, Kind::kUnary, GetParam().style,
                Arms::Get().Bare(Flavour::kPlain), Arms::Get().server());
  }
  Played OnHedged(const Script& script) {
    return Play(script, Kind::kUnary, GetParam().style,
                Arms::Get().Hedged(Flavour::kPlain), Arms::Get().server());
  }
  void ExpectSame(const Played& bare, const Played& mesh) {
    EXPECT_EQ(bare.trace, mesh.trace)
        << "bare:" << Lines(bare.trace) << "\nmesh:" << Lines(mesh.trace);
  }
};

TEST_P(HedgedWays, TheFirstAttemptMayStillWin) {
  Script script = Usual();
  const Played bare = OnBare(script);
  script.directives.set_sleep_ms(5 * kHedgeDelayMs);
  for (int i = 0; i < 5; ++i) ExpectSame(bare, OnHedged(script));
}

TEST_P(HedgedWays, FailAsABareChannelDoesWhenAllAttemptsFail) {
  Script script = Usual();
  script.directives.set_code(StatusCode::UNAVAILABLE);
  script.directives.set_message("down for today");
  script.directives.set_details("some details");
  script.directives.set_sleep_ms(3 * kHedgeDelayMs);
  *script.directives.add_trailing_metadata() = [] {
    Header header;
    header.set_key("until");
    header.set_value("six");
    return header;
  }();
  const Played bare = OnBare(script);

  const Played mesh = OnHedged(script);

  EXPECT_EQ(mesh.executions, kMaxAttempts);
  ExpectSame(bare, mesh);
}

TEST_P(HedgedWays, EndWhenOneFailsForGood) {
  Script script = Usual();
  script.directives.set_code(StatusCode::PERMISSION_DENIED);
  script.directives.set_message("not you");
  script.directives.set_sleep_ms(3 * kHedgeDelayMs);
  ExpectSame(OnBare(script), OnHedged(script));
}

TEST_P(HedgedWays, StopWhenTheServerSaysNotToRetry) {
  Script script = Usual();
  script.directives.set_code(StatusCode::UNAVAILABLE);
  script.directives.set_pushback_ms("-1");
  script.directives.set_sleep_ms(3 * kHedgeDelayMs);
  ExpectSame(OnBare(script), OnHedged(script));
}

TEST_P(HedgedWays, AreCancelledWithAllAttempts) {
  Script script = Usual();
  script.directives.set_sleep_ms(20000);
  script.steps.insert(script.steps.begin() + 1, {Step::kCancelSoon});
  script.message_varies = true;
  const Played bare = OnBare(script);
  for (int i = 0; i < 5; ++i) {
    const Played mesh = OnHedged(script);
    EXPECT_EQ(mesh.status.error_code(), StatusCode::CANCELLED);
    ExpectSame(bare, mesh);
  }
}

TEST_P(HedgedWays, AreCancelledWhileTheFirstHasFailed) {
  Script script = Usual();
  // The first fails at once after a hedge began, the others hang.
  script.directives.set_sleep_ms(2 * kHedgeDelayMs);
  script.directives.set_fail_first(1);
  script.directives.set_reply_bytes(1);
  const Played once = OnHedged(script);
  EXPECT_EQ(once.status.error_code(), StatusCode::OK);
}

TEST_P(HedgedWays, EndAtTheDeadline) {
  Script script = Usual();
  script.directives.set_sleep_ms(20000);
  script.message_varies = true;
  script.prepare = [](grpc::ClientContext* context) {
    context->set_deadline(system_clock::now() + milliseconds(50));
  };
  const Played mesh = OnHedged(script);
  EXPECT_EQ(mesh.status.error_code(), StatusCode::DEADLINE_EXCEEDED);
  ExpectSame(OnBare(script), mesh);
}

INSTANTIATE_TEST_SUITE_P(All, HedgedWays, testing::ValuesIn(UnaryWays()),
                         testing::PrintToStringParamName());

// --- A mesh of its own

v1::Config HedgedConfig() {
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["test"];
  for (const std::string& address : Arms::Get().server()->addresses()) {
    service.add_endpoints()->set_address(address);
  }
  v1::MethodPolicy& policy = *service.mutable_policy();
  policy.set_idempotent(true);
  policy.mutable_hedging()->set_mode(v1::MODE_ENFORCE);
  policy.mutable_hedging()->mutable_delay()->set_nanos(1'000'000);
  policy.mutable_hedging()->set_max_attempts(3);
  service.mutable_retry_budget()->set_ratio(1);
  service.mutable_retry_budget()->set_min_per_second(100000);
  return config;
}

// So that attempts reach the server in the order in which they are made.
void WaitUntilConnected(const Mesh& mesh) {
  const auto connected = [&mesh] {
    for (const auto& service : mesh.Metrics().services) {
      if (service.endpoints.empty()) return false;
      for (const auto& endpoint : service.endpoints) {
        if (endpoint.state != "ready") return false;
      }
    }
    return true;
  };
  while (!connected()) std::this_thread::sleep_for(milliseconds(1));
}

std::string UniqueKey() {
  static std::atomic<int> last{0};
  return absl::StrCat("hedge-", ++last);
}

// The first `first` attempts of this call do, the next ones don't.
Request Hangs(int first) {
  Request request;
  request.mutable_directives()->set_key(UniqueKey());
  request.mutable_directives()->set_sleep_ms(20000);
  request.mutable_directives()->set_sleep_first(first);
  return request;
}

TEST(HedgeTest, SaysWhoAnsweredAndCountsIt) {
  auto mesh = Mesh::Create(HedgedConfig()).value();
  const auto stub = TestService::NewStub(mesh->Channel("test"));
  WaitUntilConnected(*mesh);
  const auto won = [&mesh] {
    uint64_t sum = 0;
    const telemetry::Snapshot metrics = mesh->Metrics();
    for (const auto& method : metrics.services.at(0).methods) {
      EXPECT_GE(method.hedges, method.hedges_won);
      sum += method.hedges_won;
    }
    return sum;
  };
  // On a busy machine a hedge may overtake the first attempt, and hang.
  for (int i = 0; i < 20 && won() == 0; ++i) {
    grpc::ClientContext context;
    Reply reply;
    const grpc::Status status = stub->Unary(&context, Hangs(1), &reply);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_TRUE(absl::StrContains(context.peer(), "127.0.0.1:"))
        << context.peer();
    EXPECT_EQ(context.debug_error_string(), "");
  }
  EXPECT_GE(won(), 1u);
}

TEST(HedgeTest, TellsTheStoryWhenAllFail) {
  auto mesh = Mesh::Create(HedgedConfig()).value();
  const auto stub = TestService::NewStub(mesh->Channel("test"));
  grpc::ClientContext context;
  Request request;
  request.mutable_directives()->set_code(StatusCode::UNAVAILABLE);
  request.mutable_directives()->set_message("down");
  request.mutable_directives()->set_sleep_ms(10);
  Reply reply;

  const grpc::Status status = stub->Unary(&context, request, &reply);

  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "down");
  EXPECT_TRUE(absl::StrContains(context.debug_error_string(),
                                "; mesh: test: 3 attempts were made in "))
      << context.debug_error_string();
}

TEST(HedgeTest, OutlivesTheMeshAndTheChannel) {
  auto mesh = Mesh::Create(HedgedConfig()).value();
  auto stub = TestService::NewStub(mesh->Channel("test"));
  const Request request = Hangs(2);
  std::atomic<bool> done{false};
  grpc::ClientContext context;
  Reply reply;
  grpc::Status status;

  stub->async()->Unary(&context, &request, &reply, [&](grpc::Status result) {
    status = std::move(result);
    done = true;
  });
  mesh.reset();
  stub.reset();

  while (!done) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST(HedgeTest, ContextsMayGoWhileLosersStillRun) {
  auto mesh = Mesh::Create(HedgedConfig()).value();
  const auto stub = TestService::NewStub(mesh->Channel("test"));
  std::vector<std::thread> threads;
  std::atomic<int> ok{0};
  constexpr int kThreads = 4;
  constexpr int kCalls = 50;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      base::Random random(t + 1);
      for (int i = 0; i < kCalls; ++i) {
        auto context = std::make_unique<grpc::ClientContext>();
        Request request;
        request.mutable_directives()->set_key(UniqueKey());
        request.mutable_directives()->set_sleep_ms(
            static_cast<int64_t>(1 + random.Unit() * 4));
        request.mutable_directives()->set_sleep_first(random.Unit() < 0.5 ? 1
                                                                          : 3);
        if (random.Unit() < 0.3)
          request.mutable_directives()->set_fail_first(1);
        Reply reply;
        if (stub->Unary(context.get(), request, &reply).ok()) ++ok;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ok, kThreads * kCalls);
}

TEST(HedgeTest, MayBeCancelledAtAnyMoment) {
  auto mesh = Mesh::Create(HedgedConfig()).value();
  const auto stub = TestService::NewStub(mesh->Channel("test"));
  base::Random random(7);
  for (int i = 0; i < 200; ++i) {
    auto context = std::make_unique<grpc::ClientContext>();
    Request request;
    request.mutable_directives()->set_key(UniqueKey());
    request.mutable_directives()->set_sleep_ms(3);
    request.mutable_directives()->set_sleep_first(2);
    request.mutable_directives()->set_fail_first(static_cast<int>(i % 3));
    Reply reply;
    const auto after =
        std::chrono::microseconds(static_cast<int64_t>(random.Unit() * 8000));
    std::thread canceller([&] {
      std::this_thread::sleep_for(after);
      context->TryCancel();
    });
    const grpc::Status status = stub->Unary(context.get(), request, &reply);
    canceller.join();
    EXPECT_TRUE(status.ok() || status.error_code() == StatusCode::CANCELLED)
        << status.error_code() << " " << status.error_message() << " "
        << context->debug_error_string();
  }
}

TEST(HedgeTest, AGuardsRefusalEndsTheCall) {
  v1::Config config = HedgedConfig();
  v1::Service& service = (*config.mutable_services())["test"];
  service.mutable_policy()->mutable_fault()->set_mode(v1::MODE_ENFORCE);
  service.mutable_policy()->mutable_fault()->set_by_header(true);
  auto mesh = Mesh::Create(config).value();
  const auto stub = TestService::NewStub(mesh->Channel("test"));
  grpc::ClientContext context;
  context.AddMetadata("mesh-fault-abort", "ABORTED");
  context.AddMetadata("mesh-fault-delay-ms", "3");
  Reply reply;
  const grpc::Status status = stub->Unary(&context, Request(), &reply);
  EXPECT_EQ(status.error_code(), StatusCode::ABORTED) << status.error_message();
}

// --- Fallbacks

class FallbackWays : public testing::TestWithParam<Way> {
 protected:
  // A mesh whose service "test" is at `addresses`.
  std::unique_ptr<Mesh> MakeMesh(const std::vector<std::string>& addresses,
                                 const std::optional<std::string>& answer) {
    v1::Config config;
    v1::Service& service = (*config.mutable_services())["test"];
    for (const std::string& address : addresses) {
      service.add_endpoints()->set_address(address);
    }
    service.mutable_policy()->mutable_fault()->set_mode(v1::MODE_ENFORCE);
    service.mutable_policy()->mutable_fault()->set_by_header(true);
    Options options;
    options.fallbacks["test"] =
        [this,
         answer](const FailedCall& call) -> std::optional<grpc::ByteBuffer> {
      ++asked_;
      EXPECT_EQ(call.service, "test");
      EXPECT_TRUE(absl::EndsWith(call.method, "TestService/Unary"));
      EXPECT_FALSE(call.status->ok());
      if (!answer.has_value()) return std::nullopt;
      grpc::Slice request;
      EXPECT_TRUE(call.request->DumpToSingleSlice(&request).ok());
      Request parsed;
      EXPECT_TRUE(parsed.ParseFromArray(request.begin(),
                                        static_cast<int>(request.size())));
      Reply reply;
      reply.set_payload(absl::StrCat(*answer, parsed.payload()));
      const grpc::Slice slice(reply.SerializeAsString());
      return grpc::ByteBuffer(&slice, 1);
    };
    return Mesh::Create(config, std::move(options)).value();
  }

  Played PlayOn(Mesh& mesh, const Script& script) {
    return Play(script, Kind::kUnary, GetParam().style, mesh.Channel("test"),
                Arms::Get().server());
  }

  std::atomic<int> asked_{0};
};

TEST_P(FallbackWays, AnswerWhenTheServerFails) {
  const auto mesh = MakeMesh(Arms::Get().server()->addresses(), "instead of ");
  Script script;
  script.steps = UsualSteps(Kind::kUnary);
  script.directives.set_code(StatusCode::UNAVAILABLE);

  const Played played = PlayOn(*mesh, script);

  EXPECT_TRUE(played.status.ok()) << played.status.error_message();
  EXPECT_TRUE(absl::StrContains(Lines(played.trace), "reply 'instead of one'"))
      << Lines(played.trace);
  EXPECT_EQ(asked_, 1);
}

TEST_P(FallbackWays, AnswerWhenMeshFailsTheCall) {
  const auto mesh = MakeMesh(Arms::Get().server()->addresses(), "instead of ");
  Script script;
  script.steps = UsualSteps(Kind::kUnary);
  for (const char* delay : {"0", "2"}) {
    script.prepare = [delay](grpc::ClientContext* context) {
      context->AddMetadata("mesh-fault-abort", "RESOURCE_EXHAUSTED");
      context->AddMetadata("mesh-fault-delay-ms", delay);
    };
    const Played played = PlayOn(*mesh, script);
    EXPECT_TRUE(played.status.ok()) << played.status.error_message();
    EXPECT_TRUE(
        absl::StrContains(Lines(played.trace), "reply 'instead of one'"))
        << Lines(played.trace);
  }
  EXPECT_EQ(asked_, 2);
}

TEST_P(FallbackWays, ThatHaveNoAnswerLetTheCallFail) {
  const auto mesh = MakeMesh(Arms::Get().server()->addresses(), std::nullopt);
  Script script;
  script.steps = UsualSteps(Kind::kUnary);
  script.directives.set_code(StatusCode::NOT_FOUND);
  script.directives.set_message("no such thing");

  const Played played = PlayOn(*mesh, script);

  EXPECT_EQ(played.status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(played.status.error_message(), "no such thing");
  EXPECT_EQ(asked_, 1);
}

TEST_P(FallbackWays, AreNotAskedOfWhatWasCancelled) {
  const auto mesh = MakeMesh(Arms::Get().server()->addresses(), "no ");
  Script script;
  script.steps = UsualSteps(Kind::kUnary);
  script.directives.set_sleep_ms(20000);
  script.steps.insert(script.steps.begin() + 1, {Step::kCancelSoon});

  EXPECT_EQ(PlayOn(*mesh, script).status.error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(asked_, 0);
}

INSTANTIATE_TEST_SUITE_P(All, FallbackWays, testing::ValuesIn(UnaryWays()),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace mesh::test
