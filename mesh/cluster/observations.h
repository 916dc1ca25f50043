#ifndef MESH_CLUSTER_OBSERVATIONS_H_
#define MESH_CLUSTER_OBSERVATIONS_H_

#include <atomic>
#include <cstdint>

namespace mesh::cluster {

// Counts that tell whether somebody answers. One endpoint has one of them
// today; a connection may own one. Thread-safe; counts are modulo their width.
struct SilenceEvidence {
  // Unary attempts begun. (Streams may be silent for long and well.)
  std::atomic<uint32_t> begun{0};
  // What `begun` was when a unary attempt was last answered, and one more for
  // each begun since whose silence says nothing.
  std::atomic<uint32_t> accounted{0};
  // Nanoseconds of the monotonic clock: when the second of the unanswered ones
  // began (the first may be a call that takes long).
  std::atomic<int64_t> quiet_since{0};

  // So many have begun since the last answer and were not answered. Negative
  // when an answer was counted twice.
  int32_t unanswered() const {
    return static_cast<int32_t>(begun.load(std::memory_order_relaxed) -
                                accounted.load(std::memory_order_relaxed));
  }
  // Whatever waits now is no evidence any more.
  void Forget() {
    accounted.store(begun.load(std::memory_order_relaxed),
                    std::memory_order_relaxed);
  }
};

// Counted of an endpoint's attempts for whoever judges it, without a lock. All
// counts are modulo their width. Each field by itself is exact; a reader sees
// no single moment. On one cache line.
struct EndpointObservations {
  SilenceEvidence silence;
  // Unary attempts that ended, in the low kEndedBits; above it the sum of
  // 256 * log2(nanoseconds) of those whose latency counts. Written with
  // release order, after `untimed`.
  static constexpr int kEndedBits = 24;
  static constexpr uint32_t kEndedMask = (1u << kEndedBits) - 1;
  std::atomic<uint64_t> ended{0};
  std::atomic<uint32_t> untimed{0};  // How many of those have no latency.
  std::atomic<uint32_t> streams_ended{0};
  // All that ended: failures that a server answered; that came about on
  // this side; and attempts that say nothing (given up, never sent).
  std::atomic<uint32_t> failures{0};
  std::atomic<uint32_t> local_failures{0};
  std::atomic<uint32_t> discounted{0};
  std::atomic<uint32_t> streams_begun{0};
  // Failures in a row, up to now, 16 bits each: those that a server answered,
  // those of them that say that it was not reached, and local ones. 0 while
  // all is well.
  static constexpr int kGatewayShift = 16;
  static constexpr int kLocalShift = 32;
  std::atomic<uint64_t> consecutive{0};

  // Unary attempts that run.
  uint32_t awaiting() const {
    const uint64_t ended_before = ended.load(std::memory_order_relaxed);
    return static_cast<uint32_t>(silence.begun.load(std::memory_order_relaxed) -
                                 ended_before) &
           kEndedMask;
  }
};
static_assert(sizeof(EndpointObservations) == 56,
              "all that an attempt writes of it is on one cache line");

}  // namespace mesh::cluster

#endif  // MESH_CLUSTER_OBSERVATIONS_H_
