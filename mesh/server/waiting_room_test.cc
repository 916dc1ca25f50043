#include "mesh/server/waiting_room.h"

#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mesh/testing/fake_clock.h"

namespace mesh::server {
namespace {

TEST(WaitingRoomTest, APeerHasFiveSeconds) {
  testing::FakeClock clock;
  WaitingRoom room(10);
  EXPECT_EQ(room.next(), absl::InfiniteFuture());
  const absl::Time begin = clock.Now();
  EXPECT_EQ(room.Enter(7, begin), -1);
  clock.Advance(absl::Seconds(2));
  EXPECT_EQ(room.Enter(8, clock.Now()), -1);
  EXPECT_EQ(room.next(), begin + absl::Seconds(5));

  clock.Set(begin + absl::Milliseconds(4999));
  EXPECT_TRUE(room.Expire(clock.Now()).empty());
  clock.Set(begin + absl::Seconds(5));
  EXPECT_EQ(room.Expire(clock.Now()), std::vector<int>{7});
  EXPECT_EQ(room.next(), begin + absl::Seconds(7));
  EXPECT_EQ(room.size(), 1u);
}

TEST(WaitingRoomTest, WhoSpeaksLeaves) {
  testing::FakeClock clock;
  WaitingRoom room(10);
  room.Enter(7, clock.Now());
  EXPECT_TRUE(room.Leave(7));
  EXPECT_FALSE(room.Leave(7));
  clock.Advance(absl::Minutes(1));
  EXPECT_TRUE(room.Expire(clock.Now()).empty());
}

TEST(WaitingRoomTest, WhenItIsFullTheOneThatWasSilentForLongestGoes) {
  testing::FakeClock clock;
  WaitingRoom room(2);
  EXPECT_EQ(room.Enter(7, clock.Now()), -1);
  EXPECT_EQ(room.Enter(8, clock.Now()), -1);
  EXPECT_EQ(room.Oldest(), 7);
  EXPECT_EQ(room.oldest_since(), clock.Now());
  EXPECT_EQ(room.Enter(9, clock.Now()), 7);
  EXPECT_EQ(room.Enter(7, clock.Now()), 8) << "the number is another's now";
  EXPECT_EQ(room.size(), 2u);
}

}  // namespace
}  // namespace mesh::server
