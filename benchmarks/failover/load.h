#ifndef MESH_BENCHMARKS_FAILOVER_LOAD_H_
#define MESH_BENCHMARKS_FAILOVER_LOAD_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "grpcpp/completion_queue.h"
#include "mesh/base/mutex.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::benchmarks {

// What became of the calls of one load.
struct LoadResult {
  int64_t calls = 0;
  int64_t failed = 0;  // Not OK by its deadline, or started late.
  int64_t late = 0;    // Calls that started late; `failed` includes them.
  absl::Duration latest_start;
  // From the moment when a call was due to its end; successful calls only.
  absl::Duration p50, p99, longest;
  // Why calls failed, "14: Socket closed", and how often.
  std::map<std::string, int64_t> failures;
};

// Unary calls at a fixed rate, whatever becomes of those before (open loop).
// Call i is due at i / rate. Its deadline is a second after that. A call that
// starts more than kLate after it was due has failed, too. One thread makes the
// calls, two take the answers from a completion queue.
class OpenLoop {
 public:
  static constexpr absl::Duration kDeadline = absl::Seconds(1);
  static constexpr absl::Duration kLate = absl::Milliseconds(100);

  using StubPtr = std::shared_ptr<test::TestService::Stub>;

  // `stub` is asked for each call. `once`: calls the method that may not be
  // executed twice, with a key of its own ("17") each.
  OpenLoop(double rate, bool once, std::function<StubPtr()> stub);
  ~OpenLoop() { Stop(); }

  // Returns what became of all calls, when the last one has ended.
  LoadResult Stop();

 private:
  struct Call;

  void Send();
  void Take();

  // Constant.
  const absl::Duration interval_;
  const bool once_;
  const std::function<StubPtr()> stub_;

  grpc::CompletionQueue queue_;
  std::atomic<bool> stopping_{false};
  std::thread sender_;
  std::vector<std::thread> takers_;

  base::Mutex mu_;
  LoadResult result_ ABSL_GUARDED_BY(mu_);
  std::vector<absl::Duration> latencies_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_FAILOVER_LOAD_H_
