// Shares, panic and the cap where endpoints have several priorities.

#include <cmath>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/cluster/load_shares.h"
#include "mesh/resilience/health/state.h"

namespace mesh::resilience {
namespace {

using cluster::Health;
using cluster::HealthCause;
using cluster::LiveEndpoint;
using cluster::LoadShares;
using cluster::Readiness;
using testing::ElementsAre;

class PrioritiesTest : public testing::Test {
 protected:
  PrioritiesTest() {
    ejection_.ramp = absl::Seconds(1);
    Apply();
  }
  void Apply() { states_.SetOptions(ejection_, silence_); }

  // So many endpoints of each priority, all connected. Endpoint 10 * p + i is
  // the i-th of priority p.
  void Have(const std::vector<int>& endpoints) {
    std::vector<uint32_t> priorities;
    for (uint32_t p = 0; p < endpoints.size(); ++p) {
      priorities.push_back(p);
      for (int i = 0; i < endpoints[p]; ++i) {
        cluster::Endpoint endpoint;
        endpoint.address = absl::StrCat(p, ".", i);
        endpoint.priority = p;
        auto live = std::make_shared<LiveEndpoint>(endpoint);
        live->set_readiness(Readiness::kReady);
        members_.push_back({std::move(live), 1, p});
      }
    }
    shares_ = std::make_shared<LoadShares>(std::move(priorities));
    Publish();
  }
  // As with a new picker.
  void Publish() {
    states_.SetMembers(HealthStates::Sort(members_, *shares_), shares_, ahead_,
                       now_);
  }
  void Look() {
    states_.BeginCount();
    for (const cluster::Member& member : members_) {
      if (member.live->readiness() != Readiness::kReady) {
        states_.CountUnconnected(*member.live, now_);
        continue;
      }
      states_.Publish(member.live.get(), now_);
      states_.Count(*member.live, RecordOf(member.live.get()));
    }
    states_.FinishCount();
  }

  LiveEndpoint* At(int priority, int i) {
    for (const cluster::Member& member : members_) {
      if (member.live->endpoint().address == absl::StrCat(priority, ".", i)) {
        return member.live.get();
      }
    }
    ADD_FAILURE() << priority << "." << i;
    return nullptr;
  }
  bool Eject(int priority, int i) {
    return states_.Eject(At(priority, i), HealthCause::kFailures, now_,
                         &changes_);
  }
  void Lose(int priority, int i) {
    At(priority, i)->set_readiness(Readiness::kFailed);
  }
  bool Panics(int priority) { return states_.Panics(*At(priority, 0)); }
  // In percent.
  std::vector<int> Shares() const {
    std::vector<int> result;
    for (size_t i = 0; i < shares_->priorities().size(); ++i) {
      result.push_back(static_cast<int>(
          std::lround(100.0 * shares_->share(i) / cluster::kWholeLoad)));
    }
    return result;
  }

  options::OutlierEjectionOptions ejection_;
  options::SilenceOptions silence_;
  HealthStates states_;
  int ahead_ = 32;
  std::shared_ptr<LoadShares> shares_;
  std::vector<cluster::Member> members_;
  HealthChanges changes_;
  int64_t now_ = 1'000'000 * kSecond;
};

// ---- Shares ----

TEST_F(PrioritiesTest, SharesFollowEachChangeOfHealth) {
  Have({10, 10});
  EXPECT_THAT(Shares(), ElementsAre(100, 0));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Eject(0, i));
  EXPECT_THAT(Shares(), ElementsAre(70, 30));
  for (int i = 5; i < 10; ++i) ASSERT_TRUE(Eject(0, i));
  EXPECT_THAT(Shares(), ElementsAre(0, 100));
  // What is probed is not in use; what ramps is.
  now_ += 31 * kSecond;
  LiveEndpoint* const back = At(0, 3);
  states_.Advance(back, false, now_, &changes_);
  ASSERT_EQ(back->health(), Health::kProbing);
  EXPECT_THAT(Shares(), ElementsAre(0, 100));
  EXPECT_EQ(shares_->to_probe(), 0);
  Finding good;
  good.kind = Finding::Kind::kSuccess;
  good.began = now_;
  for (int i = 0; i < 2; ++i) {
    states_.OnAttempt(back, good, false, now_, &changes_);
  }
  ASSERT_EQ(back->health(), Health::kRamping);
  EXPECT_THAT(Shares(), ElementsAre(14, 86));
  EXPECT_EQ(shares_->to_probe(), 2) << "that one draws calls by its share";
  Look();
  EXPECT_THAT(Shares(), ElementsAre(14, 86)) << "a look finds the same";
}

TEST_F(PrioritiesTest, SharesFollowConnections) {
  Have({10, 10});
  for (int i = 0; i < 5; ++i) Lose(0, i);
  Publish();
  EXPECT_THAT(Shares(), ElementsAre(70, 30));
  ahead_ = 5;
  Publish();
  EXPECT_THAT(Shares(), ElementsAre(100, 0)) << "five are all that is wanted";
}

TEST_F(PrioritiesTest, WhatWasDialledAMomentAgoCounts) {
  Have({2, 2});
  for (int i = 0; i < 2; ++i) {
    At(0, i)->set_readiness(Readiness::kIdle);
    At(0, i)->NoteDial(now_);
    At(0, i)->set_readiness(Readiness::kConnecting);
  }
  Publish();
  EXPECT_THAT(Shares(), ElementsAre(100, 0));
  EXPECT_EQ(states_.population().dialled_until(), now_ + kSecond);
  now_ += kSecond - 1;
  Look();
  EXPECT_THAT(Shares(), ElementsAre(100, 0));
  now_ += 1;
  Look();
  EXPECT_THAT(Shares(), ElementsAre(0, 100));
  EXPECT_EQ(states_.population().dialled_until(), kNever);
  // A later dial is not its first.
  At(0, 0)->NoteDial(now_);
  Publish();
  EXPECT_THAT(Shares(), ElementsAre(0, 100));
}

TEST_F(PrioritiesTest, APriorityThatChangesCountsWhereItIsNow) {
  Have({2, 2});
  members_[0].priority = members_[1].priority = 1;
  members_[0].live->set_priority(1);
  members_[1].live->set_priority(1);
  members_[2].live->set_priority(0);
  Lose(1, 0);
  Publish();
  EXPECT_THAT(Shares(), ElementsAre(0, 100));
}

// ---- The cap ----

TEST_F(PrioritiesTest, TheCapDoesNotBindWhereOthersCarryTheLoad) {
  for (int primaries : {3, 6}) {
    members_.clear();
    Have({primaries, 3});
    for (int i = 0; i < primaries; ++i) EXPECT_TRUE(Eject(0, i)) << i;
    EXPECT_THAT(Shares(), ElementsAre(0, 100));
    // Now it is the last that can: one more may always be ejected, and no two.
    EXPECT_TRUE(Eject(1, 0));
    EXPECT_FALSE(Eject(1, 1));
  }
}

TEST_F(PrioritiesTest, TheCapCountsWithinAPriority) {
  Have({10, 3});
  for (int i = 0; i < 3; ++i) Lose(1, i);
  Publish();
  // 30% of 10, and nobody else is there.
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Eject(0, i));
  EXPECT_FALSE(Eject(0, 3)) << "1.4 x 6 of 10 is too little";
  EXPECT_TRUE(Eject(0, 2)) << "it is ejected already";
}

TEST_F(PrioritiesTest, OneOfEachPriorityMayAlwaysBeEjected) {
  ejection_.max_ejection_percent = 1;
  ejection_.panic_threshold_percent = 0;
  Apply();
  Have({1, 2});
  EXPECT_TRUE(Eject(0, 0));
  EXPECT_TRUE(Eject(1, 0));
  EXPECT_FALSE(Eject(1, 1));
}

TEST_F(PrioritiesTest, OnePriorityIsCappedAsIfThereWereNoShares) {
  Have({4, 1});
  members_.pop_back();
  shares_ = nullptr;
  states_.ForgetMembers();
  Look();
  EXPECT_TRUE(Eject(0, 0));
  EXPECT_FALSE(Eject(0, 1)) << "though 1.4 x 3 of 4 is enough";
}

// ---- Panic ----

TEST_F(PrioritiesTest, NobodyPanicsWhileTheSumIsOne) {
  Have({4, 3});
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Eject(0, i));
  EXPECT_FALSE(Panics(0));
  EXPECT_FALSE(Panics(1));
  EXPECT_EQ(At(0, 0)->share(), 0);
}

TEST_F(PrioritiesTest, BelowOneAPriorityPanicsByItsOwnConnections) {
  ejection_.max_ejection_percent = 100;
  Apply();
  Have({10, 10});
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(Eject(0, i));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Eject(1, i));
  // 28% and 70% of the load: together nearly all of it.
  EXPECT_TRUE(Panics(0)) << "two of ten are in use";
  EXPECT_FALSE(Panics(1)) << "half are";
  EXPECT_TRUE(states_.TakePanicChanged());
  EXPECT_THAT(Shares(), ElementsAre(29, 71));
  Look();
  EXPECT_EQ(At(0, 0)->share(), 255);
  EXPECT_EQ(At(0, 0)->health(), Health::kEjected);
  EXPECT_EQ(At(1, 0)->share(), 0);
}

TEST_F(PrioritiesTest, WhenNoneIsUsableAllThatAreConnectedAreUsed) {
  ejection_.max_ejection_percent = 100;
  Apply();
  Have({3, 1});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Eject(0, i));
  ASSERT_TRUE(Eject(1, 0));
  EXPECT_THAT(Shares(), ElementsAre(75, 25));
  EXPECT_TRUE(Panics(0));
  EXPECT_TRUE(Panics(1));
}

// Its health would be ignored for calls that it does not get; and what is to
// be tried singly would never be.
TEST_F(PrioritiesTest, WhatCarriesNothingDoesNotPanic) {
  ejection_.max_ejection_percent = 100;
  Apply();
  Have({2, 10});
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(Eject(0, i));
  now_ += 29 * kSecond;
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(Eject(1, i));
  EXPECT_THAT(Shares(), ElementsAre(0, 100)) << "of 28%";
  EXPECT_FALSE(Panics(0));
  EXPECT_TRUE(Panics(1));
  now_ += kSecond;
  states_.Advance(At(0, 0), false, now_, &changes_);
  EXPECT_EQ(shares_->to_probe(), 0);
  EXPECT_EQ(At(0, 0)->share(), LiveEndpoint::kProbeFree);
}

}  // namespace
}  // namespace mesh::resilience
