#ifndef MESH_OPTIONS_ADMISSION_H_
#define MESH_OPTIONS_ADMISSION_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "mesh/options/mode.h"

// The policies that bound what a service is sent.

namespace mesh::options {

struct RateLimitOptions {
  Mode mode = Mode::kOff;
  double per_second = 0;
  double burst = 1;
  // The name under which methods share their tokens. Empty: the method shares
  // with none. Not in the configuration: methods that no stub has registered
  // share one (mesh/channel).
  std::string bucket;
};

struct CapsOptions {  // 0: no bound.
  Mode mode = Mode::kEnforce;
  int max_calls = 10000;  // Streams only until their answers begin.
  int max_calls_per_endpoint = 0;
  int max_waiting = 10000;
  int max_streams = 0;
};

struct BreakerOptions {
  Mode mode = Mode::kObserve;
  double failure_rate = 0.5;
  absl::Duration window = absl::Seconds(10);
  absl::Duration open_for = absl::Seconds(1);
};

struct ThrottleOptions {
  Mode mode = Mode::kObserve;
};

struct AdaptiveConcurrencyOptions {
  Mode mode = Mode::kObserve;
  int min_limit = 4;
  double latency_factor = 2;
};

}  // namespace mesh::options

#endif  // MESH_OPTIONS_ADMISSION_H_
