#include "mesh/base/sharded_counter.h"

#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace mesh::base {
namespace {

TEST(ShardedCounterTest, LosesNothingThatManyThreadsAdd) {
  // Not on the stack, where GCC's address sanitizer aligns less.
  const auto owned = std::make_unique<ShardedCounter>();
  ShardedCounter& counter = *owned;
  std::vector<std::thread> threads;
  for (int t = 0; t < 20; ++t) {  // More than there are shards.
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) counter.Add(i % 2 == 0 ? 3 : -1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.Sum(), 20 * 1000);
}

TEST(ShardedCounterTest, AThreadKeepsItsShard) {
  const size_t shard = ThisShard();
  EXPECT_LT(shard, kShards);
  EXPECT_EQ(ThisShard(), shard);
}

}  // namespace
}  // namespace mesh::base
