#include "benchmarks/identity/rotation.h"

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::benchmarks {
namespace {

constexpr size_t kFilesDeck = 13, kAgentDeck = 9;

TEST(StepsOfTest, HaveEachKindOnceInADeck) {
  std::mt19937_64 random(1);
  const std::vector<StepKind> files = StepsOf(Arm::kFiles, kFilesDeck, random);
  EXPECT_EQ(std::set<StepKind>(files.begin(), files.end()).size(), kFilesDeck);
  const std::vector<StepKind> agent = StepsOf(Arm::kAgent, kAgentDeck, random);
  EXPECT_EQ(std::set<StepKind>(agent.begin(), agent.end()).size(), kAgentDeck);
  for (const StepKind kind : {StepKind::kTorn, StepKind::kBundleCut,
                              StepKind::kSwap, StepKind::kReplace}) {
    EXPECT_THAT(agent, testing::Not(testing::Contains(kind)));
  }
}

TEST(StepsOfTest, KeepTheStepsOfAnAuthorityTogether) {
  std::mt19937_64 random(1);
  const std::vector<StepKind> steps = StepsOf(Arm::kFiles, 500, random);
  ASSERT_EQ(steps.size(), 500u);
  int authorities = 0;
  for (size_t i = 0; i + 2 < steps.size(); ++i) {
    if (steps[i] != StepKind::kAdd) continue;
    ++authorities;
    EXPECT_EQ(steps[i + 1], StepKind::kAddedLeaf);
    EXPECT_EQ(steps[i + 2], StepKind::kWithdraw);
  }
  EXPECT_GT(authorities, 30);
}

TEST(StepsOfTest, AreTheSameForTheSameSeed) {
  std::mt19937_64 a(7), b(7), c(8);
  const std::vector<StepKind> steps = StepsOf(Arm::kFiles, 100, a);
  EXPECT_EQ(steps, StepsOf(Arm::kFiles, 100, b));
  EXPECT_NE(steps, StepsOf(Arm::kFiles, 100, c));
}

}  // namespace
}  // namespace mesh::benchmarks
