#ifndef MESH_CLUSTER_OBSERVATIONS_H_
#define MESH_CLUSTER_OBSERVATIONS_H_

#include <atomic>
#include <cstdint>

namespace mesh::cluster {

// Counts that tell whether somebody answers. One endpoint has one set of them
// today; a connection may own one. Thread-safe. Counts are modulo their width.
struct SilenceEvidence {
  // Unary attempts begun. (Streams may be silent for long and well.)
  std::atomic<uint32_t> begun{0};
  // `begun`, as it was when a unary attempt was last answered, plus one for
  // each attempt begun since whose silence says nothing.
  std::atomic<uint32_t> accounted{0};
  // When the second of the unanswered attempts began, in nanoseconds of the
  // monotonic clock. The first may be a call that takes long.
  std::atomic<int64_t> quiet_since{0};

  // How many attempts have begun since the last answer and were not answered.
  // Negative when an answer was counted twice.
  int32_t unanswered() const {
    return static_cast<int32_t>(begun.load(std::memory_order_relaxed) -
                                accounted.load(std::memory_order_relaxed));
  }
  // What waits now is no evidence any more.
  void Forget() {
    accounted.store(begun.load(std::memory_order_relaxed),
                    std::memory_order_relaxed);
  }
};

// What is counted for whoever judges an endpoint, without a lock. All counts
// are modulo their width. Each field by itself is exact, but a reader does not
// see all at one moment. On one cache line.
struct EndpointObservations {
  SilenceEvidence silence;
  std::atomic<uint32_t> ended{0};  // Unary attempts.
  std::atomic<uint32_t> streams_ended{0};
  // All attempts that ended, in three parts. Failures, except those of a
  // connection; failures of a connection; and attempts that say nothing (given
  // up, never sent, made by this side).
  std::atomic<uint32_t> failures{0};
  std::atomic<uint32_t> connection_failures{0};
  std::atomic<uint32_t> discounted{0};
  std::atomic<uint32_t> streams_begun{0};
  // Failures in a row up to now, in 16 bits each: all of them, and those of a
  // connection. 0 while all is well.
  static constexpr int kConnectionShift = 16;
  std::atomic<uint32_t> consecutive{0};

  // Unary attempts under way.
  uint32_t awaiting() const {
    const uint32_t ended_before = ended.load(std::memory_order_relaxed);
    return silence.begun.load(std::memory_order_relaxed) - ended_before;
  }
};
static_assert(sizeof(EndpointObservations) <= 64,
              "all that an attempt writes of it is on one cache line");

}  // namespace mesh::cluster

#endif  // MESH_CLUSTER_OBSERVATIONS_H_
