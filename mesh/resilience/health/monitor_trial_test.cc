#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/resilience/health/monitor_test_service.h"

namespace mesh::resilience {
namespace {

// ---- Failures ----

TEST(HealthMonitorTest, AnEndpointThatFailsAPartOfItsCallsIsFoundAtAnyRate) {
  struct Case {
    double share;
    int most;
  };
  for (const Case& c : {Case{1, 40}, Case{0.4, 200}, Case{0.1, 1500}}) {
    for (double rate : {20.0, 2000.0}) {  // The rate of all ten together.
      TestService service(10, Defaults(), /*seed=*/3);
      service.Load(rate, service.now + absl::Seconds(4000));
      service.RunFor(absl::Seconds(5));
      const int before = service.servers[4].attempts;
      service.servers[4].code = [&service, &c] {
        return service.random.Unit() < c.share ? kInternal : kOk;
      };
      while (service.health(4) != Health::kEjected &&
             service.servers[4].attempts - before < 5 * c.most) {
        service.RunFor(Ms(10));
      }
      EXPECT_EQ(service.health(4), Health::kEjected) << c.share << " " << rate;
      EXPECT_LE(service.servers[4].attempts - before, c.most)
          << c.share << " " << rate;
      EXPECT_EQ(service.Count(Health::kEjected), 1);
      EXPECT_EQ(service.changes.back().cause, HealthCause::kFailures);
    }
  }
}

TEST(HealthMonitorTest, WhatFailsEverywhereEjectsNobody) {
  for (double share : {0.05, 0.3, 1.0}) {
    for (int servers : {2, 5}) {
      TestService service(servers, Defaults(), /*seed=*/7);
      for (auto& server : service.servers) {
        server.code = [&service, share] {
          return service.random.Unit() < share ? kInternal : kOk;
        };
      }
      service.Load(500, service.now + absl::Seconds(30));
      service.RunFor(absl::Seconds(30));
      EXPECT_EQ(service.Count(Health::kEjected), 0) << share;
      if (share > 0.1) {
        EXPECT_GT(service.Count(Health::kTrial), 0) << "it was doubted";
      }
    }
  }
}

TEST(HealthMonitorTest, ATrialEndsWithAnAcquittalAndTheDoubtRests) {
  TestService service(3);
  service.Warm();
  const auto doubt = [&service] {
    for (int k = 0; k < 3; ++k) {
      service.Attempt(0, Ms(1), TestService::Failure(kInternal));
    }
  };
  doubt();
  ASSERT_EQ(service.health(0), Health::kTrial);
  const int calls = service.TryOut(0, 1, AttemptResult(), Ms(1));
  EXPECT_EQ(calls, 64);
  EXPECT_TRUE(service.live[0]->available());
  EXPECT_EQ(service.changes.back().cause, HealthCause::kAcquitted);
  // As many calls later it may be doubted again.
  const int trials = service.Count(Health::kTrial);
  for (int k = 0; k < 15; ++k) {
    doubt();
    for (int j = 0; j < 2; ++j) service.Attempt(0, Ms(1));
    service.Tick();
  }
  EXPECT_LE(service.Count(Health::kTrial), trials + 1) << "of another kind";
}

TEST(HealthMonitorTest, WhoseSideRaisesTheEvidenceDoesNotMatter) {
  // The last calls of the trial are elsewhere: whoever begins a call next holds
  // the endpoint, and ejects it.
  TestService service(3);
  service.Warm();
  for (int k = 0; k < 3; ++k) {
    service.Attempt(0, Ms(1), TestService::Failure(kInternal));
  }
  const uint32_t trial = service.live[0]->trial();
  ASSERT_NE(trial, 0u);
  for (int k = 0; k < 10; ++k) {
    AttemptResult here = TestService::Failure(kInternal);
    here.ticket = cluster::TrialTicket(trial, true);
    service.Attempt(0, Ms(1), here);
  }
  ASSERT_EQ(service.health(0), Health::kTrial);
  AttemptResult elsewhere;
  elsewhere.ticket = cluster::TrialTicket(trial, false);
  for (int k = 0; k < 40; ++k) service.Attempt(1, Ms(0.1), elsewhere);
  EXPECT_TRUE(service.monitor.Due(service.now));
  service.Tick();
  EXPECT_EQ(service.health(0), Health::kEjected);
}

TEST(HealthMonitorTest, ATrialThatMayNotEjectGoesOn) {
  options::GuardOptions options;
  options.outlier_ejection.max_ejection_percent = 30;
  TestService service(4, options);
  service.Warm();
  service.FailConnections(3);
  ASSERT_EQ(service.health(3), Health::kEjected);
  for (int k = 0; k < 3; ++k) {
    service.Attempt(0, Ms(1), TestService::Failure(kInternal));
  }
  for (int k = 0; k < 100; ++k) {
    AttemptResult result = TestService::Failure(k % 2 == 0 ? kInternal : kOk);
    result.ticket = cluster::TrialTicket(service.live[0]->trial(), k % 2 == 0);
    service.Attempt(k % 2, Ms(0.1), result);
  }
  EXPECT_EQ(service.health(0), Health::kTrial);
  service.monitor.OnConnected(service.live[3].get(), service.now);
  service.Tick();
  AttemptResult result = TestService::Failure(kInternal);
  result.ticket = cluster::TrialTicket(service.live[0]->trial(), true);
  for (int k = 0; k < 3; ++k) service.Attempt(0, Ms(0.1), result);
  EXPECT_EQ(service.health(0), Health::kEjected);
}

TEST(HealthMonitorTest, WhatMayNotBeEjectedIsNotLookedAtWithEachCall) {
  TestService service(4);
  service.Warm();
  service.FailConnections(3);
  for (int k = 0; k < 3; ++k) {
    service.Attempt(0, Ms(1), TestService::Failure(kInternal));
  }
  const uint32_t trial = service.live[0]->trial();
  AttemptResult here = TestService::Failure(kInternal);
  here.ticket = cluster::TrialTicket(trial, true);
  AttemptResult elsewhere;
  elsewhere.ticket = cluster::TrialTicket(trial, false);
  for (int k = 0; k < 50; ++k) {
    service.Attempt(0, Ms(0.1), here);
    service.Attempt(1, Ms(0.1), elsewhere);
  }
  ASSERT_EQ(service.health(0), Health::kTrial);
  service.Pass(Ms(25));
  for (int k = 0; k < 50; ++k) {
    service.Attempt(1, Ms(0.1), elsewhere);
    EXPECT_FALSE(service.monitor.Due(service.now)) << k;
  }
  // The look that comes anyway tries again.
  service.monitor.OnConnected(service.live[3].get(), service.now);
  service.Attempt(1, Ms(0.1), elsewhere);
  service.Pass(Ms(50));
  EXPECT_EQ(service.health(0), Health::kEjected);
}

TEST(HealthMonitorTest, CallsOnOneConnectionThatBreaksAreOneBadCallOfATrial) {
  TestService service(3);
  service.Warm();
  for (int k = 0; k < 3; ++k) {
    service.Attempt(0, Ms(1), TestService::Failure(kInternal));
  }
  AttemptResult broken = TestService::Failure(kUnavailable, /*local=*/true);
  broken.ticket = cluster::TrialTicket(service.live[0]->trial(), true);
  for (int k = 0; k < 100; ++k) service.Begin(0);
  service.now += Ms(1);
  for (int k = 0; k < 100; ++k) service.End(0, Ms(1), broken);
  EXPECT_NE(service.health(0), Health::kEjected);
}

TEST(HealthMonitorTest, AConnectionThatBreaksInATrialIsNotSlow) {
  TestService service(3);
  service.Warm();
  for (int k = 0; k < 3; ++k) {
    service.Attempt(0, Ms(1), TestService::Failure(kInternal));
  }
  AttemptResult broken = TestService::Failure(kUnavailable, /*local=*/true);
  broken.ticket = cluster::TrialTicket(service.live[0]->trial(), true);
  for (int k = 0; k < 100; ++k) service.Begin(0);
  service.now += absl::Seconds(2);
  for (int k = 0; k < 100; ++k) service.End(0, absl::Seconds(2), broken);
  EXPECT_EQ(service.Count(Health::kEjected), 0);
}

// ---- Latency ----

// Slow answers until it is in doubt.
void BeSlow(TestService* service, absl::Duration latency) {
  for (int k = 0; k < 50 && service->live[0]->trial() == 0; ++k) {
    service->Attempt(0, latency);
    service->Attempt(1, Ms(1));
    service->Tick();
  }
  ASSERT_EQ(service->health(0), Health::kTrial);
}

TEST(HealthMonitorTest, WhereACallLeftThePriorityNoTimesAreCompared) {
  for (const bool leaves : {false, true}) {
    TestService service(3);
    cluster::Endpoint far;
    far.address = "far";
    far.priority = 1;
    service.live[2] = std::make_shared<LiveEndpoint>(far);
    service.live[2]->set_readiness(Readiness::kReady);
    service.Warm();
    BeSlow(&service, Ms(20));
    AttemptResult full;  // A cap has sent it on.
    full.ticket = cluster::TrialTicket(service.live[0]->trial(), true);
    if (leaves) service.Attempt(2, Ms(1), full);
    service.TryOut(0, 1, AttemptResult(), Ms(20));
    EXPECT_EQ(service.Count(Health::kEjected), leaves ? 0 : 1);
  }
}

TEST(HealthMonitorTest, ALatencyEjectionIsOfAMethod) {
  TestService service(3);
  service.Warm();
  BeSlow(&service, Ms(20));
  service.TryOut(0, 1, AttemptResult(), Ms(20));
  ASSERT_EQ(service.health(0), Health::kEjected);
  ASSERT_EQ(service.changes.back().cause, HealthCause::kLatency);
  // The others are quick as before, and asked for what takes long by nature.
  MethodPace long_pace;
  AttemptResult long_one;
  long_one.pace = &long_pace;
  for (int k = 0; k < 40; ++k) {
    for (int i : {1, 2}) {
      for (int j = 0; j < 3; ++j) service.Attempt(i, Ms(100), long_one);
      service.Attempt(i, Ms(1));
      service.Tick();
    }
    ASSERT_EQ(service.health(0), Health::kEjected) << k;
  }
}

TEST(HealthMonitorTest, TwentyTimesSlowerLosesItsTrafficWithinFiveSeconds) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    TestService service(3, Defaults(), seed);
    for (auto& server : service.servers) {
      server.latency = LogNormal(&service, Ms(10), 0.2);
    }
    const absl::Time start = service.now;
    service.Load(200, start + absl::Seconds(17));
    service.RunFor(absl::Seconds(5));
    EXPECT_EQ(service.Count(Health::kEjected), 0);
    service.servers[2].latency = LogNormal(&service, Ms(200), 0.2);
    service.RunFor(absl::Seconds(5));
    const int before = service.servers[2].attempts;
    service.RunFor(absl::Seconds(7));
    EXPECT_LE(service.servers[2].attempts - before, 14)
        << "1% of all; seed " << seed;
    EXPECT_EQ(service.health(2), Health::kEjected) << "seed " << seed;
    EXPECT_EQ(service.Count(Health::kEjected), 1);
  }
}

TEST(HealthMonitorTest, OfTwoEndpointsTheSlowOneIsEjected) {
  TestService service(2);
  for (auto& server : service.servers) {
    server.latency = LogNormal(&service, Ms(10), 0.2);
  }
  service.Load(100, service.now + absl::Seconds(20));
  service.RunFor(absl::Seconds(5));
  service.servers[1].latency = LogNormal(&service, Ms(200), 0.2);
  service.RunFor(absl::Seconds(8));
  EXPECT_EQ(service.health(1), Health::kEjected);
  EXPECT_EQ(service.Count(Health::kEjected), 1);
}

TEST(HealthMonitorTest, WhenAllSlowDownTogetherNobodyIsEjected) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    TestService service(3, Defaults(), seed);
    for (auto& server : service.servers) {
      server.latency = LogNormal(&service, Ms(10), 0.2);
    }
    service.Load(100, service.now + absl::Seconds(30));
    for (int i = 0; i < 6; ++i) {
      service.RunFor(absl::Seconds(5));
      for (auto& server : service.servers) {
        server.latency = LogNormal(&service, Ms(i % 2 == 0 ? 200 : 10), 0.2);
      }
    }
    EXPECT_EQ(service.Count(Health::kEjected), 0) << "seed " << seed;
  }
}

TEST(HealthMonitorTest, NoisyLatenciesEjectNobody) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    for (int servers : {2, 3, 10}) {
      for (double rate : {20.0, 500.0}) {
        TestService service(servers, Defaults(), seed);
        for (auto& server : service.servers) {
          server.latency = LogNormal(&service, Ms(10), 1.5);
        }
        service.Load(rate, service.now + absl::Seconds(20), seed % 2 == 0,
                     absl::Seconds(60));
        service.RunFor(absl::Seconds(30));
        EXPECT_EQ(service.Count(Health::kEjected), 0)
            << seed << " " << servers << " " << rate;
      }
    }
  }
}

TEST(HealthMonitorTest, MixedMethodsEjectNobody) {
  for (uint64_t seed = 1; seed <= 9; ++seed) {
    TestService service(3, Defaults(), seed);
    for (auto& server : service.servers) {
      server.latency = [&service, seed] {
        const double share = seed % 3 == 0 ? 0.5 : seed % 3 == 1 ? 0.05 : 0.005;
        return service.random.Unit() < share ? absl::Seconds(2) : Ms(1);
      };
    }
    service.Load(200, service.now + absl::Seconds(30), seed % 2 == 0,
                 absl::Seconds(60));
    service.RunFor(absl::Seconds(40));
    EXPECT_EQ(service.Count(Health::kEjected), 0) << "seed " << seed;
  }
}

// The comparison of latencies could not tell this apart. Least request keeps
// the slow requests of one caller and the quick ones of another apart. So each
// endpoint has its kind.
TEST(HealthMonitorTest, WhoWasSentTheSlowRequestsIsNotEjected) {
  TestService service(2, Defaults(), /*seed=*/5);
  service.Warm();
  const absl::Time end = service.now + absl::Seconds(30);
  const std::function<void(absl::Duration)> call = [&](absl::Duration takes) {
    if (service.now >= end) return;
    service.Tick();
    const TestService::Choice choice = service.Pick(/*in_turn=*/false);
    service.Begin(choice.endpoint);
    service.At(service.now + takes, [&, choice, takes] {
      AttemptResult result;
      result.ticket = choice.ticket;
      service.End(choice.endpoint, takes, result);
      call(takes);
    });
  };
  call(Ms(50));
  call(Ms(1));
  service.RunUntil(end);
  EXPECT_GT(service.Count(Health::kTrial), 0) << "doubted for it";
  EXPECT_EQ(service.Count(Health::kEjected), 0);
}

TEST(HealthMonitorTest, ADifferenceThatDoesNotMatterEjectsNobody) {
  TestService service(3);
  service.servers[2].latency = [] { return Ms(5); };  // 5 times, by 4 ms.
  service.Load(300, service.now + absl::Seconds(20));
  service.RunFor(absl::Seconds(20));
  EXPECT_TRUE(service.changes.empty());
}

TEST(HealthMonitorTest, APauseOfHalfASecondEjectsNobody) {
  TestService service(3, Defaults(), /*seed=*/11);
  for (auto& server : service.servers) {
    server.latency = LogNormal(&service, Ms(10), 0.2);
  }
  service.Load(600, service.now + absl::Seconds(20));
  service.RunFor(absl::Seconds(5));
  service.servers[1].latency = LogNormal(&service, Ms(45), 0.2);
  service.RunFor(Ms(500));
  service.servers[1].latency = LogNormal(&service, Ms(10), 0.2);
  service.RunFor(absl::Seconds(14));
  EXPECT_GT(service.Count(Health::kTrial), 0);
  EXPECT_EQ(service.Count(Health::kEjected), 0);
}

// Each endpoint stands still for 100 ms every two seconds or so, by itself.
TEST(HealthMonitorTest, PausesOfAllEndpointsAlikeEjectNobody) {
  for (uint64_t seed : {5, 7}) {
    TestService service(10, Defaults(), seed);
    struct Pause {
      absl::Time begin;
      absl::Time end;
    };
    std::vector<Pause> pauses(10, {service.now, service.now});
    const auto answer = LogNormal(&service, Ms(10), 0.3);
    for (int i = 0; i < 10; ++i) {
      service.servers[i].latency = [&, i] {
        Pause& pause = pauses[i];
        while (service.now >= pause.end) {
          pause.begin = pause.end +
                        absl::Seconds(-2 * std::log(1 - service.random.Unit()));
          pause.end = pause.begin + Ms(100);
        }
        const absl::Duration latency = answer();
        if (service.now + latency <= pause.begin) return latency;
        return latency + pause.end - std::max(service.now, pause.begin);
      };
    }
    service.Load(5000, service.now + absl::Seconds(40));
    service.RunFor(absl::Seconds(40));
    EXPECT_GT(service.Count(Health::kTrial), 50);
    EXPECT_EQ(service.Count(Health::kEjected), 0) << "seed " << seed;
  }
}

TEST(HealthMonitorTest, ALatencyEjectionEndsOnlyWhenItsProbesAreFast) {
  TestService service(3);
  for (auto& server : service.servers) server.latency = [] { return Ms(10); };
  service.Load(100, service.now + absl::Seconds(200));
  service.RunFor(absl::Seconds(5));
  service.servers[2].latency = [] { return Ms(200); };
  service.RunFor(absl::Seconds(6));
  ASSERT_EQ(service.health(2), Health::kEjected);
  const int before = service.servers[2].attempts;
  service.RunFor(absl::Seconds(40));
  EXPECT_EQ(service.health(2), Health::kEjected) << "again";
  EXPECT_EQ(service.servers[2].attempts - before, 2) << "two slow probes";
  service.servers[2].latency = [] { return Ms(10); };
  service.RunFor(absl::Seconds(60));
  EXPECT_TRUE(service.live[2]->available());
}

TEST(HealthMonitorTest, ALatencyEjectionEndsWhenThePeersAreAsSlow) {
  TestService service(3);
  for (auto& server : service.servers) server.latency = [] { return Ms(10); };
  service.Load(100, service.now + absl::Seconds(60));
  service.RunFor(absl::Seconds(5));
  service.servers[2].latency = [] { return Ms(100); };
  service.RunFor(absl::Seconds(6));
  ASSERT_EQ(service.health(2), Health::kEjected);
  for (int i : {0, 1}) {
    service.servers[i].latency = [] { return Ms(100); };
  }
  service.RunFor(absl::Seconds(10));
  EXPECT_NE(service.health(2), Health::kEjected);
  EXPECT_NE(service.health(2), Health::kProbing);
}

}  // namespace
}  // namespace mesh::resilience
