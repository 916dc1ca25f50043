#include "mesh/resilience/health/pace.h"

#include <cmath>

#include "gtest/gtest.h"
#include "mesh/base/random.h"

namespace mesh::resilience {
namespace {

class MethodPaceTest : public testing::Test {
 protected:
  MethodPaceTest() {
    slowness_.factor = 3;
    slowness_.difference = 5 * kMillisecond;
  }
  void Note(const cluster::EndpointObservations& endpoint, int64_t latency) {
    pace_.Note(&endpoint, latency, slowness_);
  }

  cluster::EndpointObservations a_, b_, c_;
  Slowness slowness_;
  MethodPace pace_;
};

TEST(LogTest, IsInTwoHundredFiftySixthsOfPowersOfTwo) {
  EXPECT_EQ(LogOf(1), 8 * 256);
  EXPECT_EQ(LogOf(-1), 8 * 256);
  EXPECT_EQ(LogOf(256), 8 * 256);
  EXPECT_EQ(LogOf(1 << 20), 20 * 256);
  for (int64_t nanoseconds = 300; nanoseconds < int64_t{1} << 40;
       nanoseconds = nanoseconds * 7 / 5) {
    const auto exact = static_cast<double>(nanoseconds);
    EXPECT_NEAR(LogOf(nanoseconds) / 256.0, std::log2(exact), 0.1);
    EXPECT_NEAR(static_cast<double>(OfLog(LogOf(nanoseconds))), exact,
                0.005 * exact);
  }
}

TEST(SlownessTest, NeedsTheFactorAndTheDifference) {
  options::OutlierEjectionOptions options;
  options.latency.factor = 3;
  options.latency.min_difference = absl::Milliseconds(5);
  const Slowness slowness = Slowness::Of(options);
  EXPECT_EQ(slowness.Limit(1 * kMillisecond), 6 * kMillisecond);
  EXPECT_EQ(slowness.Limit(10 * kMillisecond), 30 * kMillisecond);
  EXPECT_EQ(slowness.Limit(0), kNever) << "unknown";
  options.latency.factor = 0;
  EXPECT_EQ(Slowness::Of(options).Limit(kMillisecond), kNever);
}

TEST_F(MethodPaceTest, KnowsARecentAnswerOfAnotherEndpoint) {
  EXPECT_EQ(pace_.Elsewhere(&a_), 0);
  Note(a_, 10 * kMillisecond);
  EXPECT_EQ(pace_.Elsewhere(&a_), 0) << "its own";
  EXPECT_EQ(pace_.Elsewhere(&b_), 10 * kMillisecond);
  Note(b_, 20 * kMillisecond);
  Note(b_, 30 * kMillisecond);
  EXPECT_EQ(pace_.Elsewhere(&a_), 30 * kMillisecond);
  EXPECT_EQ(pace_.Elsewhere(&b_), 10 * kMillisecond);
  EXPECT_EQ(pace_.Elsewhere(&c_), 30 * kMillisecond);
}

TEST_F(MethodPaceTest, ItsLimitIsThatOfTheQuickerOne) {
  EXPECT_EQ(pace_.limit(), kNever);
  Note(a_, 10 * kMillisecond);
  Note(b_, 100 * kMillisecond);
  EXPECT_EQ(pace_.limit(), 30 * kMillisecond);
}

TEST_F(MethodPaceTest, WhatIsUsualIsTheMedian) {
  EXPECT_EQ(pace_.usual(), 0);
  base::Random random(1);
  for (int k = 0; k < 500; ++k) {
    // One in ten takes a second.
    Note(a_, random.Below(10) == 0 ? kSecond : (9 + k % 3) * kMillisecond);
  }
  EXPECT_NEAR(static_cast<double>(pace_.usual()), 10.0 * kMillisecond,
              2.0 * kMillisecond);
}

TEST_F(MethodPaceTest, WhatWasUsualInAnEpochStays) {
  Note(a_, 10 * kMillisecond);
  EXPECT_NEAR(static_cast<double>(pace_.UsualIn(1)), 10.0 * kMillisecond,
              0.1 * kMillisecond);
  for (int k = 0; k < 200; ++k) Note(a_, kSecond);
  EXPECT_NEAR(static_cast<double>(pace_.UsualIn(1)), 10.0 * kMillisecond,
              0.1 * kMillisecond);
  EXPECT_GT(pace_.UsualIn(2), kSecond / 2);
  EXPECT_GT(pace_.UsualIn(1), kSecond / 2) << "the latest that was asked for";
}

TEST(SharedPacesTest, OneMethodHasOnePace) {
  SharedPaces paces;
  EXPECT_EQ(paces.Of("/shop.Cart/Get"), paces.Of("/shop.Cart/Get"));
  EXPECT_NE(paces.Of(""), nullptr);
  bool differ = false;
  for (const char* name : {"/a/One", "/a/Two", "/a/Three", "/a/Four"}) {
    differ |= paces.Of(name) != paces.Of("/a/Five");
  }
  EXPECT_TRUE(differ);
}

}  // namespace
}  // namespace mesh::resilience
