#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/telemetry/metrics.h"
#include "mesh/telemetry/prometheus.h"

namespace mesh::telemetry {
namespace {

using cluster::Health;
using cluster::HealthCause;
using cluster::LiveEndpoint;
using cluster::LiveEndpointPtr;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr absl::Time kStart = absl::UnixEpoch();

LiveEndpointPtr MakeEndpoint(const std::string& address) {
  cluster::Endpoint endpoint;
  endpoint.address = address;
  return std::make_shared<LiveEndpoint>(std::move(endpoint));
}

int Index(absl::StatusCode code) { return static_cast<int>(code); }

// The metrics of one service, fed as the call machine feeds them.
class TelemetryTest : public testing::Test {
 protected:
  CallInfo Call(const std::string& method, bool registered = true) {
    CallInfo call;
    call.service = "cart";
    call.method = method;
    call.metrics = metrics_.Method(method, registered);
    call.start = kStart;
    return call;
  }

  void EndAttempt(const CallInfo& call,
                  AttemptReason reason = AttemptReason::kFirst,
                  absl::StatusCode code = absl::StatusCode::kOk,
                  bool never_sent = false, bool given_up = false) {
    AttemptEvent event;
    event.reason = reason;
    event.endpoint = endpoint_.get();
    event.code = code;
    event.never_sent = never_sent;
    event.given_up = given_up;
    metrics_.OnAttemptEnd(call, event);
  }

  void EndCall(const CallInfo& call,
               absl::Duration latency = absl::Milliseconds(1),
               absl::StatusCode code = absl::StatusCode::kOk) {
    CallEvent event;
    event.end = kStart + latency;
    event.code = code;
    event.attempts = 1;
    metrics_.OnCallEnd(call, event);
  }

  void Refuse(options::Guard guard, bool observed) {
    RefusalEvent event;
    event.guard = guard;
    event.observed = observed;
    metrics_.OnRefusal(CallInfo(), event);
  }

  void ChangeHealth(Health to, HealthCause cause, bool observed = false) {
    HealthEvent event;
    event.service = "cart";
    event.endpoint = endpoint_.get();
    event.to = to;
    event.cause = cause;
    event.observed = observed;
    metrics_.OnHealth(event);
  }

  void Probe(ProbeEvent::Stage stage) {
    ProbeEvent event;
    event.stage = stage;
    event.endpoint = endpoint_.get();
    metrics_.OnProbe(event);
  }

  ServiceSnapshot Take() {
    return metrics_.Snapshot({endpoint_}, /*max_endpoints=*/10);
  }

  ServiceMetrics metrics_{"cart", /*max_methods=*/3};
  const LiveEndpointPtr endpoint_ = MakeEndpoint("10.0.0.1:80");
};

TEST_F(TelemetryTest, CountsCallsByMethodAndStatus) {
  const CallInfo add = Call("/shop.Cart/Add"), get = Call("/shop.Cart/Get");
  EndCall(add);
  EndCall(add);
  EndCall(add, absl::Seconds(1), absl::StatusCode::kUnavailable);
  EndCall(get);

  const ServiceSnapshot cart = Take();
  EXPECT_EQ(cart.service, "cart");
  ASSERT_EQ(cart.methods.size(), 2u);
  const MethodSnapshot& first = cart.methods[0];
  EXPECT_EQ(first.method, "/shop.Cart/Add");
  EXPECT_EQ(first.calls[Index(absl::StatusCode::kOk)], 2u);
  EXPECT_EQ(first.calls[Index(absl::StatusCode::kUnavailable)], 1u);
  EXPECT_EQ(first.latency.count, 3u);
  EXPECT_EQ(first.latency.sum, absl::Milliseconds(1002));
  ASSERT_EQ(first.latency_by_status.size(), 2u);
  EXPECT_EQ(first.latency_by_status.at(14).sum, absl::Seconds(1));
  EXPECT_EQ(cart.methods[1].method, "/shop.Cart/Get");
  EXPECT_EQ(cart.methods[1].latency.count, 1u);
}

TEST_F(TelemetryTest, CountsAttemptsByReasonAndEndpoint) {
  const CallInfo call = Call("/shop.Cart/Add");
  EndAttempt(call, AttemptReason::kFirst, absl::StatusCode::kUnavailable,
             /*never_sent=*/true);
  EndAttempt(call, AttemptReason::kTransparent, absl::StatusCode::kAborted);
  EndAttempt(call, AttemptReason::kRetry, absl::StatusCode::kOk);
  endpoint_->Acquire();
  endpoint_->set_readiness(cluster::Readiness::kReady);

  const ServiceSnapshot cart = Take();
  EXPECT_EQ(cart.methods[0].attempts, 3u);
  EXPECT_EQ(cart.methods[0].retries, 1u);
  EXPECT_EQ(cart.methods[0].transparent_retries, 1u);
  ASSERT_EQ(cart.endpoints.size(), 1u);
  const EndpointSnapshot& endpoint = cart.endpoints[0];
  EXPECT_EQ(endpoint.address, "10.0.0.1:80");
  EXPECT_EQ(endpoint.state, "ready");
  EXPECT_EQ(endpoint.in_flight, 1);
  EXPECT_EQ(endpoint.attempts, 3u);
  EXPECT_EQ(endpoint.never_sent, 1u);
  EXPECT_EQ(endpoint.ended[Index(absl::StatusCode::kOk)], 1u);
  EXPECT_EQ(endpoint.ended[Index(absl::StatusCode::kAborted)], 1u);
  EXPECT_EQ(endpoint.ended[Index(absl::StatusCode::kUnavailable)], 1u);
}

TEST_F(TelemetryTest, CountsHedgesAndThoseThatWon) {
  const CallInfo call = Call("/shop.Cart/Get");
  constexpr auto kCancelled = absl::StatusCode::kCancelled;
  // The hedge wins.
  EndAttempt(call, AttemptReason::kHedge);
  EndAttempt(call, AttemptReason::kFirst, kCancelled, false, /*given_up=*/true);
  // The first attempt wins.
  EndAttempt(call);
  EndAttempt(call, AttemptReason::kHedge, kCancelled, false, /*given_up=*/true);
  // The hedge fails.
  EndAttempt(call, AttemptReason::kHedge, absl::StatusCode::kInternal);

  const MethodSnapshot get = Take().methods[0];
  EXPECT_EQ(get.attempts, 5u);
  EXPECT_EQ(get.hedges, 3u);
  EXPECT_EQ(get.hedges_won, 1u);
  EXPECT_EQ(get.retries, 0u);
  EXPECT_EQ(get.transparent_retries, 0u);
}

TEST_F(TelemetryTest, CountsHedgesThatWouldHaveBeenMade) {
  const CallInfo call = Call("/shop.Cart/Get");
  RetryEvent event;
  event.verdict = RetryEvent::Verdict::kHedge;
  metrics_.OnRetryDecision(call, event);  // Made: counted as an attempt.
  event.observed = true;
  metrics_.OnRetryDecision(call, event);
  EXPECT_EQ(Take().methods[0].hedges_observed, 1u);
  EXPECT_EQ(Take().methods[0].hedges, 0u);
}

TEST_F(TelemetryTest, CountsRefusalsByGuardEnforcedAndObservedApart) {
  EXPECT_TRUE(Take().refusals.empty());
  Refuse(options::Guard::kBreaker, /*observed=*/false);
  Refuse(options::Guard::kBreaker, /*observed=*/true);
  Refuse(options::Guard::kBreaker, /*observed=*/true);
  Refuse(options::Guard::kFault, /*observed=*/false);
  Refuse(static_cast<options::Guard>(99), /*observed=*/false);  // Ignored.
  const std::vector<RefusalSnapshot> refusals = Take().refusals;
  ASSERT_EQ(refusals.size(), 2u);
  EXPECT_EQ(refusals[0].guard, "breaker");
  EXPECT_EQ(refusals[0].enforced, 1u);
  EXPECT_EQ(refusals[0].observed, 2u);
  EXPECT_EQ(refusals[1].guard, "fault");
  EXPECT_EQ(refusals[1].enforced, 1u);
}

TEST_F(TelemetryTest, EveryGuardIsCountedUnderANameOfItsOwn) {
  for (int guard = 0; guard < options::kGuards; ++guard) {
    Refuse(static_cast<options::Guard>(guard), /*observed=*/false);
  }
  std::set<std::string> names;
  for (const RefusalSnapshot& refusal : Take().refusals) {
    EXPECT_NE(refusal.guard, "unknown");
    names.insert(refusal.guard);
  }
  EXPECT_EQ(names.size(), size_t{options::kGuards});
}

TEST_F(TelemetryTest, CountsHealthChangesByWhatTheyLeadToAndWhy) {
  ChangeHealth(Health::kEjected, HealthCause::kLatency);
  ChangeHealth(Health::kEjected, HealthCause::kLatency);
  ChangeHealth(Health::kEjected, HealthCause::kLatency, /*observed=*/true);
  ChangeHealth(Health::kEjected, HealthCause::kProbeFailed);
  ChangeHealth(Health::kSuspect, HealthCause::kSilence);
  ChangeHealth(Health::kSuspect, static_cast<HealthCause>(99));  // Ignored.
  const std::vector<HealthChangeSnapshot> changes = Take().health_changes;
  ASSERT_EQ(changes.size(), 3u);
  EXPECT_EQ(changes[0].to, "suspect");
  EXPECT_EQ(changes[0].cause, "silence");
  EXPECT_EQ(changes[0].enforced, 1u);
  EXPECT_EQ(changes[1].to, "ejected");
  EXPECT_EQ(changes[1].cause, "latency");
  EXPECT_EQ(changes[1].enforced, 2u);
  EXPECT_EQ(changes[1].observed, 1u);
  EXPECT_EQ(changes[2].cause, "probe_failed");
}

TEST_F(TelemetryTest, EveryHealthAndCauseHasANameOfItsOwn) {
  std::set<absl::string_view> names;
  for (int i = 0; i < cluster::kHealths; ++i) {
    names.insert(NameOf(static_cast<Health>(i)));
  }
  EXPECT_EQ(names.size(), size_t{cluster::kHealths});
  for (int i = 0; i < cluster::kHealthCauses; ++i) {
    names.insert(NameOf(static_cast<HealthCause>(i)));
  }
  EXPECT_EQ(names.size(), size_t{cluster::kHealths + cluster::kHealthCauses});
  EXPECT_EQ(names.count("unknown"), 0u);
}

TEST_F(TelemetryTest, AnEndpointsHealthAndShareAreThoseOfTheMoment) {
  EXPECT_EQ(Take().endpoints[0].health, "healthy");
  EXPECT_EQ(Take().endpoints[0].share, 1);
  endpoint_->set_health(Health::kSuspect, 0);
  EXPECT_EQ(Take().endpoints[0].health, "suspect");
  EXPECT_EQ(Take().endpoints[0].share, 0);
  endpoint_->set_health(Health::kRamping, 51);
  EXPECT_EQ(Take().endpoints[0].health, "ramping");
  EXPECT_DOUBLE_EQ(Take().endpoints[0].share, 0.2);
}

TEST_F(TelemetryTest, CountsProbes) {
  Probe(ProbeEvent::Stage::kSent);
  Probe(ProbeEvent::Stage::kSent);
  Probe(ProbeEvent::Stage::kSent);
  Probe(ProbeEvent::Stage::kAnswered);
  Probe(ProbeEvent::Stage::kFailed);
  EXPECT_EQ(Take().probes_sent, 3u);
  EXPECT_EQ(Take().probes_answered, 1u);
  EXPECT_EQ(Take().probes_failed, 1u);
}

TEST_F(TelemetryTest, CountsPicksThatWaitedOrFailed) {
  const CallInfo call = Call("/shop.Cart/Add");
  PickEvent event;
  metrics_.OnPick(call, event);
  event.result = PickEvent::Result::kDeclined;
  metrics_.OnPick(call, event);
  event.result = PickEvent::Result::kWaited;
  metrics_.OnPick(call, event);
  event.result = PickEvent::Result::kFailed;
  metrics_.OnPick(call, event);
  metrics_.OnPick(call, event);
  EXPECT_EQ(Take().picks_waited, 1u);
  EXPECT_EQ(Take().picks_failed, 2u);
}

TEST_F(TelemetryTest, CountsRetriesThatTheBudgetDenied) {
  const CallInfo call = Call("/shop.Cart/Add");
  RetryEvent event;
  event.verdict = RetryEvent::Verdict::kRetry;
  metrics_.OnRetryDecision(call, event);
  event.verdict = RetryEvent::Verdict::kBudgetExhausted;
  metrics_.OnRetryDecision(call, event);
  EXPECT_EQ(Take().retries_denied_by_budget, 1u);
}

TEST_F(TelemetryTest, MethodsOverTheCapAreCountedAsOther) {
  EXPECT_NE(metrics_.Method("/a", true), metrics_.Method("/b", true));
  EXPECT_EQ(metrics_.Method("/a", true), metrics_.Method("/a", true));
  EXPECT_EQ(metrics_.Method("/c", true)->name(), "/c");
  EXPECT_EQ(metrics_.Method("/d", true)->name(), "other");
  EXPECT_EQ(metrics_.Method("/e", true), metrics_.Method("/d", true));
  EXPECT_EQ(metrics_.Method("/b", true)->name(), "/b")
      << "those known stay themselves";
  EndCall(Call("/d"));
  EndCall(Call("/e"));
  const ServiceSnapshot cart = Take();
  ASSERT_EQ(cart.methods.size(), 4u);
  EXPECT_EQ(cart.methods.back().method, "other");
  EXPECT_EQ(cart.methods.back().latency.count, 2u);
}

TEST_F(TelemetryTest, AMethodOfAGenericCallIsOtherUnlessAStubHasIt) {
  EXPECT_EQ(metrics_.Method("/a", /*registered=*/false)->name(), "other");
  MethodMetrics* const a = metrics_.Method("/a", /*registered=*/true);
  EXPECT_EQ(a->name(), "/a");
  EXPECT_EQ(metrics_.Method("/a", /*registered=*/false), a);
}

TEST_F(TelemetryTest, ACallWithoutAPlaceOfItsOwnIsCountedAsOther) {
  CallInfo call;
  call.start = kStart;
  EndAttempt(call);
  EndCall(call);
  const ServiceSnapshot cart = Take();
  ASSERT_EQ(cart.methods.size(), 1u);
  EXPECT_EQ(cart.methods[0].method, "other");
  EXPECT_EQ(cart.methods[0].attempts, 1u);
}

TEST_F(TelemetryTest, AStatusThatIsNoneCountsAsUnknown) {
  const CallInfo call = Call("/a");
  EndAttempt(call, AttemptReason::kFirst, static_cast<absl::StatusCode>(99));
  EndCall(call, absl::Seconds(1), static_cast<absl::StatusCode>(-5));
  const ServiceSnapshot cart = Take();
  EXPECT_EQ(cart.methods[0].calls[Index(absl::StatusCode::kUnknown)], 1u);
  EXPECT_EQ(cart.endpoints[0].ended[Index(absl::StatusCode::kUnknown)], 1u);
}

TEST_F(TelemetryTest, EndpointsOverTheCapAreLeftOutAndSaidToBe) {
  const ServiceSnapshot cart = metrics_.Snapshot(
      {MakeEndpoint("a"), MakeEndpoint("b"), MakeEndpoint("c")}, 2);
  ASSERT_EQ(cart.endpoints.size(), 2u);
  EXPECT_EQ(cart.endpoints[0].address, "a");
  EXPECT_EQ(cart.endpoints_left_out, 1u);
}

TEST_F(TelemetryTest, ThreadsLoseNoCounts) {
  constexpr int kThreads = 10;  // More than there are shards.
  constexpr int kCalls = 2000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kCalls; ++i) {
        const CallInfo call = Call(i % 2 == 0 ? "/even" : "/odd");
        EndAttempt(call);
        EndCall(call, absl::Microseconds(i),
                i % 5 == t % 5 ? absl::StatusCode::kInternal
                               : absl::StatusCode::kOk);
        if (i % 500 == 0) Take();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const ServiceSnapshot cart = Take();
  ASSERT_EQ(cart.methods.size(), 2u);
  uint64_t failed = 0;
  for (const MethodSnapshot& method : cart.methods) {
    EXPECT_EQ(method.attempts, uint64_t{kThreads * kCalls / 2});
    EXPECT_EQ(method.latency.count, uint64_t{kThreads * kCalls / 2});
    failed += method.calls[Index(absl::StatusCode::kInternal)];
  }
  EXPECT_EQ(failed, uint64_t{kThreads * kCalls / 5});
  EXPECT_EQ(cart.endpoints[0].attempts, uint64_t{kThreads * kCalls});
}

// Latencies.

TEST_F(TelemetryTest, BoundsAreInclusiveAndGrowByAboutOneAndAHalf) {
  const CallInfo call = Call("/a");
  EndCall(call);
  const std::vector<absl::Duration> bounds = Take().methods[0].latency.bounds;
  ASSERT_EQ(bounds.size(), 40u);
  EXPECT_EQ(bounds.front(), absl::Microseconds(50));
  EXPECT_EQ(bounds[bounds.size() - 2], absl::Seconds(100));
  EXPECT_EQ(bounds.back(), absl::InfiniteDuration());
  EXPECT_THAT(bounds, testing::Contains(absl::Milliseconds(100)));
  for (size_t i = 1; i + 1 < bounds.size(); ++i) {
    const double factor = absl::FDivDuration(bounds[i], bounds[i - 1]);
    EXPECT_GE(factor, 1.3);
    EXPECT_LE(factor, 1.7);
  }

  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    const CallInfo at = Call("/a");
    const std::vector<uint64_t> before = Take().methods[0].latency.counts;
    EndCall(at, bounds[i]);
    EndCall(at, bounds[i] + absl::Nanoseconds(1));
    EndCall(at, bounds[i] - absl::Nanoseconds(1));
    const std::vector<uint64_t> after = Take().methods[0].latency.counts;
    EXPECT_EQ(after[i] - before[i], 2u) << bounds[i];
    EXPECT_EQ(after[i + 1] - before[i + 1], 1u) << bounds[i];
  }
}

TEST_F(TelemetryTest, OddLatenciesFallIntoTheOutermostBuckets) {
  const CallInfo call = Call("/a");
  EndCall(call, absl::ZeroDuration());
  EndCall(call, absl::Nanoseconds(1));
  EndCall(call, absl::Seconds(-3));
  EndCall(call, absl::Hours(24 * 365 * 100));
  const HistogramSnapshot latency = Take().methods[0].latency;
  EXPECT_EQ(latency.counts.front(), 3u);
  EXPECT_EQ(latency.counts.back(), 1u);
  EXPECT_EQ(latency.Quantile(1), absl::Seconds(100));
}

TEST_F(TelemetryTest, AQuantileIsInterpolatedWithinItsBucket) {
  const CallInfo call = Call("/a");
  EXPECT_EQ(HistogramSnapshot().Quantile(0.5), absl::ZeroDuration());
  // 10 calls within (1.5 ms, 2 ms], 10 within (50 ms, 70 ms].
  for (int i = 0; i < 10; ++i) {
    EndCall(call, absl::Microseconds(1700));
    EndCall(call, absl::Milliseconds(60));
  }
  const HistogramSnapshot latency = Take().methods[0].latency;
  EXPECT_EQ(latency.Quantile(0.25), absl::Microseconds(1750));
  EXPECT_EQ(latency.Quantile(0.5), absl::Milliseconds(2));
  EXPECT_EQ(latency.Quantile(0.75), absl::Milliseconds(60));
  EXPECT_EQ(latency.Quantile(1), absl::Milliseconds(70));
  EXPECT_EQ(latency.Quantile(7), absl::Milliseconds(70));
  EXPECT_GE(latency.Quantile(0), absl::Microseconds(1500));
  EXPECT_LE(latency.Quantile(0), absl::Microseconds(1700));
}

// Fan-out.

class Recorder : public Observer {
 public:
  explicit Recorder(std::vector<std::string>* events, bool wants_picks = false)
      : events_(events), wants_picks_(wants_picks) {}
  void OnCallStart(const CallInfo&, const CallStartEvent&) override {
    Add("start");
  }
  void OnPick(const CallInfo&, const PickEvent&) override { Add("pick"); }
  void OnPicker(const PickerEvent&) override { Add("picker"); }
  void OnAttemptEnd(const CallInfo&, const AttemptEvent&) override {
    Add("attempt");
  }
  void OnRetryDecision(const CallInfo&, const RetryEvent&) override {
    Add("retry");
  }
  void OnRefusal(const CallInfo&, const RefusalEvent&) override {
    Add("refusal");
  }
  void OnCallEnd(const CallInfo&, const CallEvent&) override { Add("end"); }
  void OnHealth(const HealthEvent&) override { Add("health"); }
  void OnProbe(const ProbeEvent&) override { Add("probe"); }
  bool WantsPicks() const override { return wants_picks_; }

 private:
  void Add(const std::string& event) { events_->push_back(event); }
  std::vector<std::string>* const events_;
  const bool wants_picks_;
};

TEST(FanOutTest, EveryObserverSeesEveryEvent) {
  std::vector<std::string> first, second;
  FanOut all({std::make_shared<Recorder>(&first),
              std::make_shared<Recorder>(&second)});
  const CallInfo call;
  all.OnPicker({});
  all.OnCallStart(call, {});
  all.OnPick(call, {});
  all.OnAttemptEnd(call, {});
  all.OnRetryDecision(call, {});
  all.OnRefusal(call, {});
  all.OnCallEnd(call, {});
  all.OnHealth({});
  all.OnProbe({});
  EXPECT_THAT(first, ElementsAre("picker", "start", "pick", "attempt", "retry",
                                 "refusal", "end", "health", "probe"));
  EXPECT_EQ(first, second);
  EXPECT_FALSE(all.WantsPicks());
}

TEST(FanOutTest, WantsPicksWhenOneDoes) {
  std::vector<std::string> events;
  EXPECT_TRUE(FanOut({std::make_shared<Recorder>(&events),
                      std::make_shared<Recorder>(&events, true)})
                  .WantsPicks());
}

// Prometheus.

// One sample line, taken apart.
struct Sample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
};

// Reads the text exposition format (version 0.0.4) and is strict about it:
// what Prometheus would reject, or merely tolerate, is a failure.
class PrometheusReader {
 public:
  explicit PrometheusReader(const std::string& text) {
    EXPECT_TRUE(text.empty() || text.back() == '\n');
    std::vector<std::string> lines = absl::StrSplit(text, '\n');
    lines.pop_back();
    for (const std::string& line : lines) {
      SCOPED_TRACE(line);
      ReadLine(line);
    }
    for (const auto& [name, type] : types_) {
      SCOPED_TRACE(name);
      EXPECT_TRUE(families_.count(name) > 0) << "has samples";
      if (type == "histogram") CheckHistogram(families_[name]);
    }
  }

  const std::map<std::string, std::string>& types() const { return types_; }
  std::vector<Sample> Family(const std::string& name) const {
    const auto it = families_.find(name);
    return it == families_.end() ? std::vector<Sample>() : it->second;
  }

 private:
  static bool IsName(absl::string_view name) {
    if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) {
      return false;
    }
    for (char c : name) {
      if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_') {
        return false;
      }
    }
    return true;
  }

  void ReadLine(absl::string_view line) {
    if (absl::ConsumePrefix(&line, "# HELP ")) {
      const size_t space = line.find(' ');
      ASSERT_NE(space, line.npos);
      family_ = std::string(line.substr(0, space));
      EXPECT_TRUE(IsName(family_));
      EXPECT_TRUE(helped_.insert(family_).second) << "one HELP a family";
    } else if (absl::ConsumePrefix(&line, "# TYPE ")) {
      const std::vector<std::string> words = absl::StrSplit(line, ' ');
      ASSERT_EQ(words.size(), 2u);
      EXPECT_EQ(words[0], family_) << "TYPE after HELP";
      EXPECT_THAT(words[1], testing::AnyOf("counter", "gauge", "histogram"));
      EXPECT_TRUE(types_.emplace(words[0], words[1]).second);
      if (words[1] == "counter") {
        EXPECT_TRUE(absl::EndsWith(words[0], "_total"));
      }
    } else {
      ReadSample(line);
    }
  }

  void ReadSample(absl::string_view line) {
    Sample sample;
    const size_t name_end = line.find_first_of("{ ");
    ASSERT_NE(name_end, line.npos);
    sample.name = std::string(line.substr(0, name_end));
    EXPECT_TRUE(IsName(sample.name));
    line.remove_prefix(name_end);
    if (absl::ConsumePrefix(&line, "{")) {
      do {
        const size_t equals = line.find("=\"");
        ASSERT_NE(equals, line.npos);
        const std::string label(line.substr(0, equals));
        EXPECT_TRUE(IsName(label));
        line.remove_prefix(equals + 2);
        std::string value;
        while (!line.empty() && line[0] != '"') {
          if (line[0] == '\\') {
            ASSERT_GE(line.size(), 2u);
            ASSERT_THAT(line[1], testing::AnyOf('\\', '"', 'n'));
            value += line[1] == 'n' ? '\n' : line[1];
            line.remove_prefix(2);
          } else {
            value += line[0];
            line.remove_prefix(1);
          }
        }
        ASSERT_TRUE(absl::ConsumePrefix(&line, "\""));
        EXPECT_TRUE(sample.labels.emplace(label, value).second);
      } while (absl::ConsumePrefix(&line, ","));
      ASSERT_TRUE(absl::ConsumePrefix(&line, "}"));
    }
    ASSERT_TRUE(absl::ConsumePrefix(&line, " "));
    const std::string value(line);
    ASSERT_FALSE(value.empty());
    ASSERT_FALSE(std::isspace(static_cast<unsigned char>(value[0])));
    char* end = nullptr;
    sample.value = std::strtod(value.c_str(), &end);
    ASSERT_EQ(*end, '\0') << "a number and nothing after it";

    ASSERT_EQ(types_.count(family_), 1u) << "TYPE before samples";
    if (types_[family_] == "histogram") {
      EXPECT_THAT(sample.name,
                  testing::AnyOf(family_ + "_bucket", family_ + "_sum",
                                 family_ + "_count"));
    } else {
      EXPECT_EQ(sample.name, family_);
    }
    EXPECT_TRUE(seen_.emplace(sample.name, sample.labels).second)
        << "given twice";
    families_[family_].push_back(std::move(sample));
  }

  static void CheckHistogram(const std::vector<Sample>& samples) {
    struct Series {
      std::vector<std::pair<double, double>> buckets;
      double sum = -1;
      double count = -1;
    };
    std::map<std::map<std::string, std::string>, Series> all;
    for (Sample sample : samples) {
      if (absl::EndsWith(sample.name, "_bucket")) {
        ASSERT_EQ(sample.labels.count("le"), 1u);
        const std::string le = sample.labels["le"];
        sample.labels.erase("le");
        all[sample.labels].buckets.emplace_back(
            le == "+Inf" ? std::numeric_limits<double>::infinity()
                         : std::stod(le),
            sample.value);
      } else {
        EXPECT_EQ(sample.labels.count("le"), 0u);
        Series& series = all[sample.labels];
        (absl::EndsWith(sample.name, "_sum") ? series.sum : series.count) =
            sample.value;
      }
    }
    for (const auto& [labels, series] : all) {
      ASSERT_GE(series.buckets.size(), 2u);
      for (size_t i = 1; i < series.buckets.size(); ++i) {
        EXPECT_GT(series.buckets[i].first, series.buckets[i - 1].first);
        EXPECT_GE(series.buckets[i].second, series.buckets[i - 1].second)
            << "cumulative";
      }
      EXPECT_EQ(series.buckets.back().first,
                std::numeric_limits<double>::infinity());
      EXPECT_EQ(series.buckets.back().second, series.count);
      EXPECT_GE(series.sum, 0);
    }
  }

  std::string family_;
  std::set<std::string> helped_;
  std::map<std::string, std::string> types_;
  std::map<std::string, std::vector<Sample>> families_;
  std::set<std::pair<std::string, std::map<std::string, std::string>>> seen_;
};

class PrometheusTest : public TelemetryTest {
 protected:
  // Something of everything.
  Snapshot Everything() {
    const CallInfo call = Call("/shop.Cart/Add");
    EndAttempt(call, AttemptReason::kFirst, absl::StatusCode::kUnavailable);
    EndAttempt(call, AttemptReason::kRetry);
    EndCall(call, absl::Milliseconds(3));
    EndCall(call, absl::Hours(1), absl::StatusCode::kDeadlineExceeded);
    Refuse(options::Guard::kBreaker, /*observed=*/true);
    Refuse(options::Guard::kMaxCalls, /*observed=*/false);
    ChangeHealth(Health::kSuspect, HealthCause::kSilence);
    Probe(ProbeEvent::Stage::kSent);
    Snapshot snapshot;
    snapshot.services.push_back(Take());
    snapshot.services.back().retry_budget_balance = 9.5;
    AdmissionSnapshot& admission = snapshot.services.back().admission;
    admission.calls = 3;
    admission.breaker = "half_open";
    admission.breaker_calls = 200;
    admission.breaker_failed_ratio = 0.5;
    admission.breaker_slow_ratio = 0.125;
    admission.throttle_probability = 0.25;
    admission.concurrency_limit = 40;
    admission.concurrency = 2;
    admission.min_latency = absl::Microseconds(1500);
    snapshot.services.push_back(ServiceMetrics("stock", 1).Snapshot({}, 1));
    snapshot.services.back().discovery_error = "no such host";
    snapshot.services.back().discovery_failures = 4;
    snapshot.config_reloads = 2;
    return snapshot;
  }
};

TEST_F(PrometheusTest, TheTextIsValidAndHasEveryFamily) {
  const PrometheusReader reader(PrometheusText(Everything()));
  std::map<std::string, std::string> expected;
  for (const MetricFamily& family : MetricFamilies()) {
    expected[family.name] = family.type;
  }
  EXPECT_EQ(reader.types(), expected);
}

TEST_F(PrometheusTest, SamplesHaveTheLabelsOfTheirFamily) {
  const PrometheusReader reader(PrometheusText(Everything()));
  for (const MetricFamily& family : MetricFamilies()) {
    std::vector<std::string> listed =
        absl::StrSplit(family.labels, ' ', absl::SkipEmpty());
    for (const Sample& sample : reader.Family(family.name)) {
      std::vector<std::string> labels;
      for (const auto& [name, value] : sample.labels) {
        if (name != "le") labels.push_back(name);
      }
      EXPECT_THAT(labels, testing::UnorderedElementsAreArray(listed))
          << sample.name;
    }
  }
}

TEST_F(PrometheusTest, ValuesAreThoseOfTheSnapshot) {
  const PrometheusReader reader(PrometheusText(Everything()));
  const auto value = [&](const std::string& family,
                         const std::map<std::string, std::string>& labels,
                         const std::string& suffix = "") {
    for (const Sample& sample : reader.Family(family)) {
      if (sample.name == family + suffix && sample.labels == labels) {
        return sample.value;
      }
    }
    return -1.0;
  };
  EXPECT_EQ(value("grpc_client_call_duration_seconds",
                  {{"grpc_target", "cart"},
                   {"grpc_method", "shop.Cart/Add"},
                   {"grpc_status", "OK"},
                   {"le", "0.003"}},
                  "_bucket"),
            1);
  EXPECT_EQ(value("grpc_client_call_duration_seconds",
                  {{"grpc_target", "cart"},
                   {"grpc_method", "shop.Cart/Add"},
                   {"grpc_status", "DEADLINE_EXCEEDED"}},
                  "_sum"),
            3600);
  EXPECT_EQ(
      value("mesh_endpoint_attempts_total", {{"grpc_target", "cart"},
                                             {"address", "10.0.0.1:80"},
                                             {"grpc_status", "UNAVAILABLE"}}),
      1);
  EXPECT_EQ(value("mesh_client_retries_total",
                  {{"grpc_target", "cart"}, {"grpc_method", "shop.Cart/Add"}}),
            1);
  EXPECT_EQ(value("mesh_retry_budget_balance", {{"grpc_target", "cart"}}), 9.5);
  EXPECT_EQ(value("mesh_refusals_total", {{"grpc_target", "cart"},
                                          {"guard", "breaker"},
                                          {"mode", "observe"}}),
            1);
  EXPECT_EQ(value("mesh_health_changes_total", {{"grpc_target", "cart"},
                                                {"to", "suspect"},
                                                {"cause", "silence"},
                                                {"mode", "enforce"}}),
            1);
  EXPECT_EQ(value("mesh_endpoint_health", {{"grpc_target", "cart"},
                                           {"address", "10.0.0.1:80"},
                                           {"health", "healthy"}}),
            1);
  EXPECT_EQ(value("mesh_endpoint_share",
                  {{"grpc_target", "cart"}, {"address", "10.0.0.1:80"}}),
            1);
  EXPECT_EQ(
      value("mesh_probes_total", {{"grpc_target", "cart"}, {"stage", "sent"}}),
      1);
  EXPECT_EQ(value("mesh_calls_in_flight", {{"grpc_target", "cart"}}), 3);
  EXPECT_EQ(value("mesh_breaker_state",
                  {{"grpc_target", "cart"}, {"state", "half_open"}}),
            1);
  EXPECT_EQ(value("mesh_throttle_probability", {{"grpc_target", "cart"}}),
            0.25);
  EXPECT_EQ(value("mesh_breaker_calls", {{"grpc_target", "cart"}}), 200);
  EXPECT_EQ(value("mesh_breaker_failed_ratio", {{"grpc_target", "cart"}}), 0.5);
  EXPECT_EQ(value("mesh_breaker_slow_ratio", {{"grpc_target", "cart"}}), 0.125);
  EXPECT_EQ(value("mesh_concurrency_limit", {{"grpc_target", "cart"}}), 40);
  EXPECT_EQ(
      value("mesh_concurrency_calls_in_flight", {{"grpc_target", "cart"}}), 2);
  EXPECT_EQ(
      value("mesh_concurrency_min_latency_seconds", {{"grpc_target", "cart"}}),
      0.0015);
  EXPECT_EQ(value("mesh_discovery_failing", {{"grpc_target", "cart"}}), 0);
  EXPECT_EQ(value("mesh_discovery_failing", {{"grpc_target", "stock"}}), 1);
  EXPECT_EQ(value("mesh_config_reloads_total", {}), 2);
}

TEST_F(PrometheusTest, WhatHasNotOccurredYetHasASeries) {
  Snapshot snapshot;
  snapshot.services.emplace_back().service = "cart";
  const PrometheusReader reader(PrometheusText(snapshot));
  const std::vector<Sample> refusals = reader.Family("mesh_refusals_total");
  EXPECT_EQ(refusals.size(), 2 * options::kGuards);
  for (const Sample& sample : refusals) EXPECT_EQ(sample.value, 0);
  std::set<std::string> ejected;
  for (const Sample& sample : reader.Family("mesh_health_changes_total")) {
    EXPECT_EQ(sample.value, 0);
    if (sample.labels.at("to") == "ejected" &&
        sample.labels.at("mode") == "enforce") {
      EXPECT_TRUE(ejected.insert(sample.labels.at("cause")).second);
    }
  }
  EXPECT_EQ(ejected.size(), 8u);
  EXPECT_EQ(ejected.count("latency"), 1u);
}

TEST_F(PrometheusTest, GuardsThatAreOffHaveNoFigures) {
  const PrometheusReader reader(PrometheusText(Everything()));
  for (const char* family :
       {"mesh_breaker_state", "mesh_breaker_calls", "mesh_breaker_failed_ratio",
        "mesh_breaker_slow_ratio", "mesh_concurrency_calls_in_flight",
        "mesh_concurrency_min_latency_seconds"}) {
    for (const Sample& sample : reader.Family(family)) {
      EXPECT_NE(sample.labels.at("grpc_target"), "stock") << family;
    }
  }
}

TEST_F(PrometheusTest, LabelValuesAreEscaped) {
  Snapshot snapshot;
  snapshot.services.emplace_back();
  snapshot.services[0].service = "a\"b\\c\nd";
  const std::string text = PrometheusText(snapshot);
  EXPECT_THAT(text, HasSubstr(R"({grpc_target="a\"b\\c\nd"})"));
  EXPECT_EQ(
      PrometheusReader(text).Family("mesh_picks_failed_total")[0].labels.at(
          "grpc_target"),
      "a\"b\\c\nd");
}

TEST_F(PrometheusTest, WhatIsNotUtf8IsReplaced) {
  Snapshot snapshot;
  snapshot.services.emplace_back();
  for (const auto& [bytes, expected] :
       std::vector<std::pair<std::string, std::string>>{
           {"caf\xc3\xa9", "caf\xc3\xa9"},
           {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
           {"a\xff", "a\xef\xbf\xbd"},
           {"\xc3", "\xef\xbf\xbd"},
           {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
           {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}}) {
    snapshot.services[0].service = bytes;
    EXPECT_THAT(PrometheusText(snapshot),
                HasSubstr(absl::StrCat("{grpc_target=\"", expected, "\"}")));
  }
}

TEST_F(PrometheusTest, LargeCountsAreWrittenInFull) {
  Snapshot snapshot;
  snapshot.config_reloads = 12345678901234567u;
  EXPECT_THAT(PrometheusText(snapshot),
              HasSubstr("mesh_config_reloads_total 12345678901234567\n"));
}

TEST(MetricsPageTest, ListsEveryFamilyAsTheCodeHasIt) {
  std::string expected =
      "| Name | Type | Labels | Meaning |\n|---|---|---|---|\n";
  for (const MetricFamily& family : MetricFamilies()) {
    const std::string labels =
        absl::StrReplaceAll(family.labels, {{" ", "`, `"}});
    absl::StrAppend(&expected, "| `", family.name, "` | ", family.type, " | ",
                    labels.empty() ? "" : absl::StrCat("`", labels, "` "), "| ",
                    family.help, " |\n");
  }
  std::ifstream file("docs/reference/metrics.md");
  ASSERT_TRUE(file.good());
  std::stringstream page;
  page << file.rdbuf();
  EXPECT_TRUE(absl::StrContains(page.str(), expected))
      << "docs/reference/metrics.md must contain this table:\n\n"
      << expected;
}

}  // namespace
}  // namespace mesh::telemetry
