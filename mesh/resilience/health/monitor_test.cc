#include "mesh/resilience/health/monitor.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/resilience/health/monitor_test_service.h"

namespace mesh::resilience {
namespace {

// ---- Modes ----

TEST(HealthMonitorTest, ObservingReportsAndChangesNothing) {
  options::GuardOptions options;
  options.outlier_ejection.mode = Mode::kObserve;
  options.silence.mode = Mode::kObserve;
  TestService service(4, options);
  service.Warm();
  for (int k = 0; k < 20; ++k) {
    service.Attempt(0, Ms(0.1), TestService::Failure(kUnavailable));
    service.FailConnections(2, 1);
    EXPECT_TRUE(service.live[0]->available());
    EXPECT_TRUE(service.live[2]->available());
  }
  for (int k = 0; k < 10; ++k) service.Begin(1);
  for (int k = 0; k < 20; ++k) {
    service.Pass(Ms(25));
    EXPECT_TRUE(service.live[1]->available());
  }
  EXPECT_EQ(service.probes, 0);
  EXPECT_GE(service.Count(Health::kTrial, /*observed=*/true), 2)
      << "it cannot toss coins, and tells of doubts";
  EXPECT_EQ(service.Count(Health::kEjected, /*observed=*/true), 1);
  EXPECT_EQ(service.Count(Health::kSuspect, /*observed=*/true), 1);
  for (int k = 0; k < 10; ++k) service.End(1, Ms(500));
  service.Pass(absl::Seconds(31));
  EXPECT_EQ(service.Count(Health::kHealthy, /*observed=*/true), 2);
  for (const HealthChange& change : service.changes) {
    EXPECT_TRUE(change.observed);
  }
}

TEST(HealthMonitorTest, AConnectionToWhatWasNeverJudgedNeedsNoRecord) {
  TestService service(2);
  service.monitor.OnConnected(service.live[0].get(), service.now);
  EXPECT_EQ(service.live[0]->health_memory(), nullptr);
  EXPECT_TRUE(service.live[0]->available());
  EXPECT_TRUE(service.changes.empty());
}

TEST(HealthMonitorTest, OffDoesNothing) {
  options::GuardOptions options;
  options.outlier_ejection.mode = Mode::kOff;
  options.silence.mode = Mode::kOff;
  TestService service(4, options);
  for (int k = 0; k < 100; ++k) {
    service.Attempt(0, Ms(0.1), TestService::Failure(kUnavailable));
    service.Begin(1);
    service.monitor.Tick(service.live, service.now);
  }
  EXPECT_TRUE(service.changes.empty());
  EXPECT_TRUE(service.live[0]->available());
}

TEST(HealthMonitorTest, AReloadThatTurnsItOffGivesEverythingBack) {
  TestService service(8);
  service.Warm();
  service.FailConnections(0);
  for (int k = 0; k < 3; ++k) {
    service.Attempt(2, Ms(0.1), TestService::Failure(kUnavailable));
  }
  for (int k = 0; k < 10; ++k) service.Begin(1);
  service.Pass(Ms(300));
  ASSERT_EQ(service.health(0), Health::kEjected);
  ASSERT_EQ(service.health(1), Health::kSuspect);
  ASSERT_EQ(service.health(2), Health::kTrial);
  options::GuardOptions options;
  options.outlier_ejection.mode = Mode::kOff;
  options.silence.mode = Mode::kObserve;
  service.monitor.SetOptions(options);
  service.Tick();
  EXPECT_TRUE(service.live[0]->available());
  EXPECT_TRUE(service.live[1]->available());
  EXPECT_TRUE(service.live[2]->available());
  EXPECT_EQ(service.live[2]->trial(), 0u);
}

// ---- Scale and threads ----

TEST(HealthMonitorTest, ALookAtTenThousandEndpointsComesInParts) {
  TestService service(10000);
  int ticks = 0;
  while (service.monitor.Due(service.now) && ticks < 1000) {
    service.monitor.Tick(service.live, service.now);
    ++ticks;
  }
  EXPECT_GE(ticks, 10000 / 512);
  EXPECT_LE(ticks, 50);
  service.Warm(2, Ms(0.001));
  service.FailConnections(7);
  EXPECT_EQ(service.health(7), Health::kEjected);
}

// A thread that has not seen it yet looks, and ends its trial.
TEST(HealthMonitorTest, NobodyIsOnATrialThatIsOver) {
  TestService service(4);
  service.Warm();
  for (int k = 0; k < 3; ++k) {
    service.Attempt(3, Ms(1), TestService::Failure(kInternal));
  }
  ASSERT_EQ(service.health(3), Health::kTrial);
  for (int k = 0; k < 3; ++k) {
    service.now += Ms(25);
    service.monitor.Tick(absl::MakeSpan(service.live).first(3), service.now);
  }
  service.Pass(Ms(50));
  EXPECT_TRUE(service.live[3]->available());
  EXPECT_EQ(service.live[3]->trial(), 0u);
}

TEST(HealthMonitorTest, EndpointsMayComeAndGoBetweenLooks) {
  TestService service(3000);
  base::Random random(5);
  for (int round = 0; round < 300; ++round) {
    service.now += Ms(10);
    for (int k = 0; k < 20; ++k) {
      const auto i = static_cast<int>(
          random.Below(static_cast<uint32_t>(service.live.size())));
      service.Attempt(
          i, Ms(0.01),
          TestService::Failure(random.Below(3) == 0 ? kUnavailable : kOk));
    }
    service.Tick();
    // The last ones are gone, freed.
    if (round % 7 == 3) {
      service.changes.clear();
      service.live.resize(service.live.size() - 200 * (round % 2 + 1) / 2);
    } else if (round % 7 == 5) {
      while (service.live.size() < 3000) {
        service.live.push_back(
            std::make_shared<LiveEndpoint>(cluster::Endpoint{"new"}));
        service.live.back()->set_readiness(Readiness::kReady);
      }
    }
  }
}

class CountingHost : public HealthMonitor::Host {
 public:
  void Probe(LiveEndpoint* endpoint) override {
    monitor->OnProbeDone(endpoint, true, absl::UnixEpoch() + absl::Hours(1));
  }
  void OnHealthChange(const HealthChange&) override {
    changes.fetch_add(1, std::memory_order_relaxed);
  }
  HealthMonitor* monitor = nullptr;
  std::atomic<int> changes{0};
};

TEST(HealthMonitorTest, ThreadsMayDoEverythingAtOnce) {
  options::GuardOptions options;
  options.outlier_ejection.base_ejection_time = Ms(50);
  options.outlier_ejection.ramp = Ms(20);
  CountingHost host;
  RetryBudget budget({1, 1000}, absl::UnixEpoch());
  HealthMonitor monitor(options, &budget, &host);
  host.monitor = &monitor;
  std::vector<LiveEndpointPtr> live;
  for (int i = 0; i < 6; ++i) {
    live.push_back(
        std::make_shared<LiveEndpoint>(cluster::Endpoint{absl::StrCat(i)}));
    live.back()->set_readiness(Readiness::kReady);
  }
  MethodPace pace;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      base::Random random(t);
      absl::Time now = absl::UnixEpoch() + absl::Hours(1);
      for (int k = 0; k < 5000; ++k) {
        now += absl::Microseconds(200);
        if (monitor.Due(now)) monitor.Tick(live, now);
        const uint32_t i = random.Below(6);
        LiveEndpoint* const endpoint = live[i].get();
        ASSERT_TRUE(endpoint->Acquire());
        endpoint->ClaimProbe();
        const bool unary = random.Below(10) != 0;
        monitor.OnAttemptStart(endpoint, unary, now);
        AttemptResult result;
        result.unary = unary;
        result.pace = &pace;
        if (endpoint->trial() != 0 || random.Below(20) == 0) {
          const uint32_t trial = live[random.Below(6)]->trial();
          if (trial != 0) {
            result.ticket = cluster::TrialTicket(trial, random.Below(2) == 0);
          }
        }
        result.latency = absl::Microseconds(random.Below(2000));
        if (i < 2 && k / 500 % 2 == 0) result.code = kUnavailable;
        result.local = i == 1;
        result.given_up = result.code != kOk && random.Below(10) == 0;
        monitor.OnAttemptEnd(endpoint, result, now);
        if (random.Below(200) == 0) monitor.OnConnected(endpoint, now);
        if (random.Below(1000) == 0) monitor.SetOptions(options);
        endpoint->Release();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(host.changes.load(), 0);
  for (const LiveEndpointPtr& endpoint : live) {
    EXPECT_EQ(endpoint->in_flight(), 0);
    EXPECT_EQ(endpoint->observations().awaiting(), 0);
  }
}

}  // namespace
}  // namespace mesh::resilience
