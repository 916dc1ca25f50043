#ifndef MESH_SIMULATION_CALL_STATE_H_
#define MESH_SIMULATION_CALL_STATE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "mesh/call/call_machine.h"
#include "mesh/simulation/events.h"
#include "mesh/telemetry/observer.h"

namespace mesh::simulation {

class SimulatedEndpoint;

// An attempt that runs, and the part of the network that it occupies.
struct Attempt {
  int number = 0;
  uint16_t token = 0;  // Tells its events from those of others.
  bool at_server = false;
  bool queued = false;
  bool deadline_armed = false;
  bool committed = false;
  uint32_t server = 0;
  SimulatedEndpoint* endpoint = nullptr;  // The client's view of it.
  int64_t connected = 0;  // When the connection that it runs over was made.
  int64_t network = 0;    // There and back.
  int64_t deadline = kNever;
  int64_t served_at = kNever;  // When the server is done, once that is known.
};

// One logical call.
struct CallState : telemetry::CallInfo {
  std::optional<call::CallMachine> machine;
  uint32_t slot = 0;
  uint32_t client = 0;
  uint32_t load = 0;
  // The index of the load's request. kNone: the load has no kinds of requests.
  uint32_t request = kNone;
  uint32_t execution = kNone;  // The execution that makes it.
  // How many events and queues still refer to the slot. It is used again when
  // the call has ended and this is 0, so late events find the right call.
  int references = 0;
  int ends = 0;  // How often OnCallEnd() came.
  absl::StatusCode code = absl::StatusCode::kOk;
  int64_t started = 0;
  int64_t deadline_at = kNever;
  int64_t rests_until = 0;  // The end of its backoff.
  int64_t timer_at = kNever;
  uint16_t last_token = 0;
  absl::InlinedVector<Attempt, 2> attempts;  // Those that run.

  // For Invariants: endpoints of the attempts of this round, and that of the
  // attempt that was the last to end.
  absl::InlinedVector<const SimulatedEndpoint*, 4> round;
  const SimulatedEndpoint* last_ended = nullptr;
  bool last_never_sent = false;  // No server has seen that attempt.
  bool replayable = false;       // Its request can be sent again.

  Attempt* Find(uint16_t token) {
    for (Attempt& attempt : attempts) {
      if (attempt.token == token) return &attempt;
    }
    return nullptr;
  }

  // The call that an event names.
  static CallState& Of(const telemetry::CallInfo& info) {
    return const_cast<CallState&>(static_cast<const CallState&>(info));
  }
};

// Things in slots that are used again. They never move.
template <typename T>
class Slots {
 public:
  T& operator[](uint32_t slot) { return all_[slot]; }
  const T& operator[](uint32_t slot) const { return all_[slot]; }
  auto begin() { return all_.begin(); }
  auto end() { return all_.end(); }
  uint32_t size() const { return static_cast<uint32_t>(all_.size()); }

  // A free slot, with what was left in it.
  uint32_t Take() {
    if (free_.empty()) {
      all_.emplace_back();
      return static_cast<uint32_t>(all_.size() - 1);
    }
    const uint32_t slot = free_.back();
    free_.pop_back();
    return slot;
  }
  void Free(uint32_t slot) { free_.push_back(slot); }

 private:
  std::deque<T> all_;
  std::vector<uint32_t> free_;
};

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_CALL_STATE_H_
