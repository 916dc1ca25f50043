#ifndef MESH_BASE_EVENT_LOOP_H_
#define MESH_BASE_EVENT_LOOP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"
#include "mesh/base/scheduler.h"

namespace mesh::base {

// One thread that runs closures, timers and file descriptor callbacks, one at a
// time. It is the control plane of a Mesh. Closures run in the order of Post().
// Timers run in the order of their times; those already due run in the order in
// which they were set. None of the three kinds starves the others.
//
// All members are thread-safe, except where said. No lock is held while a
// closure runs or is destroyed. After a fork the child's copy does nothing.
class EventLoop final : public Scheduler {
 public:
  // Starts the thread, with the application's signals blocked. Debuggers show
  // it as `name` (15 characters). When the system has no thread left, failure()
  // says so, and the loop behaves like one that has been stopped.
  explicit EventLoop(const char* name);
  // Stops. On the loop's own thread nothing is waited for: the thread ends when
  // what it runs now has returned. So the last reference to the owner of a loop
  // may be dropped anywhere.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Why there is no thread. Empty: there is one.
  const std::string& failure() const { return failure_; }

  // Runs `closure` soon. After Stop() it is destroyed without being run.
  void Post(Closure closure) override;

  // Runs `closure` at `at` (by Clock::Real()) or soon after. That is soon when
  // `at` is past, and never when it is InfiniteFuture. After Stop() it does
  // what Post() does.
  TimerId RunAt(absl::Time at, Closure closure) override;
  // True when the closure has not begun and now never will. On the loop's own
  // thread false means that it has run; elsewhere, that it has begun.
  bool Cancel(TimerId timer) override;

  // Calls `ready(events)` whenever one of the poll(2) `events`, POLLERR or
  // POLLHUP holds for `fd`. There is one watch per descriptor: a second call
  // replaces the first, and `events` 0 ends it. End it before `fd` is closed. A
  // descriptor that is found closed is told POLLNVAL, once. On the loop's
  // thread only.
  void Watch(int fd, short events, std::function<void(short)> ready);

  // Ends the thread when what it runs now has returned, and joins it (not on
  // its own thread). Pending closures are destroyed, on the loop's thread. May
  // be called again, and on several threads.
  void Stop();

  bool OnLoopThread() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // Shared with the thread.
  std::string failure_;         // Constant.
};

}  // namespace mesh::base

#endif  // MESH_BASE_EVENT_LOOP_H_
