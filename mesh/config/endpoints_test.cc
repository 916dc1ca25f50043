#include <string>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/config/address.h"
#include "mesh/config/loader.h"
#include "mesh/config/loader_test_util.h"

namespace mesh::config {
namespace {

using testing::HasSubstr;

TEST(ParseEndpointsTest, ReadsYamlAndJson) {
  for (const char* text :
       {"endpoints:\n- 10.0.0.1:80\n- {address: 10.0.0.2:80, weight: 3}\n",
        R"({"endpoints": ["10.0.0.1:80",
            {"address": "10.0.0.2:80", "weight": 3}]})"}) {
    const auto set = ParseEndpoints(text, "endpoints.yaml");
    ASSERT_TRUE(set.ok()) << set.status();
    ASSERT_EQ((*set)->endpoints.size(), 2u);
    EXPECT_EQ((*set)->endpoints[0].address, "10.0.0.1:80");
    EXPECT_EQ((*set)->endpoints[1].weight, 3u);
  }
}

TEST(ParseEndpointsTest, TellsAnEmptyListFromAMissingOne) {
  const auto set = ParseEndpoints("endpoints: []", "e.yaml");
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_TRUE((*set)->endpoints.empty());
  EXPECT_EQ(ParseEndpoints("endpoints:", "e.yaml").status().message(),
            "e.yaml:1:1: endpoints is missing.");
  EXPECT_EQ(ParseEndpoints("{}", "e.yaml").status().message(),
            "e.yaml:1:1: endpoints is missing.");
  EXPECT_EQ(ParseEndpoints("", "e.yaml").status().message(),
            "e.yaml: the file is empty.");
}

TEST(ParseEndpointsTest, ReportsEverythingWithItsPosition) {
  EXPECT_EQ(
      MessageOf(ParseEndpoints("endpoints:\n"
                               "- 10.0.0.1\n"
                               "- {address: 10.0.0.1:80, wieght: 1}\n"
                               "- {address: 10.0.0.1:80, weight: 0}\n",
                               "e.yaml")
                    .status()),
      "e.yaml:2:3: endpoints[0].address: \"10.0.0.1\" has no port; an address "
      "is \"IPv4:port\", \"[IPv6]:port\" or \"unix:/path\".\n"
      "e.yaml:3:26: endpoints[1] has no field \"wieght\"; did you mean "
      "\"weight\"?\n"
      "e.yaml:4:13: endpoints[2].address: \"10.0.0.1:80\" is the address of "
      "endpoints[1] too.\n"
      "e.yaml:4:34: endpoints[2].weight must be in 1..1000000, but is 0.");
}

// --- Addresses ---

TEST(AddressTest, TakesLiteralAddressesWithAPort) {
  for (const char* good :
       {"10.0.0.1:80", "127.0.0.1:1", "255.255.255.255:65535", "[::1]:80",
        "[2001:db8::1]:443", "[::ffff:10.0.0.1]:80", "unix:/run/a.sock"}) {
    EXPECT_TRUE(ValidateAddress(good).ok()) << good;
  }
}

TEST(AddressTest, RefusesAllElse) {
  for (const char* bad : {"",
                          ":",
                          ":80",
                          "10.0.0.1",
                          "10.0.0.1:",
                          "10.0.0.1:0",
                          "10.0.0.1:00080",
                          "10.0.0.1:65536",
                          "10.0.0.1:99999999999",
                          "10.0.0.1:-1",
                          "10.0.0.1:+1",
                          "10.0.0.1:8o",
                          "10.0.0:80",
                          "10.0.0.256:80",
                          "::1",
                          "[::1]",
                          "[::1]:",
                          "::1:80",
                          "[]:80",
                          "[10.0.0.1]:80",
                          "[::1%eth0]:80",
                          "cart:80",
                          "cart.prod:80",
                          "10.0.0.1:80 ",
                          " 10.0.0.1:80",
                          "10.0.0.1:80\n",
                          "unix:",
                          "unix:/",
                          "unix:relative",
                          "dns:///a:80",
                          "ipv4:10.0.0.1:80",
                          "http://10.0.0.1:80"}) {
    EXPECT_FALSE(ValidateAddress(bad).ok()) << bad;
  }
  EXPECT_FALSE(ValidateAddress("unix:/" + std::string(107, 'a')).ok());
  EXPECT_TRUE(ValidateAddress("unix:/" + std::string(106, 'a')).ok());
  EXPECT_FALSE(ValidateAddress(absl::string_view("10.0.0.1\0:80", 12)).ok());
  EXPECT_THAT(std::string(ValidateAddress("2001:db8::1:80").message()),
              HasSubstr("has no port"));
}

TEST(AddressTest, SaysWhatWouldDo) {
  const auto error = [](absl::string_view address) {
    return std::string(ValidateAddress(address).message());
  };
  const std::string forms =
      "; an address is \"IPv4:port\", \"[IPv6]:port\" or \"unix:/path\"";
  for (const char* name : {"db1:80", "cart.prod2:80", "1a:80", "db1.:0"}) {
    EXPECT_THAT(error(name), HasSubstr("use \"dns\" for a name")) << name;
  }
  for (const char* mistyped : {"10.0.0.256:80", "10.0.0:80", "7:80"}) {
    EXPECT_THAT(error(mistyped), HasSubstr("has no IP address" + forms));
  }
  EXPECT_EQ(error("unix-abstract:a"),
            "\"unix-abstract:a\" has no IP address" + forms);
  EXPECT_EQ(error("[::1]"), "\"[::1]\" has no port" + forms);
  EXPECT_EQ(error("[]"), "\"[]\" has no port" + forms);
  EXPECT_EQ(error("[::1"), "\"[::1\" has no IP address" + forms);
}

}  // namespace
}  // namespace mesh::config
