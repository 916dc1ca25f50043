#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/call/call_machine_test_util.h"

namespace mesh::call {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = Action::Kind;
using Verdict = telemetry::RetryEvent::Verdict;

TEST_F(CallMachineTest, AnEndpointAtItsCapIsPassedOver) {
  options::CapsOptions caps;
  caps.max_calls_per_endpoint = 2;
  plan.caps = &caps;
  endpoints[0]->Acquire();
  endpoints[0]->Acquire();
  EXPECT_EQ(Address(Start()), "b");
  EXPECT_EQ(endpoints[0]->in_flight(), 2);
  Done(Ok());
  endpoints[0]->Release();
  endpoints[0]->Release();
}

TEST_F(CallMachineTest, TheCapCountsCallsOnAnEarlierConnectionToo) {
  options::CapsOptions caps;
  caps.max_calls_per_endpoint = 2;
  plan.caps = &caps;
  endpoints[0]->AddInFlightBefore(2);
  EXPECT_EQ(Address(Start()), "b");
  Done(Ok());
}

TEST_F(CallMachineTest, ACapLetsACallIntoARoomThatAnEarlierConnectionLeaves) {
  options::CapsOptions caps;
  caps.max_calls_per_endpoint = 2;
  plan.caps = &caps;
  endpoints[0]->AddInFlightBefore(2);
  endpoints[0]->AddInFlightBefore(-1);
  EXPECT_EQ(Address(Start()), "a");
  Done(Ok());
}

TEST_F(CallMachineTest, WhenAllAreAtTheirCapTheCallFailsAndSaysSo) {
  options::CapsOptions caps;
  caps.max_calls_per_endpoint = 1;
  plan.caps = &caps;
  plan.wait_for_ready = true;
  for (const auto& endpoint : endpoints) endpoint->Acquire();
  const Action end = Start();
  EXPECT_EQ(end.status,
            absl::ResourceExhaustedError(
                "cart: too many calls are under way on every "
                "endpoint: guards.caps.max_calls_per_endpoint is 1. "
                "Make fewer at once, or raise the cap."));
  for (const auto& endpoint : endpoints) {
    EXPECT_EQ(endpoint->in_flight(), 1);
    endpoint->Release();
  }
  EXPECT_EQ(listener.events[0], "pick failed");
  EXPECT_THAT(listener.events[1],
              HasSubstr("refused: max_calls_per_endpoint RESOURCE_EXHAUSTED"));
}

TEST_F(CallMachineTest, ACapThatOnlyObservesRefusesNothing) {
  options::CapsOptions caps;
  caps.max_calls_per_endpoint = 1;
  caps.mode = options::Mode::kObserve;
  plan.caps = &caps;
  endpoints[0]->Acquire();
  EXPECT_EQ(Address(Start()), "a");
  EXPECT_THAT(listener.events[0],
              HasSubstr("would refuse: max_calls_per_endpoint"));
  Done(Ok());
  endpoints[0]->Release();
}

// ---- Admission ----

// As CallMachineTest, with caps that a test sets.
class AdmissionTest : public CallMachineTest {
 protected:
  AdmissionTest() {
    guards.breaker.mode = options::Mode::kOff;
    guards.throttle.mode = options::Mode::kOff;
    guards.adaptive_concurrency.mode = options::Mode::kOff;
  }
  ~AdmissionTest() override {
    const resilience::Admission::State state = State();
    EXPECT_EQ(state.calls, 0);
    EXPECT_EQ(state.waiting, 0);
    EXPECT_EQ(state.retries, 0);
  }
  void Admit() {
    admission = std::make_unique<resilience::Admission>(guards, now);
    plan.admission = admission.get();
  }
  resilience::Admission::State State() { return admission->Snapshot(now); }

  options::GuardOptions guards;
  std::unique_ptr<resilience::Admission> admission;
};

TEST_F(AdmissionTest, ACallHoldsItsPlaceUntilItEnds) {
  Admit();
  Start();
  EXPECT_EQ(State().calls, 1);
  Done(Unavailable());
  EXPECT_EQ(State().calls, 1) << "it is retried";
  Done(Ok());
  EXPECT_EQ(State().calls, 0);
}

TEST_F(AdmissionTest, AnAbandonedCallGivesItsPlaceBack) {
  Admit();
  Start();
  Machine().Abandon(now);
  EXPECT_EQ(State().calls, 0);
}

TEST_F(AdmissionTest, ACallWhoseDeadlineIsOverIsCountedNowhere) {
  guards.breaker.mode = options::Mode::kEnforce;
  Admit();
  info.deadline = now;
  EXPECT_EQ(Address(Start()), "a");
  EXPECT_EQ(State().calls, 0);
  EXPECT_EQ(Done(Ended(absl::StatusCode::kDeadlineExceeded)).kind,
            Kind::kFinish);
  EXPECT_EQ(State().calls, 0);
  EXPECT_EQ(State().breaker_calls, 0);
}

TEST_F(AdmissionTest, ARefusedCallFailsBeforeItPicksAndSaysWhy) {
  guards.caps.max_calls = 1;
  Admit();
  resilience::Admission::Ticket other;
  ASSERT_FALSE(
      admission->Admit("/m", {}, now, &random, nullptr, &other).has_value());
  const Action end = Start();
  EXPECT_EQ(end.kind, Kind::kFail);
  EXPECT_EQ(
      end.status,
      absl::ResourceExhaustedError(
          "cart: too many calls are under way: guards.caps.max_calls is 1. "
          "Make fewer at once, or raise the cap."));
  EXPECT_EQ(Machine().attempts(), 0);
  EXPECT_FALSE(Machine().retried_in_vain());
  EXPECT_THAT(
      listener.events,
      ElementsAre("refused: max_calls RESOURCE_EXHAUSTED 'too many "
                  "calls are under way: guards.caps.max_calls is 1. Make "
                  "fewer at once, or raise the cap.' 0",
                  "end RESOURCE_EXHAUSTED after 0"));
  admission->OnCallEnd(other, absl::StatusCode::kOk, now);
}

TEST_F(AdmissionTest, ARefusalThatIsOnlyObservedIsToldOf) {
  guards.caps.max_calls = 1;
  guards.caps.mode = options::Mode::kObserve;
  Admit();
  resilience::Admission::Ticket other;
  admission->Admit("/m", {}, now, &random, nullptr, &other);
  EXPECT_EQ(Address(Start()), "a");
  EXPECT_THAT(listener.events[0], HasSubstr("would refuse: max_calls"));
  Done(Ok());
  admission->OnCallEnd(other, absl::StatusCode::kOk, now);
}

TEST_F(AdmissionTest, AFaultComesBeforeAdmission) {
  policy.fault.mode = options::Mode::kEnforce;
  plan.abort_by_header = absl::StatusCode::kInternal;
  Admit();
  EXPECT_EQ(Start().kind, Kind::kFail);
  EXPECT_EQ(State().calls, 0);
}

TEST_F(AdmissionTest, ACallThatWaitsIsCountedWhileItDoes) {
  Admit();
  std::unique_ptr<balancing::Picker> ready = std::move(picker);
  PickerSays(balancing::PickResult::Kind::kWait);
  Start();
  EXPECT_EQ(State().waiting, 1);
  Machine().OnEndpointsChanged(At());
  EXPECT_EQ(State().waiting, 1) << "still the same wait";
  picker = std::move(ready);
  EXPECT_EQ(Address(*Machine().OnEndpointsChanged(At())), "a");
  EXPECT_EQ(State().waiting, 0);
  Done(Ok());

  machine.reset();
  listener.events.clear();
  PickerSays(balancing::PickResult::Kind::kWait);
  Start();
  Machine().Abandon(now);
  EXPECT_EQ(State().waiting, 0);
}

TEST_F(AdmissionTest, WhenTooManyWaitACallFailsAtOnce) {
  guards.caps.max_waiting = 1;
  Admit();
  ASSERT_TRUE(admission->TryWait(nullptr));
  PickerSays(balancing::PickResult::Kind::kWait);
  const Action end = Start();
  EXPECT_EQ(end.status,
            absl::ResourceExhaustedError(
                "cart: too many calls wait for an "
                "endpoint: guards.caps.max_waiting is 1. Make fewer "
                "at once, or raise the cap."));
  EXPECT_THAT(listener.events[0], HasSubstr("refused: max_waiting"));
  EXPECT_EQ(listener.events[1], "pick failed");
  admission->EndWait();
}

TEST_F(AdmissionTest, WhenTooManyWaitARetryEndsWithWhatItHas) {
  guards.caps.max_waiting = 1;
  Admit();
  ASSERT_TRUE(admission->TryWait(nullptr));
  Start();
  PickerSays(balancing::PickResult::Kind::kWait);
  const Action end = Timer(Done(Unavailable()));
  EXPECT_EQ(end.kind, Kind::kFinish);
  EXPECT_EQ(end.attempt, 1);
  admission->EndWait();
}

TEST_F(AdmissionTest, ARetryIsCountedFromItsDecisionToItsEnd) {
  Endpoints(1);
  Admit();
  Start();
  EXPECT_EQ(State().retries, 0);
  const Action backoff = Done(Unavailable());
  EXPECT_EQ(State().retries, 1);
  Timer(backoff);
  EXPECT_EQ(State().retries, 1);
  const Action next = Done(Unavailable());
  EXPECT_EQ(State().retries, 1) << "the next one";
  EXPECT_EQ(next.kind, Kind::kSetTimer);
  EXPECT_EQ(Machine().OnCancelled(At())->kind, Kind::kFail);
  EXPECT_EQ(State().retries, 0);
}

TEST_F(AdmissionTest, AHedgeIsCountedWhileItRuns) {
  HedgeAfter(absl::Milliseconds(50));
  Admit();
  HedgeTimer(Start());
  EXPECT_EQ(State().retries, 1);
  Done(1, Ok());
  EXPECT_EQ(State().retries, 0);
}

TEST_F(AdmissionTest, ARetryWithoutBudgetHoldsNoPlace) {
  budget_options.ratio = budget_options.min_per_second = 0;
  Admit();
  Start();
  EXPECT_EQ(Done(Unavailable()).kind, Kind::kFinish);
  EXPECT_EQ(State().retries, 0);
}

}  // namespace
}  // namespace mesh::call
