#include "mesh/base/snapshot_slot.h"

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/base/mutex.h"

namespace mesh::base {
namespace {

// A snapshot that counts how many of its kind are alive.
struct Snapshot {
  Snapshot(int value, std::atomic<int>* alive) : value(value), alive(alive) {
    alive->fetch_add(1);
  }
  ~Snapshot() { alive->fetch_sub(1); }
  const int value;
  std::atomic<int>* const alive;
};

class SnapshotSlotTest : public testing::Test {
 protected:
  std::shared_ptr<const Snapshot> Make(int value) {
    return std::make_shared<const Snapshot>(value, &alive_);
  }

  std::atomic<int> alive_{0};
};

// A thread that runs one closure after another, and idles in between.
class Worker {
 public:
  ~Worker() {
    Run(nullptr);
    thread_.join();
  }
  // Returns when it has run. Null ends the thread.
  void Run(std::function<void()> closure) {
    MutexLock lock(&mu_);
    closure_ = std::move(closure);
    pending_ = true;
    changed_.SignalAll();
    while (pending_) changed_.Wait(&mu_);
  }

 private:
  void Main() {
    MutexLock lock(&mu_);
    for (bool more = true; more;) {
      while (!pending_) changed_.Wait(&mu_);
      more = closure_ != nullptr;
      if (more) closure_();
      closure_ = nullptr;
      pending_ = false;
      changed_.SignalAll();
    }
  }

  Mutex mu_;
  CondVar changed_;
  std::function<void()> closure_;
  bool pending_ = false;
  std::thread thread_{[this] { Main(); }};
};

TEST_F(SnapshotSlotTest, GivesTheNewestSnapshot) {
  SnapshotSlot<Snapshot> slot;
  EXPECT_EQ(slot.Get(), nullptr);
  slot.Set(Make(1));
  EXPECT_EQ(slot.Get()->value, 1);
  EXPECT_EQ(slot.Get()->value, 1);
  slot.Set(Make(2));
  EXPECT_EQ(slot.Get()->value, 2);
  slot.Set(nullptr);
  EXPECT_EQ(slot.Get(), nullptr);
  EXPECT_EQ(alive_, 0);
}

TEST_F(SnapshotSlotTest, BeginsWithTheSnapshotItIsMadeWith) {
  SnapshotSlot<Snapshot> slot(Make(7));
  EXPECT_EQ(slot.Get()->value, 7);
}

TEST_F(SnapshotSlotTest, ManySlotsAreToldApart) {
  std::vector<std::unique_ptr<SnapshotSlot<Snapshot>>> slots;
  for (int i = 0; i < 5000; ++i) {
    slots.push_back(std::make_unique<SnapshotSlot<Snapshot>>(Make(i)));
  }
  const std::shared_ptr<const Snapshot>& first = slots[0]->Get();
  for (int i = 4999; i >= 0; --i) ASSERT_EQ(slots[i]->Get()->value, i);
  EXPECT_EQ(&first, &slots[0]->Get())
      << "a reference survives reads of other slots";
  slots.clear();
  EXPECT_EQ(alive_, 0);
}

TEST_F(SnapshotSlotTest, ReadingTakesNoReferences) {
  SnapshotSlot<Snapshot> slot(Make(1));
  const long held = slot.Get().use_count();
  for (int i = 0; i < 10; ++i) ASSERT_EQ(slot.Get().use_count(), held);
  EXPECT_EQ(held, 2) << "the slot's and this thread's";
}

TEST_F(SnapshotSlotTest, AnIdleThreadHoldsOnlyWhatItReadLast) {
  SnapshotSlot<Snapshot> slot(Make(1));
  Worker worker;
  worker.Run([&] { slot.Get(); });
  for (int i = 2; i < 10; ++i) {
    slot.Set(Make(i));
    slot.Get();
  }
  EXPECT_EQ(alive_, 2) << "the current one, and the idle thread's";
  worker.Run([&] { EXPECT_EQ(slot.Get()->value, 9); });
  EXPECT_EQ(alive_, 1);
}

TEST_F(SnapshotSlotTest, ADestroyedSlotTakesBackWhatIdleThreadsHold) {
  auto slot = std::make_unique<SnapshotSlot<Snapshot>>(Make(1));
  Worker worker;
  worker.Run([&] { slot->Get(); });
  slot->Get();
  slot.reset();
  EXPECT_EQ(alive_, 0);
}

TEST_F(SnapshotSlotTest, AThreadThatEndsLetsGo) {
  SnapshotSlot<Snapshot> slot(Make(1));
  std::thread([&] { slot.Get(); }).join();
  slot.Set(nullptr);
  EXPECT_EQ(alive_, 0);
}

TEST_F(SnapshotSlotTest, ASlotInThePlaceOfADestroyedOneIsNotMistakenForIt) {
  Worker worker;
  for (int i = 0; i < 100; ++i) {
    SnapshotSlot<Snapshot> slot(Make(i));
    EXPECT_EQ(slot.Get()->value, i);
    worker.Run([&] { EXPECT_EQ(slot.Get()->value, i); });
  }
  EXPECT_EQ(alive_, 0);
}

// Reads `slot` when it is destroyed.
struct ReadsWhenDestroyed {
  SnapshotSlot<Snapshot>* slot;
  int* seen;
  ~ReadsWhenDestroyed() { *seen = slot->Get()->value; }
};

TEST_F(SnapshotSlotTest, CanBeReadWhileAThreadEnds) {
  SnapshotSlot<Snapshot> slot(Make(3));
  int seen = 0;
  std::thread([&] {
    thread_local ReadsWhenDestroyed reader{&slot, &seen};
    slot.Get();
    reader.slot = &slot;
  }).join();
  EXPECT_EQ(seen, 3);
  slot.Set(nullptr);
  EXPECT_EQ(alive_, 0);
}

// A snapshot whose destructor reads the slot that it was in.
struct Reentrant {
  SnapshotSlot<Reentrant>* slot;
  int* destroyed;
  ~Reentrant() {
    ++*destroyed;
    if (slot != nullptr) slot->Get();
  }
};

TEST(SnapshotSlotReentryTest, ASnapshotMayReadTheSlotThatLetsItGo) {
  int destroyed = 0;
  {
    SnapshotSlot<Reentrant> slot;
    slot.Set(std::make_shared<const Reentrant>(Reentrant{nullptr, &destroyed}));
    slot.Get();
    destroyed = 0;
    auto reading = std::make_shared<Reentrant>();
    reading->slot = &slot;
    reading->destroyed = &destroyed;
    slot.Set(std::move(reading));
    slot.Get();
    EXPECT_EQ(destroyed, 1);
    auto plain = std::make_shared<Reentrant>();
    plain->slot = nullptr;
    plain->destroyed = &destroyed;
    slot.Set(std::move(plain));
    EXPECT_EQ(slot.Get()->slot, nullptr);
    EXPECT_EQ(destroyed, 2);
  }
  EXPECT_EQ(destroyed, 3);
}

// The sanitizers' part.
TEST_F(SnapshotSlotTest, ReadersSeeSnapshotsInOrderWhileOthersComeAndGo) {
  constexpr int kLast = 2000;
  {
    SnapshotSlot<Snapshot> slot(Make(0));
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        int seen = 0;
        while (seen < kLast) {
          const int value = slot.Get()->value;
          ASSERT_GE(value, seen);
          seen = value;
        }
      });
    }
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        SnapshotSlot<Snapshot> other(Make(i));
        std::thread([&] { EXPECT_EQ(other.Get()->value, i); }).join();
      }
    });
    for (int i = 1; i <= kLast; ++i) slot.Set(Make(i));
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(alive_, 0);
}

}  // namespace
}  // namespace mesh::base
