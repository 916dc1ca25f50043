#include "mesh/telemetry/metrics.h"

#include <cstdint>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/telemetry/telemetry_test_util.h"

namespace mesh::telemetry {
namespace {

using cluster::Health;
using cluster::HealthCause;

int Index(absl::StatusCode code) { return static_cast<int>(code); }

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
  Refuse(base::Guard::kBreaker, /*observed=*/false);
  Refuse(base::Guard::kBreaker, /*observed=*/true);
  Refuse(base::Guard::kBreaker, /*observed=*/true);
  Refuse(base::Guard::kFault, /*observed=*/false);
  Refuse(static_cast<base::Guard>(99), /*observed=*/false);  // Ignored.
  const std::vector<RefusalSnapshot> refusals = Take().refusals;
  ASSERT_EQ(refusals.size(), 2u);
  EXPECT_EQ(refusals[0].guard, "breaker");
  EXPECT_EQ(refusals[0].enforced, 1u);
  EXPECT_EQ(refusals[0].observed, 2u);
  EXPECT_EQ(refusals[1].guard, "fault");
  EXPECT_EQ(refusals[1].enforced, 1u);
}

TEST_F(TelemetryTest, EveryGuardIsCountedUnderANameOfItsOwn) {
  for (int guard = 0; guard < base::kGuards; ++guard) {
    Refuse(static_cast<base::Guard>(guard), /*observed=*/false);
  }
  std::set<std::string> names;
  for (const RefusalSnapshot& refusal : Take().refusals) {
    EXPECT_NE(refusal.guard, "unknown");
    names.insert(refusal.guard);
  }
  EXPECT_EQ(names.size(), size_t{base::kGuards});
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

}  // namespace
}  // namespace mesh::telemetry
