#ifndef MESH_SIMULATION_TIMELINE_H_
#define MESH_SIMULATION_TIMELINE_H_

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "mesh/base/random.h"
#include "mesh/simulation/event_queue.h"
#include "mesh/simulation/events.h"
#include "mesh/simulation/simulation.h"

namespace mesh::simulation {

// Virtual time: what moment it is, what is still to happen, and the world's
// random numbers. A seed means a certain order of draws.
class Timeline {
 public:
  explicit Timeline(const Options& options)
      : chaos_(options.chaos), random_(options.seed) {}

  int64_t now() const { return now_; }
  absl::Time Now() const { return TimeAt(now_); }
  base::Random& random() { return random_; }

  // Does nothing beyond the horizon, and says so.
  bool Push(Event event) {
    if (event.time >= kHorizon) return false;
    event.time = std::max(event.time, now_);
    queue_.Push(event);
    return true;
  }
  bool Push(int64_t time, EventKind kind, uint32_t a, uint32_t b = 0) {
    Event event;
    event.time = time;
    event.kind = kind;
    event.a = a;
    event.b = b;
    return Push(event);
  }

  bool over() const { return queue_.empty(); }
  // Goes on to the next event.
  Event Next() {
    const Event event = queue_.Pop();
    now_ = event.time;
    return event;
  }

  // Whether something is to go wrong here, by Options::chaos.
  bool Chaos() { return has_chaos() && random_.Unit() < chaos_; }
  bool has_chaos() const { return chaos_ > 0; }
  int64_t UpTo(absl::Duration most) {
    return static_cast<int64_t>(random_.Unit() *
                                static_cast<double>(Nanoseconds(most)));
  }

 private:
  const double chaos_;
  int64_t now_ = 0;
  base::Random random_;
  EventQueue queue_;
};

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_TIMELINE_H_
