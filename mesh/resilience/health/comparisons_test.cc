#include <algorithm>

#include "gtest/gtest.h"
#include "mesh/resilience/health/monitor_test_service.h"

namespace mesh::resilience {
namespace {

// ---- gRFC A50 ----

TEST(HealthMonitorTest, SuccessRateFarBelowTheOthersEjects) {
  TestService service(8);
  for (int k = 0; k < 150; ++k) {
    for (int i = 0; i < 8; ++i) {
      const bool fails = i == 3 ? k % 2 == 0 : k % 50 == i;
      service.Attempt(i, Ms(0.5),
                      TestService::Failure(fails ? kInternal : kOk));
    }
    service.Tick();
  }
  service.Pass(absl::Seconds(1.1));
  ASSERT_EQ(service.Count(Health::kEjected), 1);
  EXPECT_EQ(service.health(3), Health::kEjected);
  EXPECT_EQ(service.changes[0].cause, HealthCause::kSuccessRate);
}

TEST(HealthMonitorTest, SuccessRateIsMeanLessDeviationsTimesFactor) {
  // Nine at 100% and one at p: the mean is 0.9 + p/10, the deviation
  // 0.3 (1 - p), so p is less than their difference by a factor of three
  // deviations at most, whatever p is.
  for (int factor : {2900, 3100}) {
    options::GuardOptions options;
    options.outlier_ejection.success_rate.stdev_factor = factor;
    TestService service(10, options);
    for (int k = 0; k < 200; ++k) {
      for (int i = 0; i < 10; ++i) {
        const bool fails = i == 0 && k % 2 == 0;
        service.Attempt(i, Ms(0.3),
                        TestService::Failure(fails ? kInternal : kOk));
      }
      service.Tick();
    }
    service.Pass(absl::Seconds(1.1));
    EXPECT_EQ(service.Count(Health::kEjected), factor < 3000 ? 1 : 0) << factor;
  }
}

TEST(HealthMonitorTest, SuccessRateNeedsHostsAndVolume) {
  for (int servers : {4, 5}) {
    for (int calls : {90, 150}) {
      TestService service(servers);
      for (int k = 0; k < calls; ++k) {
        for (int i = 0; i < servers; ++i) {
          service.Attempt(
              i, Ms(0.1),
              TestService::Failure(i == 0 && k % 2 == 0 ? kInternal : kOk));
        }
      }
      service.Tick();
      service.Pass(absl::Seconds(1.1));
      service.Pass(absl::Seconds(1.1));
      EXPECT_EQ(service.Count(Health::kEjected),
                servers == 5 && calls == 150 ? 1 : 0)
          << servers << " servers, " << calls << " calls";
    }
  }
}

TEST(HealthMonitorTest, EqualSuccessRatesEjectNobody) {
  TestService service(7);
  for (int k = 0; k < 3000; ++k) {
    for (int i = 0; i < 7; ++i) {
      service.Attempt(i, Ms(0.3),
                      TestService::Failure(k % 3 == 0 ? kInternal : kOk));
    }
    service.Tick();
  }
  EXPECT_TRUE(service.changes.empty());
}

TEST(HealthMonitorTest, FailurePercentageEjectsAtItsThreshold) {
  for (int percent : {84, 86}) {
    TestService service(3);
    for (int k = 0; k < 200; ++k) {
      for (int i = 0; i < 3; ++i) {
        const bool fails = i == 0 && (k * percent) % 100 >= 100 - percent;
        service.Attempt(i, Ms(0.5),
                        TestService::Failure(fails ? kInternal : kOk));
      }
      service.Tick();
    }
    service.Pass(absl::Seconds(1.1));
    const int ejected = static_cast<int>(std::count_if(
        service.changes.begin(), service.changes.end(),
        [](auto& c) { return c.cause == HealthCause::kFailurePercentage; }));
    EXPECT_EQ(ejected, percent == 86 ? 1 : 0) << percent;
  }
}

// ---- Latency ----

TEST(HealthMonitorTest, TwentyTimesSlowerLosesItsTrafficWithinTwoSeconds) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    TestService service(3, Defaults(), seed);
    for (auto& server : service.servers) {
      server.latency = LogNormal(&service, Ms(10), 0.2);
    }
    const absl::Time start = service.now;
    service.Load(60, start + absl::Seconds(15));
    service.RunFor(absl::Seconds(5));
    EXPECT_TRUE(service.changes.empty());
    service.servers[2].latency = LogNormal(&service, Ms(200), 0.2);
    service.RunFor(absl::Seconds(2));
    const int before = service.servers[2].attempts;
    service.RunFor(absl::Seconds(8));
    EXPECT_LE(service.servers[2].attempts - before, 4)
        << "1% of all; seed " << seed;
    EXPECT_EQ(service.health(2), Health::kEjected) << "seed " << seed;
    EXPECT_EQ(service.Count(Health::kEjected), 1);
    EXPECT_TRUE(service.live[0]->available());
    EXPECT_TRUE(service.live[1]->available());
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
  service.RunFor(absl::Seconds(3));
  EXPECT_EQ(service.health(1), Health::kEjected);
  EXPECT_TRUE(service.live[0]->available());
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

TEST(HealthMonitorTest, ADifferenceThatDoesNotMatterEjectsNobody) {
  TestService service(3);
  service.servers[2].latency = [] { return Ms(5); };  // 5 times, by 4 ms.
  service.Load(300, service.now + absl::Seconds(20));
  service.RunFor(absl::Seconds(20));
  EXPECT_TRUE(service.changes.empty());
}

TEST(HealthMonitorTest, ALatencyEjectionEndsOnlyWhenItsProbesAreFast) {
  TestService service(3);
  for (auto& server : service.servers) server.latency = [] { return Ms(10); };
  service.Load(100, service.now + absl::Seconds(200));
  service.RunFor(absl::Seconds(5));
  service.servers[2].latency = [] { return Ms(200); };
  service.RunFor(absl::Seconds(3));
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
  service.RunFor(absl::Seconds(3));
  ASSERT_EQ(service.health(2), Health::kEjected);
  for (int i : {0, 1}) {
    service.servers[i].latency = [] { return Ms(100); };
  }
  service.RunFor(absl::Seconds(10));
  EXPECT_TRUE(service.live[2]->available());
}

}  // namespace
}  // namespace mesh::resilience
