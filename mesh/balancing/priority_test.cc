// Services whose endpoints have several priorities.

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/balancing/balancing_test_util.h"
#include "mesh/cluster/load_shares.h"

namespace mesh::balancing {
namespace {

using cluster::Health;
using cluster::kWholeLoad;
using cluster::LiveEndpoint;
using cluster::LoadShares;
using cluster::Readiness;
using testing::ElementsAre;
using Kind = PickResult::Kind;

// Two endpoints of each of the priorities 2, 5 and 9.
class PriorityTest : public BalancingTest {
 protected:
  PriorityTest() {
    for (int i = 0; i < 6; ++i) {
      members_.push_back(MakeMember(std::to_string(i), 1, kPriorities[i / 2]));
    }
    subject_.Update(members_, shares_);
  }

  static constexpr uint32_t kPriorities[] = {2, 5, 9};
  static constexpr size_t kNoProbe = 3;

  // In percent.
  void Share(uint32_t first, uint32_t second, size_t to_probe = kNoProbe) {
    const uint32_t a = first * kWholeLoad / 100;
    const uint32_t b = second * kWholeLoad / 100;
    shares_->Set(std::vector<uint32_t>{a, b, kWholeLoad - a - b}, to_probe);
  }
  LiveEndpoint* live(int i) { return members_[i].live.get(); }
  void BeOut(int i) { live(i)->set_health(Health::kEjected, 0); }

  PickResult Pick(uint32_t* priority,
                  const std::vector<const LiveEndpoint*>& tried = {},
                  PickTrace* trace = nullptr) {
    PickArgs args;
    args.tried = tried;
    args.priority = priority;
    args.random = &random_;
    args.trace = trace;
    const PickResult result = subject_.picker()->Pick(args);
    if (result.kind == Kind::kUse) result.endpoint->Release();
    return result;
  }
  // How many of `n` calls go to each priority.
  std::vector<int> Spread(int n) {
    const std::vector<int> shares = subject_.Shares(members_, n);
    return {shares[0] + shares[1], shares[2] + shares[3],
            shares[4] + shares[5]};
  }

  const std::shared_ptr<LoadShares> shares_ =
      std::make_shared<LoadShares>(std::vector<uint32_t>{2, 5, 9});
  std::vector<Member> members_;
  base::Random random_{7};
};

INSTANTIATE_TEST_SUITE_P(
    Policies, PriorityTest,
    testing::Values(options::BalancingPolicy::kLeastRequest,
                    options::BalancingPolicy::kRoundRobin));

TEST_P(PriorityTest, APickerFollowsTheSharesOfNow) {
  EXPECT_THAT(Spread(1000), ElementsAre(1000, 0, 0));
  Share(70, 30);
  std::vector<int> spread = Spread(10000);
  EXPECT_THAT(spread[0], IsShare(0.7, 10000));
  EXPECT_THAT(spread[1], IsShare(0.3, 10000));
  Share(14, 50);
  spread = Spread(10000);
  EXPECT_THAT(spread[0], IsShare(0.14, 10000));
  EXPECT_THAT(spread[1], IsShare(0.5, 10000));
  Share(0, 0);
  EXPECT_THAT(Spread(1000), ElementsAre(0, 0, 1000));
}

TEST_P(PriorityTest, WithoutSharesTheFirstThatIsConnectedCarriesAll) {
  live(0)->set_readiness(Readiness::kFailed);
  live(1)->set_readiness(Readiness::kFailed);
  subject_.Update(members_);
  EXPECT_THAT(Spread(1000), ElementsAre(0, 1000, 0));
}

TEST_P(PriorityTest, ASharedPriorityThatIsNotConnectedIsStoodInFor) {
  // It has just been dialled, and so counts.
  live(0)->set_readiness(Readiness::kConnecting);
  live(1)->set_readiness(Readiness::kConnecting);
  subject_.Update(members_, shares_);
  EXPECT_THAT(Spread(1000), ElementsAre(0, 1000, 0));
  // It is lost after the picker was made.
  live(0)->set_readiness(Readiness::kReady);
  subject_.Update(members_, shares_);
  live(0)->set_readiness(Readiness::kFailed);
  EXPECT_THAT(Spread(1000), ElementsAre(0, 1000, 0));
}

TEST_P(PriorityTest, NobodyFailsWhileAnythingIsUsable) {
  BeOut(0);
  BeOut(1);
  EXPECT_THAT(Spread(100), ElementsAre(0, 100, 0)) << "before a new share";
  BeOut(2);
  live(3)->set_health(Health::kSuspect, 0);
  EXPECT_THAT(Spread(100), ElementsAre(0, 0, 100));
  live(4)->Close();
  EXPECT_EQ(subject_.Shares(members_, 100)[5], 100);
  BeOut(5);
  EXPECT_THAT(Spread(100), ElementsAre(100, 0, 0))
      << "none is well: health is ignored where the call has drawn";
  Share(0, 100);
  EXPECT_THAT(Spread(100), ElementsAre(0, 100, 0));
  // What returns takes over at once, without a new picker.
  live(3)->set_health(Health::kHealthy, 255);
  Share(100, 0);
  EXPECT_THAT(Spread(100), ElementsAre(0, 100, 0));
  live(0)->set_health(Health::kRamping, 100);
  EXPECT_THAT(Spread(100), ElementsAre(100, 0, 0));
}

TEST_P(PriorityTest, ACallDrawsItsPriorityOnce) {
  Share(50, 50);
  int second = 0;
  for (int i = 0; i < 200; ++i) {
    uint32_t priority = kNoPriority;
    const LiveEndpoint* const first = Pick(&priority).endpoint;
    EXPECT_EQ(priority, first->endpoint().priority);
    second += priority == 5;
    // A retry has one there that is untried.
    const LiveEndpoint* const next = Pick(&priority, {first}).endpoint;
    EXPECT_EQ(next->endpoint().priority, priority);
    EXPECT_NE(next, first);
  }
  EXPECT_THAT(second, IsShare(0.5, 200));
}

TEST_P(PriorityTest, ARetryGoesFromTheUntriedThereToTheUntriedAnywhere) {
  uint32_t priority = 5;
  std::vector<const LiveEndpoint*> tried = {live(2)};
  EXPECT_EQ(Pick(&priority, tried).endpoint, live(3));
  // None there is left: the first of another priority.
  tried.push_back(live(3));
  const LiveEndpoint* next = Pick(&priority, tried).endpoint;
  EXPECT_EQ(next->endpoint().priority, 2);
  BeOut(0);
  BeOut(1);
  next = Pick(&priority, tried).endpoint;
  EXPECT_EQ(next->endpoint().priority, 9);
  // A tried one that is well is better than one that is out.
  tried.push_back(live(4));
  tried.push_back(live(5));
  EXPECT_EQ(Pick(&priority, tried).endpoint->endpoint().priority, 5);
  BeOut(2);
  BeOut(3);
  EXPECT_EQ(Pick(&priority, tried).endpoint->endpoint().priority, 9);
  BeOut(4);
  BeOut(5);
  // All are out: the untried.
  next = Pick(&priority, {live(2)}).endpoint;
  EXPECT_EQ(next, live(3));
  EXPECT_EQ(priority, 5);
}

TEST_P(PriorityTest, WhatIsFullIsNotUsedAndWhatWasTriedIs) {
  uint32_t priority = 2;
  const std::vector<const LiveEndpoint*> tried = {live(4), live(0), live(1),
                                                  live(2), live(3), live(5)};
  PickArgs args;
  args.tried = tried;
  args.full = 5;
  args.priority = &priority;
  args.random = &random_;
  const PickResult result = subject_.picker()->Pick(args);
  ASSERT_EQ(result.kind, Kind::kUse);
  EXPECT_EQ(result.endpoint, live(4));
  result.endpoint->Release();
  args.full = 6;
  EXPECT_EQ(subject_.picker()->Pick(args).kind, Kind::kWait);
}

TEST_P(PriorityTest, APriorityThatIsGoneIsDrawnAnew) {
  uint32_t priority = 4;
  EXPECT_EQ(Pick(&priority, {live(0)}).endpoint, live(1));
  EXPECT_EQ(priority, 2);
}

TEST_P(PriorityTest, WhatCarriesNothingIsTriedSingly) {
  BeOut(1);
  live(0)->set_health(Health::kProbing, LiveEndpoint::kProbeFree);
  Share(0, 100, /*to_probe=*/0);
  uint32_t priority = 5;
  EXPECT_EQ(Pick(&priority, {live(2)}).endpoint, live(3)) << "not by a retry";
  EXPECT_THAT(Spread(100), ElementsAre(1, 99, 0)) << "its place is taken";
  live(0)->set_health(Health::kProbing, LiveEndpoint::kProbeFree);
  EXPECT_THAT(Spread(100), ElementsAre(1, 99, 0));
}

TEST_P(PriorityTest, OnlyAPickThatGoesByTheSharesSaysSo) {
  PickTrace trace;
  uint32_t priority = kNoPriority;
  Pick(&priority, {}, &trace);
  EXPECT_FALSE(trace.by_health);
  Share(99, 1);
  priority = kNoPriority;
  Pick(&priority, {}, &trace);
  EXPECT_TRUE(trace.by_health);
}

TEST_P(PriorityTest, AllThatHaveFailedSayWhyInTheFirstPriority) {
  for (const Member& member : members_) {
    member.live->set_readiness(Readiness::kFailed);
  }
  subject_.Update(members_, shares_);
  EXPECT_THAT(Spread(100), ElementsAre(100, 0, 0));
}

}  // namespace
}  // namespace mesh::balancing
