#ifndef MESH_RESILIENCE_FAILURES_H_
#define MESH_RESILIENCE_FAILURES_H_

#include "absl/status/status.h"
#include "mesh/options/retry.h"

namespace mesh::resilience {

// The codes that tell of an ill service, for the breaker, as
// mesh/v1/config.proto promises. Any other code is an answer.
inline constexpr options::StatusCodeSet kFailures =
    options::StatusCodeSet::Of(absl::StatusCode::kUnavailable)
        .With(absl::StatusCode::kDeadlineExceeded)
        .With(absl::StatusCode::kInternal)
        .With(absl::StatusCode::kUnknown)
        .With(absl::StatusCode::kDataLoss)
        .With(absl::StatusCode::kResourceExhausted);

// The codes that tell of an ill endpoint. RESOURCE_EXHAUSTED is not among them:
// it tells of load, or of the quota of one tenant.
inline constexpr options::StatusCodeSet kEndpointFailures =
    options::StatusCodeSet::Of(absl::StatusCode::kUnavailable)
        .With(absl::StatusCode::kDeadlineExceeded)
        .With(absl::StatusCode::kInternal)
        .With(absl::StatusCode::kUnknown)
        .With(absl::StatusCode::kDataLoss);

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_FAILURES_H_
