#ifndef MESH_GRPC_TIME_H_
#define MESH_GRPC_TIME_H_

#include "absl/time/time.h"
#include "grpc/support/time.h"

namespace mesh::core {

// `deadline` on the monotonic clock, whose time is `now`.
absl::Time ToMonotonic(gpr_timespec deadline, absl::Time now);

// A time of the monotonic clock.
gpr_timespec ToGpr(absl::Time monotonic);

}  // namespace mesh::core

#endif  // MESH_GRPC_TIME_H_
