#include "mesh/security/workload_policy.h"

#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/certs/agent.h"
#include "mesh/security/source_test_util.h"

namespace mesh::security {
namespace {

using Kind = IdentityNotice::Kind;

const absl::Time kWall = absl::FromUnixSeconds(1'800'000'000);
constexpr absl::Duration kHour = absl::Hours(1);
constexpr char kCart[] = "spiffe://prod/cart";

std::string Response(const certs::Issued& svid, const std::string& bundle) {
  return *certs::AgentResponse({{kCart, "", BytesOf(svid, bundle)}});
}

class WorkloadPolicyTest : public testing::Test {
 protected:
  WorkloadPolicyTest()
      : root_(RootAt(kWall, "root")),
        first_(SvidOf(root_, kWall, kWall + kHour)) {}

  void Pass(absl::Duration by) {
    now_.steady += by;
    now_.wall += by;
  }
  // What a message brings: the serial number that is published, or nothing.
  std::string Hear(const std::string& message) {
    return Take(policy_.OnMessage(message, now_));
  }
  std::string HearSvid(const certs::Issued& svid) {
    return Hear(Response(svid, root_.pem()));
  }
  std::string Tick() { return Take(policy_.OnTime(now_)); }
  std::string Take(WorkloadPolicy::Decision decision) {
    for (IdentityNotice& notice : decision.notices) {
      notices_.push_back(std::move(notice));
    }
    return decision.publish == nullptr ? "" : decision.publish->serial();
  }
  void Open() {
    ASSERT_TRUE(policy_.WantsOpen(now_));
    policy_.OnOpen(now_);
    ASSERT_FALSE(policy_.WantsOpen(now_));
  }
  void End(const absl::Status& why = absl::UnavailableError("refused")) {
    policy_.OnEnd(why, now_);
  }
  // Lets time pass as a shell does, with an agent that is away.
  void RunAway(absl::Duration by) {
    const absl::Time until = now_.steady + by;
    while (now_.steady < until) {
      Pass(std::min(until, policy_.Next(now_)) - now_.steady);
      Tick();
      if (policy_.WantsOpen(now_)) {
        Open();
        End();
      }
    }
  }
  std::vector<Kind> Told() {
    std::vector<Kind> kinds;
    for (const IdentityNotice& notice : notices_) kinds.push_back(notice.kind);
    notices_.clear();
    return kinds;
  }

  const certs::Authority root_;
  const certs::Issued first_;
  WorkloadPolicy policy_{{}, "unix:/agent", base::Random(7)};
  Moment now_{absl::FromUnixSeconds(1000), kWall};
  std::vector<IdentityNotice> notices_;
};

TEST_F(WorkloadPolicyTest, PublishesWhatTheAgentGives) {
  Open();
  EXPECT_EQ(HearSvid(first_), first_.serial);
  EXPECT_EQ(HearSvid(first_), "") << "it is the same";
  const certs::Issued next = SvidOf(root_, kWall, kWall + kHour);
  EXPECT_EQ(HearSvid(next), next.serial);
  EXPECT_THAT(Told(), testing::IsEmpty());
  EXPECT_FALSE(policy_.GivesUp(now_));
}

TEST_F(WorkloadPolicyTest, AsksForEverWithDelaysThatGrowAndDiffer) {
  std::vector<absl::Duration> delays;
  for (int i = 0; i < 1000; ++i) {
    Open();
    End();
    EXPECT_FALSE(policy_.WantsOpen(now_));
    const absl::Time before = now_.steady;
    while (!policy_.WantsOpen(now_)) {
      Pass(std::max(policy_.Next(now_) - now_.steady, absl::Nanoseconds(1)));
      Tick();
    }
    delays.push_back(now_.steady - before);
  }
  EXPECT_GE(delays[0], absl::Milliseconds(50));
  EXPECT_LE(delays[0], absl::Milliseconds(100));
  EXPECT_GE(delays[3], absl::Milliseconds(400));
  for (size_t i = 10; i < delays.size(); ++i) {
    EXPECT_GE(delays[i], WorkloadPolicy::kMaxDelay / 2);
    EXPECT_LE(delays[i], WorkloadPolicy::kMaxDelay);
  }
  const std::set<absl::Duration> different(delays.begin(), delays.end());
  EXPECT_GT(different.size(), 900);
}

TEST_F(WorkloadPolicyTest, AStreamThatLivedBeginsTheDelaysAnew) {
  for (int i = 0; i < 10; ++i) {
    Open();
    End();
    Pass(WorkloadPolicy::kMaxDelay);
  }
  Open();
  HearSvid(first_);
  Pass(WorkloadPolicy::kGoodLife);
  End();
  Pass(absl::Milliseconds(100));
  EXPECT_TRUE(policy_.WantsOpen(now_));
}

TEST_F(WorkloadPolicyTest, AnAgentThatCutsAfterEachAnswerIsNotHammered) {
  int streams = 0;
  for (const absl::Time until = now_.steady + absl::Minutes(1);
       now_.steady < until; Pass(absl::Milliseconds(10))) {
    if (!policy_.WantsOpen(now_)) continue;
    Open();
    HearSvid(first_);
    End();
    ++streams;
  }
  EXPECT_LT(streams, 30);
}

TEST_F(WorkloadPolicyTest, AnAgentThatIsBrieflyAwayIsNotToldOf) {
  Open();
  HearSvid(first_);
  Pass(absl::Minutes(1));
  End();
  RunAway(absl::Milliseconds(1900));
  EXPECT_THAT(Told(), testing::IsEmpty());
  while (!policy_.WantsOpen(now_)) Pass(absl::Milliseconds(10));
  Open();
  HearSvid(first_);
  Tick();
  EXPECT_THAT(Told(), testing::IsEmpty());
}

TEST_F(WorkloadPolicyTest, AnAgentThatStaysAwayIsToldOfOnce) {
  Open();
  HearSvid(first_);
  End();
  RunAway(absl::Minutes(5));
  ASSERT_EQ(notices_.size(), 1);
  EXPECT_EQ(notices_[0].text,
            "the agent at unix:/agent: UNAVAILABLE: refused. The last good "
            "identity stays; it ends at 2027-01-15T09:00:00Z.");
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kNoAnswer));
  while (!policy_.WantsOpen(now_)) Pass(absl::Milliseconds(10));
  Open();
  EXPECT_EQ(HearSvid(first_), "");
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kRecovered));
}

TEST_F(WorkloadPolicyTest, AnotherReasonIsToldOfAgain) {
  Open();
  End();
  RunAway(absl::Seconds(10));
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kNoAnswer));
  while (!policy_.WantsOpen(now_)) Pass(absl::Milliseconds(10));
  Open();
  End(absl::PermissionDeniedError("no identity issued"));
  Tick();
  ASSERT_EQ(notices_.size(), 1);
  EXPECT_EQ(notices_[0].text,
            "the agent at unix:/agent: PERMISSION_DENIED: no identity issued.");
}

TEST_F(WorkloadPolicyTest, AnAgentThatHangsIsGivenUp) {
  Open();
  Pass(WorkloadPolicy::kPatience - absl::Nanoseconds(1));
  EXPECT_FALSE(policy_.GivesUp(now_));
  Pass(absl::Nanoseconds(1));
  EXPECT_EQ(policy_.Next(now_), now_.steady);
  EXPECT_TRUE(policy_.GivesUp(now_));
  EXPECT_FALSE(policy_.GivesUp(now_)) << "once";
  EXPECT_GT(policy_.Next(now_), now_.steady);
  End(absl::CancelledError("by us"));
  Pass(WorkloadPolicy::kSilence);
  Tick();
  ASSERT_EQ(notices_.size(), 1);
  EXPECT_EQ(notices_[0].text, "the agent at unix:/agent: it does not answer.");
}

TEST_F(WorkloadPolicyTest, AStreamThatHasAnsweredMayBeSilent) {
  Open();
  HearSvid(first_);
  Pass(absl::Minutes(30));
  Tick();
  EXPECT_FALSE(policy_.GivesUp(now_));
}

TEST_F(WorkloadPolicyTest, AnOldIdentityMakesItAskAgain) {
  Open();
  HearSvid(first_);
  Pass(absl::Minutes(40));
  Tick();
  EXPECT_TRUE(policy_.GivesUp(now_)) << "the stream may be dead";
  End(absl::CancelledError("by us"));
  Pass(absl::Milliseconds(100));
  Open();
  HearSvid(first_);
  Tick();
  EXPECT_FALSE(policy_.GivesUp(now_));
  Pass(absl::Minutes(20));
  Tick();
  EXPECT_TRUE(policy_.GivesUp(now_));
  EXPECT_THAT(Told(), testing::IsEmpty())
      << "alarms are not the agent's affair";
}

TEST_F(WorkloadPolicyTest, ABadAnswerLeavesTheLastIdentity) {
  Open();
  HearSvid(first_);
  EXPECT_EQ(Hear("garbage"), "");
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kBad));
  EXPECT_EQ(Hear("garbage"), "");
  EXPECT_THAT(Told(), testing::IsEmpty()) << "told once";
  // No SVID at all is the agent's refusal.
  EXPECT_EQ(Hear(""), "");
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kNoAnswer));
  // A chain that its own bundle does not verify.
  EXPECT_EQ(Hear(Response(SvidOf(root_, kWall, kWall + kHour),
                          RootAt(kWall, "other").pem())),
            "");
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kBad));
  // A certificate for somebody else.
  EXPECT_EQ(Hear(*certs::AgentResponse(
                {{"spiffe://prod/other", "", BytesOf(first_, root_.pem())}})),
            "");
  ASSERT_EQ(notices_.size(), 1);
  EXPECT_THAT(notices_[0].text,
              testing::HasSubstr("its certificate says something else"));
  Told();
  EXPECT_EQ(HearSvid(first_), "");
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kRecovered));
}

TEST_F(WorkloadPolicyTest, OneThatIsNotValidYetIsPublishedWhenItsTimeComes) {
  Open();
  HearSvid(first_);
  const certs::Issued next =
      SvidOf(root_, kWall + absl::Seconds(10), kWall + kHour);
  EXPECT_EQ(HearSvid(next), "");
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kNotYetValid));
  Pass(absl::Milliseconds(9500));
  EXPECT_EQ(Tick(), "");
  EXPECT_EQ(policy_.Next(now_), now_.steady + absl::Milliseconds(500));
  Pass(absl::Milliseconds(500));
  EXPECT_EQ(Tick(), next.serial);
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kRecovered));
}

TEST_F(WorkloadPolicyTest, ANewerAnswerReplacesOneThatWaits) {
  Open();
  HearSvid(SvidOf(root_, kWall + absl::Seconds(10), kWall + kHour));
  EXPECT_EQ(HearSvid(first_), first_.serial);
  Pass(absl::Seconds(20));
  EXPECT_EQ(Tick(), "");
}

}  // namespace
}  // namespace mesh::security
