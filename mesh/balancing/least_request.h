#ifndef MESH_BALANCING_LEAST_REQUEST_H_
#define MESH_BALANCING_LEAST_REQUEST_H_

#include <vector>

#include "mesh/balancing/tier.h"

namespace mesh::balancing {

// Least request by power of two choices (Mitzenmacher, "The power of two
// choices in randomized load balancing", 2001). Two endpoints are drawn at
// random, and the one with fewer calls in flight is used. With weights,
// endpoints are drawn in proportion to them, and in_flight / weight is
// compared. So idle endpoints get traffic by weight, and loaded ones by what
// they can take.
class LeastRequest final : public TierBalancer {
 private:
  TierPickerPtr MakePicker(Tier ready) override;
};

}  // namespace mesh::balancing

#endif  // MESH_BALANCING_LEAST_REQUEST_H_
