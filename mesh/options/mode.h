#ifndef MESH_OPTIONS_MODE_H_
#define MESH_OPTIONS_MODE_H_

#include <cstdint>

namespace mesh::options {

// Whether a policy acts.
enum class Mode : uint8_t {
  kOff,      // Neither computes nor acts.
  kObserve,  // Computes and counts what it would do.
  kEnforce,
};

}  // namespace mesh::options

#endif  // MESH_OPTIONS_MODE_H_
