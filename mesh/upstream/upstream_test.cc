#include "mesh/upstream/upstream.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/base/random.h"
#include "mesh/upstream/placeholder.h"

namespace mesh::upstream {
namespace {

using balancing::PickResult;
using cluster::Health;
using Stage = telemetry::ProbeEvent::Stage;

struct SeenHealth {
  std::string service;
  std::string address;
  Health to;
  bool observed;
};
struct SeenProbe {
  std::string service;
  std::string address;
  Stage stage;
  absl::Time time;
};
struct SeenPicker {
  std::string service;
  const void* picker;
  size_t members;
  absl::Time time;
};

class Recorder final : public telemetry::Observer {
 public:
  bool WantsPicks() const override { return wants_picks; }
  void OnHealth(const telemetry::HealthEvent& event) override {
    health.push_back({std::string(event.service),
                      std::string(event.endpoint.address()), event.to,
                      event.observed});
  }
  void OnProbe(const telemetry::ProbeEvent& event) override {
    probes.push_back({std::string(event.service),
                      std::string(event.endpoint.address()), event.stage,
                      event.time});
  }
  void OnPicker(const telemetry::PickerEvent& event) override {
    pickers.push_back({std::string(event.service), event.picker,
                       event.members.size(), event.time});
  }

  bool wants_picks = true;
  std::vector<SeenHealth> health;
  std::vector<SeenProbe> probes;
  std::vector<SeenPicker> pickers;
};

class UpstreamTest : public ::testing::Test, public Upstream::Host {
 protected:
  UpstreamTest() { options_->name = "cart"; }

  void SendProbe(cluster::LiveEndpoint* endpoint) override {
    asked_.push_back(endpoint);
  }
  void OnHealthChange(const resilience::HealthChange& change) override {
    logged_.push_back(change.to);
  }

  Upstream& Make() {
    Upstream::Settings settings;
    settings.name = "cart";
    settings.options = options_;
    settings.observer = &recorder_;
    settings.host = this;
    settings.max_latencies = 2;
    settings.now = now_;
    upstream_.emplace(settings);
    return *upstream_;
  }

  void AddEndpoints(int count) {
    for (int i = 0; i < count; ++i) {
      cluster::Endpoint endpoint;
      endpoint.address = absl::StrCat("e", i);
      auto live = std::make_shared<cluster::LiveEndpoint>(endpoint);
      live->set_readiness(cluster::Readiness::kReady);
      endpoints_.push_back(live);
      members_.push_back({live, 1, 0});
    }
  }

  call::CallPlan PlanOf(const CallShape& shape) {
    return Make().Plan(policies_.emplace(options_), shape);
  }

  PickResult Pick(const balancing::PickerPtr& picker) {
    balancing::PickArgs args;
    args.random = &random_;
    return picker->Pick(args);
  }

  // A call to each endpoint but the first, answered; each time one more to the
  // first, which is not.
  void CallWhileTheFirstIsSilent(absl::Duration time) {
    resilience::HealthMonitor& health = upstream_->health();
    for (const absl::Time end = now_ + time; now_ < end;) {
      for (size_t i = 0; i < endpoints_.size(); ++i) {
        if (endpoints_[i]->share() == 0) continue;
        endpoints_[i]->Acquire();
        health.OnAttemptStart(endpoints_[i].get(), true, now_);
      }
      now_ += absl::Milliseconds(5);
      for (size_t i = 1; i < endpoints_.size(); ++i) {
        resilience::AttemptResult result;
        result.latency = absl::Milliseconds(5);
        health.OnAttemptEnd(endpoints_[i].get(), result, now_);
        endpoints_[i]->Release();
      }
      if (health.Due(now_)) health.Tick(endpoints_, now_);
    }
  }

  absl::Time now_ = absl::FromUnixSeconds(1000);
  base::Random random_{7};
  std::shared_ptr<options::ServiceOptions> options_ =
      std::make_shared<options::ServiceOptions>();
  Recorder recorder_;
  std::optional<Upstream> upstream_;
  std::optional<MethodPolicies> policies_;
  std::vector<cluster::LiveEndpointPtr> endpoints_;
  std::vector<balancing::Member> members_;
  std::vector<cluster::LiveEndpoint*> asked_;
  std::vector<Health> logged_;
};

// ---- Plans ----

TEST_F(UpstreamTest, APlanPointsToWhatTheUpstreamKeeps) {
  options_->methods["a.B/C"].timeout = absl::Seconds(3);
  CallShape shape;
  shape.name = "/a.B/C";
  const call::CallPlan plan = PlanOf(shape);
  EXPECT_EQ(plan.policy->timeout, absl::Seconds(3));
  EXPECT_NE(plan.budget, nullptr);
  EXPECT_EQ(plan.health, &upstream_->health());
  EXPECT_NE(plan.admission, nullptr);
  EXPECT_EQ(plan.observer, &recorder_);
  EXPECT_EQ(plan.caps, &options_->guards.caps);
  EXPECT_EQ(plan.latency, nullptr) << "it is not hedged";
  EXPECT_TRUE(plan.unary);
  EXPECT_TRUE(plan.replayable);
  EXPECT_FALSE(plan.idempotent);
  EXPECT_FALSE(plan.wait_for_ready);
}

TEST_F(UpstreamTest, CallsOfAnUnknownServiceHaveNoCaps) {
  options_ = nullptr;
  CallShape shape;
  shape.name = "/a.B/C";
  const call::CallPlan plan = PlanOf(shape);
  EXPECT_NE(plan.policy, nullptr);
  EXPECT_EQ(plan.caps, nullptr);
}

TEST_F(UpstreamTest, IdempotentIsWhatThePolicySaysElseTheProto) {
  Method method;
  method.name = "/a.B/C";
  CallShape shape;
  shape.method = &method;
  shape.name = method.name;
  EXPECT_FALSE(PlanOf(shape).idempotent);
  method.idempotent = true;
  EXPECT_TRUE(PlanOf(shape).idempotent);
  options_->policy.idempotent = false;
  EXPECT_FALSE(PlanOf(shape).idempotent);
  options_->policy.idempotent = true;
  method.idempotent = false;
  EXPECT_TRUE(PlanOf(shape).idempotent);
}

TEST_F(UpstreamTest, WhatTheCallerSaysOfWaitingGoesBeforeThePolicy) {
  CallShape shape;
  shape.name = "/a.B/C";
  options_->policy.wait_for_ready = true;
  EXPECT_TRUE(PlanOf(shape).wait_for_ready);
  shape.wait_for_ready = false;
  EXPECT_FALSE(PlanOf(shape).wait_for_ready);
  options_->policy.wait_for_ready = false;
  shape.wait_for_ready = true;
  EXPECT_TRUE(PlanOf(shape).wait_for_ready);
  shape.wait_for_ready = std::nullopt;
  EXPECT_FALSE(PlanOf(shape).wait_for_ready);
}

TEST_F(UpstreamTest, AStreamIsSentAgainOnlyWhereItsBytesAreKept) {
  CallShape shape;
  shape.name = "/a.B/C";
  shape.unary = false;
  options_->policy.retry.stream_bytes = 0;
  call::CallPlan plan = PlanOf(shape);
  EXPECT_FALSE(plan.replayable);
  EXPECT_FALSE(plan.unary);
  options_->policy.retry.stream_bytes = 1024;
  EXPECT_FALSE(PlanOf(shape).replayable) << "it may not be executed twice";
  shape.wait_for_ready = true;
  EXPECT_TRUE(PlanOf(shape).replayable);
  shape.wait_for_ready = false;
  options_->policy.idempotent = true;
  EXPECT_TRUE(PlanOf(shape).replayable);
  options_->policy.retry.max_attempts = 1;
  EXPECT_FALSE(PlanOf(shape).replayable);
  options_->policy.retry.max_attempts = 2;
  shape.keeps_request = false;
  EXPECT_FALSE(PlanOf(shape).replayable);
  shape.unary = true;
  EXPECT_FALSE(PlanOf(shape).replayable);
}

TEST_F(UpstreamTest, LatencyIsLearnedOfUnaryCallsThatMayBeHedged) {
  CallShape shape;
  shape.name = "/a.B/C";
  for (options::Mode mode :
       {options::Mode::kObserve, options::Mode::kEnforce}) {
    options_->policy.hedging.mode = mode;
    EXPECT_NE(PlanOf(shape).latency, nullptr);
  }
  shape.unary = false;
  EXPECT_EQ(PlanOf(shape).latency, nullptr);
}

TEST_F(UpstreamTest, AMethodHasOneLatencyWhoeverRegistersIt) {
  Upstream& upstream = Make();
  Method method;
  Method same;
  resilience::LatencyTracker* const tracker =
      upstream.LatencyOf(&method, "/a.B/C");
  EXPECT_EQ(method.latency.load(), tracker);
  EXPECT_EQ(upstream.LatencyOf(&same, "/a.B/C"), tracker);
  EXPECT_EQ(upstream.LatencyOf(nullptr, "/a.B/C"), tracker);
}

TEST_F(UpstreamTest, OnlySoManyMethodsThatNobodyRegisteredHaveALatencyEach) {
  Upstream& upstream = Make();
  resilience::LatencyTracker* const first = upstream.LatencyOf(nullptr, "/1");
  resilience::LatencyTracker* const second = upstream.LatencyOf(nullptr, "/2");
  resilience::LatencyTracker* const third = upstream.LatencyOf(nullptr, "/3");
  EXPECT_NE(first, second);
  EXPECT_NE(third, second);
  EXPECT_EQ(upstream.LatencyOf(nullptr, "/4"), third);
  EXPECT_EQ(upstream.LatencyOf(nullptr, "/2"), second);
  Method method;
  EXPECT_NE(upstream.LatencyOf(&method, "/5"), third);
}

// ---- Pickers ----

TEST_F(UpstreamTest, PlaceholderPickersWaitFailOrDrop) {
  EXPECT_EQ(Pick(NoEndpointsPicker(absl::OkStatus())).kind,
            PickResult::Kind::kWait);
  EXPECT_EQ(Pick(UnknownPicker(absl::OkStatus())).kind,
            PickResult::Kind::kWait);
  const balancing::PickerPtr fails =
      NoEndpointsPicker(absl::UnavailableError("no name server"));
  EXPECT_EQ(Pick(fails).kind, PickResult::Kind::kFail);
  EXPECT_EQ(Pick(fails).status->message(), "no name server");
  for (const balancing::PickerPtr& drops :
       {DropPicker(absl::NotFoundError("gone")),
        UnknownPicker(absl::NotFoundError("gone"))}) {
    EXPECT_EQ(Pick(drops).kind, PickResult::Kind::kDrop);
    EXPECT_EQ(Pick(drops).status->message(), "gone");
  }
}

TEST_F(UpstreamTest, BeforeEndpointsAreKnownCallsWaitOrFailWithWhy) {
  Upstream& upstream = Make();
  EXPECT_EQ(
      Pick(upstream.MakePicker({false, absl::OkStatus(), &members_}, now_))
          .kind,
      PickResult::Kind::kWait);
  const balancing::PickerPtr fails = upstream.MakePicker(
      {false, absl::UnavailableError("no name server"), &members_}, now_);
  EXPECT_EQ(Pick(fails).kind, PickResult::Kind::kFail);
  EXPECT_EQ(Pick(fails).status->message(),
            "cart: the service has no endpoints: no name server");
  EXPECT_TRUE(recorder_.pickers.empty()) << "these have no endpoints";
}

TEST_F(UpstreamTest, AnEmptySetFailsCallsAndSaysWhoseWordItIs) {
  Upstream& upstream = Make();
  const balancing::PickerPtr empty =
      upstream.MakePicker({true, absl::OkStatus(), &members_}, now_);
  EXPECT_EQ(
      Pick(empty).status->message(),
      "cart: the service has no endpoints: discovery reports an empty list.");
  const balancing::PickerPtr failed = upstream.MakePicker(
      {true, absl::UnavailableError("no name server"), &members_}, now_);
  EXPECT_EQ(Pick(failed).status->message(),
            "cart: the service has no endpoints: no name server");
}

TEST_F(UpstreamTest, APickerOfEndpointsIsToldOfBeforeItIsUsed) {
  AddEndpoints(3);
  Upstream& upstream = Make();
  const balancing::PickerPtr picker =
      upstream.MakePicker({true, absl::OkStatus(), &members_}, now_);
  ASSERT_EQ(recorder_.pickers.size(), 1u);
  EXPECT_EQ(recorder_.pickers[0].service, "cart");
  EXPECT_EQ(recorder_.pickers[0].picker, picker.get());
  EXPECT_EQ(recorder_.pickers[0].members, 3u);
  EXPECT_EQ(recorder_.pickers[0].time, now_);
  const PickResult result = Pick(picker);
  ASSERT_EQ(result.kind, PickResult::Kind::kUse);
  result.endpoint->Release();

  recorder_.wants_picks = false;
  upstream.MakePicker({true, absl::OkStatus(), &members_}, now_);
  EXPECT_EQ(recorder_.pickers.size(), 1u);
}

TEST_F(UpstreamTest, AServiceThatGoesDropsItsCallsAndComesBack) {
  AddEndpoints(1);
  Upstream& upstream = Make();
  EXPECT_FALSE(upstream.unknown());
  upstream.SetOptions(nullptr, absl::NotFoundError("not in the file"));
  EXPECT_TRUE(upstream.unknown());
  const Discovered discovered{true, absl::OkStatus(), &members_};
  EXPECT_EQ(Pick(upstream.MakePicker(discovered, now_)).kind,
            PickResult::Kind::kDrop);
  upstream.SetOptions(nullptr, absl::OkStatus());
  EXPECT_FALSE(upstream.unknown()) << "the configuration may still come";
  EXPECT_EQ(Pick(upstream.MakePicker(discovered, now_)).kind,
            PickResult::Kind::kWait);
  upstream.SetOptions(options_, absl::OkStatus());
  const PickResult result = Pick(upstream.MakePicker(discovered, now_));
  ASSERT_EQ(result.kind, PickResult::Kind::kUse);
  result.endpoint->Release();
}

// ---- Health and probes ----

TEST_F(UpstreamTest, AChangeOfHealthIsAnEventAndALineForTheHost) {
  AddEndpoints(3);
  Upstream& upstream = Make();
  upstream.health().Tick(endpoints_, now_);
  upstream.health().OnDraining(endpoints_[0].get(), now_);
  ASSERT_EQ(recorder_.health.size(), 1u);
  EXPECT_EQ(recorder_.health[0].service, "cart");
  EXPECT_EQ(recorder_.health[0].address, "e0");
  EXPECT_EQ(recorder_.health[0].to, Health::kEjected);
  EXPECT_FALSE(recorder_.health[0].observed);
  EXPECT_EQ(logged_, std::vector<Health>{Health::kEjected});
}

TEST_F(UpstreamTest, WhatIsOnlyObservedIsAnEventButNoLine) {
  options_->guards.silence.mode = options::Mode::kObserve;
  AddEndpoints(3);
  Make();
  CallWhileTheFirstIsSilent(absl::Seconds(2));
  ASSERT_FALSE(recorder_.health.empty());
  EXPECT_EQ(recorder_.health[0].to, Health::kSuspect);
  EXPECT_TRUE(recorder_.health[0].observed);
  EXPECT_TRUE(logged_.empty());
  EXPECT_TRUE(asked_.empty());
}

TEST_F(UpstreamTest, AProbeIsToldOfWhenItIsSentAndWhenItEnds) {
  AddEndpoints(3);
  Upstream& upstream = Make();
  CallWhileTheFirstIsSilent(absl::Seconds(2));
  ASSERT_EQ(asked_.size(), 1u);
  EXPECT_EQ(asked_[0], endpoints_[0].get());
  EXPECT_TRUE(recorder_.probes.empty()) << "the host has not sent it";

  EXPECT_EQ(upstream.BeginProbe(asked_[0], now_),
            "/grpc.health.v1.Health/Check");
  now_ += absl::Seconds(1);
  const int64_t held = endpoints_[0]->in_flight();
  upstream.EndProbe(asked_[0], /*answered=*/true, now_);
  EXPECT_EQ(endpoints_[0]->in_flight(), held - 1);
  ASSERT_EQ(recorder_.probes.size(), 2u);
  EXPECT_EQ(recorder_.probes[0].service, "cart");
  EXPECT_EQ(recorder_.probes[0].address, "e0");
  EXPECT_EQ(recorder_.probes[0].stage, Stage::kSent);
  EXPECT_EQ(recorder_.probes[1].stage, Stage::kAnswered);
  EXPECT_EQ(recorder_.probes[1].time, now_);
  EXPECT_NE(endpoints_[0]->health(), Health::kSuspect);
}

TEST_F(UpstreamTest, AProbeThatFailsIsToldOfAsFailed) {
  AddEndpoints(3);
  Upstream& upstream = Make();
  CallWhileTheFirstIsSilent(absl::Seconds(2));
  ASSERT_EQ(asked_.size(), 1u);
  upstream.BeginProbe(asked_[0], now_);
  upstream.EndProbe(asked_[0], /*answered=*/false, now_);
  ASSERT_EQ(recorder_.probes.size(), 2u);
  EXPECT_EQ(recorder_.probes[1].stage, Stage::kFailed);
}

// ---- Reload ----

TEST_F(UpstreamTest, AReloadKeepsWhatIsKnown) {
  options_->policy.hedging.mode = options::Mode::kEnforce;
  AddEndpoints(3);
  Upstream& upstream = Make();
  CallShape shape;
  shape.name = "/a.B/C";
  const MethodPolicies before(options_);
  const call::CallPlan old_plan = upstream.Plan(before, shape);
  upstream.health().Tick(endpoints_, now_);
  upstream.health().OnDraining(endpoints_[0].get(), now_);
  ASSERT_TRUE(old_plan.admission->TryWait(nullptr));
  while (old_plan.budget->TryWithdraw(now_)) {
  }

  auto next = std::make_shared<options::ServiceOptions>(*options_);
  next->policy.timeout = absl::Seconds(9);
  next->guards.silence.probe_method = "/my.Health/Ping";
  upstream.SetOptions(next, absl::OkStatus());
  const MethodPolicies after(next);
  const call::CallPlan plan = upstream.Plan(after, shape);
  EXPECT_EQ(plan.policy->timeout, absl::Seconds(9));
  EXPECT_EQ(plan.caps, &next->guards.caps);
  EXPECT_EQ(plan.budget, old_plan.budget);
  EXPECT_EQ(plan.latency, old_plan.latency);
  EXPECT_FALSE(plan.budget->TryWithdraw(now_)) << "it was empty before";
  EXPECT_EQ(endpoints_[0]->health(), Health::kEjected);
  EXPECT_EQ(upstream.BeginProbe(endpoints_[1].get(), now_), "/my.Health/Ping");

  telemetry::ServiceSnapshot snapshot;
  upstream.Describe(now_, &snapshot);
  EXPECT_EQ(snapshot.admission.waiting, 1);
  EXPECT_EQ(snapshot.retry_budget_balance, 0);
  plan.admission->EndWait();
}

TEST_F(UpstreamTest, AReloadWithAnotherBudgetChangesTheBudget) {
  Upstream& upstream = Make();
  auto next = std::make_shared<options::ServiceOptions>(*options_);
  next->retry_budget.min_per_second = 0;
  next->retry_budget.ratio = 0;
  upstream.SetOptions(next, absl::OkStatus());
  telemetry::ServiceSnapshot snapshot;
  upstream.Describe(now_, &snapshot);
  EXPECT_EQ(snapshot.retry_budget_balance, 0);
}

TEST_F(UpstreamTest, AReloadWithAnotherBalancingBalancesSo) {
  AddEndpoints(4);
  Upstream& upstream = Make();
  auto next = std::make_shared<options::ServiceOptions>(*options_);
  next->balancing = options::BalancingPolicy::kRoundRobin;
  upstream.SetOptions(next, absl::OkStatus());
  const balancing::PickerPtr picker =
      upstream.MakePicker({true, absl::OkStatus(), &members_}, now_);
  const PickResult first = Pick(picker);
  for (size_t i = 1; i < members_.size(); ++i) {
    const PickResult other = Pick(picker);
    EXPECT_NE(other.endpoint, first.endpoint);
    other.endpoint->Release();
  }
  const PickResult again = Pick(picker);
  EXPECT_EQ(again.endpoint, first.endpoint);
  again.endpoint->Release();
  first.endpoint->Release();
}

// Three primaries and three backups; the primaries' connections fail.
TEST_F(UpstreamTest, APickerFollowsTheHealthOfItsPriorities) {
  AddEndpoints(6);
  for (size_t i = 3; i < 6; ++i) {
    members_[i].priority = 1;
    members_[i].live->set_priority(1);
  }
  Upstream& upstream = Make();
  const balancing::PickerPtr picker =
      upstream.MakePicker({true, absl::OkStatus(), &members_}, now_);
  const auto at_backups = [&] {
    int count = 0;
    for (int i = 0; i < 100; ++i) {
      const PickResult result = Pick(picker);
      count += result.endpoint->priority() == 1;
      result.endpoint->Release();
    }
    return count;
  };
  EXPECT_EQ(at_backups(), 0);
  resilience::HealthMonitor& health = upstream.health();
  for (int primary = 0; primary < 3; ++primary) {
    cluster::LiveEndpoint* const live = endpoints_[primary].get();
    for (int i = 0; i < 5; ++i) {
      ASSERT_TRUE(live->Acquire());
      health.OnAttemptStart(live, /*unary=*/true, now_);
      resilience::AttemptResult result;
      result.code = absl::StatusCode::kUnavailable;
      result.local = true;
      health.OnAttemptEnd(live, result, now_);
      live->Release();
    }
    EXPECT_EQ(live->health(), Health::kEjected) << primary;
    EXPECT_GT(at_backups(), primary == 0 ? -1 : 0) << primary;
  }
  EXPECT_EQ(at_backups(), 100);
  health.OnConnected(endpoints_[0].get(), now_);
  EXPECT_GT(at_backups(), 40) << "a third of the primaries carries 47%";
  EXPECT_LT(at_backups(), 65);
}

}  // namespace
}  // namespace mesh::upstream
