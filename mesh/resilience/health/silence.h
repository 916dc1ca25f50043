#ifndef MESH_RESILIENCE_HEALTH_SILENCE_H_
#define MESH_RESILIENCE_HEALTH_SILENCE_H_

#include <cstdint>
#include <optional>

#include "mesh/options/health.h"
#include "mesh/resilience/health/record.h"

namespace mesh::resilience {

// The detector of silence. An endpoint is silent when attempts that have begun
// since its last answer wait for longer than the service's calls take. Attempts
// that began before that answer may be calls that take long. They are no
// evidence.

// What was counted for one endpoint.
struct SilenceCounts {
  int32_t unanswered = 0;   // Begun since the last answer, and not answered.
  bool awaited = false;     // Some attempt runs.
  int64_t quiet_since = 0;  // When the second of them began.
};

// What is known of the service.
struct SilencePeers {
  // This process did not run for a while, so what seems silent may have
  // answered.
  bool stalled = false;
  int64_t usual_p99 = 0;   // Latency; 0: unknown.
  int64_t usual_most = 0;  // The slowest of the last minute or two.
};

// Whether an endpoint is silent now. If it is: for how long it was, beyond what
// is allowed, if many waited (HealthRecord::silence). `patience` may decay. A
// function of its arguments.
std::optional<int64_t> FindSilence(const SilenceCounts& counts,
                                   const SilencePeers& peers,
                                   const options::SilenceOptions& options,
                                   int64_t now, SilencePatience* patience);

// An endpoint that was found to be silent at `since`, after `silence`, has
// answered. If it answered soon, there was a call that takes long, or a pause
// of the process. Its allowed silence doubles then.
void LearnPatience(int64_t since, int64_t silence, int64_t now,
                   SilencePatience* patience);

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_SILENCE_H_
