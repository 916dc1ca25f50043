#ifndef MESH_BASE_MUTEX_H_
#define MESH_BASE_MUTEX_H_

#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

// The project's mutexes. Their interface is the part that absl::Mutex and
// std::mutex both have: no conditions as predicates (Await), only CondVar.

namespace mesh::base {

// For what belongs to one call, which is locked many times in its life. It is
// held for a moment, and no other lock is taken inside of it. So Abseil's watch
// for deadlocks, which costs more than all that stands in such a section
// (Debian's Abseil has it on: some 900 instructions a lock), has nothing to
// find.
class ABSL_LOCKABLE LeafMutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mu_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mu_.unlock(); }
  bool TryLock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) {
    return mu_.try_lock();
  }
  void AssertHeld() const ABSL_ASSERT_EXCLUSIVE_LOCK() {}

 private:
  friend class LeafCondVar;
  std::mutex mu_;
};

class LeafCondVar {
 public:
  void Wait(LeafMutex* mu) {
    std::unique_lock<std::mutex> lock(mu->mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // True when the time ran out. `at_most` may be infinite.
  bool WaitWithTimeout(LeafMutex* mu, absl::Duration at_most) {
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

// For all else: absl::Mutex, but under ThreadSanitizer a std::mutex. The
// system's Abseil is not instrumented, so the sanitizer cannot see what an
// absl::Mutex orders; it sees pthread's.
#if defined(MESH_TSAN)

using Mutex = LeafMutex;
using CondVar = LeafCondVar;

#else

using Mutex = absl::Mutex;
using CondVar = absl::CondVar;

#endif

template <typename AnyMutex>
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(AnyMutex* mu) ABSL_EXCLUSIVE_LOCK_FUNCTION(mu) : mu_(mu) {
    mu_->Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mu_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  AnyMutex* const mu_;
};

}  // namespace mesh::base

#endif  // MESH_BASE_MUTEX_H_
