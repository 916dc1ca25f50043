#ifndef MESH_BALANCING_LOAD_BALANCER_H_
#define MESH_BALANCING_LOAD_BALANCER_H_

#include <memory>

#include "mesh/balancing/picker.h"
#include "mesh/options/endpoints.h"

namespace mesh::balancing {

// A new instance of the policy, for one service.
std::unique_ptr<LoadBalancer> MakeLoadBalancer(options::BalancingPolicy policy);

}  // namespace mesh::balancing

#endif  // MESH_BALANCING_LOAD_BALANCER_H_
