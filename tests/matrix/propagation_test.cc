// Calls made while serving a call. grpc::ClientContext::FromServerContext
// passes on deadline and cancellation. They reach the server behind a mesh as
// they do behind a bare channel, also when the call is tried again.

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "mesh/base/mutex.h"
#include "tests/matrix/environment.h"
#include "tests/support/test_server.h"

namespace mesh::test {
namespace {

// Answers with what a call to a further server answers: unary calls in the sync
// style, Once() in the callback style, and streams.
class Proxy final : public TestService::Service {
 public:
  explicit Proxy(std::shared_ptr<grpc::ChannelInterface> onward)
      : stub_(TestService::NewStub(std::move(onward))) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
  }
  ~Proxy() override {
    server_->Shutdown();
    // Its handlers are done. Said so that ThreadSanitizer sees it, too.
    base::MutexLock lock(&mu_);
  }

  const std::string& address() const { return address_; }

  // What the onward call's context is made with.
  grpc::PropagationOptions propagation;
  // Onward calls wait until they can connect, but no longer than that.
  void WaitFor(std::chrono::milliseconds time) {
    base::MutexLock lock(&mu_);
    wait_ = time;
  }

  grpc::Status Unary(grpc::ServerContext* context, const Request* request,
                     Reply* reply) override {
    const auto onward = Onward(*context);
    return Ended(stub_->Unary(onward.get(), *request, reply));
  }

  grpc::Status Once(grpc::ServerContext* context, const Request* request,
                    Reply* reply) override {
    const auto onward = Onward(*context);
    std::promise<grpc::Status> done;
    stub_->async()->Unary(onward.get(), request, reply,
                          [&](grpc::Status s) { done.set_value(s); });
    return Ended(done.get_future().get());
  }

  grpc::Status ServerStream(grpc::ServerContext* context,
                            const Request* request,
                            grpc::ServerWriter<Reply>*) override {
    const auto onward = Onward(*context);
    const auto stream = stub_->ServerStream(onward.get(), *request);
    Reply reply;
    while (stream->Read(&reply)) {
    }
    return Ended(stream->Finish());
  }

  grpc::Status Bidi(grpc::ServerContext* context,
                    grpc::ServerReaderWriter<Reply, Request>*) override {
    const auto onward = Onward(*context);
    const auto stream = stub_->Bidi(onward.get());
    Reply reply;
    stream->Write(Request());
    stream->Read(&reply);
    return Ended(stream->Finish());
  }

  // How the onward call ended, once it has.
  grpc::Status OnwardStatus() {
    base::MutexLock lock(&mu_);
    while (!status_.has_value()) changed_.Wait(&mu_);
    return *status_;
  }

  // Until an onward call is about to be made.
  void AwaitCall() {
    base::MutexLock lock(&mu_);
    while (!called_) changed_.Wait(&mu_);
  }

 private:
  std::unique_ptr<grpc::ClientContext> Onward(
      const grpc::ServerContext& context) {
    auto onward = grpc::ClientContext::FromServerContext(context, propagation);
    base::MutexLock lock(&mu_);
    if (wait_.has_value()) {
      onward->set_wait_for_ready(true);
      onward->set_deadline(std::chrono::system_clock::now() + *wait_);
    }
    called_ = true;
    changed_.SignalAll();
    return onward;
  }

  grpc::Status Ended(grpc::Status status) {
    base::MutexLock lock(&mu_);
    status_ = status;
    changed_.SignalAll();
    return status;
  }

  std::unique_ptr<TestService::Stub> stub_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  base::Mutex mu_;
  std::optional<std::chrono::milliseconds> wait_ ABSL_GUARDED_BY(mu_);
  bool called_ ABSL_GUARDED_BY(mu_) = false;
  base::CondVar changed_;
  std::optional<grpc::Status> status_ ABSL_GUARDED_BY(mu_);
};

// On a bare channel and on mesh.
class Propagation : public testing::TestWithParam<bool> {
 protected:
  Propagation()
      : proxy_(GetParam() ? Arms::Get().Mesh(Flavour::kPlain)
                          : Arms::Get().Bare(Flavour::kPlain)),
        stub_(TestService::NewStub(grpc::CreateChannel(
            proxy_.address(), grpc::InsecureChannelCredentials()))) {
    static int calls = 0;
    request_.mutable_directives()->set_key(
        absl::StrCat("propagation-", ++calls));
    request_.mutable_directives()->set_echo(true);
  }

  int64_t Executions() {
    return Arms::Get()
        .server()
        ->executions()
        .Count(request_.directives().key())
        .executions();
  }

  Proxy proxy_;
  std::unique_ptr<TestService::Stub> stub_;
  grpc::ClientContext context_;
  Request request_;
  Reply reply_;
};

TEST_P(Propagation, NoDeadlineIsHandedOnAsNone) {
  ASSERT_TRUE(stub_->Unary(&context_, request_, &reply_).ok());
  EXPECT_EQ(reply_.seen().deadline_ms(), -1);
}

TEST_P(Propagation, DeadlineIsHandedOn) {
  context_.set_deadline(std::chrono::system_clock::now() +
                        std::chrono::seconds(100));
  ASSERT_TRUE(stub_->Unary(&context_, request_, &reply_).ok());
  EXPECT_GT(reply_.seen().deadline_ms(), 50000);
  // On the wire it is rounded up.
  EXPECT_LE(reply_.seen().deadline_ms(), 102000);
}

TEST_P(Propagation, DeadlineIsKeptBackWhenAsked) {
  proxy_.propagation.disable_deadline_propagation();
  context_.set_deadline(std::chrono::system_clock::now() +
                        std::chrono::seconds(100));
  ASSERT_TRUE(stub_->Unary(&context_, request_, &reply_).ok());
  EXPECT_EQ(reply_.seen().deadline_ms(), -1);
}

TEST_P(Propagation, DeadlineEndsTheOnwardCall) {
  request_.mutable_directives()->set_sleep_ms(20000);
  context_.set_deadline(std::chrono::system_clock::now() +
                        std::chrono::milliseconds(50));
  EXPECT_EQ(stub_->Unary(&context_, request_, &reply_).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  // Whichever of the two notices first.
  const auto code = proxy_.OnwardStatus().error_code();
  EXPECT_TRUE(code == grpc::StatusCode::DEADLINE_EXCEEDED ||
              code == grpc::StatusCode::CANCELLED)
      << code;
}

TEST_P(Propagation, CancellationEndsTheOnwardCall) {
  request_.mutable_directives()->set_sleep_ms(20000);
  std::thread canceller([&] {
    while (Executions() == 0) std::this_thread::yield();
    context_.TryCancel();
  });
  EXPECT_EQ(stub_->Unary(&context_, request_, &reply_).error_code(),
            grpc::StatusCode::CANCELLED);
  EXPECT_EQ(proxy_.OnwardStatus().error_code(), grpc::StatusCode::CANCELLED);
  canceller.join();
}

TEST_P(Propagation, HoldsForARetryToo) {
  if (!GetParam()) GTEST_SKIP() << "a bare channel doesn't try again";
  request_.mutable_directives()->set_fail_first(2);
  context_.set_deadline(std::chrono::system_clock::now() +
                        std::chrono::seconds(100));
  const grpc::Status status = stub_->Unary(&context_, request_, &reply_);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(reply_.seen().execution(), 3);
  EXPECT_GT(reply_.seen().deadline_ms(), 50000);
  // On the wire it is rounded up.
  EXPECT_LE(reply_.seen().deadline_ms(), 102000);
}

// The attempt that runs when the call is cancelled is the second.
TEST_P(Propagation, CancellationEndsARetryToo) {
  if (!GetParam()) GTEST_SKIP() << "a bare channel doesn't try again";
  request_.mutable_directives()->set_fail_first(1);
  request_.mutable_directives()->set_sleep_ms(100);
  std::thread canceller([&] {
    while (Executions() < 2) std::this_thread::yield();
    context_.TryCancel();
  });
  EXPECT_EQ(stub_->Unary(&context_, request_, &reply_).error_code(),
            grpc::StatusCode::CANCELLED);
  EXPECT_EQ(proxy_.OnwardStatus().error_code(), grpc::StatusCode::CANCELLED);
  canceller.join();
  EXPECT_EQ(Executions(), 2);
}

// Here, between two attempts.
TEST_P(Propagation, CancellationEndsABackoffToo) {
  if (!GetParam()) GTEST_SKIP() << "a bare channel doesn't try again";
  request_.mutable_directives()->set_fail_first(1);
  request_.mutable_directives()->set_pushback_ms("20000");
  std::thread canceller([&] {
    while (Executions() < 1) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    context_.TryCancel();
  });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(stub_->Unary(&context_, request_, &reply_).error_code(),
            grpc::StatusCode::CANCELLED);
  EXPECT_EQ(proxy_.OnwardStatus().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(15));
  canceller.join();
  EXPECT_EQ(Executions(), 1);
}

TEST_P(Propagation, CancellationEndsAStreamsBackoffToo) {
  if (!GetParam()) GTEST_SKIP() << "a bare channel doesn't try again";
  request_.mutable_directives()->set_fail_first(1);
  request_.mutable_directives()->set_pushback_ms("20000");
  std::thread canceller([&] {
    while (Executions() < 1) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    context_.TryCancel();
  });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(stub_->ServerStream(&context_, request_)->Finish().error_code(),
            grpc::StatusCode::CANCELLED);
  EXPECT_EQ(proxy_.OnwardStatus().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(15));
  canceller.join();
  EXPECT_EQ(Executions(), 1);
}

// Calls that wait for an endpoint, which never comes.
class WaitingPropagation : public testing::TestWithParam<bool> {
 protected:
  WaitingPropagation()
      : proxy_(GetParam() ? Arms::Get().Mesh(Flavour::kDead)
                          : Arms::Get().Bare(Flavour::kDead)),
        stub_(TestService::NewStub(grpc::CreateChannel(
            proxy_.address(), grpc::InsecureChannelCredentials()))) {
    proxy_.WaitFor(std::chrono::seconds(20));
  }

  // Cancels the call that the proxy serves `after` it has begun another.
  void CancelAndExpectTheEnd(std::chrono::milliseconds after,
                             const std::function<grpc::Status()>& call) {
    std::thread canceller([&] {
      proxy_.AwaitCall();
      std::this_thread::sleep_for(after);
      context_.TryCancel();
    });
    EXPECT_EQ(call().error_code(), grpc::StatusCode::CANCELLED);
    EXPECT_EQ(proxy_.OnwardStatus().error_code(), grpc::StatusCode::CANCELLED);
    canceller.join();
  }

  static constexpr std::chrono::milliseconds kLater{50};

  Proxy proxy_;
  std::unique_ptr<TestService::Stub> stub_;
  grpc::ClientContext context_;
  Reply reply_;
};

TEST_P(WaitingPropagation, CancellationEndsAUnaryCall) {
  CancelAndExpectTheEnd(
      kLater, [&] { return stub_->Unary(&context_, Request(), &reply_); });
}

TEST_P(WaitingPropagation, CancellationMayComeBeforeTheCallWaits) {
  CancelAndExpectTheEnd(std::chrono::milliseconds(0), [&] {
    return stub_->Unary(&context_, Request(), &reply_);
  });
}

TEST_P(WaitingPropagation, CancellationEndsACallbackCall) {
  CancelAndExpectTheEnd(
      kLater, [&] { return stub_->Once(&context_, Request(), &reply_); });
}

TEST_P(WaitingPropagation, CancellationEndsAServerStream) {
  CancelAndExpectTheEnd(kLater, [&] {
    return stub_->ServerStream(&context_, Request())->Finish();
  });
}

TEST_P(WaitingPropagation, CancellationEndsABidiStream) {
  CancelAndExpectTheEnd(kLater,
                        [&] { return stub_->Bidi(&context_)->Finish(); });
}

// It waits for its own deadline, then.
TEST_P(WaitingPropagation, CancellationIsKeptBackWhenAsked) {
  proxy_.propagation.disable_cancellation_propagation();
  proxy_.propagation.disable_deadline_propagation();
  proxy_.WaitFor(std::chrono::milliseconds(400));
  std::thread canceller([&] {
    proxy_.AwaitCall();
    std::this_thread::sleep_for(kLater);
    context_.TryCancel();
  });
  EXPECT_EQ(stub_->Unary(&context_, Request(), &reply_).error_code(),
            grpc::StatusCode::CANCELLED);
  EXPECT_EQ(proxy_.OnwardStatus().error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  canceller.join();
}

INSTANTIATE_TEST_SUITE_P(Arms, WaitingPropagation, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& info) {
                           return info.param ? "Mesh" : "Bare";
                         });

INSTANTIATE_TEST_SUITE_P(Arms, Propagation, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& info) {
                           return info.param ? "Mesh" : "Bare";
                         });

}  // namespace
}  // namespace mesh::test
