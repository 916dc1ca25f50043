// gRPC's global interceptor sees one logical call, and may answer it.

#include <map>
#include <memory>
#include <utility>

#include "grpcpp/grpcpp.h"
#include "grpcpp/support/client_interceptor.h"
#include "gtest/gtest.h"
#include "mesh/channel/call_test_util.h"

namespace mesh::channel {
namespace {

using grpc::experimental::ClientRpcInfo;
using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;

// What the interceptors of all calls have seen.
struct Seen {
  int made = 0;
  std::map<InterceptionHookPoints, int> hooks;
  bool hijacks = false;
};

class Global final : public grpc::experimental::Interceptor {
 public:
  explicit Global(Seen* seen) : seen_(seen) { ++seen_->made; }

  void Intercept(InterceptorBatchMethods* methods) override {
    for (const InterceptionHookPoints hook :
         {InterceptionHookPoints::PRE_SEND_INITIAL_METADATA,
          InterceptionHookPoints::PRE_SEND_MESSAGE,
          InterceptionHookPoints::POST_RECV_STATUS}) {
      if (methods->QueryInterceptionHookPoint(hook)) ++seen_->hooks[hook];
    }
    if (seen_->hijacks &&
        methods->QueryInterceptionHookPoint(
            InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      return methods->Hijack();
    }
    if (methods->QueryInterceptionHookPoint(
            InterceptionHookPoints::PRE_RECV_MESSAGE) &&
        seen_->hijacks) {
      static_cast<test::Reply*>(methods->GetRecvMessage())
          ->set_payload("hijacked");
    }
    if (methods->QueryInterceptionHookPoint(
            InterceptionHookPoints::PRE_RECV_STATUS) &&
        seen_->hijacks) {
      *methods->GetRecvStatus() = grpc::Status::OK;
    }
    methods->Proceed();
  }

 private:
  Seen* const seen_;
};

class Factory final
    : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit Factory(Seen* seen) : seen_(seen) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(
      ClientRpcInfo*) override {
    return new Global(seen_);
  }

 private:
  Seen* const seen_;
};

class GlobalInterceptorTest : public ::testing::Test {
 protected:
  GlobalInterceptorTest() : factory_(&seen_) {
    grpc::experimental::RegisterGlobalClientInterceptorFactory(&factory_);
  }
  ~GlobalInterceptorTest() override {
    grpc::experimental::TestOnlyResetGlobalClientInterceptorFactory();
  }

  Seen seen_;
  Factory factory_;
};

TEST_F(GlobalInterceptorTest, RunsOnceACallHoweverOftenThatIsTried) {
  FakeWorld world;
  FakeUnary call(&world);
  call.Finish();
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  world.Settle();
  world.loop().Advance(absl::Milliseconds(20));
  world.Settle();
  ASSERT_EQ(world.core().calls(), 2u);
  world.core().call(1).Answer(FakeWorld::Bytes("ok"));
  world.Settle();
  EXPECT_TRUE(call.done());
  EXPECT_TRUE(call.status.ok()) << call.status.error_message();
  EXPECT_EQ(call.reply.payload(), "ok");
  EXPECT_EQ(seen_.made, 1);
  EXPECT_EQ(seen_.hooks[InterceptionHookPoints::PRE_SEND_INITIAL_METADATA], 1);
  EXPECT_EQ(seen_.hooks[InterceptionHookPoints::PRE_SEND_MESSAGE], 1);
  EXPECT_EQ(seen_.hooks[InterceptionHookPoints::POST_RECV_STATUS], 1);
}

TEST_F(GlobalInterceptorTest, AnswersACallThatThenReachesNoServer) {
  seen_.hijacks = true;
  FakeWorld world;
  FakeUnary call(&world);
  call.Finish();
  world.Settle();
  EXPECT_TRUE(call.done());
  EXPECT_TRUE(call.status.ok()) << call.status.error_message();
  EXPECT_EQ(call.reply.payload(), "hijacked");
  EXPECT_EQ(seen_.made, 1);
  EXPECT_TRUE(world.core().call(0).sent().empty());
  call.context.reset();
  EXPECT_EQ(world.InFlight(), 0);
}

}  // namespace
}  // namespace mesh::channel
