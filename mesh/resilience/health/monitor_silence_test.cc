#include <algorithm>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/resilience/health/monitor_test_service.h"

namespace mesh::resilience {
namespace {

// ---- Silence ----

TEST(HealthMonitorTest, AStoppedPeerLosesItsTrafficWithinTenthsOfASecond) {
  for (bool in_turn : {false, true}) {
    for (uint64_t seed = 1; seed <= 10; ++seed) {
      TestService service(3, Defaults(), seed);
      for (auto& server : service.servers) {
        server.latency = LogNormal(&service, Ms(1), 0.3);
      }
      service.Load(500, service.now + absl::Seconds(20), in_turn);
      service.RunFor(absl::Seconds(5));
      ASSERT_TRUE(service.changes.empty());
      service.servers[1].stopped = true;
      service.RunFor(Ms(100));
      int attempts = 0, to_victim = service.servers[1].attempts;
      for (auto& server : service.servers) attempts -= server.attempts;
      service.RunFor(Ms(1900));
      for (auto& server : service.servers) attempts += server.attempts;
      to_victim = service.servers[1].attempts - to_victim;
      EXPECT_LT(to_victim, 0.01 * attempts) << "seed " << seed;
      EXPECT_EQ(service.health(1), Health::kSuspect);
      EXPECT_LE(service.failed, in_turn ? 20 : 6) << "seed " << seed;
      EXPECT_EQ(service.probes, 1) << "outstanding until it goes on";

      service.Continue(1);
      service.RunFor(Ms(500));
      attempts = to_victim = 0;
      for (auto& server : service.servers) attempts -= server.attempts;
      to_victim = -service.servers[1].attempts;
      service.RunFor(Ms(1000));
      for (auto& server : service.servers) attempts += server.attempts;
      to_victim += service.servers[1].attempts;
      EXPECT_GT(to_victim, attempts / 6) << "half of its part";
      service.RunFor(absl::Seconds(1));
      EXPECT_TRUE(service.live[1]->available());
      EXPECT_EQ(service.Count(Health::kEjected), 0);
    }
  }
}

TEST(HealthMonitorTest, AStoppedPeerIsFoundThoughHedgesGiveItsAttemptsUp) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    TestService service(3, Defaults(), seed);
    for (auto& server : service.servers) {
      server.latency = LogNormal(&service, Ms(1), 0.3);
    }
    service.Load(500, service.now + absl::Seconds(6), false, absl::Seconds(1),
                 Ms(2.5));
    service.RunFor(absl::Seconds(5));
    ASSERT_TRUE(service.changes.empty());
    service.servers[1].stopped = true;
    service.RunFor(Ms(150));
    EXPECT_EQ(service.health(1), Health::kSuspect) << "seed " << seed;
  }
}

TEST(HealthMonitorTest, SteadyLoadIsNeverTakenForSilence) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    for (double rate : {5.0, 100.0, 1000.0}) {
      TestService service(3, Defaults(), seed);
      for (auto& server : service.servers) {
        server.latency = LogNormal(&service, Ms(10), 1.5);
      }
      service.Load(rate, service.now + absl::Seconds(30), seed % 2 == 0,
                   absl::Seconds(60));
      service.RunFor(absl::Seconds(40));
      EXPECT_EQ(service.Count(Health::kSuspect), 0) << seed << " at " << rate;
    }
  }
}

TEST(HealthMonitorTest, PausesToCollectGarbageAreNotTakenForSilence) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    TestService service(3, Defaults(), seed);
    for (int i = 0; i < 3; ++i) {
      // 40 ms in each second.
      service.servers[i].latency = [&service, i] {
        const absl::Duration phase =
            (service.now - absl::UnixEpoch() + Ms(300 * i)) % absl::Seconds(1);
        return Ms(1) + std::max(absl::ZeroDuration(), Ms(40) - phase);
      };
    }
    service.Load(1000, service.now + absl::Seconds(20), seed % 2 == 0);
    service.RunFor(absl::Seconds(20));
    EXPECT_EQ(service.Count(Health::kSuspect), 0) << "seed " << seed;
    EXPECT_EQ(service.Count(Health::kEjected), 0) << "seed " << seed;
  }
}

TEST(HealthMonitorTest, MethodsThatTakeLongAreNotTakenForSilence) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    for (double share : {0.5, 0.05, 0.01}) {
      for (double rate : {20.0, 500.0}) {
        TestService service(3, Defaults(), seed);
        for (auto& server : service.servers) {
          server.latency = [&service, share] {
            return service.random.Unit() < share ? absl::Seconds(2) : Ms(1);
          };
        }
        service.Load(rate, service.now + absl::Seconds(60), seed % 2 == 0,
                     absl::Seconds(60));
        // What it has never seen may surprise it.
        service.RunFor(absl::Seconds(10));
        service.changes.clear();
        service.RunFor(absl::Seconds(60));
        EXPECT_EQ(service.Count(Health::kSuspect), 0)
            << seed << " " << share << " at " << rate;
      }
    }
  }
}

TEST(HealthMonitorTest, LongPollsBesideShortCallsAreNotTakenForSilence) {
  TestService service(3);
  service.Warm();
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 3; ++i) service.Begin(i);  // Answered after 30 s.
    for (int k = 0; k < 1200; ++k) {
      service.Pass(Ms(25));
      for (int i = 0; i < 3; ++i) service.Attempt(i, Ms(0.1));
    }
    for (int i = 0; i < 3; ++i) service.End(i, absl::Seconds(30));
  }
  EXPECT_TRUE(service.changes.empty());
}

TEST(HealthMonitorTest, ACallThatWaitsAloneIsNoEvidence) {
  TestService service(3);
  service.Warm();
  service.Begin(0);
  for (int k = 0; k < 1200; ++k) {
    service.Pass(Ms(25));
    service.Attempt(1, Ms(0.1));
    service.Attempt(2, Ms(0.1));
  }
  EXPECT_TRUE(service.changes.empty());
}

TEST(HealthMonitorTest, AFalseAlarmCostsAProbeAndMakesPatient) {
  TestService service(3);
  service.Warm();
  for (int i = 0; i < 2; ++i) {
    service.Begin(0);
    service.Begin(1);
  }
  for (int i = 0; i < 20; ++i) {
    service.now += Ms(25);
    service.Attempt(2, Ms(0.1));
    service.Attempt(1, Ms(0.1));
    service.Tick();
  }
  ASSERT_EQ(service.health(0), Health::kSuspect);
  EXPECT_TRUE(service.live[1]->available()) << "it answers others";
  EXPECT_EQ(service.probes, 1);
  service.RunFor(Ms(2));  // The probe is answered.
  EXPECT_EQ(service.health(0), Health::kProbing);
  ASSERT_TRUE(service.live[0]->ClaimProbe());
  service.Attempt(0, Ms(1));
  EXPECT_EQ(service.health(0), Health::kRamping);
  service.Pass(absl::Seconds(1.1));
  EXPECT_TRUE(service.live[0]->available());
  EXPECT_EQ(RecordOf(service.live[0].get()).patience.doublings, 1);
}

// As of garbage collection: all that came in is answered at its end, calls
// before the probe.
TEST(HealthMonitorTest, RegularStallsAreSoonNotTakenForSilence) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    for (double every : {1.0, 10.0, 30.0}) {
      for (double rate : {200.0, 2000.0}) {
        options::GuardOptions options;
        options.outlier_ejection.latency.factor = 0;  // It is slow at times.
        TestService service(3, options, seed);
        for (auto& server : service.servers) {
          server.latency = LogNormal(&service, Ms(1), 0.3);
        }
        const auto run = [&service, every](absl::Duration time) {
          const absl::Time end = service.now + time;
          while (service.now < end) {
            service.RunFor(absl::Seconds(every) *
                           (0.7 + 0.3 * service.random.Unit()));
            service.servers[1].stopped = true;
            service.RunFor(Ms(100));
            service.Continue(1);
          }
        };
        service.Load(rate, service.now + absl::Seconds(300), seed % 2 == 0);
        run(absl::Seconds(100));
        EXPECT_LE(service.Count(Health::kSuspect), 4)
            << "seed " << seed << ", every " << every << " s, at " << rate;
        service.changes.clear();
        run(absl::Seconds(150));
        EXPECT_LE(service.Count(Health::kSuspect), 1)
            << "seed " << seed << ", every " << every << " s, at " << rate;
        // And one that does not end is found.
        service.servers[1].stopped = true;
        service.RunFor(Ms(600));
        EXPECT_LE(service.live[1]->share(), LiveEndpoint::kProbeFree)
            << "seed " << seed << ", every " << every << " s, at " << rate;
      }
    }
  }
}

TEST(HealthMonitorTest, RetriesThatEmptyTheBudgetDoNotKeepASuspectFromProbes) {
  TestService service(3);
  service.Warm();
  auto empty = [&service] {
    while (service.budget.TryWithdraw(service.now)) {
    }
  };
  for (int i = 0; i < 2; ++i) service.Begin(0);
  for (int i = 0; i < 20; ++i) {
    service.now += Ms(25);
    service.Attempt(2, Ms(0.1));
    empty();
    service.Tick();
  }
  ASSERT_EQ(service.health(0), Health::kSuspect);
  EXPECT_EQ(service.probes, 1) << "though there is nothing left";
  EXPECT_LT(service.budget.Balance(service.now), 1);

  // Its probes fail; others follow, one per second.
  for (int second = 2; second <= 5; ++second) {
    service.monitor.OnProbeDone(service.live[0].get(), false, service.now);
    for (int i = 0; i < 40; ++i) {
      service.now += Ms(25);
      empty();
      service.Tick();
    }
    EXPECT_EQ(service.probes, second);
  }
}

TEST(HealthMonitorTest, WhatATenthOfTheCallsTakesIsKnownWhileItIsFresh) {
  TestService service(3);
  EXPECT_EQ(service.monitor.p10_latency(), absl::ZeroDuration());
  for (int k = 0; k < 100; ++k) {
    for (int i = 0; i < 3; ++i)
      service.Attempt(i, k % 2 == 0 ? Ms(2) : Ms(200));
    service.Tick();
  }
  EXPECT_GT(service.monitor.p10_latency(), Ms(1.8));
  EXPECT_LT(service.monitor.p10_latency(), Ms(2.2));
  service.Pass(absl::Seconds(14));
  EXPECT_EQ(service.monitor.p10_latency(), absl::ZeroDuration());

  service.Warm(200);
  service.Pass(Ms(200));
  EXPECT_GT(service.monitor.p10_latency(), absl::ZeroDuration());
}

TEST(HealthMonitorTest, WhatATenthOfTheCallsTakesIsKnownInEveryMode) {
  std::vector<absl::Duration> known;
  for (const Mode mode : {Mode::kOff, Mode::kObserve, Mode::kEnforce}) {
    options::GuardOptions options;
    options.outlier_ejection.mode = options.silence.mode = mode;
    TestService service(3, options);
    service.Warm(200, Ms(2));
    known.push_back(service.monitor.p10_latency());
    service.monitor.SetOptions(options);
    EXPECT_EQ(service.monitor.p10_latency(), known.back()) << "after a reload";
    service.Pass(absl::Seconds(14));
    EXPECT_EQ(service.monitor.p10_latency(), absl::ZeroDuration());
  }
  EXPECT_GT(known[0], Ms(1.8));
  EXPECT_EQ(known[0], known[1]);
  EXPECT_EQ(known[0], known[2]);
}

TEST(HealthMonitorTest, WhenAllAreSilentNothingChangesForCalls) {
  TestService service(3);
  service.Load(500, service.now + absl::Seconds(10));
  service.RunFor(absl::Seconds(5));
  for (auto& server : service.servers) server.stopped = true;
  service.RunFor(absl::Seconds(2));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(service.live[i]->share(), 255) << "panic";
  }
  for (int i = 0; i < 3; ++i) service.Continue(i);
  service.RunFor(absl::Seconds(3));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(service.live[i]->available()) << i;
}

// Another connection to it may work. Calls go to it all the same.
TEST(HealthMonitorTest, ALoneEndpointIsSuspectAndStaysInUse) {
  TestService service(1);
  service.Load(500, service.now + absl::Seconds(4));
  service.RunFor(absl::Seconds(2));
  service.servers[0].stopped = true;
  service.RunFor(absl::Seconds(2));
  EXPECT_EQ(service.health(0), Health::kSuspect);
  EXPECT_EQ(service.live[0]->share(), 255);
  EXPECT_EQ(service.probes, 1);
}

TEST(HealthMonitorTest, ANewConnectionEndsSuspicion) {
  TestService service(3);
  service.Load(500, service.now + absl::Seconds(10));
  service.RunFor(absl::Seconds(2));
  service.servers[1].stopped = true;
  service.RunFor(Ms(300));
  ASSERT_EQ(service.health(1), Health::kSuspect);
  service.live[1]->set_readiness(Readiness::kFailed);
  service.servers[1].held.clear();
  service.monitor.OnProbeDone(service.live[1].get(), false, service.now);
  EXPECT_EQ(service.health(1), Health::kSuspect);
  service.servers[1].stopped = false;
  service.RunFor(Ms(500));
  EXPECT_EQ(service.probes, 1) << "none while it is not connected";
  service.live[1]->set_readiness(Readiness::kReady);
  service.monitor.OnConnected(service.live[1].get(), service.now);
  EXPECT_EQ(service.health(1), Health::kRamping);
}

// Its probe is answered at once, its calls are not.
TEST(HealthMonitorTest, WhatAnswersOnlyProbesLosesSingleCalls) {
  TestService service(3);
  service.Load(500, service.now + absl::Seconds(60), /*in_turn=*/true);
  service.RunFor(absl::Seconds(2));
  service.servers[1].latency = [] { return absl::InfiniteDuration(); };
  service.RunFor(absl::Seconds(1));
  const int before = service.servers[1].attempts;
  service.RunFor(absl::Seconds(20));
  EXPECT_LE(service.servers[1].attempts - before, 3);
  EXPECT_EQ(service.health(1), Health::kEjected);
}

// "Beyond round robin": 11 servers, one of them 10 times slower, deadlines
// that it cannot keep.
TEST(HealthMonitorTest, TenTimesSlowerThanTheDeadlineAllowsFailsFewCalls) {
  int worst = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    TestService service(11, Defaults(), seed);
    auto latency = [&service] { return Ms(164 + 36 * service.random.Unit()); };
    for (auto& server : service.servers) server.latency = latency;
    service.Load(1000, service.now + absl::Seconds(20));
    service.RunFor(absl::Seconds(5));
    EXPECT_TRUE(service.changes.empty());
    service.servers[4].latency = [latency] { return 10 * latency(); };
    service.RunFor(absl::Seconds(20));
    EXPECT_EQ(service.health(4), Health::kEjected);
    worst = std::max(worst, service.failed);
    for (const HealthChange& change : service.changes) {
      EXPECT_EQ(change.endpoint, service.live[4].get()) << "seed " << seed;
    }
  }
  EXPECT_LE(worst, 55);
}

}  // namespace
}  // namespace mesh::resilience
