#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/resilience/health/monitor_test_service.h"

namespace mesh::resilience {
namespace {

// What is known of an endpoint when a reload comes, and when another connection
// takes the place of the one before.

void FailInARow(TestService* service, int i, int count) {
  for (int k = 0; k < count; ++k) {
    service->Attempt(i, Ms(1), TestService::Failure(kInternal));
  }
}

// ---- A reload ----

TEST(HealthMonitorTest, AReloadKeepsWhatIsKnownOfEachEndpoint) {
  options::GuardOptions options;
  TestService service(8, options);
  service.Warm();
  service.FailConnections(0);
  FailInARow(&service, 1, 3);
  FailInARow(&service, 2, 2);
  const uint32_t trial = service.live[1]->trial();
  ASSERT_EQ(service.health(0), Health::kEjected);
  ASSERT_EQ(service.health(1), Health::kTrial);

  options.silence.latency_factor = 5;
  service.monitor.SetOptions(options);
  service.Tick();
  EXPECT_EQ(service.health(0), Health::kEjected);
  EXPECT_EQ(service.health(1), Health::kTrial);
  EXPECT_EQ(service.live[1]->trial(), trial);
  EXPECT_EQ(service.health(2), Health::kHealthy);
  FailInARow(&service, 2, 1);
  EXPECT_EQ(service.health(2), Health::kTrial) << "the third in a row";
}

// ---- Another connection ----

TEST(HealthMonitorTest, AnEjectionGoesOnOverAnotherConnection) {
  TestService service(4);
  service.Warm();
  FailInARow(&service, 0, 3);
  service.TryOut(0, 1, TestService::Failure(kInternal), Ms(1));
  ASSERT_EQ(service.health(0), Health::kEjected);
  service.Pass(absl::Seconds(10));

  const LiveEndpointPtr before = service.Replace(0);
  EXPECT_EQ(service.health(0), Health::kEjected);
  EXPECT_EQ(service.live[0]->share(), 0u);
  service.Pass(absl::Seconds(19));
  EXPECT_EQ(service.health(0), Health::kEjected);
  service.Pass(absl::Seconds(2));
  EXPECT_EQ(service.health(0), Health::kProbing) << "after 30 s in all";
}

TEST(HealthMonitorTest, ARampGoesOnOverAnotherConnection) {
  TestService service(4);
  service.Warm();
  service.FailConnections(0);
  service.monitor.OnConnected(service.live[0].get(), service.now);
  service.Pass(Ms(500));
  ASSERT_EQ(service.health(0), Health::kRamping);
  const uint32_t share = service.live[0]->share();

  const LiveEndpointPtr before = service.Replace(0);
  EXPECT_EQ(service.health(0), Health::kRamping);
  EXPECT_EQ(service.live[0]->share(), share);
  service.Pass(Ms(600));
  EXPECT_TRUE(service.live[0]->available());
}

TEST(HealthMonitorTest, ATrialGoesOnOverAnotherConnection) {
  TestService service(4);
  service.Warm();
  FailInARow(&service, 0, 3);
  const uint32_t trial = service.live[0]->trial();
  ASSERT_EQ(service.health(0), Health::kTrial);
  const size_t told = service.changes.size();

  const LiveEndpointPtr before = service.Replace(0);
  EXPECT_EQ(service.health(0), Health::kTrial);
  EXPECT_EQ(service.live[0]->trial(), trial);
  EXPECT_EQ(before->trial(), trial) << "an old picker tosses the same coin";
  EXPECT_EQ(service.changes.size(), told);
  // A caller with the old endpoints looks once more. That ends no trial.
  std::vector<LiveEndpointPtr> old = service.live;
  old[0] = before;
  service.now += Ms(100);
  service.monitor.Tick(old, service.now);
  service.Pass(Ms(100));
  EXPECT_EQ(service.health(0), Health::kTrial);
  // What ends over the old connection counts, and its verdict is for the new.
  for (int k = 0; k < 60 && service.health(0) == Health::kTrial; ++k) {
    ASSERT_TRUE(before->Acquire());
    AttemptResult late = TestService::Failure(kInternal);
    late.ticket = cluster::TrialTicket(trial, true);
    service.EndOn(before.get(), Ms(1), late);
    AttemptResult elsewhere;
    elsewhere.ticket = cluster::TrialTicket(trial, false);
    service.Attempt(1, Ms(1), elsewhere);
    service.Tick();
  }
  EXPECT_EQ(service.health(0), Health::kEjected);
  EXPECT_EQ(service.changes.back().cause, HealthCause::kFailures);
}

TEST(HealthMonitorTest, ATrialOfWhatIsReplacedAndGoneEnds) {
  TestService service(4);
  service.Warm();
  FailInARow(&service, 0, 3);
  const cluster::TrialTicket ticket(service.live[0]->trial(), true);
  service.Replace(0);
  service.live.erase(service.live.begin());
  service.Pass(Ms(200));
  // Nobody is convicted by what comes late.
  for (int k = 0; k < 100; ++k) {
    AttemptResult late = TestService::Failure(kInternal);
    late.ticket = ticket;
    service.Attempt(0, Ms(1), late);
    service.Attempt(0, Ms(1));
    service.Tick();
  }
  EXPECT_EQ(service.Count(Health::kEjected), 0);
}

TEST(HealthMonitorTest, AnAcquittalRestsOverAnotherConnection) {
  // Why it is tried again by three failures in a row, `calls` after a trial of
  // 64 calls on it has acquitted it.
  const auto tried_for = [](int calls) {
    TestService service(4);
    service.Warm();
    FailInARow(&service, 0, 3);
    service.Replace(0);
    EXPECT_EQ(service.TryOut(0, 1, AttemptResult(), Ms(1)), 64);
    EXPECT_EQ(service.changes.back().cause, HealthCause::kAcquitted);
    service.Replace(0);
    for (int k = 0; k < calls; ++k) service.Attempt(0, Ms(1));
    FailInARow(&service, 0, 3);
    EXPECT_EQ(service.health(0), Health::kTrial);
    return service.changes.back().cause;
  };
  EXPECT_EQ(tried_for(50), HealthCause::kFailureRate) << "the row rests";
  EXPECT_EQ(tried_for(200), HealthCause::kFailuresInARow);
}

TEST(HealthMonitorTest, ARowOfFailuresGoesOnOverAnotherConnection) {
  TestService service(4);
  service.Warm();
  FailInARow(&service, 0, 2);
  service.Replace(0);
  EXPECT_EQ(service.health(0), Health::kHealthy);
  FailInARow(&service, 0, 1);
  EXPECT_EQ(service.health(0), Health::kTrial);
}

TEST(HealthMonitorTest, FailuresOfTheOldConnectionEndWithIt) {
  TestService service(4);
  service.Warm();
  service.FailConnections(0, 4);
  service.Replace(0);
  service.FailConnections(0, 4);
  EXPECT_NE(service.health(0), Health::kEjected);
  service.FailConnections(0, 1);
  EXPECT_EQ(service.health(0), Health::kEjected) << "five in a row";
}

TEST(HealthMonitorTest, WhatIsReplacedIsDoubtedNoMore) {
  TestService service(4);
  service.Warm();
  const LiveEndpointPtr before = service.Replace(0);
  for (int k = 0; k < 20; ++k) ASSERT_TRUE(before->Acquire());
  before->Close();
  for (int k = 0; k < 20; ++k) {
    service.EndOn(before.get(), Ms(1), TestService::Failure(kInternal));
  }
  EXPECT_EQ(service.Count(Health::kTrial), 0);
}

// What the others answer in 1 ms takes 200 ms on it, or it fails.
TEST(HealthMonitorTest, RenewalsDoNotHideWhoIsIll) {
  for (const bool slow : {true, false}) {
    const auto seconds = [slow](absl::Duration renewal) {
      TestService service(4, Defaults(), /*seed=*/5);
      if (slow) service.servers[2].latency = [] { return Ms(200); };
      if (!slow) {
        service.servers[2].code = [&service] {
          return service.random.Unit() < 0.3 ? kInternal : kOk;
        };
      }
      service.Load(30, service.now + absl::Seconds(600));
      int rounds = 0;
      for (; service.health(2) != Health::kEjected && rounds < 500; ++rounds) {
        service.RunFor(renewal);
        for (int i = 0; i < 4; ++i) {
          const LiveEndpointPtr before = service.Replace(i);
          before->Close();
        }
      }
      return absl::ToInt64Seconds(rounds * renewal);
    };
    const int64_t rare = seconds(absl::Seconds(10));
    const int64_t often = seconds(absl::Seconds(1));
    EXPECT_LE(often, rare + 10) << (slow ? "slow" : "failing");
  }
}

TEST(HealthMonitorTest, TheProbeOfTheOldConnectionSaysNothingOfTheNewOne) {
  TestService service(4);
  service.Warm();
  service.servers[0].stopped = true;
  for (int k = 0; k < 10; ++k) service.Begin(0);
  service.Pass(Ms(300));
  ASSERT_EQ(service.health(0), Health::kSuspect);
  ASSERT_EQ(service.probes, 1);

  const LiveEndpointPtr before = service.Replace(0);
  EXPECT_EQ(service.health(0), Health::kSuspect);
  service.monitor.OnProbeDone(before.get(), true, service.now);
  EXPECT_EQ(service.health(0), Health::kSuspect);
  service.Pass(absl::Seconds(1.1));
  EXPECT_EQ(service.probes, 2) << "it has its own";
}

TEST(HealthMonitorTest, DoubtBeginsAnewWhereTheOldConnectionWasSilent) {
  TestService service(4);
  service.Warm();
  FailInARow(&service, 0, 2);
  service.servers[0].stopped = true;
  for (int k = 0; k < 10; ++k) service.Begin(0);
  service.Pass(Ms(400));
  ASSERT_EQ(service.health(0), Health::kSuspect);

  service.servers[0].stopped = false;
  service.Replace(0);
  service.monitor.OnConnected(service.live[0].get(), service.now);
  service.Pass(absl::Seconds(2));
  ASSERT_EQ(service.health(0), Health::kHealthy);
  FailInARow(&service, 0, 2);
  EXPECT_EQ(service.health(0), Health::kHealthy);
  FailInARow(&service, 0, 1);
  EXPECT_EQ(service.health(0), Health::kTrial);
}

TEST(HealthMonitorTest, NothingIsKnownOfANewEndpoint) {
  TestService service(4);
  service.Warm();
  service.FailConnections(0);
  ASSERT_EQ(service.health(0), Health::kEjected);
  service.live.push_back(
      std::make_shared<LiveEndpoint>(service.live[0]->endpoint()));
  service.live.back()->set_readiness(Readiness::kReady);
  service.servers.emplace_back();
  service.Pass(Ms(100));
  EXPECT_TRUE(service.live.back()->available());
}

TEST(HealthMonitorTest, OfWhatNothingIsKnownNothingIsInherited) {
  TestService service(2);
  LiveEndpoint from(cluster::Endpoint{"e0"});
  LiveEndpoint to(cluster::Endpoint{"e0"});
  to.set_readiness(Readiness::kReady);
  service.monitor.Inherit(&from, &to);
  EXPECT_TRUE(to.available());
}

}  // namespace
}  // namespace mesh::resilience
