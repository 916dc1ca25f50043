#include "mesh/base/guard.h"

namespace mesh::base {

absl::string_view NameOf(Guard guard) {
  switch (guard) {
    case Guard::kMaxCalls:
      return "max_calls";
    case Guard::kMaxCallsPerEndpoint:
      return "max_calls_per_endpoint";
    case Guard::kMaxWaiting:
      return "max_waiting";
    case Guard::kMaxStreams:
      return "max_streams";
    case Guard::kBreaker:
      return "breaker";
    case Guard::kThrottle:
      return "throttle";
    case Guard::kAdaptiveConcurrency:
      return "adaptive_concurrency";
    case Guard::kRateLimit:
      return "rate_limit";
    case Guard::kFault:
      return "fault";
  }
  return "unknown";
}

}  // namespace mesh::base
