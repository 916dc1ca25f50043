#ifndef MESH_OPTIONS_GUARDS_H_
#define MESH_OPTIONS_GUARDS_H_

#include "mesh/options/admission.h"
#include "mesh/options/health.h"

namespace mesh::options {

// What guards a service as a whole, and its endpoints against each other.
struct GuardOptions {
  OutlierEjectionOptions outlier_ejection;
  SilenceOptions silence;
  CapsOptions caps;
  BreakerOptions breaker;
  ThrottleOptions throttle;
  AdaptiveConcurrencyOptions adaptive_concurrency;
  RateLimitOptions rate_limit;
};

}  // namespace mesh::options

#endif  // MESH_OPTIONS_GUARDS_H_
