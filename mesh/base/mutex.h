#ifndef MESH_BASE_MUTEX_H_
#define MESH_BASE_MUTEX_H_

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

// The project's locks: the standard library's, with Abseil's annotations. They
// are no absl::Mutex, which Debian's Abseil watches for deadlocks. That watch
// costs some 900 instructions per lock, and half a KiB for each mutex that was
// ever locked. ThreadSanitizer finds what the watch would find.

namespace mesh::base {

class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mu_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mu_.unlock(); }
  bool TryLock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) {
    return mu_.try_lock();
  }
  void AssertHeld() const ABSL_ASSERT_EXCLUSIVE_LOCK() {}

 private:
  friend class CondVar;
  std::mutex mu_;
};

class CondVar {
 public:
  void Wait(Mutex* mu) {
    std::unique_lock<std::mutex> lock(mu->mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // Returns true when the time ran out. `at_most` may be infinite.
  bool WaitWithTimeout(Mutex* mu, absl::Duration at_most) {
    if (at_most == absl::InfiniteDuration()) return Wait(mu), false;
    std::unique_lock<std::mutex> lock(mu->mu_, std::adopt_lock);
    const bool late = cv_.wait_for(lock, absl::ToChronoNanoseconds(std::min(
                                             at_most, absl::Hours(24)))) ==
                      std::cv_status::timeout;
    lock.release();
    return late;
  }
  void Signal() { cv_.notify_one(); }
  void SignalAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mu) ABSL_EXCLUSIVE_LOCK_FUNCTION(mu) : mu_(mu) {
    mu_->Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mu_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mu_;
};

}  // namespace mesh::base

#endif  // MESH_BASE_MUTEX_H_
