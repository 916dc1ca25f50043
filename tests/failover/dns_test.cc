// A service found by DNS, from a real name server whose records change.

#include <signal.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/process/process.h"
#include "tests/scenario/scenario.h"
#include "tests/support/test_server.h"

namespace mesh::test {
namespace {

// Servers of one port on several loopback addresses.
class DnsTest : public testing::Test {
 protected:
  DnsTest() {
    for (int i = 0; i < 3; ++i) {
      TestServer::Options options;
      options.name = std::string(1, static_cast<char>('a' + i));
      options.addresses = {absl::StrCat("127.0.0.", 2 + i, ":", port_)};
      servers_.push_back(TestServer::Start(std::move(options)).value());
      if (port_ == 0) {
        const std::vector<std::string> parts =
            absl::StrSplit(servers_[0]->address(), ':');
        port_ = std::stoi(parts[1]);
      }
    }
    SetRecords({0, 1});
    name_server_port_ = UnusedPort();
    StartNameServer();
  }

  void StartNameServer() {
    std::vector<std::string> argv = {
        "dnsmasq",
        "--no-daemon",  // In the foreground, as this user.
        "--conf-file=/dev/null",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        absl::StrCat("--port=", name_server_port_),
        "--no-resolv",
        "--no-hosts",
        absl::StrCat("--addn-hosts=", directory_.path(), "/hosts"),
        "--local-ttl=1",
        // Knows all there is to know of it, and so says NXDOMAIN.
        "--local=/mesh.test/",
    };
    name_server_ = Process::Start(std::move(argv)).value();
    // It serves TCP and UDP alike.
    EXPECT_TRUE(WaitUntil([&] { return Listens(name_server_port_); }));
  }

  void SetRecords(const std::vector<int>& servers) {
    std::string hosts;
    for (const int i : servers) {
      absl::StrAppend(&hosts, "127.0.0.", 2 + i, " backends.mesh.test\n");
    }
    directory_.Write("hosts", hosts);
    if (name_server_ != nullptr) name_server_->Signal(SIGHUP);
  }

  v1::Config Config() const {
    v1::Config config;
    v1::Dns& dns = *TheService(&config).mutable_dns();
    dns.set_name("backends.mesh.test");
    dns.set_port(port_);
    dns.add_servers(absl::StrCat("127.0.0.1:", name_server_port_));
    return config;
  }

  bool ServedOnlyBy(TestService::Stub& stub,
                    const std::set<std::string>& names) {
    return WaitUntil([&] {
      std::set<std::string> seen;
      Request request;
      request.mutable_directives()->set_echo(true);
      for (int i = 0; i < 60; ++i) {
        Reply reply;
        if (CallUnary(stub, request, &reply).ok()) {
          seen.insert(reply.seen().server());
        }
      }
      return seen == names;
    });
  }

  TempDirectory directory_;
  int port_ = 0;
  std::vector<std::unique_ptr<TestServer>> servers_;
  int name_server_port_ = 0;
  std::unique_ptr<Process> name_server_;
};

using Names = std::set<std::string>;

TEST_F(DnsTest, FollowsTheRecordsOfAName) {
  const auto mesh = MakeMesh(Config());
  const auto stub = StubOf(*mesh);
  EXPECT_TRUE(ServedOnlyBy(*stub, Names({"a", "b"})));

  Load load(200, 4, [&](int64_t) { return CallOnce(*stub, Request()); });
  SetRecords({1, 2});
  EXPECT_TRUE(ServedOnlyBy(*stub, Names({"b", "c"})));
  SetRecords({0});
  EXPECT_TRUE(ServedOnlyBy(*stub, Names({"a"})));
  load.Stop();
  EXPECT_EQ(load.failed(), 0) << load.Failures();
}

TEST_F(DnsTest, KeepsTheLastEndpointsWhileTheNameServerIsDown) {
  const auto mesh = MakeMesh(Config());
  const auto stub = StubOf(*mesh);
  ASSERT_TRUE(ServedOnlyBy(*stub, Names({"a", "b"})));
  name_server_.reset();
  ASSERT_TRUE(
      WaitUntil([&] { return ServiceMetrics(*mesh).discovery_failures > 0; }));

  EXPECT_TRUE(ServedOnlyBy(*stub, Names({"a", "b"})));

  SetRecords({2});
  StartNameServer();
  EXPECT_TRUE(ServedOnlyBy(*stub, Names({"c"})));
}

TEST_F(DnsTest, TheFirstCallsWaitForTheFirstAnswer) {
  const auto mesh = MakeMesh(Config());
  const auto stub = StubOf(*mesh);
  const grpc::Status status = CallUnary(*stub, Request());
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(DnsTest, SaysWhichNameDoesNotExist) {
  v1::Config config = Config();
  TheService(&config).mutable_dns()->set_name("nobody.mesh.test");
  const auto mesh = MakeMesh(config);
  const auto stub = StubOf(*mesh);

  const grpc::Status status = CallUnary(*stub, Request());

  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_NE(status.error_message().find("nobody.mesh.test"), std::string::npos)
      << status.error_message();
}

}  // namespace
}  // namespace mesh::test
