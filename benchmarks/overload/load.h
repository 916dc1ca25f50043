#ifndef MESH_BENCHMARKS_OVERLOAD_LOAD_H_
#define MESH_BENCHMARKS_OVERLOAD_LOAD_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "benchmarks/overhead/echo.grpc.pb.h"
#include "benchmarks/overload/gradient2.h"
#include "grpcpp/channel.h"

namespace mesh::benchmarks {

// What became of the calls that were due after the warm-up.
struct LoadResult {
  int64_t calls = 0;
  int64_t answered = 0;   // OK, within the deadline.
  int64_t refused = 0;    // RESOURCE_EXHAUSTED: at the client's limit.
  int64_t timed_out = 0;  // DEADLINE_EXCEEDED.
  int64_t other = 0;      // Any other status.
  int64_t late = 0;       // Started more than 10 ms after they were due.
  // Latency of answered calls, from when they were due.
  absl::Duration p50, p99;
};

constexpr absl::Duration kDeadline = absl::Seconds(1);

// Makes calls at random moments, `rate` per second (Poisson), whatever becomes
// of those before (open loop). Each has kDeadline. `limit` may be null.
LoadResult OpenLoop(const std::shared_ptr<grpc::ChannelInterface>& channel,
                    Gradient2* limit, double rate, absl::Duration warm_up,
                    absl::Duration measured, uint64_t seed);

// `outstanding` callers, each of which calls again when it has its answer.
LoadResult ClosedLoop(const std::shared_ptr<grpc::ChannelInterface>& channel,
                      int outstanding, absl::Duration warm_up,
                      absl::Duration measured);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_OVERLOAD_LOAD_H_
