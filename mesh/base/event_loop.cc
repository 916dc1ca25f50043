#include "mesh/base/event_loop.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mesh::base {
namespace {

// Blocks signals for the threads that this one makes, since the application's
// handlers are to run on the application's threads. Signals that a thread
// raises by itself stay as they are, so that crash handlers and profilers see
// this one.
class BlockSignals {
 public:
  BlockSignals() {
    sigset_t blocked;
    sigfillset(&blocked);
    for (int own :
         {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF}) {
      sigdelset(&blocked, own);
    }
    pthread_sigmask(SIG_BLOCK, &blocked, &before_);
  }
  ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

struct EventLoop::Impl {
  struct WatchEntry {
    short events;
    std::function<void(short)> ready;
  };
  using TimerKey = std::pair<absl::Time, TimerId>;

  Impl() : pid(getpid()), wake_fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  ~Impl() {
    if (wake_fd >= 0) close(wake_fd);
  }

  void Run();
  // Destroys what is left to run, on the loop's thread, once it is stopped.
  void Clear();
  void RunPosted();
  void RunTimers();
  void Poll();
  void Wake();
  // A fork copies the object, but not its thread, and maybe a locked mutex.
  bool Forked() const { return getpid() != pid; }

  // The loop that this thread runs, if any.
  static thread_local const Impl* running;

  // Constant.
  const pid_t pid;
  const int wake_fd;  // An eventfd. Negative when the process had none left:
                      // then the loop looks for work every few milliseconds.

  std::atomic<bool> stopped{false};  // Written under `mu`.

  Mutex mu;
  std::vector<Closure> posted ABSL_GUARDED_BY(mu);
  // By time, those of one time in the order in which they were set.
  std::map<TimerKey, Closure> timers ABSL_GUARDED_BY(mu);
  std::unordered_map<TimerId, absl::Time> timer_times ABSL_GUARDED_BY(mu);
  TimerId last_timer ABSL_GUARDED_BY(mu) = 0;
  // When the loop will look for work by itself; InfinitePast while it runs.
  absl::Time sleeping_until ABSL_GUARDED_BY(mu) = absl::InfinitePast();
  std::thread thread ABSL_GUARDED_BY(mu);
  bool ended ABSL_GUARDED_BY(mu) = false;
  CondVar ended_cv;

  // On the loop's thread only.
  std::vector<Closure> batch;  // Being run, in this order.
  std::map<int, std::shared_ptr<WatchEntry>> watches;
  std::vector<pollfd> pollfds;
  std::vector<std::shared_ptr<WatchEntry>> polled;
};

thread_local const EventLoop::Impl* EventLoop::Impl::running = nullptr;

// It is called without `mu`. One that comes late wakes the loop for nothing.
void EventLoop::Impl::Wake() {
  const uint64_t one = 1;
  if (wake_fd >= 0) (void)!write(wake_fd, &one, sizeof(one));
}

void EventLoop::Impl::Run() {
  running = this;
  while (!stopped.load(std::memory_order_acquire)) {
    RunPosted();
    RunTimers();
    Poll();
  }
  Clear();
  MutexLock lock(&mu);
  ended = true;
  ended_cv.SignalAll();
}

// What is destroyed here may call any member, but nothing is accepted any more.
void EventLoop::Impl::Clear() {
  const std::vector<Closure> left_batch = std::exchange(batch, {});
  const auto left_watches = std::exchange(watches, {});
  const auto left_polled = std::exchange(polled, {});
  std::vector<Closure> left_posted;
  std::map<TimerKey, Closure> left_timers;
  MutexLock lock(&mu);
  left_posted.swap(posted);
  left_timers.swap(timers);
  timer_times.clear();
}

void EventLoop::Impl::RunPosted() {
  batch.clear();
  {
    MutexLock lock(&mu);
    batch.swap(posted);
  }
  // A closure that destroys the loop empties the batch.
  for (size_t i = 0; i < batch.size(); ++i) {
    if (stopped.load(std::memory_order_acquire)) return;
    const Closure closure = std::exchange(batch[i], nullptr);
    closure();
  }
}

void EventLoop::Impl::RunTimers() {
  // A timer that is set from now on is later than `now`. So one that sets
  // itself again and again does not hold up the rest.
  // itself again and again does not hold up the rest.
  const absl::Time now = Clock::Real().Now();
  while (!stopped.load(std::memory_order_acquire)) {
    Closure closure;
    {
      MutexLock lock(&mu);
      const auto first = timers.begin();
      if (first == timers.end() || first->first.first > now) return;
      closure = std::move(first->second);
      timer_times.erase(first->first.second);
      timers.erase(first);
    }
    closure();
  }
}

void EventLoop::Impl::Poll() {
  pollfds.clear();
  polled.clear();
  pollfds.push_back({wake_fd, POLLIN, 0});
  for (const auto& [fd, watch] : watches) {
    pollfds.push_back({fd, watch->events, 0});
    polled.push_back(watch);
  }

  absl::Duration timeout = absl::ZeroDuration();
  {
    MutexLock lock(&mu);
    if (posted.empty() && !stopped.load(std::memory_order_relaxed)) {
      const absl::Time now = Clock::Real().Now();
      timeout = wake_fd < 0 ? absl::Milliseconds(5) : absl::Hours(1);
      if (!timers.empty()) {
        timeout = std::clamp(timers.begin()->first.first - now,
                             absl::ZeroDuration(), timeout);
      }
      sleeping_until = now + timeout;
    }
  }
  const timespec limit = absl::ToTimespec(timeout);
  const int ready = ppoll(pollfds.data(), pollfds.size(), &limit, nullptr);
  {
    MutexLock lock(&mu);
    sleeping_until = absl::InfinitePast();
  }
  if (ready < 0 && errno != EINTR) usleep(1000);  // No memory: no rush.
  if (ready <= 0) return;

  if (pollfds[0].revents != 0) {
    uint64_t count;
    (void)!read(wake_fd, &count, sizeof(count));
  }
  for (size_t i = 1; i < pollfds.size(); ++i) {
    if (pollfds[i].revents == 0) continue;
    if (stopped.load(std::memory_order_acquire)) return;
    // A callback before this one may have ended the watch. It may even have
    // begun another one on a new file with the same number.
    const auto it = watches.find(pollfds[i].fd);
    if (it == watches.end() || it->second != polled[i - 1]) continue;
    if ((pollfds[i].revents & POLLNVAL) != 0) watches.erase(it);
    const std::shared_ptr<WatchEntry> watch = polled[i - 1];
    watch->ready(pollfds[i].revents);
  }
}

EventLoop::EventLoop(const char* name) : impl_(std::make_shared<Impl>()) {
  const std::string short_name = std::string(name).substr(0, 15);
  const BlockSignals block;
  MutexLock lock(&impl_->mu);
  try {
    impl_->thread = std::thread([impl = impl_, short_name] {
      pthread_setname_np(pthread_self(), short_name.c_str());
      impl->Run();
    });
  } catch (const std::system_error& error) {
    failure_ = "the thread \"" + short_name +
               "\" could not be started: " + error.what() +
               ". Raise this process's limit on threads.";
    impl_->stopped.store(true, std::memory_order_release);
    impl_->ended = true;
  }
}

EventLoop::~EventLoop() {
  if (impl_->Forked()) {
    new std::shared_ptr<Impl>(std::move(impl_));
    return;
  }
  Stop();
  if (!OnLoopThread()) return;
  impl_->Clear();  // First, while what is destroyed may still call this object.
  MutexLock lock(&impl_->mu);
  impl_->thread.detach();
}

void EventLoop::Post(Closure closure) {
  if (impl_->Forked()) {
    // Neither run nor destroyed: what it holds may be locked, too.
    new Closure(std::move(closure));
    return;
  }
  // `closure` may release the last reference to this object.
  const std::shared_ptr<Impl> impl = impl_;
  bool wake = false;
  {
    MutexLock lock(&impl->mu);
    if (impl->stopped.load(std::memory_order_relaxed)) return;
    impl->posted.push_back(std::move(closure));
    wake = impl->sleeping_until != absl::InfinitePast();
    impl->sleeping_until = absl::InfinitePast();
  }
  if (wake) impl->Wake();
}

EventLoop::TimerId EventLoop::RunAt(absl::Time at, Closure closure) {
  if (impl_->Forked()) {
    new Closure(std::move(closure));  // As in Post().
    return 1;
  }
  const std::shared_ptr<Impl> impl = impl_;
  at = std::max(at, Clock::Real().Now());
  bool wake = false;
  TimerId id;
  {
    MutexLock lock(&impl->mu);
    id = ++impl->last_timer;
    if (impl->stopped.load(std::memory_order_relaxed)) return id;
    impl->timers.emplace(std::make_pair(at, id), std::move(closure));
    impl->timer_times.emplace(id, at);
    wake = at < impl->sleeping_until;
    if (wake) impl->sleeping_until = absl::InfinitePast();
  }
  if (wake) impl->Wake();
  return id;
}

bool EventLoop::Cancel(TimerId timer) {
  if (impl_->Forked()) return false;
  Closure cancelled;  // Destroyed after the lock is released.
  MutexLock lock(&impl_->mu);
  const auto time = impl_->timer_times.find(timer);
  if (time == impl_->timer_times.end()) return false;
  const auto it = impl_->timers.find({time->second, timer});
  cancelled = std::move(it->second);
  impl_->timers.erase(it);
  impl_->timer_times.erase(time);
  return true;
}

void EventLoop::Watch(int fd, short events, std::function<void(short)> ready) {
  if (!OnLoopThread()) {
    assert(impl_->stopped.load());
    return;
  }
  // What goes is destroyed last, because it may call Watch() itself.
  std::shared_ptr<Impl::WatchEntry> before;
  if (events == 0 || impl_->stopped.load(std::memory_order_relaxed)) {
    const auto it = impl_->watches.find(fd);
    if (it == impl_->watches.end()) return;
    before = std::move(it->second);
    impl_->watches.erase(it);
    return;
  }
  before = std::make_shared<Impl::WatchEntry>(
      Impl::WatchEntry{events, std::move(ready)});
  before.swap(impl_->watches[fd]);
}

void EventLoop::Stop() {
  if (impl_->Forked()) return;
  const std::shared_ptr<Impl> impl = impl_;
  std::thread thread;
  {
    MutexLock lock(&impl->mu);
    impl->stopped.store(true, std::memory_order_release);
    if (!OnLoopThread()) thread = std::move(impl->thread);
  }
  if (OnLoopThread()) return;
  impl->Wake();
  if (thread.joinable()) {
    thread.join();
    return;
  }
  // Another thread joins.
  MutexLock lock(&impl->mu);
  while (!impl->ended) impl->ended_cv.Wait(&impl->mu);
}

bool EventLoop::OnLoopThread() const { return Impl::running == impl_.get(); }

}  // namespace mesh::base
