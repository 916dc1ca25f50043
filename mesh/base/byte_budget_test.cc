#include "mesh/base/byte_budget.h"

#include "gtest/gtest.h"

namespace mesh::base {
namespace {

TEST(ByteBudgetTest, GivesAllOrNothing) {
  ByteBudget budget(100);
  EXPECT_TRUE(budget.Take(60));
  EXPECT_FALSE(budget.Take(41));
  EXPECT_EQ(budget.used(), 60);
  EXPECT_TRUE(budget.Take(40));
  budget.Return(60);
  EXPECT_EQ(budget.used(), 40);
  EXPECT_FALSE(budget.Take(~uint64_t{0}));
}

TEST(ByteBudgetTest, MayBeGivenLessThanIsUsed) {
  ByteBudget budget(100);
  EXPECT_TRUE(budget.Take(60));
  budget.SetLimit(50);
  EXPECT_FALSE(budget.Take(1));
  budget.Return(20);
  EXPECT_TRUE(budget.Take(10));
  EXPECT_FALSE(budget.Take(1));
}

}  // namespace
}  // namespace mesh::base
