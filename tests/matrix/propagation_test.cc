// Calls made while serving a call: what grpc::ClientContext::FromServerContext
// hands on (deadline, cancellation) reaches the server behind a mesh as it does
// behind a bare channel, also when the call is tried again.

#include <chrono>
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

// Answers a unary call with what a call to a further server answers.
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

  grpc::Status Unary(grpc::ServerContext* context, const Request* request,
                     Reply* reply) override {
    const auto onward =
        grpc::ClientContext::FromServerContext(*context, propagation);
    const grpc::Status status = stub_->Unary(onward.get(), *request, reply);
    base::MutexLock lock(&mu_);
    status_ = status;
    changed_.SignalAll();
    return status;
  }

  // How the onward call ended, once it has.
  grpc::Status OnwardStatus() {
    base::MutexLock lock(&mu_);
    while (!status_.has_value()) changed_.Wait(&mu_);
    return *status_;
  }

 private:
  std::unique_ptr<TestService::Stub> stub_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  base::Mutex mu_;
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

INSTANTIATE_TEST_SUITE_P(Arms, Propagation, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& info) {
                           return info.param ? "Mesh" : "Bare";
                         });

}  // namespace
}  // namespace mesh::test
