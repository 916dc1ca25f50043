#ifndef MESH_RESILIENCE_CAPS_H_
#define MESH_RESILIENCE_CAPS_H_

#include <atomic>
#include <cstdint>

namespace mesh::resilience {

// How many of something are under way, and a bound on it. Thread-safe. Who is
// being refused is counted for that moment, so at the bound one too many may
// be refused, never one too few.
class Cap {
 public:
  // One more. False, and nothing counted, when that is more than `most`.
  bool TryTake(int64_t most) {
    if (Take() <= most) return true;
    Give();
    return false;
  }
  // One more, whatever the bound. How many there are then.
  int64_t Take() { return count_.fetch_add(1, std::memory_order_relaxed) + 1; }
  void Give() { count_.fetch_sub(1, std::memory_order_relaxed); }

  int64_t count() const { return count_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> count_{0};
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_CAPS_H_
