// Endpoints that come and go while calls run.

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/scenario/scenario.h"
#include "tests/support/test_server.h"

namespace mesh::test {
namespace {

class MembershipTest : public testing::Test {
 protected:
  MembershipTest() {
    for (int i = 0; i < 5; ++i) {
      TestServer::Options options;
      options.name = std::string(1, static_cast<char>('a' + i));
      servers_.push_back(TestServer::Start(std::move(options)).value());
    }
    Publish({0, 1, 2});
    v1::Config config;
    v1::EndpointsFile& source = *TheService(&config).mutable_endpoints_file();
    source.set_path(directory_.path() + "/endpoints.yaml");
    mesh_ = MakeMesh(config);
    stub_ = StubOf(*mesh_);
  }

  void Publish(const std::vector<int>& servers) {
    std::vector<std::string> addresses;
    for (const int i : servers) addresses.push_back(servers_[i]->address());
    directory_.Write("endpoints.yaml", EndpointsFile(addresses));
  }

  // The name of the server that answers the next call.
  std::string NextServer() {
    Request request;
    request.mutable_directives()->set_echo(true);
    Reply reply;
    const grpc::Status status = CallUnary(*stub_, request, &reply);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return reply.seen().server();
  }

  // Who answers within so many calls.
  std::set<std::string> Servers(int calls = 60) {
    std::set<std::string> names;
    for (int i = 0; i < calls; ++i) names.insert(NextServer());
    return names;
  }

  bool ServedOnlyBy(const std::set<std::string>& names) {
    return WaitUntil([&] { return Servers() == names; });
  }

  TempDirectory directory_;
  std::vector<std::unique_ptr<TestServer>> servers_;
  std::unique_ptr<Mesh> mesh_;
  std::unique_ptr<TestService::Stub> stub_;
};

using Names = std::set<std::string>;

TEST_F(MembershipTest, CallsGoToWhatTheEndpointsFileLists) {
  EXPECT_TRUE(ServedOnlyBy(Names({"a", "b", "c"})));
  Publish({2, 3});
  EXPECT_TRUE(ServedOnlyBy(Names({"c", "d"})));
  Publish({4});
  EXPECT_TRUE(ServedOnlyBy(Names({"e"})));
}

TEST_F(MembershipTest, NoCallFailsWhileEndpointsComeAndGo) {
  Request request;
  request.mutable_directives()->set_sleep_ms(2);
  Load load(0, 8, [&](int64_t) { return CallOnce(*stub_, request); });
  // The file is looked at every second.
  for (int i = 0; i < 10; ++i) {
    Publish({i % 5, (i + 1) % 5, (i + 2) % 5});
    absl::SleepFor(absl::Milliseconds(1050));
  }
  load.Stop();
  EXPECT_EQ(load.failed(), 0) << load.Failures();
  EXPECT_GT(ServiceMetrics(*mesh_).discovery_updates, 6u);
}

TEST_F(MembershipTest, AStreamOnARemovedEndpointRunsToItsEnd) {
  grpc::ClientContext context;
  const auto stream = stub_->Bidi(&context);
  Request request;
  Reply reply;
  request.mutable_directives()->set_echo(true);
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&reply));
  const int server = reply.seen().server()[0] - 'a';
  ASSERT_GE(server, 0);
  ASSERT_LT(server, 3);

  Publish({3, 4});
  ASSERT_TRUE(ServedOnlyBy(Names({"d", "e"})));

  request.set_payload("still here");
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(stream->Write(request));
    ASSERT_TRUE(stream->Read(&reply));
    EXPECT_EQ(reply.payload(), "still here");
  }
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&reply));
  const grpc::Status status = stream->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(MembershipTest, AnUnaryCallOnARemovedEndpointRunsToItsEnd) {
  Request request;
  request.mutable_directives()->set_sleep_ms(1000);
  Load load(0, 6, [&](int64_t) { return CallOnce(*stub_, request); });
  absl::SleepFor(absl::Milliseconds(200));
  Publish({4});
  ASSERT_TRUE(ServedOnlyBy(Names({"e"})));
  load.Stop();
  EXPECT_EQ(load.failed(), 0) << load.Failures();
}

TEST_F(MembershipTest, AStreamIsCutOffWhenItsRemovedEndpointMayDrainNoLonger) {
  v1::Config config;
  v1::Service& service = TheService(&config);
  *service.mutable_endpoints_file()->mutable_path() =
      directory_.path() + "/endpoints.yaml";
  service.mutable_connections()->mutable_drain_timeout()->set_nanos(
      100'000'000);
  const std::unique_ptr<Mesh> mesh = MakeMesh(config);
  const auto stub = StubOf(*mesh);
  Publish({0});
  grpc::ClientContext context;
  const auto stream = stub->Bidi(&context);
  Reply reply;
  ASSERT_TRUE(stream->Write(Request()));
  ASSERT_TRUE(stream->Read(&reply));

  Publish({1});
  EXPECT_FALSE(stream->Read(&reply)) << "nothing was written to answer";
  EXPECT_FALSE(stream->Finish().ok());
}

TEST_F(MembershipTest, AFileThatBecomesBadOrIsDeletedChangesNothing) {
  ASSERT_TRUE(ServedOnlyBy(Names({"a", "b", "c"})));
  directory_.Write("endpoints.yaml", "endpoints: [nonsense");
  ASSERT_TRUE(
      WaitUntil([&] { return ServiceMetrics(*mesh_).discovery_failures > 0; }));
  EXPECT_EQ(Servers(), Names({"a", "b", "c"}));
  EXPECT_NE(ServiceMetrics(*mesh_).discovery_error, "");

  ASSERT_EQ(remove((directory_.path() + "/endpoints.yaml").c_str()), 0);
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_EQ(Servers(), Names({"a", "b", "c"}));

  Publish({3});
  EXPECT_TRUE(ServedOnlyBy(Names({"d"})));
  EXPECT_EQ(ServiceMetrics(*mesh_).discovery_error, "");
}

}  // namespace
}  // namespace mesh::test
