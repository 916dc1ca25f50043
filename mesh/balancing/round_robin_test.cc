#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/balancing/balancing_test_util.h"

namespace mesh::balancing {
namespace {

using cluster::LiveEndpoint;
using testing::Each;

class RoundRobinTest : public testing::Test {
 protected:
  Subject subject_{options::BalancingPolicy::kRoundRobin};
};

TEST_F(RoundRobinTest, EveryEndpointComesUpOnceARound) {
  const std::vector<Member> members = MakeMembers(7);
  subject_.Update(members);
  std::vector<const LiveEndpoint*> first;
  for (int i = 0; i < 7; ++i) first.push_back(subject_.PickAndRelease());
  EXPECT_EQ(std::set<const LiveEndpoint*>(first.begin(), first.end()).size(),
            7u);
  for (int i = 0; i < 70; ++i) {
    ASSERT_EQ(subject_.PickAndRelease(), first[i % 7]);
  }
}

TEST_F(RoundRobinTest, TheStartIsRandom) {
  const std::vector<Member> members = MakeMembers(100);
  std::set<const LiveEndpoint*> starts;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Subject subject(options::BalancingPolicy::kRoundRobin, seed);
    subject.Update(members);
    starts.insert(subject.PickAndRelease());
  }
  EXPECT_GT(starts.size(), 30u);
}

TEST_F(RoundRobinTest, TheStartIsRandomAmongTwo) {
  const std::vector<Member> members = MakeMembers(2);
  int first = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Subject subject(options::BalancingPolicy::kRoundRobin, seed);
    subject.Update(members);
    first += subject.PickAndRelease() == members[0].live.get();
  }
  EXPECT_THAT(first, IsShare(0.5, 200));
}

TEST_F(RoundRobinTest, AnUpdateDoesNotStartTheRoundAgain) {
  const std::vector<Member> members = MakeMembers(10);
  std::vector<int> counts(10);
  for (int i = 0; i < 1000; ++i) {
    subject_.Update(members);
    const LiveEndpoint* const picked = subject_.PickAndRelease();
    ++counts[std::stoi(picked->endpoint().address)];
  }
  EXPECT_THAT(counts, Each(100));
}

TEST_F(RoundRobinTest, WeightedTurnsAreExactAndEvenlySpread) {
  const std::vector<uint32_t> weights = {5, 1, 1, 3};
  const std::vector<Member> members = MakeMembers(weights);
  subject_.Update(members);
  std::vector<int> counts(4);
  std::vector<int> last(4, -1);
  std::vector<int> longest_gap(4);
  for (int turn = 0; turn < 10000; ++turn) {
    const int i = std::stoi(subject_.PickAndRelease()->endpoint().address);
    ++counts[i];
    if (last[i] >= 0) {
      longest_gap[i] = std::max(longest_gap[i], turn - last[i]);
    }
    last[i] = turn;
    for (int k = 0; k < 4; ++k) {
      ASSERT_NEAR(counts[k], (turn + 1) * weights[k] / 10.0, 3) << turn;
    }
  }
  // A share of 1/2 comes up at least every third turn, one of 1/10 about every
  // tenth.
  EXPECT_LE(longest_gap[0], 3);
  EXPECT_LE(longest_gap[1], 21);
  EXPECT_LE(longest_gap[3], 8);
}

TEST_F(RoundRobinTest, RatiosOfWeightsMayBeExtreme) {
  std::vector<uint32_t> weights(1000, 1);
  weights[500] = 1000000;
  const std::vector<Member> members = MakeMembers(weights);
  subject_.Update(members);
  const std::vector<int> shares = subject_.Shares(members, 100000);
  EXPECT_NEAR(shares[500], 100000 * (1000000.0 / 1000999), 5);
}

}  // namespace
}  // namespace mesh::balancing
