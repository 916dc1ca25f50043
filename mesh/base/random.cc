#include "mesh/base/random.h"

#include <random>

namespace mesh::base {

Random& ThreadRandom() {
  thread_local Random random([] {
    std::random_device entropy;
    return (uint64_t{entropy()} << 32) | entropy();
  }());
  return random;
}

}  // namespace mesh::base
