#ifndef MESH_RESILIENCE_HEALTH_USUAL_H_
#define MESH_RESILIENCE_HEALTH_USUAL_H_

#include <cstdint>

#include "mesh/resilience/health/ledger.h"

namespace mesh::resilience {

// How long calls of a service usually take, from the ledger's sample, and what
// the ledger needs to know about that. Not thread-safe, except the ledger.
class UsualLatency {
 public:
  // Some endpoint has answered so many more.
  void AddAnswers(uint32_t answers) { answers_ += answers; }
  // Looks at the sample, at most ten times a second.
  void Refresh(int64_t now, AttemptLedger* ledger);

  // Nanoseconds. 0: not known yet. Afterwards it keeps the last known value.
  int64_t p99() const { return p99_; }
  // The slowest answer before those that the ledger knows, or 0.
  int64_t slowest_before() const { return slowest_before_; }

 private:
  int64_t refreshed_ = 0;
  int64_t p99_ = 0;
  int64_t slowest_before_ = 0;
  int64_t slowest_since_ = 0;
  uint32_t answers_ = 0;  // Since the last refresh.
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_USUAL_H_
