#include "mesh/simulation/event_queue.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/base/random.h"

namespace mesh::simulation {
namespace {

TEST(EventQueueTest, GivesEventsByTimeAndThoseOfOneTimeAsTheyCame) {
  base::Random random(3);
  EventQueue queue;
  std::vector<std::pair<int64_t, uint32_t>> expected, popped;
  int64_t now = 0;
  for (uint32_t i = 0; i < 20'000; ++i) {
    if (random.Below(3) != 0 || queue.empty()) {
      Event event;
      event.time = now + random.Below(50);
      event.a = i;
      queue.Push(event);
      expected.emplace_back(event.time, i);
    } else {
      const Event event = queue.Pop();
      ASSERT_GE(event.time, now);
      now = event.time;
      popped.emplace_back(event.time, event.a);
    }
  }
  while (!queue.empty()) {
    const Event event = queue.Pop();
    popped.emplace_back(event.time, event.a);
  }
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(popped, expected);
}

}  // namespace
}  // namespace mesh::simulation
