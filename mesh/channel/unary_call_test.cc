#include "mesh/channel/unary_call.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/channel/call_test_util.h"

namespace mesh::channel {
namespace {

using core::FakeCall;
using grpc::StatusCode;

TEST(UnaryCallTest, OneBatchGoesToOneEndpoint) {
  FakeWorld world;
  FakeUnary call(&world);
  call.Finish();
  ASSERT_EQ(world.core().calls(), 1u);
  FakeCall& attempt = world.core().call(0);
  EXPECT_EQ(attempt.path(), "/mesh.test.TestService/Unary");
  ASSERT_EQ(attempt.sent().size(), 1u);
  EXPECT_EQ(attempt.sent()[0], call.request.SerializeAsString());
  EXPECT_TRUE(attempt.closed());
  EXPECT_EQ(world.InFlight(), 1);
  attempt.Answer(FakeWorld::Bytes("world"));
  world.Settle();
  EXPECT_EQ(world.Got(&call), 1);
  EXPECT_TRUE(call.status.ok());
  EXPECT_EQ(call.reply.payload(), "world");
  EXPECT_EQ(world.InFlight(), 0);
}

TEST(UnaryCallTest, WithoutAnotherEndpointARetryWaitsFirst) {
  FakeWorld world(FakeWorld::Idempotent(), {"a"});
  FakeUnary call(&world);
  call.Finish();
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  world.Settle();
  EXPECT_EQ(world.core().calls(), 1u);
  world.loop().Advance(absl::Milliseconds(20));
  ASSERT_EQ(world.core().calls(), 2u);
  world.core().call(1).Answer(FakeWorld::Bytes("x"));
  world.Settle();
  EXPECT_TRUE(call.status.ok());
}

TEST(UnaryCallTest, AnAttemptThatFailsIsFollowedByAnotherElsewhere) {
  FakeWorld world;
  FakeUnary call(&world);
  call.Finish();
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  world.Settle();
  EXPECT_FALSE(call.done());
  // A backoff, in virtual time.
  world.loop().Advance(absl::Milliseconds(20));
  ASSERT_EQ(world.core().calls(), 2u);
  FakeCall& second = world.core().call(1);
  EXPECT_NE(second.channel(), world.core().call(0).channel());
  ASSERT_EQ(second.sent().size(), 1u);
  EXPECT_EQ(second.sent()[0], call.request.SerializeAsString());
  EXPECT_TRUE(second.closed());
  EXPECT_EQ(second.sent_metadata().count("grpc-previous-rpc-attempts"), 1u);
  second.Answer(FakeWorld::Bytes("world"));
  world.Settle();
  EXPECT_EQ(world.Got(&call), 1) << "under its own tag, once";
  EXPECT_TRUE(call.status.ok()) << call.status.error_message();
  EXPECT_EQ(call.reply.payload(), "world");
  EXPECT_EQ(call.context->debug_error_string(), "");
}

TEST(UnaryCallTest, TheLastFailureIsTheCallsWithItsStory) {
  FakeWorld world;
  FakeUnary call(&world);
  call.Finish();
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(world.core().calls(), i + 1u);
    world.core().call(i).End(GRPC_STATUS_UNAVAILABLE, absl::StrCat("no ", i));
    world.Settle();
    world.loop().Advance(absl::Milliseconds(20));
  }
  world.Settle();
  EXPECT_EQ(call.status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(call.status.error_message(), "no 2");
  EXPECT_TRUE(absl::StrContains(call.context->debug_error_string(), "mesh: "));
  EXPECT_TRUE(absl::StrContains(call.context->debug_error_string(), "3 "));
  EXPECT_EQ(world.InFlight(), 0);
}

TEST(UnaryCallTest, AMethodThatMayNotRunTwiceIsNotTriedAgain) {
  options::ServiceOptions options = FakeWorld::Idempotent();
  options.policy.idempotent = false;
  FakeWorld world(options);
  FakeUnary call(&world);
  call.Finish();
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  world.Settle();
  EXPECT_EQ(call.status.error_message(), "no");
  EXPECT_EQ(world.core().calls(), 1u);
}

TEST(UnaryCallTest, WhatNeverLeftIsSentAgainAlsoThen) {
  options::ServiceOptions options = FakeWorld::Idempotent();
  options.policy.idempotent = false;
  FakeWorld world(options);
  FakeUnary call(&world);
  call.Finish();
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE,
                           "failed to connect to all addresses", {},
                           "failed to connect to all addresses");
  world.Settle();
  ASSERT_EQ(world.core().calls(), 2u) << "at once";
  EXPECT_EQ(
      world.core().call(1).sent_metadata().count("grpc-previous-rpc-attempts"),
      0u)
      << "no server has seen it";
  world.core().call(1).Answer(FakeWorld::Bytes("x"));
  world.Settle();
  EXPECT_TRUE(call.status.ok());
}

TEST(UnaryCallTest, PushbackMovesTheNextAttempt) {
  FakeWorld world;
  FakeUnary call(&world);
  call.Finish();
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no",
                           {{"grpc-retry-pushback-ms", "500"}});
  world.Settle();
  world.loop().Advance(absl::Milliseconds(499));
  EXPECT_EQ(world.core().calls(), 1u);
  world.loop().Advance(absl::Milliseconds(2));
  ASSERT_EQ(world.core().calls(), 2u);
  world.core().call(1).End(GRPC_STATUS_UNAVAILABLE, "stop",
                           {{"grpc-retry-pushback-ms", "-1"}});
  world.Settle();
  EXPECT_EQ(call.status.error_message(), "stop");
}

TEST(UnaryCallTest, MetadataThatCameIsTheLastAttempts) {
  FakeWorld world;
  FakeUnary call(&world);
  call.Finish();
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no", {{"from", "first"}});
  world.Settle();
  world.loop().Advance(absl::Milliseconds(20));
  ASSERT_EQ(world.core().calls(), 2u);
  world.core().call(1).SendHeaders({{"head", "second"}});
  world.core().call(1).SendMessage(FakeWorld::Bytes("x"));
  world.core().call(1).End(GRPC_STATUS_OK, "", {{"from", "second"}});
  world.Settle();
  ASSERT_TRUE(call.status.ok());
  ASSERT_EQ(call.context->GetServerTrailingMetadata().count("from"), 1u);
  EXPECT_EQ(call.context->GetServerTrailingMetadata().find("from")->second,
            "second");
  EXPECT_EQ(call.context->GetServerInitialMetadata().count("head"), 1u);
  EXPECT_EQ(call.context->peer(), world.core().call(1).channel());
}

// --- Two batches: the initial metadata apart.

TEST(UnaryCallTest, TwoBatchesComeBackInAnyOrderAfterARetry) {
  for (const auto& order : Orders(2)) {
    FakeWorld world;
    FakeUnary call(&world);
    call.ReadInitialMetadata();
    call.Finish();
    world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
    ASSERT_EQ(world.core().ready(), 2u);
    world.core().Run(order[0]);
    EXPECT_EQ(world.core().calls(), 1u) << "both are needed";
    world.core().Run(0);
    world.loop().Advance(absl::Milliseconds(20));
    ASSERT_EQ(world.core().calls(), 2u);
    world.core().call(1).Answer(FakeWorld::Bytes("x"));
    ASSERT_EQ(world.core().ready(), 2u);
    world.core().Run(order[0]);
    world.Settle();
    EXPECT_EQ(world.Got(&call), 1);
    EXPECT_EQ(world.Got(&call.reply), 1) << "the initial metadata's tag";
    EXPECT_TRUE(call.status.ok()) << call.status.error_message();
    EXPECT_EQ(call.reply.payload(), "x");
    EXPECT_EQ(world.InFlight(), 0);
  }
}

TEST(UnaryCallTest, InitialMetadataThatWasGivenCommits) {
  FakeWorld world;
  FakeUnary call(&world);
  call.ReadInitialMetadata();
  world.core().call(0).SendHeaders({{"k", "v"}});
  world.Settle();
  EXPECT_EQ(world.Got(&call.reply), 1);
  call.Finish();
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  world.Settle();
  EXPECT_EQ(call.status.error_message(), "no");
  EXPECT_EQ(world.core().calls(), 1u);
}

TEST(UnaryCallTest, OnlyInitialMetadataAskedForCommitsToo) {
  FakeWorld world;
  FakeUnary call(&world);
  call.ReadInitialMetadata();
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  world.Settle();
  EXPECT_EQ(world.Got(&call.reply), 1) << "nothing says that more is asked for";
  call.Finish();
  world.Settle();
  EXPECT_EQ(call.status.error_message(), "no");
}

// --- Waits

TEST(UnaryCallTest, ACallWaitsForAnEndpointOnAPlaceholder) {
  for (const bool two : {false, true}) {
    FakeWorld world(FakeWorld::Idempotent(), {});
    FakeUnary call(&world, "hello", false, [](grpc::ClientContext* context) {
      context->set_wait_for_ready(true);
    });
    if (two) call.ReadInitialMetadata();
    call.Finish();
    world.Settle();
    EXPECT_EQ(world.core().calls(), 0u);
    EXPECT_FALSE(call.done());
    world.Connect({"a"});
    world.Settle();
    ASSERT_EQ(world.core().calls(), 1u);
    EXPECT_TRUE(world.core().call(0).closed());
    world.core().call(0).Answer(FakeWorld::Bytes("x"));
    world.Settle();
    EXPECT_TRUE(call.status.ok()) << call.status.error_message();
    EXPECT_EQ(world.Got(&call), 1);
  }
}

// A batch that is started when the wait is over already goes where the others
// went.
TEST(UnaryCallTest, TheSecondBatchFollowsTheFirst) {
  FakeWorld world(FakeWorld::Idempotent(), {});
  FakeUnary call(&world);
  call.ReadInitialMetadata();
  world.Settle();
  world.Connect({"a"});
  world.Settle();
  ASSERT_EQ(world.core().calls(), 1u);
  EXPECT_EQ(world.core().call(0).pending(), 1u);
  call.Finish();
  EXPECT_EQ(world.core().call(0).pending(), 2u);
  world.core().call(0).Answer(FakeWorld::Bytes("x"));
  world.Settle();
  EXPECT_TRUE(call.status.ok());
}

// Two of these, in either order, and then what is left.
TEST(UnaryCallTest, AWaitEndsOnceWhateverComesFirst) {
  enum Event { kEndpoints, kCancel, kDeadline };
  for (const Event first : {kEndpoints, kCancel, kDeadline}) {
    for (const Event second : {kEndpoints, kCancel, kDeadline}) {
      for (const bool run_between : {false, true}) {
        options::ServiceOptions options = FakeWorld::Idempotent();
        options.policy.timeout = absl::Seconds(1);
        FakeWorld world(options, {});
        FakeUnary call(&world);
        call.Finish();
        world.Settle();
        const auto happen = [&](Event event) {
          switch (event) {
            case kEndpoints:
              world.fake().discovery.Report({"a"});
              break;
            case kCancel:
              call.context->TryCancel();
              break;
            case kDeadline:
              if (run_between) {
                world.loop().Advance(absl::Seconds(2));
              } else {
                world.fake().clock.Advance(absl::Seconds(2));
              }
              break;
          }
          if (run_between) world.Settle();
        };
        happen(first);
        happen(second);
        world.Settle();
        world.fake().network.Set("a", GRPC_CHANNEL_CONNECTING);
        world.fake().network.Set("a", GRPC_CHANNEL_READY);
        world.Settle();
        for (size_t i = 0; i < world.core().calls(); ++i) {
          world.core().call(i).Answer(FakeWorld::Bytes("x"));
        }
        world.Settle();
        world.loop().Advance(absl::Seconds(2));
        world.Settle();
        EXPECT_EQ(world.Got(&call), 1) << first << second << run_between;
        EXPECT_LE(world.core().calls(), 1u);
        if (world.core().calls() == 0) {
          EXPECT_FALSE(call.status.ok());
        }
        EXPECT_EQ(world.InFlight(), 0);
      }
    }
  }
}

TEST(UnaryCallTest, ACancelInsideABackoffEndsTheCall) {
  for (const bool timer_first : {false, true}) {
    FakeWorld world(FakeWorld::Idempotent(), {"a"});
    FakeUnary call(&world);
    call.Finish();
    world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
    world.Settle();
    if (timer_first) world.fake().clock.Advance(absl::Milliseconds(20));
    call.context->TryCancel();
    world.Settle();
    world.loop().Advance(absl::Milliseconds(20));
    world.Settle();
    EXPECT_EQ(world.Got(&call), 1);
    EXPECT_EQ(call.status.error_code(), StatusCode::CANCELLED);
    EXPECT_EQ(world.InFlight(), 0);
  }
}

TEST(UnaryCallTest, ACancelCancelsTheAttemptThatRuns) {
  FakeWorld world;
  FakeUnary call(&world);
  call.Finish();
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  world.Settle();
  world.loop().Advance(absl::Milliseconds(20));
  ASSERT_EQ(world.core().calls(), 2u);
  call.context->TryCancel();
  EXPECT_TRUE(world.core().call(1).cancelled());
  EXPECT_FALSE(world.core().call(0).cancelled());
  world.Settle();
  EXPECT_EQ(call.status.error_code(), StatusCode::CANCELLED);
}

// The status of an attempt and the application's cancel, in both orders.
TEST(UnaryCallTest, ACancelBesideAStatus) {
  for (const grpc_status_code code :
       {GRPC_STATUS_OK, GRPC_STATUS_UNAVAILABLE, GRPC_STATUS_INTERNAL}) {
    for (const bool cancel_first : {false, true}) {
      FakeWorld world;
      FakeUnary call(&world);
      call.Finish();
      if (cancel_first) call.context->TryCancel();
      if (code == GRPC_STATUS_OK) {
        world.core().call(0).Answer(FakeWorld::Bytes("x"));
      } else {
        world.core().call(0).End(code, "ended");
      }
      if (!cancel_first) call.context->TryCancel();
      world.Settle();
      world.loop().Advance(absl::Seconds(1));
      world.Settle();
      EXPECT_EQ(world.Got(&call), 1);
      EXPECT_EQ(call.status.ok(), code == GRPC_STATUS_OK && !cancel_first);
      // What was to begin after it has sent nothing.
      for (size_t i = 1; i < world.core().calls(); ++i) {
        EXPECT_TRUE(world.core().call(i).sent().empty());
        EXPECT_TRUE(world.core().call(i).gone());
      }
      EXPECT_EQ(world.InFlight(), 0);
    }
  }
}

TEST(UnaryCallTest, AnEndpointMayLeaveBetweenPickAndStart) {
  FakeWorld world(FakeWorld::Idempotent(), {"a"});
  FakeUnary call(&world, "hello", /*prepare=*/true);
  ASSERT_EQ(world.core().calls(), 1u) << "picked";
  world.Connect({"b"});
  world.loop().Advance(absl::Seconds(1));
  call.reader->StartCall();
  call.Finish();
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "gone");
  world.Settle();
  world.loop().Advance(absl::Milliseconds(20));
  ASSERT_EQ(world.core().calls(), 2u);
  EXPECT_EQ(world.core().call(1).channel(), "b");
  world.core().call(1).Answer(FakeWorld::Bytes("x"));
  world.Settle();
  EXPECT_TRUE(call.status.ok());
}

TEST(UnaryCallTest, ACallThatIsGivenUpUnstartedGivesItsEndpointBack) {
  FakeWorld world(FakeWorld::Idempotent(), {"a"});
  {
    FakeUnary call(&world, "hello", /*prepare=*/true);
    EXPECT_EQ(world.InFlight(), 1);
  }
  EXPECT_EQ(world.InFlight(), 0);
}

// A server is back, and mesh waits for its backoff.
TEST(UnaryCallTest, ACallThatFindsNothingConnectedHasItDialledNow) {
  for (const bool waits : {false, true}) {
    options::ServiceOptions options = FakeWorld::Idempotent();
    options.policy.idempotent = false;
    FakeWorld world(options, {"a"});
    service::FakeNetwork& network = world.fake().network;
    world.loop().Advance(absl::Seconds(1));
    network.Set("a", GRPC_CHANNEL_IDLE);
    world.loop().Run();
    network.Set("a", GRPC_CHANNEL_TRANSIENT_FAILURE);
    world.loop().Run();
    const int made = network.made("a");
    FakeUnary call(&world, "hello", /*prepare=*/false,
                   [waits](grpc::ClientContext* context) {
                     context->set_wait_for_ready(waits);
                   });
    call.Finish();
    world.Settle();
    EXPECT_FALSE(call.done());
    ASSERT_EQ(network.made("a"), made + 1) << waits;
    network.Set("a", GRPC_CHANNEL_READY);
    world.Settle();
    ASSERT_EQ(world.core().calls(), 1u) << waits;
    world.core().call(0).Answer(FakeWorld::Bytes("world"));
    world.Settle();
    EXPECT_TRUE(call.status.ok()) << call.status.error_message();
  }
}

// The channel that is dialled anew would keep the call until that is over.
TEST(UnaryCallTest, ACallToAnEndpointThatHasFailedDoesNotWaitForItsNextDial) {
  FakeWorld world(FakeWorld::Idempotent(), {"a"});
  service::FakeNetwork& network = world.fake().network;
  world.loop().Advance(absl::Seconds(1));
  network.Set("a", GRPC_CHANNEL_IDLE);
  world.loop().Run();
  network.Set("a", GRPC_CHANNEL_TRANSIENT_FAILURE);
  world.loop().Run();
  const int made = network.made("a");
  for (int i = 0; i < 100 && network.made("a") == made; ++i) {
    world.loop().Advance(absl::Milliseconds(50));
  }
  ASSERT_EQ(network.made("a"), made + 1) << "it is dialled again, and hangs";
  FakeUnary call(&world);
  call.Finish();
  world.Settle();
  world.loop().Advance(absl::Milliseconds(999));
  world.Settle();
  EXPECT_FALSE(call.done()) << "this dial may yet do";
  EXPECT_EQ(network.made("a"), made + 1);
  for (int i = 0; i < 20 && !call.done(); ++i) {
    world.loop().Advance(absl::Milliseconds(200));
    world.Settle();
  }
  EXPECT_TRUE(call.done());
  EXPECT_EQ(call.status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(world.core().calls(), 0u);
}

TEST(UnaryCallTest, AnUnknownServiceFailsAtOnce) {
  FakeWorld world;
  world.service().Configure(
      nullptr, nullptr, absl::NotFoundError("no such service"), /*version=*/0);
  world.Settle();
  FakeUnary call(&world);
  call.Finish();
  world.Settle();
  EXPECT_EQ(call.status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(call.status.error_message(), "no such service");
  EXPECT_EQ(world.core().calls(), 0u);
}

// --- Answers from elsewhere

TEST(UnaryCallTest, AFallbackAnswersWhatWouldFail) {
  for (const bool two : {false, true}) {
    int asked = 0;
    FakeWorld world(
        FakeWorld::Idempotent(), {"a"}, {},
        {{"test", [&](const FailedCall& failed) {
            ++asked;
            EXPECT_EQ(failed.method, "/mesh.test.TestService/Unary");
            EXPECT_FALSE(failed.status->ok());
            const grpc::Slice slice(FakeWorld::Bytes("instead"));
            return std::optional<grpc::ByteBuffer>(grpc::ByteBuffer(&slice, 1));
          }}});
    FakeUnary call(&world);
    if (two) call.ReadInitialMetadata();
    call.Finish();
    world.core().call(0).End(GRPC_STATUS_INTERNAL, "broken");
    for (int i = 0; i < 5000 && !call.done(); ++i) world.Settle();
    EXPECT_TRUE(call.status.ok()) << call.status.error_message();
    EXPECT_EQ(call.reply.payload(), "instead");
    EXPECT_EQ(asked, 1);
  }
}

TEST(UnaryCallTest, AFallbackThatThrowsHasNoAnswer) {
  FakeWorld world(
      FakeWorld::Idempotent(), {"a"}, {},
      {{"test", [](const FailedCall&) -> std::optional<grpc::ByteBuffer> {
          throw std::runtime_error("no cache");
        }}});
  FakeUnary call(&world);
  call.Finish();
  world.core().call(0).End(GRPC_STATUS_INTERNAL, "broken");
  world.Settle();
  EXPECT_EQ(call.status.error_code(), StatusCode::INTERNAL);
  EXPECT_EQ(call.status.error_message(), "broken");
}

TEST(UnaryCallTest, AFallbackIsNotAskedForWhatWasCancelled) {
  int asked = 0;
  FakeWorld world(FakeWorld::Idempotent(), {"a"}, {},
                  {{"test", [&](const FailedCall&) {
                      ++asked;
                      return std::optional<grpc::ByteBuffer>();
                    }}});
  FakeUnary call(&world);
  call.Finish();
  call.context->TryCancel();
  world.Settle();
  EXPECT_EQ(call.status.error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(asked, 0);
}

// --- Interceptors of the application

class Watcher final : public grpc::experimental::Interceptor {
 public:
  explicit Watcher(std::vector<std::string>* seen) : seen_(seen) {}
  void Intercept(
      grpc::experimental::InterceptorBatchMethods* methods) override {
    using Point = grpc::experimental::InterceptionHookPoints;
    for (const auto& [point, name] :
         {std::pair(Point::PRE_SEND_INITIAL_METADATA, "down"),
          std::pair(Point::POST_RECV_STATUS, "status")}) {
      if (methods->QueryInterceptionHookPoint(point)) seen_->push_back(name);
    }
    methods->Proceed();
  }

 private:
  std::vector<std::string>* const seen_;
};

class WatcherFactory final
    : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit WatcherFactory(std::vector<std::string>* seen) : seen_(seen) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return new Watcher(seen_);
  }

 private:
  std::vector<std::string>* const seen_;
};

TEST(UnaryCallTest, AnInterceptorSeesOneCallWhateverItTakes) {
  for (const int failures : {0, 1, 2}) {
    for (const bool waits : {false, true}) {
      std::vector<std::string> seen;
      core::InterceptorFactories interceptors;
      interceptors.push_back(std::make_unique<WatcherFactory>(&seen));
      FakeWorld world(FakeWorld::Idempotent(),
                      waits ? std::vector<std::string>()
                            : std::vector<std::string>{"a", "b", "c"},
                      std::move(interceptors));
      FakeUnary call(&world);
      call.Finish();
      if (waits) {
        world.Settle();
        world.Connect({"a", "b", "c"});
        world.Settle();
      }
      for (int i = 0; i < failures; ++i) {
        world.core().call(i).End(GRPC_STATUS_UNAVAILABLE, "no");
        world.Settle();
        world.loop().Advance(absl::Milliseconds(20));
        world.Settle();
      }
      ASSERT_EQ(world.core().calls(), failures + 1u);
      world.core().last().Answer(FakeWorld::Bytes("x"));
      world.Settle();
      EXPECT_TRUE(call.status.ok());
      EXPECT_EQ(seen, (std::vector<std::string>{"down", "status"}))
          << failures << waits;
    }
  }
}

TEST(UnaryCallTest, MemoryOfOneCallServesTheNext) {
  if (SpareMemory<UnaryCall>::kMost == 0) GTEST_SKIP() << "under a sanitizer";
  FakeWorld world;
  for (int i = 0; i < 3; ++i) {
    FakeUnary call(&world);
    call.Finish();
    world.core().last().Answer(FakeWorld::Bytes("x"));
    world.Settle();
  }
  EXPECT_EQ(SpareMemory<UnaryCall>::Count(), 1u);
}

}  // namespace
}  // namespace mesh::channel
