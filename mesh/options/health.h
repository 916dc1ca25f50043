#ifndef MESH_OPTIONS_HEALTH_H_
#define MESH_OPTIONS_HEALTH_H_

#include <string>

#include "absl/time/time.h"
#include "mesh/options/mode.h"

// How endpoints that do worse than others are found and left out.

namespace mesh::options {

struct OutlierEjectionOptions {
  Mode mode = Mode::kEnforce;
  absl::Duration interval = absl::Seconds(1);  // That slowness must last.
  absl::Duration base_ejection_time = absl::Seconds(30);
  absl::Duration max_ejection_time = absl::Seconds(300);
  int max_ejection_percent = 30;
  int panic_threshold_percent = 50;
  int consecutive_local_failures = 5;  // Of connections. 0: never.
  struct Latency {
    bool enabled = true;
    double factor = 3;
    absl::Duration min_difference = absl::Milliseconds(5);
    // Without effect, as below.
    int minimum_hosts = 2;
    int request_volume = 5;
  } latency;
  // A trial ejects an endpoint that is like the others with this chance at
  // most. Not in the configuration.
  double trial_error = 1e-6;

  // Without effect: the trial has replaced what these set.
  int consecutive_failures = 10;
  int consecutive_gateway_failures = 5;
  struct SuccessRate {
    bool enabled = true;
    int stdev_factor = 1900;  // Thousandths.
    int minimum_hosts = 5;
    int request_volume = 100;
  } success_rate;
  struct FailurePercentage {
    bool enabled = true;
    int threshold = 85;
    int minimum_hosts = 3;
    int request_volume = 50;
  } failure_percentage;
};

struct BlackHoleOptions {
  Mode mode = Mode::kEnforce;
  absl::Duration min_silence = absl::Milliseconds(50);
  double latency_factor = 3;
  std::string probe_method = "/grpc.health.v1.Health/Check";
  absl::Duration ramp = absl::Seconds(1);
  absl::Duration keepalive_time = absl::InfiniteDuration();  // None.
  absl::Duration keepalive_timeout = absl::Seconds(20);
};

}  // namespace mesh::options

#endif  // MESH_OPTIONS_HEALTH_H_
