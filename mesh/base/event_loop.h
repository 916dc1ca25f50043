#ifndef MESH_BASE_EVENT_LOOP_H_
#define MESH_BASE_EVENT_LOOP_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"

namespace mesh::base {

// One thread that runs closures, timers and file descriptor callbacks, in
// order. The control plane of a Mesh. All members are thread-safe, except
// where said.
class EventLoop {
 public:
  using Closure = std::function<void()>;
  using TimerId = uint64_t;  // Never 0.

  // Starts the thread. `name` is its name as debuggers show it (15 characters).
  explicit EventLoop(const char* name);
  // Stops. On the loop's own thread the thread is left to end by itself and
  // nothing is waited for: the last reference to what owns a loop may be
  // dropped anywhere.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Runs `closure` soon. After Stop() it is destroyed without being run.
  void Post(Closure closure);

  // Runs `closure` at `at` (of Clock::Real()) or soon after.
  TimerId RunAt(absl::Time at, Closure closure);
  // True when the closure has not begun and now never will. On the loop's own
  // thread false means that it has run, elsewhere that it has begun.
  bool Cancel(TimerId timer);

  // Calls `ready(events)` whenever one of the poll(2) `events` holds for `fd`.
  // One watch a descriptor; `events` 0 ends it. On the loop's thread only.
  void Watch(int fd, short events, std::function<void(short)> ready);

  // Ends the thread when what it runs now has returned, and joins it (not on
  // its own thread). Pending closures are destroyed. May be called again.
  void Stop();

  bool OnLoopThread() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // Shared with the thread.
};

}  // namespace mesh::base

#endif  // MESH_BASE_EVENT_LOOP_H_
