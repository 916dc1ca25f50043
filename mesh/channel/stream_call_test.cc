#include "mesh/channel/stream_call.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/channel/call_test_util.h"

namespace mesh::channel {
namespace {

using core::FakeCall;
using grpc::StatusCode;

// What the application does is known by these.
enum Tag : intptr_t { kStart = 1, kRead, kWrite, kDone, kFinish, kHeaders };
void* T(Tag tag) { return reinterpret_cast<void*>(tag); }

struct ServerStream {
  explicit ServerStream(FakeWorld* world) : world(world) {
    request.set_payload("hello");
    reader = world->stub().AsyncServerStream(context.get(), request,
                                             world->queue(), T(kStart));
  }
  FakeWorld* const world;
  std::unique_ptr<grpc::ClientContext> context =
      std::make_unique<grpc::ClientContext>();
  test::Request request;
  test::Reply reply;
  grpc::Status status = grpc::Status(StatusCode::UNKNOWN, "unset");
  std::unique_ptr<grpc::ClientAsyncReader<test::Reply>> reader;
};

struct Bidi {
  explicit Bidi(
      FakeWorld* world,
      const std::function<void(grpc::ClientContext*)>& set_up =
          [](grpc::ClientContext*) {})
      : world(world) {
    set_up(context.get());
    stream = world->stub().AsyncBidi(context.get(), world->queue(), T(kStart));
  }
  void Write(const std::string& payload) {
    test::Request request;
    request.set_payload(payload);
    stream->Write(request, T(kWrite));
  }
  FakeWorld* const world;
  std::unique_ptr<grpc::ClientContext> context =
      std::make_unique<grpc::ClientContext>();
  test::Reply reply;
  grpc::Status status = grpc::Status(StatusCode::UNKNOWN, "unset");
  std::unique_ptr<grpc::ClientAsyncReaderWriter<test::Request, test::Reply>>
      stream;
};

std::string Sent(const std::string& payload) {
  test::Request request;
  request.set_payload(payload);
  return request.SerializeAsString();
}

void BackOff(FakeWorld* world) {
  world->Settle();
  world->loop().Advance(absl::Milliseconds(20));
  world->Settle();
}

TEST(StreamCallTest, AStreamIsTriedAgainUntilItsFirstMessage) {
  FakeWorld world;
  ServerStream call(&world);
  world.Settle();
  EXPECT_EQ(world.Got(T(kStart)), 1);
  call.reader->Read(&call.reply, T(kRead));
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  BackOff(&world);
  EXPECT_EQ(world.Got(T(kRead)), 0) << "held";
  ASSERT_EQ(world.core().calls(), 2u);
  FakeCall& second = world.core().call(1);
  EXPECT_NE(second.channel(), world.core().call(0).channel());
  ASSERT_EQ(second.sent().size(), 1u);
  EXPECT_EQ(second.sent()[0], Sent("hello"));
  EXPECT_TRUE(second.closed());
  second.SendMessage(FakeWorld::Bytes("one"));
  world.Settle();
  bool ok = false;
  EXPECT_EQ(world.Got(T(kRead), &ok), 1);
  EXPECT_TRUE(ok);
  EXPECT_EQ(call.reply.payload(), "one");
  // From now on it is not.
  call.reader->Read(&call.reply, T(kRead));
  call.reader->Finish(&call.status, T(kFinish));
  second.End(GRPC_STATUS_UNAVAILABLE, "late");
  BackOff(&world);
  EXPECT_EQ(world.core().calls(), 2u);
  EXPECT_EQ(world.Got(T(kRead), &ok), 2);
  EXPECT_FALSE(ok);
  EXPECT_EQ(call.status.error_message(), "late");
  EXPECT_EQ(world.InFlight(), 0);
}

TEST(StreamCallTest, HeadersCommitAStream) {
  FakeWorld world;
  ServerStream call(&world);
  call.reader->ReadInitialMetadata(T(kHeaders));
  world.core().call(0).SendHeaders({{"k", "v"}});
  world.Settle();
  EXPECT_EQ(world.Got(T(kHeaders)), 1);
  call.reader->Read(&call.reply, T(kRead));
  call.reader->Finish(&call.status, T(kFinish));
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  BackOff(&world);
  EXPECT_EQ(world.core().calls(), 1u);
  EXPECT_EQ(call.status.error_message(), "no");
}

TEST(StreamCallTest, AStreamThatMayNotRunTwiceEndsOnceItIsSent) {
  options::ServiceOptions options = FakeWorld::Idempotent();
  options.policy.idempotent = false;
  FakeWorld world(options);
  ServerStream call(&world);
  world.Settle();
  call.reader->Read(&call.reply, T(kRead));
  call.reader->Finish(&call.status, T(kFinish));
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  BackOff(&world);
  EXPECT_EQ(world.core().calls(), 1u);
  EXPECT_EQ(world.Got(T(kFinish)), 1);
  EXPECT_EQ(call.status.error_message(), "no");
}

// All batches that an application may have outstanding come up in every order.
TEST(StreamCallTest, AFailureMayComeUpInAnyOrder) {
  for (const bool finish : {false, true}) {
    for (const bool headers : {false, true}) {
      const int batches = 1 + (finish ? 1 : 0) + (headers ? 1 : 0);
      for (const auto& order : Orders(batches)) {
        FakeWorld world;
        ServerStream call(&world);
        world.Settle();
        if (headers) call.reader->ReadInitialMetadata(T(kHeaders));
        call.reader->Read(&call.reply, T(kRead));
        if (finish) call.reader->Finish(&call.status, T(kFinish));
        world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
        std::vector<int> left = order;
        while (!left.empty() && world.core().ready() > 0) {
          const size_t i = left.front() % world.core().ready();
          world.core().Run(i);
          left.erase(left.begin());
        }
        BackOff(&world);
        ASSERT_EQ(world.core().calls(), 2u) << finish << headers;
        world.core().call(1).SendMessage(FakeWorld::Bytes("one"));
        BackOff(&world);
        bool ok = false;
        EXPECT_EQ(world.Got(T(kRead), &ok), 1);
        EXPECT_TRUE(ok);
        EXPECT_EQ(call.reply.payload(), "one");
        EXPECT_EQ(world.Got(T(kHeaders)), headers ? 1 : 0);
        world.core().call(1).End(GRPC_STATUS_OK);
        if (!finish) call.reader->Finish(&call.status, T(kFinish));
        BackOff(&world);
        EXPECT_EQ(world.Got(T(kFinish)), 1);
        EXPECT_TRUE(call.status.ok()) << call.status.error_message();
        EXPECT_EQ(world.InFlight(), 0);
      }
    }
  }
}

TEST(StreamCallTest, TheLastFailureIsTheStreams) {
  for (const bool finish_early : {false, true}) {
    FakeWorld world;
    ServerStream call(&world);
    world.Settle();
    call.reader->Read(&call.reply, T(kRead));
    if (finish_early) call.reader->Finish(&call.status, T(kFinish));
    for (int i = 0; i < 3; ++i) {
      ASSERT_EQ(world.core().calls(), i + 1u);
      world.core().call(i).End(GRPC_STATUS_UNAVAILABLE, absl::StrCat("no ", i));
      BackOff(&world);
    }
    EXPECT_EQ(world.core().calls(), 3u);
    bool ok = true;
    EXPECT_EQ(world.Got(T(kRead), &ok), 1);
    EXPECT_FALSE(ok);
    if (!finish_early) call.reader->Finish(&call.status, T(kFinish));
    world.Settle();
    EXPECT_EQ(world.Got(T(kFinish)), 1);
    EXPECT_EQ(call.status.error_message(), "no 2");
    EXPECT_EQ(world.InFlight(), 0);
  }
}

TEST(StreamCallTest, WhatWasWrittenIsWrittenAgain) {
  FakeWorld world;
  Bidi call(&world);
  world.Settle();
  for (const char* text : {"one", "two", "three"}) {
    call.Write(text);
    world.Settle();
  }
  EXPECT_EQ(world.Got(T(kWrite)), 3);
  call.stream->WritesDone(T(kDone));
  world.Settle();
  call.stream->Read(&call.reply, T(kRead));
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  BackOff(&world);
  ASSERT_EQ(world.core().calls(), 2u);
  const FakeCall& second = world.core().call(1);
  EXPECT_EQ(second.sent(), (std::vector<std::string>{Sent("one"), Sent("two"),
                                                     Sent("three")}));
  EXPECT_TRUE(second.closed());
  world.core().call(1).SendMessage(FakeWorld::Bytes("answer"));
  world.core().call(1).End(GRPC_STATUS_OK);
  call.stream->Finish(&call.status, T(kFinish));
  world.Settle();
  EXPECT_EQ(call.reply.payload(), "answer");
  EXPECT_TRUE(call.status.ok());
  EXPECT_EQ(world.Got(T(kWrite)), 3) << "each once";
}

TEST(StreamCallTest, AWriteThatFailedIsWrittenToTheNext) {
  FakeWorld world;
  Bidi call(&world);
  world.Settle();
  call.Write("one");
  world.Settle();
  world.core().call(0).HoldSends(true);
  call.Write("two");
  world.Settle();
  EXPECT_EQ(world.Got(T(kWrite)), 1);
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  BackOff(&world);
  ASSERT_EQ(world.core().calls(), 2u);
  EXPECT_EQ(world.core().call(1).sent(),
            (std::vector<std::string>{Sent("one"), Sent("two")}));
  bool ok = false;
  EXPECT_EQ(world.Got(T(kWrite), &ok), 2);
  EXPECT_TRUE(ok);
  call.stream->Finish(&call.status, T(kFinish));
  world.core().call(1).End(GRPC_STATUS_OK);
  world.Settle();
  EXPECT_TRUE(call.status.ok());
}

TEST(StreamCallTest, WritesDuringABackoffWaitForTheNextAttempt) {
  FakeWorld world(FakeWorld::Idempotent(), {"a"});
  Bidi call(&world);
  world.Settle();
  call.stream->Read(&call.reply, T(kRead));
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  world.Settle();
  call.Write("late");
  world.Settle();
  EXPECT_EQ(world.Got(T(kWrite)), 0);
  BackOff(&world);
  ASSERT_EQ(world.core().calls(), 2u);
  EXPECT_EQ(world.core().call(1).sent(),
            (std::vector<std::string>{Sent("late")}));
  EXPECT_EQ(world.Got(T(kWrite)), 1);
  call.stream->Finish(&call.status, T(kFinish));
  world.core().call(1).End(GRPC_STATUS_OK);
  world.Settle();
  EXPECT_TRUE(call.status.ok());
}

TEST(StreamCallTest, MoreThanIsKeptCommits) {
  options::ServiceOptions options = FakeWorld::Idempotent();
  options.policy.retry.stream_bytes = 600;
  FakeWorld world(options);
  Bidi call(&world);
  world.Settle();
  call.Write(std::string(100, 'x'));
  world.Settle();
  call.Write(std::string(500, 'y'));
  world.Settle();
  EXPECT_EQ(world.Got(T(kWrite)), 2);
  call.stream->Read(&call.reply, T(kRead));
  call.stream->Finish(&call.status, T(kFinish));
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  BackOff(&world);
  EXPECT_EQ(world.core().calls(), 1u);
  EXPECT_EQ(call.status.error_message(), "no");
  EXPECT_EQ(world.fake().runtime->stream_bytes().used(), 0u);
}

// --- Cancels

TEST(StreamCallTest, ACancelInsideABackoff) {
  for (const bool timer_first : {false, true}) {
    for (const bool finish_early : {false, true}) {
      FakeWorld world(FakeWorld::Idempotent(), {"a"});
      ServerStream call(&world);
      world.Settle();
      call.reader->Read(&call.reply, T(kRead));
      if (finish_early) call.reader->Finish(&call.status, T(kFinish));
      world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
      world.Settle();
      if (timer_first) world.fake().clock.Advance(absl::Milliseconds(20));
      call.context->TryCancel();
      BackOff(&world);
      EXPECT_EQ(world.Got(T(kRead)), 1);
      if (!finish_early) call.reader->Finish(&call.status, T(kFinish));
      world.Settle();
      EXPECT_EQ(world.Got(T(kFinish)), 1);
      EXPECT_EQ(call.status.error_code(), StatusCode::CANCELLED);
      EXPECT_EQ(world.InFlight(), 0);
    }
  }
}

// While the messages of a stream are being sent again, after each step of it.
TEST(StreamCallTest, ACancelInsideAReplay) {
  for (int steps = 0; steps < 8; ++steps) {
    FakeWorld world;
    Bidi call(&world);
    world.Settle();
    for (const char* text : {"one", "two", "three"}) {
      call.Write(text);
      world.Settle();
    }
    call.stream->Read(&call.reply, T(kRead));
    world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
    world.Settle();
    world.loop().Advance(absl::Milliseconds(20));
    for (int i = 0; i < steps && world.core().ready() > 0; ++i) {
      world.core().Run();
    }
    call.context->TryCancel();
    BackOff(&world);
    EXPECT_EQ(world.Got(T(kRead)), 1) << steps;
    call.stream->Finish(&call.status, T(kFinish));
    world.Settle();
    EXPECT_EQ(world.Got(T(kFinish)), 1);
    EXPECT_EQ(call.status.error_code(), StatusCode::CANCELLED) << steps;
    EXPECT_EQ(world.InFlight(), 0);
  }
}

TEST(StreamCallTest, AWaitForTheFirstEndpointEndsOnce) {
  enum Event { kEndpoints, kCancel };
  for (const uint64_t kept : {uint64_t{0}, uint64_t{1} << 20}) {
    for (const std::vector<Event>& events : {std::vector<Event>{kEndpoints},
                                             {kCancel},
                                             {kEndpoints, kCancel},
                                             {kCancel, kEndpoints}}) {
      options::ServiceOptions options = FakeWorld::Idempotent();
      options.policy.retry.stream_bytes = kept;
      FakeWorld world(options, {});
      ServerStream call(&world);
      world.Settle();
      EXPECT_EQ(world.Got(T(kStart)), 0);
      for (const Event event : events) {
        if (event == kEndpoints) {
          world.fake().discovery.Report({"a"});
        } else {
          call.context->TryCancel();
        }
      }
      world.Settle();
      world.fake().network.Set("a", GRPC_CHANNEL_CONNECTING);
      world.fake().network.Set("a", GRPC_CHANNEL_READY);
      world.Settle();
      EXPECT_EQ(world.Got(T(kStart)), 1);
      call.reader->Finish(&call.status, T(kFinish));
      for (size_t i = 0; i < world.core().calls(); ++i) {
        world.core().call(i).End(GRPC_STATUS_OK);
      }
      world.Settle();
      EXPECT_EQ(world.Got(T(kFinish)), 1);
      EXPECT_EQ(call.status.ok(), events.size() == 1 && events[0] == kEndpoints)
          << call.status.error_message();
      EXPECT_EQ(world.InFlight(), 0);
    }
  }
}

// --- Streams that are not kept

TEST(StreamCallTest, BatchesOfAPlainStreamGoUnseen) {
  options::ServiceOptions options = FakeWorld::Idempotent();
  options.policy.retry.stream_bytes = 0;
  FakeWorld world(options);
  Bidi call(&world);
  world.Settle();
  call.Write("one");
  EXPECT_EQ(world.core().ready(), 1u);
  world.core().Run();
  EXPECT_EQ(world.core().ready(), 0u) << "no second round through the queue";
  world.Settle();
  EXPECT_EQ(world.Got(T(kWrite)), 1);
  call.stream->Finish(&call.status, T(kFinish));
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  BackOff(&world);
  EXPECT_EQ(world.core().calls(), 1u);
  EXPECT_EQ(call.status.error_message(), "no");
  EXPECT_EQ(world.InFlight(), 0);
}

TEST(StreamCallTest, BatchesGoUnseenOnceAStreamIsCommitted) {
  FakeWorld world;
  Bidi call(&world);
  world.Settle();
  call.stream->Read(&call.reply, T(kRead));
  world.core().call(0).SendMessage(FakeWorld::Bytes("x"));
  world.Settle();
  call.Write("one");
  EXPECT_EQ(world.core().ready(), 1u);
  world.core().Run();
  EXPECT_EQ(world.core().ready(), 0u);
  call.stream->Finish(&call.status, T(kFinish));
  world.core().call(0).End(GRPC_STATUS_OK);
  world.Settle();
  EXPECT_TRUE(call.status.ok());
}

// Whether its batches are seen anyway, or not.
TEST(StreamCallTest, AStreamWhoseAnswerHasBegunIsNoCallAnyMore) {
  for (const bool idempotent : {true, false}) {
    for (const bool message : {true, false}) {
      options::ServiceOptions options = FakeWorld::Idempotent();
      options.policy.idempotent = idempotent;
      options.guards.caps.max_calls = 1;
      FakeWorld world(options);
      Bidi call(&world);
      world.Settle();
      const auto admission = [&world] {
        return world.service().Metrics().admission;
      };
      EXPECT_EQ(admission().calls, 1);
      Bidi refused(&world);
      refused.stream->Finish(&refused.status, T(kFinish));
      world.Settle();
      EXPECT_EQ(refused.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
      if (message) {
        call.stream->Read(&call.reply, T(kRead));
        world.core().call(0).SendMessage(FakeWorld::Bytes("x"));
      } else {
        call.stream->ReadInitialMetadata(T(kHeaders));
        world.core().call(0).SendHeaders({});
      }
      world.Settle();
      EXPECT_EQ(admission().calls, 0);
      EXPECT_EQ(admission().streams, 1);
      FakeUnary unary(&world);
      unary.Finish();
      world.core().call(1).Answer(FakeWorld::Bytes("ok"));
      world.Settle();
      EXPECT_TRUE(unary.status.ok());
      call.stream->Finish(&call.status, T(kFinish));
      world.core().call(0).End(GRPC_STATUS_OK);
      world.Settle();
      EXPECT_TRUE(call.status.ok());
      EXPECT_EQ(admission().calls, 0);
      EXPECT_EQ(admission().streams, 0);
    }
  }
}

TEST(StreamCallTest, TheEndOfAStreamIsNoBeginOfItsAnswer) {
  options::ServiceOptions options = FakeWorld::Idempotent();
  options.policy.idempotent = false;
  FakeWorld world(options);
  Bidi call(&world);
  call.stream->ReadInitialMetadata(T(kHeaders));
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  world.Settle();
  EXPECT_EQ(world.service().Metrics().admission.calls, 1);
  call.stream->Finish(&call.status, T(kFinish));
  world.Settle();
  EXPECT_EQ(world.service().Metrics().admission.calls, 0);
}

TEST(StreamCallTest, NothingIsKeptOfAStreamThatMayNotRunTwice) {
  options::ServiceOptions options = FakeWorld::Idempotent();
  options.policy.idempotent = false;
  FakeWorld world(options);
  Bidi call(&world);
  world.Settle();
  call.Write("one");
  EXPECT_EQ(world.core().ready(), 1u);
  world.core().Run();
  EXPECT_EQ(world.core().ready(), 0u) << "no second round through the queue";
  EXPECT_EQ(world.fake().runtime->stream_bytes().used(), 0u);
  call.stream->Finish(&call.status, T(kFinish));
  world.core().call(0).End(GRPC_STATUS_UNAVAILABLE, "no");
  BackOff(&world);
  EXPECT_EQ(world.core().calls(), 1u);
  EXPECT_EQ(call.status.error_message(), "no");
  EXPECT_EQ(world.InFlight(), 0);
}

TEST(StreamCallTest, AnIdleStreamEnds) {
  options::ServiceOptions options = FakeWorld::Idempotent();
  options.policy.idle_timeout = absl::Seconds(10);
  FakeWorld world(options);
  Bidi call(&world);
  world.Settle();
  for (int i = 0; i < 3; ++i) {
    world.loop().Advance(absl::Seconds(7));
    call.Write("still here");
    world.Settle();
  }
  EXPECT_FALSE(world.core().call(0).cancelled());
  call.stream->Finish(&call.status, T(kFinish));
  world.loop().Advance(absl::Seconds(11));
  BackOff(&world);
  EXPECT_TRUE(world.core().call(0).cancelled());
  EXPECT_EQ(call.status.error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(world.core().calls(), 1u) << "not tried again";
}

TEST(StreamCallTest, AStreamOnAnEndpointThatIsGoneIsCutOff) {
  options::ServiceOptions options = FakeWorld::Idempotent();
  options.connections.drain_timeout = absl::Seconds(5);
  FakeWorld world(options, {"a"});
  Bidi call(&world);
  world.Settle();
  call.stream->Read(&call.reply, T(kRead));
  world.core().call(0).SendMessage(FakeWorld::Bytes("x"));
  world.Settle();
  world.Connect({"b"});
  world.loop().Advance(absl::Seconds(4));
  EXPECT_FALSE(world.core().call(0).cancelled());
  world.loop().Advance(absl::Seconds(2));
  EXPECT_TRUE(world.core().call(0).cancelled());
  call.stream->Finish(&call.status, T(kFinish));
  world.Settle();
  EXPECT_EQ(call.status.error_code(), StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace mesh::channel
