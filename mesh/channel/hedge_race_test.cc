#include "mesh/channel/hedge_race.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/balancing/picker.h"
#include "mesh/base/random.h"
#include "mesh/grpc/core_queue.h"
#include "mesh/grpc/fake_core.h"
#include "mesh/testing/fake_clock.h"
#include "mesh/testing/fake_loop.h"

namespace mesh::channel {
namespace {

using call::Action;

class FirstUntried final : public balancing::Picker {
 public:
  explicit FirstUntried(const std::vector<cluster::LiveEndpointPtr>& endpoints)
      : endpoints_(endpoints) {}
  balancing::PickResult Pick(const balancing::PickArgs& args) const override {
    balancing::PickResult result;
    result.kind = balancing::PickResult::Kind::kUse;
    for (const auto& endpoint : endpoints_) {
      result.endpoint = endpoint.get();
      if (std::find(args.tried.begin(), args.tried.end(), endpoint.get()) ==
          args.tried.end()) {
        break;
      }
    }
    EXPECT_TRUE(result.endpoint->Acquire());
    return result;
  }

 private:
  const std::vector<cluster::LiveEndpointPtr>& endpoints_;
};

std::vector<cluster::LiveEndpointPtr> ThreeEndpoints() {
  std::vector<cluster::LiveEndpointPtr> endpoints;
  for (const char* address : {"a", "b", "c"}) {
    cluster::Endpoint endpoint;
    endpoint.address = address;
    endpoints.push_back(std::make_shared<cluster::LiveEndpoint>(endpoint));
  }
  return endpoints;
}

options::MethodOptions Hedged(int attempts) {
  options::MethodOptions policy;
  policy.hedging.mode = options::Mode::kEnforce;
  policy.hedging.delay = absl::Milliseconds(10);
  policy.hedging.max_attempts = attempts;
  policy.retry.max_attempts = attempts;
  return policy;
}

options::RetryBudgetOptions Plenty() {
  options::RetryBudgetOptions budget;
  budget.min_per_second = 1e6;
  return budget;
}

// A call whose native attempt is a number of its own, and whose hedges are
// calls of the fake core.
class Call final : public HedgeRace::Host {
 public:
  // What is delivered in the end.
  enum class End { kNone, kNative, kAnswer, kFailed };

  explicit Call(int attempts = 3)
      : policy_(Hedged(attempts)), machine_(Plan(), &info_) {
    info_.service = "test";
    info_.method = "/test/Method";
    info_.start = clock_.Now();
    race = std::make_shared<HedgeRace>(this, &machine_, &loop_);
    const Action action = machine_.Start(MomentOfRace());
    EXPECT_EQ(action.kind, Action::Kind::kStartAttempt);
    StartNative(action);
    race->OnRequest();
  }

  ~Call() {
    race->Detach();
    if (native_ != nullptr) grpc_call_unref(native_);
    core_.RunAll();
    race.reset();
    answer.reset();
    loop_.Run();
    if (!machine_.finished()) machine_.Abandon(clock_.Now());
    int64_t in_flight = 0;
    for (const auto& endpoint : endpoints_) in_flight += endpoint->in_flight();
    EXPECT_EQ(in_flight, 0);
    EXPECT_EQ(core_.live(), 0u);
  }

  // --- Events

  // The native attempt ends, as the application's batches tell.
  void NativeEnds(grpc::StatusCode code) {
    if (!native_runs_) return;
    native_runs_ = false;
    native_status_ = code == grpc::StatusCode::OK
                         ? grpc::Status()
                         : grpc::Status(code, "native");
    race->OnNativeDone(&native_status_);
  }
  void HedgeEnds(grpc_status_code code) {
    for (size_t i = 0; i < core_.calls(); ++i) {
      core::FakeCall& hedge = core_.call(i);
      if (hedge.ended() || hedge.path() != "/hedge") {
        continue;
      }
      if (code == GRPC_STATUS_OK) {
        hedge.Answer("hedge");
      } else {
        hedge.End(code, "hedge");
      }
      break;
    }
    core_.RunAll();
  }
  void TimePasses() { loop_.Advance(absl::Milliseconds(11)); }
  void Cancel() {
    race->OnCancelled();
    if (native_ != nullptr) grpc_call_cancel(native_, nullptr);
    loop_.Run();
  }
  bool Commit() { return race->TryCommit(); }
  // Something of its answer has come.
  void CommitIfNativeRuns() {
    if (native_runs_ && !NativeCancelled()) Commit();
  }

  // What a cancelled native attempt brings, and timers that the machine waits
  // for outside of the race, until nothing is left.
  void RunOut() {
    for (int i = 0; i < 20 && end == End::kNone; ++i) {
      core_.RunAll();
      loop_.Advance(absl::Seconds(1));
      if (parked_until_.has_value()) {
        parked_until_.reset();
        const auto action = machine_.OnTimer(MomentOfRace());
        if (action.has_value()) GoOn(*action, nullptr);
        continue;
      }
      if (native_runs_ && NativeCancelled()) {
        NativeEnds(grpc::StatusCode::CANCELLED);
      } else if (native_runs_) {
        NativeEnds(grpc::StatusCode::OK);
      } else {
        HedgeEnds(GRPC_STATUS_OK);  // The native attempt is parked.
      }
    }
  }

  const grpc::Status& native_status() const { return native_status_; }
  bool NativeCancelled() const { return core_call(native_).cancelled(); }
  size_t hedges() {
    size_t count = 0;
    for (size_t i = 0; i < core_.calls(); ++i) {
      count += core_.call(i).path() == "/hedge" ? 1 : 0;
    }
    return count;
  }
  core::FakeCall& hedge(size_t n) {
    for (size_t i = 0;; ++i) {
      if (core_.call(i).path() == "/hedge" && n-- == 0) return core_.call(i);
    }
  }

  std::shared_ptr<HedgeRace> race;
  End end = End::kNone;
  int ends = 0;
  int natives = 0;
  grpc::Status native_status_;
  std::shared_ptr<core::RawCall> answer;
  absl::Status failure;

 private:
  call::CallPlan Plan() {
    call::CallPlan plan;
    plan.policy = &policy_;
    plan.budget = &budget_;
    plan.idempotent = true;
    plan.replayable = true;
    return plan;
  }

  static const core::FakeCall& core_call(grpc_call* call) {
    return *reinterpret_cast<const core::FakeCall*>(call);
  }

  grpc_call* NewCall(cluster::LiveEndpoint* endpoint, const char* path) {
    return grpc_channel_create_call(
        core_.Channel(endpoint->endpoint().address), nullptr, 0, queue_.queue(),
        grpc_slice_from_static_string(path), nullptr,
        gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
  }
  void StartNative(const Action& action) {
    if (native_ != nullptr) grpc_call_unref(native_);
    native_ = NewCall(action.endpoint, "/native");
    native_runs_ = true;
    ++natives;
    race->OnNativeStart(action, native_);
  }
  void Ended(End how) {
    end = how;
    ++ends;
  }

  // HedgeRace::Host
  call::Moment MomentOfRace() override {
    call::Moment moment;
    moment.now = clock_.Now();
    moment.picker = &picker_;
    moment.random = &random_;
    moment.endpoints = endpoints_;
    return moment;
  }
  call::AttemptOutcome NativeOutcome(const grpc::Status& status,
                                     cluster::LiveEndpoint*) override {
    call::AttemptOutcome outcome;
    outcome.code = static_cast<absl::StatusCode>(status.error_code());
    return outcome;
  }
  call::AttemptOutcome HedgeOutcome(const core::RawAnswer& answer,
                                    cluster::LiveEndpoint*,
                                    absl::Time) override {
    call::AttemptOutcome outcome;
    outcome.code = static_cast<absl::StatusCode>(answer.status.error_code());
    return outcome;
  }
  HedgeRace::NewHedge MakeHedge(const Action& action,
                                int previous_attempts) override {
    HedgeRace::NewHedge hedge;
    hedge.raw =
        std::make_shared<core::RawCall>(NewCall(action.endpoint, "/hedge"));
    hedge.metadata = {{"previous", absl::StrCat(previous_attempts)}};
    const grpc::Slice slice("request");
    hedge.request = grpc::ByteBuffer(&slice, 1);
    return hedge;
  }
  void GoOn(std::optional<Action> action,
            std::shared_ptr<core::RawCall> with) override {
    EXPECT_FALSE(native_runs_) << "its batches are not held";
    if (with != nullptr) {
      answer = std::move(with);
      return Ended(End::kAnswer);
    }
    if (!action.has_value()) return Ended(End::kNative);
    switch (action->kind) {
      case Action::Kind::kStartAttempt:
        return StartNative(*action);
      case Action::Kind::kSetTimer:
      case Action::Kind::kWait:
        parked_until_ = action->at;
        return;
      case Action::Kind::kFinish:
        return Ended(End::kNative);
      case Action::Kind::kFail:
        failure = action->status;
        return Ended(End::kFailed);
      case Action::Kind::kGoOn:
        ADD_FAILURE() << "nothing to go on with";
    }
  }

  core::FakeCore core_;
  core::CoreQueue queue_;
  testing::FakeClock clock_;
  testing::FakeLoop loop_{&clock_};
  base::Random random_{1};
  const std::vector<cluster::LiveEndpointPtr> endpoints_ = ThreeEndpoints();
  const FirstUntried picker_{endpoints_};
  const options::MethodOptions policy_;
  resilience::RetryBudget budget_{Plenty(), absl::UnixEpoch()};
  telemetry::CallInfo info_;
  call::CallMachine machine_;
  grpc_call* native_ = nullptr;
  bool native_runs_ = false;
  std::optional<absl::Time> parked_until_;
};

using End = Call::End;

TEST(HedgeRaceTest, AnAnswerInTimeIsNotHedged) {
  Call call;
  call.NativeEnds(grpc::StatusCode::OK);
  call.TimePasses();
  EXPECT_EQ(call.hedges(), 0u);
  EXPECT_EQ(call.end, End::kNative);
}

TEST(HedgeRaceTest, AHedgeIsSentWhatTheCallSends) {
  Call call;
  call.TimePasses();
  ASSERT_EQ(call.hedges(), 1u);
  EXPECT_EQ(call.hedge(0).sent(), std::vector<std::string>{"request"});
  EXPECT_TRUE(call.hedge(0).closed());
  EXPECT_EQ(call.hedge(0).sent_metadata().find("previous")->second, "1");
  EXPECT_NE(call.hedge(0).channel(), "a") << "elsewhere";
  call.NativeEnds(grpc::StatusCode::OK);
  EXPECT_TRUE(call.hedge(0).cancelled());
  EXPECT_EQ(call.end, End::kNative);
}

TEST(HedgeRaceTest, AHedgeThatWinsCancelsTheNativeAttempt) {
  Call call;
  call.TimePasses();
  call.HedgeEnds(GRPC_STATUS_OK);
  EXPECT_TRUE(call.NativeCancelled());
  EXPECT_EQ(call.end, End::kNone) << "its batches are still out";
  EXPECT_NE(call.race->Winner(), nullptr);
  EXPECT_FALSE(call.Commit());
  call.NativeEnds(grpc::StatusCode::CANCELLED);
  EXPECT_EQ(call.end, End::kAnswer);
  EXPECT_EQ(call.answer, call.race->Winner());
}

TEST(HedgeRaceTest, ANativeAnswerThatCameAllTheSameIsAsGood) {
  Call call;
  call.TimePasses();
  call.HedgeEnds(GRPC_STATUS_OK);
  call.NativeEnds(grpc::StatusCode::OK);
  EXPECT_EQ(call.end, End::kNative);
}

TEST(HedgeRaceTest, ANativeFailureWaitsForTheHedge) {
  Call call(2);
  call.TimePasses();
  call.NativeEnds(grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(call.end, End::kNone);
  call.HedgeEnds(GRPC_STATUS_OK);
  EXPECT_EQ(call.end, End::kAnswer);
}

TEST(HedgeRaceTest, WhenAllFailTheLastOneIsTheCalls) {
  Call call(2);
  call.TimePasses();
  call.NativeEnds(grpc::StatusCode::UNAVAILABLE);
  call.HedgeEnds(GRPC_STATUS_UNAVAILABLE);
  call.RunOut();
  EXPECT_EQ(call.end, End::kAnswer) << "with what the hedge said";
  EXPECT_EQ(call.answer->answer().status.error_message(), "hedge");
}

TEST(HedgeRaceTest, ACommittedCallIsTheNativeAttempts) {
  Call call;
  call.TimePasses();
  EXPECT_TRUE(call.Commit());
  EXPECT_TRUE(call.hedge(0).cancelled());
  call.TimePasses();
  EXPECT_EQ(call.hedges(), 1u) << "no more of them";
  call.NativeEnds(grpc::StatusCode::OK);
  EXPECT_EQ(call.end, End::kNative);
}

TEST(HedgeRaceTest, ACancelWhileTheNativeAttemptIsParked) {
  Call call(2);
  call.TimePasses();
  call.NativeEnds(grpc::StatusCode::UNAVAILABLE);
  call.Cancel();
  EXPECT_TRUE(call.hedge(0).cancelled());
  call.RunOut();
  EXPECT_EQ(call.ends, 1);
}

TEST(HedgeRaceTest, ACancelThatComesJustBeforeTheNativeAttemptFails) {
  Call call(2);
  call.TimePasses();
  call.Cancel();  // The loop has looked: the native attempt was not parked.
  call.NativeEnds(grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(call.hedge(0).cancelled());
  call.RunOut();
  EXPECT_EQ(call.ends, 1);
  EXPECT_EQ(call.native_status().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(HedgeRaceTest, AHedgeThatEndsWhenTheCallIsGoneChangesNothing) {
  for (const grpc_status_code code :
       {GRPC_STATUS_OK, GRPC_STATUS_UNAVAILABLE}) {
    Call call;
    call.TimePasses();
    call.race->Detach();
    EXPECT_TRUE(call.hedge(0).cancelled());
    call.HedgeEnds(code);
    EXPECT_EQ(call.ends, 0);
  }
}

// Any three events in any order: the call ends once, nothing is left over.
enum Event {
  kTime,
  kNativeOk,
  kNativeFails,
  kHedgeOk,
  kHedgeFails,
  kCancel,
  kCommit,
  kEvents,
};

void Happen(Event event, Call* call) {
  switch (event) {
    case kTime:
      return call->TimePasses();
    case kNativeOk:
      return call->NativeEnds(grpc::StatusCode::OK);
    case kNativeFails:
      return call->NativeEnds(grpc::StatusCode::UNAVAILABLE);
    case kHedgeOk:
      return call->HedgeEnds(GRPC_STATUS_OK);
    case kHedgeFails:
      return call->HedgeEnds(GRPC_STATUS_UNAVAILABLE);
    case kCancel:
      return call->Cancel();
    case kCommit:
      call->CommitIfNativeRuns();
      return;
    case kEvents:
      return;
  }
}

TEST(HedgeRaceTest, EveryOrderOfThreeEventsEndsTheCallOnce) {
  for (int first = 0; first < kEvents; ++first) {
    for (int second = 0; second < kEvents; ++second) {
      for (int third = 0; third < kEvents; ++third) {
        for (const int attempts : {2, 3}) {
          SCOPED_TRACE(
              absl::StrCat(first, " ", second, " ", third, " of ", attempts));
          Call call(attempts);
          for (const int event : {first, second, third}) {
            if (call.end == End::kNone) {
              Happen(static_cast<Event>(event), &call);
            }
          }
          call.RunOut();
          EXPECT_EQ(call.ends, 1);
          EXPECT_LE(call.natives + static_cast<int>(call.hedges()), attempts);
        }
      }
    }
  }
}

// A hedge's status with the timer of the next one: whichever comes first.
TEST(HedgeRaceTest, AStatusThatComesWithTheTimer) {
  for (const bool timer_first : {false, true}) {
    for (const grpc_status_code code :
         {GRPC_STATUS_OK, GRPC_STATUS_UNAVAILABLE}) {
      Call call(3);
      call.TimePasses();
      ASSERT_EQ(call.hedges(), 1u);
      if (timer_first) call.TimePasses();
      call.HedgeEnds(code);
      if (!timer_first) call.TimePasses();
      if (code == GRPC_STATUS_OK) {
        EXPECT_TRUE(call.NativeCancelled());
        EXPECT_EQ(call.hedges(), timer_first ? 2u : 1u);
        if (timer_first) {
          EXPECT_TRUE(call.hedge(1).cancelled());
        }
      }
      call.RunOut();
      EXPECT_EQ(call.ends, 1);
    }
  }
}

}  // namespace
}  // namespace mesh::channel
