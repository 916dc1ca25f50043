#ifndef MESH_TESTING_FAKE_LOOP_H_
#define MESH_TESTING_FAKE_LOOP_H_

#include <algorithm>
#include <cstddef>
#include <deque>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "mesh/base/mutex.h"
#include "mesh/base/scheduler.h"
#include "mesh/testing/fake_clock.h"

namespace mesh::testing {

// A scheduler that a test moves, with the time of a FakeClock. Nothing runs
// except inside Run() and Advance(), on the thread that calls them. Closures
// run in the order in which an EventLoop runs them. Posted ones come first,
// then timers by their time. Timers of one time run in the order in which they
// were set. Post(), RunAt() and Cancel() are thread-safe.
class FakeLoop final : public base::Scheduler {
 public:
  // `clock` outlives the loop.
  explicit FakeLoop(FakeClock* clock) : clock_(clock) {}

  void Post(Closure closure) override {
    base::MutexLock lock(&mu_);
    posted_.push_back(std::move(closure));
  }
  TimerId RunAt(absl::Time at, Closure closure) override {
    const absl::Time now = clock_->Now();
    base::MutexLock lock(&mu_);
    const TimerId id = ++last_timer_;
    timers_.emplace(std::make_pair(std::max(at, now), id), std::move(closure));
    return id;
  }
  bool Cancel(TimerId timer) override {
    Closure cancelled;  // Destroyed after the lock is released.
    base::MutexLock lock(&mu_);
    for (auto it = timers_.begin(); it != timers_.end(); ++it) {
      if (it->first.second != timer) continue;
      cancelled = std::move(it->second);
      timers_.erase(it);
      return true;
    }
    return false;
  }

  // Runs what was posted and the timers that are due, until there are none.
  void Run() {
    while (RunOne(clock_->Now())) {
    }
  }
  // Lets `by` pass: each timer that becomes due runs at its own time.
  void Advance(absl::Duration by) {
    const absl::Time until = clock_->Now() + by;
    while (RunOne(until)) {
    }
    clock_->Set(until);
  }
  // Runs the oldest closure that was posted. False: there is none.
  bool RunPosted() {
    Closure closure;
    {
      base::MutexLock lock(&mu_);
      if (posted_.empty()) return false;
      closure = std::move(posted_.front());
      posted_.pop_front();
    }
    closure();
    return true;
  }

  // How much has not run.
  size_t posted() const {
    base::MutexLock lock(&mu_);
    return posted_.size();
  }
  size_t timers() const {
    base::MutexLock lock(&mu_);
    return timers_.size();
  }
  // When the next timer is due. InfiniteFuture: there is none.
  absl::Time next_timer() const {
    base::MutexLock lock(&mu_);
    return timers_.empty() ? absl::InfiniteFuture()
                           : timers_.begin()->first.first;
  }

 private:
  // The first timer due by `until`. The clock is set to its time.
  bool RunOne(absl::Time until) {
    if (RunPosted()) return true;
    Closure closure;
    {
      base::MutexLock lock(&mu_);
      const auto first = timers_.begin();
      if (first == timers_.end() || first->first.first > until) return false;
      if (first->first.first > clock_->Now()) clock_->Set(first->first.first);
      closure = std::move(first->second);
      timers_.erase(first);
    }
    closure();
    return true;
  }

  FakeClock* const clock_;

  mutable base::Mutex mu_;
  std::deque<Closure> posted_ ABSL_GUARDED_BY(mu_);
  std::map<std::pair<absl::Time, TimerId>, Closure> timers_
      ABSL_GUARDED_BY(mu_);
  TimerId last_timer_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace mesh::testing

#endif  // MESH_TESTING_FAKE_LOOP_H_
