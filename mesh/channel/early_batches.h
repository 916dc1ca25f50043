#ifndef MESH_CHANNEL_EARLY_BATCHES_H_
#define MESH_CHANNEL_EARLY_BATCHES_H_

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "absl/container/inlined_vector.h"
#include "grpc/grpc.h"
#include "grpcpp/grpcpp.h"
#include "mesh/base/mutex.h"

namespace mesh::channel {

// Knows what the batches of a call are started on, and holds back those that
// are started before there is an endpoint. Such a call begins on a placeholder.
// Its batches go down on that as far as here, through the application's
// interceptors. Thread-safe.
class EarlyBatches {
 public:
  using Methods = grpc::experimental::InterceptorBatchMethods;
  using Held = absl::InlinedVector<Methods*, 2>;

  // What is to become of a batch on its way down.
  enum class Down {
    kGoOn,  // It is not held; it will be started on what runs now.
    kHeld,
    kHeldFirst,  // It is held, and nobody looks for an endpoint yet.
  };

  EarlyBatches() = default;
  EarlyBatches(const EarlyBatches&) = delete;
  EarlyBatches& operator=(const EarlyBatches&) = delete;

  // Call it once, first. `waiting`: `running` is a placeholder.
  void Begin(grpc_call* running, bool waiting);

  // Null before Begin(). The result lives until another one runs. The first one
  // of the call lives as long as the call.
  grpc_call* running() const {
    return running_.load(std::memory_order_acquire);
  }
  // The same, with a reference for the caller, where another one may come to
  // run meanwhile.
  grpc_call* RefRunning();

  // What the call began on. Whoever was given the call knows it.
  grpc_call* begun_on() const { return begun_on_; }
  bool born_waiting() const { return born_waiting_; }
  bool waiting() const { return waiting_.load(std::memory_order_acquire); }

  Down OnDown(Methods* methods);

  // From now on batches are started on `next`. The caller then gives up what
  // ran before.
  void RunOn(grpc_call* next);
  // The wait is over: with RunOn(), or without it if the call was cancelled.
  // Held batches that are to be let go on. With the last one the call may end.
  Held EndWait();

 private:
  // Constant after Begin().
  bool born_waiting_ = false;
  grpc_call* begun_on_ = nullptr;

  base::Mutex mu_;
  // Both are written with mu_ held.
  std::atomic<grpc_call*> running_{nullptr};
  std::atomic<bool> waiting_{false};
  bool engaged_ ABSL_GUARDED_BY(mu_) = false;  // Someone looks for an endpoint.
  Held held_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::channel

#endif  // MESH_CHANNEL_EARLY_BATCHES_H_
