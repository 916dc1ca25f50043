#include "mesh/resilience/health_monitor.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/base/random.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/options/guards.h"
#include "mesh/options/mode.h"
#include "mesh/options/retry.h"

namespace mesh::resilience {
namespace {

using cluster::Health;
using cluster::HealthCause;
using cluster::LiveEndpoint;
using cluster::LiveEndpointPtr;
using cluster::Readiness;
using options::Mode;

constexpr absl::StatusCode kOk = absl::StatusCode::kOk;
constexpr absl::StatusCode kUnavailable = absl::StatusCode::kUnavailable;
constexpr absl::StatusCode kInternal = absl::StatusCode::kInternal;

absl::Duration Ms(double milliseconds) {
  return absl::Microseconds(std::llround(milliseconds * 1000));
}

options::GuardOptions Defaults() { return {}; }

// A service whose calls are made on virtual time: servers are functions of it.
class World : public HealthMonitor::Host {
 public:
  struct Server {
    // How long a call that begins now takes. InfiniteDuration: for ever.
    std::function<absl::Duration()> latency = [] { return Ms(1); };
    std::function<absl::StatusCode()> code = [] { return kOk; };
    bool stopped = false;  // Neither calls nor probes are answered.
    int attempts = 0;
    int waiting_probes = 0;
    std::vector<std::function<void()>> held;  // Until it goes on.
  };

  explicit World(int servers, const options::GuardOptions& options = Defaults(),
                 uint64_t seed = 1)
      : random(seed),
        budget(options::RetryBudgetOptions{0.05, 5}, now),
        monitor(options, &budget, this),
        servers(servers) {
    for (int i = 0; i < servers; ++i) {
      cluster::Endpoint endpoint;
      endpoint.address = absl::StrCat("e", i);
      live.push_back(std::make_shared<LiveEndpoint>(endpoint));
      live.back()->set_readiness(Readiness::kReady);
    }
  }

  void Probe(LiveEndpoint* endpoint) override {
    ++probes;
    Server& server = servers[IndexOf(endpoint)];
    ++server.attempts;
    auto answer = [this, endpoint] {
      monitor.OnProbeDone(endpoint, true, now);
    };
    if (server.stopped) {
      server.held.push_back(answer);
    } else {
      At(now + Ms(1), answer);
    }
  }
  void OnHealthChange(const HealthChange& change) override {
    changes.push_back(change);
  }

  int IndexOf(const LiveEndpoint* endpoint) const {
    for (size_t i = 0; i < live.size(); ++i) {
      if (live[i].get() == endpoint) return static_cast<int>(i);
    }
    ADD_FAILURE() << "unknown endpoint";
    return 0;
  }
  Health health(int i) const { return live[i]->health(); }
  int Count(Health to, bool observed = false) const {
    return static_cast<int>(
        std::count_if(changes.begin(), changes.end(), [&](const auto& change) {
          return change.to == to && change.observed == observed;
        }));
  }

  // ---- By hand ----

  void Tick() {
    if (monitor.Due(now)) monitor.Tick(live, now, &random);
  }
  // Lets time pass with a look each 25 ms and nothing else.
  void Pass(absl::Duration time) {
    const absl::Time end = now + time;
    while (now < end) {
      now = std::min(end, now + Ms(25));
      Tick();
    }
  }
  // One attempt, from begin to end; time passes.
  void Attempt(int i, absl::Duration latency, AttemptResult result = {}) {
    Begin(i);
    now += latency;
    End(i, latency, result);
  }
  void Begin(int i, bool unary = true) {
    ++servers[i].attempts;
    EXPECT_TRUE(live[i]->Acquire());
    monitor.OnAttemptStart(live[i].get(), unary, now);
  }
  void End(int i, absl::Duration latency, AttemptResult result = {}) {
    result.latency = latency;
    monitor.OnAttemptEnd(live[i].get(), result, now);
    live[i]->Release();
  }
  static AttemptResult Failure(absl::StatusCode code, bool local = false) {
    AttemptResult result;
    result.code = code;
    result.local = local;
    return result;
  }
  // So that there is something to compare with: `n` calls to each.
  void Warm(int n = 200, absl::Duration latency = Ms(1)) {
    for (int k = 0; k < n; ++k) {
      for (size_t i = 0; i < live.size(); ++i) {
        Attempt(static_cast<int>(i), latency);
      }
      Tick();
    }
  }

  // ---- Traffic ----

  void At(absl::Time at, std::function<void()> run) {
    events_.push({at, next_++, std::move(run)});
  }
  void RunUntil(absl::Time until) {
    while (!events_.empty() && events_.top().at <= until) {
      const Event event = events_.top();
      events_.pop();
      now = event.at;
      event.run();
    }
    now = until;
  }
  void RunFor(absl::Duration time) { RunUntil(now + time); }

  // As least request, or in turn, with regard to health as pickers have it.
  int Pick(bool in_turn) {
    auto accepts = [this](int i) {
      LiveEndpoint& endpoint = *live[i];
      if (endpoint.available()) return true;
      if (endpoint.health() == Health::kProbing && endpoint.share() < 255) {
        return endpoint.ClaimProbe();
      }
      return random.Below(255) < endpoint.share();
    };
    const auto size = static_cast<uint32_t>(live.size());
    for (int tries = 0; tries < 50; ++tries) {
      if (in_turn) {
        const auto i = static_cast<int>(turn_++ % size);
        if (accepts(i)) return i;
        continue;
      }
      const auto a = static_cast<int>(random.Below(size));
      const auto b = static_cast<int>(
          size == 1 ? 0 : (a + 1 + random.Below(size - 1)) % size);
      const int i = live[b]->in_flight() < live[a]->in_flight() ? b : a;
      if (accepts(i)) return i;
    }
    return static_cast<int>(random.Below(size));
  }

  // Calls at random, `rate` a second, until then. What is not answered within
  // `deadline` fails; with `hedge_after` it is given up then.
  void Load(double rate, absl::Time until, bool in_turn = false,
            absl::Duration deadline = absl::Seconds(1),
            absl::Duration hedge_after = absl::InfiniteDuration()) {
    const absl::Time next =
        now + absl::Seconds(-std::log(1 - random.Unit()) / rate);
    if (next > until) return;
    At(next, [=] {
      Call(Pick(in_turn), deadline, hedge_after);
      Load(rate, until, in_turn, deadline, hedge_after);
    });
  }
  void Call(int i, absl::Duration deadline, absl::Duration hedge_after) {
    Tick();
    Begin(i);
    auto done = std::make_shared<bool>(false);
    const absl::Time start = now;
    auto end = [this, i, start, done](AttemptResult result) {
      if (*done) return;
      *done = true;
      if (result.code != kOk && !result.given_up) ++failed;
      End(i, now - start, result);
    };
    Server& server = servers[i];
    const absl::Duration latency =
        server.stopped ? absl::InfiniteDuration() : server.latency();
    auto answer = [end, code = server.code()] {
      AttemptResult result;
      result.code = code;
      end(result);
    };
    if (latency < absl::InfiniteDuration()) {
      At(now + latency, answer);
    } else if (server.stopped) {
      server.held.push_back(answer);
    }
    if (hedge_after < absl::InfiniteDuration()) {
      At(now + hedge_after, [end] {
        AttemptResult result;
        result.code = absl::StatusCode::kCancelled;
        result.local = result.given_up = true;
        end(result);
      });
    }
    if (deadline < absl::InfiniteDuration()) {
      At(now + deadline, [end] {
        end(Failure(absl::StatusCode::kDeadlineExceeded, /*local=*/true));
      });
    }
  }
  void Continue(int i) {
    servers[i].stopped = false;
    std::vector<std::function<void()>> held;
    held.swap(servers[i].held);
    for (auto& answer : held) At(now, answer);
  }

  absl::Time now = absl::UnixEpoch() + absl::Hours(1000);
  base::Random random;

 private:
  struct Event {
    absl::Time at;
    int order;
    std::function<void()> run;
    bool operator<(const Event& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };

 public:
  RetryBudget budget;
  HealthMonitor monitor;
  std::vector<Server> servers;
  std::vector<LiveEndpointPtr> live;
  std::vector<HealthChange> changes;
  int probes = 0;
  int failed = 0;

 private:
  std::priority_queue<Event> events_;
  int next_ = 0;
  uint64_t turn_ = 0;
};

std::function<absl::Duration()> LogNormal(World* world, absl::Duration median,
                                          double sigma) {
  return [=] {
    const double u = 1 - world->random.Unit(), v = world->random.Unit();
    const double normal =
        std::sqrt(-2 * std::log(u)) * std::cos(2 * std::acos(-1.0) * v);
    return median * std::exp(sigma * normal);
  };
}

// ---- Consecutive failures ----

TEST(HealthMonitorTest, FiveUnavailableInARowEject) {
  World world(4);
  world.Warm();
  for (int i = 0; i < 4; ++i) {
    world.Attempt(0, Ms(1), World::Failure(kUnavailable));
  }
  EXPECT_EQ(world.health(0), Health::kHealthy);
  world.Attempt(0, Ms(1), World::Failure(kUnavailable));
  EXPECT_EQ(world.health(0), Health::kEjected);
  EXPECT_EQ(world.live[0]->share(), 0);
  ASSERT_EQ(world.changes.size(), 1);
  EXPECT_EQ(world.changes[0].cause, HealthCause::kConsecutiveGatewayFailures);
  EXPECT_FALSE(world.changes[0].observed);
}

TEST(HealthMonitorTest, TenFailuresOfOtherKindsInARowEject) {
  World world(4);
  world.Warm();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(world.health(0), Health::kHealthy);
    world.Attempt(0, Ms(1),
                  World::Failure(i % 4 == 0 ? kUnavailable : kInternal));
  }
  EXPECT_EQ(world.health(0), Health::kEjected);
  EXPECT_EQ(world.changes.back().cause, HealthCause::kConsecutiveFailures);
}

TEST(HealthMonitorTest, AnAnswerEndsARowOfFailures) {
  World world(4);
  world.Warm();
  for (absl::StatusCode answer :
       {kOk, absl::StatusCode::kNotFound, absl::StatusCode::kInvalidArgument}) {
    for (int i = 0; i < 4; ++i) {
      world.Attempt(0, Ms(1), World::Failure(kUnavailable));
    }
    world.Attempt(0, Ms(1), World::Failure(answer));
    EXPECT_TRUE(world.live[0]->available());
  }
  EXPECT_TRUE(world.changes.empty());
}

TEST(HealthMonitorTest, LocalFailuresAreCountedByThemselves) {
  World world(4);
  world.Warm();
  // Four of each kind do not make five of either.
  for (int i = 0; i < 4; ++i) {
    world.Attempt(0, Ms(1), World::Failure(kUnavailable));
  }
  for (int i = 0; i < 4; ++i) {
    world.Attempt(0, Ms(1), World::Failure(kUnavailable, /*local=*/true));
  }
  EXPECT_EQ(world.health(0), Health::kHealthy);
  world.Attempt(0, Ms(1), World::Failure(kUnavailable, /*local=*/true));
  EXPECT_EQ(world.health(0), Health::kEjected);
  EXPECT_EQ(world.changes[0].cause, HealthCause::kConsecutiveLocalFailures);
}

TEST(HealthMonitorTest, WhatIsNeverSentOrGivenUpIsNoFailure) {
  World world(4);
  world.Warm();
  for (int i = 0; i < 50; ++i) {
    AttemptResult result = World::Failure(kUnavailable, /*local=*/true);
    result.never_sent = true;
    world.Attempt(0, Ms(0.1), result);
    result = World::Failure(absl::StatusCode::kCancelled, /*local=*/true);
    result.given_up = true;
    world.Attempt(0, Ms(0.1), result);
    world.Tick();
  }
  EXPECT_TRUE(world.live[0]->available());
  EXPECT_TRUE(world.changes.empty());
}

TEST(HealthMonitorTest, ALoneEndpointIsNeverEjected) {
  World world(1);
  world.Warm();
  for (int i = 0; i < 100; ++i) {
    world.Attempt(0, Ms(1), World::Failure(kUnavailable));
    world.Tick();
  }
  EXPECT_TRUE(world.live[0]->available());
  EXPECT_TRUE(world.changes.empty());
}

TEST(HealthMonitorTest, StreamsCountTheirFailuresAndAreNeverSilent) {
  World world(4);
  world.Warm();
  world.Begin(1, /*unary=*/false);
  AttemptResult result = World::Failure(kUnavailable);
  result.unary = false;
  for (int i = 0; i < 5; ++i) {
    world.Begin(0, /*unary=*/false);
    world.End(0, absl::Seconds(100), result);
  }
  EXPECT_EQ(world.health(0), Health::kEjected);
  world.Pass(absl::Seconds(10));
  EXPECT_EQ(world.Count(Health::kSuspect), 0);
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
    World world(c.servers, options);
    world.Warm();
    for (int i = 0; i < c.servers; ++i) {
      for (int k = 0; k < 20; ++k) {
        world.Attempt(i, Ms(0.1), World::Failure(kUnavailable));
        world.Tick();
      }
    }
    EXPECT_EQ(world.Count(Health::kEjected), c.expected)
        << c.servers << " servers, " << c.percent << "%";
  }
}

TEST(HealthMonitorTest, InPanicAllAreUsedAndTheirStatesRemembered) {
  options::GuardOptions options;
  options.outlier_ejection.max_ejection_percent = 100;
  World world(4, options);
  world.Warm();
  auto fail = [&world](int i) {
    for (int k = 0; k < 5; ++k) {
      world.Attempt(i, Ms(0.1), World::Failure(kUnavailable));
    }
    world.Tick();
  };
  fail(0);
  fail(1);
  EXPECT_EQ(world.live[0]->share(), 0);
  EXPECT_EQ(world.live[1]->share(), 0) << "half are in use still";
  fail(2);
  world.Tick();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(world.health(i), Health::kEjected) << i;
    EXPECT_EQ(world.live[i]->share(), 255) << i;
  }
  EXPECT_TRUE(world.live[3]->available());
  // The first two come back, and the third is out again.
  world.monitor.OnConnected(world.live[2].get(), world.now);
  EXPECT_EQ(world.health(2), Health::kEjected) << "not for local failures";
  for (int k = 0; k < 1300; ++k) {
    world.Pass(Ms(25));
    for (int i : {0, 1}) {
      if (world.live[i]->health() == Health::kProbing) world.Attempt(i, Ms(1));
    }
  }
  EXPECT_TRUE(world.live[0]->available());
  EXPECT_LT(world.live[2]->share(), 255);
}

TEST(HealthMonitorTest, APriorityThatIsWellKeepsOthersFromPanic) {
  World world(0);
  for (int i = 0; i < 6; ++i) {
    cluster::Endpoint endpoint;
    endpoint.address = absl::StrCat("p", i);
    endpoint.priority = i < 4 ? 0 : 1;
    world.live.push_back(std::make_shared<LiveEndpoint>(endpoint));
    world.live.back()->set_readiness(Readiness::kReady);
  }
  world.servers.resize(6);
  world.Warm();
  for (int i = 0; i < 4; ++i) {
    world.servers[i].stopped = true;
    for (int k = 0; k < 10; ++k) world.Begin(i);
  }
  for (int k = 0; k < 20; ++k) {
    world.Attempt(4, Ms(5));
    world.Attempt(5, Ms(5));
    world.Tick();
  }
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(world.health(i), Health::kSuspect);
    EXPECT_EQ(world.live[i]->share(), 0);
  }
}

// ---- The time that an ejection takes, and the way back ----

TEST(HealthMonitorTest, AnEjectionIsLongerEachTimeAndShortensAgain) {
  World world(4);
  world.Warm();
  auto eject = [&world] {
    for (int k = 0; k < 5; ++k) {
      world.Attempt(0, Ms(0.1), World::Failure(kUnavailable));
    }
    ASSERT_EQ(world.health(0), Health::kEjected);
  };
  auto seconds_out = [&world] {
    const absl::Time start = world.now;
    while (world.health(0) == Health::kEjected) world.Pass(Ms(25));
    return absl::ToDoubleSeconds(world.now - start);
  };
  auto come_back = [&world] {
    world.Attempt(0, Ms(1));
    world.Attempt(0, Ms(1));
    ASSERT_EQ(world.health(0), Health::kRamping);
    world.Pass(absl::Seconds(1.1));
    ASSERT_TRUE(world.live[0]->available());
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
  world.Pass(absl::Seconds(61));  // Two times the base: two less.
  eject();
  EXPECT_NEAR(seconds_out(), 60, 0.1);
  for (int i = 0; i < 15; ++i) {
    come_back();
    eject();
    EXPECT_LE(seconds_out(), 300.1);
  }
}

TEST(HealthMonitorTest, OneCallAtATimeProbesWhatReturns) {
  World world(4);
  world.Warm();
  for (int k = 0; k < 5; ++k) {
    world.Attempt(0, Ms(1), World::Failure(kUnavailable));
  }
  world.Pass(absl::Seconds(30.1));
  ASSERT_EQ(world.health(0), Health::kProbing);
  EXPECT_FALSE(world.live[0]->available());
  EXPECT_TRUE(world.live[0]->ClaimProbe());
  EXPECT_FALSE(world.live[0]->ClaimProbe()) << "one is under way";
  world.Attempt(0, Ms(1));
  EXPECT_EQ(world.health(0), Health::kProbing) << "one success is not enough";
  EXPECT_TRUE(world.live[0]->ClaimProbe());
  world.Attempt(0, Ms(1));
  EXPECT_EQ(world.health(0), Health::kRamping);
  EXPECT_FALSE(world.live[0]->ClaimProbe());

  uint32_t share = world.live[0]->share();
  EXPECT_NEAR(share, 26, 1);
  for (int i = 0; i < 9; ++i) {
    world.Pass(Ms(100));
    EXPECT_GE(world.live[0]->share(), share);
    share = world.live[0]->share();
  }
  EXPECT_NEAR(share, 230, 10);
  world.Pass(Ms(200));
  EXPECT_TRUE(world.live[0]->available());
}

TEST(HealthMonitorTest, AProbeThatFailsEjectsForLonger) {
  World world(4);
  world.Warm();
  for (int k = 0; k < 5; ++k) {
    world.Attempt(0, Ms(1), World::Failure(kUnavailable));
  }
  world.Pass(absl::Seconds(30.1));
  world.Attempt(0, Ms(1), World::Failure(kUnavailable));
  EXPECT_EQ(world.health(0), Health::kEjected);
  EXPECT_EQ(world.changes.back().cause, HealthCause::kProbeFailed);
  world.Pass(absl::Seconds(59));
  EXPECT_EQ(world.health(0), Health::kEjected);
  world.Pass(absl::Seconds(1.1));
  EXPECT_EQ(world.health(0), Health::kProbing);
}

TEST(HealthMonitorTest, WhatBeganBeforeTheProbeSaysNothingOfIt) {
  World world(4);
  world.Warm();
  world.Begin(0);
  for (int k = 0; k < 5; ++k) {
    world.Attempt(0, Ms(1), World::Failure(kUnavailable));
  }
  world.Pass(absl::Seconds(30.1));
  ASSERT_EQ(world.health(0), Health::kProbing);
  world.End(0, absl::Seconds(31), World::Failure(kUnavailable, true));
  EXPECT_EQ(world.health(0), Health::kProbing);
}

TEST(HealthMonitorTest, APlaceThatIsTakenAndNotUsedIsFreeAgain) {
  World world(4);
  world.Warm();
  for (int k = 0; k < 5; ++k) {
    world.Attempt(0, Ms(1), World::Failure(kUnavailable));
  }
  world.Pass(absl::Seconds(30.1));
  ASSERT_TRUE(world.live[0]->ClaimProbe());
  world.Pass(absl::Seconds(1.2));
  EXPECT_TRUE(world.live[0]->ClaimProbe());
}

// As by calls that meet a cap after they have taken it.
TEST(HealthMonitorTest, APlaceThatIsTakenAndNotUsedIsNoGoodProbe) {
  World world(4);
  world.Warm();
  world.Begin(0, /*unary=*/false);  // A stream from before.
  for (int k = 0; k < 5; ++k) {
    world.Attempt(0, Ms(1), World::Failure(kUnavailable));
  }
  world.Pass(absl::Seconds(30.1));
  for (int k = 0; k < 5; ++k) {
    ASSERT_TRUE(world.live[0]->ClaimProbe()) << k;
    world.Pass(absl::Seconds(1.2));
    EXPECT_EQ(world.health(0), Health::kProbing);
    EXPECT_EQ(world.live[0]->health_record().good, 0);
  }
}

TEST(HealthMonitorTest, AStreamThatLastsIsAGoodProbe) {
  World world(4);
  world.Warm();
  for (int k = 0; k < 5; ++k) {
    world.Attempt(0, Ms(1), World::Failure(kUnavailable));
  }
  world.Pass(absl::Seconds(30.1));
  for (int k = 0; k < 2; ++k) {
    ASSERT_EQ(world.health(0), Health::kProbing);
    ASSERT_TRUE(world.live[0]->ClaimProbe()) << k;
    world.Begin(0, /*unary=*/false);
    world.Pass(absl::Seconds(1.2));
  }
  EXPECT_EQ(world.health(0), Health::kRamping);
}

TEST(HealthMonitorTest, FailuresDuringTheRampEjectAgain) {
  World world(4);
  world.Warm();
  for (int k = 0; k < 5; ++k) {
    world.Attempt(0, Ms(1), World::Failure(kUnavailable));
  }
  world.Pass(absl::Seconds(30.1));
  world.Attempt(0, Ms(1));
  world.Attempt(0, Ms(1));
  ASSERT_EQ(world.health(0), Health::kRamping);
  for (int k = 0; k < 3; ++k) {
    world.Attempt(0, Ms(1), World::Failure(kUnavailable));
  }
  EXPECT_EQ(world.health(0), Health::kEjected);
}

TEST(HealthMonitorTest, ANewConnectionEndsAnEjectionForLocalFailuresOnly) {
  World world(8);
  world.Warm();
  for (int k = 0; k < 5; ++k) {
    world.Attempt(0, Ms(1), World::Failure(kUnavailable, /*local=*/true));
    world.Attempt(1, Ms(1), World::Failure(kUnavailable));
  }
  world.monitor.OnConnected(world.live[0].get(), world.now);
  world.monitor.OnConnected(world.live[1].get(), world.now);
  EXPECT_EQ(world.health(0), Health::kRamping);
  EXPECT_EQ(world.changes.back().cause, HealthCause::kNewConnection);
  EXPECT_EQ(world.health(1), Health::kEjected);
}

// It accepts connections and resets them, one after the other.
TEST(HealthMonitorTest, NewConnectionsThatFailTooGetSingleCallsAndNoRamp) {
  World world(4);
  world.Warm();
  const auto reset = World::Failure(kUnavailable, /*local=*/true);
  auto connect = [&world] {
    world.monitor.OnConnected(world.live[0].get(), world.now);
  };
  for (int k = 0; k < 5; ++k) world.Attempt(0, Ms(1), reset);
  ASSERT_EQ(world.health(0), Health::kEjected);
  world.Pass(absl::Seconds(1));
  connect();
  ASSERT_EQ(world.health(0), Health::kRamping) << "the first one";
  for (int k = 0; k < 3; ++k) world.Attempt(0, Ms(1), reset);
  ASSERT_EQ(world.health(0), Health::kEjected);
  for (int k = 0; k < 20; ++k) {
    world.Pass(absl::Seconds(1));
    connect();
    ASSERT_EQ(world.health(0), Health::kProbing) << k;
    EXPECT_EQ(world.changes.back().cause, HealthCause::kNewConnection);
    ASSERT_TRUE(world.live[0]->ClaimProbe());
    world.Attempt(0, Ms(1), reset);
    ASSERT_EQ(world.health(0), Health::kEjected) << k;
  }
  // It is mended.
  connect();
  ASSERT_TRUE(world.live[0]->ClaimProbe());
  world.Attempt(0, Ms(1));
  EXPECT_EQ(world.health(0), Health::kRamping);
  world.Pass(absl::Seconds(1.1));
  EXPECT_TRUE(world.live[0]->available());
}

TEST(HealthMonitorTest, AReconnectLongAfterTheLastOneRampsAtOnce) {
  World world(4);
  world.Warm();
  for (int round = 0; round < 3; ++round) {
    for (int k = 0; k < 5; ++k) {
      world.Attempt(0, Ms(1), World::Failure(kUnavailable, /*local=*/true));
    }
    ASSERT_EQ(world.health(0), Health::kEjected);
    world.monitor.OnConnected(world.live[0].get(), world.now);
    EXPECT_EQ(world.health(0), Health::kRamping) << round;
    world.Pass(absl::Seconds(100));
  }
}

// ---- What attracts traffic by failing fast ----

TEST(HealthMonitorTest, WhoSaysThatItIsDrainingIsLeftUntilItsNextConnection) {
  World world(3);
  world.Warm();
  world.monitor.OnDraining(world.live[1].get(), world.now);
  EXPECT_EQ(world.health(1), Health::kEjected);
  EXPECT_EQ(world.live[1]->share(), 0u);
  EXPECT_EQ(world.changes.back().cause, HealthCause::kDraining);

  // Its answers to what was under way say so, too.
  const size_t changes = world.changes.size();
  world.monitor.OnDraining(world.live[1].get(), world.now);
  world.Pass(Ms(1000));
  EXPECT_EQ(world.changes.size(), changes);

  world.monitor.OnConnected(world.live[1].get(), world.now);
  EXPECT_EQ(world.health(1), Health::kRamping);
  world.Pass(Ms(1100));
  EXPECT_EQ(world.health(1), Health::kHealthy);
}

TEST(HealthMonitorTest, WhoIsDrainingForLongIsTriedWithOneCall) {
  World world(3);
  world.Warm();
  world.monitor.OnDraining(world.live[1].get(), world.now);
  world.Pass(absl::Seconds(9));
  EXPECT_EQ(world.health(1), Health::kEjected);
  world.Pass(absl::Seconds(2));
  EXPECT_EQ(world.health(1), Health::kProbing);
  // It still is.
  world.monitor.OnDraining(world.live[1].get(), world.now);
  EXPECT_EQ(world.health(1), Health::kEjected);
}

TEST(HealthMonitorTest, WhenAllAreDrainingAllAreUsed) {
  World world(3);
  world.Warm();
  for (const auto& endpoint : world.live) {
    world.monitor.OnDraining(endpoint.get(), world.now);
  }
  world.Pass(Ms(100));
  for (const auto& endpoint : world.live) EXPECT_EQ(endpoint->share(), 255u);
}

TEST(HealthMonitorTest, FailuresInARowBelowTheThresholdTakeAwayTraffic) {
  World world(4);
  world.Warm();
  world.Attempt(0, Ms(1), World::Failure(kInternal));
  EXPECT_TRUE(world.live[0]->available()) << "one may happen to anybody";
  uint32_t share = 255;
  for (int k = 0; k < 4; ++k) {
    world.Attempt(0, Ms(1), World::Failure(kInternal));
    EXPECT_LT(world.live[0]->share(), share);
    share = world.live[0]->share();
  }
  EXPECT_EQ(world.health(0), Health::kHealthy);
  world.Attempt(0, Ms(1));
  EXPECT_TRUE(world.live[0]->available());
}

TEST(HealthMonitorTest, WhoFailsFastDoesNotAttractTraffic) {
  for (Mode mode : {Mode::kEnforce, Mode::kOff}) {
    options::GuardOptions options;
    options.outlier_ejection.mode = mode;
    options.outlier_ejection.consecutive_failures = 0;  // Nothing ejects.
    options.outlier_ejection.success_rate.enabled = false;
    options.outlier_ejection.failure_percentage.enabled = false;
    World world(4, options);
    for (auto& server : world.servers) server.latency = [] { return Ms(20); };
    world.servers[0].latency = [] { return Ms(0.2); };
    world.servers[0].code = [] { return kInternal; };
    world.Load(400, world.now + absl::Seconds(10));
    world.RunFor(absl::Seconds(10));
    if (mode == Mode::kEnforce) {
      EXPECT_LT(world.servers[0].attempts, 300) << "of 4,000; a part is 1,000";
    } else {
      EXPECT_GT(world.servers[0].attempts, 1500) << "what it keeps us from";
    }
  }
}

// ---- gRFC A50 ----

TEST(HealthMonitorTest, SuccessRateFarBelowTheOthersEjects) {
  World world(8);
  for (int k = 0; k < 150; ++k) {
    for (int i = 0; i < 8; ++i) {
      const bool fails = i == 3 ? k % 2 == 0 : k % 50 == i;
      world.Attempt(i, Ms(0.5), World::Failure(fails ? kInternal : kOk));
    }
    world.Tick();
  }
  world.Pass(absl::Seconds(1.1));
  ASSERT_EQ(world.Count(Health::kEjected), 1);
  EXPECT_EQ(world.health(3), Health::kEjected);
  EXPECT_EQ(world.changes[0].cause, HealthCause::kSuccessRate);
}

TEST(HealthMonitorTest, SuccessRateIsMeanLessDeviationsTimesFactor) {
  // Nine at 100% and one at p: the mean is 0.9 + p/10, the deviation
  // 0.3 (1 - p), so p is less than their difference by a factor of three
  // deviations at most, whatever p is.
  for (int factor : {2900, 3100}) {
    options::GuardOptions options;
    options.outlier_ejection.success_rate.stdev_factor = factor;
    World world(10, options);
    for (int k = 0; k < 200; ++k) {
      for (int i = 0; i < 10; ++i) {
        const bool fails = i == 0 && k % 2 == 0;
        world.Attempt(i, Ms(0.3), World::Failure(fails ? kInternal : kOk));
      }
      world.Tick();
    }
    world.Pass(absl::Seconds(1.1));
    EXPECT_EQ(world.Count(Health::kEjected), factor < 3000 ? 1 : 0) << factor;
  }
}

TEST(HealthMonitorTest, SuccessRateNeedsHostsAndVolume) {
  for (int servers : {4, 5}) {
    for (int calls : {90, 150}) {
      World world(servers);
      for (int k = 0; k < calls; ++k) {
        for (int i = 0; i < servers; ++i) {
          world.Attempt(i, Ms(0.1),
                        World::Failure(i == 0 && k % 2 == 0 ? kInternal : kOk));
        }
      }
      world.Tick();
      world.Pass(absl::Seconds(1.1));
      world.Pass(absl::Seconds(1.1));
      EXPECT_EQ(world.Count(Health::kEjected),
                servers == 5 && calls == 150 ? 1 : 0)
          << servers << " servers, " << calls << " calls";
    }
  }
}

TEST(HealthMonitorTest, EqualSuccessRatesEjectNobody) {
  World world(7);
  for (int k = 0; k < 3000; ++k) {
    for (int i = 0; i < 7; ++i) {
      world.Attempt(i, Ms(0.3), World::Failure(k % 3 == 0 ? kInternal : kOk));
    }
    world.Tick();
  }
  EXPECT_TRUE(world.changes.empty());
}

TEST(HealthMonitorTest, FailurePercentageEjectsAtItsThreshold) {
  for (int percent : {84, 86}) {
    World world(3);
    for (int k = 0; k < 200; ++k) {
      for (int i = 0; i < 3; ++i) {
        const bool fails = i == 0 && (k * percent) % 100 >= 100 - percent;
        world.Attempt(i, Ms(0.5), World::Failure(fails ? kInternal : kOk));
      }
      world.Tick();
    }
    world.Pass(absl::Seconds(1.1));
    const int ejected = static_cast<int>(std::count_if(
        world.changes.begin(), world.changes.end(),
        [](auto& c) { return c.cause == HealthCause::kFailurePercentage; }));
    EXPECT_EQ(ejected, percent == 86 ? 1 : 0) << percent;
  }
}

// ---- Latency ----

TEST(HealthMonitorTest, TwentyTimesSlowerLosesItsTrafficWithinTwoSeconds) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    World world(3, Defaults(), seed);
    for (auto& server : world.servers) {
      server.latency = LogNormal(&world, Ms(10), 0.2);
    }
    const absl::Time start = world.now;
    world.Load(60, start + absl::Seconds(15));
    world.RunFor(absl::Seconds(5));
    EXPECT_TRUE(world.changes.empty());
    world.servers[2].latency = LogNormal(&world, Ms(200), 0.2);
    world.RunFor(absl::Seconds(2));
    const int before = world.servers[2].attempts;
    world.RunFor(absl::Seconds(8));
    EXPECT_LE(world.servers[2].attempts - before, 4)
        << "1% of all; seed " << seed;
    EXPECT_EQ(world.health(2), Health::kEjected) << "seed " << seed;
    EXPECT_EQ(world.Count(Health::kEjected), 1);
    EXPECT_TRUE(world.live[0]->available());
    EXPECT_TRUE(world.live[1]->available());
  }
}

TEST(HealthMonitorTest, OfTwoEndpointsTheSlowOneIsEjected) {
  World world(2);
  for (auto& server : world.servers) {
    server.latency = LogNormal(&world, Ms(10), 0.2);
  }
  world.Load(100, world.now + absl::Seconds(20));
  world.RunFor(absl::Seconds(5));
  world.servers[1].latency = LogNormal(&world, Ms(200), 0.2);
  world.RunFor(absl::Seconds(3));
  EXPECT_EQ(world.health(1), Health::kEjected);
  EXPECT_TRUE(world.live[0]->available());
}

TEST(HealthMonitorTest, WhenAllSlowDownTogetherNobodyIsEjected) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    World world(3, Defaults(), seed);
    for (auto& server : world.servers) {
      server.latency = LogNormal(&world, Ms(10), 0.2);
    }
    world.Load(100, world.now + absl::Seconds(30));
    for (int i = 0; i < 6; ++i) {
      world.RunFor(absl::Seconds(5));
      for (auto& server : world.servers) {
        server.latency = LogNormal(&world, Ms(i % 2 == 0 ? 200 : 10), 0.2);
      }
    }
    EXPECT_EQ(world.Count(Health::kEjected), 0) << "seed " << seed;
  }
}

TEST(HealthMonitorTest, NoisyLatenciesEjectNobody) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    for (int servers : {2, 3, 10}) {
      for (double rate : {20.0, 500.0}) {
        World world(servers, Defaults(), seed);
        for (auto& server : world.servers) {
          server.latency = LogNormal(&world, Ms(10), 1.5);
        }
        world.Load(rate, world.now + absl::Seconds(20), seed % 2 == 0,
                   absl::Seconds(60));
        world.RunFor(absl::Seconds(30));
        EXPECT_EQ(world.Count(Health::kEjected), 0)
            << seed << " " << servers << " " << rate;
      }
    }
  }
}

TEST(HealthMonitorTest, MixedMethodsEjectNobody) {
  for (uint64_t seed = 1; seed <= 9; ++seed) {
    World world(3, Defaults(), seed);
    for (auto& server : world.servers) {
      server.latency = [&world, seed] {
        const double share = seed % 3 == 0 ? 0.5 : seed % 3 == 1 ? 0.05 : 0.005;
        return world.random.Unit() < share ? absl::Seconds(2) : Ms(1);
      };
    }
    world.Load(200, world.now + absl::Seconds(30), seed % 2 == 0,
               absl::Seconds(60));
    world.RunFor(absl::Seconds(40));
    EXPECT_EQ(world.Count(Health::kEjected), 0) << "seed " << seed;
  }
}

TEST(HealthMonitorTest, ADifferenceThatDoesNotMatterEjectsNobody) {
  World world(3);
  world.servers[2].latency = [] { return Ms(5); };  // 5 times, by 4 ms.
  world.Load(300, world.now + absl::Seconds(20));
  world.RunFor(absl::Seconds(20));
  EXPECT_TRUE(world.changes.empty());
}

TEST(HealthMonitorTest, ALatencyEjectionEndsOnlyWhenItsProbesAreFast) {
  World world(3);
  for (auto& server : world.servers) server.latency = [] { return Ms(10); };
  world.Load(100, world.now + absl::Seconds(200));
  world.RunFor(absl::Seconds(5));
  world.servers[2].latency = [] { return Ms(200); };
  world.RunFor(absl::Seconds(3));
  ASSERT_EQ(world.health(2), Health::kEjected);
  const int before = world.servers[2].attempts;
  world.RunFor(absl::Seconds(40));
  EXPECT_EQ(world.health(2), Health::kEjected) << "again";
  EXPECT_EQ(world.servers[2].attempts - before, 2) << "two slow probes";
  world.servers[2].latency = [] { return Ms(10); };
  world.RunFor(absl::Seconds(60));
  EXPECT_TRUE(world.live[2]->available());
}

TEST(HealthMonitorTest, ALatencyEjectionEndsWhenThePeersAreAsSlow) {
  World world(3);
  for (auto& server : world.servers) server.latency = [] { return Ms(10); };
  world.Load(100, world.now + absl::Seconds(60));
  world.RunFor(absl::Seconds(5));
  world.servers[2].latency = [] { return Ms(100); };
  world.RunFor(absl::Seconds(3));
  ASSERT_EQ(world.health(2), Health::kEjected);
  for (int i : {0, 1}) {
    world.servers[i].latency = [] { return Ms(100); };
  }
  world.RunFor(absl::Seconds(10));
  EXPECT_TRUE(world.live[2]->available());
}

// ---- Silence ----

TEST(HealthMonitorTest, AStoppedPeerLosesItsTrafficWithinTenthsOfASecond) {
  for (bool in_turn : {false, true}) {
    for (uint64_t seed = 1; seed <= 10; ++seed) {
      World world(3, Defaults(), seed);
      for (auto& server : world.servers) {
        server.latency = LogNormal(&world, Ms(1), 0.3);
      }
      world.Load(500, world.now + absl::Seconds(20), in_turn);
      world.RunFor(absl::Seconds(5));
      ASSERT_TRUE(world.changes.empty());
      world.servers[1].stopped = true;
      world.RunFor(Ms(100));
      int attempts = 0, to_victim = world.servers[1].attempts;
      for (auto& server : world.servers) attempts -= server.attempts;
      world.RunFor(Ms(1900));
      for (auto& server : world.servers) attempts += server.attempts;
      to_victim = world.servers[1].attempts - to_victim;
      EXPECT_LT(to_victim, 0.01 * attempts) << "seed " << seed;
      EXPECT_EQ(world.health(1), Health::kSuspect);
      EXPECT_LE(world.failed, in_turn ? 20 : 6) << "seed " << seed;
      EXPECT_EQ(world.probes, 1) << "outstanding until it goes on";

      world.Continue(1);
      world.RunFor(Ms(500));
      attempts = to_victim = 0;
      for (auto& server : world.servers) attempts -= server.attempts;
      to_victim = -world.servers[1].attempts;
      world.RunFor(Ms(1000));
      for (auto& server : world.servers) attempts += server.attempts;
      to_victim += world.servers[1].attempts;
      EXPECT_GT(to_victim, attempts / 6) << "half of its part";
      world.RunFor(absl::Seconds(1));
      EXPECT_TRUE(world.live[1]->available());
      EXPECT_EQ(world.Count(Health::kEjected), 0);
    }
  }
}

TEST(HealthMonitorTest, AStoppedPeerIsFoundThoughHedgesGiveItsAttemptsUp) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    World world(3, Defaults(), seed);
    for (auto& server : world.servers) {
      server.latency = LogNormal(&world, Ms(1), 0.3);
    }
    world.Load(500, world.now + absl::Seconds(6), false, absl::Seconds(1),
               Ms(2.5));
    world.RunFor(absl::Seconds(5));
    ASSERT_TRUE(world.changes.empty());
    world.servers[1].stopped = true;
    world.RunFor(Ms(150));
    EXPECT_EQ(world.health(1), Health::kSuspect) << "seed " << seed;
  }
}

TEST(HealthMonitorTest, SteadyLoadIsNeverTakenForSilence) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    for (double rate : {5.0, 100.0, 1000.0}) {
      World world(3, Defaults(), seed);
      for (auto& server : world.servers) {
        server.latency = LogNormal(&world, Ms(10), 1.5);
      }
      world.Load(rate, world.now + absl::Seconds(30), seed % 2 == 0,
                 absl::Seconds(60));
      world.RunFor(absl::Seconds(40));
      EXPECT_EQ(world.Count(Health::kSuspect), 0) << seed << " at " << rate;
    }
  }
}

TEST(HealthMonitorTest, PausesToCollectGarbageAreNotTakenForSilence) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    World world(3, Defaults(), seed);
    for (int i = 0; i < 3; ++i) {
      // 40 ms in each second.
      world.servers[i].latency = [&world, i] {
        const absl::Duration phase =
            (world.now - absl::UnixEpoch() + Ms(300 * i)) % absl::Seconds(1);
        return Ms(1) + std::max(absl::ZeroDuration(), Ms(40) - phase);
      };
    }
    world.Load(1000, world.now + absl::Seconds(20), seed % 2 == 0);
    world.RunFor(absl::Seconds(20));
    EXPECT_TRUE(world.changes.empty()) << "seed " << seed;
  }
}

TEST(HealthMonitorTest, MethodsThatTakeLongAreNotTakenForSilence) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    for (double share : {0.5, 0.05, 0.01}) {
      for (double rate : {20.0, 500.0}) {
        World world(3, Defaults(), seed);
        for (auto& server : world.servers) {
          server.latency = [&world, share] {
            return world.random.Unit() < share ? absl::Seconds(2) : Ms(1);
          };
        }
        world.Load(rate, world.now + absl::Seconds(60), seed % 2 == 0,
                   absl::Seconds(60));
        // What it has never seen may surprise it.
        world.RunFor(absl::Seconds(10));
        world.changes.clear();
        world.RunFor(absl::Seconds(60));
        EXPECT_EQ(world.Count(Health::kSuspect), 0)
            << seed << " " << share << " at " << rate;
      }
    }
  }
}

TEST(HealthMonitorTest, LongPollsBesideShortCallsAreNotTakenForSilence) {
  World world(3);
  world.Warm();
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 3; ++i) world.Begin(i);  // Answered after 30 s.
    for (int k = 0; k < 1200; ++k) {
      world.Pass(Ms(25));
      for (int i = 0; i < 3; ++i) world.Attempt(i, Ms(0.1));
    }
    for (int i = 0; i < 3; ++i) world.End(i, absl::Seconds(30));
  }
  EXPECT_TRUE(world.changes.empty());
}

TEST(HealthMonitorTest, ACallThatWaitsAloneIsNoEvidence) {
  World world(3);
  world.Warm();
  world.Begin(0);
  for (int k = 0; k < 1200; ++k) {
    world.Pass(Ms(25));
    world.Attempt(1, Ms(0.1));
    world.Attempt(2, Ms(0.1));
  }
  EXPECT_TRUE(world.changes.empty());
}

TEST(HealthMonitorTest, AFalseAlarmCostsAProbeAndMakesPatient) {
  World world(3);
  world.Warm();
  for (int i = 0; i < 2; ++i) {
    world.Begin(0);
    world.Begin(1);
  }
  for (int i = 0; i < 20; ++i) {
    world.now += Ms(25);
    world.Attempt(2, Ms(0.1));
    world.Attempt(1, Ms(0.1));
    world.Tick();
  }
  ASSERT_EQ(world.health(0), Health::kSuspect);
  EXPECT_TRUE(world.live[1]->available()) << "it answers others";
  EXPECT_EQ(world.probes, 1);
  world.RunFor(Ms(2));  // The probe is answered.
  EXPECT_EQ(world.health(0), Health::kProbing);
  ASSERT_TRUE(world.live[0]->ClaimProbe());
  world.Attempt(0, Ms(1));
  EXPECT_EQ(world.health(0), Health::kRamping);
  world.Pass(absl::Seconds(1.1));
  EXPECT_TRUE(world.live[0]->available());
  EXPECT_EQ(world.live[0]->health_record().patience, 1);
}

// As of garbage collection: all that came in is answered at its end, calls
// before the probe.
TEST(HealthMonitorTest, RegularStallsAreSoonNotTakenForSilence) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    for (double every : {1.0, 10.0, 30.0}) {
      for (double rate : {200.0, 2000.0}) {
        World world(3, Defaults(), seed);
        for (auto& server : world.servers) {
          server.latency = LogNormal(&world, Ms(1), 0.3);
        }
        const auto run = [&world, every](absl::Duration time) {
          const absl::Time end = world.now + time;
          while (world.now < end) {
            world.RunFor(absl::Seconds(every) *
                         (0.7 + 0.3 * world.random.Unit()));
            world.servers[1].stopped = true;
            world.RunFor(Ms(100));
            world.Continue(1);
          }
        };
        world.Load(rate, world.now + absl::Seconds(300), seed % 2 == 0);
        run(absl::Seconds(100));
        EXPECT_LE(world.Count(Health::kSuspect), 4)
            << "seed " << seed << ", every " << every << " s, at " << rate;
        world.changes.clear();
        run(absl::Seconds(150));
        EXPECT_LE(world.Count(Health::kSuspect), 1)
            << "seed " << seed << ", every " << every << " s, at " << rate;
        // And one that does not end is found.
        world.servers[1].stopped = true;
        world.RunFor(Ms(600));
        EXPECT_LE(world.live[1]->share(), LiveEndpoint::kProbeFree)
            << "seed " << seed << ", every " << every << " s, at " << rate;
      }
    }
  }
}

TEST(HealthMonitorTest, RetriesThatEmptyTheBudgetDoNotKeepASuspectFromProbes) {
  World world(3);
  world.Warm();
  auto empty = [&world] {
    while (world.budget.TryWithdraw(world.now)) {
    }
  };
  for (int i = 0; i < 2; ++i) world.Begin(0);
  for (int i = 0; i < 20; ++i) {
    world.now += Ms(25);
    world.Attempt(2, Ms(0.1));
    empty();
    world.Tick();
  }
  ASSERT_EQ(world.health(0), Health::kSuspect);
  EXPECT_EQ(world.probes, 1) << "though there is nothing left";
  EXPECT_LT(world.budget.Balance(world.now), 1);

  // Its probes fail; others follow, one a second.
  for (int second = 2; second <= 5; ++second) {
    world.monitor.OnProbeDone(world.live[0].get(), false, world.now);
    for (int i = 0; i < 40; ++i) {
      world.now += Ms(25);
      empty();
      world.Tick();
    }
    EXPECT_EQ(world.probes, second);
  }
}

TEST(HealthMonitorTest, WhatATenthOfTheCallsTakesIsKnownWhileItIsFresh) {
  World world(3);
  EXPECT_EQ(world.monitor.p10_latency(), absl::ZeroDuration());
  for (int k = 0; k < 100; ++k) {
    for (int i = 0; i < 3; ++i) world.Attempt(i, k % 2 == 0 ? Ms(2) : Ms(200));
    world.Tick();
  }
  EXPECT_GT(world.monitor.p10_latency(), Ms(1.8));
  EXPECT_LT(world.monitor.p10_latency(), Ms(2.2));
  world.Pass(absl::Seconds(14));
  EXPECT_EQ(world.monitor.p10_latency(), absl::ZeroDuration());

  world.Warm(200);
  world.Pass(Ms(200));
  EXPECT_GT(world.monitor.p10_latency(), absl::ZeroDuration());
  options::GuardOptions off;
  off.outlier_ejection.mode = off.black_hole.mode = Mode::kOff;
  world.monitor.SetOptions(off);
  EXPECT_EQ(world.monitor.p10_latency(), absl::ZeroDuration())
      << "nobody looks any more";
}

TEST(HealthMonitorTest, WhenAllAreSilentNothingChangesForCalls) {
  World world(3);
  world.Load(500, world.now + absl::Seconds(10));
  world.RunFor(absl::Seconds(5));
  for (auto& server : world.servers) server.stopped = true;
  world.RunFor(absl::Seconds(2));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(world.live[i]->share(), 255) << "panic";
  }
  for (int i = 0; i < 3; ++i) world.Continue(i);
  world.RunFor(absl::Seconds(3));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(world.live[i]->available()) << i;
}

TEST(HealthMonitorTest, ALoneEndpointIsNeverSuspect) {
  World world(1);
  world.Load(500, world.now + absl::Seconds(4));
  world.RunFor(absl::Seconds(2));
  world.servers[0].stopped = true;
  world.RunFor(absl::Seconds(2));
  EXPECT_TRUE(world.live[0]->available());
  EXPECT_EQ(world.probes, 0);
}

TEST(HealthMonitorTest, ANewConnectionEndsSuspicion) {
  World world(3);
  world.Load(500, world.now + absl::Seconds(10));
  world.RunFor(absl::Seconds(2));
  world.servers[1].stopped = true;
  world.RunFor(Ms(300));
  ASSERT_EQ(world.health(1), Health::kSuspect);
  world.live[1]->set_readiness(Readiness::kFailed);
  world.servers[1].held.clear();
  world.monitor.OnProbeDone(world.live[1].get(), false, world.now);
  EXPECT_EQ(world.health(1), Health::kSuspect);
  world.servers[1].stopped = false;
  world.RunFor(Ms(500));
  EXPECT_EQ(world.probes, 1) << "none while it is not connected";
  world.live[1]->set_readiness(Readiness::kReady);
  world.monitor.OnConnected(world.live[1].get(), world.now);
  EXPECT_EQ(world.health(1), Health::kRamping);
}

// Its probe is answered at once, its calls are not.
TEST(HealthMonitorTest, WhatAnswersOnlyProbesLosesSingleCalls) {
  World world(3);
  world.Load(500, world.now + absl::Seconds(60), /*in_turn=*/true);
  world.RunFor(absl::Seconds(2));
  world.servers[1].latency = [] { return absl::InfiniteDuration(); };
  world.RunFor(absl::Seconds(1));
  const int before = world.servers[1].attempts;
  world.RunFor(absl::Seconds(20));
  EXPECT_LE(world.servers[1].attempts - before, 3);
  EXPECT_EQ(world.health(1), Health::kEjected);
}

// "Beyond round robin": 11 servers, one of them 10 times slower, deadlines
// that it cannot keep.
TEST(HealthMonitorTest, TenTimesSlowerThanTheDeadlineAllowsFailsFewCalls) {
  int worst = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    World world(11, Defaults(), seed);
    auto latency = [&world] { return Ms(164 + 36 * world.random.Unit()); };
    for (auto& server : world.servers) server.latency = latency;
    world.Load(1000, world.now + absl::Seconds(20));
    world.RunFor(absl::Seconds(5));
    EXPECT_TRUE(world.changes.empty());
    world.servers[4].latency = [latency] { return 10 * latency(); };
    world.RunFor(absl::Seconds(20));
    EXPECT_EQ(world.health(4), Health::kEjected);
    worst = std::max(worst, world.failed);
    for (const HealthChange& change : world.changes) {
      EXPECT_EQ(change.endpoint, world.live[4].get()) << "seed " << seed;
    }
  }
  EXPECT_LE(worst, 55);
}

// ---- Modes ----

TEST(HealthMonitorTest, ObservingReportsAndChangesNothing) {
  options::GuardOptions options;
  options.outlier_ejection.mode = Mode::kObserve;
  options.black_hole.mode = Mode::kObserve;
  World world(4, options);
  world.Warm();
  for (int k = 0; k < 20; ++k) {
    world.Attempt(0, Ms(0.1), World::Failure(kUnavailable));
    EXPECT_TRUE(world.live[0]->available());
  }
  for (int k = 0; k < 10; ++k) world.Begin(1);
  for (int k = 0; k < 20; ++k) {
    world.Pass(Ms(25));
    EXPECT_TRUE(world.live[1]->available());
  }
  EXPECT_EQ(world.probes, 0);
  EXPECT_EQ(world.Count(Health::kEjected, /*observed=*/true), 1);
  EXPECT_EQ(world.Count(Health::kSuspect, /*observed=*/true), 1);
  for (int k = 0; k < 10; ++k) world.End(1, Ms(500));
  world.Pass(absl::Seconds(31));
  EXPECT_EQ(world.Count(Health::kHealthy, /*observed=*/true), 2);
  for (const HealthChange& change : world.changes) {
    EXPECT_TRUE(change.observed);
  }
}

TEST(HealthMonitorTest, OffDoesNothing) {
  options::GuardOptions options;
  options.outlier_ejection.mode = Mode::kOff;
  options.black_hole.mode = Mode::kOff;
  World world(4, options);
  EXPECT_FALSE(world.monitor.Due(world.now));
  for (int k = 0; k < 100; ++k) {
    world.Attempt(0, Ms(0.1), World::Failure(kUnavailable));
    world.Begin(1);
    world.monitor.Tick(world.live, world.now, &world.random);
  }
  EXPECT_TRUE(world.changes.empty());
  EXPECT_TRUE(world.live[0]->available());
}

TEST(HealthMonitorTest, AReloadThatTurnsItOffGivesEverythingBack) {
  World world(8);
  world.Warm();
  for (int k = 0; k < 5; ++k) {
    world.Attempt(0, Ms(0.1), World::Failure(kUnavailable));
  }
  for (int k = 0; k < 10; ++k) world.Begin(1);
  world.Pass(Ms(300));
  ASSERT_EQ(world.health(0), Health::kEjected);
  ASSERT_EQ(world.health(1), Health::kSuspect);
  options::GuardOptions options;
  options.outlier_ejection.mode = Mode::kOff;
  options.black_hole.mode = Mode::kObserve;
  world.monitor.SetOptions(options);
  world.Tick();
  EXPECT_TRUE(world.live[0]->available());
  EXPECT_TRUE(world.live[1]->available());
}

// ---- Scale and threads ----

TEST(HealthMonitorTest, ALookAtTenThousandEndpointsComesInParts) {
  World world(10000);
  int ticks = 0;
  while (world.monitor.Due(world.now) && ticks < 1000) {
    world.monitor.Tick(world.live, world.now, &world.random);
    ++ticks;
  }
  EXPECT_GE(ticks, 10000 / 512);
  EXPECT_LE(ticks, 50);
  world.Warm(2, Ms(0.001));
  for (int k = 0; k < 5; ++k) {
    world.Attempt(7, Ms(0.1), World::Failure(kUnavailable));
  }
  EXPECT_EQ(world.health(7), Health::kEjected);
}

TEST(HealthMonitorTest, EndpointsMayComeAndGoBetweenLooks) {
  World world(3000);
  base::Random random(5);
  for (int round = 0; round < 300; ++round) {
    world.now += Ms(10);
    for (int k = 0; k < 20; ++k) {
      const auto i = static_cast<int>(
          random.Below(static_cast<uint32_t>(world.live.size())));
      world.Attempt(i, Ms(0.01),
                    World::Failure(random.Below(3) == 0 ? kUnavailable : kOk));
    }
    world.Tick();
    // The last ones are gone, freed.
    if (round % 7 == 3) {
      world.changes.clear();
      world.live.resize(world.live.size() - 200 * (round % 2 + 1) / 2);
    } else if (round % 7 == 5) {
      while (world.live.size() < 3000) {
        world.live.push_back(
            std::make_shared<LiveEndpoint>(cluster::Endpoint{"new"}));
        world.live.back()->set_readiness(Readiness::kReady);
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
  options.black_hole.ramp = Ms(20);
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
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      base::Random random(t);
      absl::Time now = absl::UnixEpoch() + absl::Hours(1);
      for (int k = 0; k < 5000; ++k) {
        now += absl::Microseconds(200);
        if (monitor.Due(now)) monitor.Tick(live, now, &random);
        const uint32_t i = random.Below(6);
        LiveEndpoint* const endpoint = live[i].get();
        ASSERT_TRUE(endpoint->Acquire());
        endpoint->ClaimProbe();
        const bool unary = random.Below(10) != 0;
        monitor.OnAttemptStart(endpoint, unary, now);
        AttemptResult result;
        result.unary = unary;
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
