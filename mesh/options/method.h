#ifndef MESH_OPTIONS_METHOD_H_
#define MESH_OPTIONS_METHOD_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mesh/options/admission.h"
#include "mesh/options/mode.h"
#include "mesh/options/retry.h"

namespace mesh::options {

struct FaultOptions {
  Mode mode = Mode::kOff;
  double abort_share = 0;  // 0..1
  absl::StatusCode abort_code = absl::StatusCode::kUnavailable;
  double delay_share = 0;  // 0..1
  absl::Duration delay;
  bool by_header = false;
};

// The policy of one method, all that is absent taken from the wider ones.
struct MethodOptions {
  absl::Duration timeout = absl::InfiniteDuration();
  std::optional<bool> idempotent;      // Empty: what the .proto says.
  std::optional<bool> wait_for_ready;  // Empty: what the call says.
  RetryOptions retry;
  HedgingOptions hedging;
  RateLimitOptions rate_limit;
  FaultOptions fault;
  absl::Duration idle_timeout = absl::InfiniteDuration();
};

}  // namespace mesh::options

#endif  // MESH_OPTIONS_METHOD_H_
