#include "mesh/service/lingering.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/cluster/health.h"
#include "mesh/cluster/live_endpoint.h"

namespace mesh::service {
namespace {

using cluster::Health;
using cluster::Readiness;
using testing::ElementsAre;
using testing::IsEmpty;

class LingeringTest : public testing::Test {
 protected:
  LingeringTest() {
    for (const char* address : {"a", "b", "c"}) {
      cluster::Endpoint endpoint;
      endpoint.address = address;
      cluster::Member member;
      member.live = std::make_shared<cluster::LiveEndpoint>(endpoint);
      member.live->set_readiness(Readiness::kReady);
      members_.push_back(member);
    }
  }

  static std::vector<std::string> AddressesOf(const cluster::EndpointSet& set) {
    std::vector<std::string> addresses;
    for (const auto& endpoint : set.endpoints) {
      addresses.push_back(endpoint.address);
    }
    return addresses;
  }
  // As a service does it: what does not stay is no member any more.
  std::vector<std::string> Look() {
    const auto stays = AddressesOf(lingering_.Look(members_, now_));
    std::vector<cluster::Member> members;
    for (const auto& member : members_) {
      for (const auto& address : stays) {
        if (member.live->endpoint().address == address) {
          members.push_back(member);
        }
      }
    }
    members_ = members;
    return stays;
  }

  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  std::vector<cluster::Member> members_;
  Lingering lingering_;
};

TEST_F(LingeringTest, WhatIsConnectedAndAnswersStaysForEver) {
  EXPECT_THAT(AddressesOf(lingering_.Begin(members_, now_)),
              ElementsAre("a", "b", "c"));
  for (int i = 0; i < 1000; ++i) {
    now_ += absl::Seconds(1);
    EXPECT_THAT(Look(), ElementsAre("a", "b", "c"));
  }
}

TEST_F(LingeringTest, WhatIsNeitherGoesAtOnce) {
  members_[0].live->set_readiness(Readiness::kConnecting);
  members_[1].live->set_health(Health::kSuspect, 0);
  EXPECT_THAT(AddressesOf(lingering_.Begin(members_, now_)), ElementsAre("c"));
}

TEST_F(LingeringTest, WhatIsLostLaterGoesWhenItDoesNotComeBack) {
  lingering_.Begin(members_, now_);
  members_[0].live->set_readiness(Readiness::kFailed);
  members_[1].live->set_readiness(Readiness::kConnecting);
  now_ += absl::Seconds(9);
  EXPECT_THAT(Look(), ElementsAre("a", "b", "c"));
  members_[1].live->set_readiness(Readiness::kReady);
  EXPECT_THAT(Look(), ElementsAre("a", "b", "c"));
  now_ += absl::Seconds(1);
  EXPECT_THAT(Look(), ElementsAre("b", "c"));
}

TEST_F(LingeringTest, ASecondEmptyAnswerIsNoNewBeginning) {
  lingering_.Begin(members_, now_);
  members_[0].live->set_readiness(Readiness::kFailed);
  now_ += absl::Seconds(5);
  EXPECT_THAT(AddressesOf(lingering_.Begin(members_, now_)),
              ElementsAre("a", "b", "c"));
  now_ += absl::Seconds(5);
  EXPECT_THAT(AddressesOf(lingering_.Begin(members_, now_)),
              ElementsAre("b", "c"));
  lingering_.End();
  EXPECT_FALSE(lingering_.active());
  EXPECT_THAT(AddressesOf(lingering_.Begin({}, now_)), IsEmpty());
}

}  // namespace
}  // namespace mesh::service
