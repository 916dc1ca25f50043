#ifndef MESH_BASE_RANDOM_H_
#define MESH_BASE_RANDOM_H_

#include <cstdint>

namespace mesh::base {

// A seeded source of random numbers. Its sequence is the same on every machine
// and in every build, so that a simulation can be replayed from its seed.
// Abseil's generators do not promise that. SplitMix64 (Steele, Lea, Flood,
// "Fast splittable pseudorandom number generators", OOPSLA 2014). Satisfies
// UniformRandomBitGenerator. Not for secrets. Not thread-safe: use one per
// thread.
class Random {
 public:
  using result_type = uint64_t;

  explicit constexpr Random(uint64_t seed) : state_(seed) {}

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return ~uint64_t{0}; }

  constexpr result_type operator()() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // A number in [0, limit), `limit` > 0. The bias is below limit / 2^32.
  constexpr uint32_t Below(uint32_t limit) {
    return static_cast<uint32_t>(((*this)() >> 32) * uint64_t{limit} >> 32);
  }

  // A number in [0, 1).
  constexpr double Unit() {
    return static_cast<double>((*this)() >> 11) * 0x1.0p-53;
  }

  // A generator constructed with this goes on from here.
  constexpr uint64_t state() const { return state_; }

 private:
  uint64_t state_;
};

// This thread's generator, seeded from the system's entropy. It is for the
// shells; code that decides is given a Random.
Random& ThreadRandom();

}  // namespace mesh::base

#endif  // MESH_BASE_RANDOM_H_
