#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/balancing/balancing_test_util.h"

namespace mesh::balancing {
namespace {

using cluster::LiveEndpoint;
using testing::AnyOf;
using testing::Each;
using Kind = PickResult::Kind;

class LeastRequestTest : public testing::Test {
 protected:
  Subject subject_{options::BalancingPolicy::kLeastRequest};
};

TEST_F(LeastRequestTest, IdleEndpointsGetEvenShares) {
  const std::vector<Member> members = MakeMembers(5);
  subject_.Update(members);
  for (int share : subject_.Shares(members, 10000)) {
    EXPECT_THAT(share, IsShare(0.2, 10000));
  }
}

TEST_F(LeastRequestTest, ALoadedEndpointIsUsedOnlyAgainstOneMoreLoaded) {
  const std::vector<Member> members = MakeMembers(3);
  subject_.Update(members);
  members[1].live->Acquire();
  members[2].live->Acquire();
  members[2].live->Acquire();
  // Pairs (0,1), (0,2), (1,2) come up equally often.
  const std::vector<int> shares = subject_.Shares(members, 9000);
  EXPECT_THAT(shares[0], IsShare(2.0 / 3, 9000));
  EXPECT_THAT(shares[1], IsShare(1.0 / 3, 9000));
  EXPECT_EQ(shares[2], 0);
}

// Endpoint 0 answers 20 times slower than the other two, under a load that
// keeps a few calls in flight at each.
TEST_F(LeastRequestTest, ASlowEndpointGetsAsLittleAsItAnswers) {
  const std::vector<Member> members = MakeMembers(3);
  subject_.Update(members);
  // One call begins each tick; at most 6 are in flight at a healthy endpoint.
  std::multimap<int, LiveEndpoint*> ends;
  int at_slow = 0;
  const int kCalls = 20000;
  for (int tick = 0; tick < kCalls; ++tick) {
    while (!ends.empty() && ends.begin()->first <= tick) {
      ends.begin()->second->Release();
      ends.erase(ends.begin());
    }
    const PickResult result = subject_.Pick();
    ASSERT_EQ(result.kind, Kind::kUse);
    const bool slow = result.endpoint == members[0].live.get();
    at_slow += slow;
    ends.emplace(tick + (slow ? 200 : 10), result.endpoint);
  }
  EXPECT_LE(at_slow, kCalls * 0.05) << "a third of it by round robin";
  EXPECT_GE(at_slow, kCalls / 200) << "but it is not starved";
}

TEST_F(LeastRequestTest, TheMostLoadedOfManyIsHardlyWorseThanTheMean) {
  const std::vector<Member> members = MakeMembers(1000);
  subject_.Update(members);
  for (int i = 0; i < 10000; ++i) subject_.Pick();
  int64_t most = 0;
  for (const Member& member : members) {
    most = std::max(most, member.live->in_flight());
  }
  // Mitzenmacher: the mean plus log log n / log 2 + O(1); by one random choice
  // it would be about 22.
  EXPECT_LE(most, 13);
}

TEST_F(LeastRequestTest, WithWeightsTheLoadForTheWeightIsCompared) {
  const std::vector<Member> members = MakeMembers({1, 4});
  subject_.Update(members);
  for (int i = 0; i < 1000; ++i) subject_.Pick();
  EXPECT_NEAR(members[0].live->in_flight(), 200, 1);
  EXPECT_NEAR(members[1].live->in_flight(), 800, 1);
}

TEST_F(LeastRequestTest, AnEndpointWithAlmostAllTheWeightIsStillCompared) {
  const std::vector<Member> members = MakeMembers({1000000, 1, 1});
  subject_.Update(members);
  for (int i = 0; i < 5; ++i) members[0].live->Acquire();
  for (int i = 0; i < 1000; ++i) subject_.Pick();
  EXPECT_LE(members[1].live->in_flight() + members[2].live->in_flight(), 3);
  for (int i = 0; i < 10'000'000; ++i) members[0].live->Acquire();
  EXPECT_THAT(std::vector<const LiveEndpoint*>(
                  {subject_.Pick().endpoint, subject_.Pick().endpoint}),
              Each(AnyOf(members[1].live.get(), members[2].live.get())));
}

TEST_F(LeastRequestTest, ATraceSaysWhatWasCompared) {
  const std::vector<Member> members = MakeMembers(2);
  subject_.Update(members);
  members[0].live->Acquire();
  PickTrace trace;
  const PickResult result = subject_.Pick({}, false, &trace);
  EXPECT_EQ(result.endpoint, members[1].live.get());
  ASSERT_EQ(trace.considered, 2);
  EXPECT_NE(trace.candidates[0].endpoint, trace.candidates[1].endpoint);
  for (const PickTrace::Candidate& candidate : trace.candidates) {
    EXPECT_EQ(candidate.in_flight,
              candidate.endpoint == members[0].live.get() ? 1 : 0);
  }
  EXPECT_FALSE(trace.preferred_untried);
}

TEST_F(LeastRequestTest, ATraceSaysThatATriedEndpointWasPassedOver) {
  for (int n : {2, 10}) {
    const std::vector<Member> members = MakeMembers(n);
    subject_.Update(members);
    bool said = false;
    for (int i = 0; i < 100; ++i) {
      PickTrace trace;
      const PickResult result =
          subject_.Pick({members[0].live.get()}, false, &trace);
      result.endpoint->Release();
      ASSERT_GE(trace.considered, 1);
      said |= trace.preferred_untried;
    }
    EXPECT_TRUE(said) << n;
  }
}

}  // namespace
}  // namespace mesh::balancing
