#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/balancing/load_balancer.h"
#include "mesh/balancing/weight_table.h"

namespace mesh::balancing {
namespace {

using cluster::Health;
using cluster::LiveEndpoint;
using cluster::LiveEndpointPtr;
using cluster::Readiness;
using testing::AnyOf;
using testing::Each;
using Kind = PickResult::Kind;

Member MakeMember(const std::string& address, uint32_t weight = 1,
                  uint32_t priority = 0,
                  Readiness readiness = Readiness::kReady) {
  cluster::Endpoint endpoint;
  endpoint.address = address;
  endpoint.priority = priority;
  Member member{std::make_shared<LiveEndpoint>(std::move(endpoint)), weight,
                priority};
  member.live->set_readiness(readiness);
  return member;
}

std::vector<Member> MakeMembers(const std::vector<uint32_t>& weights) {
  std::vector<Member> members;
  for (uint32_t weight : weights) {
    members.push_back(MakeMember(std::to_string(members.size()), weight));
  }
  return members;
}

std::vector<Member> MakeMembers(int n) {
  return MakeMembers(std::vector<uint32_t>(n, 1));
}

// One policy under test, with a random generator of its own.
class Subject {
 public:
  explicit Subject(options::BalancingPolicy policy, uint64_t seed = 1)
      : balancer_(MakeLoadBalancer(policy)), random_(seed) {}

  void Update(const std::vector<Member>& members) {
    picker_ = balancer_->Update(members, none_);
  }

  // Picks and keeps what was picked acquired.
  PickResult Pick(const std::vector<const LiveEndpoint*>& tried = {},
                  bool wait_for_ready = false, PickTrace* trace = nullptr,
                  const LiveEndpoint* elsewhere_than = nullptr) {
    PickArgs args;
    args.tried = tried;
    args.elsewhere_than = elsewhere_than;
    args.wait_for_ready = wait_for_ready;
    args.random = &random_;
    args.trace = trace;
    return picker_->Pick(args);
  }

  // Picks and releases. Null when there was nothing to use.
  const LiveEndpoint* PickAndRelease(
      const std::vector<const LiveEndpoint*>& tried = {}) {
    const PickResult result = Pick(tried);
    if (result.kind != Kind::kUse) return nullptr;
    result.endpoint->Release();
    return result.endpoint;
  }

  // How many of `n` calls, each over before the next, go to each member.
  std::vector<int> Shares(const std::vector<Member>& members, int n) {
    std::map<const LiveEndpoint*, int> counts;
    for (int i = 0; i < n; ++i) ++counts[PickAndRelease()];
    std::vector<int> shares;
    for (const Member& member : members) {
      shares.push_back(counts[member.live.get()]);
    }
    return shares;
  }

  const PickerPtr& picker() const { return picker_; }

 private:
  const absl::Status none_ = absl::UnavailableError("cart has no endpoints");
  const std::unique_ptr<LoadBalancer> balancer_;
  base::Random random_;
  PickerPtr picker_;
};

int64_t InFlight(const std::vector<Member>& members) {
  int64_t sum = 0;
  for (const Member& member : members) sum += member.live->in_flight();
  return sum;
}

// That a share of `n` independent draws with probability `p` is within five
// standard deviations of its mean.
testing::Matcher<int> IsShare(double p, int n) {
  const double deviation = 5 * std::sqrt(n * p * (1 - p));
  return testing::AllOf(
      testing::Ge(static_cast<int>(std::floor(n * p - deviation))),
      testing::Le(static_cast<int>(std::ceil(n * p + deviation))));
}

// What both policies have in common.
class BalancingTest : public testing::TestWithParam<options::BalancingPolicy> {
 protected:
  Subject subject_{GetParam()};
};

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

TEST_P(BalancingTest, APriorityThatStillConnectsIsWaitedFor) {
  subject_.Update({MakeMember("first", 1, 0, Readiness::kConnecting),
                   MakeMember("second", 1, 1)});
  EXPECT_EQ(subject_.Pick().kind, Kind::kWait);
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

TEST_P(BalancingTest, ALaterPriorityStandsInWhileTheFirstIsOutOfUse) {
  std::vector<Member> members;
  for (int i = 0; i < 6; ++i) {
    members.push_back(MakeMember(std::to_string(i), 1, i / 2));
  }
  subject_.Update(members);
  auto priorities = [&] {
    std::set<uint32_t> used;
    for (int i = 0; i < 100; ++i) {
      used.insert(subject_.PickAndRelease()->endpoint().priority);
    }
    return used;
  };
  EXPECT_THAT(priorities(), testing::ElementsAre(0));
  members[0].live->set_health(Health::kSuspect, 0);
  EXPECT_THAT(priorities(), testing::ElementsAre(0));
  members[1].live->set_health(Health::kEjected, 0);
  EXPECT_THAT(priorities(), testing::ElementsAre(1));
  members[2].live->set_health(Health::kEjected, 0);
  members[3].live->set_health(Health::kSuspect, 0);
  EXPECT_THAT(priorities(), testing::ElementsAre(2));
  members[4].live->set_health(Health::kSuspect, 0);
  members[5].live->set_health(Health::kSuspect, 0);
  EXPECT_THAT(priorities(), testing::ElementsAre(0)) << "none is well";
  // What returns takes over at once, without a new picker.
  members[3].live->set_health(Health::kHealthy, 255);
  EXPECT_THAT(priorities(), testing::ElementsAre(1));
  members[0].live->set_health(Health::kRamping, 100);
  EXPECT_THAT(priorities(), testing::ElementsAre(0));
}

TEST_P(BalancingTest, AHedgePrefersAnotherLocality) {
  std::vector<Member> members;
  for (const char* zone : {"a", "a", "a", "b", "", "a"}) {
    cluster::Endpoint endpoint;
    endpoint.address = std::to_string(members.size());
    endpoint.locality.zone = zone;
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

// Least request.

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

// Round robin.

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
