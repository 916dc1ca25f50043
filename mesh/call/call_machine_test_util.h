// What the tests of the call machine share.

#ifndef MESH_CALL_CALL_MACHINE_TEST_UTIL_H_
#define MESH_CALL_CALL_MACHINE_TEST_UTIL_H_

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mesh/call/call_machine.h"

namespace mesh::call {

// Picks the first endpoint that the call has not tried, then the first.
class FirstUntried : public balancing::Picker {
 public:
  explicit FirstUntried(std::vector<cluster::LiveEndpoint*> endpoints)
      : endpoints_(std::move(endpoints)) {}

  balancing::PickResult Pick(const balancing::PickArgs& args) const override {
    elsewhere_than = args.elsewhere_than;
    balancing::PickResult result;
    result.kind = balancing::PickResult::Kind::kUse;
    result.endpoint = endpoints_[0];
    for (cluster::LiveEndpoint* endpoint : endpoints_) {
      if (std::find(args.tried.begin(), args.tried.end(), endpoint) ==
          args.tried.end()) {
        result.endpoint = endpoint;
        break;
      }
    }
    EXPECT_TRUE(result.endpoint->Acquire());
    return result;
  }

  mutable const cluster::LiveEndpoint* elsewhere_than = nullptr;

 private:
  const std::vector<cluster::LiveEndpoint*> endpoints_;
};

// Always gives the same result, which is no endpoint.
class Says : public balancing::Picker {
 public:
  explicit Says(balancing::PickResult::Kind kind, absl::Status status = {})
      : kind_(kind), status_(std::move(status)) {}
  balancing::PickResult Pick(const balancing::PickArgs&) const override {
    return {kind_, nullptr, &status_};
  }

 private:
  const balancing::PickResult::Kind kind_;
  const absl::Status status_;
};

// Writes down what it is told.
class Listener : public telemetry::Observer {
 public:
  explicit Listener(bool wants_picks) : wants_picks_(wants_picks) {}

  void OnCallStart(const telemetry::CallInfo&,
                   const telemetry::CallStartEvent&) override {
    events.push_back("start");
  }
  void OnPick(const telemetry::CallInfo&,
              const telemetry::PickEvent& event) override {
    static const char* const kNames[] = {"used", "waited", "failed",
                                         "declined"};
    events.push_back(absl::StrCat("pick ", kNames[int(event.result)]));
  }
  void OnAttemptEnd(const telemetry::CallInfo&,
                    const telemetry::AttemptEvent& event) override {
    EXPECT_GT(event.endpoint.in_flight, 0) << "released before it was told";
    events.push_back(absl::StrCat("attempt ", event.attempt, " ",
                                  event.endpoint.address(), " ",
                                  absl::StatusCodeToString(event.code),
                                  event.given_up ? " given up" : ""));
  }
  void OnRetryDecision(const telemetry::CallInfo&,
                       const telemetry::RetryEvent& event) override {
    if (event.observed) {
      events.push_back(absl::StrCat("would hedge after ",
                                    absl::FormatDuration(event.delay)));
      return;
    }
    verdicts.push_back(event.verdict);
  }
  void OnRefusal(const telemetry::CallInfo&,
                 const telemetry::RefusalEvent& event) override {
    events.push_back(absl::StrCat(
        event.observed ? "would refuse: " : "refused: ",
        base::NameOf(event.guard), " ", absl::StatusCodeToString(event.code),
        " '", event.why, "' ", absl::FormatDuration(event.delay)));
  }
  void OnCallEnd(const telemetry::CallInfo&,
                 const telemetry::CallEvent& event) override {
    events.push_back(absl::StrCat("end ", absl::StatusCodeToString(event.code),
                                  " after ", event.attempts));
  }
  bool WantsPicks() const override { return wants_picks_; }

  std::vector<std::string> events;
  std::vector<telemetry::RetryEvent::Verdict> verdicts;

 private:
  const bool wants_picks_;
};

inline AttemptOutcome Ended(absl::StatusCode code) {
  AttemptOutcome outcome;
  outcome.code = code;
  return outcome;
}
inline AttemptOutcome Ok() { return Ended(absl::StatusCode::kOk); }
inline AttemptOutcome Unavailable() {
  return Ended(absl::StatusCode::kUnavailable);
}
inline AttemptOutcome NeverSent() {
  AttemptOutcome outcome = Unavailable();
  outcome.never_sent = true;
  return outcome;
}

// One call to a service of `endpoints` endpoints that may be retried, until a
// test says otherwise.
class CallMachineTest : public ::testing::Test {
 protected:
  CallMachineTest() {
    Endpoints(3);
    info.service = "cart";
    info.method = "/shop.Cart/Get";
    info.start = now;
    info.deadline = now + absl::Seconds(10);
    plan.policy = &policy;
    plan.observer = &listener;
    plan.idempotent = true;
    plan.replayable = true;
    policy.retry.max_attempts = 3;
    policy.retry.initial_backoff = absl::Milliseconds(100);
    policy.retry.max_backoff = absl::Milliseconds(300);
    policy.retry.backoff_multiplier = 2;
  }
  ~CallMachineTest() override {
    for (const auto& endpoint : endpoints) EXPECT_EQ(endpoint->in_flight(), 0);
    if (listener.events.empty()) return;
    int ends = 0;
    for (const std::string& event : listener.events) {
      ends += event.rfind("end ", 0) == 0;
    }
    EXPECT_EQ(ends, 1);
  }

  void Endpoints(int count) {
    endpoints.clear();
    std::vector<cluster::LiveEndpoint*> all;
    for (int i = 0; i < count; ++i) {
      cluster::Endpoint endpoint;
      endpoint.address = std::string(1, 'a' + i);
      endpoints.push_back(std::make_unique<cluster::LiveEndpoint>(endpoint));
      all.push_back(endpoints.back().get());
    }
    picker = std::make_unique<FirstUntried>(all);
  }
  void PickerSays(balancing::PickResult::Kind kind, absl::Status status = {}) {
    picker = std::make_unique<Says>(kind, std::move(status));
  }

  Moment At() { return {now, picker.get(), &random}; }
  CallMachine& Machine() {
    if (machine == nullptr) {
      budget = std::make_unique<resilience::RetryBudget>(budget_options, now);
      plan.budget = budget.get();
      machine = std::make_unique<CallMachine>(plan, &info);
    }
    return *machine;
  }
  Action Start() { return Machine().Start(At()); }
  Action Done(const AttemptOutcome& outcome) {
    return Done(Machine().attempts(), outcome);
  }
  Action Done(int attempt, const AttemptOutcome& outcome) {
    return Machine().OnAttemptDone(attempt, outcome, At());
  }
  // Lets the time of `action` come and tells the machine.
  Action Timer(const Action& action) {
    EXPECT_EQ(action.kind, Action::Kind::kSetTimer);
    now = action.at;
    std::optional<Action> next = Machine().OnTimer(At());
    EXPECT_TRUE(next.has_value());
    return next.value_or(Action());
  }
  // Lets the time for the next hedge come and tells the machine.
  Action HedgeTimer(const Action& action) {
    EXPECT_NE(action.timer, absl::InfiniteFuture());
    now = action.timer;
    std::optional<Action> next = Machine().OnTimer(At());
    EXPECT_TRUE(next.has_value());
    return next.value_or(Action());
  }
  void HedgeAfter(absl::Duration delay) {
    policy.hedging.mode = options::Mode::kEnforce;
    policy.hedging.delay = delay;
  }
  FirstUntried& Picker() { return static_cast<FirstUntried&>(*picker); }
  static std::string Address(const Action& action) {
    return action.kind == Action::Kind::kStartAttempt
               ? action.endpoint->endpoint().address
               : "none";
  }

  absl::Time now = absl::UnixEpoch() + absl::Hours(1);
  options::MethodOptions policy;
  options::RetryBudgetOptions budget_options;
  telemetry::CallInfo info;
  CallPlan plan;
  Listener listener{false};
  base::Random random{1};
  std::vector<std::unique_ptr<cluster::LiveEndpoint>> endpoints;
  std::unique_ptr<balancing::Picker> picker;
  std::unique_ptr<resilience::RetryBudget> budget;
  std::unique_ptr<CallMachine> machine;
};

}  // namespace mesh::call

#endif  // MESH_CALL_CALL_MACHINE_TEST_UTIL_H_
