#include "mesh/balancing/weight_table.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/base/random.h"

namespace mesh::balancing {
namespace {

TEST(WeightTableTest, FindsTheShareThatAFractionFallsIn) {
  const WeightTable table({1, 2, 1});
  const uint64_t quarter = uint64_t{1} << 62;
  EXPECT_EQ(table.Find(0), 0u);
  EXPECT_EQ(table.Find(quarter - 1), 0u);
  EXPECT_EQ(table.Find(quarter), 1u);
  EXPECT_EQ(table.Find(3 * quarter - 1), 1u);
  EXPECT_EQ(table.Find(3 * quarter), 2u);
  EXPECT_EQ(table.Find(~uint64_t{0}), 2u);
}

TEST(WeightTableTest, AgreesWithALinearSearch) {
  base::Random random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<uint32_t> weights(1 + random.Below(50));
    uint64_t sum = 0;
    for (uint32_t& weight : weights) {
      weight = 1 + random.Below(round % 2 == 0 ? 10 : 1000000);
      sum += weight;
    }
    const WeightTable table(weights);
    for (int i = 0; i < 200; ++i) {
      const uint64_t fraction = i == 0 ? ~uint64_t{0} : random();
      __extension__ using Uint128 = unsigned __int128;
      const auto point = static_cast<uint64_t>(Uint128{fraction} * sum >> 64);
      uint32_t expected = 0;
      for (uint64_t end = weights[0]; end <= point; end += weights[expected]) {
        ++expected;
      }
      ASSERT_EQ(table.Find(fraction), expected);
    }
  }
}

}  // namespace
}  // namespace mesh::balancing
