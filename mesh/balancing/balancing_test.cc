#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/balancing/balancing_test_util.h"
#include "mesh/balancing/load_balancer.h"

namespace mesh::balancing {
namespace {

using cluster::LiveEndpoint;
using cluster::Readiness;
using testing::AnyOf;
using Kind = PickResult::Kind;

INSTANTIATE_TEST_SUITE_P(
    Policies, BalancingTest,
    testing::Values(options::BalancingPolicy::kLeastRequest,
                    options::BalancingPolicy::kRoundRobin),
    [](const auto& info) {
      return info.param == options::BalancingPolicy::kRoundRobin
                 ? "RoundRobin"
                 : "LeastRequest";
    });

TEST_P(BalancingTest, APickIsAcquiredForTheCaller) {
  const std::vector<Member> members = MakeMembers(3);
  subject_.Update(members);
  const PickResult result = subject_.Pick();
  ASSERT_EQ(result.kind, Kind::kUse);
  EXPECT_EQ(result.endpoint->in_flight(), 1);
  EXPECT_EQ(InFlight(members), 1);
  result.endpoint->Release();
  EXPECT_EQ(InFlight(members), 0);
}

TEST_P(BalancingTest, WithoutMembersCallsFailWithTheGivenStatus) {
  subject_.Update({});
  const PickResult result = subject_.Pick();
  ASSERT_EQ(result.kind, Kind::kFail);
  EXPECT_EQ(result.status->code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(result.status->message(), "cart has no endpoints");
  EXPECT_EQ(subject_.Pick({}, /*wait_for_ready=*/true).kind, Kind::kWait);
}

TEST_P(BalancingTest, CallsWaitWhileNoEndpointIsReadyButOneMayBecome) {
  for (Readiness pending : {Readiness::kIdle, Readiness::kConnecting}) {
    subject_.Update({MakeMember("a", 1, 0, pending),
                     MakeMember("b", 1, 0, Readiness::kFailed)});
    EXPECT_EQ(subject_.Pick().kind, Kind::kWait);
    EXPECT_EQ(subject_.Pick({}, /*wait_for_ready=*/true).kind, Kind::kWait);
  }
}

TEST_P(BalancingTest, OnlyReadyEndpointsAreUsed) {
  const std::vector<Member> members = {
      MakeMember("a", 1, 0, Readiness::kIdle), MakeMember("b"),
      MakeMember("c", 1, 0, Readiness::kConnecting),
      MakeMember("d", 1, 0, Readiness::kFailed), MakeMember("e")};
  subject_.Update(members);
  const std::vector<int> shares = subject_.Shares(members, 1000);
  EXPECT_EQ(shares[0] + shares[2] + shares[3], 0);
  EXPECT_THAT(shares[1], IsShare(0.5, 1000));
}

TEST_P(BalancingTest, WhenAllHaveFailedACallIsSentToOneOfThemAnyway) {
  const std::vector<Member> members = {
      MakeMember("a", 1, 0, Readiness::kFailed),
      MakeMember("b", 1, 0, Readiness::kFailed)};
  subject_.Update(members);
  const std::vector<int> shares = subject_.Shares(members, 1000);
  EXPECT_EQ(shares[0] + shares[1], 1000);
  EXPECT_THAT(shares[0], IsShare(0.5, 1000));
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(subject_.PickAndRelease({members[0].live.get()}),
              members[1].live.get());
  }
  EXPECT_EQ(subject_.Pick({}, /*wait_for_ready=*/true).kind, Kind::kWait);
}

TEST_P(BalancingTest, AnEndpointThatWasTriedIsAvoidedWhileAnotherIsThere) {
  for (int n : {2, 3, 100}) {
    const std::vector<Member> members = MakeMembers(n);
    subject_.Update(members);
    // All but one were tried: chance alone would not find it.
    std::vector<const LiveEndpoint*> tried;
    for (int i = 1; i < n; ++i) tried.push_back(members[i].live.get());
    for (int i = 0; i < 200; ++i) {
      ASSERT_EQ(subject_.PickAndRelease(tried), members[0].live.get());
    }
  }
}

TEST_P(BalancingTest, AnEndpointThatWasTriedIsUsedWhenThereIsNoOther) {
  const std::vector<Member> members = MakeMembers(2);
  subject_.Update(members);
  for (int i = 0; i < 100; ++i) {
    EXPECT_NE(
        subject_.PickAndRelease({members[0].live.get(), members[1].live.get()}),
        nullptr);
  }
  members[0].live->set_readiness(Readiness::kFailed);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(subject_.PickAndRelease({members[1].live.get()}),
              members[1].live.get())
        << "the untried one is not ready any more";
  }
}

TEST_P(BalancingTest, RetriesAreSpreadEvenlyOverTheOthers) {
  const std::vector<Member> members = MakeMembers(5);
  subject_.Update(members);
  std::map<const LiveEndpoint*, int> counts;
  for (int i = 0; i < 4000; ++i) {
    ++counts[subject_.PickAndRelease({members[2].live.get()})];
  }
  for (int i : {0, 1, 3, 4}) {
    EXPECT_THAT(counts[members[i].live.get()], IsShare(0.25, 4000));
  }
}

TEST_P(BalancingTest, APickerPassesOverWhatHasChangedSinceItWasMade) {
  const std::vector<Member> members = MakeMembers(4);
  subject_.Update(members);
  members[0].live->set_readiness(Readiness::kFailed);
  members[1].live->Close();
  for (int i = 0; i < 200; ++i) {
    EXPECT_THAT(subject_.PickAndRelease(),
                AnyOf(members[2].live.get(), members[3].live.get()));
  }
  members[2].live->Close();
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(subject_.PickAndRelease(), members[3].live.get());
  }
  members[3].live->set_readiness(Readiness::kIdle);
  EXPECT_EQ(subject_.Pick().kind, Kind::kWait);
  members[3].live->set_readiness(Readiness::kReady);
  members[3].live->Close();
  EXPECT_EQ(subject_.Pick().kind, Kind::kWait) << "all are closed";
  EXPECT_EQ(InFlight(members), 0);
}

TEST_P(BalancingTest, AllClosedAfterAllFailedMeansWait) {
  const std::vector<Member> members = {
      MakeMember("a", 1, 0, Readiness::kFailed)};
  subject_.Update(members);
  members[0].live->Close();
  EXPECT_EQ(subject_.Pick().kind, Kind::kWait);
}

TEST_P(BalancingTest, ASingleEndpointTakesAll) {
  const std::vector<Member> members = MakeMembers(1);
  subject_.Update(members);
  EXPECT_THAT(subject_.Shares(members, 100), testing::ElementsAre(100));
}

TEST_P(BalancingTest, APickerKeepsItsEndpointsAlive) {
  std::vector<Member> members = MakeMembers(2);
  const std::weak_ptr<LiveEndpoint> endpoint = members[0].live;
  subject_.Update(members);
  members.clear();
  EXPECT_FALSE(endpoint.expired());
  EXPECT_NE(subject_.PickAndRelease(), nullptr);
  subject_.Update({});
  EXPECT_TRUE(endpoint.expired());
}

TEST_P(BalancingTest, TheSameSeedPicksTheSame) {
  const std::vector<Member> members = MakeMembers(10);
  Subject one(GetParam(), 42), other(GetParam(), 42);
  one.Update(members);
  other.Update(members);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(one.PickAndRelease(), other.PickAndRelease());
  }
}

TEST_P(BalancingTest, WeightsAreRespected) {
  const std::vector<uint32_t> weights = {1, 2, 3, 10, 84};
  const std::vector<Member> members = MakeMembers(weights);
  subject_.Update(members);
  const int n = 100000;
  const std::vector<int> shares = subject_.Shares(members, n);
  for (size_t i = 0; i < weights.size(); ++i) {
    EXPECT_THAT(shares[i], IsShare(weights[i] / 100.0, n)) << weights[i];
  }
}

TEST_P(BalancingTest, EqualWeightsAreAsNoWeights) {
  const std::vector<Member> members =
      MakeMembers(std::vector<uint32_t>(4, 250));
  subject_.Update(members);
  for (int share : subject_.Shares(members, 10000)) {
    EXPECT_THAT(share, IsShare(0.25, 10000));
  }
}

TEST_P(BalancingTest, AnyNumberOfThreadsMayPick) {
  const std::vector<Member> members = MakeMembers(8);
  subject_.Update(members);
  const PickerPtr picker = subject_.picker();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      base::Random random(t);
      const LiveEndpoint* tried = nullptr;
      for (int i = 0; i < 5000; ++i) {
        PickArgs args;
        args.random = &random;
        if (tried != nullptr) args.tried = absl::MakeSpan(&tried, 1);
        const PickResult result = picker->Pick(args);
        if (result.kind != Kind::kUse) continue;
        EXPECT_NE(result.endpoint, tried);
        tried = i % 3 == 0 ? result.endpoint : nullptr;
        result.endpoint->Release();
      }
    });
  }
  threads.emplace_back([&] {
    for (int i = 0; i < 1000; ++i) {
      members[i % 6].live->set_readiness(i % 2 == 0 ? Readiness::kConnecting
                                                    : Readiness::kReady);
    }
    members[0].live->Close();
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(InFlight(members), 0);
  EXPECT_TRUE(members[0].live->Drained());
}

}  // namespace
}  // namespace mesh::balancing
