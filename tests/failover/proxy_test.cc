// Services found by DNS where the environment names an HTTP proxy: what a bare
// channel sends through the proxy, mesh does, too.

#include <stdlib.h>

#include <fstream>
#include <initializer_list>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "tests/process/process.h"
#include "tests/scenario/scenario.h"

namespace mesh::test {
namespace {

class ProxyTest : public testing::Test {
 protected:
  ProxyTest() {
    const std::string configuration = directory_.Write(
        "tinyproxy.conf", absl::StrCat("Port ", port_,
                                       "\nListen 127.0.0.1\n"
                                       "Allow 127.0.0.1\nLogLevel Info\n"
                                       "LogFile \"",
                                       Log(), "\"\n"));
    proxy_ = Process::Start({"tinyproxy", "-d", "-c", configuration}).value();
    EXPECT_TRUE(WaitUntil([this] { return Listens(port_); }));
    setenv("http_proxy", absl::StrCat("http://127.0.0.1:", port_).c_str(), 1);
  }
  ~ProxyTest() override {
    unsetenv("http_proxy");
    unsetenv("no_proxy");
  }

  std::string Log() const { return directory_.path() + "/log"; }
  // The server by a name. Known to the proxy, and to this process, too.
  std::string Named() const {
    const std::string& address = server_.address();
    return absl::StrCat("localhost", address.substr(address.rfind(':')));
  }
  bool ProxyWasAskedFor(absl::string_view what) const {
    std::ostringstream text;
    text << std::ifstream(Log()).rdbuf();
    // "Request (file descriptor 8): CONNECT localhost:4711 HTTP/1.0".
    return absl::StrContains(text.str(), absl::StrCat("): CONNECT ", what));
  }
  static void ExpectAnswer(std::shared_ptr<grpc::ChannelInterface> channel) {
    const auto stub = TestService::NewStub(std::move(channel));
    EXPECT_TRUE(CallOnce(*stub, Request()).ok());
  }

  TempDirectory directory_;
  ServerProcess server_;
  const int port_ = UnusedPort();
  std::unique_ptr<Process> proxy_;
};

TEST_F(ProxyTest, ABareChannelHandsItTheName) {
  ExpectAnswer(
      grpc::CreateChannel(Named(), grpc::InsecureChannelCredentials()));
  EXPECT_TRUE(ProxyWasAskedFor(Named()));
}

TEST_F(ProxyTest, MeshHandsItTheName) {
  ExpectAnswer(CreateChannel(Named()));
  EXPECT_TRUE(ProxyWasAskedFor(Named()));
}

// The name server does not answer: only the proxy has to know the name.
TEST_F(ProxyTest, ThisProcessNeedNotKnowTheName) {
  v1::Config config;
  v1::Dns& dns = *TheService(&config).mutable_dns();
  dns.set_name("localhost");
  const std::string& address = server_.address();
  dns.set_port(std::stoi(address.substr(address.rfind(':') + 1)));
  dns.add_servers(absl::StrCat("127.0.0.1:", UnusedPort()));
  const auto mesh = MakeMesh(config);
  EXPECT_TRUE(CallOnce(*StubOf(*mesh), Request()).ok());
  EXPECT_TRUE(ProxyWasAskedFor(Named()));
}

TEST_F(ProxyTest, WhatNoProxyNamesGoesDirectly) {
  for (const char* exempt : {"localhost", ".svc,.cluster.local,host"}) {
    setenv("no_proxy", exempt, 1);
    ExpectAnswer(CreateChannel(Named()));
  }
  EXPECT_FALSE(ProxyWasAskedFor("")) << "neither for the name nor an address";
}

}  // namespace
}  // namespace mesh::test
