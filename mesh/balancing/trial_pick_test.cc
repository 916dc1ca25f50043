// Endpoints on trial: a coin decides who gets each first attempt.

#include <map>
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
using Kind = PickResult::Kind;

void BeOnTrial(LiveEndpoint* endpoint, uint32_t number) {
  endpoint->set_trial(number);
  endpoint->set_health(Health::kTrial, 255);
}

class TrialPickTest : public BalancingTest {
 protected:
  // The first attempt of a call. Releases what was picked.
  PickResult PickFirst(Coin* coin, PickTrace* trace = nullptr) {
    PickArgs args;
    args.coin = coin;
    args.random = &random_;
    args.trace = trace;
    const PickResult result = subject_.picker()->Pick(args);
    if (result.kind == Kind::kUse) result.endpoint->Release();
    return result;
  }
  PickResult PickAgain(const std::vector<const LiveEndpoint*>& tried) {
    PickArgs args;
    args.tried = tried;
    args.random = &random_;
    const PickResult result = subject_.picker()->Pick(args);
    if (result.kind == Kind::kUse) result.endpoint->Release();
    return result;
  }

  bool in_turn() const {
    return GetParam() == options::BalancingPolicy::kRoundRobin;
  }

  base::Random random_{5};
};

TEST_P(TrialPickTest, AFairCoinSendsHalfOfItsCallsElsewhere) {
  for (int size : {2, 3, 10}) {
    const std::vector<Member> members = MakeMembers(size);
    LiveEndpoint* const doubted = members[0].live.get();
    BeOnTrial(doubted, 7);
    subject_.Update(members);
    int here = 0;
    int elsewhere = 0;
    const int n = 2000 * size;
    for (int i = 0; i < n; ++i) {
      Coin coin;
      const PickResult result = PickFirst(&coin);
      ASSERT_EQ(result.kind, Kind::kUse);
      if (!coin.ticket) {
        EXPECT_NE(result.endpoint, doubted) << "without a coin";
        continue;
      }
      EXPECT_EQ(coin.ticket.trial(), 7);
      EXPECT_EQ(result.endpoint == doubted, coin.ticket.here());
      ++(coin.ticket.here() ? here : elsewhere);
    }
    // In turn, what is sent elsewhere takes the next one's turn.
    const double offered = in_turn() ? 1 / (size - 0.5) : 1.0 / size;
    EXPECT_THAT(here + elsewhere, IsShare(offered, n)) << size;
    EXPECT_THAT(here, IsShare(0.5, here + elsewhere)) << size;
  }
}

TEST_P(TrialPickTest, WhatTheCoinSendsElsewhereIsSharedByTheOthers) {
  const std::vector<Member> members = MakeMembers(5);
  BeOnTrial(members[0].live.get(), 1);
  subject_.Update(members);
  std::map<const LiveEndpoint*, int> counts;
  for (int i = 0; i < 10'000; ++i) {
    Coin coin;
    ++counts[PickFirst(&coin).endpoint];
  }
  EXPECT_NEAR(counts[members[0].live.get()], 1000, 200);
  for (int i = 1; i < 5; ++i) {
    EXPECT_NEAR(counts[members[i].live.get()], 2250, 300) << i;
  }
}

TEST_P(TrialPickTest, ItGoesRatherToWhatIsNotInDoubtItself) {
  const std::vector<Member> members = MakeMembers(3);
  BeOnTrial(members[0].live.get(), 1);
  BeOnTrial(members[1].live.get(), 2);
  subject_.Update(members);
  for (int i = 0; i < 1000; ++i) {
    Coin coin;
    const PickResult result = PickFirst(&coin);
    if (!coin.ticket || !coin.ticket.here()) {
      EXPECT_EQ(result.endpoint, members[2].live.get());
    } else {
      EXPECT_EQ(result.endpoint->trial(), coin.ticket.trial());
    }
  }
}

TEST_P(TrialPickTest, WhereAllAreInDoubtACallIsMadeAnyway) {
  const std::vector<Member> members = MakeMembers(3);
  for (int i = 0; i < 3; ++i) BeOnTrial(members[i].live.get(), i + 1);
  subject_.Update(members);
  for (int i = 0; i < 1000; ++i) {
    Coin coin;
    const PickResult result = PickFirst(&coin);
    ASSERT_EQ(result.kind, Kind::kUse);
    ASSERT_TRUE(coin.ticket);
    if (coin.ticket.here()) {
      EXPECT_EQ(result.endpoint->trial(), coin.ticket.trial());
    }
  }
}

TEST_P(TrialPickTest, WhatIsOutOfUseIsNoPlaceToSendTo) {
  const std::vector<Member> members = MakeMembers(3);
  BeOnTrial(members[0].live.get(), 1);
  members[1].live->set_health(Health::kEjected, 0);
  subject_.Update(members);
  int on_trial = 0;
  for (int i = 0; i < 2000; ++i) {
    Coin coin;
    const PickResult result = PickFirst(&coin);
    ASSERT_NE(result.endpoint, members[1].live.get());
    on_trial += result.endpoint == members[0].live.get();
  }
  EXPECT_NEAR(on_trial, in_turn() ? 667 : 500, 100) << "half of its part";
}

TEST_P(TrialPickTest, RetriesAndHedgesAreNoPartOfIt) {
  const std::vector<Member> members = MakeMembers(2);
  BeOnTrial(members[0].live.get(), 1);
  subject_.Update(members);
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(PickAgain({members[1].live.get()}).endpoint,
              members[0].live.get());
  }
}

TEST_P(TrialPickTest, ACoinThatHasBeenTossedStays) {
  const std::vector<Member> members = MakeMembers(2);
  BeOnTrial(members[0].live.get(), 1);
  subject_.Update(members);
  for (bool here : {false, true}) {
    for (int i = 0; i < 200; ++i) {
      Coin coin;
      coin.ticket = cluster::TrialTicket(1, here);
      const PickResult result = PickFirst(&coin);
      EXPECT_EQ(coin.ticket.here(), here);
      if (!here) {
        EXPECT_EQ(result.endpoint, members[1].live.get());
      }
    }
  }
}

TEST_P(TrialPickTest, ATraceSaysThatHealthHadASay) {
  const std::vector<Member> members = MakeMembers(2);
  BeOnTrial(members[0].live.get(), 1);
  BeOnTrial(members[1].live.get(), 2);
  subject_.Update(members);
  for (int i = 0; i < 50; ++i) {
    Coin coin;
    PickTrace trace;
    PickFirst(&coin, &trace);
    EXPECT_TRUE(trace.by_health);
  }
}

TEST_P(TrialPickTest, AnEndpointThatRampsIsOfferedItsShareOfCallsOnly) {
  const std::vector<Member> members = MakeMembers(2);
  members[0].live->set_trial(1);
  members[0].live->set_health(Health::kTrial, 51);  // A fifth.
  subject_.Update(members);
  int tossed = 0;
  constexpr int kCalls = 10'000;
  for (int i = 0; i < kCalls; ++i) {
    Coin coin;
    PickFirst(&coin);
    if (coin.ticket) ++tossed;
  }
  EXPECT_NEAR(tossed, in_turn() ? kCalls / 5.5 : kCalls / 10, kCalls / 50);
}

// Two primaries, and a backup.
TEST_P(TrialPickTest, WhereAPriorityIsInDoubtTheNextOneIsUsed) {
  const std::vector<Member> members = {
      MakeMember("a", 1, 0), MakeMember("b", 1, 0), MakeMember("c", 1, 1)};
  const auto shares = std::make_shared<LoadShares>(std::vector<uint32_t>{0, 1});
  shares->Set(std::vector<uint32_t>{kWholeLoad, 0}, 2);
  BeOnTrial(members[0].live.get(), 1);
  subject_.Update(members, shares);
  for (int i = 0; i < 500; ++i) {
    Coin coin;
    EXPECT_NE(PickFirst(&coin).endpoint, members[2].live.get())
        << "the other primary is not in doubt";
  }
  BeOnTrial(members[1].live.get(), 2);
  int backup = 0;
  for (int i = 0; i < 1000; ++i) {
    Coin coin;
    const PickResult result = PickFirst(&coin);
    ASSERT_TRUE(coin.ticket);
    EXPECT_EQ(result.endpoint == members[2].live.get(), !coin.ticket.here());
    backup += result.endpoint == members[2].live.get();
  }
  EXPECT_THAT(backup, IsShare(0.5, 1000));
}

INSTANTIATE_TEST_SUITE_P(
    Policies, TrialPickTest,
    testing::Values(options::BalancingPolicy::kLeastRequest,
                    options::BalancingPolicy::kRoundRobin));

}  // namespace
}  // namespace mesh::balancing
