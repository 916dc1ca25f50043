#include "mesh/balancing/weight_table.h"

#include <algorithm>

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

  const size_t size = weights.size();
  guide_.reserve(size + 1);
  uint32_t index = 0;
  for (size_t b = 0; b < size; ++b) {
    const uint64_t point = Scale(LeastFraction(b, size), sum);
    while (ends_[index] <= point) ++index;
    guide_.push_back(index);
  }
  guide_.push_back(static_cast<uint32_t>(size - 1));
}

uint32_t WeightTable::Find(uint64_t fraction) const {
  const uint64_t b = Scale(fraction, ends_.size());
  const uint32_t low = guide_[b];
  const uint32_t high = guide_[b + 1];
  if (low == high) return low;
  const uint64_t point = Scale(fraction, ends_.back());
  return static_cast<uint32_t>(
      std::upper_bound(ends_.begin() + low, ends_.begin() + high, point) -
      ends_.begin());
}

}  // namespace mesh::balancing
