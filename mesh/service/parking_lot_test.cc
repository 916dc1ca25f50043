#include "mesh/service/parking_lot.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/service/service_test_util.h"

namespace mesh::service {
namespace {

class FakeWaiter final : public Waiter {
 public:
  void OnTimer() override { Note("timer"); }
  void OnEndpointsChanged() override { Note("endpoints"); }
  void OnCancelled() override { Note("cancelled"); }

  std::vector<std::string> wakes;
  std::function<void()> then;  // What it does when it is woken.

 private:
  void Note(std::string wake) {
    wakes.push_back(std::move(wake));
    if (then) then();
  }
};

using Wakes = std::vector<std::string>;

class ParkingLotTest : public ::testing::Test {
 protected:
  // What stands for calls of a server: they are only compared.
  grpc_call* Parent(int number) {
    return reinterpret_cast<grpc_call*>(&parents_[number]);
  }
  ParkingLot::WatchParent Watcher() {
    return [this](grpc_call* parent, std::function<void()> cancelled) {
      if (on_watch_) on_watch_();
      if (cancelled_already_) cancelled();
      ++watches_;
      cancels_[parent] = std::move(cancelled);
      return std::shared_ptr<void>(&watches_, [this](void*) { --watches_; });
    };
  }
  absl::Time In(int seconds) {
    return control_.clock.Now() + absl::Seconds(seconds);
  }
  static constexpr absl::Time Never() { return absl::InfiniteFuture(); }

  FakeControl control_;
  char parents_[4] = {};
  int watches_ = 0;  // Watches that live.
  std::map<grpc_call*, std::function<void()>> cancels_;
  bool cancelled_already_ = false;
  std::function<void()> on_watch_;
  FakeWaiter waiter_;
  ParkingLot lot_{control_.scheduler, Watcher()};
};

TEST_F(ParkingLotTest, WakesAtItsTime) {
  EXPECT_NE(lot_.Park(&waiter_, ParkingLot::Until::kTime, In(2), nullptr), 0);
  control_.loop.Advance(absl::Seconds(1));
  EXPECT_TRUE(waiter_.wakes.empty());
  control_.loop.Advance(absl::Seconds(1));
  EXPECT_EQ(waiter_.wakes, (Wakes{"timer"}));
}

TEST_F(ParkingLotTest, ATimeThatIsPastIsSoonAndNotNow) {
  lot_.Park(&waiter_, ParkingLot::Until::kTime, In(-1), nullptr);
  EXPECT_TRUE(waiter_.wakes.empty());
  control_.loop.Run();
  EXPECT_EQ(waiter_.wakes, (Wakes{"timer"}));
}

TEST_F(ParkingLotTest, WakesForEndpointsWhoWaitsForThem) {
  FakeWaiter backoff;
  lot_.Park(&waiter_, ParkingLot::Until::kEndpoints, Never(), nullptr);
  lot_.Park(&backoff, ParkingLot::Until::kTime, In(1), nullptr);
  lot_.WakeForEndpoints(false);
  EXPECT_EQ(waiter_.wakes, (Wakes{"endpoints"}));
  EXPECT_TRUE(backoff.wakes.empty());
}

TEST_F(ParkingLotTest, WakesForEndpointsTheOldestFirst) {
  std::vector<int> order;
  FakeWaiter waiters[3];
  for (int i = 0; i < 3; ++i) {
    waiters[i].then = [&order, i] { order.push_back(i); };
    lot_.Park(&waiters[i], ParkingLot::Until::kEndpoints, Never(), nullptr);
  }
  lot_.WakeForEndpoints(false);
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

TEST_F(ParkingLotTest, WhoAsksIsNotWokenBeforeItIsHeard) {
  const uint64_t id =
      lot_.Park(&waiter_, ParkingLot::Until::kAsking, Never(), nullptr);
  lot_.WakeForEndpoints(/*also_asking=*/true);
  lot_.WakeAsking();
  EXPECT_TRUE(waiter_.wakes.empty());
  lot_.Heard(id);
  lot_.WakeForEndpoints(/*also_asking=*/false);
  EXPECT_TRUE(waiter_.wakes.empty());
  lot_.WakeForEndpoints(/*also_asking=*/true);
  EXPECT_EQ(waiter_.wakes, (Wakes{"endpoints"}));
  lot_.WakeAsking();
  lot_.Heard(id);  // It is gone.
  EXPECT_EQ(waiter_.wakes, (Wakes{"endpoints"}));
}

TEST_F(ParkingLotTest, WhatIsNotToBeHadWakesWhoAsksAlone) {
  FakeWaiter waits;
  lot_.Park(&waits, ParkingLot::Until::kEndpoints, Never(), nullptr);
  lot_.Heard(lot_.Park(&waiter_, ParkingLot::Until::kAsking, Never(), nullptr));
  lot_.WakeAsking();
  EXPECT_EQ(waiter_.wakes, (Wakes{"endpoints"}));
  EXPECT_TRUE(waits.wakes.empty());
}

TEST_F(ParkingLotTest, CancelOnlyPosts) {
  const uint64_t id =
      lot_.Park(&waiter_, ParkingLot::Until::kEndpoints, In(1), nullptr);
  lot_.Cancel(id);
  EXPECT_TRUE(waiter_.wakes.empty());
  control_.loop.Run();
  EXPECT_EQ(waiter_.wakes, (Wakes{"cancelled"}));
  EXPECT_EQ(control_.loop.timers(), 0);
}

TEST_F(ParkingLotTest, CancellingOneThatWasWokenDoesNothing) {
  const uint64_t id =
      lot_.Park(&waiter_, ParkingLot::Until::kEndpoints, Never(), nullptr);
  lot_.WakeForEndpoints(false);
  lot_.Cancel(id);
  lot_.Cancel(id + 1);  // Never parked.
  control_.loop.Run();
  EXPECT_EQ(waiter_.wakes, (Wakes{"endpoints"}));
}

// All orders of what may wake a call: the first wakes it, and the others find
// it gone.
TEST_F(ParkingLotTest, InAnyOrderTheFirstWakesAndTheOthersDoNot) {
  const Wakes all = {"cancelled", "endpoints", "parent", "timer"};
  Wakes order = all;
  do {
    FakeWaiter waiter;
    const uint64_t id =
        lot_.Park(&waiter, ParkingLot::Until::kEndpoints, In(1), Parent(0));
    for (const std::string& what : order) {
      if (what == "cancelled") lot_.Cancel(id);
      if (what == "endpoints") lot_.WakeForEndpoints(false);
      if (what == "parent") cancels_[Parent(0)]();
      if (what == "timer") control_.loop.Advance(absl::Seconds(1));
      control_.loop.Run();
    }
    const std::string first = order[0] == "parent" ? "cancelled" : order[0];
    EXPECT_EQ(waiter.wakes, (Wakes{first}));
    EXPECT_EQ(watches_, 0);
    EXPECT_EQ(control_.loop.timers(), 0);
  } while (std::next_permutation(order.begin(), order.end()));
}

// The same at one moment: all are due when the loop comes to it.
TEST_F(ParkingLotTest, OfWhatIsDueAtOnceOneWakes) {
  const uint64_t id =
      lot_.Park(&waiter_, ParkingLot::Until::kEndpoints, In(0), Parent(0));
  cancels_[Parent(0)]();
  lot_.Cancel(id);
  control_.loop.Post([this] { lot_.WakeForEndpoints(false); });
  control_.loop.Run();
  EXPECT_EQ(waiter_.wakes, (Wakes{"cancelled"}));
}

TEST_F(ParkingLotTest, WakesWithItsParent) {
  FakeWaiter other;
  lot_.Park(&waiter_, ParkingLot::Until::kTime, In(9), Parent(0));
  lot_.Park(&other, ParkingLot::Until::kTime, In(9), Parent(1));
  EXPECT_EQ(watches_, 2);
  cancels_[Parent(0)]();
  EXPECT_TRUE(waiter_.wakes.empty()) << "not on whatever thread tells";
  control_.loop.Run();
  EXPECT_EQ(waiter_.wakes, (Wakes{"cancelled"}));
  EXPECT_TRUE(other.wakes.empty());
  EXPECT_EQ(watches_, 1);
}

TEST_F(ParkingLotTest, AParentThatIsOverAlreadyWakes) {
  cancelled_already_ = true;
  lot_.Park(&waiter_, ParkingLot::Until::kTime, In(9), Parent(0));
  control_.loop.Run();
  EXPECT_EQ(waiter_.wakes, (Wakes{"cancelled"}));
  EXPECT_EQ(watches_, 0);
  EXPECT_EQ(control_.loop.timers(), 0);
}

TEST_F(ParkingLotTest, TheWatchOfAParentEndsWithAnyWake) {
  lot_.Park(&waiter_, ParkingLot::Until::kEndpoints, In(1), Parent(0));
  EXPECT_EQ(watches_, 1);
  lot_.WakeForEndpoints(false);
  EXPECT_EQ(watches_, 0);
  // A thread that had begun to tell.
  cancels_[Parent(0)]();
  control_.loop.Run();
  EXPECT_EQ(waiter_.wakes, (Wakes{"endpoints"}));
}

TEST_F(ParkingLotTest, OneThatParksAgainWaitsForTheNextChange) {
  waiter_.then = [this] {
    if (waiter_.wakes.size() < 3) {
      lot_.Park(&waiter_, ParkingLot::Until::kEndpoints, Never(), nullptr);
    }
  };
  lot_.Park(&waiter_, ParkingLot::Until::kEndpoints, Never(), nullptr);
  lot_.WakeForEndpoints(false);
  EXPECT_EQ(waiter_.wakes.size(), 1);
  lot_.WakeForEndpoints(false);
  EXPECT_EQ(waiter_.wakes.size(), 2);
}

// No lock is held while a call is woken: it may do to others what it likes.
TEST_F(ParkingLotTest, OneThatIsWokenMayCancelAnother) {
  FakeWaiter other;
  uint64_t id = 0;
  waiter_.then = [&] { lot_.Cancel(id); };
  lot_.Park(&waiter_, ParkingLot::Until::kEndpoints, Never(), nullptr);
  id = lot_.Park(&other, ParkingLot::Until::kTime, In(9), nullptr);
  lot_.WakeForEndpoints(false);
  control_.loop.Run();
  EXPECT_EQ(other.wakes, (Wakes{"cancelled"}));
}

TEST_F(ParkingLotTest, OneThatWakesAnotherOfTheSameRoundWakesItOnce) {
  FakeWaiter other;
  waiter_.then = [this] { lot_.WakeForEndpoints(false); };
  lot_.Park(&waiter_, ParkingLot::Until::kEndpoints, Never(), nullptr);
  lot_.Park(&other, ParkingLot::Until::kEndpoints, Never(), nullptr);
  lot_.WakeForEndpoints(false);
  EXPECT_EQ(other.wakes, (Wakes{"endpoints"}));
}

TEST_F(ParkingLotTest, MayBeWokenByItsTimerBeforeItKnowsTheTimer) {
  const auto interrupted =
      std::make_shared<InterruptedScheduler>(control_.scheduler.get());
  ParkingLot lot(interrupted, Watcher());
  interrupted->between = [this] { control_.loop.Run(); };
  lot.Park(&waiter_, ParkingLot::Until::kEndpoints, In(0), Parent(0));
  EXPECT_EQ(waiter_.wakes, (Wakes{"timer"}));
  EXPECT_EQ(watches_, 0) << "the watch came too late";
}

TEST_F(ParkingLotTest, MayBeWokenByEndpointsBeforeItKnowsTheTimer) {
  const auto interrupted =
      std::make_shared<InterruptedScheduler>(control_.scheduler.get());
  ParkingLot lot(interrupted, Watcher());
  interrupted->between = [&lot] { lot.WakeForEndpoints(false); };
  lot.Park(&waiter_, ParkingLot::Until::kEndpoints, In(1), nullptr);
  EXPECT_EQ(waiter_.wakes, (Wakes{"endpoints"}));
  EXPECT_EQ(control_.loop.timers(), 0) << "the timer came too late";
}

TEST_F(ParkingLotTest, MayBeWokenWhileItsParentIsAskedFor) {
  on_watch_ = [this] { lot_.WakeForEndpoints(false); };
  lot_.Park(&waiter_, ParkingLot::Until::kEndpoints, In(1), Parent(0));
  EXPECT_EQ(waiter_.wakes, (Wakes{"endpoints"}));
  EXPECT_EQ(watches_, 0);
  EXPECT_EQ(control_.loop.timers(), 0);
}

TEST_F(ParkingLotTest, NothingIsWokenWhenTheServiceIsGone) {
  const uint64_t id =
      lot_.Park(&waiter_, ParkingLot::Until::kEndpoints, In(1), Parent(0));
  lot_.Cancel(id);
  control_.owner.reset();
  cancels_[Parent(0)]();
  control_.loop.Advance(absl::Seconds(2));
  EXPECT_TRUE(waiter_.wakes.empty());
}

TEST_F(ParkingLotTest, AParentMayTellWhenTheLotItselfIsGone) {
  std::optional<ParkingLot> lot(std::in_place, control_.scheduler, Watcher());
  lot->Park(&waiter_, ParkingLot::Until::kTime, Never(), Parent(0));
  control_.owner.reset();
  lot.reset();
  EXPECT_EQ(watches_, 0);
  cancels_[Parent(0)]();
  control_.loop.Run();
  EXPECT_TRUE(waiter_.wakes.empty());
}

}  // namespace
}  // namespace mesh::service
