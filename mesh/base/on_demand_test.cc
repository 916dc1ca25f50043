#include "mesh/base/on_demand.h"

#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace mesh::base {
namespace {

struct Counted {
  static std::atomic<int> alive;
  Counted() { alive.fetch_add(1); }
  ~Counted() { alive.fetch_sub(1); }
  std::atomic<int> value{0};
};
std::atomic<int> Counted::alive{0};

TEST(OnDemandTest, IsMadeWhenItIsFirstAskedForAndEndsWithItsOwner) {
  {
    OnDemand<Counted> slot;
    EXPECT_EQ(slot.Find(), nullptr);
    EXPECT_EQ(Counted::alive.load(), 0);
    Counted& made = slot.Get();
    EXPECT_EQ(&slot.Get(), &made);
    EXPECT_EQ(slot.Find(), &made);
    EXPECT_EQ(Counted::alive.load(), 1);
  }
  EXPECT_EQ(Counted::alive.load(), 0);
}

TEST(OnDemandTest, IsMadeOfWhatTheFirstOneGives) {
  OnDemand<std::pair<std::string, int>> slot;
  EXPECT_EQ(slot.Get("one", 1), std::make_pair(std::string("one"), 1));
  EXPECT_EQ(slot.Get("two", 2), std::make_pair(std::string("one"), 1));
}

TEST(OnDemandTest, AllThreadsGetTheSame) {
  OnDemand<Counted> slot;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] { slot.Get().value.fetch_add(1); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(slot.Get().value.load(), 8);
  EXPECT_EQ(Counted::alive.load(), 1);
}

}  // namespace
}  // namespace mesh::base
