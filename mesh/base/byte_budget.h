#ifndef MESH_BASE_BYTE_BUDGET_H_
#define MESH_BASE_BYTE_BUDGET_H_

#include <atomic>
#include <cstdint>

namespace mesh::base {

// A number of bytes that several owners may hold together. Thread-safe.
class ByteBudget {
 public:
  explicit ByteBudget(uint64_t limit) : limit_(limit) {}
  ByteBudget(const ByteBudget&) = delete;
  ByteBudget& operator=(const ByteBudget&) = delete;

  // Takes all of `bytes`, or none if that would be too many.
  bool Take(uint64_t bytes) {
    const uint64_t limit = limit_.load(std::memory_order_relaxed);
    uint64_t used = used_.load(std::memory_order_relaxed);
    do {
      if (bytes > limit || used > limit - bytes) return false;
    } while (!used_.compare_exchange_weak(used, used + bytes,
                                          std::memory_order_relaxed));
    return true;
  }
  void Return(uint64_t bytes) {
    used_.fetch_sub(bytes, std::memory_order_relaxed);
  }
  // What is held already stays held.
  void SetLimit(uint64_t limit) {
    limit_.store(limit, std::memory_order_relaxed);
  }
  uint64_t used() const { return used_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> limit_;
  std::atomic<uint64_t> used_{0};
};

}  // namespace mesh::base

#endif  // MESH_BASE_BYTE_BUDGET_H_
