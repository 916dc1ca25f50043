#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/call/call_machine_test_util.h"

namespace mesh::call {
namespace {

using ::testing::ElementsAre;
using Kind = Action::Kind;
using Verdict = telemetry::RetryEvent::Verdict;

class HealthTest : public CallMachineTest,
                   public resilience::HealthMonitor::Host {
 protected:
  HealthTest() {
    budget = std::make_unique<resilience::RetryBudget>(budget_options, now);
    plan.budget = budget.get();
    health = std::make_unique<resilience::HealthMonitor>(
        options::GuardOptions(), budget.get(), this);
    plan.health = health.get();
  }
  // As in CallMachineTest, but with the budget that the monitor has.
  CallMachine& WithHealth() {
    machine = std::make_unique<CallMachine>(plan, &info);
    return *machine;
  }
  const cluster::EndpointObservations& Seen(int i) {
    return endpoints[i]->observations();
  }

  std::unique_ptr<resilience::HealthMonitor> health;

 private:
  void Probe(cluster::LiveEndpoint*) override {}
  void OnHealthChange(const resilience::HealthChange&) override {}
};

TEST_F(HealthTest, IsToldOfEachAttemptAndHowItEnded) {
  WithHealth();
  Start();
  EXPECT_EQ(Seen(0).awaiting(), 1u);
  Done(Unavailable());
  EXPECT_EQ(Seen(0).awaiting(), 0u);
  EXPECT_EQ(Seen(0).failures.load(), 1u);
  EXPECT_EQ(Seen(0).local_failures.load(), 0u);
  EXPECT_EQ(Seen(1).awaiting(), 1u);
  AttemptOutcome reset = Unavailable();
  reset.local = true;
  const Action backoff = Done(reset);
  EXPECT_EQ(Seen(1).local_failures.load(), 1u);
  Timer(backoff);
  Done(Ok());
  EXPECT_EQ(Seen(2).awaiting(), 0u);
  EXPECT_EQ(Seen(2).failures.load() + Seen(2).local_failures.load(), 0u);
}

TEST_F(HealthTest, AnAttemptThatIsGivenUpIsNoFailure) {
  HedgeAfter(absl::Milliseconds(50));
  WithHealth();
  HedgeTimer(Start());
  Done(2, Ok());
  EXPECT_EQ(Seen(0).awaiting(), 0u);
  EXPECT_EQ(Seen(0).discounted.load(), 1u);
  EXPECT_EQ(Seen(0).failures.load() + Seen(0).local_failures.load(), 0u);

  listener.events.clear();
  WithHealth();
  Start();
  Machine().OnCancelled(At());
  AttemptOutcome cancelled = Ended(absl::StatusCode::kCancelled);
  cancelled.local = true;
  Done(cancelled);
  EXPECT_EQ(Seen(0).discounted.load(), 2u);
  EXPECT_EQ(Seen(0).failures.load() + Seen(0).local_failures.load(), 0u);
}

// Without hedging nobody knows the method's latency.
TEST_F(HealthTest, ARetryThatTheServiceIsTooSlowForIsNotMade) {
  auto answer = [this](absl::Duration latency) {
    resilience::AttemptResult ok;
    ok.latency = latency;
    health->OnAttemptStart(endpoints[0].get(), /*unary=*/true, now - latency);
    health->OnAttemptEnd(endpoints[0].get(), ok, now);
  };
  for (int i = 0; i < 100; ++i) answer(absl::Milliseconds(100));
  info.deadline = now + absl::Milliseconds(120);
  WithHealth();
  EXPECT_EQ(Address(Start()), "a");
  now += absl::Milliseconds(50);
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kFinish);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kDeadline));

  // One of its methods may be quick.
  for (int i = 0; i < 50; ++i) answer(absl::Milliseconds(1));
  now += absl::Milliseconds(200);
  info.deadline = now + absl::Milliseconds(120);
  listener.verdicts.clear();
  listener.events.clear();
  WithHealth();
  Start();
  now += absl::Milliseconds(50);
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kStartAttempt);
  EXPECT_THAT(listener.verdicts, ElementsAre(Verdict::kRetry));
  Done(Ok());
}

TEST_F(HealthTest, WhoeverStartsACallLooksWhenALookIsDue) {
  EXPECT_TRUE(health->Due(now));
  WithHealth();
  Start();
  EXPECT_FALSE(health->Due(now));
  Done(Ok());
}

}  // namespace
}  // namespace mesh::call
