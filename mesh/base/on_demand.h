#ifndef MESH_BASE_ON_DEMAND_H_
#define MESH_BASE_ON_DEMAND_H_

#include <atomic>
#include <memory>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"

namespace mesh::base {

// A T that is made when it is first asked for, for what most objects never
// need. Until then it takes the room of a pointer. Thread-safe; no thread waits
// for another.
template <typename T>
class OnDemand {
 public:
  OnDemand() = default;
  ~OnDemand() { delete made_.load(std::memory_order_relaxed); }
  OnDemand(const OnDemand&) = delete;
  OnDemand& operator=(const OnDemand&) = delete;

  // Null: nobody has called Get() yet.
  T* Find() { return made_.load(std::memory_order_acquire); }
  const T* Find() const { return made_.load(std::memory_order_acquire); }

  // `args`: what it is made of, if it is made now.
  template <typename... Args>
  T& Get(const Args&... args) {
    T* const made = Find();
    return ABSL_PREDICT_TRUE(made != nullptr) ? *made : Make(args...);
  }

 private:
  template <typename... Args>
  ABSL_ATTRIBUTE_NOINLINE T& Make(const Args&... args) {
    auto made = std::make_unique<T>(args...);
    T* expected = nullptr;
    if (made_.compare_exchange_strong(expected, made.get(),
                                      std::memory_order_acq_rel)) {
      return *made.release();
    }
    return *expected;  // Another thread was faster.
  }

  std::atomic<T*> made_{nullptr};
};

}  // namespace mesh::base

#endif  // MESH_BASE_ON_DEMAND_H_
