#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/balancing/balancing_test_util.h"

namespace mesh::balancing {
namespace {

using cluster::Health;
using cluster::LiveEndpoint;
using cluster::Readiness;
using Kind = PickResult::Kind;

TEST_P(BalancingTest, ALaterPriorityIsUsedWhenTheFirstHasFailed) {
  const std::vector<Member> members = {MakeMember("second", 1, 5),
                                       MakeMember("first", 1, 2),
                                       MakeMember("third", 1, 9)};
  subject_.Update(members);
  EXPECT_THAT(subject_.Shares(members, 100), testing::ElementsAre(0, 100, 0));

  members[1].live->set_readiness(Readiness::kFailed);
  subject_.Update(members);
  EXPECT_THAT(subject_.Shares(members, 100), testing::ElementsAre(100, 0, 0));

  members[0].live->set_readiness(Readiness::kFailed);
  subject_.Update(members);
  EXPECT_THAT(subject_.Shares(members, 100), testing::ElementsAre(0, 0, 100));

  members[2].live->set_readiness(Readiness::kFailed);
  subject_.Update(members);
  EXPECT_THAT(subject_.Shares(members, 100), testing::ElementsAre(0, 100, 0))
      << "with all failed, the first priority says why";

  members[1].live->set_readiness(Readiness::kReady);
  subject_.Update(members);
  EXPECT_THAT(subject_.Shares(members, 100), testing::ElementsAre(0, 100, 0));
}

TEST_P(BalancingTest, NobodyWaitsForAPriorityWhileAnotherIsConnected) {
  const std::vector<Member> members = {
      MakeMember("first", 1, 0, Readiness::kConnecting),
      MakeMember("second", 1, 1)};
  subject_.Update(members);
  EXPECT_THAT(subject_.Shares(members, 100), testing::ElementsAre(0, 100));
}

TEST_P(BalancingTest, CallsWaitWhileAnyPriorityMayConnect) {
  for (Readiness pending : {Readiness::kIdle, Readiness::kConnecting}) {
    subject_.Update({MakeMember("first", 1, 0, Readiness::kFailed),
                     MakeMember("second", 1, 1, pending)});
    EXPECT_EQ(subject_.Pick().kind, Kind::kWait);
  }
}

// ---- Health ----

TEST_P(BalancingTest, WhatIsOutOfUseGetsNothingAndTheOthersShareItEvenly) {
  for (int size : {2, 3, 4, 20}) {
    for (Health health : {Health::kSuspect, Health::kEjected}) {
      const std::vector<Member> members = MakeMembers(size);
      members[0].live->set_health(health, 0);
      subject_.Update(members);
      const int n = 2000 * (size - 1);
      const std::vector<int> shares = subject_.Shares(members, n);
      EXPECT_EQ(shares[0], 0);
      for (int i = 1; i < size; ++i) EXPECT_NEAR(shares[i], 2000, 300);
    }
  }
}

TEST_P(BalancingTest, WhenNothingElseIsLeftHealthIsIgnored) {
  const std::vector<Member> members = MakeMembers(3);
  members[0].live->set_health(Health::kSuspect, 0);
  members[1].live->set_health(Health::kEjected, 0);
  members[2].live->set_health(Health::kProbing, 0);
  subject_.Update(members);
  for (int share : subject_.Shares(members, 300)) EXPECT_GT(share, 50);
}

TEST_P(BalancingTest, InPanicWhatIsOutOfUseIsUsedLikeAnyOther) {
  const std::vector<Member> members = MakeMembers(3);
  members[0].live->set_health(Health::kEjected, 255);
  members[1].live->set_health(Health::kSuspect, 255);
  subject_.Update(members);
  for (int share : subject_.Shares(members, 3000))
    EXPECT_NEAR(share, 1000, 200);
}

TEST_P(BalancingTest, AnEndpointThatRampsGetsItsShareOfItsPart) {
  for (int size : {2, 4, 20}) {
    for (uint32_t share : {26u, 128u, 200u}) {
      const std::vector<Member> members = MakeMembers(size);
      members[0].live->set_health(Health::kRamping, share);
      subject_.Update(members);
      const int n = 5000 * size;
      // In turn: `part` for each one that a full one gets, which is a little
      // more.
      const double part = share / 255.0;
      const int got = subject_.Shares(members, n)[0];
      EXPECT_GT(got, 0.8 * 5000 * part - 50) << size << ", " << share;
      EXPECT_LT(got, 1.2 * n * part / (size - 1 + part) + 50)
          << size << " endpoints, " << share;
    }
  }
}

TEST_P(BalancingTest, WhatIsProbedGetsOneCallAtATime) {
  for (int size : {2, 3, 8}) {
    const std::vector<Member> members = MakeMembers(size);
    LiveEndpoint* const probed = members[0].live.get();
    probed->set_health(Health::kProbing, LiveEndpoint::kProbeFree);
    subject_.Update(members);
    EXPECT_EQ(subject_.Shares(members, 1000)[0], 1);
    // Its place is free again.
    probed->set_health(Health::kProbing, LiveEndpoint::kProbeFree);
    EXPECT_EQ(subject_.Shares(members, 1000)[0], 1);
  }
}

TEST_P(BalancingTest, ARetryIsNotTheCallThatProbes) {
  const std::vector<Member> members = MakeMembers(3);
  members[0].live->set_health(Health::kProbing, LiveEndpoint::kProbeFree);
  subject_.Update(members);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(subject_.PickAndRelease({members[1].live.get()}),
              members[2].live.get());
  }
  EXPECT_EQ(members[0].live->share(), LiveEndpoint::kProbeFree);
}

TEST_P(BalancingTest, ATriedEndpointThatIsWellIsBetterThanOneThatIsNot) {
  const std::vector<Member> members = MakeMembers(2);
  members[0].live->set_health(Health::kSuspect, 0);
  subject_.Update(members);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(subject_.PickAndRelease({members[1].live.get()}),
              members[1].live.get());
  }
}

TEST_P(BalancingTest, AHedgePrefersAnotherLocality) {
  std::vector<Member> members;
  for (const char* zone : {"a", "a", "a", "b", "", "a"}) {
    cluster::Endpoint endpoint;
    endpoint.address = std::to_string(members.size());
    auto details = std::make_shared<cluster::EndpointDetails>();
    details->locality.zone = zone;
    endpoint.details = std::move(details);
    members.push_back({std::make_shared<LiveEndpoint>(endpoint), 1, 0});
    members.back().live->set_readiness(Readiness::kReady);
  }
  subject_.Update(members);
  const LiveEndpoint* const first = members[0].live.get();
  auto hedge = [&] {
    const PickResult result = subject_.Pick({first}, false, nullptr, first);
    result.endpoint->Release();
    return result.endpoint;
  };
  for (int i = 0; i < 50; ++i) EXPECT_EQ(hedge(), members[3].live.get());
  // Health counts more than distance.
  members[3].live->set_health(Health::kSuspect, 0);
  std::set<const LiveEndpoint*> used;
  for (int i = 0; i < 200; ++i) used.insert(hedge());
  EXPECT_EQ(used.size(), 4);
  EXPECT_EQ(used.count(first), 0);
  EXPECT_EQ(used.count(members[3].live.get()), 0);
}

TEST_P(BalancingTest, APickThatLookedAtHealthSaysSo) {
  const std::vector<Member> members = MakeMembers(3);
  subject_.Update(members);
  PickTrace trace;
  for (int i = 0; i < 20; ++i) {
    subject_.Pick({}, false, &trace).endpoint->Release();
  }
  EXPECT_FALSE(trace.by_health);
  members[1].live->set_health(Health::kEjected, 0);
  for (int i = 0; i < 20; ++i) {
    subject_.Pick({}, false, &trace).endpoint->Release();
  }
  EXPECT_TRUE(trace.by_health);
}

}  // namespace
}  // namespace mesh::balancing
