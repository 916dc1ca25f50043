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
  EXPECT_EQ(Seen(0).connection_failures.load(), 0u);
  EXPECT_EQ(Seen(1).awaiting(), 1u);
  AttemptOutcome reset = Unavailable();
  reset.local = true;
  const Action backoff = Done(reset);
  EXPECT_EQ(Seen(1).connection_failures.load(), 1u);
  Timer(backoff);
  Done(Ok());
  EXPECT_EQ(Seen(2).awaiting(), 0u);
  EXPECT_EQ(Seen(2).failures.load() + Seen(2).connection_failures.load(), 0u);
}

TEST_F(HealthTest, AnAttemptThatIsGivenUpIsNoFailure) {
  HedgeAfter(absl::Milliseconds(50));
  WithHealth();
  HedgeTimer(Start());
  Done(2, Ok());
  EXPECT_EQ(Seen(0).awaiting(), 0u);
  EXPECT_EQ(Seen(0).discounted.load(), 1u);
  EXPECT_EQ(Seen(0).failures.load() + Seen(0).connection_failures.load(), 0u);

  listener.events.clear();
  WithHealth();
  Start();
  Machine().OnCancelled(At());
  AttemptOutcome cancelled = Ended(absl::StatusCode::kCancelled);
  cancelled.local = true;
  Done(cancelled);
  EXPECT_EQ(Seen(0).discounted.load(), 2u);
  EXPECT_EQ(Seen(0).failures.load() + Seen(0).connection_failures.load(), 0u);
}

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

// Puts what it picks on one side of a trial, as a picker does for endpoints
// that are on one.
class Tosses : public FirstUntried {
 public:
  using FirstUntried::FirstUntried;
  balancing::PickResult Pick(const balancing::PickArgs& args) const override {
    coins.push_back(args.coin != nullptr);
    if (args.coin != nullptr) {
      args.coin->ticket = cluster::TrialTicket(trial, here);
    }
    return FirstUntried::Pick(args);
  }
  uint32_t trial = 0;
  bool here = true;
  mutable std::vector<bool> coins;
};

TEST_F(HealthTest, OnlyTheFirstAttemptIsPartOfATrialAndKeepsItsSide) {
  plan.observer = nullptr;
  std::vector<cluster::LiveEndpointPtr> live;
  for (const char* address : {"a", "b", "c"}) {
    live.push_back(
        std::make_shared<cluster::LiveEndpoint>(cluster::Endpoint{address}));
    live.back()->set_readiness(cluster::Readiness::kReady);
  }
  Tosses tosses({live[0].get(), live[1].get(), live[2].get()});
  health->Tick(live, now);
  resilience::AttemptResult failed;
  failed.code = absl::StatusCode::kInternal;
  for (int i = 0; i < 3; ++i) {
    health->OnAttemptStart(live[0].get(), /*unary=*/true, now);
    health->OnAttemptEnd(live[0].get(), failed, now);
  }
  tosses.trial = live[0]->trial();
  ASSERT_NE(tosses.trial, 0u);

  // Calls of one side fail, and those of the other go well.
  for (int i = 0; i < 30; ++i) {
    tosses.here = i % 2 == 0;
    tosses.coins.clear();
    CallMachine& call = WithHealth();
    const Moment moment{now, &tosses, &random, live};
    Action action = call.Start(moment);
    ASSERT_EQ(action.kind, Kind::kStartAttempt);
    action = call.OnAttemptDone(1, tosses.here ? Unavailable() : Ok(), moment);
    if (!tosses.here) continue;
    if (action.kind == Kind::kStartAttempt) {
      call.OnAttemptDone(2, Ok(), moment);
      EXPECT_THAT(tosses.coins, ElementsAre(true, false)) << "a retry";
    } else {
      call.Abandon(now);
    }
  }
  health->Tick(live, now + absl::Milliseconds(1));
  EXPECT_EQ(live[0]->health(), cluster::Health::kEjected);
}

TEST_F(HealthTest, WhatThisSideMadeIsNoFailureOfTheEndpoint) {
  WithHealth();
  Start();
  AttemptOutcome own = Ended(absl::StatusCode::kResourceExhausted);
  own.local = own.own = true;
  Done(own);
  EXPECT_EQ(Seen(0).failures.load() + Seen(0).connection_failures.load(), 0u);
  EXPECT_EQ(Seen(0).discounted.load(), 1u);
}

TEST_F(HealthTest, AnAnswerThatThisSideDoesNotTakeIsNoSilence) {
  WithHealth();
  Start();
  // So that another attempt waits, too.
  resilience::AttemptLedger::OnStart(&endpoints[0]->mutable_observations(),
                                     /*unary=*/true, now);
  AttemptOutcome own = Ended(absl::StatusCode::kResourceExhausted);
  own.local = own.own = own.answered = true;
  Done(own);
  EXPECT_EQ(Seen(0).silence.unanswered(), 0);
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
