#include "mesh/base/scheduler.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/testing/fake_loop.h"

namespace mesh::base {
namespace {

class SchedulerTest : public ::testing::Test {
 protected:
  absl::Time In(int seconds) { return clock_.Now() + absl::Seconds(seconds); }
  Scheduler::Closure Note(int what) {
    return [this, what] { ran_.push_back(what); };
  }

  testing::FakeClock clock_;
  testing::FakeLoop loop_{&clock_};
  std::vector<int> ran_;
};

TEST_F(SchedulerTest, RunsNothingByItself) {
  loop_.Post(Note(1));
  loop_.RunAt(clock_.Now(), Note(2));
  EXPECT_TRUE(ran_.empty());
  EXPECT_EQ(loop_.posted(), 1);
  EXPECT_EQ(loop_.timers(), 1);
  loop_.Run();
  EXPECT_EQ(ran_, (std::vector<int>{1, 2}));
}

TEST_F(SchedulerTest, RunsTimersByTimeAndThenByOrder) {
  loop_.RunAt(In(2), Note(3));
  loop_.RunAt(In(1), Note(1));
  loop_.RunAt(In(1), Note(2));
  loop_.RunAt(In(-1), Note(0));
  loop_.RunAt(absl::InfiniteFuture(), Note(4));
  loop_.Run();
  EXPECT_EQ(ran_, (std::vector<int>{0}));
  loop_.Advance(absl::Seconds(5));
  EXPECT_EQ(ran_, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(loop_.next_timer(), absl::InfiniteFuture());
}

TEST_F(SchedulerTest, ATimerRunsAtItsOwnTimeAndMaySetAnother) {
  std::vector<absl::Time> at;
  loop_.RunAt(In(1), [&] {
    at.push_back(clock_.Now());
    loop_.RunAt(clock_.Now() + absl::Seconds(1),
                [&] { at.push_back(clock_.Now()); });
  });
  const absl::Time start = clock_.Now();
  loop_.Advance(absl::Seconds(3));
  EXPECT_EQ(at, (std::vector<absl::Time>{start + absl::Seconds(1),
                                         start + absl::Seconds(2)}));
  EXPECT_EQ(clock_.Now(), start + absl::Seconds(3));
}

TEST_F(SchedulerTest, ACancelledTimerDoesNotRun) {
  const auto timer = loop_.RunAt(In(1), Note(1));
  EXPECT_TRUE(loop_.Cancel(timer));
  EXPECT_FALSE(loop_.Cancel(timer));
  loop_.Advance(absl::Seconds(2));
  EXPECT_TRUE(ran_.empty());
}

TEST_F(SchedulerTest, AnOwnedOneRunsWhileItsOwnerLives) {
  auto owner = std::make_shared<int>(0);
  OwnedScheduler owned(&loop_);
  owned.Bind(owner);
  owned.Post(Note(1));
  owned.RunAt(In(1), Note(2));
  const auto timer = owned.RunAt(In(1), Note(3));
  EXPECT_TRUE(owned.Cancel(timer));
  loop_.Advance(absl::Seconds(1));
  EXPECT_EQ(ran_, (std::vector<int>{1, 2}));
}

TEST_F(SchedulerTest, AnOwnedOneDoesNothingOnceItsOwnerIsGone) {
  auto owner = std::make_shared<int>(0);
  OwnedScheduler owned(&loop_);
  owned.Bind(owner);
  owned.Post(Note(1));
  owned.RunAt(In(1), Note(2));
  owner.reset();
  owned.Post(Note(3));
  EXPECT_EQ(owned.RunAt(In(1), Note(4)), 0);
  EXPECT_EQ(loop_.posted(), 1);
  loop_.Advance(absl::Seconds(2));
  EXPECT_TRUE(ran_.empty());
}

TEST_F(SchedulerTest, AnOwnerIsKeptWhileAClosureRuns) {
  auto owner = std::make_shared<int>(7);
  OwnedScheduler owned(&loop_);
  owned.Bind(owner);
  const std::weak_ptr<int> weak = owner;
  owned.Post([&] {
    owner.reset();
    EXPECT_FALSE(weak.expired());
  });
  loop_.Run();
  EXPECT_TRUE(weak.expired());
}

}  // namespace
}  // namespace mesh::base
