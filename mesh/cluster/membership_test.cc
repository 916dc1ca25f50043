#include "mesh/cluster/membership.h"

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/base/random.h"

namespace mesh::cluster {
namespace {

Endpoint At(std::string address, uint32_t weight = 1, uint32_t priority = 0) {
  Endpoint endpoint;
  endpoint.address = std::move(address);
  endpoint.weight = weight;
  endpoint.priority = priority;
  return endpoint;
}

std::shared_ptr<const EndpointDetails> Authority(std::string authority) {
  auto details = std::make_shared<EndpointDetails>();
  details->authority = std::move(authority);
  return details;
}

LiveEndpointPtr Make(const Endpoint& endpoint) {
  return std::make_shared<LiveEndpoint>(endpoint);
}

std::vector<std::string> Addresses(const std::vector<LiveEndpointPtr>& lives) {
  std::vector<std::string> result;
  for (const auto& live : lives) result.push_back(live->endpoint().address);
  return result;
}

std::vector<std::string> Addresses(const std::vector<Member>& members) {
  std::vector<std::string> result;
  for (const Member& member : members) {
    result.push_back(member.live->endpoint().address);
  }
  return result;
}

using Strings = std::vector<std::string>;

TEST(MembershipTest, AddsWhatTheFirstSetDescribesInItsOrder) {
  Membership membership;
  const auto change =
      membership.Update({{At("b:1", 5, 2), At("a:1"), At("c:1")}}, Make);
  EXPECT_EQ(Addresses(membership.members()), Strings({"b:1", "a:1", "c:1"}));
  EXPECT_EQ(Addresses(change.added), Strings({"b:1", "a:1", "c:1"}));
  EXPECT_TRUE(change.removed.empty());
  EXPECT_TRUE(change.changed);
  EXPECT_EQ(membership.members()[0].weight, 5);
  EXPECT_EQ(membership.members()[0].priority, 2);
  EXPECT_EQ(membership.members()[0].live->priority(), 2);
}

TEST(MembershipTest, AnAddressThatStaysKeepsItsLiveEndpoint) {
  Membership membership;
  membership.Update({{At("a:1"), At("b:1")}}, Make);
  const LiveEndpointPtr b = membership.members()[1].live;
  const auto change = membership.Update({{At("b:1"), At("c:1")}}, Make);
  EXPECT_EQ(Addresses(membership.members()), Strings({"b:1", "c:1"}));
  EXPECT_EQ(membership.members()[0].live, b);
  EXPECT_EQ(Addresses(change.added), Strings({"c:1"}));
  EXPECT_EQ(Addresses(change.removed), Strings({"a:1"}));
}

TEST(MembershipTest, TheOrderOfThoseThatStayIsNotThatOfTheSet) {
  Membership membership;
  membership.Update({{At("a:1"), At("b:1"), At("c:1")}}, Make);
  auto change = membership.Update({{At("c:1"), At("a:1"), At("b:1")}}, Make);
  EXPECT_EQ(Addresses(membership.members()), Strings({"a:1", "b:1", "c:1"}));
  EXPECT_FALSE(change.changed) << "a rotation is no change";
  membership.Update({{At("d:1"), At("c:1"), At("e:1"), At("a:1")}}, Make);
  EXPECT_EQ(Addresses(membership.members()),
            Strings({"a:1", "c:1", "d:1", "e:1"}));
}

TEST(MembershipTest, TakesWeightAndPriorityFromTheLatestDescription) {
  Membership membership;
  membership.Update({{At("a:1", 1, 0)}}, Make);
  const LiveEndpointPtr a = membership.members()[0].live;
  const auto change = membership.Update({{At("a:1", 7, 3)}}, Make);
  EXPECT_TRUE(change.changed);
  EXPECT_TRUE(change.added.empty());
  EXPECT_TRUE(change.removed.empty());
  EXPECT_EQ(membership.members()[0], (Member{a, 7, 3}));
}

TEST(MembershipTest, AnotherAuthorityIsAnotherEndpoint) {
  Membership membership;
  membership.Update({{At("a:1"), At("b:1")}}, Make);
  const LiveEndpointPtr old = membership.members()[0].live;
  Endpoint renamed = At("a:1");
  renamed.details = Authority("other");
  const auto change = membership.Update({{renamed, At("b:1")}}, Make);
  ASSERT_EQ(change.removed.size(), 1);
  EXPECT_EQ(change.removed[0], old);
  ASSERT_EQ(change.added.size(), 1);
  EXPECT_NE(change.added[0], old);
  EXPECT_EQ(change.added[0]->endpoint().authority(), "other");
  EXPECT_EQ(membership.members().size(), 2);
}

TEST(MembershipTest, AnAddressThatComesBackIsANewEndpoint) {
  Membership membership;
  membership.Update({{At("a:1")}}, Make);
  const LiveEndpointPtr draining = membership.members()[0].live;
  ASSERT_TRUE(draining->Acquire());
  membership.Update({{}}, Make);
  draining->Close();
  const auto change = membership.Update({{At("a:1")}}, Make);
  ASSERT_EQ(change.added.size(), 1);
  EXPECT_NE(change.added[0], draining);
  EXPECT_FALSE(draining->Drained());
  draining->Release();
  EXPECT_TRUE(draining->Drained());
}

TEST(MembershipTest, AnEmptySetRemovesAll) {
  Membership membership;
  membership.Update({{At("a:1"), At("b:1")}}, Make);
  const auto change = membership.Update({{}}, Make);
  EXPECT_TRUE(membership.members().empty());
  EXPECT_EQ(Addresses(change.removed), Strings({"a:1", "b:1"}));
  EXPECT_TRUE(change.changed);
  EXPECT_FALSE(membership.Update({{}}, Make).changed);
}

TEST(MembershipTest, OfOneAddressTwiceTheFirstCounts) {
  Membership membership;
  const auto change = membership.Update({{At("a:1", 2), At("a:1", 9)}}, Make);
  EXPECT_EQ(change.added.size(), 1);
  ASSERT_EQ(membership.members().size(), 1);
  EXPECT_EQ(membership.members()[0].weight, 2);
}

// Random sets against a plain model.
TEST(MembershipTest, AfterAnyUpdatesTheMembersAreThoseOfTheLastSet) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    base::Random random(seed);
    Membership membership;
    std::set<LiveEndpointPtr> live;
    for (int update = 0; update < 20; ++update) {
      EndpointSet set;
      std::set<std::string> addresses;
      for (uint32_t n = random.Below(12); n > 0; --n) {
        Endpoint endpoint = At(std::to_string(random.Below(15)) + ":1",
                               1 + random.Below(3), random.Below(2));
        if (random.Below(4) == 0) endpoint.details = Authority("x");
        if (addresses.insert(endpoint.address).second) {
          set.endpoints.push_back(endpoint);
        }
      }
      const auto before = membership.members();
      const auto change = membership.Update(set, Make);
      EXPECT_EQ(change.changed, before != membership.members());
      for (const auto& removed : change.removed) {
        EXPECT_EQ(live.erase(removed), 1);
      }
      for (const auto& added : change.added) {
        EXPECT_TRUE(live.insert(added).second);
      }
      ASSERT_EQ(membership.members().size(), set.endpoints.size());
      ASSERT_EQ(live.size(), set.endpoints.size());
      for (const Member& member : membership.members()) {
        EXPECT_EQ(live.count(member.live), 1);
        const auto described = std::find_if(
            set.endpoints.begin(), set.endpoints.end(), [&](const Endpoint& e) {
              return e.address == member.live->endpoint().address;
            });
        ASSERT_NE(described, set.endpoints.end());
        EXPECT_EQ(described->authority(), member.live->endpoint().authority());
        EXPECT_EQ(described->weight, member.weight);
        EXPECT_EQ(described->priority, member.priority);
      }
    }
  }
}

TEST(MembershipTest, TenThousandEndpointsOfWhichOneChanges) {
  EndpointSet set;
  for (int i = 0; i < 10000; ++i) {
    set.endpoints.push_back(At("10.0." + std::to_string(i / 256) + "." +
                               std::to_string(i % 256) + ":443"));
  }
  Membership membership;
  EXPECT_EQ(membership.Update(set, Make).added.size(), 10000);
  set.endpoints[5000] = At("10.9.9.9:443");
  const auto change = membership.Update(set, Make);
  EXPECT_EQ(change.added.size(), 1);
  EXPECT_EQ(change.removed.size(), 1);
}

}  // namespace
}  // namespace mesh::cluster
