#include "mesh/service/live_streams.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/service/service_test_util.h"

namespace mesh::service {
namespace {

struct Ended {
  const void* call;
  grpc_status_code status;
};

// What the streams of a test were ended with, in order.
std::vector<Ended>* ended = nullptr;
// What happens while one is ended, as gRPC may do anything then.
std::function<void()>* on_end = nullptr;

void NoteEnd(grpc_call* call, grpc_status_code status, const char*) {
  ended->push_back({call, status});
  if (on_end != nullptr && *on_end) (*on_end)();
}

class FakeStream final : public LiveStream {
 public:
  explicit FakeStream(const cluster::LiveEndpoint* on = nullptr) : on_(on) {}

  // A grpc_call that is only compared.
  grpc_call* call() { return reinterpret_cast<grpc_call*>(this); }

  grpc_call* RefIfOn(const cluster::LiveEndpoint* endpoint) override {
    ++asked;
    if (when_asked) when_asked();
    return endpoint == on_ ? call() : nullptr;
  }
  absl::Time CheckIdle(absl::Time now, grpc_call** idle) override {
    asked_at.push_back(now);
    if (when_asked) when_asked();
    if (is_idle) *idle = call();
    return again == absl::InfiniteDuration() ? absl::InfiniteFuture()
                                             : now + again;
  }

  std::atomic<int> asked{0};
  std::vector<absl::Time> asked_at;
  bool is_idle = false;
  absl::Duration again = absl::Seconds(1);
  std::function<void()> when_asked;

 private:
  const cluster::LiveEndpoint* const on_;
};

class LiveStreamsTest : public ::testing::Test {
 protected:
  LiveStreamsTest() {
    ended = &ended_;
    on_end = &on_end_;
  }
  ~LiveStreamsTest() override {
    ended = nullptr;
    on_end = nullptr;
  }

  absl::Time In(int seconds) {
    return control_.clock.Now() + absl::Seconds(seconds);
  }

  FakeControl control_;
  std::vector<Ended> ended_;
  std::function<void()> on_end_;
  cluster::LiveEndpoint here_{cluster::Endpoint()};
  cluster::LiveEndpoint there_{cluster::Endpoint()};
  LiveStreams streams_{control_.scheduler, &control_.clock, NoteEnd};
};

// --- Cut off

TEST_F(LiveStreamsTest, CutsOffTheStreamsOfOneEndpoint) {
  FakeStream stays(&here_);
  FakeStream goes(&there_);
  FakeStream waits;
  streams_.Add(&stays);
  streams_.Add(&goes);
  streams_.Add(&waits);
  streams_.CutOff(&there_);
  ASSERT_EQ(ended_.size(), 1);
  EXPECT_EQ(ended_[0].call, goes.call());
  EXPECT_EQ(ended_[0].status, GRPC_STATUS_UNAVAILABLE);
  EXPECT_EQ(stays.asked + goes.asked + waits.asked, 3);
}

TEST_F(LiveStreamsTest, CutsOffAgainWhatHasNotEnded) {
  FakeStream stream(&there_);
  streams_.Add(&stream);
  streams_.CutOff(&there_);
  streams_.CutOff(&there_);
  EXPECT_EQ(ended_.size(), 2);
}

TEST_F(LiveStreamsTest, DoesNotAskAStreamThatWasRemoved) {
  FakeStream stream(&there_);
  streams_.Add(&stream);
  streams_.Remove(&stream);
  streams_.Remove(&stream);  // As often as anyone likes.
  streams_.CutOff(&there_);
  EXPECT_EQ(stream.asked, 0);
  EXPECT_TRUE(ended_.empty());
}

TEST_F(LiveStreamsTest, AStreamMayBeRemovedWhileAnotherIsCutOff) {
  FakeStream streams[2] = {FakeStream(&there_), FakeStream(&there_)};
  for (FakeStream& stream : streams) streams_.Add(&stream);
  // No lock is held: whichever is asked first, the other goes.
  for (int i = 0; i < 2; ++i) {
    streams[i].when_asked = [this, &streams, i] {
      streams_.Remove(&streams[1 - i]);
    };
  }
  streams_.CutOff(&there_);
  EXPECT_EQ(streams[0].asked + streams[1].asked, 1);
  EXPECT_EQ(ended_.size(), 1);
}

TEST_F(LiveStreamsTest, AStreamMayBeRemovedByItsOwnEnd) {
  FakeStream stream(&there_);
  streams_.Add(&stream);
  on_end_ = [&] { streams_.Remove(&stream); };
  streams_.CutOff(&there_);
  streams_.CutOff(&there_);
  EXPECT_EQ(ended_.size(), 1);
}

TEST_F(LiveStreamsTest, AStreamThatTakesTheAddressOfAnotherIsNotMistaken) {
  FakeStream streams[2] = {FakeStream(&there_), FakeStream(&there_)};
  for (FakeStream& stream : streams) streams_.Add(&stream);
  for (int i = 0; i < 2; ++i) {
    streams[i].when_asked = [this, &streams, i] {
      streams_.Remove(&streams[1 - i]);
      streams_.Add(&streams[1 - i]);
    };
  }
  streams_.CutOff(&there_);
  EXPECT_EQ(ended_.size(), 1) << "the new one is for the next time";
}

TEST_F(LiveStreamsTest, RemoveWaitsForAnAnswer) {
  FakeStream stream(&there_);
  streams_.Add(&stream);
  std::atomic<bool> begun{false};
  std::atomic<bool> removed{false};
  std::thread remover;
  stream.when_asked = [&] {
    remover = std::thread([&] {
      begun = true;
      streams_.Remove(&stream);
      removed = true;
    });
    while (!begun) std::this_thread::yield();
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
    EXPECT_FALSE(removed);
  };
  streams_.CutOff(&there_);
  remover.join();
  EXPECT_TRUE(removed);
  EXPECT_EQ(ended_.size(), 1) << "its answer was a reference of its own";
  stream.when_asked = nullptr;
  streams_.CutOff(&there_);
  EXPECT_EQ(stream.asked, 1);
}

// Streams that come and go on other threads while they are asked: none is asked
// when it is gone. The sanitizers see to it.
TEST_F(LiveStreamsTest, StreamsComeAndGoWhileTheyAreAsked) {
  std::atomic<int> running{3};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([this, &running] {
      for (int round = 0; round < 300; ++round) {
        auto one = std::make_unique<FakeStream>(&there_);
        auto two = std::make_unique<FakeStream>(&here_);
        streams_.Add(one.get());
        streams_.Add(two.get());
        streams_.WatchIdle(one.get(), absl::InfinitePast());
        streams_.Remove(one.get());
        one.reset();
        streams_.Remove(two.get());
      }
      --running;
    });
  }
  while (running > 0) {
    streams_.CutOff(&there_);
    control_.loop.Run();
  }
  for (std::thread& thread : threads) thread.join();
  control_.loop.Run();
  EXPECT_EQ(control_.loop.timers(), 0);
}

// --- Idle

TEST_F(LiveStreamsTest, AsksWhetherAStreamIsIdleWhenItSays) {
  FakeStream stream;
  stream.again = absl::Seconds(3);
  streams_.Add(&stream);
  const absl::Time start = control_.clock.Now();
  streams_.WatchIdle(&stream, In(2));
  control_.loop.Advance(absl::Seconds(9));
  EXPECT_EQ(stream.asked_at,
            (std::vector<absl::Time>{start + absl::Seconds(2),
                                     start + absl::Seconds(5),
                                     start + absl::Seconds(8)}));
  EXPECT_TRUE(ended_.empty());
}

TEST_F(LiveStreamsTest, EndsAStreamThatIsIdle) {
  FakeStream stream;
  stream.is_idle = true;
  streams_.Add(&stream);
  streams_.WatchIdle(&stream, In(1));
  control_.loop.Advance(absl::Seconds(1));
  ASSERT_EQ(ended_.size(), 1);
  EXPECT_EQ(ended_[0].call, stream.call());
  EXPECT_EQ(ended_[0].status, GRPC_STATUS_DEADLINE_EXCEEDED);
  EXPECT_EQ(control_.loop.timers(), 1) << "it is asked until it is removed";
}

TEST_F(LiveStreamsTest, AsksNoMoreWhenThereIsNoNextTime) {
  FakeStream stream;
  stream.again = absl::InfiniteDuration();
  streams_.Add(&stream);
  streams_.WatchIdle(&stream, In(1));
  control_.loop.Advance(absl::Minutes(1));
  EXPECT_EQ(stream.asked_at.size(), 1);
}

TEST_F(LiveStreamsTest, AStreamThatIsRemovedIsNotWatched) {
  FakeStream stream;
  streams_.WatchIdle(&stream, In(1));  // Not yet there.
  EXPECT_EQ(control_.loop.timers(), 0);
  streams_.Add(&stream);
  streams_.WatchIdle(&stream, In(1));
  EXPECT_EQ(control_.loop.timers(), 1);
  streams_.Remove(&stream);
  EXPECT_EQ(control_.loop.timers(), 0);
  control_.loop.Advance(absl::Minutes(1));
  EXPECT_TRUE(stream.asked_at.empty());
}

TEST_F(LiveStreamsTest, AnIdleStreamMayBeRemovedByItsEnd) {
  FakeStream stream;
  stream.is_idle = true;
  streams_.Add(&stream);
  streams_.WatchIdle(&stream, In(1));
  on_end_ = [&] { streams_.Remove(&stream); };
  control_.loop.Advance(absl::Minutes(1));
  EXPECT_EQ(ended_.size(), 1);
  EXPECT_EQ(control_.loop.timers(), 0);
}

TEST_F(LiveStreamsTest, AStreamMayBeRemovedBeforeItsTimerIsKnown) {
  const auto interrupted =
      std::make_shared<InterruptedScheduler>(control_.scheduler.get());
  LiveStreams streams(interrupted, &control_.clock, NoteEnd);
  FakeStream stream;
  streams.Add(&stream);
  interrupted->between = [&] { streams.Remove(&stream); };
  streams.WatchIdle(&stream, In(1));
  EXPECT_EQ(control_.loop.timers(), 0);
}

TEST_F(LiveStreamsTest, AStreamMayBeAskedBeforeItsTimerIsKnown) {
  const auto interrupted =
      std::make_shared<InterruptedScheduler>(control_.scheduler.get());
  LiveStreams streams(interrupted, &control_.clock, NoteEnd);
  FakeStream stream;
  streams.Add(&stream);
  interrupted->between = [&] { control_.loop.Run(); };
  streams.WatchIdle(&stream, In(0));
  EXPECT_EQ(stream.asked_at.size(), 1);
  EXPECT_EQ(control_.loop.timers(), 1) << "of the next time";
  streams.Remove(&stream);
  EXPECT_EQ(control_.loop.timers(), 0);
}

TEST_F(LiveStreamsTest, AWatchIsNotOfTheNextStreamAtItsAddress) {
  const auto interrupted =
      std::make_shared<InterruptedScheduler>(control_.scheduler.get());
  LiveStreams streams(interrupted, &control_.clock, NoteEnd);
  FakeStream stream;
  streams.Add(&stream);
  interrupted->between = [&] {
    streams.Remove(&stream);
    streams.Add(&stream);
  };
  streams.WatchIdle(&stream, In(1));
  control_.loop.Advance(absl::Minutes(1));
  EXPECT_TRUE(stream.asked_at.empty());
}

TEST_F(LiveStreamsTest, IdleAndCutOffAtOnceEndItTwice) {
  // gRPC keeps the first.
  FakeStream stream(&there_);
  stream.is_idle = true;
  streams_.Add(&stream);
  streams_.WatchIdle(&stream, In(1));
  control_.loop.Post([&] { streams_.CutOff(&there_); });
  control_.loop.Advance(absl::Seconds(1));
  ASSERT_EQ(ended_.size(), 2);
  EXPECT_EQ(ended_[0].status, GRPC_STATUS_UNAVAILABLE);
  EXPECT_EQ(ended_[1].status, GRPC_STATUS_DEADLINE_EXCEEDED);
}

TEST_F(LiveStreamsTest, NobodyIsAskedWhenTheServiceIsGone) {
  FakeStream stream;
  streams_.Add(&stream);
  streams_.WatchIdle(&stream, In(1));
  control_.owner.reset();
  control_.loop.Advance(absl::Seconds(2));
  EXPECT_TRUE(stream.asked_at.empty());
}

}  // namespace
}  // namespace mesh::service
