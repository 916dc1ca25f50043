#ifndef MESH_CONFIG_OPTION_FIELDS_H_
#define MESH_CONFIG_OPTION_FIELDS_H_

#include "mesh/options/service.h"

// Which member of the options holds which field of the schema. The builder
// reads by these lists, and the tests print by them. VisitFields() calls
// `visit(name, member)` for each field whose value is taken as it is; what is
// computed from several fields (rate limits, faults) is not here.

namespace mesh::config {

template <typename Visit>
void VisitFields(options::TelemetryOptions& o, const Visit& visit) {
  visit("max_methods", o.max_methods);
  visit("max_endpoints", o.max_endpoints);
  visit("max_peers", o.max_peers);
}

template <typename Visit>
void VisitFields(options::IdentityOptions& o, const Visit& visit) {
  visit("start_timeout", o.start_timeout);
  visit("spread", o.spread);
  visit("peer", o.peer);
}

template <typename Visit>
void VisitFields(options::SpiffeSource& o, const Visit& visit) {
  visit("spiffe", o.socket);
  visit("id", o.id);
  visit("hint", o.hint);
}

template <typename Visit>
void VisitFields(options::LimitsOptions& o, const Visit& visit) {
  visit("stream_retry_bytes", o.stream_retry_bytes);
}

template <typename Visit>
void VisitFields(options::DnsOptions& o, const Visit& visit) {
  visit("min_refresh", o.min_refresh);
  visit("max_refresh", o.max_refresh);
}

template <typename Visit>
void VisitFields(options::ConnectionOptions& o, const Visit& visit) {
  visit("ahead", o.ahead);
  visit("connect_timeout", o.connect_timeout);
  visit("initial_backoff", o.initial_backoff);
  visit("max_backoff", o.max_backoff);
  visit("drain_timeout", o.drain_timeout);
  visit("keepalive_time", o.keepalive_time);
  visit("keepalive_timeout", o.keepalive_timeout);
}

template <typename Visit>
void VisitFields(options::RetryBudgetOptions& o, const Visit& visit) {
  visit("ratio", o.ratio);
  visit("min_per_second", o.min_per_second);
}

template <typename Visit>
void VisitFields(options::OutlierEjectionOptions& o, const Visit& visit) {
  visit("mode", o.mode);
  visit("base_ejection_time", o.base_ejection_time);
  visit("max_ejection_percent", o.max_ejection_percent);
  visit("panic_threshold_percent", o.panic_threshold_percent);
  visit("consecutive_local_failures", o.consecutive_local_failures);
  visit("ramp", o.ramp);
}

template <typename Visit>
void VisitFields(options::OutlierEjectionOptions::Latency& o,
                 const Visit& visit) {
  visit("factor", o.factor);
  visit("min_difference", o.min_difference);
  visit("min_duration", o.min_duration);
}

template <typename Visit>
void VisitFields(options::SilenceOptions& o, const Visit& visit) {
  visit("mode", o.mode);
  visit("min_duration", o.min_duration);
  visit("latency_factor", o.latency_factor);
  visit("probe_method", o.probe_method);
}

template <typename Visit>
void VisitFields(options::CapsOptions& o, const Visit& visit) {
  visit("mode", o.mode);
  visit("max_calls", o.max_calls);
  visit("max_calls_per_endpoint", o.max_calls_per_endpoint);
  visit("max_waiting", o.max_waiting);
  visit("max_streams", o.max_streams);
}

template <typename Visit>
void VisitFields(options::BreakerOptions& o, const Visit& visit) {
  visit("mode", o.mode);
  visit("failure_rate", o.failure_rate);
  visit("window", o.window);
  visit("open_for", o.open_for);
}

template <typename Visit>
void VisitFields(options::ThrottleOptions& o, const Visit& visit) {
  visit("mode", o.mode);
}

template <typename Visit>
void VisitFields(options::AdaptiveConcurrencyOptions& o, const Visit& visit) {
  visit("mode", o.mode);
  visit("min_limit", o.min_limit);
  visit("latency_factor", o.latency_factor);
}

template <typename Visit>
void VisitFields(options::MethodOptions& o, const Visit& visit) {
  visit("timeout", o.timeout);
  visit("idempotent", o.idempotent);
  visit("wait_for_ready", o.wait_for_ready);
  visit("idle_timeout", o.idle_timeout);
}

template <typename Visit>
void VisitFields(options::RetryOptions& o, const Visit& visit) {
  visit("max_attempts", o.max_attempts);
  visit("initial_backoff", o.initial_backoff);
  visit("max_backoff", o.max_backoff);
  visit("attempt_timeout", o.attempt_timeout);
  visit("stream_bytes", o.stream_bytes);
}

template <typename Visit>
void VisitFields(options::HedgingOptions& o, const Visit& visit) {
  visit("mode", o.mode);
  visit("delay", o.delay);
  visit("max_attempts", o.max_attempts);
}

}  // namespace mesh::config

#endif  // MESH_CONFIG_OPTION_FIELDS_H_
