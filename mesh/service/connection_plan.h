#ifndef MESH_SERVICE_CONNECTION_PLAN_H_
#define MESH_SERVICE_CONNECTION_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mesh/cluster/health.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/options/endpoints.h"

// Whom to connect to, and whose connection to close: pure, from values.

namespace mesh::service {

// One connection of an endpoint.
struct ConnectionState {
  uint64_t generation = 0;
  cluster::Readiness readiness = cluster::Readiness::kIdle;
  int64_t in_flight = 0;  // Attempts.
  // Evidence of silence: unary attempts that have begun since the last answer,
  // and when the second of them began (nanoseconds of the monotonic clock).
  uint32_t unanswered = 0;
  int64_t quiet_since = 0;
};

// An endpoint that discovery names.
struct EndpointState {
  cluster::Readiness readiness = cluster::Readiness::kIdle;
  cluster::Health health = cluster::Health::kHealthy;
  absl::InlinedVector<ConnectionState, 1> connections;  // Empty: not dialled.
};

// One that it does not name any more.
struct RetiredState {
  bool drained = false;  // No attempt runs, and none begins.
  absl::Time cut_off_at;
};

// By their index.
struct ConnectionPlan {
  std::vector<size_t> dial;     // Of the endpoints. They are idle.
  std::vector<size_t> close;    // Of the retired ones. They are drained.
  std::vector<size_t> cut_off;  // Of the retired ones: end their streams.
};

// `endpoints` come in the order in which this process prefers them; `wanted`:
// somebody waits for a connection. The rule: connections to the first `ahead`
// endpoints that do not fail, in their order, and to one at least where one is
// wanted. A retired endpoint is closed when it is drained; until then its
// streams are ended again and again once its time is over.
ConnectionPlan PlanConnections(absl::Span<const EndpointState> endpoints,
                               absl::Span<const RetiredState> retired,
                               const options::ConnectionOptions& options,
                               bool wanted, absl::Time now);

}  // namespace mesh::service

#endif  // MESH_SERVICE_CONNECTION_PLAN_H_
