#include "tests/support/test_server.h"

#include <memory>
#include <string>
#include <utility>

#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "gtest/gtest.h"

namespace mesh::test {
namespace {

class TestServerTest : public testing::Test {
 protected:
  TestServerTest()
      : server_(TestServer::Start().value()),
        channel_(grpc::CreateChannel(server_->address(),
                                     grpc::InsecureChannelCredentials())),
        stub_(TestService::NewStub(channel_)) {}

  std::unique_ptr<TestServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<TestService::Stub> stub_;
  Reply reply_;
};

TEST_F(TestServerTest, EndsACallAsItIsTold) {
  Request request;
  request.mutable_directives()->set_code(grpc::StatusCode::NOT_FOUND);
  request.mutable_directives()->set_message("no cart");
  request.mutable_directives()->set_details(std::string("\0d", 2));
  Header* header = request.mutable_directives()->add_trailing_metadata();
  header->set_key("why-bin");
  header->set_value(std::string("\1\0", 2));
  grpc::ClientContext context;

  const grpc::Status status = stub_->Unary(&context, request, &reply_);

  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "no cart");
  EXPECT_EQ(status.error_details(), std::string("\0d", 2));
  ASSERT_EQ(context.GetServerTrailingMetadata().count("why-bin"), 1u);
  EXPECT_EQ(context.GetServerTrailingMetadata().find("why-bin")->second,
            grpc::string_ref("\1\0", 2));
}

TEST(ServerFaultTest, FailsUnaryCallsWhileItIsOn) {
  const auto fault = std::make_shared<ServerFault>();
  fault->code = grpc::StatusCode::INTERNAL;
  TestServer::Options options;
  options.fault = fault;
  const auto server = TestServer::Start(std::move(options)).value();
  const auto stub = TestService::NewStub(grpc::CreateChannel(
      server->address(), grpc::InsecureChannelCredentials()));
  for (const bool on : {false, true, false}) {
    fault->on = on;
    grpc::ClientContext context;
    Reply reply;
    EXPECT_EQ(stub->Unary(&context, Request(), &reply).error_code(),
              on ? grpc::StatusCode::INTERNAL : grpc::StatusCode::OK);
  }
}

TEST_F(TestServerTest, FailsTheFirstExecutionsOfAKeyAndCountsThem) {
  Request request;
  request.mutable_directives()->set_key("k");
  request.mutable_directives()->set_fail_first(1);
  for (auto expected : {grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::OK}) {
    grpc::ClientContext context;
    EXPECT_EQ(stub_->Unary(&context, request, &reply_).error_code(), expected);
  }
  grpc::ClientContext context;
  CountReply count;
  ASSERT_TRUE(stub_->Count(&context, CountRequest(), &count).ok());
  EXPECT_EQ(count.executions(), 2);
  EXPECT_EQ(count.most_of_one_key(), 2);
}

TEST_F(TestServerTest, EndsAStreamInTheMiddle) {
  Request request;
  request.set_payload("one");
  request.mutable_directives()->set_end_after(2);
  request.mutable_directives()->set_code(grpc::StatusCode::ABORTED);
  grpc::ClientContext context;
  auto stream = stub_->Bidi(&context);
  EXPECT_TRUE(stream->Write(request));
  EXPECT_TRUE(stream->Read(&reply_));
  EXPECT_EQ(reply_.payload(), "one");
  EXPECT_TRUE(stream->Write(request));
  EXPECT_FALSE(stream->Read(&reply_));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::ABORTED);
}

TEST_F(TestServerTest, TakesDirectivesFromMetadataAndTellsWhatItSaw) {
  Directives directives;
  directives.set_echo(true);
  directives.set_replies(2);
  // The core's own retry filter takes previous-attempts off.
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  auto stub = TestService::NewStub(grpc::CreateCustomChannel(
      server_->address(), grpc::InsecureChannelCredentials(), args));
  grpc::ClientContext context;
  context.AddMetadata(kDirectivesKey, directives.SerializeAsString());
  context.AddMetadata("grpc-previous-rpc-attempts", "3");
  context.set_authority("elsewhere");
  auto reader = stub->ServerStream(&context, Request());
  ASSERT_TRUE(reader->Read(&reply_));
  EXPECT_EQ(reply_.seen().authority(), "elsewhere");
  EXPECT_EQ(reply_.seen().previous_attempts(), 3);
  EXPECT_EQ(reply_.seen().deadline_ms(), -1);
  EXPECT_TRUE(reader->Read(&reply_));
  EXPECT_FALSE(reader->Read(&reply_));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(TestServerTest, EchoesRawBytesOfAnyOtherMethod) {
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  grpc::Slice slice("not protobuf");
  auto call = stub.PrepareUnaryCall(&context, "/mesh.test.Raw/Echo",
                                    grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer answer;
  grpc::Status status;
  call->Finish(&answer, &status, nullptr);
  void* tag;
  bool ok;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_TRUE(status.ok()) << status.error_message();
  grpc::Slice whole;
  ASSERT_TRUE(answer.DumpToSingleSlice(&whole).ok());
  EXPECT_EQ(std::string(whole.begin(), whole.end()), "not protobuf");
}

}  // namespace
}  // namespace mesh::test
