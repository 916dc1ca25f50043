#include "gtest/gtest.h"
#include "mesh/resilience/health/monitor_test_service.h"

namespace mesh::resilience {
namespace {

// Doubt and a trial in which the first endpoint fails all of its calls.
void Convict(TestService* service) {
  for (int k = 0; k < 3; ++k) {
    service->Attempt(0, Ms(0.1), TestService::Failure(kUnavailable));
  }
  ASSERT_EQ(service->health(0), Health::kTrial);
  service->TryOut(0, 1, TestService::Failure(kUnavailable), Ms(0.1));
  ASSERT_EQ(service->health(0), Health::kEjected);
  ASSERT_EQ(service->changes.back().cause, HealthCause::kFailures);
}

// ---- The time that an ejection takes, and the way back ----

TEST(HealthMonitorTest, AnEjectionIsLongerEachTimeAndShortensAgain) {
  TestService service(4);
  service.Warm();
  auto eject = [&service] { Convict(&service); };
  auto seconds_out = [&service] {
    const absl::Time start = service.now;
    while (service.health(0) == Health::kEjected) service.Pass(Ms(25));
    return absl::ToDoubleSeconds(service.now - start);
  };
  auto come_back = [&service] {
    service.Attempt(0, Ms(1));
    service.Attempt(0, Ms(1));
    ASSERT_EQ(service.health(0), Health::kRamping);
    service.Pass(absl::Seconds(1.1));
    ASSERT_TRUE(service.live[0]->available());
  };
  eject();
  EXPECT_NEAR(seconds_out(), 30, 0.1);
  come_back();
  eject();
  EXPECT_NEAR(seconds_out(), 60, 0.1);
  come_back();
  eject();
  EXPECT_NEAR(seconds_out(), 90, 0.1);
  come_back();
  service.Pass(absl::Seconds(61));  // Two times the base: two less.
  eject();
  EXPECT_NEAR(seconds_out(), 60, 0.1);
  for (int i = 0; i < 15; ++i) {
    come_back();
    eject();
    EXPECT_LE(seconds_out(), 300.1);
  }
}

TEST(HealthMonitorTest, OneCallAtATimeProbesWhatReturns) {
  TestService service(4);
  service.Warm();
  Convict(&service);
  service.Pass(absl::Seconds(30.1));
  ASSERT_EQ(service.health(0), Health::kProbing);
  EXPECT_FALSE(service.live[0]->available());
  EXPECT_TRUE(service.live[0]->ClaimProbe());
  EXPECT_FALSE(service.live[0]->ClaimProbe()) << "one is under way";
  service.Attempt(0, Ms(1));
  EXPECT_EQ(service.health(0), Health::kProbing) << "one success is not enough";
  EXPECT_TRUE(service.live[0]->ClaimProbe());
  service.Attempt(0, Ms(1));
  EXPECT_EQ(service.health(0), Health::kRamping);
  EXPECT_FALSE(service.live[0]->ClaimProbe());

  uint32_t share = service.live[0]->share();
  EXPECT_NEAR(share, 26, 1);
  for (int i = 0; i < 9; ++i) {
    service.Pass(Ms(100));
    EXPECT_GE(service.live[0]->share(), share);
    share = service.live[0]->share();
  }
  EXPECT_NEAR(share, 230, 10);
  service.Pass(Ms(200));
  EXPECT_TRUE(service.live[0]->available());
}

TEST(HealthMonitorTest, AProbeThatFailsEjectsForLonger) {
  TestService service(4);
  service.Warm();
  Convict(&service);
  service.Pass(absl::Seconds(30.1));
  service.Attempt(0, Ms(1), TestService::Failure(kUnavailable));
  EXPECT_EQ(service.health(0), Health::kEjected);
  EXPECT_EQ(service.changes.back().cause, HealthCause::kProbeFailed);
  service.Pass(absl::Seconds(59));
  EXPECT_EQ(service.health(0), Health::kEjected);
  service.Pass(absl::Seconds(1.1));
  EXPECT_EQ(service.health(0), Health::kProbing);
}

// Silent for a moment, and found. Its probe is answered.
void BeSilentAndComeBack(TestService* service) {
  for (int k = 0; k < 8; ++k) service->Begin(0);
  service->Pass(Ms(200));
  ASSERT_EQ(service->health(0), Health::kSuspect);
  service->RunFor(Ms(10));
  ASSERT_EQ(service->health(0), Health::kProbing);
}

TEST(HealthMonitorTest, OneFailedAnswerEjectsNobodyWhoWasSilent) {
  TestService service(4);
  service.Warm();
  BeSilentAndComeBack(&service);
  service.Attempt(0, Ms(1), TestService::Failure(kInternal));
  EXPECT_EQ(service.health(0), Health::kRamping) << "it answers";
  for (int k = 0; k < 3; ++k) {
    service.Attempt(0, Ms(1), TestService::Failure(kInternal));
  }
  EXPECT_EQ(service.health(0), Health::kTrial);
  EXPECT_EQ(service.Count(Health::kEjected), 0);
}

TEST(HealthMonitorTest, WhoWasSilentIsBackThoughThisSideDoesNotTakeItsReply) {
  TestService service(4);
  service.Warm();
  BeSilentAndComeBack(&service);
  AttemptResult own =
      TestService::Failure(absl::StatusCode::kResourceExhausted, true);
  own.own = true;
  service.Attempt(0, Ms(1), own);
  EXPECT_EQ(service.health(0), Health::kProbing) << "nothing was sent";
  own.answered = true;
  service.Attempt(0, Ms(1), own);
  EXPECT_EQ(service.health(0), Health::kRamping);
}

TEST(HealthMonitorTest, AReplyThatThisSideDoesNotTakeEndsASuspicion) {
  TestService service(4);
  service.Warm();
  for (int k = 0; k < 8; ++k) service.Begin(0);
  service.Pass(Ms(200));
  ASSERT_EQ(service.health(0), Health::kSuspect);
  AttemptResult own =
      TestService::Failure(absl::StatusCode::kResourceExhausted, true);
  own.own = own.answered = true;
  service.End(0, Ms(200), own);
  EXPECT_EQ(service.health(0), Health::kProbing);
}

TEST(HealthMonitorTest, WhoWasConvictedIsNotEjectedAgainForWhatFailsAnywhere) {
  TestService service(4);
  service.Warm();
  Convict(&service);
  service.Pass(absl::Seconds(30.1));
  ASSERT_EQ(service.health(0), Health::kProbing);
  for (int k = 0; k < 400; ++k) {
    for (int i : {1, 2, 3}) {
      service.Attempt(i, Ms(1), TestService::Failure(k % 4 ? kOk : kInternal));
    }
    service.Tick();
  }
  service.Attempt(0, Ms(1), TestService::Failure(kInternal));
  EXPECT_EQ(service.health(0), Health::kRamping);
  EXPECT_EQ(service.Count(Health::kEjected), 1);
}

TEST(HealthMonitorTest, WhatBeganBeforeTheProbeSaysNothingOfIt) {
  TestService service(4);
  service.Warm();
  service.Begin(0);
  Convict(&service);
  service.Pass(absl::Seconds(30.1));
  ASSERT_EQ(service.health(0), Health::kProbing);
  service.End(0, absl::Seconds(31), TestService::Failure(kUnavailable, true));
  EXPECT_EQ(service.health(0), Health::kProbing);
}

TEST(HealthMonitorTest, APlaceThatIsTakenAndNotUsedIsFreeAgain) {
  TestService service(4);
  service.Warm();
  Convict(&service);
  service.Pass(absl::Seconds(30.1));
  ASSERT_TRUE(service.live[0]->ClaimProbe());
  service.Pass(absl::Seconds(1.2));
  EXPECT_TRUE(service.live[0]->ClaimProbe());
}

// As by calls that meet a cap after they have taken it.
TEST(HealthMonitorTest, APlaceThatIsTakenAndNotUsedIsNoGoodProbe) {
  TestService service(4);
  service.Warm();
  service.Begin(0, /*unary=*/false);  // A stream from before.
  Convict(&service);
  service.Pass(absl::Seconds(30.1));
  for (int k = 0; k < 5; ++k) {
    ASSERT_TRUE(service.live[0]->ClaimProbe()) << k;
    service.Pass(absl::Seconds(1.2));
    EXPECT_EQ(service.health(0), Health::kProbing);
    EXPECT_EQ(RecordOf(service.live[0].get()).good, 0);
  }
}

TEST(HealthMonitorTest, AStreamThatLastsIsAGoodProbe) {
  TestService service(4);
  service.Warm();
  Convict(&service);
  service.Pass(absl::Seconds(30.1));
  for (int k = 0; k < 2; ++k) {
    ASSERT_EQ(service.health(0), Health::kProbing);
    ASSERT_TRUE(service.live[0]->ClaimProbe()) << k;
    service.Begin(0, /*unary=*/false);
    service.Pass(absl::Seconds(1.2));
  }
  EXPECT_EQ(service.health(0), Health::kRamping);
}

TEST(HealthMonitorTest, FailedConnectionsDuringTheRampEjectAgain) {
  TestService service(4);
  service.Warm();
  Convict(&service);
  service.Pass(absl::Seconds(30.1));
  service.Attempt(0, Ms(1));
  service.Attempt(0, Ms(1));
  ASSERT_EQ(service.health(0), Health::kRamping);
  service.FailConnections(0, 3);
  EXPECT_EQ(service.health(0), Health::kEjected);
}

TEST(HealthMonitorTest, FailuresDuringTheRampAreTried) {
  TestService service(4);
  service.Warm();
  Convict(&service);
  service.Pass(absl::Seconds(30.1));
  service.Attempt(0, Ms(1));
  service.Attempt(0, Ms(1));
  ASSERT_EQ(service.health(0), Health::kRamping);
  const uint32_t share = service.live[0]->share();
  for (int k = 0; k < 3; ++k) {
    service.Attempt(0, Ms(1), TestService::Failure(kInternal));
  }
  EXPECT_EQ(service.health(0), Health::kTrial);
  EXPECT_NEAR(service.live[0]->share(), share, 2) << "it ramps still";
}

TEST(HealthMonitorTest, ANewConnectionEndsAnEjectionForConnectionsOnly) {
  TestService service(8);
  service.Warm();
  Convict(&service);
  service.FailConnections(2);
  ASSERT_EQ(service.health(2), Health::kEjected);
  service.monitor.OnConnected(service.live[0].get(), service.now);
  service.monitor.OnConnected(service.live[2].get(), service.now);
  EXPECT_EQ(service.health(2), Health::kRamping);
  EXPECT_EQ(service.changes.back().cause, HealthCause::kNewConnection);
  EXPECT_EQ(service.health(0), Health::kEjected);
}

// It accepts connections and resets them, one after the other.
TEST(HealthMonitorTest, NewConnectionsThatFailTooGetSingleCallsAndNoRamp) {
  TestService service(4);
  service.Warm();
  const auto reset = TestService::Failure(kUnavailable, /*local=*/true);
  auto connect = [&service] {
    service.monitor.OnConnected(service.live[0].get(), service.now);
  };
  for (int k = 0; k < 5; ++k) service.Attempt(0, Ms(1), reset);
  ASSERT_EQ(service.health(0), Health::kEjected);
  service.Pass(absl::Seconds(1));
  connect();
  ASSERT_EQ(service.health(0), Health::kRamping) << "the first one";
  for (int k = 0; k < 3; ++k) service.Attempt(0, Ms(1), reset);
  ASSERT_EQ(service.health(0), Health::kEjected);
  for (int k = 0; k < 20; ++k) {
    service.Pass(absl::Seconds(1));
    connect();
    ASSERT_EQ(service.health(0), Health::kProbing) << k;
    EXPECT_EQ(service.changes.back().cause, HealthCause::kNewConnection);
    ASSERT_TRUE(service.live[0]->ClaimProbe());
    service.Attempt(0, Ms(1), reset);
    ASSERT_EQ(service.health(0), Health::kEjected) << k;
  }
  // It is mended.
  connect();
  ASSERT_TRUE(service.live[0]->ClaimProbe());
  service.Attempt(0, Ms(1));
  EXPECT_EQ(service.health(0), Health::kRamping);
  service.Pass(absl::Seconds(1.1));
  EXPECT_TRUE(service.live[0]->available());
}

TEST(HealthMonitorTest, AReconnectLongAfterTheLastOneRampsAtOnce) {
  TestService service(4);
  service.Warm();
  for (int round = 0; round < 3; ++round) {
    for (int k = 0; k < 5; ++k) {
      service.Attempt(0, Ms(1),
                      TestService::Failure(kUnavailable, /*local=*/true));
    }
    ASSERT_EQ(service.health(0), Health::kEjected);
    service.monitor.OnConnected(service.live[0].get(), service.now);
    EXPECT_EQ(service.health(0), Health::kRamping) << round;
    service.Pass(absl::Seconds(100));
  }
}

}  // namespace
}  // namespace mesh::resilience
