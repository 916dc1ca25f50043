#include "mesh/config/target.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/cluster/endpoint.h"

namespace mesh::config {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> AddressesOf(const options::TargetOptions& options) {
  std::vector<std::string> addresses;
  const auto* const set = std::get_if<cluster::EndpointSetPtr>(&options.source);
  if (set == nullptr) return {"no addresses"};
  for (const cluster::Endpoint& endpoint : (*set)->endpoints) {
    addresses.push_back(endpoint.address);
  }
  return addresses;
}

TEST(TargetTest, OneAddressIsASetOfOne) {
  const auto options = ParseTarget("10.0.0.1:80");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->authority, "10.0.0.1:80");
  EXPECT_THAT(AddressesOf(*options), ElementsAre("10.0.0.1:80"));
}

TEST(TargetTest, AddressesKeepTheirOrderAndTheFirstOneIsTheAuthority) {
  const auto options = ParseTarget("10.0.0.2:80,[2001:db8::1]:443,unix:/run/s");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->authority, "10.0.0.2:80");
  EXPECT_THAT(AddressesOf(*options),
              ElementsAre("10.0.0.2:80", "[2001:db8::1]:443", "unix:/run/s"));
}

TEST(TargetTest, AnAddressGivenTwiceCountsOnceHoweverItIsSpelled) {
  const auto options = ParseTarget("[::1]:80,10.0.0.1:80,[0:0::1]:80");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_THAT(AddressesOf(*options), ElementsAre("[::1]:80", "10.0.0.1:80"));
}

TEST(TargetTest, ANameIsLookedUp) {
  for (const char* target :
       {"dns:///cart.example:8443", "dns:cart.example:8443"}) {
    const auto options = ParseTarget(target);
    ASSERT_TRUE(options.ok()) << options.status();
    EXPECT_EQ(options->authority, "cart.example:8443");
    const auto* const dns = std::get_if<options::DnsOptions>(&options->source);
    ASSERT_NE(dns, nullptr);
    EXPECT_EQ(dns->name, "cart.example");
    EXPECT_EQ(dns->port, 8443);
    EXPECT_TRUE(dns->servers.empty());
  }
}

TEST(TargetTest, AWholeTargetMayBeAName) {
  struct {
    const char* target;
    const char* authority;
    const char* name;
    int port;
  } const cases[] = {
      {"localhost:7001", "localhost:7001", "localhost", 7001},
      {"cart.example:80", "cart.example:80", "cart.example", 80},
      {"cart.example", "cart.example", "cart.example", 443},
      {"cart.example:https", "cart.example:https", "cart.example", 443},
      {"dns:///cart", "cart", "cart", 443},
      {"dns:cart", "cart", "cart", 443},
      {"dns:/cart:http", "cart:http", "cart", 80},
      {"dns:///cart.example.:80", "cart.example.:80", "cart.example.", 80},
  };
  for (const auto& one : cases) {
    const auto options = ParseTarget(one.target);
    ASSERT_TRUE(options.ok()) << options.status();
    EXPECT_EQ(options->authority, one.authority);
    const auto* const dns = std::get_if<options::DnsOptions>(&options->source);
    ASSERT_NE(dns, nullptr) << one.target;
    EXPECT_EQ(dns->name, one.name);
    EXPECT_EQ(dns->port, one.port);
  }
}

TEST(TargetTest, ANameServerIsTheAuthorityOfAUri) {
  for (const auto& [target, server] :
       std::vector<std::pair<std::string, std::string>>{
           {"dns://10.0.0.53/cart:80", "10.0.0.53:53"},
           {"dns://[::1]:5353/cart:80", "[::1]:5353"}}) {
    const auto options = ParseTarget(target);
    ASSERT_TRUE(options.ok()) << options.status();
    EXPECT_EQ(options->authority, "cart:80");
    const auto* const dns = std::get_if<options::DnsOptions>(&options->source);
    ASSERT_NE(dns, nullptr);
    EXPECT_THAT(dns->servers, ElementsAre(server));
  }
}

TEST(TargetTest, ANameMayEndInADigit) {
  for (const char* target : {"db1:80", "dns:///cart.prod2:80", "db-1"}) {
    const auto options = ParseTarget(target);
    ASSERT_TRUE(options.ok()) << options.status();
    EXPECT_TRUE(std::holds_alternative<options::DnsOptions>(options->source));
  }
  EXPECT_FALSE(ParseTarget("10.0.0.7.8:80").ok());
}

TEST(TargetTest, AnAddressStandsForItselfAndHasThePortOfTls) {
  struct {
    const char* target;
    const char* authority;
    const char* address;
  } const cases[] = {
      {"10.0.0.1", "10.0.0.1", "10.0.0.1:443"},
      {"::1", "::1", "[::1]:443"},
      {"[::1]", "[::1]", "[::1]:443"},
      {"dns:///10.0.0.1:80", "10.0.0.1:80", "10.0.0.1:80"},
      {"dns:///[::1]:80", "[::1]:80", "[::1]:80"},
  };
  for (const auto& one : cases) {
    const auto options = ParseTarget(one.target);
    ASSERT_TRUE(options.ok()) << options.status();
    EXPECT_EQ(options->authority, one.authority);
    EXPECT_THAT(AddressesOf(*options), ElementsAre(one.address));
  }
}

TEST(TargetTest, TheSchemesOfAddressesAreThoseOfGrpc) {
  struct {
    const char* target;
    const char* authority;
    std::vector<std::string> addresses;
  } const cases[] = {
      {"ipv4:10.0.0.1:80", "10.0.0.1:80", {"10.0.0.1:80"}},
      {"ipv4:///10.0.0.1:80", "10.0.0.1:80", {"10.0.0.1:80"}},
      {"ipv4:10.0.0.1:80,,10.0.0.2:80",
       "10.0.0.1:80,,10.0.0.2:80",
       {"10.0.0.1:80", "10.0.0.2:80"}},
      {"ipv6:[::1]:80,[0::1]:80", "[::1]:80,[0::1]:80", {"[::1]:80"}},
      {"unix:run/cart.sock", "localhost", {"unix:run/cart.sock"}},
      {"unix:/run/cart.sock", "localhost", {"unix:/run/cart.sock"}},
      {"unix:///run/cart.sock", "localhost", {"unix:/run/cart.sock"}},
      {"unix-abstract:cart", "localhost", {"unix-abstract:cart"}},
      {"unix:/a,/b", "localhost", {"unix:/a", "unix:/b"}},
      {"unix:/a,unix:/b", "localhost", {"unix:/a", "unix:/b"}},
  };
  for (const auto& one : cases) {
    const auto options = ParseTarget(one.target);
    ASSERT_TRUE(options.ok()) << options.status();
    EXPECT_EQ(options->authority, one.authority);
    EXPECT_EQ(AddressesOf(*options), one.addresses) << one.target;
  }
}

TEST(TargetTest, ASchemeThatMeshDoesNotKnowIsAnErrorThatSaysWhichItKnows) {
  for (const char* target :
       {"xds:///cart", "xds:7001", "http://cart:80", "google-c2p:///cart",
        "vsock:2:80", "cart:name", "DNS:///cart:80"}) {
    const auto options = ParseTarget(target);
    ASSERT_FALSE(options.ok()) << target;
    EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(
        std::string(options.status().message()),
        AllOf(HasSubstr(target), HasSubstr("dns:///host:port, ipv4:, ipv6:, "
                                           "unix: and unix-abstract:")));
  }
}

TEST(TargetTest, AnAddressThatIsNoneOfItsSchemeIsRefused) {
  for (const char* target :
       {"ipv4:", "ipv4:10.0.0.1", "ipv4:[::1]:80", "ipv6:10.0.0.1:80",
        "ipv6:[::1]", "ipv4://10.0.0.1:80", "ipv4:cart:80",
        "unix:", "unix://host/path", "unix-abstract:", "unix:two words"}) {
    const auto options = ParseTarget(target);
    ASSERT_FALSE(options.ok()) << target;
    EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(options.status().message()), HasSubstr(target));
  }
  EXPECT_FALSE(ParseTarget("unix:" + std::string(108, 'a')).ok());
  EXPECT_TRUE(ParseTarget("unix:" + std::string(107, 'a')).ok());
}

TEST(TargetTest, ABadNameIsRefusedAndTheFormIsSaid) {
  for (const char* target :
       {"dns:///cart:", "dns:///cart:0", "dns:///cart:65536", "dns:///cart:ftp",
        "dns:///cart:-1", "dns:///:80", "dns:///",
        "dns:", "dns:///two words:80", "dns:////cart:80", "dns://cart:80",
        "dns://name.server/cart:80", "dns:///10.0.0.256:80"}) {
    const auto options = ParseTarget(target);
    ASSERT_FALSE(options.ok()) << target;
    EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(options.status().message()),
                AllOf(HasSubstr(target), HasSubstr("dns:///host:port")));
  }
}

TEST(TargetTest, ABadAddressIsRefusedAndTheTargetIsNamed) {
  for (const char* target :
       {"", ",", "10.0.0.1:80,", ",10.0.0.1:80", "10.0.0.1:0", "10.0.0.1:65536",
        "10.0.0.256:80", "10.0.0.1:80 ,10.0.0.2:80", "10.0.0.1:80,cart:80",
        "10.0.0.1:80,10.0.0.2", "[::1:80"}) {
    const auto options = ParseTarget(target);
    ASSERT_FALSE(options.ok()) << target;
    EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(options.status().message()),
                AllOf(HasSubstr(target), HasSubstr("dns:///host:port")));
  }
}

}  // namespace
}  // namespace mesh::config
