#include <sys/wait.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "grpcpp/alarm.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/generic/generic_stub.h"
#include "gtest/gtest.h"
#include "tests/sanitizers/echo.h"

namespace mesh::test {
namespace {

#if defined(MESH_TSAN)
constexpr bool kTsan = true;
#else
constexpr bool kTsan = false;
#endif
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kAsan = true;
#else
constexpr bool kAsan = false;
#endif

constexpr int kThreads = 4;
constexpr int kCalls = 50;

// Counts down to zero, in a way that TSan sees.
class Latch {
 public:
  explicit Latch(int count) : count_(count) {}
  void CountDown() {
    std::lock_guard<std::mutex> lock(mu_);
    if (--count_ == 0) zero_.notify_all();
  }
  void Wait() {
    std::unique_lock<std::mutex> lock(mu_);
    zero_.wait(lock, [this] { return count_ == 0; });
  }

 private:
  std::mutex mu_;
  std::condition_variable zero_;
  int count_;
};

// gRPC alone, in every style, from several threads. Under a sanitizer these
// fail when it reports anything. So they show that the seam tells it all that
// gRPC orders.
//
// A context holds its channel. gRPC 1.51 crashes when a callback drops the last
// channel of a process, because its thread joins itself. So contexts go before
// the test is told that they are done.
template <typename Service>
class PlainGrpcTest : public testing::Test {
 protected:
  PlainGrpcTest() : service_("echo ") {
    server_ = StartServer(&service_, &address_);
    channel_ =
        grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
    stub_ = TestService::NewStub(channel_);
  }
  ~PlainGrpcTest() override { server_->Shutdown(); }

  static void OnThreads(const std::function<void()>& body) {
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) threads.emplace_back(body);
    for (std::thread& thread : threads) thread.join();
  }

  Service service_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<TestService::Stub> stub_;
};

using Services = testing::Types<SyncEcho, CallbackEcho>;
TYPED_TEST_SUITE(PlainGrpcTest, Services);

TYPED_TEST(PlainGrpcTest, SyncCalls) {
  this->OnThreads([this] {
    for (int i = 0; i < kCalls; ++i) {
      grpc::ClientContext context;
      Request request;
      request.set_payload(std::to_string(i));
      Reply reply;
      ASSERT_TRUE(this->stub_->Unary(&context, request, &reply).ok());
      ASSERT_EQ(reply.payload(), "echo " + std::to_string(i));
    }
    grpc::ClientContext context;
    const auto stream = this->stub_->Bidi(&context);
    Request request;
    Reply reply;
    for (int i = 0; i < kCalls; ++i) {
      request.set_payload(std::to_string(i));
      ASSERT_TRUE(stream->Write(request));
      ASSERT_TRUE(stream->Read(&reply));
      ASSERT_EQ(reply.payload(), "echo " + std::to_string(i));
    }
    stream->WritesDone();
    ASSERT_TRUE(stream->Finish().ok());
  });
}

TYPED_TEST(PlainGrpcTest, CallsStartedOnOneThreadAndFinishedOnAnother) {
  struct Call {
    grpc::ClientContext context;
    Request request;
    Reply reply;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<Reply>> reader;
  };
  grpc::CompletionQueue cq;
  std::thread finisher([&cq] {
    void* tag = nullptr;
    bool ok = false;
    while (cq.Next(&tag, &ok)) {
      auto* const call = static_cast<Call*>(tag);
      EXPECT_TRUE(call->status.ok()) << call->status.error_message();
      EXPECT_EQ(call->reply.payload(), "echo x");
      delete call;
    }
  });
  this->OnThreads([this, &cq] {
    for (int i = 0; i < kCalls; ++i) {
      auto* const call = new Call;
      call->request.set_payload("x");
      call->reader =
          this->stub_->PrepareAsyncUnary(&call->context, call->request, &cq);
      call->reader->StartCall();
      call->reader->Finish(&call->reply, &call->status, call);
    }
  });
  cq.Shutdown();
  finisher.join();
}

TYPED_TEST(PlainGrpcTest, Callbacks) {
  Latch done(kThreads * kCalls);
  this->OnThreads([this, &done] {
    struct Call {
      grpc::ClientContext context;
      Request request;
      Reply reply;
    };
    for (int i = 0; i < kCalls; ++i) {
      auto call = std::make_shared<Call>();
      call->request.set_payload(std::to_string(i));
      this->stub_->async()->Unary(
          &call->context, &call->request, &call->reply,
          [call, i, &done](grpc::Status status) mutable {
            EXPECT_TRUE(status.ok());
            EXPECT_EQ(call->reply.payload(), "echo " + std::to_string(i));
            call.reset();
            done.CountDown();
          });
    }
  });
  done.Wait();
}

TYPED_TEST(PlainGrpcTest, Reactors) {
  class PingPong final : public grpc::ClientBidiReactor<Request, Reply> {
   public:
    PingPong(TestService::Stub* stub, Latch* done) : done_(done) {
      stub->async()->Bidi(&context_, this);
      request_.set_payload("0");
      StartWrite(&request_);
      StartRead(&reply_);
      StartCall();
    }
    void OnReadDone(bool ok) override {
      if (!ok) return;
      EXPECT_EQ(reply_.payload(), "echo " + request_.payload());
      Next();
    }
    void OnWriteDone(bool ok) override {
      EXPECT_TRUE(ok);
      Next();
    }
    void OnDone(const grpc::Status& status) override {
      EXPECT_TRUE(status.ok());
      Latch* const done = done_;
      delete this;
      done->CountDown();
    }

   private:
    // When both the write and the read are done.
    void Next() {
      if (pending_.fetch_sub(1) != 1) return;
      if (++count_ == kCalls) return StartWritesDone();
      pending_ = 2;
      request_.set_payload(std::to_string(count_));
      StartWrite(&request_);
      StartRead(&reply_);
    }

    Latch* const done_;
    grpc::ClientContext context_;
    Request request_;
    Reply reply_;
    std::atomic<int> pending_{2};
    int count_ = 0;
  };
  Latch done(kThreads);
  this->OnThreads([&] { new PingPong(this->stub_.get(), &done); });
  done.Wait();
}

TYPED_TEST(PlainGrpcTest, GenericStub) {
  Latch done(kThreads * kCalls);
  grpc::GenericStub generic(this->channel_);
  this->OnThreads([&] {
    struct Call {
      grpc::ClientContext context;
      grpc::ByteBuffer request;
      grpc::ByteBuffer reply;
    };
    Request request;
    request.set_payload("x");
    for (int i = 0; i < kCalls; ++i) {
      auto* const call = new Call;
      bool own = false;
      grpc::GenericSerialize<grpc::ProtoBufferWriter, Request>(
          request, &call->request, &own);
      generic.UnaryCall(&call->context, "/mesh.test.TestService/Unary", {},
                        &call->request, &call->reply,
                        [call, &done](grpc::Status status) {
                          EXPECT_TRUE(status.ok());
                          delete call;
                          done.CountDown();
                        });
    }
  });
  done.Wait();
}

TYPED_TEST(PlainGrpcTest, CancelsFromAnotherThread) {
  Latch done(kCalls);
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<Request> requests(kCalls);
  std::vector<Reply> replies(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    this->stub_->async()->Unary(contexts[i].get(), &requests[i], &replies[i],
                                [&done](grpc::Status) { done.CountDown(); });
  }
  std::thread([&contexts] {
    for (const auto& context : contexts) context->TryCancel();
  }).join();
  done.Wait();
}

TYPED_TEST(PlainGrpcTest, AlarmsAndStateChanges) {
  Latch done(2);
  std::string said;
  grpc::Alarm alarm;
  said = "before";
  alarm.Set(gpr_now(GPR_CLOCK_MONOTONIC), [&said, &done](bool ok) {
    EXPECT_TRUE(ok);
    EXPECT_EQ(said, "before");
    done.CountDown();
  });
  grpc::CompletionQueue cq;
  std::thread watcher([&cq, &done] {
    void* tag = nullptr;
    bool ok = false;
    while (cq.Next(&tag, &ok)) {
      EXPECT_EQ(*static_cast<std::string*>(tag), "state");
      done.CountDown();
    }
  });
  std::string state = "state";
  const grpc_connectivity_state now = this->channel_->GetState(true);
  this->channel_->NotifyOnStateChange(
      now, std::chrono::system_clock::now() + std::chrono::seconds(10), &cq,
      &state);
  done.Wait();
  cq.Shutdown();
  watcher.join();
}

// ---- Generic services -------------------------------------------------------

constexpr char kEcho[] = "/test/Echo";
constexpr char kHold[] = "/test/Hold";

// Sends messages back. A call of kHold ends when it is cancelled.
class GenericEcho final : public grpc::CallbackGenericService {
 public:
  // For when the server is shut down, so they take no lock.
  int begun() const { return begun_; }
  int ended() const { return ended_; }

  void WaitForHeld() { held_.Wait(); }

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    const bool hold = context->method() == kHold;
    {
      std::lock_guard<std::mutex> lock(mu_);
      ++begun_;
    }
    auto* const reactor = new Reactor(this, hold);
    if (hold) held_.CountDown();
    return reactor;
  }

 private:
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    Reactor(GenericEcho* service, bool hold) : service_(service), hold_(hold) {
      if (!hold_) StartRead(&message_);
    }
    void OnReadDone(bool ok) override {
      if (!ok) return Finish(grpc::Status::OK);
      StartWrite(&message_);
    }
    void OnWriteDone(bool ok) override {
      if (!ok) return Finish(grpc::Status::CANCELLED);
      StartRead(&message_);
    }
    void OnCancel() override {
      if (hold_) Finish(grpc::Status::CANCELLED);
    }
    void OnDone() override {
      service_->End();
      delete this;
    }

   private:
    GenericEcho* const service_;
    const bool hold_;
    grpc::ByteBuffer message_;
  };

  void End() {
    std::lock_guard<std::mutex> lock(mu_);
    ++ended_;
  }

  Latch held_{kCalls};
  std::mutex mu_;
  int begun_ = 0;
  int ended_ = 0;
};

TEST(GenericServiceTest, EveryCallIsDoneWhenTheServerIsShutDown) {
  struct Call {
    grpc::ClientContext context;
    grpc::ByteBuffer request;
    grpc::ByteBuffer reply;
  };
  Latch done(2 * kCalls);
  std::vector<std::unique_ptr<Call>> calls;
  // It outlives the server, and with it gRPC's threads do: none is joined.
  std::shared_ptr<grpc::Channel> channel;
  {
    GenericEcho service;
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    builder.RegisterCallbackGenericService(&service);
    const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                  grpc::InsecureChannelCredentials());
    grpc::GenericStub stub(channel);
    const grpc::Slice message("x");
    for (const char* const method : {kEcho, kHold}) {
      for (int i = 0; i < kCalls; ++i) {
        Call* const call = calls.emplace_back(std::make_unique<Call>()).get();
        call->request = grpc::ByteBuffer(&message, 1);
        stub.UnaryCall(&call->context, method, {}, &call->request, &call->reply,
                       [&done](grpc::Status) { done.CountDown(); });
      }
    }
    service.WaitForHeld();
    server->Shutdown(std::chrono::system_clock::now());
    EXPECT_EQ(service.ended(), service.begun());
  }
  done.Wait();
}

// ---- A fault of ours is found -----------------------------------------------

struct Ended {
  int exit_code = -1;
  std::string output;  // stdout and stderr.
};

Ended RunSeededFault(const std::string& kind) {
  Ended ended;
  FILE* const pipe =
      popen(("tests/sanitizers/seeded_fault " + kind + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return ended;
  std::array<char, 4096> chunk;
  while (const size_t read = fread(chunk.data(), 1, chunk.size(), pipe)) {
    ended.output.append(chunk.data(), read);
  }
  const int status = pclose(pipe);
  if (WIFEXITED(status)) ended.exit_code = WEXITSTATUS(status);
  return ended;
}

TEST(SeededFaultTest, NothingIsReportedWithoutAFault) {
  const Ended ended = RunSeededFault("none");
  EXPECT_EQ(ended.exit_code, 0) << ended.output;
  EXPECT_EQ(ended.output, "");
}

TEST(SeededFaultTest, TsanFindsARaceBetweenCallbacks) {
  if (!kTsan) GTEST_SKIP() << "only with --tsan";
  const Ended ended = RunSeededFault("race");
  EXPECT_EQ(ended.exit_code, 66) << ended.output;
  EXPECT_NE(ended.output.find("data race"), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find("Fault"), std::string::npos) << ended.output;
}

TEST(SeededFaultTest, AsanFindsAnOverflowInACallback) {
  if (!kAsan) GTEST_SKIP() << "only with --asan";
  const Ended ended = RunSeededFault("overflow");
  EXPECT_NE(ended.exit_code, 0);
  EXPECT_NE(ended.output.find("heap-buffer-overflow"), std::string::npos)
      << ended.output;
}

TEST(SeededFaultTest, AsanFindsALeakInACallback) {
  if (!kAsan) GTEST_SKIP() << "only with --asan";
  const Ended ended = RunSeededFault("leak");
  EXPECT_NE(ended.exit_code, 0);
  EXPECT_NE(ended.output.find("LeakSanitizer"), std::string::npos)
      << ended.output;
}

TEST(SeededFaultTest, UbsanFindsAnOverflowInACallback) {
  if (!kAsan) GTEST_SKIP() << "only with --asan";
  const Ended ended = RunSeededFault("undefined");
  EXPECT_NE(ended.exit_code, 0);
  EXPECT_NE(ended.output.find("signed integer overflow"), std::string::npos)
      << ended.output;
}

}  // namespace
}  // namespace mesh::test
