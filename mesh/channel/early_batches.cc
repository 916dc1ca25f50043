#include "mesh/channel/early_batches.h"

#include <utility>

#include "mesh/grpc/call_hook.h"

namespace mesh::channel {

void EarlyBatches::Begin(grpc_call* running, bool waiting) {
  born_waiting_ = waiting;
  begun_on_ = running;
  // Nobody else has the call yet.
  running_.store(running, std::memory_order_relaxed);
  waiting_.store(waiting, std::memory_order_relaxed);
}

grpc_call* EarlyBatches::RefRunning() {
  base::MutexLock lock(&mu_);
  grpc_call* const running = running_.load(std::memory_order_relaxed);
  grpc_call_ref(running);
  return running;
}

EarlyBatches::Down EarlyBatches::OnDown(Methods* methods) {
  if (born_waiting_) {
    base::MutexLock lock(&mu_);
    if (waiting_.load(std::memory_order_relaxed)) {
      held_.push_back(methods);
      return std::exchange(engaged_, true) ? Down::kHeld : Down::kHeldFirst;
    }
  }
  // What it was started on may have been the placeholder, or an earlier
  // attempt.
  core::Redirect(methods, running());
  return Down::kGoOn;
}

void EarlyBatches::RunOn(grpc_call* next) {
  base::MutexLock lock(&mu_);
  running_.store(next, std::memory_order_release);
}

EarlyBatches::Held EarlyBatches::EndWait() {
  Held held;
  {
    base::MutexLock lock(&mu_);
    waiting_.store(false, std::memory_order_release);
    held.swap(held_);
  }
  for (Methods* methods : held) core::Redirect(methods, running());
  return held;
}

}  // namespace mesh::channel
