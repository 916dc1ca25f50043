#include "mesh/server/blocking_pool.h"

#include <csignal>
#include <deque>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "mesh/base/mutex.h"

namespace mesh::server {

struct BlockingPool::Shared {
  base::Mutex mu;
  base::CondVar changed;
  std::deque<std::function<void()>> waiting ABSL_GUARDED_BY(mu);
  int threads ABSL_GUARDED_BY(mu) = 0;
  int idle ABSL_GUARDED_BY(mu) = 0;
  bool stopped ABSL_GUARDED_BY(mu) = false;
};

namespace {

constexpr absl::Duration kIdle = absl::Seconds(1);

// The pool that the current thread works for.
thread_local const void* t_pool = nullptr;

}  // namespace

BlockingPool::BlockingPool() : shared_(std::make_shared<Shared>()) {}

BlockingPool::~BlockingPool() {
  const int own = t_pool == shared_.get() ? 1 : 0;
  base::MutexLock lock(&shared_->mu);
  shared_->stopped = true;
  shared_->changed.SignalAll();
  while (shared_->threads > own) shared_->changed.Wait(&shared_->mu);
}

bool BlockingPool::Run(std::function<void()> work) {
  {
    base::MutexLock lock(&shared_->mu);
    const bool enough =
        shared_->idle > static_cast<int>(shared_->waiting.size()) ||
        shared_->threads >= kMostThreads;
    if (enough) {
      shared_->waiting.push_back(std::move(work));
      shared_->changed.SignalAll();
      return true;
    }
    ++shared_->threads;
  }
  auto body = [shared = shared_, work]() mutable {
    t_pool = shared.get();
    for (;;) {
      work();
      work = nullptr;  // Destroyed without the lock.
      base::MutexLock lock(&shared->mu);
      ++shared->idle;
      while (shared->waiting.empty() && !shared->stopped) {
        if (shared->changed.WaitWithTimeout(&shared->mu, kIdle)) break;
      }
      --shared->idle;
      if (shared->waiting.empty()) {
        --shared->threads;
        shared->changed.SignalAll();
        return;
      }
      work = std::move(shared->waiting.front());
      shared->waiting.pop_front();
    }
  };
  // The application's signals are none of its business.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = true;
  try {
    std::thread(std::move(body)).detach();
  } catch (const std::system_error&) {
    started = false;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (started) return true;
  base::MutexLock lock(&shared_->mu);
  --shared_->threads;
  if (shared_->threads == 0) return false;
  shared_->waiting.push_back(std::move(work));
  return true;
}

}  // namespace mesh::server
