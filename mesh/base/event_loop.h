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

// One thread that runs closures, timers and file descriptor callbacks: one at a
// time, closures in the order of Post(), timers in the order of their times
// (those already due in the order in which they were set), and none of the
// three starves the others. The control plane of a Mesh. All members are
// thread-safe, except where said. No lock is held while a closure runs or is
// destroyed. After a fork the child's copy does nothing.
class EventLoop final : public Scheduler {
 public:
  // Starts the thread, with the application's signals blocked. `name` is its
  // name as debuggers show it (15 characters). When the system has no thread
  // left, failure() says so, and the loop is as one that has been stopped.
  explicit EventLoop(const char* name);
  // Stops. On the loop's own thread nothing is waited for: the thread ends when
  // what it runs now has returned. The last reference to what owns a loop may
  // so be dropped anywhere.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Why there is no thread. Empty: there is one.
  const std::string& failure() const { return failure_; }

  // Runs `closure` soon. After Stop() it is destroyed without being run.
  void Post(Closure closure) override;

  // Runs `closure` at `at` (of Clock::Real()) or soon after; soon when that is
  // past, never when it is InfiniteFuture. After Stop() as Post().
  TimerId RunAt(absl::Time at, Closure closure) override;
  // True when the closure has not begun and now never will. On the loop's own
  // thread false means that it has run, elsewhere that it has begun.
  bool Cancel(TimerId timer) override;

  // Calls `ready(events)` whenever one of the poll(2) `events`, POLLERR or
  // POLLHUP holds for `fd`. One watch a descriptor: a second call replaces the
  // first, `events` 0 ends it. End it before `fd` is closed: one found closed
  // is told POLLNVAL, once. On the loop's thread only.
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
