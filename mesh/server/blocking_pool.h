#ifndef MESH_SERVER_BLOCKING_POOL_H_
#define MESH_SERVER_BLOCKING_POOL_H_

#include <functional>
#include <memory>

namespace mesh::server {

// Threads for code that may block. There are as many as run such code at once,
// and at most kMostThreads; what is more waits. A thread that has nothing to do
// for a second ends. Thread-safe.
class BlockingPool {
 public:
  static constexpr int kMostThreads = 64;

  BlockingPool();
  // Waits for what runs or waits, unless it is called by that.
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Runs `work` soon, on another thread. False: the system has no thread, and
  // `work` is not run.
  bool Run(std::function<void()> work);

 private:
  struct Shared;
  const std::shared_ptr<Shared> shared_;
};

}  // namespace mesh::server

#endif  // MESH_SERVER_BLOCKING_POOL_H_
