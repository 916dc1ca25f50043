// Many calls at once on a mesh channel, many of them tried again, cancelled or
// left behind: each ends once, with a status that makes sense.

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/base/mutex.h"
#include "mesh/base/random.h"
#include "tests/matrix/environment.h"
#include "tests/matrix/script.h"

namespace mesh::test {
namespace {

using base::Random;
using grpc::StatusCode;

std::shared_ptr<grpc::ChannelInterface> MeshChannel() {
  return Arms::Get().Mesh(Flavour::kPlain);
}

// Counts how calls ended. Thread-safe.
class Ends {
 public:
  void Add(StatusCode code) {
    base::MutexLock lock(&mu_);
    ++by_code_[code];
    ++all_;
    changed_.SignalAll();
  }
  void WaitFor(int calls) {
    base::MutexLock lock(&mu_);
    while (all_ < calls) changed_.Wait(&mu_);
  }
  int Of(StatusCode code) {
    base::MutexLock lock(&mu_);
    return by_code_[code];
  }
  int All() {
    base::MutexLock lock(&mu_);
    return all_;
  }

 private:
  base::Mutex mu_;
  base::CondVar changed_;
  std::map<StatusCode, int> by_code_ ABSL_GUARDED_BY(mu_);
  int all_ ABSL_GUARDED_BY(mu_) = 0;
};

// --- TryCancel from another thread, at any moment of a call's life.

class CancelStorm : public testing::TestWithParam<Way> {};

TEST_P(CancelStorm, EveryCallEndsAsCancelledOrAsItWouldHave) {
  const auto [kind, style] = GetParam();
  Random random(static_cast<int>(kind) * 100 + static_cast<int>(style));
  int cancelled = 0, ended = 0;
  for (int i = 0; i < 40; ++i) {
    auto driver = Driver::Make(kind, style, MeshChannel());
    Directives directives;
    directives.set_key(absl::StrCat("storm-", Name(kind), Name(style), i));
    directives.set_fail_first(random.Below(3));
    directives.set_replies(3);
    directives.set_sleep_ms(random.Below(3));
    driver->context().AddMetadata(kDirectivesKey,
                                  directives.SerializeAsString());
    const auto delay = std::chrono::microseconds(random.Below(4000));
    std::thread canceller([&driver, delay] {
      std::this_thread::sleep_for(delay);
      driver->context().TryCancel();
    });
    Reply reply;
    driver->Start(Request());
    if (Writes(kind)) {
      for (int write = 0; write < 3; ++write) driver->Write(Request(), {});
      driver->WritesDone();
    }
    if (Reads(kind)) {
      while (driver->Read(&reply)) {
      }
    }
    const grpc::Status status = driver->Finish(&reply);
    canceller.join();
    if (status.error_code() == StatusCode::CANCELLED) {
      ++cancelled;
    } else if (status.ok() ||
               // Streams are not tried again.
               (kind != Kind::kUnary && directives.fail_first() > 0 &&
                status.error_code() == StatusCode::UNAVAILABLE)) {
      ++ended;
    } else {
      ADD_FAILURE() << "call " << i << " " << Describe(status);
    }
    EXPECT_EQ(driver->Complaints(), "");
  }
  EXPECT_EQ(cancelled + ended, 40);
}

INSTANTIATE_TEST_SUITE_P(All, CancelStorm, testing::ValuesIn(AllWays()),
                         testing::PrintToStringParamName());

// --- Calls that begin before there is an endpoint.

class BornWaiting : public testing::TestWithParam<Way> {};

// Each on a channel of its own, to a name that is resolved meanwhile. Several
// at once, so that endpoints come at any moment of their beginning.
TEST_P(BornWaiting, EveryCallIsAnswered) {
  const auto [kind, style] = GetParam();
  const std::string address = Arms::Get().server()->address();
  const std::string target =
      absl::StrCat("localhost", address.substr(address.rfind(':')));
  for (int round = 0; round < 4; ++round) {
    const auto channel = CreateChannel(target);
    std::vector<std::thread> callers;
    for (int i = 0; i < 4; ++i) {
      callers.emplace_back([kind = kind, style = style, &channel, i] {
        auto driver = Driver::Make(kind, style, channel);
        driver->context().set_deadline(std::chrono::system_clock::now() +
                                       std::chrono::seconds(60));
        std::this_thread::sleep_for(std::chrono::microseconds(300 * i));
        Reply reply;
        EXPECT_TRUE(driver->Start(Request()));
        if (Writes(kind)) {
          EXPECT_TRUE(driver->Write(Request(), {}));
          EXPECT_TRUE(driver->WritesDone());
        }
        if (Reads(kind)) {
          while (driver->Read(&reply)) {
          }
        }
        const grpc::Status status = driver->Finish(&reply);
        EXPECT_TRUE(status.ok()) << Describe(status);
        EXPECT_EQ(driver->Complaints(), "");
      });
    }
    for (std::thread& caller : callers) caller.join();
  }
}

INSTANTIATE_TEST_SUITE_P(All, BornWaiting, testing::ValuesIn(AllWays()),
                         testing::PrintToStringParamName());

// Several threads cancel the same call, again and again.
TEST(Cancel, ManyThreadsMayCancelOneCall) {
  auto stub = TestService::NewStub(MeshChannel());
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    Request request;
    Reply reply;
    request.mutable_directives()->set_key(absl::StrCat("many-cancel-", i));
    request.mutable_directives()->set_fail_first(i % 3);
    request.mutable_directives()->set_sleep_ms(3);
    std::atomic<bool> over{false};
    std::vector<std::thread> cancellers;
    for (int t = 0; t < 3; ++t) {
      cancellers.emplace_back([&context, &over, i] {
        std::this_thread::sleep_for(std::chrono::microseconds(i * 300));
        for (int n = 0; n < 50 && !over.load(); ++n) context.TryCancel();
      });
    }
    const grpc::Status status = stub->Unary(&context, request, &reply);
    over.store(true);
    for (std::thread& thread : cancellers) thread.join();
    EXPECT_TRUE(status.ok() || status.error_code() == StatusCode::CANCELLED)
        << Describe(status);
  }
}

// --- Completion queues.

// A unary call whose results are kept until its tag arrives.
struct AsyncCall {
  grpc::ClientContext context;
  Reply reply;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Reply>> reader;
};

TEST(Queue, ThreadsThatShareOneSeeEachTagOnce) {
  constexpr int kCalls = 400;
  auto stub = TestService::NewStub(MeshChannel());
  grpc::CompletionQueue queue;
  Ends ends;
  std::vector<std::thread> pollers;
  for (int i = 0; i < 3; ++i) {
    pollers.emplace_back([&] {
      void* tag;
      bool ok;
      while (queue.Next(&tag, &ok)) {
        EXPECT_TRUE(ok);
        // Deletes the context right after.
        std::unique_ptr<AsyncCall> call(static_cast<AsyncCall*>(tag));
        if (call->status.ok()) {
          EXPECT_EQ(call->reply.payload(), "payload");
        }
        ends.Add(call->status.error_code());
      }
    });
  }
  for (int i = 0; i < kCalls; ++i) {
    Request request;
    request.set_payload("payload");
    request.mutable_directives()->set_key(absl::StrCat("shared-queue-", i));
    request.mutable_directives()->set_fail_first(i % 3);
    auto call = std::make_unique<AsyncCall>();
    call->reader = stub->AsyncUnary(&call->context, request, &queue);
    AsyncCall* const raw = call.release();
    raw->reader->Finish(&raw->reply, &raw->status, raw);
  }
  ends.WaitFor(kCalls);
  queue.Shutdown();
  for (std::thread& thread : pollers) thread.join();
  EXPECT_EQ(ends.Of(StatusCode::OK), kCalls);
  EXPECT_EQ(ends.All(), kCalls);
}

TEST(Queue, ShutdownWithCallsInFlightDeliversThemAll) {
  constexpr int kCalls = 100;
  for (bool cancel : {false, true}) {
    auto stub = TestService::NewStub(MeshChannel());
    grpc::CompletionQueue queue;
    std::vector<std::unique_ptr<AsyncCall>> calls;
    for (int i = 0; i < kCalls; ++i) {
      Request request;
      request.mutable_directives()->set_key(
          absl::StrCat("shutdown-", cancel, "-", i));
      request.mutable_directives()->set_fail_first(i % 3);
      request.mutable_directives()->set_sleep_ms(cancel ? 20000 : i % 5);
      calls.push_back(std::make_unique<AsyncCall>());
      AsyncCall* const call = calls.back().get();
      call->reader = stub->AsyncUnary(&call->context, request, &queue);
      call->reader->Finish(&call->reply, &call->status, call);
    }
    queue.Shutdown();
    if (cancel) {
      for (auto& call : calls) call->context.TryCancel();
    }
    int delivered = 0;
    void* tag;
    bool ok;
    while (queue.Next(&tag, &ok)) {
      ++delivered;
      EXPECT_EQ(static_cast<AsyncCall*>(tag)->status.error_code(),
                cancel ? StatusCode::CANCELLED : StatusCode::OK);
    }
    EXPECT_EQ(delivered, kCalls);
  }
}

// (Of a unary call so dropped gRPC leaks the request.)
TEST(Queue, StreamsMayBeDroppedWithoutFinish) {
  auto stub = TestService::NewStub(MeshChannel());
  for (int i = 0; i < 50; ++i) {
    grpc::CompletionQueue queue;
    {
      grpc::ClientContext context, unstarted_context;
      auto stream = stub->AsyncBidi(&context, &queue, nullptr);
      auto unstarted = stub->PrepareAsyncBidi(&unstarted_context, &queue);
      void* tag;
      bool ok;
      ASSERT_TRUE(queue.Next(&tag, &ok));
    }
    queue.Shutdown();
    void* tag;
    bool ok;
    EXPECT_FALSE(queue.Next(&tag, &ok));
  }
}

// --- Callbacks.

// Makes one call after the other from its own callback and deletes itself.
class Chain final : public grpc::ClientUnaryReactor {
 public:
  Chain(TestService::Stub* stub, Ends* ends, std::string key, int left)
      : stub_(stub), ends_(ends), key_(std::move(key)), left_(left) {
    request_.mutable_directives()->set_key(absl::StrCat(key_, left));
    request_.mutable_directives()->set_fail_first(left % 3);
    stub_->async()->Unary(&context_, &request_, &reply_, this);
    StartCall();
  }
  void OnDone(const grpc::Status& status) override {
    ends_->Add(status.error_code());
    if (left_ > 1) new Chain(stub_, ends_, key_, left_ - 1);
    delete this;
  }

 private:
  TestService::Stub* const stub_;
  Ends* const ends_;
  const std::string key_;
  const int left_;
  grpc::ClientContext context_;
  Request request_;
  Reply reply_;
};

TEST(Callback, CallsMadeInCallbacksOfOthersAllEnd) {
  constexpr int kChains = 16, kLength = 25;
  auto stub = TestService::NewStub(MeshChannel());
  Ends ends;
  for (int i = 0; i < kChains; ++i) {
    new Chain(stub.get(), &ends, absl::StrCat("chain-", i, "-"), kLength);
  }
  ends.WaitFor(kChains * kLength);
  EXPECT_EQ(ends.Of(StatusCode::OK), kChains * kLength);
}

// Reads a stream to its end in reactions only, and deletes itself.
class StreamReader final : public grpc::ClientReadReactor<Reply> {
 public:
  StreamReader(TestService::Stub* stub, Ends* ends, bool cancels)
      : ends_(ends), cancels_(cancels) {
    request_.mutable_directives()->set_replies(20);
    stub->async()->ServerStream(&context_, &request_, this);
    StartRead(&reply_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (cancels_ && ++read_ == 5) context_.TryCancel();
    StartRead(&reply_);
  }
  void OnDone(const grpc::Status& status) override {
    ends_->Add(status.error_code());
    delete this;
  }

 private:
  Ends* const ends_;
  const bool cancels_;
  int read_ = 0;
  grpc::ClientContext context_;
  Request request_;
  Reply reply_;
};

TEST(Callback, StreamsMayBeCancelledInReactions) {
  constexpr int kStreams = 60;
  auto stub = TestService::NewStub(MeshChannel());
  Ends ends;
  for (int i = 0; i < kStreams; ++i) {
    new StreamReader(stub.get(), &ends, i % 2 == 0);
  }
  ends.WaitFor(kStreams);
  EXPECT_GE(ends.Of(StatusCode::OK), kStreams / 2);
  EXPECT_EQ(ends.Of(StatusCode::OK) + ends.Of(StatusCode::CANCELLED), kStreams);
}

// --- Synchronous.

TEST(Sync, OneThreadMayReadWhileAnotherWrites) {
  constexpr int kMessages = 300;
  auto stub = TestService::NewStub(MeshChannel());
  grpc::ClientContext context;
  auto stream = stub->Bidi(&context);
  std::thread writer([&] {
    Request request;
    for (int i = 0; i < kMessages; ++i) {
      request.set_payload(std::to_string(i));
      EXPECT_TRUE(stream->Write(request));
    }
    EXPECT_TRUE(stream->WritesDone());
  });
  Reply reply;
  int read = 0;
  while (stream->Read(&reply)) {
    EXPECT_EQ(reply.payload(), std::to_string(read));
    ++read;
  }
  writer.join();
  EXPECT_EQ(read, kMessages);
  EXPECT_TRUE(stream->Finish().ok());
}

TEST(Sync, ThreadsThatShareAStubAllGetTheirAnswers) {
  auto stub = TestService::NewStub(MeshChannel());
  std::vector<std::thread> threads;
  std::atomic<int> answered{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        grpc::ClientContext context;
        Request request;
        Reply reply;
        request.set_payload(absl::StrCat(t, "-", i));
        request.mutable_directives()->set_key(absl::StrCat("sync-", t, "-", i));
        request.mutable_directives()->set_fail_first(i % 3);
        const grpc::Status status = stub->Unary(&context, request, &reply);
        EXPECT_TRUE(status.ok()) << status.error_message();
        EXPECT_EQ(reply.payload(), request.payload());
        ++answered;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered.load(), 400);
}

// A reader that goes without Finish().
TEST(Sync, StreamsMayBeDroppedUnfinished) {
  auto stub = TestService::NewStub(MeshChannel());
  for (int i = 0; i < 30; ++i) {
    Reply reply;
    {
      grpc::ClientContext context;
      Request request;
      request.mutable_directives()->set_replies(1000);
      auto reader = stub->ServerStream(&context, request);
      if (i % 2 == 0) {
        EXPECT_TRUE(reader->Read(&reply));
      }
    }
    {
      grpc::ClientContext context;
      auto stream = stub->Bidi(&context);
      EXPECT_TRUE(stream->Write(Request()));
      if (i % 2 == 0) {
        EXPECT_TRUE(stream->Read(&reply));
      }
    }
    {
      grpc::ClientContext context;
      auto writer = stub->ClientStream(&context, &reply);
      EXPECT_TRUE(writer->Write(Request()));
    }
  }
}

// A context may be asked after its call, and outlives stub and channel.
TEST(Sync, ContextOutlivesStubAndChannel) {
  grpc::ClientContext context;
  Reply reply;
  Request request;
  request.mutable_directives()->set_key("context-outlives");
  request.mutable_directives()->set_fail_first(1);
  Header* header = request.mutable_directives()->add_trailing_metadata();
  header->set_key("t");
  header->set_value("v");
  {
    auto stub = TestService::NewStub(Arms::Get().NewMesh({}));
    ASSERT_TRUE(stub->Unary(&context, request, &reply).ok());
  }
  EXPECT_EQ(context.GetServerTrailingMetadata().count("t"), 1u);
  EXPECT_NE(context.peer(), "");
  context.TryCancel();
}

}  // namespace
}  // namespace mesh::test
