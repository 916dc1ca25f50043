#include "mesh/config/target.h"

#include <string>
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

std::vector<std::string> AddressesOf(const options::ServiceOptions& options) {
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
  EXPECT_EQ(options->name, "10.0.0.1:80");
  EXPECT_EQ(options->authority, "10.0.0.1:80");
  EXPECT_THAT(AddressesOf(*options), ElementsAre("10.0.0.1:80"));
  EXPECT_FALSE(options->tls.has_value());
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
    EXPECT_EQ(options->name, target);
    EXPECT_EQ(options->authority, "cart.example:8443");
    const auto* const dns = std::get_if<options::DnsOptions>(&options->source);
    ASSERT_NE(dns, nullptr);
    EXPECT_EQ(dns->name, "cart.example");
    EXPECT_EQ(dns->port, 8443);
    EXPECT_TRUE(dns->servers.empty());
  }
}

TEST(TargetTest, ABadNameIsRefusedAndTheFormIsSaid) {
  for (const char* target :
       {"dns:///cart", "dns:///cart:", "dns:///cart:0", "dns:///cart:65536",
        "dns:///cart:http", "dns:///cart:-1", "dns:///:80", "dns:///",
        "dns:", "dns:///two words:80", "dns:////cart:80"}) {
    const auto options = ParseTarget(target);
    ASSERT_FALSE(options.ok()) << target;
    EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(options.status().message()),
                AllOf(HasSubstr(target), HasSubstr("dns:///host:port")));
  }
}

TEST(TargetTest, ABadAddressIsRefusedAndTheTargetIsNamed) {
  for (const char* target :
       {"", ",", "10.0.0.1", "10.0.0.1:80,", ",10.0.0.1:80", "10.0.0.1:0",
        "10.0.0.1:65536", "10.0.0.256:80", "localhost:80", "cart.example:80",
        "10.0.0.1:80 ,10.0.0.2:80", "[::1:80", "unix:", "xds:///cart"}) {
    const auto options = ParseTarget(target);
    ASSERT_FALSE(options.ok()) << target;
    EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(options.status().message()),
                AllOf(HasSubstr(target), HasSubstr("dns:///host:port")));
  }
}

}  // namespace
}  // namespace mesh::config
