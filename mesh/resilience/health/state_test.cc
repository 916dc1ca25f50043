#include "mesh/resilience/health/state.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mesh/cluster/live_endpoint.h"

namespace mesh::resilience {
namespace {

using cluster::Health;
using cluster::HealthCause;
using cluster::LiveEndpoint;
using cluster::Readiness;
using options::Mode;
using Kind = Finding::Kind;

// Four connected endpoints, of which the first is the subject.
class HealthStatesTest : public testing::Test {
 protected:
  HealthStatesTest() {
    ejection_.base_ejection_time = absl::Seconds(30);
    ejection_.ramp = absl::Seconds(1);
    for (int i = 0; i < 4; ++i) AddEndpoint();
    Apply();
    Count();
  }
  void AddEndpoint() {
    cluster::Endpoint endpoint;
    endpoint.address = absl::StrCat("e", live_.size());
    live_.push_back(std::make_unique<LiveEndpoint>(endpoint));
    live_.back()->set_readiness(Readiness::kReady);
  }
  void Apply() { states_.SetOptions(ejection_, silence_); }
  void Count() {
    states_.BeginCount();
    for (const auto& live : live_) {
      states_.Count(*live, RecordOf(live.get()));
    }
    states_.FinishCount();
  }

  LiveEndpoint* endpoint(int i = 0) { return live_[i].get(); }
  HealthRecord& record(int i = 0) { return RecordOf(live_[i].get()); }
  uint32_t share(int i = 0) const { return live_[i]->share(); }
  Health health(int i = 0) const { return live_[i]->health(); }
  void Pass(absl::Duration time) { now_ += Nanos(time); }

  bool Eject(int i = 0, HealthCause cause = HealthCause::kFailures) {
    return states_.Eject(endpoint(i), cause, now_, &changes_);
  }
  void Advance(int i = 0, bool peers_are_as_slow = false) {
    states_.Advance(endpoint(i), peers_are_as_slow, now_, &changes_);
  }
  // An attempt that began a moment ago, as a probe does.
  void Attempt(Kind kind, bool slow = false, bool telling = false) {
    Finding finding;
    finding.kind = kind;
    finding.telling = telling;
    finding.latency = kMillisecond;
    finding.began = now_;
    states_.OnAttempt(endpoint(), finding, slow, now_, &changes_);
  }
  void FailInARow(uint32_t failures, uint32_t connection) {
    FailureRow row(0);
    row.failures = failures;
    row.connection = connection;
    endpoint()->mutable_observations().consecutive = row.Packed();
  }
  void BeginTrial(int i = 0) {
    states_.BeginTrial(endpoint(i), 7 + i, HealthCause::kFailuresInARow, now_,
                       &changes_);
  }
  // Ejected, and let in again for a probe.
  void LetProbe(HealthCause cause = HealthCause::kFailures) {
    ASSERT_TRUE(Eject(0, cause));
    now_ = record().until;
    Advance();
    ASSERT_EQ(health(), Health::kProbing);
    ASSERT_TRUE(endpoint()->ClaimProbe());
  }
  void BeSilent() {
    states_.OnSilence(endpoint(), 50 * kMillisecond, now_, &changes_);
  }

  options::OutlierEjectionOptions ejection_;
  options::SilenceOptions silence_;
  HealthStates states_;
  std::vector<std::unique_ptr<LiveEndpoint>> live_;
  HealthChanges changes_;
  int64_t now_ = 1'000'000 * kSecond;
};

// ---- Ejection ----

TEST_F(HealthStatesTest, AnEjectedEndpointHasNoShareUntilItsTimeIsOver) {
  EXPECT_TRUE(Eject());
  EXPECT_EQ(health(), Health::kEjected);
  EXPECT_EQ(share(), 0);
  ASSERT_EQ(changes_.size(), 1);
  EXPECT_EQ(changes_[0].endpoint, endpoint());
  EXPECT_EQ(changes_[0].from, Health::kHealthy);
  EXPECT_EQ(changes_[0].to, Health::kEjected);
  EXPECT_EQ(changes_[0].cause, HealthCause::kFailures);
  EXPECT_FALSE(changes_[0].observed);

  Pass(absl::Seconds(29.9));
  Advance();
  EXPECT_EQ(health(), Health::kEjected);
  Pass(absl::Seconds(0.1));
  Advance();
  EXPECT_EQ(health(), Health::kProbing);
  EXPECT_EQ(share(), LiveEndpoint::kProbeFree);
}

TEST_F(HealthStatesTest, EjectionsAreLongerEachTimeUpToTheMost) {
  for (double seconds : {30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300}) {
    ASSERT_TRUE(Eject());
    EXPECT_EQ(record().until - now_, Nanos(absl::Seconds(seconds)));
    now_ = record().until;
  }
}

TEST_F(HealthStatesTest, AnEjectionIsForgottenEachBaseTimeAfterTheLast) {
  ASSERT_TRUE(Eject());
  now_ = record().until;
  ASSERT_TRUE(Eject());
  EXPECT_EQ(record().ejections, 2);
  now_ = record().until + Nanos(absl::Seconds(30));
  ASSERT_TRUE(Eject());
  EXPECT_EQ(record().ejections, 2);
}

TEST_F(HealthStatesTest, NoMoreThanTheConfiguredShareIsEjected) {
  ejection_.max_ejection_percent = 50;
  Apply();
  EXPECT_TRUE(Eject(0));
  EXPECT_TRUE(Eject(1));
  EXPECT_FALSE(Eject(2));
  EXPECT_TRUE(Eject(1)) << "it is ejected already";
}

TEST_F(HealthStatesTest, ALoneEndpointIsNotEjected) {
  live_.resize(1);
  Count();
  EXPECT_FALSE(Eject());
  EXPECT_TRUE(changes_.empty());
}

TEST_F(HealthStatesTest, WhenPeersAreAsSlowAnEjectionEnds) {
  SlowMethod slow;
  slow.Add(nullptr, 20);
  ASSERT_TRUE(states_.EjectForLatency(endpoint(), slow, now_, &changes_));
  EXPECT_EQ(record().slow_for.log, 20);
  Pass(absl::Seconds(2));
  Advance(0, /*peers_are_as_slow=*/true);
  EXPECT_EQ(health(), Health::kProbing);
}

TEST_F(HealthStatesTest, ObservedEjectionsAreToldOnceAndChangeNothing) {
  ejection_.mode = Mode::kObserve;
  Apply();
  EXPECT_FALSE(Eject());
  EXPECT_FALSE(Eject());
  EXPECT_TRUE(endpoint()->available());
  ASSERT_EQ(changes_.size(), 1);
  EXPECT_TRUE(changes_[0].observed);
  Pass(absl::Seconds(30));
  Advance();
  ASSERT_EQ(changes_.size(), 2);
  EXPECT_TRUE(changes_[1].observed);
  EXPECT_EQ(changes_[1].to, Health::kHealthy);
}

// ---- Failures in a row ----

TEST_F(HealthStatesTest, ARowOfFailedConnectionsEjects) {
  FailInARow(4, 4);
  Attempt(Kind::kConnectionFailure);
  EXPECT_EQ(health(), Health::kHealthy);
  FailInARow(5, 5);
  Attempt(Kind::kConnectionFailure);
  EXPECT_EQ(health(), Health::kEjected);
  EXPECT_EQ(record().cause, HealthCause::kConsecutiveLocalFailures);
  EXPECT_EQ(endpoint()->observations().consecutive, 0) << "begins anew";
}

TEST_F(HealthStatesTest, NoRowOfAnswersEjects) {
  FailInARow(1000, 0);
  Attempt(Kind::kFailure);
  EXPECT_EQ(health(), Health::kHealthy);
}

TEST_F(HealthStatesTest, FailuresInARowHalveTheShare) {
  FailInARow(1, 0);
  Attempt(Kind::kFailure);
  EXPECT_EQ(share(), 255);
  for (uint32_t expected : {127, 63, 31, 15, 15}) {
    FailInARow(FailureRow(endpoint()->observations().consecutive).failures + 1,
               0);
    Attempt(Kind::kFailure);
    EXPECT_EQ(share(), expected);
  }
  FailInARow(0, 0);
  Attempt(Kind::kSuccess);
  EXPECT_TRUE(endpoint()->available());
}

// ---- Trials ----

TEST_F(HealthStatesTest, OnTrialItIsInUseButNotAvailable) {
  FailInARow(3, 0);
  Attempt(Kind::kFailure);
  ASSERT_LT(share(), 255);
  BeginTrial();
  EXPECT_EQ(health(), Health::kTrial);
  EXPECT_EQ(endpoint()->trial(), 7);
  EXPECT_EQ(share(), 255) << "the coin takes the place of the share";
  EXPECT_FALSE(endpoint()->available());
  Count();
  EXPECT_EQ(states_.population().InUse(), 4);
  EXPECT_EQ(changes_.back().to, Health::kTrial);
  EXPECT_EQ(changes_.back().cause, HealthCause::kFailuresInARow);

  states_.EndTrial(endpoint(), now_, &changes_);
  EXPECT_TRUE(endpoint()->available());
  EXPECT_EQ(endpoint()->trial(), 0);
  EXPECT_EQ(endpoint()->observations().consecutive, 0) << "it is explained";
  EXPECT_EQ(changes_.back().cause, HealthCause::kAcquitted);
}

TEST_F(HealthStatesTest, ATrialEndsWithWhateverTakesItOutOfUse) {
  BeginTrial(0);
  ASSERT_TRUE(Eject(0));
  EXPECT_EQ(endpoint(0)->trial(), 0);
  BeginTrial(1);
  states_.OnSilence(endpoint(1), 50 * kMillisecond, now_, &changes_);
  EXPECT_EQ(endpoint(1)->trial(), 0);
  BeginTrial(2);
  states_.OnDraining(endpoint(2), now_, &changes_);
  EXPECT_EQ(endpoint(2)->trial(), 0);
  EXPECT_EQ(health(2), Health::kEjected);
}

TEST_F(HealthStatesTest, ARampGoesOnDuringATrialAndAfterIt) {
  LetProbe();
  Attempt(Kind::kSuccess);
  Attempt(Kind::kSuccess);
  ASSERT_EQ(health(), Health::kRamping);
  Pass(absl::Milliseconds(500));
  BeginTrial();
  EXPECT_EQ(share(), 127);
  states_.EndTrial(endpoint(), now_, &changes_);
  EXPECT_EQ(health(), Health::kRamping);
  BeginTrial();
  Pass(absl::Milliseconds(500));
  Advance();
  states_.Publish(endpoint(), now_);
  EXPECT_EQ(share(), 255) << "the ramp is over";
  states_.EndTrial(endpoint(), now_, &changes_);
  EXPECT_TRUE(endpoint()->available());
}

// ---- Probing, and the way back ----

TEST_F(HealthStatesTest, TwoGoodProbesBeginTheRamp) {
  LetProbe();
  Attempt(Kind::kSuccess);
  EXPECT_EQ(health(), Health::kProbing);
  EXPECT_EQ(share(), LiveEndpoint::kProbeFree) << "the next one";
  Attempt(Kind::kSuccess);
  EXPECT_EQ(health(), Health::kRamping);
  EXPECT_EQ(share(), 26) << "a tenth";
  Pass(absl::Milliseconds(500));
  Advance();
  states_.Publish(endpoint(), now_);
  EXPECT_EQ(share(), 127);
  Pass(absl::Milliseconds(500));
  Advance();
  EXPECT_TRUE(endpoint()->available());
}

TEST_F(HealthStatesTest, WhatEndsWithItsConnectionNeedsOneGoodProbe) {
  LetProbe(HealthCause::kConsecutiveLocalFailures);
  Attempt(Kind::kSuccess);
  EXPECT_EQ(health(), Health::kRamping);
}

TEST_F(HealthStatesTest, WithoutARampItIsBackAtOnce) {
  ejection_.ramp = absl::ZeroDuration();
  Apply();
  LetProbe();
  Attempt(Kind::kSuccess);
  Attempt(Kind::kSuccess);
  EXPECT_TRUE(endpoint()->available());
}

TEST_F(HealthStatesTest, AFailedProbeEjectsForLonger) {
  LetProbe();
  Attempt(Kind::kFailure);
  EXPECT_EQ(health(), Health::kEjected);
  EXPECT_EQ(record().ejections, 2);
  EXPECT_EQ(changes_.back().cause, HealthCause::kProbeFailed);
  EXPECT_EQ(record().cause, HealthCause::kFailures) << "as it was";
}

TEST_F(HealthStatesTest, OneFailedAnswerEjectsOnlyWhoWasConvicted) {
  LetProbe(HealthCause::kConsecutiveLocalFailures);
  Attempt(Kind::kFailure);
  EXPECT_EQ(health(), Health::kRamping) << "it was there to answer";
  LetProbe(HealthCause::kConsecutiveLocalFailures);
  Attempt(Kind::kConnectionFailure);
  EXPECT_EQ(health(), Health::kEjected) << "that is its connection";
}

TEST_F(HealthStatesTest, AProbeThatFailsAnywhereEjectsNobody) {
  LetProbe();
  Finding finding;
  finding.kind = Kind::kFailure;
  finding.began = now_;
  finding.hasty = finding.timed_out = true;
  states_.OnAttempt(endpoint(), finding, false, now_, &changes_);
  EXPECT_EQ(health(), Health::kProbing) << "anybody's deadline passes";
  finding.hasty = false;
  finding.others_fail = 0.1;
  states_.OnAttempt(endpoint(), finding, false, now_, &changes_);
  EXPECT_EQ(health(), Health::kRamping) << "the others fail, too";
}

// A probe of mesh's own was answered, and a real call tries it.
TEST_F(HealthStatesTest, WhoWasSilentIsNotEjectedForACall) {
  const auto let_probe = [this] {
    states_.OnProbeDone(endpoint(), /*answered=*/true, now_, &changes_);
    ASSERT_EQ(health(), Health::kProbing);
    ASSERT_TRUE(endpoint()->ClaimProbe());
  };
  BeSilent();
  let_probe();
  Finding finding;
  finding.kind = Kind::kFailure;
  finding.timed_out = finding.hasty = true;
  finding.began = now_;
  states_.OnAttempt(endpoint(), finding, false, now_, &changes_);
  EXPECT_EQ(health(), Health::kProbing) << "it would have passed anywhere";
  EXPECT_EQ(share(), LiveEndpoint::kProbeFree) << "the next one";
  finding.hasty = false;
  states_.OnAttempt(endpoint(), finding, false, now_, &changes_);
  EXPECT_EQ(health(), Health::kSuspect) << "it is silent again";
  let_probe();
  Attempt(Kind::kFailure);
  EXPECT_EQ(health(), Health::kRamping) << "it answers";
  BeSilent();
  let_probe();
  Attempt(Kind::kConnectionFailure);
  EXPECT_EQ(health(), Health::kEjected);
}

// How many calls in a row run into their deadlines until it is ejected.
TEST_F(HealthStatesTest,
       WhoWasSilentIsEjectedForDeadlinesUnlessOthersMissThem) {
  const auto count = [this](double others_fail, bool answers) {
    live_[0] = std::make_unique<LiveEndpoint>(cluster::Endpoint{"e0"});
    live_[0]->set_readiness(Readiness::kReady);
    Count();
    int calls = 0;
    for (; calls < 20 && health() != Health::kEjected; ++calls) {
      if (health() != Health::kSuspect) BeSilent();
      states_.OnProbeDone(endpoint(), /*answered=*/true, now_, &changes_);
      if (answers && calls % 2 == 1) {
        Attempt(Kind::kSuccess);
        BeSilent();
        states_.OnProbeDone(endpoint(), /*answered=*/true, now_, &changes_);
      }
      Finding finding;
      finding.kind = Kind::kFailure;
      finding.timed_out = true;
      finding.others_fail = others_fail;
      finding.began = now_;
      states_.OnAttempt(endpoint(), finding, false, now_, &changes_);
      EXPECT_NE(health(), Health::kProbing);
      // Where the others fail as well it is used meanwhile.
      if (health() != Health::kEjected) {
        EXPECT_EQ(health(),
                  others_fail < 0.1 ? Health::kSuspect : Health::kRamping);
      }
    }
    return calls;
  };
  EXPECT_EQ(count(0, /*answers=*/false), 2);
  EXPECT_EQ(count(0.1, /*answers=*/false), 2);
  EXPECT_EQ(count(0.2, /*answers=*/false), 3);
  EXPECT_EQ(count(0.5, /*answers=*/false), 6);
  EXPECT_EQ(count(0.9, /*answers=*/false), 20) << "so would any";
  EXPECT_EQ(count(0.2, /*answers=*/true), 20) << "never three in a row";
}

TEST_F(HealthStatesTest, TheSecondSlowProbeEjectsForLatency) {
  LetProbe();
  Attempt(Kind::kSuccess, /*slow=*/true);
  EXPECT_EQ(health(), Health::kProbing);
  Attempt(Kind::kNothing, /*slow=*/false, /*telling=*/true);
  EXPECT_EQ(health(), Health::kEjected);
  EXPECT_EQ(record().cause, HealthCause::kLatency);
  EXPECT_NEAR(record().slow_for.log, 20, 0.1) << "of a millisecond";
}

TEST_F(HealthStatesTest, WhatBeganBeforeTheProbeSaysNothing) {
  LetProbe();
  Finding finding;
  finding.kind = Kind::kFailure;
  finding.began = now_ - 1;
  states_.OnAttempt(endpoint(), finding, false, now_, &changes_);
  EXPECT_EQ(health(), Health::kProbing);
}

TEST_F(HealthStatesTest, APlaceThatNobodyUsesIsFreeAgainAfterASecond) {
  LetProbe();
  Advance();
  Pass(absl::Milliseconds(999));
  Advance();
  EXPECT_EQ(share(), 0);
  Pass(absl::Milliseconds(1));
  Advance();
  EXPECT_EQ(share(), LiveEndpoint::kProbeFree);
  EXPECT_EQ(record().good, 0);
}

TEST_F(HealthStatesTest, ThreeFailedConnectionsDuringTheRampEject) {
  LetProbe();
  Attempt(Kind::kSuccess);
  Attempt(Kind::kSuccess);
  FailInARow(2, 2);
  Attempt(Kind::kConnectionFailure);
  EXPECT_EQ(health(), Health::kRamping);
  FailInARow(3, 3);
  Attempt(Kind::kConnectionFailure);
  EXPECT_EQ(health(), Health::kEjected);
}

// ---- Silence ----

TEST_F(HealthStatesTest, ASuspectThatAnswersAnythingProbes) {
  for (Kind answer : {Kind::kSuccess, Kind::kFailure}) {
    live_[0] = std::make_unique<LiveEndpoint>(cluster::Endpoint{"e0"});
    live_[0]->set_readiness(Readiness::kReady);
    Count();
    BeSilent();
    EXPECT_EQ(health(), Health::kSuspect);
    EXPECT_EQ(share(), 0);
    Attempt(Kind::kConnectionFailure);
    EXPECT_EQ(health(), Health::kSuspect);
    Finding late;
    late.kind = Kind::kFailure;
    late.timed_out = true;
    states_.OnAttempt(endpoint(), late, false, now_, &changes_);
    EXPECT_EQ(health(), Health::kSuspect) << "no answer";
    Attempt(answer);
    EXPECT_EQ(health(), Health::kProbing);
    EXPECT_EQ(record().patience.doublings, 1) << "it was soon";
  }
}

TEST_F(HealthStatesTest, ItsProbeTellsAndAFailedOneIsSentAgain) {
  BeSilent();
  record().probe_sent = true;
  states_.OnProbeDone(endpoint(), /*answered=*/false, now_, &changes_);
  EXPECT_EQ(health(), Health::kSuspect);
  EXPECT_FALSE(record().probe_sent);
  EXPECT_EQ(record().next_probe, now_ + kProbeAgain);
  Pass(absl::Seconds(10));
  states_.OnProbeDone(endpoint(), /*answered=*/true, now_, &changes_);
  EXPECT_EQ(health(), Health::kProbing);
  EXPECT_EQ(record().patience.doublings, 0) << "it was late";
}

TEST_F(HealthStatesTest, ObservedSilenceIsToldUntilItEnds) {
  silence_.mode = Mode::kObserve;
  Apply();
  endpoint()->mutable_observations().silence.begun = 5;
  BeSilent();
  BeSilent();
  Advance();
  ASSERT_EQ(changes_.size(), 1);
  EXPECT_TRUE(changes_[0].observed);
  EXPECT_TRUE(endpoint()->available());
  endpoint()->mutable_observations().silence.Forget();
  Advance();
  ASSERT_EQ(changes_.size(), 2);
  EXPECT_EQ(changes_[1].to, Health::kHealthy);
}

// ---- Connections ----

TEST_F(HealthStatesTest, ANewConnectionEndsWhatWasOfTheOldOne) {
  BeSilent();
  states_.OnConnected(endpoint(), now_, &changes_);
  EXPECT_EQ(health(), Health::kRamping);
  ASSERT_TRUE(Eject(1, HealthCause::kConsecutiveLocalFailures));
  states_.OnConnected(endpoint(1), now_, &changes_);
  EXPECT_EQ(health(1), Health::kRamping);
  ASSERT_TRUE(Eject(2));
  states_.OnConnected(endpoint(2), now_, &changes_);
  EXPECT_EQ(health(2), Health::kEjected) << "that is of the endpoint";
}

TEST_F(HealthStatesTest, ASecondConnectionInVainGetsSingleCalls) {
  for (Health expected : {Health::kRamping, Health::kProbing}) {
    ASSERT_TRUE(Eject(0, HealthCause::kConsecutiveLocalFailures));
    Pass(absl::Seconds(1));
    states_.OnConnected(endpoint(), now_, &changes_);
    EXPECT_EQ(health(), expected);
  }
}

TEST_F(HealthStatesTest, ANewConnectionForgetsFailuresOfTheOldOne) {
  FailInARow(6, 4);
  states_.OnConnected(endpoint(), now_, &changes_);
  const FailureRow row(endpoint()->observations().consecutive);
  EXPECT_EQ(row.connection, 0);
  EXPECT_EQ(row.failures, 2);
}

TEST_F(HealthStatesTest, WhoDrainsIsLeftAndTakesNoPlaceOfWhatFails) {
  ejection_.max_ejection_percent = 25;
  Apply();
  states_.OnDraining(endpoint(), now_, &changes_);
  EXPECT_EQ(health(), Health::kEjected);
  EXPECT_EQ(states_.population().ejected(), 0);
  EXPECT_TRUE(Eject(1));
  states_.OnConnected(endpoint(), now_, &changes_);
  EXPECT_EQ(health(), Health::kRamping);
}

// ---- Panic ----

TEST_F(HealthStatesTest, InPanicStatesAreKeptAndSharesAreFull) {
  ejection_.max_ejection_percent = 100;
  Apply();
  ASSERT_TRUE(Eject(0));
  ASSERT_TRUE(Eject(1));
  EXPECT_FALSE(states_.Panics(*endpoint())) << "half are in use still";
  EXPECT_FALSE(states_.TakePanicChanged());
  ASSERT_TRUE(Eject(2));
  EXPECT_TRUE(states_.Panics(*endpoint()));
  EXPECT_TRUE(states_.TakePanicChanged());
  EXPECT_FALSE(states_.TakePanicChanged()) << "told once";
  for (int i = 0; i < 4; ++i) states_.Publish(endpoint(i), now_);
  EXPECT_EQ(share(0), 255);
  EXPECT_EQ(health(0), Health::kEjected);
  states_.OnDraining(endpoint(3), now_, &changes_);
  EXPECT_EQ(share(3), 255);
}

TEST_F(HealthStatesTest, ACountAgreesWithTheChangesBefore) {
  ejection_.max_ejection_percent = 100;
  Apply();
  ASSERT_TRUE(Eject(0));
  BeSilent();
  ASSERT_TRUE(Eject(2));
  const uint32_t ejected = states_.population().ejected();
  const uint32_t in_use = states_.population().InUse();
  Count();
  EXPECT_EQ(states_.population().ejected(), ejected);
  EXPECT_EQ(states_.population().InUse(), in_use);
  EXPECT_EQ(states_.population().ready(), 4);
  // Out of connection: in use no longer, but for what is ejected.
  endpoint(2)->set_readiness(Readiness::kFailed);
  endpoint(3)->set_readiness(Readiness::kFailed);
  Count();
  EXPECT_EQ(states_.population().ready(), 2);
  EXPECT_EQ(states_.population().total(), 3);
}

TEST_F(HealthStatesTest, ATrialGoesWithItsOwnPolicyWhateverWasBefore) {
  BeSilent();
  states_.OnConnected(endpoint(), now_, &changes_);
  Pass(absl::Seconds(1));
  Advance();
  ASSERT_EQ(health(), Health::kHealthy);
  ASSERT_EQ(record().cause, HealthCause::kSilence) << "of an earlier time";
  BeginTrial();
  silence_.mode = Mode::kOff;
  Apply();
  Advance();
  EXPECT_EQ(health(), Health::kTrial);
  silence_.mode = Mode::kEnforce;
  ejection_.mode = Mode::kOff;
  Apply();
  Advance();
  EXPECT_EQ(health(), Health::kHealthy);
  EXPECT_EQ(endpoint()->trial(), 0);
}

TEST_F(HealthStatesTest, AReloadThatTurnsItOffGivesTheEndpointBack) {
  ASSERT_TRUE(Eject());
  ejection_.mode = Mode::kOff;
  Apply();
  Advance();
  EXPECT_TRUE(endpoint()->available());
  BeSilent();
  EXPECT_EQ(health(), Health::kSuspect);
  silence_.mode = Mode::kOff;
  Apply();
  Advance();
  EXPECT_TRUE(endpoint()->available());
}

}  // namespace
}  // namespace mesh::resilience
