#ifndef MESH_BASE_ASIDE_H_
#define MESH_BASE_ASIDE_H_

#include "mesh/base/random.h"

namespace mesh::base {

// A generator of its own for code that only observes. It draws other numbers
// than `random`, and does not move it.
inline Random Aside(const Random& random) {
  return Random(Random(random.state() ^ 0x6f62736572766564u)());
}

}  // namespace mesh::base

#endif  // MESH_BASE_ASIDE_H_
