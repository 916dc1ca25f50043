#ifndef MESH_OPTIONS_HEALTH_H_
#define MESH_OPTIONS_HEALTH_H_

#include <string>

#include "absl/time/time.h"
#include "mesh/options/mode.h"

// How endpoints that do worse than others are found and left out.

namespace mesh::options {

struct OutlierEjectionOptions {
  Mode mode = Mode::kEnforce;
  absl::Duration base_ejection_time = absl::Seconds(30);
  int max_ejection_percent = 30;
  int panic_threshold_percent = 50;
  int consecutive_local_failures = 5;  // 0: never.
  absl::Duration ramp = absl::Seconds(1);
  struct Latency {
    double factor = 3;  // 0: no endpoint is ejected for slowness.
    absl::Duration min_difference = absl::Milliseconds(5);
    absl::Duration min_duration = absl::Seconds(1);
  } latency;
  // A trial ejects an endpoint that is like the others with this chance at
  // most. Not in the configuration.
  double trial_error = 1e-6;
};

struct SilenceOptions {
  Mode mode = Mode::kEnforce;
  absl::Duration min_duration = absl::Milliseconds(50);
  double latency_factor = 3;
  std::string probe_method = "/grpc.health.v1.Health/Check";
};

}  // namespace mesh::options

#endif  // MESH_OPTIONS_HEALTH_H_
