#include "mesh/balancing/weight_table.h"

#include <cstddef>

#include "absl/base/optimization.h"

namespace mesh::balancing {
namespace {

__extension__ using Uint128 = unsigned __int128;

// fraction / 2^64 * n, rounded down.
uint64_t Scale(uint64_t fraction, uint64_t n) {
  return static_cast<uint64_t>(Uint128{fraction} * n >> 64);
}

// The least fraction that Scale() maps to `b`, which is less than `n`.
uint64_t LeastFraction(uint64_t b, uint64_t n) {
  return static_cast<uint64_t>(((Uint128{b} << 64) + n - 1) / n);
}

}  // namespace

WeightTable::WeightTable(const std::vector<uint32_t>& weights) {
  ends_.reserve(weights.size());
  uint64_t sum = 0;
  for (uint32_t weight : weights) ends_.push_back(sum += weight);

  // There are two steps per index, so most shares' ends have a step of their
  // own.
  const size_t steps = 2 * weights.size();
  guide_.reserve(steps);
  uint32_t index = 0;
  for (size_t step = 0; step < steps; ++step) {
    const uint64_t point = Scale(LeastFraction(step, steps), sum);
    while (ends_[index] <= point) ++index;
    guide_.push_back(index);
  }
}

uint32_t WeightTable::Find(uint64_t fraction) const {
  const uint64_t point = Scale(fraction, ends_.back());
  uint32_t index = guide_[Scale(fraction, guide_.size())];
  // Without a branch, which would be hard to predict.
  index += ends_[index] <= point;
  while (ABSL_PREDICT_FALSE(ends_[index] <= point)) ++index;
  return index;
}

}  // namespace mesh::balancing
