#include "mesh/base/random.h"

#include <algorithm>
#include <set>
#include <thread>

#include "gtest/gtest.h"

namespace mesh::base {
namespace {

// The reference implementation's first numbers for this seed.
TEST(RandomTest, IsSplitMix64OnEveryMachine) {
  Random random(1234567);
  EXPECT_EQ(random(), 6457827717110365317u);
  EXPECT_EQ(random(), 3203168211198807973u);
  EXPECT_EQ(random(), 9817491932198370423u);
  EXPECT_EQ(random(), 4593380528125082431u);
  EXPECT_EQ(random(), 16408922859458223821u);
}

TEST(RandomTest, GoesOnFromItsState) {
  Random random(7);
  random();
  Random copy(random.state());
  EXPECT_EQ(random(), copy());
}

TEST(RandomTest, BelowAndUnitStayInRangeAndReachAllOfIt) {
  Random random(1);
  std::set<uint32_t> seen;
  double least = 1;
  double most = 0;
  for (int i = 0; i < 10000; ++i) {
    const uint32_t below = random.Below(10);
    EXPECT_LT(below, 10);
    seen.insert(below);
    const double unit = random.Unit();
    EXPECT_GE(unit, 0);
    EXPECT_LT(unit, 1);
    least = std::min(least, unit);
    most = std::max(most, unit);
  }
  EXPECT_EQ(seen.size(), 10);
  EXPECT_LT(least, 0.01);
  EXPECT_GT(most, 0.99);
  EXPECT_EQ(random.Below(1), 0);
  EXPECT_LT(random.Below(~0u), ~0u);
}

TEST(RandomTest, EachThreadHasItsOwn) {
  const uint64_t here = ThreadRandom()();
  uint64_t there = here;
  std::thread([&] { there = ThreadRandom()(); }).join();
  EXPECT_NE(here, there);
}

}  // namespace
}  // namespace mesh::base
