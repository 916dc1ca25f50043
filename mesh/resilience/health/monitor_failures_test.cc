#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/resilience/health/monitor_test_service.h"

namespace mesh::resilience {
namespace {

// ---- Failures of connections ----

TEST(HealthMonitorTest, FiveFailuresOfItsConnectionInARowEject) {
  TestService service(4);
  service.Warm();
  service.FailConnections(0, 4);
  EXPECT_NE(service.health(0), Health::kEjected);
  service.FailConnections(0, 1);
  EXPECT_EQ(service.health(0), Health::kEjected);
  EXPECT_EQ(service.live[0]->share(), 0);
  EXPECT_EQ(service.changes.back().cause,
            HealthCause::kConsecutiveLocalFailures);
  EXPECT_FALSE(service.changes.back().observed);
}

TEST(HealthMonitorTest, TheEndOfOneConnectionCountsOnce) {
  TestService service(4);
  service.Warm();
  for (int k = 0; k < 50; ++k) service.Begin(0);
  service.now += Ms(5);
  for (int k = 0; k < 50; ++k) {
    service.End(0, Ms(5), TestService::Failure(kUnavailable, /*local=*/true));
  }
  EXPECT_TRUE(service.live[0]->available());
  EXPECT_EQ(FailureRow(service.live[0]->observations().consecutive).failures,
            1u);
  EXPECT_TRUE(service.changes.empty());
  // The next one is another.
  service.FailConnections(0, 1);
  EXPECT_EQ(FailureRow(service.live[0]->observations().consecutive).failures,
            2u);
}

TEST(HealthMonitorTest, ADeadlineThatPassesIsNoFailureOfTheConnection) {
  TestService service(4);
  service.Warm();
  for (int k = 0; k < 20; ++k) {
    service.Attempt(0, Ms(100),
                    TestService::Failure(absl::StatusCode::kDeadlineExceeded,
                                         /*local=*/true));
    EXPECT_NE(service.health(0), Health::kEjected);
  }
  EXPECT_EQ(service.health(0), Health::kTrial) << "but a reason for doubt";
}

// ---- Answers that are failures ----

TEST(HealthMonitorTest, NoNumberOfAnswersEjectsByItself) {
  for (absl::StatusCode code : {kUnavailable, kInternal}) {
    TestService service(4);
    service.Warm();
    for (int k = 0; k < 1000; ++k) {
      service.Attempt(0, Ms(1), TestService::Failure(code));
      service.Tick();
    }
    EXPECT_EQ(service.Count(Health::kEjected), 0);
    EXPECT_EQ(service.health(0), Health::kTrial);
  }
}

TEST(HealthMonitorTest, WhatThisSideMakesAndWhatIsLoadIsNoFailure) {
  TestService service(4);
  service.Warm();
  AttemptResult own =
      TestService::Failure(absl::StatusCode::kResourceExhausted, true);
  own.own = true;
  AttemptResult credentials = TestService::Failure(kUnavailable, true);
  credentials.own = true;
  for (int k = 0; k < 100; ++k) {
    service.Attempt(0, Ms(1), own);
    service.Attempt(0, Ms(1), credentials);
    service.Tick();
  }
  EXPECT_TRUE(service.live[0]->available());
  for (int k = 0; k < 100; ++k) {
    service.Attempt(0, Ms(1),
                    TestService::Failure(absl::StatusCode::kResourceExhausted));
    service.Tick();
  }
  // It answers at once, and least request would send it nearly all.
  EXPECT_LT(service.live[0]->share(), 32);
  service.Attempt(0, Ms(1), TestService::Failure(kOk));
  EXPECT_TRUE(service.live[0]->available());
  EXPECT_TRUE(service.changes.empty());
}

// Two callers, one after the other, so that somebody always waits.
TEST(HealthMonitorTest, RepliesThatThisSideDoesNotTakeAreNoSilence) {
  TestService service(3);
  service.Warm();
  AttemptResult too_large =
      TestService::Failure(absl::StatusCode::kResourceExhausted, true);
  too_large.own = too_large.answered = true;
  service.Begin(0);
  for (int k = 0; k < 200; ++k) {
    service.now += Ms(5);
    service.Begin(0);
    service.now += Ms(5);
    service.End(0, Ms(10), too_large);
    service.Tick();
  }
  EXPECT_TRUE(service.changes.empty());
}

TEST(HealthMonitorTest, OfTheCallsOfOneConnectionOneCountsAsAFailure) {
  TestService service(3);
  service.Warm();
  for (int k = 0; k < 100; ++k) service.Begin(0);
  service.now += Ms(1);
  for (int k = 0; k < 100; ++k) {
    service.End(0, Ms(1), TestService::Failure(kUnavailable, /*local=*/true));
  }
  // Deadlines that pass anywhere say nothing.
  for (int k = 0; k < 100; ++k) {
    service.Attempt(
        0, Ms(0.1),
        TestService::Failure(absl::StatusCode::kDeadlineExceeded, true));
  }
  service.Pass(Ms(25));
  EXPECT_LE(RecordOf(service.live[0].get()).doubts.failed, 1);
}

TEST(HealthMonitorTest, AnAnswerEndsARowOfFailures) {
  TestService service(4);
  service.Warm();
  for (absl::StatusCode answer :
       {kOk, absl::StatusCode::kNotFound, absl::StatusCode::kInvalidArgument}) {
    for (int i = 0; i < 2; ++i) {
      service.Attempt(0, Ms(1), TestService::Failure(kUnavailable));
    }
    service.Attempt(0, Ms(1), TestService::Failure(answer));
    EXPECT_EQ(service.live[0]->observations().consecutive, 0u);
  }
}

TEST(HealthMonitorTest, AnAnswerEndsARowOfFailedConnections) {
  TestService service(4);
  service.Warm();
  service.FailConnections(0, 4);
  service.Attempt(0, Ms(1), TestService::Failure(kUnavailable));
  service.FailConnections(0, 4);
  EXPECT_NE(service.health(0), Health::kEjected);
  service.FailConnections(0, 1);
  EXPECT_EQ(service.health(0), Health::kEjected);
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

TEST(HealthMonitorTest, ALoneEndpointIsNeverEjectedNorTried) {
  TestService service(1);
  service.Warm();
  for (int i = 0; i < 100; ++i) {
    service.Attempt(0, Ms(1), TestService::Failure(kUnavailable, i % 2 == 0));
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
  for (int i = 0; i < 3; ++i) {
    service.Begin(0, /*unary=*/false);
    service.End(0, absl::Seconds(100), result);
  }
  ASSERT_EQ(service.health(0), Health::kTrial);
  EXPECT_LT(service.TryOut(0, 1, result, Ms(1)), 20);
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
      service.FailConnections(i, 20);
      service.Tick();
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
    for (int k = 0; k < 3; ++k) {
      service.Attempt(i, Ms(0.1), TestService::Failure(kUnavailable));
    }
    ASSERT_EQ(service.health(i), Health::kTrial);
    service.TryOut(i, 3, TestService::Failure(kUnavailable), Ms(0.1));
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

// No new picker is made.
TEST(HealthMonitorTest, ADialCountsForASecondAlsoWhereNothingIsJudged) {
  options::GuardOptions options;
  options.outlier_ejection.mode = Mode::kOff;
  options.silence.mode = Mode::kOff;
  TestService service(2, options);
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
  service.Pass(Ms(101));  // Until the next look.
  EXPECT_EQ(shares->share(1), cluster::kWholeLoad);
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

TEST(HealthMonitorTest, TwoFailuresInARowTakeAwayTraffic) {
  TestService service(4);
  service.Warm();
  service.Attempt(0, Ms(1), TestService::Failure(kInternal));
  EXPECT_TRUE(service.live[0]->available()) << "one may happen to anybody";
  AttemptResult answered = TestService::Failure(kInternal);
  service.Attempt(0, Ms(1), answered);
  EXPECT_EQ(service.live[0]->share(), 127u);
  EXPECT_EQ(service.health(0), Health::kHealthy);
  service.Attempt(0, Ms(1));
  EXPECT_TRUE(service.live[0]->available());
}

TEST(HealthMonitorTest, WhoFailsFastDoesNotAttractTraffic) {
  for (Mode mode : {Mode::kEnforce, Mode::kOff}) {
    options::GuardOptions options;
    options.outlier_ejection.mode = mode;
    options.outlier_ejection.trial_error = 1e-12;  // Nothing ejects for long.
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
