#ifndef MESH_SIMULATION_EVENTS_H_
#define MESH_SIMULATION_EVENTS_H_

#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "absl/time/time.h"

// What is to happen, and when. Times are nanoseconds from the simulation's
// start.

namespace mesh::simulation {

inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
// No event comes later than this, so that sums do not overflow.
inline constexpr int64_t kHorizon = int64_t{1} << 61;
// An index that stands for nothing.
inline constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

inline absl::Time TimeAt(int64_t nanoseconds) {
  return nanoseconds == kNever ? absl::InfiniteFuture()
                               : absl::FromUnixNanos(nanoseconds);
}

// The first nanosecond that is not before `time`.
inline int64_t NanosecondOf(absl::Time time) {
  const int64_t result = absl::ToUnixNanos(time);
  return result < kHorizon && absl::FromUnixNanos(result) < time ? result + 1
                                                                 : result;
}

inline int64_t Nanoseconds(absl::Duration duration) {
  return absl::ToInt64Nanoseconds(duration);
}

inline int64_t Later(int64_t time, int64_t by) {
  return by >= kHorizon || time >= kHorizon ? kNever : time + by;
}

// What an event is, and so what its `a` and `b` are.
enum class EventKind : uint8_t {
  // Events of the call `a`, which they refer to.
  kReach,     // b: token. An attempt reaches its server.
  kFirst,     // b: token. The first message of its answer reaches the client.
  kDone,      // b: token. Its answer does.
  kDeadline,  // b: token. Its deadline.
  kLate,      // b: number. Word of an attempt that was cancelled.
  kTimer,     // b: whether it is a stray one. The machine's timer.
  kStray,     // Says that endpoints changed, when nobody waits for it.
  kCancel,    // The caller cancels.
  kAbandon,   // The caller goes away.

  kArrival,     // a: load, b: client. A call begins.
  kServed,      // a: server, b: epoch. A slot is free.
  kBehind,      // a: execution. It calls the tier behind.
  kFault,       // a: fault, b: whether it begins.
  kListed,      // a: server, b: whether it is.
  kSense,       // a: server, b: client. The client notices how the server is.
  kDialled,     // a: server or kNoServer, b: client. A dial that was asked for.
  kLook,        // a: server, b: client. Is another connection wanted?
  kSecond,      // a: dial. Another connection is made, or cannot be.
  kQuiet,       // a: replaced connection. Has it brought nothing?
  kProbeReach,  // a: probe. It reaches its server.
  kProbeDone,   // a: probe, b: whether it was answered.
};

inline bool IsOfCall(EventKind kind) { return kind <= EventKind::kAbandon; }

// How an attempt is answered. Small: each event has room for one.
struct Answer {
  absl::StatusCode code : 8;
  bool never_sent : 1;   // No server has seen the attempt.
  bool committed : 1;    // The caller has seen a part of the answer.
  bool pushed_back : 1;  // The server says: retry after a while...
  bool no_retry : 1;     // ...or not at all.
  bool local : 1;        // The client's side made the status.

  explicit Answer(absl::StatusCode code = absl::StatusCode::kOk)
      : code(code),
        never_sent(false),
        committed(false),
        pushed_back(false),
        no_retry(false),
        local(false) {}
};

// Stands in kDialled when there was no server to dial.
inline constexpr uint32_t kNoServer = ~uint32_t{0};

struct Event {
  int64_t time = 0;
  uint64_t order = 0;  // Set by the queue.
  uint32_t a = 0;
  uint32_t b = 0;
  EventKind kind = EventKind::kTimer;
  Answer answer;  // For kDone.
};
static_assert(sizeof(Event) == 32, "two of them share a cache line");

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_EVENTS_H_
