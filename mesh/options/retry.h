#ifndef MESH_OPTIONS_RETRY_H_
#define MESH_OPTIONS_RETRY_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mesh/options/mode.h"

// What is sent again, and what beside the first attempt.

namespace mesh::options {

// A set of status codes, bit `1 << code`.
class StatusCodeSet {
 public:
  constexpr StatusCodeSet() = default;
  static constexpr StatusCodeSet Of(absl::StatusCode code) {
    return StatusCodeSet().With(code);
  }
  constexpr StatusCodeSet With(absl::StatusCode code) const {
    StatusCodeSet result = *this;
    result.bits_ |= 1u << static_cast<int>(code);
    return result;
  }
  constexpr bool Contains(absl::StatusCode code) const {
    return static_cast<int>(code) >= 0 && static_cast<int>(code) < 32 &&
           (bits_ >> static_cast<int>(code) & 1) != 0;
  }
  constexpr uint32_t bits() const { return bits_; }
  constexpr bool operator==(StatusCodeSet other) const {
    return bits_ == other.bits_;
  }

 private:
  uint32_t bits_ = 0;
};

struct RetryOptions {
  int max_attempts = 3;  // With the first. 1 is no retry.
  StatusCodeSet codes = StatusCodeSet::Of(absl::StatusCode::kUnavailable);
  absl::Duration initial_backoff = absl::Milliseconds(25);
  absl::Duration max_backoff = absl::Seconds(1);
  double backoff_multiplier = 2;  // Only a gRPC service config has another.
  absl::Duration attempt_timeout = absl::InfiniteDuration();
  uint64_t stream_bytes = 1 << 20;
};

struct HedgingOptions {
  Mode mode = Mode::kOff;
  std::optional<absl::Duration> delay;  // Empty: adaptive.
  int max_attempts = 2;                 // With the first one and with retries.
};

struct RetryBudgetOptions {
  double ratio = 0.05;
  double min_per_second = 5;
};

}  // namespace mesh::options

#endif  // MESH_OPTIONS_RETRY_H_
