#include "mesh/cluster/live_endpoint.h"

#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "mesh/cluster/endpoint_view.h"

namespace mesh::cluster {
namespace {

Endpoint At(const char* address) {
  Endpoint endpoint;
  endpoint.address = address;
  return endpoint;
}

TEST(EndpointViewTest, AViewByDefaultIsOfNoEndpoint) {
  const EndpointView view;
  EXPECT_FALSE(view);
  EXPECT_EQ(view.address(), "");
  EXPECT_FALSE(view.available());
}

TEST(EndpointViewTest, AViewHoldsTheStateOfItsMoment) {
  LiveEndpoint live(At("10.0.0.1:80"));
  live.set_readiness(Readiness::kReady);
  ASSERT_TRUE(live.Acquire());
  const EndpointView before = live.View();
  live.Release();
  live.set_health(Health::kRamping, 26);
  live.Close();
  const EndpointView after = live.View();

  EXPECT_TRUE(before);
  EXPECT_EQ(before.address(), "10.0.0.1:80");
  EXPECT_EQ(before.in_flight, 1);
  EXPECT_TRUE(before.available());
  EXPECT_FALSE(before.closed);

  EXPECT_EQ(after.in_flight, 0);
  EXPECT_EQ(after.readiness, Readiness::kReady);
  EXPECT_EQ(after.health, Health::kRamping);
  EXPECT_EQ(after.share, 26);
  EXPECT_FALSE(after.available());
  EXPECT_TRUE(after.closed);
  EXPECT_TRUE(after.SameEndpoint(before));
}

TEST(EndpointViewTest, EndpointsOfOneAddressAreToldApart) {
  LiveEndpoint one(At("10.0.0.1:80"));
  LiveEndpoint two(At("10.0.0.1:80"));
  EXPECT_FALSE(one.View().SameEndpoint(two.View()));
  EXPECT_TRUE(one.View().SameEndpoint(one.View()));
}

TEST(EndpointViewTest, AViewIsAvailableAsItsEndpointIs) {
  LiveEndpoint live(At("10.0.0.1:80"));
  for (Readiness readiness : {Readiness::kIdle, Readiness::kConnecting,
                              Readiness::kReady, Readiness::kFailed}) {
    for (Health health : {Health::kHealthy, Health::kSuspect, Health::kEjected,
                          Health::kProbing, Health::kRamping}) {
      for (uint32_t share : {0u, 1u, 254u, 255u}) {
        live.set_readiness(readiness);
        live.set_health(health, share);
        EXPECT_EQ(live.View().available(), live.available());
      }
    }
  }
}

TEST(LiveEndpointTest, ItsFirstDialCountsUntilItIsReady) {
  Endpoint description;
  description.priority = 3;
  LiveEndpoint endpoint(description);
  EXPECT_EQ(endpoint.priority(), 3);
  EXPECT_EQ(endpoint.first_dial(), 0);
  endpoint.NoteDial(10);
  endpoint.set_readiness(Readiness::kConnecting);
  endpoint.set_readiness(Readiness::kFailed);
  endpoint.NoteDial(20);
  EXPECT_EQ(endpoint.first_dial(), 10);
  endpoint.set_readiness(Readiness::kReady);
  EXPECT_EQ(endpoint.first_dial(), 0);
  endpoint.set_readiness(Readiness::kIdle);
  endpoint.NoteDial(30);
  EXPECT_EQ(endpoint.first_dial(), 30);
}

TEST(LiveEndpointTest, CountsNothingUntilItsFirstAttempt) {
  LiveEndpoint endpoint(At("10.0.0.1:80"));
  EXPECT_EQ(endpoint.counters().Attempts(), 0);
  EXPECT_EQ(endpoint.observations().ended, 0);
  endpoint.mutable_counters().CountEnd(absl::StatusCode::kOk, false);
  ++endpoint.mutable_observations().ended;
  EXPECT_EQ(endpoint.counters().Attempts(), 1);
  EXPECT_EQ(endpoint.counters().ended[0], 1);
  EXPECT_EQ(endpoint.observations().ended, 1);
  LiveEndpoint other(At("10.0.0.2:80"));
  EXPECT_EQ(other.counters().Attempts(), 0);
}

TEST(EndpointTest, WithoutDetailsIsAsWithEmptyOnes) {
  const Endpoint without = At("10.0.0.1:80");
  Endpoint empty = without;
  empty.details = std::make_shared<EndpointDetails>();
  EXPECT_EQ(empty, without);
  Endpoint zoned = without;
  auto details = std::make_shared<EndpointDetails>();
  details->locality.zone = "a";
  zoned.details = std::move(details);
  EXPECT_NE(zoned, without);
  EXPECT_EQ(zoned.locality().zone, "a");
  EXPECT_EQ(without.locality().zone, "");
  Endpoint copy = without;
  copy.details = std::make_shared<EndpointDetails>(*zoned.details);
  EXPECT_EQ(copy, zoned);
}

}  // namespace
}  // namespace mesh::cluster
