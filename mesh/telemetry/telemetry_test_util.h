// The metrics of one service, for the tests of those who read them.

#ifndef MESH_TELEMETRY_TELEMETRY_TEST_UTIL_H_
#define MESH_TELEMETRY_TELEMETRY_TEST_UTIL_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mesh/telemetry/metrics.h"

namespace mesh::telemetry {

inline constexpr absl::Time kStart = absl::UnixEpoch();

inline cluster::LiveEndpointPtr MakeEndpoint(const std::string& address) {
  cluster::Endpoint endpoint;
  endpoint.address = address;
  return std::make_shared<cluster::LiveEndpoint>(std::move(endpoint));
}

// The metrics of one service, fed as the call machine feeds them.
class TelemetryTest : public testing::Test {
 protected:
  CallInfo Call(const std::string& method, bool registered = true) {
    CallInfo call;
    call.service = "cart";
    call.method = method;
    call.slot = metrics_.Method(method, registered);
    call.start = kStart;
    return call;
  }

  void EndAttempt(const CallInfo& call,
                  AttemptReason reason = AttemptReason::kFirst,
                  absl::StatusCode code = absl::StatusCode::kOk,
                  bool never_sent = false, bool given_up = false) {
    AttemptEvent event;
    event.reason = reason;
    event.endpoint = endpoint_->View();
    event.code = code;
    event.never_sent = never_sent;
    event.given_up = given_up;
    endpoint_->mutable_counters().CountEnd(code, never_sent);
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

  void Refuse(base::Guard guard, bool observed) {
    RefusalEvent event;
    event.guard = guard;
    event.observed = observed;
    metrics_.OnRefusal(CallInfo(), event);
  }

  void ChangeHealth(cluster::Health to, cluster::HealthCause cause,
                    bool observed = false) {
    HealthEvent event;
    event.service = "cart";
    event.endpoint = endpoint_->View();
    event.to = to;
    event.cause = cause;
    event.observed = observed;
    metrics_.OnHealth(event);
  }

  void Probe(ProbeEvent::Stage stage) {
    ProbeEvent event;
    event.stage = stage;
    event.endpoint = endpoint_->View();
    metrics_.OnProbe(event);
  }

  ServiceSnapshot Take() {
    return metrics_.Snapshot({endpoint_}, /*max_endpoints=*/10);
  }

  ServiceMetrics metrics_{"cart", /*max_methods=*/3};
  const cluster::LiveEndpointPtr endpoint_ = MakeEndpoint("10.0.0.1:80");
};

}  // namespace mesh::telemetry

#endif  // MESH_TELEMETRY_TELEMETRY_TEST_UTIL_H_
