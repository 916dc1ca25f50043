#include "mesh/simulation/replay.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/call/trace.h"
#include "mesh/simulation/random_scenario.h"
#include "mesh/simulation/simulation.h"

namespace mesh::simulation {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Record(const Scenario& scenario) {
  call::TraceRecorder recorder(scenario.service.balancing);
  Options options = scenario.options;
  options.observer = &recorder;
  const absl::StatusOr<Result> result =
      Simulate(scenario.service, scenario.cluster, options);
  EXPECT_TRUE(result.ok()) << result.status();
  return recorder.Text();
}

// Three servers of which one fails half of its calls, and is not ejected for
// it: one client, least request.
Scenario Troubled() {
  Scenario scenario;
  scenario.service.name = "cart";
  scenario.service.policy.idempotent = true;
  scenario.service.guards.outlier_ejection.mode = options::Mode::kOff;
  for (const char* name : {"a", "b", "c"}) {
    Server server;
    server.address = name;
    scenario.cluster.servers.push_back(server);
  }
  scenario.cluster.faults = {Fault::Errors("b", absl::ZeroDuration(),
                                           absl::InfiniteDuration(), 0.5,
                                           absl::StatusCode::kUnavailable)};
  scenario.cluster.loads = {Load::Open("/shop.Cart/Get", 100)};
  scenario.options.duration = absl::Seconds(5);
  return scenario;
}

TEST(ReplayTest, ARecordedRunIsDecidedTheSameAgain) {
  const absl::StatusOr<ReplayCount> count = Replay(Record(Troubled()));
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_GT(count->calls, 400u);
  EXPECT_GT(count->events, 3 * count->calls);
  EXPECT_GT(count->picks, count->calls);
  EXPECT_EQ(count->trusted, 0u);
}

// A trace names addresses. It does not say that a call which has tried one goes
// there again over another connection.
Scenario WithOneConnection(Scenario scenario) {
  std::vector<Fault>& faults = scenario.cluster.faults;
  faults.erase(std::remove_if(faults.begin(), faults.end(),
                              [](const Fault& fault) {
                                return fault.kind ==
                                       Fault::Kind::kDeadConnections;
                              }),
               faults.end());
  return scenario;
}

TEST(ReplayTest, SoIsEveryRandomScenario) {
  uint64_t picks = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const absl::StatusOr<ReplayCount> count =
        Replay(Record(WithOneConnection(RandomScenario(seed))));
    ASSERT_TRUE(count.ok()) << "seed " << seed << ": " << count.status();
    picks += count->picks;
  }
  // Those beside an endpoint on trial are taken as they were.
  EXPECT_GT(picks, 9'000u);
}

TEST(ReplayTest, HedgesAndFaultsAreDecidedTheSameAgain) {
  Scenario scenario = Troubled();
  options::MethodOptions& policy = scenario.service.policy;
  policy.hedging.mode = options::Mode::kEnforce;
  policy.hedging.max_attempts = 3;
  policy.fault.mode = options::Mode::kEnforce;
  policy.fault.abort_share = 0.05;
  policy.fault.delay_share = 0.1;
  policy.fault.delay = absl::Milliseconds(7);
  scenario.cluster.faults.push_back(
      Fault::Slow("c", absl::Seconds(1), absl::Seconds(4), 10));
  const std::string text = Record(scenario);
  EXPECT_THAT(text, HasSubstr("verdict=hedge"));
  EXPECT_THAT(text, HasSubstr("verdict=go_on"));
  EXPECT_THAT(text, HasSubstr("given_up=1"));
  EXPECT_THAT(text, HasSubstr("guard=fault observed=0 code=14"));
  EXPECT_THAT(text, HasSubstr("guard=fault observed=0 code=0 delay=7000000"));
  absl::StatusOr<ReplayCount> count = Replay(text);
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_GT(count->calls, 400u);

  policy.hedging.mode = policy.fault.mode = options::Mode::kObserve;
  const std::string observed = Record(scenario);
  EXPECT_THAT(observed, HasSubstr("verdict=hedge"));
  EXPECT_THAT(observed, HasSubstr(" observed=1\n"));
  EXPECT_THAT(observed, Not(HasSubstr("reason=hedge")));
  count = Replay(observed);
  ASSERT_TRUE(count.ok()) << count.status();
}

TEST(ReplayTest, ADifferenceIsFoundAndShown) {
  const std::string text = Record(Troubled());
  const auto error = [&text](const std::string& from, const std::string& to) {
    const size_t at = text.find(from, text.size() / 2);
    EXPECT_NE(at, std::string::npos) << from;
    std::string changed = text;
    changed.replace(at, from.size(), to);
    return std::string(Replay(changed).status().message());
  };
  EXPECT_THAT(error("verdict=retry", "verdict=pushed_back"),
              HasSubstr("replayed: retry "));
  EXPECT_THAT(error("endpoint=a random", "endpoint=b random"),
              HasSubstr("replayed: pick "));
  EXPECT_THAT(error("code=14 never_sent=0", "code=13 never_sent=0"),
              HasSubstr("verdict=not_retryable"));
  EXPECT_THAT(error("code=14 never_sent=0", "code=14 never_sent=1"),
              HasSubstr("verdict=transparent"));
  EXPECT_THAT(error("code=0 attempts=2\n", "code=0 attempts=3\n"),
              HasSubstr("replayed: end "));
  EXPECT_THAT(error("max_attempts=3", "max_attempts=x"),
              HasSubstr("max_attempts is \"x\", which is not a number"));
}

TEST(ReplayTest, APickIsMadeAgainFromTheLoadsOfThen) {
  std::string text = Record(Troubled());
  // The first candidate is chosen when it has less or the same: claim that it
  // had more.
  const size_t pick = text.find("candidates=a=0,");
  ASSERT_NE(pick, std::string::npos);
  const size_t load = text.find("a=0=ready", pick);
  text.replace(load, 9, "a=9=ready");
  EXPECT_THAT(std::string(Replay(text).status().message()),
              HasSubstr("candidates=a=9,"));
}

TEST(ReplayTest, CallsThatHadNotEndedAreSkipped) {
  std::string text = Record(Troubled());
  const uint64_t all = Replay(text)->calls;
  text = absl::StrReplaceAll(text, {{"end id=5 ", "# "}});
  EXPECT_EQ(Replay(text)->calls, all - 1);
}

TEST(ReplayTest, WhatIsNoTraceIsRefused) {
  const auto error = [](absl::string_view text) {
    return std::string(Replay(text).status().message());
  };
  EXPECT_THAT(error(""), HasSubstr("the trace is empty"));
  EXPECT_THAT(error("hello\n"), HasSubstr("line 1: a trace begins with"));
  const std::string begin = "mesh-trace version=1 balancing=least_request\n";
  EXPECT_TRUE(Replay(begin).ok());
  EXPECT_THAT(error(absl::StrCat(begin, "pick id=7\n")),
              HasSubstr("line 2: the call 7 has not begun"));
  EXPECT_THAT(error(absl::StrCat(begin, "call id=x\n")),
              HasSubstr("id is \"x\", which is not a number"));
  EXPECT_THAT(error(absl::StrCat(begin, "call id=1\nend id=1\n")),
              HasSubstr("is not a number"));
  EXPECT_THAT(error(absl::StrCat(begin, "call 1\n")),
              HasSubstr("\"1\" is not of the form key=value"));
  EXPECT_THAT(error(absl::StrCat(begin, "picker id=1 members=a=0=0=ready\n")),
              HasSubstr("the member \"a=0=0=ready\" is not"));
}

}  // namespace
}  // namespace mesh::simulation
