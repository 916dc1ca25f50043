#ifndef MESH_RESILIENCE_FAILURES_H_
#define MESH_RESILIENCE_FAILURES_H_

#include "absl/status/status.h"
#include "mesh/options/retry.h"

namespace mesh::resilience {

// The codes that tell of a service that is ill, for the breaker, as
// mesh/v1/config.proto promises. Any other one is an answer.
inline constexpr options::StatusCodeSet kFailures =
    options::StatusCodeSet::Of(absl::StatusCode::kUnavailable)
        .With(absl::StatusCode::kDeadlineExceeded)
        .With(absl::StatusCode::kInternal)
        .With(absl::StatusCode::kUnknown)
        .With(absl::StatusCode::kDataLoss)
        .With(absl::StatusCode::kResourceExhausted);

// Those that tell of one endpoint. RESOURCE_EXHAUSTED does not: it is load, or
// the quota of one tenant.
inline constexpr options::StatusCodeSet kEndpointFailures =
    options::StatusCodeSet::Of(absl::StatusCode::kUnavailable)
        .With(absl::StatusCode::kDeadlineExceeded)
        .With(absl::StatusCode::kInternal)
        .With(absl::StatusCode::kUnknown)
        .With(absl::StatusCode::kDataLoss);

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_FAILURES_H_
