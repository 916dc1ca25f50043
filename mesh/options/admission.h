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
  // Of a method: what it shares its tokens with. Empty: nothing. Not
  // configured: methods that no stub has registered share (mesh/channel).
  std::string bucket;
};

struct CapsOptions {  // 0: no bound.
  Mode mode = Mode::kEnforce;
  int max_calls = 10000;  // Streams only until their answers begin.
  int max_calls_per_endpoint = 0;
  int max_waiting = 10000;
  int max_retries = 1000;
  int max_streams = 0;
};

struct BreakerOptions {
  Mode mode = Mode::kObserve;
  double failure_rate = 0.5;
  absl::Duration slow_call = absl::InfiniteDuration();
  double slow_call_rate = 0.9;
  absl::Duration window = absl::Seconds(10);
  int min_calls = 20;
  absl::Duration open_for = absl::Seconds(1);
  int probes = 3;
};

struct ThrottleOptions {
  Mode mode = Mode::kObserve;
  double k = 2;
  absl::Duration window = absl::Seconds(30);
  int min_calls = 50;
};

struct AdaptiveConcurrencyOptions {
  enum class Algorithm : uint8_t { kGradient, kAimd };
  Mode mode = Mode::kObserve;
  Algorithm algorithm = Algorithm::kGradient;
  int initial_limit = 100;
  int min_limit = 4;
  int max_limit = 10000;
  double latency_factor = 2;
};

}  // namespace mesh::options

#endif  // MESH_OPTIONS_ADMISSION_H_
