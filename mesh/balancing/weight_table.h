#ifndef MESH_BALANCING_WEIGHT_TABLE_H_
#define MESH_BALANCING_WEIGHT_TABLE_H_

#include <cstdint>
#include <vector>

namespace mesh::balancing {

// Maps a number of [0, 1) to an index, so that each index gets a share in
// proportion to its weight. The shares lie side by side in order of index. A
// guide of equal steps tells where a search begins (Chen and Asau, "On
// generating random variates from an empirical distribution", 1974). So a
// lookup takes constant time on average, whatever the weights.
//
// Immutable: any number of threads may read it.
class WeightTable {
 public:
  // `weights` is not empty; no weight is 0.
  explicit WeightTable(const std::vector<uint32_t>& weights);

  // The index whose share `fraction` / 2^64 falls in.
  uint32_t Find(uint64_t fraction) const;

 private:
  std::vector<uint64_t> ends_;  // Sum of the weights up to each index.
  // Element i: the index of the fraction i / size of the guide.
  std::vector<uint32_t> guide_;
};

}  // namespace mesh::balancing

#endif  // MESH_BALANCING_WEIGHT_TABLE_H_
