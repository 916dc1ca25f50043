#include "mesh/server/server.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/base/mutex.h"
#include "mesh/incoming/incoming_call.h"
#include "mesh/server/api_server_test_util.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::server {
namespace {

using std::chrono::seconds;

// All trailers of one name.
std::vector<std::string> Pushbacks(const grpc::ClientContext& context) {
  std::vector<std::string> values;
  const auto range =
      context.GetServerTrailingMetadata().equal_range("grpc-retry-pushback-ms");
  for (auto it = range.first; it != range.second; ++it) {
    values.emplace_back(it->second.data(), it->second.size());
  }
  return values;
}

bool WaitUntilNoneIsKept() {
  for (int i = 0; i < 20000 && incoming::CountIncoming() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return incoming::CountIncoming() == 0;
}

INSTANTIATE_TEST_SUITE_P(
    ApiAndKind, EveryApi,
    testing::Combine(testing::ValuesIn(AllApis()),
                     testing::Values(Kind::kUnary, Kind::kClientStream,
                                     Kind::kServerStream, Kind::kBidi)),
    NameOfApiAndKind);

TEST_P(EveryApi, ACallIsKeptWhileItIsServed) {
  Server server(api());
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + seconds(100));
    EXPECT_EQ(server.Call(kind(), &context).error_code(),
              grpc::StatusCode::UNAVAILABLE);
  }
  const auto seen = server.seen();
  ASSERT_TRUE(seen.has_value());
  const gpr_timespec left =
      gpr_time_sub(gpr_convert_clock_type(seen->deadline, GPR_CLOCK_MONOTONIC),
                   gpr_now(GPR_CLOCK_MONOTONIC));
  EXPECT_GT(left.tv_sec, 50);
  EXPECT_LE(left.tv_sec, 100);
  EXPECT_TRUE(WaitUntilNoneIsKept());
}

TEST_P(EveryApi, ACallWithoutADeadlineIsKeptAsOne) {
  Server server(api());
  grpc::ClientContext context;
  server.Call(kind(), &context);
  const auto seen = server.seen();
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(
      gpr_time_cmp(seen->deadline, gpr_inf_future(seen->deadline.clock_type)),
      0);
}

TEST_P(EveryApi, AFailureThatWasRetriedInVainIsNotToBeRetriedOnTop) {
  Server server(api(), {/*mark=*/true});
  grpc::ClientContext context;
  EXPECT_EQ(server.Call(kind(), &context).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Pushbacks(context), std::vector<std::string>{"-1"});
}

TEST_P(EveryApi, OtherFailuresMayBeRetried) {
  Server server(api());
  grpc::ClientContext context;
  EXPECT_EQ(server.Call(kind(), &context).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(Pushbacks(context).empty());
}

TEST_P(EveryApi, AnAnswerThatIsNoFailureHasNoPushback) {
  const bool generic =
      api() == Api::kGenericCallback || api() == Api::kGenericQueue;
  if (generic && (kind() == Kind::kUnary || kind() == Kind::kClientStream)) {
    GTEST_SKIP() << "success without a message is none";
  }
  Server server(api(), {/*mark=*/true, grpc::StatusCode::OK});
  grpc::ClientContext context;
  EXPECT_TRUE(server.Call(kind(), &context).ok());
  EXPECT_TRUE(Pushbacks(context).empty());
}

TEST_P(EveryApi, TheHandlersOwnPushbackStays) {
  Server server(api(), {/*mark=*/true, grpc::StatusCode::UNAVAILABLE, "250"});
  grpc::ClientContext context;
  EXPECT_EQ(server.Call(kind(), &context).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Pushbacks(context), std::vector<std::string>{"250"});
}

TEST_P(EveryApi, AServerThatWillShutDownSaysSoWithEachAnswer) {
  Server server(api());
  for (const bool announced : {false, true}) {
    if (announced) server.attachment().AnnounceShutdown();
    grpc::ClientContext context;
    server.Call(kind(), &context);
    EXPECT_EQ(context.GetServerTrailingMetadata().count("mesh-draining"),
              announced ? 1u : 0u);
  }
}

TEST(AttachTest, WithoutItNothingIsKept) {
  Server server(Api::kSync, {/*mark=*/true}, [](grpc::ServerBuilder*) {});
  grpc::ClientContext context;
  EXPECT_EQ(server.Call(Kind::kUnary, &context).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(server.seen().has_value());
  EXPECT_TRUE(Pushbacks(context).empty());
}

TEST(AttachTest, TwiceIsAsOnce) {
  Server server(Api::kSync, {/*mark=*/true}, [](grpc::ServerBuilder* builder) {
    Attach(builder);
    Attach(builder);
  });
  grpc::ClientContext context;
  server.Call(Kind::kUnary, &context);
  EXPECT_EQ(Pushbacks(context), std::vector<std::string>{"-1"});
  EXPECT_TRUE(WaitUntilNoneIsKept());
}

// An application's interceptor: turns every status into a failure, and sees
// what the handler's call was when it began.
class Application final : public grpc::experimental::Interceptor {
 public:
  Application(std::atomic<int>* calls, grpc::experimental::ServerRpcInfo* info)
      : calls_(calls), info_(info) {}
  void Intercept(
      grpc::experimental::InterceptorBatchMethods* methods) override {
    using Point = grpc::experimental::InterceptionHookPoints;
    if (methods->QueryInterceptionHookPoint(
            Point::POST_RECV_INITIAL_METADATA) &&
        incoming::FindIncoming(info_->server_context()->c_call()).has_value()) {
      ++*calls_;
    }
    if (methods->QueryInterceptionHookPoint(Point::PRE_SEND_STATUS)) {
      methods->ModifySendStatus(
          grpc::Status(grpc::StatusCode::INTERNAL, "changed"));
    }
    methods->Proceed();
  }

 private:
  std::atomic<int>* const calls_;
  grpc::experimental::ServerRpcInfo* const info_;
};

class ApplicationFactory final
    : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit ApplicationFactory(std::atomic<int>* calls) : calls_(calls) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    return new Application(calls_, info);
  }

 private:
  std::atomic<int>* const calls_;
};

TEST(AttachTest, InterceptorsOfTheApplicationStayBeforeAndAfter) {
  for (const bool first : {true, false}) {
    std::atomic<int> calls{0};
    const Script script{/*mark=*/true, grpc::StatusCode::OK};
    Server server(Api::kSync, script, [&](grpc::ServerBuilder* builder) {
      if (first) Attach(builder);
      std::vector<std::unique_ptr<
          grpc::experimental::ServerInterceptorFactoryInterface>>
          creators;
      creators.push_back(std::make_unique<ApplicationFactory>(&calls));
      creators.push_back(std::make_unique<ApplicationFactory>(&calls));
      builder->experimental().SetInterceptorCreators(std::move(creators));
      if (!first) Attach(builder);
    });
    grpc::ClientContext context;
    EXPECT_EQ(server.Call(Kind::kUnary, &context).error_message(), "changed");
    EXPECT_EQ(calls, 2) << "they can make calls for the call";
    EXPECT_EQ(Pushbacks(context), std::vector<std::string>{"-1"})
        << "the status that is sent counts";
  }
}

TEST(IncomingCallTest, NullAndStrangersAreNotFound) {
  EXPECT_FALSE(incoming::FindIncoming(nullptr).has_value());
  incoming::MarkRetriedInVain(nullptr);
  int somewhere = 0;
  auto* const stranger = reinterpret_cast<grpc_call*>(&somewhere);
  EXPECT_FALSE(incoming::FindIncoming(stranger).has_value());
  incoming::MarkRetriedInVain(stranger);
}

TEST(IncomingCallTest, TheFirstOfACallIsKept) {
  int somewhere = 0;
  auto* const call = reinterpret_cast<grpc_call*>(&somewhere);
  incoming::ServedCall first, second;
  first.values.deadline = gpr_time_from_seconds(1, GPR_CLOCK_MONOTONIC);
  second.values.deadline = gpr_time_from_seconds(2, GPR_CLOCK_MONOTONIC);
  EXPECT_TRUE(incoming::AddIncoming(call, &first));
  EXPECT_FALSE(incoming::AddIncoming(call, &second));
  EXPECT_EQ(incoming::FindIncoming(call)->deadline.tv_sec, 1);
  incoming::MarkRetriedInVain(call);
  EXPECT_TRUE(first.retried_in_vain);
  EXPECT_FALSE(second.retried_in_vain);
  incoming::RemoveIncoming(call);
  EXPECT_FALSE(incoming::FindIncoming(call).has_value());
}

class Concurrently : public testing::TestWithParam<Api> {};

INSTANTIATE_TEST_SUITE_P(Apis, Concurrently, testing::ValuesIn(AllApis()));

TEST_P(Concurrently, CallsEndCancelledTimedOutAndShutDownAndNoneIsLeft) {
  Server server(GetParam(), {/*mark=*/true});
  std::vector<std::thread> callers;
  for (int thread = 0; thread < 4; ++thread) {
    callers.emplace_back([&server, thread] {
      for (int i = 0; i < 100; ++i) {
        grpc::ClientContext context;
        context.set_deadline(
            std::chrono::system_clock::now() +
            std::chrono::microseconds(i % 3 == 0 ? 300 : 2000000));
        std::thread canceller;
        if (i % 10 == 0) canceller = std::thread([&] { context.TryCancel(); });
        server.Call(static_cast<Kind>((thread + i) % 4), &context);
        if (canceller.joinable()) canceller.join();
      }
    });
  }
  for (int i = 0; i < 3; ++i) callers[i].join();
  server.Shutdown();
  callers[3].join();
  EXPECT_TRUE(WaitUntilNoneIsKept()) << incoming::CountIncoming();
}

}  // namespace
}  // namespace mesh::server
