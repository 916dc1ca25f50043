#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/resilience/health/monitor_test_service.h"

namespace mesh::resilience {
namespace {

// ---- Consecutive failures ----

TEST(HealthMonitorTest, FiveUnavailableInARowEject) {
  TestService service(4);
  service.Warm();
  for (int i = 0; i < 4; ++i) {
    service.Attempt(0, Ms(1), TestService::Failure(kUnavailable));
  }
  EXPECT_EQ(service.health(0), Health::kHealthy);
  service.Attempt(0, Ms(1), TestService::Failure(kUnavailable));
  EXPECT_EQ(service.health(0), Health::kEjected);
  EXPECT_EQ(service.live[0]->share(), 0);
  ASSERT_EQ(service.changes.size(), 1);
  EXPECT_EQ(service.changes[0].cause, HealthCause::kConsecutiveGatewayFailures);
  EXPECT_FALSE(service.changes[0].observed);
}

TEST(HealthMonitorTest, TenFailuresOfOtherKindsInARowEject) {
  TestService service(4);
  service.Warm();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(service.health(0), Health::kHealthy);
    service.Attempt(
        0, Ms(1), TestService::Failure(i % 4 == 0 ? kUnavailable : kInternal));
  }
  EXPECT_EQ(service.health(0), Health::kEjected);
  EXPECT_EQ(service.changes.back().cause, HealthCause::kConsecutiveFailures);
}

TEST(HealthMonitorTest, AnAnswerEndsARowOfFailures) {
  TestService service(4);
  service.Warm();
  for (absl::StatusCode answer :
       {kOk, absl::StatusCode::kNotFound, absl::StatusCode::kInvalidArgument}) {
    for (int i = 0; i < 4; ++i) {
      service.Attempt(0, Ms(1), TestService::Failure(kUnavailable));
    }
    service.Attempt(0, Ms(1), TestService::Failure(answer));
    EXPECT_TRUE(service.live[0]->available());
  }
  EXPECT_TRUE(service.changes.empty());
}

TEST(HealthMonitorTest, LocalFailuresAreCountedByThemselves) {
  TestService service(4);
  service.Warm();
  // Four of each kind do not make five of either.
  for (int i = 0; i < 4; ++i) {
    service.Attempt(0, Ms(1), TestService::Failure(kUnavailable));
  }
  for (int i = 0; i < 4; ++i) {
    service.Attempt(0, Ms(1),
                    TestService::Failure(kUnavailable, /*local=*/true));
  }
  EXPECT_EQ(service.health(0), Health::kHealthy);
  service.Attempt(0, Ms(1), TestService::Failure(kUnavailable, /*local=*/true));
  EXPECT_EQ(service.health(0), Health::kEjected);
  EXPECT_EQ(service.changes[0].cause, HealthCause::kConsecutiveLocalFailures);
}

TEST(HealthMonitorTest, WhatIsNeverSentOrGivenUpIsNoFailure) {
  TestService service(4);
  service.Warm();
  for (int i = 0; i < 50; ++i) {
    AttemptResult result = TestService::Failure(kUnavailable, /*local=*/true);
    result.never_sent = true;
    service.Attempt(0, Ms(0.1), result);
    result = TestService::Failure(absl::StatusCode::kCancelled, /*local=*/true);
    result.given_up = true;
    service.Attempt(0, Ms(0.1), result);
    service.Tick();
  }
  EXPECT_TRUE(service.live[0]->available());
  EXPECT_TRUE(service.changes.empty());
}

TEST(HealthMonitorTest, ALoneEndpointIsNeverEjected) {
  TestService service(1);
  service.Warm();
  for (int i = 0; i < 100; ++i) {
    service.Attempt(0, Ms(1), TestService::Failure(kUnavailable));
    service.Tick();
  }
  EXPECT_TRUE(service.live[0]->available());
  EXPECT_TRUE(service.changes.empty());
}

TEST(HealthMonitorTest, StreamsCountTheirFailuresAndAreNeverSilent) {
  TestService service(4);
  service.Warm();
  service.Begin(1, /*unary=*/false);
  AttemptResult result = TestService::Failure(kUnavailable);
  result.unary = false;
  for (int i = 0; i < 5; ++i) {
    service.Begin(0, /*unary=*/false);
    service.End(0, absl::Seconds(100), result);
  }
  EXPECT_EQ(service.health(0), Health::kEjected);
  service.Pass(absl::Seconds(10));
  EXPECT_EQ(service.Count(Health::kSuspect), 0);
}

// ---- Bounds ----

TEST(HealthMonitorTest, NoMoreThanTheConfiguredShareIsEjectedButOneAlwaysIs) {
  struct Case {
    int servers, percent, expected;
  };
  for (const Case& c : {Case{2, 30, 1}, Case{3, 30, 1}, Case{3, 1, 1},
                        Case{10, 30, 3}, Case{10, 29, 2}, Case{10, 45, 4}}) {
    options::GuardOptions options;
    options.outlier_ejection.max_ejection_percent = c.percent;
    options.outlier_ejection.panic_threshold_percent = 0;
    TestService service(c.servers, options);
    service.Warm();
    for (int i = 0; i < c.servers; ++i) {
      for (int k = 0; k < 20; ++k) {
        service.Attempt(i, Ms(0.1), TestService::Failure(kUnavailable));
        service.Tick();
      }
    }
    EXPECT_EQ(service.Count(Health::kEjected), c.expected)
        << c.servers << " servers, " << c.percent << "%";
  }
}

TEST(HealthMonitorTest, InPanicAllAreUsedAndTheirStatesRemembered) {
  options::GuardOptions options;
  options.outlier_ejection.max_ejection_percent = 100;
  TestService service(4, options);
  service.Warm();
  auto fail = [&service](int i) {
    for (int k = 0; k < 5; ++k) {
      service.Attempt(i, Ms(0.1), TestService::Failure(kUnavailable));
    }
    service.Tick();
  };
  fail(0);
  fail(1);
  EXPECT_EQ(service.live[0]->share(), 0);
  EXPECT_EQ(service.live[1]->share(), 0) << "half are in use still";
  fail(2);
  service.Tick();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(service.health(i), Health::kEjected) << i;
    EXPECT_EQ(service.live[i]->share(), 255) << i;
  }
  EXPECT_TRUE(service.live[3]->available());
  // The first two come back, and the third is out again.
  service.monitor.OnConnected(service.live[2].get(), service.now);
  EXPECT_EQ(service.health(2), Health::kEjected) << "not for local failures";
  for (int k = 0; k < 1300; ++k) {
    service.Pass(Ms(25));
    for (int i : {0, 1}) {
      if (service.live[i]->health() == Health::kProbing)
        service.Attempt(i, Ms(1));
    }
  }
  EXPECT_TRUE(service.live[0]->available());
  EXPECT_LT(service.live[2]->share(), 255);
}

TEST(HealthMonitorTest, APriorityThatIsWellKeepsOthersFromPanic) {
  TestService service(0);
  for (int i = 0; i < 6; ++i) {
    cluster::Endpoint endpoint;
    endpoint.address = absl::StrCat("p", i);
    endpoint.priority = i < 4 ? 0 : 1;
    service.live.push_back(std::make_shared<LiveEndpoint>(endpoint));
    service.live.back()->set_readiness(Readiness::kReady);
  }
  service.servers.resize(6);
  std::vector<cluster::Member> members;
  for (const LiveEndpointPtr& live : service.live) {
    members.push_back({live, 1, live->priority()});
  }
  const auto shares =
      std::make_shared<cluster::LoadShares>(std::vector<uint32_t>{0, 1});
  service.monitor.OnMembers(members, shares, 32, service.now);
  EXPECT_TRUE(shares->FirstCarriesAll());
  service.Warm();
  for (int i = 0; i < 4; ++i) {
    service.servers[i].stopped = true;
    for (int k = 0; k < 10; ++k) service.Begin(i);
  }
  for (int k = 0; k < 20; ++k) {
    service.Attempt(4, Ms(5));
    service.Attempt(5, Ms(5));
    service.Tick();
  }
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(service.health(i), Health::kSuspect);
    EXPECT_EQ(service.live[i]->share(), 0);
  }
  EXPECT_EQ(shares->share(1), cluster::kWholeLoad);
}

// Nobody looks at endpoints, and no new picker is made.
TEST(HealthMonitorTest, ADialCountsForASecondAlsoWhereNothingIsJudged) {
  options::GuardOptions options;
  options.outlier_ejection.mode = Mode::kOff;
  options.black_hole.mode = Mode::kOff;
  TestService service(2, options);
  service.Tick();
  EXPECT_FALSE(service.monitor.Due(service.now + absl::Hours(1)));
  service.live[0]->set_readiness(Readiness::kIdle);
  service.live[0]->NoteDial(absl::ToUnixNanos(service.now));
  service.live[0]->set_readiness(Readiness::kConnecting);
  service.live[1]->set_priority(1);
  const std::vector<cluster::Member> members = {{service.live[0], 1, 0},
                                                {service.live[1], 1, 1}};
  const auto shares =
      std::make_shared<cluster::LoadShares>(std::vector<uint32_t>{0, 1});
  service.monitor.OnMembers(members, shares, 32, service.now);
  service.Pass(Ms(999));
  EXPECT_TRUE(shares->FirstCarriesAll());
  service.Pass(Ms(1));
  EXPECT_EQ(shares->share(1), cluster::kWholeLoad);
  EXPECT_FALSE(service.monitor.Due(service.now + absl::Hours(1)));
}

// ---- What attracts traffic by failing fast ----

TEST(HealthMonitorTest, WhoSaysThatItIsDrainingIsLeftUntilItsNextConnection) {
  TestService service(3);
  service.Warm();
  service.monitor.OnDraining(service.live[1].get(), service.now);
  EXPECT_EQ(service.health(1), Health::kEjected);
  EXPECT_EQ(service.live[1]->share(), 0u);
  EXPECT_EQ(service.changes.back().cause, HealthCause::kDraining);

  // Its answers to what was under way say so, too.
  const size_t changes = service.changes.size();
  service.monitor.OnDraining(service.live[1].get(), service.now);
  service.Pass(Ms(1000));
  EXPECT_EQ(service.changes.size(), changes);

  service.monitor.OnConnected(service.live[1].get(), service.now);
  EXPECT_EQ(service.health(1), Health::kRamping);
  service.Pass(Ms(1100));
  EXPECT_EQ(service.health(1), Health::kHealthy);
}

TEST(HealthMonitorTest, WhoIsDrainingForLongIsTriedWithOneCall) {
  TestService service(3);
  service.Warm();
  service.monitor.OnDraining(service.live[1].get(), service.now);
  service.Pass(absl::Seconds(9));
  EXPECT_EQ(service.health(1), Health::kEjected);
  service.Pass(absl::Seconds(2));
  EXPECT_EQ(service.health(1), Health::kProbing);
  // It still is.
  service.monitor.OnDraining(service.live[1].get(), service.now);
  EXPECT_EQ(service.health(1), Health::kEjected);
}

TEST(HealthMonitorTest, WhenAllAreDrainingAllAreUsed) {
  TestService service(3);
  service.Warm();
  for (const auto& endpoint : service.live) {
    service.monitor.OnDraining(endpoint.get(), service.now);
  }
  service.Pass(Ms(100));
  for (const auto& endpoint : service.live) EXPECT_EQ(endpoint->share(), 255u);
}

TEST(HealthMonitorTest, FailuresInARowBelowTheThresholdTakeAwayTraffic) {
  TestService service(4);
  service.Warm();
  service.Attempt(0, Ms(1), TestService::Failure(kInternal));
  EXPECT_TRUE(service.live[0]->available()) << "one may happen to anybody";
  uint32_t share = 255;
  for (int k = 0; k < 4; ++k) {
    service.Attempt(0, Ms(1), TestService::Failure(kInternal));
    EXPECT_LT(service.live[0]->share(), share);
    share = service.live[0]->share();
  }
  EXPECT_EQ(service.health(0), Health::kHealthy);
  service.Attempt(0, Ms(1));
  EXPECT_TRUE(service.live[0]->available());
}

TEST(HealthMonitorTest, WhoFailsFastDoesNotAttractTraffic) {
  for (Mode mode : {Mode::kEnforce, Mode::kOff}) {
    options::GuardOptions options;
    options.outlier_ejection.mode = mode;
    options.outlier_ejection.consecutive_failures = 0;  // Nothing ejects.
    options.outlier_ejection.success_rate.enabled = false;
    options.outlier_ejection.failure_percentage.enabled = false;
    TestService service(4, options);
    for (auto& server : service.servers) server.latency = [] { return Ms(20); };
    service.servers[0].latency = [] { return Ms(0.2); };
    service.servers[0].code = [] { return kInternal; };
    service.Load(400, service.now + absl::Seconds(10));
    service.RunFor(absl::Seconds(10));
    if (mode == Mode::kEnforce) {
      EXPECT_LT(service.servers[0].attempts, 300)
          << "of 4,000; a part is 1,000";
    } else {
      EXPECT_GT(service.servers[0].attempts, 1500) << "what it keeps us from";
    }
  }
}

}  // namespace
}  // namespace mesh::resilience
