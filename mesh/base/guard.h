#ifndef MESH_BASE_GUARD_H_
#define MESH_BASE_GUARD_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace mesh::base {

// The policies that may keep a call, or an attempt of one, from being made.
// Counters and events name them so.
enum class Guard : uint8_t {
  kMaxCalls,             // caps.max_calls
  kMaxCallsPerEndpoint,  // caps.max_calls_per_endpoint
  kMaxWaiting,           // caps.max_waiting
  kMaxStreams,           // caps.max_streams
  kBreaker,
  kThrottle,
  kAdaptiveConcurrency,
  kRateLimit,
  kFault,
};
inline constexpr int kGuards = 9;
// As in metrics: "max_calls", "breaker".
absl::string_view NameOf(Guard guard);

}  // namespace mesh::base

#endif  // MESH_BASE_GUARD_H_
