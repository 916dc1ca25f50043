#ifndef MESH_BALANCING_ROUND_ROBIN_H_
#define MESH_BALANCING_ROUND_ROBIN_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/optimization.h"
#include "mesh/balancing/tier.h"
#include "mesh/base/random.h"

namespace mesh::balancing {

// Endpoints take turns, from a random start. With weights, turns follow a fixed
// sequence. Each endpoint comes up in proportion to its weight, and as evenly
// spread as can be. For turn t, the fraction of t * (golden ratio) is a point
// of [0, 1), and the endpoint whose share holds that point is next.
//
// Any run of N turns gives an endpoint its share of N, give or take a few, with
// no schedule to keep. That is the purpose of gRFC A58's static stride
// scheduler, at constant cost for any ratio of weights.
class RoundRobin final : public TierBalancer {
 public:
  // Whose turn it is. A policy's pickers share it, so that a change of members
  // does not start the round again.
  class Turns {
   public:
    // The next turn; the first is random.
    uint64_t Next(base::Random& random) {
      uint64_t start = start_.load(std::memory_order_relaxed);
      if (ABSL_PREDICT_FALSE(start == 0)) {
        // Never 0, and far from where the sum would overflow.
        const uint64_t drawn = (random() >> 1) | (uint64_t{1} << 62);
        if (start_.compare_exchange_strong(start, drawn,
                                           std::memory_order_relaxed)) {
          start = drawn;
        }
      }
      return start + count_.fetch_add(1, std::memory_order_relaxed);
    }

   private:
    std::atomic<uint64_t> start_{0};  // 0: not begun.
    // It has a cache line of its own, since every pick writes it.
    alignas(64) std::atomic<uint64_t> count_{0};
  };

 private:
  TierPickerPtr MakePicker(Tier ready) override;

  const std::shared_ptr<Turns> turns_ = std::make_shared<Turns>();
};

}  // namespace mesh::balancing

#endif  // MESH_BALANCING_ROUND_ROBIN_H_
