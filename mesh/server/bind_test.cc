#include "mesh/server/bind.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstring>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace mesh::server {
namespace {

int OptionOf(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof(value);
  getsockopt(fd, level, name, &value, &size);
  return value;
}

bool Connects(int family, int port) {
  const OwnedFd fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 v6 = {};
  v6.sin6_family = AF_INET6;
  v6.sin6_addr = in6addr_loopback;
  v6.sin6_port = htons(static_cast<uint16_t>(port));
  sockaddr_in v4 = {};
  v4.sin_family = AF_INET;
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  v4.sin_port = htons(static_cast<uint16_t>(port));
  return family == AF_INET6
             ? connect(fd.get(), reinterpret_cast<sockaddr*>(&v6),
                       sizeof(v6)) == 0
             : connect(fd.get(), reinterpret_cast<sockaddr*>(&v4),
                       sizeof(v4)) == 0;
}

TEST(BindTest, AWildcardOfEitherFamilyServesBoth) {
  for (const char* const address : {"0.0.0.0:0", "[::]:0"}) {
    absl::StatusOr<BoundPort> port = BindPort(address);
    ASSERT_TRUE(port.ok()) << port.status();
    EXPECT_GT(port->port, 0);
    EXPECT_FALSE(Connects(AF_INET, port->port)) << "not before it listens";
    ASSERT_TRUE(ListenOn(*port, std::nullopt).ok());
    EXPECT_TRUE(Connects(AF_INET, port->port)) << address;
    EXPECT_TRUE(Connects(AF_INET6, port->port)) << address;
  }
}

TEST(BindTest, AnAddressServesItselfOnly) {
  absl::StatusOr<BoundPort> port = BindPort("127.0.0.1:0");
  ASSERT_TRUE(port.ok()) << port.status();
  ASSERT_TRUE(ListenOn(*port, std::nullopt).ok());
  EXPECT_TRUE(Connects(AF_INET, port->port));
  EXPECT_FALSE(Connects(AF_INET6, port->port));
  port = BindPort("[::1]:0");
  ASSERT_TRUE(port.ok()) << port.status();
  ASSERT_TRUE(ListenOn(*port, std::nullopt).ok());
  EXPECT_FALSE(Connects(AF_INET, port->port));
  EXPECT_TRUE(Connects(AF_INET6, port->port));
}

TEST(BindTest, TwoMayHaveThePort) {
  absl::StatusOr<BoundPort> one = BindPort("127.0.0.1:0");
  ASSERT_TRUE(one.ok());
  absl::StatusOr<BoundPort> two =
      BindPort(absl::StrCat("127.0.0.1:", one->port));
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_EQ(two->port, one->port);
}

// A port that another program has, of IPv4 alone or of IPv6 alone.
class TakenPort {
 public:
  explicit TakenPort(const in_addr& host) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr = host;
    Bind(reinterpret_cast<sockaddr*>(&address), sizeof(address));
    port_ = ntohs(address.sin_port);
  }
  explicit TakenPort(const in6_addr& host) {
    sockaddr_in6 address = {};
    address.sin6_family = AF_INET6;
    address.sin6_addr = host;
    Bind(reinterpret_cast<sockaddr*>(&address), sizeof(address));
    port_ = ntohs(address.sin6_port);
  }
  int port() const { return port_; }

 private:
  void Bind(sockaddr* address, socklen_t size) {
    fd_.Reset(socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int one = 1;
    if (address->sa_family == AF_INET6) {
      setsockopt(fd_.get(), IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
    EXPECT_EQ(bind(fd_.get(), address, size), 0);
    EXPECT_EQ(getsockname(fd_.get(), address, &size), 0);
  }

  OwnedFd fd_;
  int port_ = 0;
};

TEST(BindTest, APortThatIsTakenIsUnavailable) {
  const TakenPort other(in_addr{htonl(INADDR_LOOPBACK)});
  const std::string text = absl::StrCat("127.0.0.1:", other.port());
  const absl::Status status = BindPort(text).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(),
            "cannot listen on \"" + text + "\": Address already in use.");
}

TEST(BindTest, AWildcardWhoseIpv4IsTakenIsUnavailable) {
  const TakenPort other(in_addr{htonl(INADDR_ANY)});
  for (const char* const host : {"0.0.0.0:", "[::]:"}) {
    const std::string text = absl::StrCat(host, other.port());
    const absl::Status status = BindPort(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << text;
    EXPECT_EQ(status.message(),
              "cannot listen on \"" + text + "\": Address already in use.");
  }
}

TEST(BindTest, AWildcardWhoseIpv6IsTakenServesIpv4) {
  const TakenPort other(in6addr_any);
  const absl::StatusOr<BoundPort> port =
      BindPort(absl::StrCat("0.0.0.0:", other.port()));
  ASSERT_TRUE(port.ok()) << port.status();
  ASSERT_TRUE(ListenOn(*port, std::nullopt).ok());
  EXPECT_TRUE(Connects(AF_INET, port->port));
  EXPECT_FALSE(Connects(AF_INET6, port->port));
}

TEST(BindTest, AcceptedSocketsInheritWhatTheyNeed) {
  absl::StatusOr<BoundPort> port = BindPort("127.0.0.1:0");
  ASSERT_TRUE(port.ok());
  ASSERT_TRUE(ListenOn(*port, absl::Seconds(7)).ok());
  ASSERT_TRUE(Connects(AF_INET, port->port));
  const OwnedFd accepted(accept(port->sockets.front().get(), nullptr, nullptr));
  ASSERT_TRUE(accepted.ok());
  EXPECT_EQ(OptionOf(accepted.get(), IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(OptionOf(accepted.get(), IPPROTO_TCP, TCP_USER_TIMEOUT), 7000);
}

TEST(BindTest, WhatIsNoAddressIsSaidSo) {
  for (const char* const bad :
       {"", "8443", "localhost:0", "10.0.0.1", "10.0.0.1:", "10.0.0.1:65536",
        "10.0.0.1:-1", "10.0.0.1:http", "::1:80", "[10.0.0.1]:80", "[::1]",
        "[::1]80", "[]:80", ":80", "10.0.0.256:80"}) {
    const absl::Status status = BindPort(bad).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(BindPort("localhost:0").status().message(),
            "\"localhost:0\" is no address to listen on. Write an IP address "
            "and a port, as \"0.0.0.0:8443\" or \"[::1]:0\".");
}

TEST(BindTest, PeersAreNamedAsGrpcNamesThem) {
  sockaddr_storage address = {};
  auto& v4 = reinterpret_cast<sockaddr_in&>(address);
  v4.sin_family = AF_INET;
  v4.sin_port = htons(99);
  inet_pton(AF_INET, "10.0.0.7", &v4.sin_addr);
  EXPECT_EQ(PeerName(address), "ipv4:10.0.0.7:99");

  address = {};
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(99);
  inet_pton(AF_INET6, "::1", &v6.sin6_addr);
  EXPECT_EQ(PeerName(address), "ipv6:%5B::1%5D:99");
  v6.sin6_scope_id = 3;
  EXPECT_EQ(PeerName(address), "ipv6:%5B::1%253%5D:99");
  inet_pton(AF_INET6, "::ffff:10.0.0.7", &v6.sin6_addr);
  EXPECT_EQ(PeerName(address), "ipv4:10.0.0.7:99");
  address.ss_family = AF_UNIX;
  EXPECT_EQ(PeerName(address), "");
}

}  // namespace
}  // namespace mesh::server
