#ifndef MESH_BASE_SCHEDULER_H_
#define MESH_BASE_SCHEDULER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/time/time.h"

namespace mesh::base {

// Runs closures later, one at a time: posted ones in the order of Post(),
// timers in the order of their times. EventLoop is one with a thread.
// testing::FakeLoop is one that a test moves by hand. Thread-safe. No lock is
// held while a closure runs or is destroyed.
class Scheduler {
 public:
  using Closure = std::function<void()>;
  using TimerId = uint64_t;  // Never 0.

  // Runs `closure` soon, never inside Post().
  virtual void Post(Closure closure) = 0;
  // Runs `closure` at `at` by the scheduler's clock, or soon after. That is
  // soon when `at` is past, and never when it is InfiniteFuture.
  virtual TimerId RunAt(absl::Time at, Closure closure) = 0;
  // True when the closure has not begun and now never will. Where closures run,
  // false means that it has run; elsewhere, that it has begun.
  virtual bool Cancel(TimerId timer) = 0;

 protected:
  ~Scheduler() = default;
};

// Runs closures on another scheduler while an object lives. So parts of the
// object may post closures that point to it. The object is kept alive while a
// closure runs. Once its last reference is gone, Post() and RunAt() do nothing
// (RunAt() returns 0), and closures are destroyed without being run.
// Thread-safe after Bind().
class OwnedScheduler final : public Scheduler {
 public:
  // `scheduler` is used while the owner lives, and inside its destructor.
  explicit OwnedScheduler(Scheduler* scheduler) : scheduler_(scheduler) {}

  // Once, before anything else.
  void Bind(std::weak_ptr<const void> owner) { owner_ = std::move(owner); }

  void Post(Closure closure) override {
    const auto alive = owner_.lock();
    if (alive != nullptr) scheduler_->Post(Guard(std::move(closure)));
  }
  TimerId RunAt(absl::Time at, Closure closure) override {
    const auto alive = owner_.lock();
    if (alive == nullptr) return 0;
    return scheduler_->RunAt(at, Guard(std::move(closure)));
  }
  // Only the owner's parts call it, so `scheduler` still exists.
  bool Cancel(TimerId timer) override { return scheduler_->Cancel(timer); }

 private:
  Closure Guard(Closure closure) const {
    return [owner = owner_, closure = std::move(closure)] {
      if (const auto alive = owner.lock()) closure();
    };
  }

  Scheduler* const scheduler_;
  std::weak_ptr<const void> owner_;
};

}  // namespace mesh::base

#endif  // MESH_BASE_SCHEDULER_H_
