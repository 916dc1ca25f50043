#ifndef MESH_RESILIENCE_FAILURES_H_
#define MESH_RESILIENCE_FAILURES_H_

#include "absl/status/status.h"
#include "mesh/options/retry.h"

namespace mesh::resilience {

// The codes that tell of a server or a service that is ill, for outlier
// ejection and the breaker, as mesh/v1/config.proto promises. Any other one is
// an answer.
inline constexpr options::StatusCodeSet kFailures =
    options::StatusCodeSet::Of(absl::StatusCode::kUnavailable)
        .With(absl::StatusCode::kDeadlineExceeded)
        .With(absl::StatusCode::kInternal)
        .With(absl::StatusCode::kUnknown)
        .With(absl::StatusCode::kDataLoss)
        .With(absl::StatusCode::kResourceExhausted);

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_FAILURES_H_
