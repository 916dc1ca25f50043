#include "mesh/config/loader.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {
namespace {

const ServiceOptions& OnlyService(const absl::StatusOr<MeshOptions>& options) {
  static const auto* const none = new ServiceOptions;
  EXPECT_TRUE(options.ok()) << options.status();
  if (!options.ok()) return *none;
  EXPECT_EQ(options->services.size(), 1u);
  return *options->services.begin()->second;
}

TEST(LoaderTest, FillsInEveryDefaultOfAServiceWithOnlyAnAddress) {
  const auto options = LoadText(R"(
services:
  cart:
    endpoints: ["10.0.0.1:80"]
)",
                                "mesh.yaml");
  const ServiceOptions& cart = OnlyService(options);
  EXPECT_EQ(cart.name, "cart");
  EXPECT_EQ(cart.authority, "cart");
  EXPECT_EQ(cart.balancing, BalancingPolicy::kLeastRequest);
  EXPECT_EQ(cart.connections, ConnectionOptions());
  EXPECT_FALSE(cart.tls.has_value());
  const auto& set = std::get<cluster::EndpointSetPtr>(cart.source);
  ASSERT_EQ(set->endpoints.size(), 1u);
  EXPECT_EQ(set->endpoints[0].address, "10.0.0.1:80");
  EXPECT_EQ(set->endpoints[0].weight, 1u);
  EXPECT_FALSE(cart.policy.idempotent.has_value());
  EXPECT_EQ(cart.policy.timeout, absl::InfiniteDuration());
  EXPECT_EQ(cart.policy.retry.max_attempts, 3);
  EXPECT_FALSE(cart.AllIdempotent());
}

TEST(LoaderTest, ReportsAValueOutOfItsRangeWithItsPosition) {
  const auto options = LoadText(
      "services:\n"
      "  cart:\n"
      "    endpoints: ['10.0.0.1:80']\n"
      "    policy:\n"
      "      retry:\n"
      "        max_attempts: 0\n",
      "mesh.yaml");
  EXPECT_EQ(options.status().message(),
            "mesh.yaml:6:23: services.cart.policy.retry.max_attempts must be "
            "in 1..10, is 0");
}

TEST(LoaderTest, NamesTheNearestFieldOfAnUnknownOne) {
  const auto options = LoadText(
      "services:\n"
      "  cart:\n"
      "    endpoints: []\n"
      "    policy: {retry: {max_atempts: 2}}\n",
      "mesh.yaml");
  EXPECT_EQ(options.status().message(),
            "mesh.yaml:4:22: unknown field \"max_atempts\" in "
            "services.cart.policy.retry, did you mean \"max_attempts\"?");
}

}  // namespace
}  // namespace mesh::config
