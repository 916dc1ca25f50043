#include "mesh/base/event_loop.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/testing/no_threads.h"

namespace mesh::base {
namespace {

// Runs `work` on the loop and waits for it.
void RunOn(EventLoop& loop, std::function<void()> work) {
  std::promise<void> done;
  loop.Post([&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

absl::Time In(absl::Duration duration) {
  return Clock::Real().Now() + duration;
}

// Calls back when it is destroyed, as what a closure captures may.
class OnDestruction {
 public:
  explicit OnDestruction(std::function<void()> call) : call_(std::move(call)) {}
  ~OnDestruction() { call_(); }

 private:
  const std::function<void()> call_;
};

TEST(EventLoopTest, RunsPostedClosuresInOrderOnItsOwnThread) {
  EventLoop loop("test");
  std::vector<int> ran;
  for (int i = 0; i < 100; ++i) {
    loop.Post([&, i] {
      EXPECT_TRUE(loop.OnLoopThread());
      ran.push_back(i);
    });
  }
  RunOn(loop, [] {});
  ASSERT_EQ(ran.size(), 100);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(ran[i], i);
  EXPECT_FALSE(loop.OnLoopThread());
}

TEST(EventLoopTest, ManyThreadsMayPostAndNothingIsLost) {
  EventLoop loop("test");
  int ran = 0;  // On the loop's thread only.
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) loop.Post([&] { ++ran; });
    });
  }
  for (std::thread& thread : threads) thread.join();
  RunOn(loop, [&] { EXPECT_EQ(ran, 4000); });
}

TEST(EventLoopTest, RunsTimersInTheOrderOfTheirTimes) {
  EventLoop loop("test");
  std::promise<void> done;
  std::string ran;
  RunOn(loop, [&] {
    const absl::Time now = Clock::Real().Now();
    loop.RunAt(now + absl::Milliseconds(30), [&] {
      ran += "d";
      done.set_value();
    });
    loop.RunAt(now + absl::Milliseconds(20), [&] { ran += "b"; });
    loop.RunAt(now + absl::Milliseconds(20), [&] { ran += "c"; });
    loop.RunAt(now + absl::Milliseconds(10), [&] { ran += "a"; });
  });
  done.get_future().wait();
  RunOn(loop, [&] { EXPECT_EQ(ran, "abcd"); });
}

TEST(EventLoopTest, NeverRunsATimerEarly) {
  EventLoop loop("test");
  for (int i = 0; i < 20; ++i) {
    const absl::Time at = In(absl::Microseconds(300 * i));
    std::promise<absl::Time> ran;
    loop.RunAt(at, [&] { ran.set_value(Clock::Real().Now()); });
    EXPECT_GE(ran.get_future().get(), at);
  }
}

TEST(EventLoopTest, AnEarlierTimerWakesALoopThatSleepsUntilALaterOne) {
  EventLoop loop("test");
  loop.RunAt(In(absl::Hours(1)), [] { ADD_FAILURE(); });
  RunOn(loop, [] {});
  std::promise<void> done;
  loop.RunAt(In(absl::Milliseconds(5)), [&] { done.set_value(); });
  done.get_future().wait();
}

TEST(EventLoopTest, ATimerOfThePastRunsAndOneOfTheInfiniteFutureDoesNot) {
  EventLoop loop("test");
  const EventLoop::TimerId never =
      loop.RunAt(absl::InfiniteFuture(), [] { ADD_FAILURE(); });
  std::promise<void> done;
  loop.RunAt(absl::InfinitePast(), [&] { done.set_value(); });
  done.get_future().wait();
  RunOn(loop, [] {});
  EXPECT_TRUE(loop.Cancel(never));
}

TEST(EventLoopTest, ATimerThatIsAlwaysDueStarvesNeitherTimersNorClosures) {
  EventLoop loop("test");
  std::function<void()> again = [&] {
    loop.RunAt(absl::InfinitePast(), again);
  };
  loop.Post(again);
  std::promise<void> timer;
  loop.RunAt(In(absl::Milliseconds(1)), [&] { timer.set_value(); });
  timer.get_future().wait();
  RunOn(loop, [] {});
  loop.Stop();
}

TEST(EventLoopTest, ACancelledTimerNeverRuns) {
  EventLoop loop("test");
  const EventLoop::TimerId timer =
      loop.RunAt(In(absl::Milliseconds(1)), [] { ADD_FAILURE(); });
  // Maybe too late, but then it says so.
  if (!loop.Cancel(timer)) GTEST_SKIP() << "this machine stood still";
  EXPECT_FALSE(loop.Cancel(timer)) << "a second time";
  std::promise<void> later;
  loop.RunAt(In(absl::Milliseconds(5)), [&] { later.set_value(); });
  later.get_future().wait();
}

TEST(EventLoopTest, ATimerMayCancelAnotherThatIsDueToo) {
  EventLoop loop("test");
  RunOn(loop, [&] {
    const absl::Time now = Clock::Real().Now();
    auto second = std::make_shared<EventLoop::TimerId>();
    loop.RunAt(now, [&loop, second] { EXPECT_TRUE(loop.Cancel(*second)); });
    *second = loop.RunAt(now, [] { ADD_FAILURE(); });
  });
  RunOn(loop, [] {});
  RunOn(loop, [] {});
}

TEST(EventLoopTest, CancelOfATimerThatRanOrNeverWasIsFalse) {
  EventLoop loop("test");
  std::promise<void> done;
  const EventLoop::TimerId timer =
      loop.RunAt(absl::InfinitePast(), [&] { done.set_value(); });
  done.get_future().wait();
  EXPECT_FALSE(loop.Cancel(timer));
  EXPECT_FALSE(loop.Cancel(0));
  EXPECT_FALSE(loop.Cancel(timer + 1000));
}

TEST(EventLoopTest, CancelDestroysTheClosureWithNoLockHeld) {
  EventLoop loop("test");
  bool destroyed = false;
  auto guard = std::make_shared<OnDestruction>([&] {
    loop.Post([] {});
    destroyed = true;
  });
  const EventLoop::TimerId timer =
      loop.RunAt(In(absl::Hours(1)), [guard] { ADD_FAILURE(); });
  guard.reset();
  EXPECT_TRUE(loop.Cancel(timer));
  EXPECT_TRUE(destroyed);
}

TEST(EventLoopTest, ThousandsOfTimersThreadsAndCancelsAddUp) {
  EventLoop loop("test");
  std::atomic<int> ran{0};
  std::atomic<int> cancelled{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        const EventLoop::TimerId timer =
            loop.RunAt(In(absl::Microseconds(i % 50)), [&] { ++ran; });
        if (i % 2 == 0 && loop.Cancel(timer)) ++cancelled;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::promise<void> later;
  loop.RunAt(In(absl::Milliseconds(1)), [&] { later.set_value(); });
  later.get_future().wait();
  EXPECT_EQ(ran + cancelled, 2000);
}

class Pipe {
 public:
  Pipe() { EXPECT_EQ(pipe(fds_), 0); }
  ~Pipe() {
    close(fds_[0]);
    if (fds_[1] >= 0) close(fds_[1]);
  }
  int read_end() const { return fds_[0]; }
  void Write() { EXPECT_EQ(write(fds_[1], "x", 1), 1); }
  void CloseWriteEnd() {
    close(fds_[1]);
    fds_[1] = -1;
  }
  void Read() {
    char byte;
    EXPECT_EQ(read(fds_[0], &byte, 1), 1);
  }

 private:
  int fds_[2];
};

TEST(EventLoopTest, TellsAWatcherThatADescriptorIsReadyUntilItIsEnded) {
  EventLoop loop("test");
  Pipe pipe;
  int told = 0;
  std::promise<void> twice;
  RunOn(loop, [&] {
    loop.Watch(pipe.read_end(), POLLIN, [&](short events) {
      EXPECT_NE(events & POLLIN, 0);
      EXPECT_TRUE(loop.OnLoopThread());
      if (++told < 2) return;  // Not read: told again.
      loop.Watch(pipe.read_end(), 0, nullptr);
      twice.set_value();
    });
  });
  pipe.Write();
  twice.get_future().wait();
  RunOn(loop, [] {});
  RunOn(loop, [&] { EXPECT_EQ(told, 2); });
}

TEST(EventLoopTest, TellsAWatcherThatTheOtherSideIsGone) {
  EventLoop loop("test");
  Pipe pipe;
  std::promise<short> told;
  RunOn(loop, [&] {
    loop.Watch(pipe.read_end(), POLLIN, [&](short events) {
      loop.Watch(pipe.read_end(), 0, nullptr);
      told.set_value(events);
    });
  });
  pipe.CloseWriteEnd();
  EXPECT_NE(told.get_future().get() & POLLHUP, 0);
}

TEST(EventLoopTest, ASecondWatchReplacesTheFirst) {
  EventLoop loop("test");
  Pipe pipe;
  std::promise<void> told;
  RunOn(loop, [&] {
    loop.Watch(pipe.read_end(), POLLIN, [](short) { ADD_FAILURE(); });
    loop.Watch(pipe.read_end(), POLLIN, [&](short) {
      loop.Watch(pipe.read_end(), 0, nullptr);
      told.set_value();
    });
  });
  pipe.Write();
  told.get_future().wait();
}

TEST(EventLoopTest, AWatcherMayEndTheWatchOfAnotherThatIsReadyToo) {
  EventLoop loop("test");
  Pipe a;
  Pipe b;
  int told = 0;
  RunOn(loop, [&] {
    const auto ready = [&](short) {
      ++told;
      loop.Watch(a.read_end(), 0, nullptr);
      loop.Watch(b.read_end(), 0, nullptr);
    };
    loop.Watch(a.read_end(), POLLIN, ready);
    loop.Watch(b.read_end(), POLLIN, ready);
    a.Write();
    b.Write();
  });
  RunOn(loop, [] {});
  RunOn(loop, [] {});
  RunOn(loop, [&] { EXPECT_EQ(told, 1); });
}

TEST(EventLoopTest, AWatchOfAClosedDescriptorIsToldOnceAndEnded) {
  EventLoop loop("test");
  std::promise<short> told;
  RunOn(loop, [&] {
    Pipe closed;
    loop.Watch(closed.read_end(), POLLIN,
               [&](short events) { told.set_value(events); });
  });
  EXPECT_EQ(told.get_future().get(), POLLNVAL);
  RunOn(loop, [] {});
}

TEST(EventLoopTest, SurvivesASignal) {
  struct sigaction action = {};
  struct sigaction before = {};
  action.sa_handler = [](int) {};
  sigaction(SIGPROF, &action, &before);
  EventLoop loop("test");
  pthread_t thread;
  RunOn(loop, [&] { thread = pthread_self(); });
  std::promise<void> timer;
  loop.RunAt(In(absl::Milliseconds(20)), [&] { timer.set_value(); });
  for (int i = 0; i < 10; ++i) pthread_kill(thread, SIGPROF);
  timer.get_future().wait();
  sigaction(SIGPROF, &before, nullptr);
}

TEST(EventLoopTest, BlocksTheApplicationsSignalsAndLeavesTheCallersAlone) {
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  EventLoop loop("a name that is too long");
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  EXPECT_EQ(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
  RunOn(loop, [] {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    EXPECT_TRUE(sigismember(&mask, SIGTERM));
    EXPECT_TRUE(sigismember(&mask, SIGCHLD));
    EXPECT_FALSE(sigismember(&mask, SIGSEGV));
    char name[32];
    pthread_getname_np(pthread_self(), name, sizeof(name));
    EXPECT_STREQ(name, "a name that is ");
  });
}

TEST(EventLoopTest, StopDestroysWhatIsPendingWithoutRunningIt) {
  EventLoop loop("test");
  std::atomic<int> destroyed{0};
  const auto guard = [&] {
    return std::make_shared<OnDestruction>([&] {
      EXPECT_TRUE(loop.OnLoopThread());
      loop.Post([] { ADD_FAILURE(); });
      EXPECT_FALSE(loop.Cancel(1));
      ++destroyed;
    });
  };
  std::promise<void> go;
  loop.RunAt(In(absl::Hours(1)), [g = guard()] { ADD_FAILURE(); });
  Pipe pipe;
  std::promise<void> begun;
  loop.Post([&] {
    loop.Watch(pipe.read_end(), POLLIN, [g = guard()](short) {});
    begun.set_value();
    go.get_future().wait();
  });
  begun.get_future().wait();
  loop.Post([g = guard()] { ADD_FAILURE(); });
  std::thread stopper([&] { loop.Stop(); });
  std::thread another([&] { loop.Stop(); });
  // Nothing shows that Stop() has begun but that posting no longer keeps.
  while (true) {
    auto probe = std::make_shared<int>();
    std::weak_ptr<int> kept = probe;
    loop.Post([probe = std::move(probe)] {});
    if (kept.expired()) break;
  }
  go.set_value();
  stopper.join();
  another.join();
  EXPECT_EQ(destroyed, 3);
  loop.Stop();
}

TEST(EventLoopTest, NothingIsAcceptedAfterStop) {
  EventLoop loop("test");
  loop.Stop();
  auto kept = std::make_shared<int>();
  loop.Post([kept] { ADD_FAILURE(); });
  const EventLoop::TimerId timer =
      loop.RunAt(absl::InfinitePast(), [kept] { ADD_FAILURE(); });
  EXPECT_NE(timer, 0);
  EXPECT_FALSE(loop.Cancel(timer));
  EXPECT_EQ(kept.use_count(), 1);
}

TEST(EventLoopTest, MayBeDestroyedByWhatItRuns) {
  for (int round = 0; round < 20; ++round) {
    auto loop = std::make_unique<EventLoop>("test");
    std::promise<void> destroyed;
    EventLoop* const raw = loop.get();
    std::promise<void> go;
    raw->Post([&, waits = go.get_future().share()] {
      waits.wait();
      loop.reset();
      destroyed.set_value();
    });
    // Pending, and calls the loop while it is destroyed.
    raw->Post([guard = std::make_shared<OnDestruction>([raw] {
                 EXPECT_TRUE(raw->OnLoopThread());
               })] { ADD_FAILURE(); });
    raw->RunAt(In(absl::Hours(1)),
               [guard = std::make_shared<OnDestruction>(
                    [raw] { raw->Post([] { ADD_FAILURE(); }); })] {});
    go.set_value();
    destroyed.get_future().wait();
  }
}

TEST(EventLoopTest, MayBeReleasedByWhatIsJustBeingPosted) {
  for (int round = 0; round < 100; ++round) {
    auto loop = std::make_shared<EventLoop>("test");
    EventLoop* const raw = loop.get();
    if (round % 2 == 0) {
      raw->Post([last = std::move(loop)] {});
    } else {
      raw->RunAt(absl::InfinitePast(), [last = std::move(loop)] {});
    }
  }
}

TEST(EventLoopTest, MayBeDestroyedByATimerAndByAWatcher) {
  auto loop = std::make_unique<EventLoop>("test");
  std::promise<void> by_timer;
  loop->RunAt(In(absl::Milliseconds(5)), [&] {
    loop.reset();
    by_timer.set_value();
  });
  by_timer.get_future().wait();

  loop = std::make_unique<EventLoop>("test");
  Pipe pipe;
  pipe.Write();
  std::promise<void> by_watcher;
  loop->Post([&] {
    loop->Watch(pipe.read_end(), POLLIN, [&](short) {
      loop.reset();
      by_watcher.set_value();
    });
  });
  by_watcher.get_future().wait();
}

TEST(EventLoopTest, WorksWhenTheProcessHasNoDescriptorLeft) {
  rlimit before;
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit none = before;
  none.rlim_cur = 3;  // Standard input, output and error.
  setrlimit(RLIMIT_NOFILE, &none);
  {
    EventLoop loop("test");
    RunOn(loop, [] {});
    std::promise<void> timer;
    loop.RunAt(In(absl::Milliseconds(1)), [&] { timer.set_value(); });
    timer.get_future().wait();
  }
  setrlimit(RLIMIT_NOFILE, &before);
}

#if !defined(MESH_TSAN)  // Which does not follow a fork.
TEST(EventLoopTest, AForkedChildMayDestroyItsCopy) {
  auto loop = std::make_unique<EventLoop>("test");
  RunOn(*loop, [] {});
  const pid_t child = fork();
  if (child == 0) {
    loop.reset();  // Its thread is not here: nothing to wait for.
    _exit(7);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
  RunOn(*loop, [] {});
}

// Whatever the threads that were not copied had locked.
TEST(EventLoopTest, NothingBlocksInAForkedChild) {
  EventLoop loop("test");
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) loop.Cancel(loop.RunAt(In(absl::Seconds(9)), [] {}));
  });
  for (int i = 0; i < 100; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);  // Ends a child that blocks.
      loop.Post([] {});
      loop.Cancel(loop.RunAt(In(absl::Seconds(9)), [] {}));
      loop.Stop();
      _exit(7);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
  }
  stop = true;
  busy.join();
}
#endif

TEST(EventLoopTest, WhereNoThreadCanBeStartedItSaysSoAndDoesNothing) {
  auto held = std::make_shared<int>(0);
  {
    const testing::NoThreads none;
    EventLoop loop("mesh_test");
    EXPECT_NE(
        loop.failure().find("the thread \"mesh_test\" could not be started: "),
        std::string::npos)
        << loop.failure();
    loop.Post([held] { FAIL(); });
    loop.RunAt(absl::InfinitePast(), [held] { FAIL(); });
    EXPECT_EQ(held.use_count(), 1);
    EXPECT_FALSE(loop.OnLoopThread());
  }
  EXPECT_EQ(EventLoop("mesh_test").failure(), "");
}

}  // namespace
}  // namespace mesh::base
