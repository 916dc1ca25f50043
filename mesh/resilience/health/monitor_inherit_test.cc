#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "mesh/resilience/health/monitor_test_service.h"

namespace mesh::resilience {
namespace {

// What is known of an endpoint when a reload comes, and when another connection
// takes the place of the one before.

// Puts endpoint `i` on another connection. Returns what it was before.
LiveEndpointPtr Replace(TestService* service, int i) {
  LiveEndpointPtr before = service->live[i];
  auto now = std::make_shared<LiveEndpoint>(before->endpoint());
  now->set_readiness(Readiness::kReady);
  service->monitor.Inherit(before.get(), now.get());
  service->live[i] = std::move(now);
  return before;
}

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

  const LiveEndpointPtr before = Replace(&service, 0);
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

  const LiveEndpointPtr before = Replace(&service, 0);
  EXPECT_EQ(service.health(0), Health::kRamping);
  EXPECT_EQ(service.live[0]->share(), share);
  service.Pass(Ms(600));
  EXPECT_TRUE(service.live[0]->available());
}

TEST(HealthMonitorTest, ATrialEndsWithItsConnection) {
  TestService service(4);
  service.Warm();
  FailInARow(&service, 0, 3);
  const uint32_t trial = service.live[0]->trial();
  ASSERT_EQ(service.health(0), Health::kTrial);

  const LiveEndpointPtr before = Replace(&service, 0);
  EXPECT_TRUE(service.live[0]->available());
  EXPECT_EQ(service.live[0]->trial(), 0u);
  EXPECT_EQ(before->trial(), 0u) << "a pick from an old picker tosses no coin";
  // What still ends over the old connection convicts nobody.
  for (int k = 0; k < 50; ++k) {
    AttemptResult late = TestService::Failure(kInternal);
    late.ticket = cluster::TrialTicket(trial, true);
    service.Attempt(1, Ms(1), late);
    service.Attempt(1, Ms(1));
  }
  EXPECT_TRUE(service.live[0]->available());
  // It may be doubted as before.
  FailInARow(&service, 0, 3);
  EXPECT_EQ(service.health(0), Health::kTrial);
}

TEST(HealthMonitorTest, TheProbeOfTheOldConnectionSaysNothingOfTheNewOne) {
  TestService service(4);
  service.Warm();
  service.servers[0].stopped = true;
  for (int k = 0; k < 10; ++k) service.Begin(0);
  service.Pass(Ms(300));
  ASSERT_EQ(service.health(0), Health::kSuspect);
  ASSERT_EQ(service.probes, 1);

  const LiveEndpointPtr before = Replace(&service, 0);
  EXPECT_EQ(service.health(0), Health::kSuspect);
  service.monitor.OnProbeDone(before.get(), true, service.now);
  EXPECT_EQ(service.health(0), Health::kSuspect);
  service.Pass(absl::Seconds(1.1));
  EXPECT_EQ(service.probes, 2) << "it has its own";
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
