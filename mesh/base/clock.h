#ifndef MESH_BASE_CLOCK_H_
#define MESH_BASE_CLOCK_H_

#include "absl/time/time.h"

namespace mesh::base {

// Where time comes from. Monotonic: it never goes back and is unrelated to the
// wall clock, so its values are only for intervals and deadlines inside this
// process; never compare them with absl::Now(). Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;

  // The machine's steady clock. Lives as long as the process.
  static const Clock& Real();
};

}  // namespace mesh::base

#endif  // MESH_BASE_CLOCK_H_
