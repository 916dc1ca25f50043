#ifndef MESH_BASE_SHARDED_COUNTER_H_
#define MESH_BASE_SHARDED_COUNTER_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "mesh/base/on_demand.h"

namespace mesh::base {

// This thread's shard, the same for every sharded object in the process.
constexpr size_t kShards = 8;
inline size_t ThisShard() {
  static std::atomic<size_t> next{0};
  thread_local size_t shard = kShards;  // None yet.
  if (shard == kShards) {
    shard = next.fetch_add(1, std::memory_order_relaxed) % kShards;
  }
  return shard;
}

// A count that many threads add to and few read. Adding touches a cache line
// that one in kShards of the other threads shares. The line is made when it is
// first added to. Thread-safe. The sum is not a snapshot of one moment.
class ShardedCounter {
 public:
  void Add(int64_t n) {
    shards_[ThisShard()].Get().value.fetch_add(n, std::memory_order_relaxed);
  }
  int64_t Sum() const {
    int64_t sum = 0;
    for (const OnDemand<Shard>& shard : shards_) {
      const Shard* const made = shard.Find();
      if (made != nullptr) sum += made->value.load(std::memory_order_relaxed);
    }
    return sum;
  }

 private:
  struct alignas(64) Shard {
    std::atomic<int64_t> value{0};
  };
  std::array<OnDemand<Shard>, kShards> shards_;
};

}  // namespace mesh::base

#endif  // MESH_BASE_SHARDED_COUNTER_H_
