#ifndef MESH_BENCHMARKS_OUTAGES_LOAD_H_
#define MESH_BENCHMARKS_OUTAGES_LOAD_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "benchmarks/outages/figures.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "mesh/base/mutex.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::benchmarks {

using StubPtr = std::shared_ptr<test::TestService::Stub>;

inline constexpr absl::Duration kDeadline = absl::Seconds(1);

// Unary calls at a fixed rate, whatever becomes of those before (open loop).
// Call i is due at i / rate after the start, and its deadline counts from then.
// A call that begins more than kLate after it was due has failed, since the
// bench itself is the cause. One thread makes the calls, another takes the
// answers. It ends by itself after Options::longest.
class OpenLoop {
 public:
  static constexpr absl::Duration kLate = absl::Milliseconds(100);
  static constexpr absl::Duration kLongest = absl::Minutes(5);

  struct Options {
    absl::Duration deadline = kDeadline;
    absl::Duration longest = kLongest;
    // Takes what became of each call, on one thread. Then Stop() has nothing to
    // say, and the memory of a long load does not grow.
    std::function<void(const Outcome& outcome,
                       const grpc::ClientContext& context,
                       const test::Reply& reply)>
        taker;
  };

  // `stub` is asked for each call.
  OpenLoop(double rate, std::function<StubPtr()> stub, Options options);
  OpenLoop(double rate, std::function<StubPtr()> stub,
           absl::Duration deadline = kDeadline);
  ~OpenLoop() { (void)Stop(); }

  absl::Time start() const { return start_; }
  // Returns when the last call has ended, with what became of all.
  std::vector<Outcome> Stop();

 private:
  struct Call;

  void Send();
  void Take();

  // Constant.
  const absl::Duration interval_;
  const std::function<StubPtr()> stub_;
  const Options options_;
  const absl::Time start_;

  grpc::CompletionQueue queue_;
  std::atomic<bool> stopping_{false};
  std::thread sender_;
  std::thread taker_;

  base::Mutex mu_;
  std::vector<Outcome> outcomes_ ABSL_GUARDED_BY(mu_);
};

// What failed and how often, for a person: "3 x code 14 (first message)".
std::string FailuresOf(const std::vector<Outcome>& outcomes);

// One call of a caller that waits for each answer before the next.
struct ClosedCall {
  test::Directives directives;
  bool other_method = false;  // Once in place of Unary.
};

// Callers in a closed loop, a thread each, until Stop().
class Callers {
 public:
  explicit Callers(StubPtr stub) : stub_(std::move(stub)) {}
  ~Callers() { Stop(); }

  // One that makes these calls in turn. `most` ends it by itself.
  void Add(std::vector<ClosedCall> calls, int64_t most = 10'000'000);
  // Waits until all have ended by themselves.
  void Wait();
  void Stop();

  int64_t calls() const { return calls_; }

 private:
  void Run(const std::vector<ClosedCall>& calls, int64_t most);

  const StubPtr stub_;
  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> calls_{0};
  std::vector<std::thread> threads_;
};

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_OUTAGES_LOAD_H_
