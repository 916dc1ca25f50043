#include "mesh/channel/spare_memory.h"

#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace mesh::channel {
namespace {

struct Small final {
  static void* operator new(size_t size) {
    return SpareMemory<Small>::New(size);
  }
  static void operator delete(void* block) {
    SpareMemory<Small>::Delete(block);
  }
  char bytes[40];
};
struct Big final {
  static void* operator new(size_t size) { return SpareMemory<Big>::New(size); }
  static void operator delete(void* block) { SpareMemory<Big>::Delete(block); }
  char bytes[4000];
};

template <typename T>
size_t Kept() {
  return SpareMemory<T>::Count();
}
constexpr size_t kMost = SpareMemory<Small>::kMost;

TEST(SpareMemoryTest, TheNextObjectHasTheMemoryOfTheLast) {
  if (kMost == 0) GTEST_SKIP() << "under a sanitizer";
  auto* const first = new Small;
  void* const block = first;
  delete first;
  EXPECT_EQ(Kept<Small>(), 1u);
  auto* const second = new Small;
  EXPECT_EQ(second, block);
  EXPECT_EQ(Kept<Small>(), 0u);
  delete second;
}

TEST(SpareMemoryTest, EachTypeHasItsOwn) {
  if (kMost == 0) GTEST_SKIP() << "under a sanitizer";
  delete new Small;
  const size_t small = Kept<Small>();
  auto* const big = new Big;
  EXPECT_EQ(Kept<Small>(), small) << "no block of another size";
  for (char& byte : big->bytes) byte = 1;
  delete big;
  EXPECT_GE(Kept<Big>(), 1u);
}

TEST(SpareMemoryTest, AThreadKeepsNoMoreThanAFew) {
  std::vector<Small*> all;
  for (size_t i = 0; i < 3 * kMost + 3; ++i) all.push_back(new Small);
  EXPECT_EQ(std::set<Small*>(all.begin(), all.end()).size(), all.size());
  for (Small* one : all) delete one;
  EXPECT_EQ(Kept<Small>(), kMost);
}

TEST(SpareMemoryTest, WhatAnotherThreadMadeIsKeptWhereItEnds) {
  Small* made = nullptr;
  std::thread([&] { made = new Small; }).join();
  while (Kept<Small>() > 0) ::operator delete(new Small);
  delete made;
  EXPECT_EQ(Kept<Small>(), kMost == 0 ? 0u : 1u);
}

// An object that outlives the thread's other variables.
TEST(SpareMemoryTest, ObjectsMayEndAfterTheThreadsMemory) {
  struct Late {
    ~Late() { delete object; }
    Small* object = nullptr;
  };
  std::thread([] {
    static thread_local Late late;  // Destroyed after what is made later.
    late.object = nullptr;
    delete new Small;
    late.object = new Small;
  }).join();
}

}  // namespace
}  // namespace mesh::channel
