#include "mesh/cluster/load_shares.h"

#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::cluster {
namespace {

using testing::ElementsAre;

constexpr int kAhead = 32;

// All connected, `usable` of them in use.
PriorityState Of(uint32_t usable, uint32_t endpoints) {
  return {endpoints, endpoints, usable};
}

// In whole percent.
std::vector<int> Percents(const std::vector<PriorityState>& states,
                          int ahead = kAhead) {
  std::vector<int> result;
  uint32_t sum = 0;
  for (uint32_t share : SpreadLoad(states, ahead)) {
    sum += share;
    result.push_back(static_cast<int>(std::lround(100.0 * share / kWholeLoad)));
  }
  EXPECT_EQ(sum, kWholeLoad);
  return result;
}

TEST(LoadSharesTest, TheFirstPriorityCarriesAllWhileItIsWell) {
  EXPECT_THAT(Percents({Of(10, 10), Of(10, 10)}), ElementsAre(100, 0));
  EXPECT_THAT(Percents({Of(8, 10), Of(10, 10)}), ElementsAre(100, 0))
      << "1.4 x 8 of 10";
}

TEST(LoadSharesTest, FiveOfTenCarrySeventyPercent) {
  EXPECT_THAT(Percents({Of(5, 10), Of(10, 10)}), ElementsAre(70, 30));
  EXPECT_THAT(Percents({Of(5, 10), Of(1, 10), Of(10, 10)}),
              ElementsAre(70, 14, 16));
}

TEST(LoadSharesTest, OneThatComesBackAmongTenTakesFourteenPercent) {
  EXPECT_THAT(Percents({Of(0, 10), Of(10, 10)}), ElementsAre(0, 100));
  EXPECT_THAT(Percents({Of(1, 10), Of(10, 10)}), ElementsAre(14, 86));
}

TEST(LoadSharesTest, WantedIsTheLesserOfAheadAndTheEndpoints) {
  // 4 connections of 10 endpoints are all that is wanted.
  const PriorityState some{10, 4, 4};
  EXPECT_THAT(Percents({some, Of(10, 10)}, 4), ElementsAre(100, 0));
  EXPECT_THAT(Percents({some, Of(10, 10)}, 10), ElementsAre(56, 44));
  EXPECT_THAT(Percents({{10, 1, 1}, Of(10, 10)}, 0), ElementsAre(100, 0))
      << "one at least is wanted";
}

TEST(LoadSharesTest, WhatAllTogetherCannotCarryIsScaledUp) {
  EXPECT_THAT(Percents({Of(1, 10), Of(2, 10)}), ElementsAre(33, 67));
  EXPECT_THAT(Percents({Of(0, 10), Of(1, 10)}), ElementsAre(0, 100));
  EXPECT_THAT(Percents({Of(1, 7), Of(1, 7), Of(1, 7)}),
              ElementsAre(33, 33, 33));
}

TEST(LoadSharesTest, WhenNobodyIsUsableAllThatAreConnectedCarryAlike) {
  EXPECT_THAT(Percents({Of(0, 3), Of(0, 1)}), ElementsAre(75, 25));
  EXPECT_THAT(Percents({{5, 0, 0}, {5, 2, 0}}), ElementsAre(0, 100));
  EXPECT_THAT(Percents({{5, 0, 0}, {5, 0, 0}}), ElementsAre(100, 0));
}

TEST(LoadSharesTest, TheSumSaysWhetherTheLoadIsCarried) {
  const std::vector<PriorityState> well = {Of(5, 10), Of(3, 10)};
  EXPECT_GE(SumOfCapacities(well, kAhead), kWholeLoad);
  const std::vector<PriorityState> ill = {Of(5, 10), Of(2, 10)};
  EXPECT_LT(SumOfCapacities(ill, kAhead), kWholeLoad);
  const std::vector<PriorityState> just = {Of(5, 21), Of(5, 21), Of(5, 21)};
  EXPECT_GE(SumOfCapacities(just, kAhead), kWholeLoad) << "three thirds";
}

TEST(LoadSharesTest, DrawsFollowTheShares) {
  LoadShares shares({0, 3, 7});
  EXPECT_EQ(shares.PlaceOf(3), 1);
  EXPECT_EQ(shares.PlaceOf(4), 3);
  EXPECT_TRUE(shares.FirstCarriesAll());
  base::Random random(1);
  const uint64_t before = random.state();
  EXPECT_EQ(shares.Draw(&random), 0);
  EXPECT_EQ(random.state(), before) << "nothing is drawn without need";

  shares.Set(SpreadLoad({Of(5, 10), Of(1, 10), Of(10, 10)}, kAhead), 3);
  EXPECT_FALSE(shares.FirstCarriesAll());
  std::vector<int> counts(3);
  for (int i = 0; i < 100000; ++i) ++counts[shares.Draw(&random)];
  EXPECT_NEAR(counts[0], 70000, 700);
  EXPECT_NEAR(counts[1], 14000, 550);
  EXPECT_NEAR(counts[2], 16000, 600);
  EXPECT_NEAR(shares.share(1), 0.14 * kWholeLoad, 2);

  shares.Set(std::vector<uint32_t>{0, kWholeLoad, 0}, 0);
  EXPECT_EQ(shares.to_probe(), 0);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(shares.Draw(&random), 1);
}

}  // namespace
}  // namespace mesh::cluster
