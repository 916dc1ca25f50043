#include "mesh/call/trace.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/cluster/live_endpoint.h"

namespace mesh::call {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

telemetry::CallStartEvent Began() {
  telemetry::CallStartEvent event;
  event.time = absl::FromUnixNanos(5);
  event.policy.max_attempts = 3;
  event.policy.retryable =
      1u << static_cast<int>(absl::StatusCode::kUnavailable) | 1u << 31;
  event.policy.initial_backoff = absl::Milliseconds(25);
  event.policy.max_backoff = absl::Seconds(1);
  event.policy.backoff_multiplier = 2;
  event.policy.max_hedged_attempts = 2;
  event.idempotent = true;
  return event;
}

TEST(TraceRecorderTest, WritesALineAnEventWithAllThatItWasMadeFrom) {
  TraceRecorder recorder;
  cluster::Endpoint described;
  described.address = "10.0.0.1:80";
  const auto endpoint = std::make_shared<cluster::LiveEndpoint>(described);
  endpoint->set_readiness(cluster::Readiness::kReady);
  const telemetry::PickerEvent::Member member = {endpoint->View(), 3, 0};
  telemetry::PickerEvent picker;
  picker.service = "cart";
  picker.time = absl::FromUnixNanos(1);
  picker.picker = &recorder;  // Any identity.
  picker.members = absl::MakeConstSpan(&member, 1);
  recorder.OnPicker(picker);

  telemetry::CallInfo call;
  call.service = "cart";
  call.method = "/shop.Cart/Get";
  recorder.OnCallStart(call, Began());
  telemetry::PickEvent pick;
  pick.time = absl::FromUnixNanos(6);
  pick.endpoint = endpoint->View();
  pick.candidates = 1;
  pick.candidate[0] = endpoint->View();
  pick.candidate[0].in_flight = 4;
  pick.endpoints = cluster::ViewsOf(absl::MakeConstSpan(&endpoint, 1));
  pick.random_state = 0xbeef;
  pick.picker = picker.picker;
  recorder.OnPick(call, pick);
  telemetry::CallEvent end;
  end.end = absl::FromUnixNanos(9);
  end.attempts = 1;
  recorder.OnCallEnd(call, end);

  EXPECT_EQ(
      recorder.Text(),
      "mesh-trace version=1 balancing=least_request\n"
      "picker id=1 t=1 service=cart members=10.0.0.1:80=3=0=ready\n"
      "call id=1 t=5 service=cart method=/shop.Cart/Get deadline=never "
      "idempotent=1 wait_for_ready=0 replayable=0 unary=1 max_attempts=3 "
      "codes=16384 "
      "initial_backoff=25000000 max_backoff=1000000000 backoff_multiplier=2 "
      "attempt_timeout=never hedging=off hedging_max_attempts=2\n"
      "pick id=1 t=6 reason=first attempt=1 result=used endpoint=10.0.0.1:80 "
      "random=beef candidates=10.0.0.1:80=4 | picker=1 "
      "members=10.0.0.1:80=4=ready\n"
      "end id=1 t=9 code=0 attempts=1\n");
}

TEST(TraceRecorderTest, LeavesOutCallsWhoseBeginningItHasNotSeen) {
  TraceRecorder recorder;
  const std::string before = recorder.Text();
  const telemetry::CallInfo call;
  recorder.OnPick(call, {});
  recorder.OnRetryDecision(call, {});
  recorder.OnCallEnd(call, {});
  EXPECT_EQ(recorder.Text(), before);
}

TEST(TraceRecorderTest, WhenItIsFullItFinishesTheCallsThatHaveBegun) {
  TraceRecorder recorder(options::BalancingPolicy::kRoundRobin, 100);
  EXPECT_THAT(recorder.Text(), HasSubstr("balancing=round_robin"));
  const telemetry::CallInfo first, second;
  recorder.OnCallStart(first, Began());
  recorder.OnCallStart(second, Began());
  recorder.OnCallEnd(first, {});
  recorder.OnCallEnd(second, {});
  EXPECT_THAT(recorder.Text(), HasSubstr("end id=1 "));
  EXPECT_THAT(recorder.Text(), Not(HasSubstr("id=2 ")));
}

TEST(TraceRecorderTest, NamesMayHaveAnyCharacters) {
  const std::string name = "unix:/a b,c=d|e%f\n\xc3\xa4";
  const std::string escaped = trace::Escape(name);
  EXPECT_THAT(escaped, StartsWith("unix:/a%20b%2cc%3dd%7ce%25f%0a"));
  EXPECT_EQ(trace::Unescape(escaped), name);
  EXPECT_EQ(trace::Unescape("%"), "%");
  EXPECT_EQ(trace::Unescape("%zz"), "%zz");
}

}  // namespace
}  // namespace mesh::call
