#ifndef MESH_SIMULATION_REPLAY_H_
#define MESH_SIMULATION_REPLAY_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mesh::simulation {

// What was played again.
struct ReplayCount {
  // Calls that begin and end in the trace; others are skipped.
  uint64_t calls = 0;
  uint64_t events = 0;  // Their events; each came out the same.
  uint64_t picks = 0;   // Picks that the balancing policy made again.
  // Picks that were taken as they were recorded:
  // - by round robin, which depends on whose turn it is;
  // - from a picker that the trace does not have, or with more than 256
  //   members;
  // - among endpoints of which one was closed at that moment, or whose health
  //   had a say;
  // - of a hedge, where endpoints have localities;
  // - where all endpoints were looked at while other calls changed their loads.
  uint64_t trusted = 0;
  uint64_t refused = 0;  // Calls that a guard refused before they picked.
};

// Plays a trace (call::TraceRecorder::Text()) through the call machine and the
// real balancing policy. It checks that every call is decided as it was: the
// same picks, verdicts, delays and ends at the same times. So the simulator's
// machine is shown to be the one that ran over gRPC.
//
// Some things are taken as they were recorded: what the budget and the guards
// said, which faults were injected, and after how long hedges were due.
// FAILED_PRECONDITION has the first difference. INVALID_ARGUMENT has the line
// when `text` is not a trace.
absl::StatusOr<ReplayCount> Replay(absl::string_view text);

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_REPLAY_H_
