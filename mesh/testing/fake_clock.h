#ifndef MESH_TESTING_FAKE_CLOCK_H_
#define MESH_TESTING_FAKE_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"

namespace mesh::testing {

// A clock that a test moves. It stands still otherwise. Thread-safe.
class FakeClock final : public base::Clock {
 public:
  // An arbitrary time by default, unlike the epoch and the real clock's.
  explicit FakeClock(absl::Time now = absl::UnixEpoch() + absl::Hours(1000))
      : now_(now) {}

  absl::Time Now() const override {
    base::MutexLock lock(&mu_);
    return now_;
  }
  void Advance(absl::Duration by) {
    base::MutexLock lock(&mu_);
    now_ += by;
  }
  void Set(absl::Time now) {
    base::MutexLock lock(&mu_);
    now_ = now;
  }

 private:
  mutable base::Mutex mu_;
  absl::Time now_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::testing

#endif  // MESH_TESTING_FAKE_CLOCK_H_
