#include "mesh/balancing/load_balancer.h"

#include "mesh/balancing/least_request.h"
#include "mesh/balancing/round_robin.h"

namespace mesh::balancing {

std::unique_ptr<LoadBalancer> MakeLoadBalancer(
    options::BalancingPolicy policy) {
  switch (policy) {
    case options::BalancingPolicy::kLeastRequest:
      return std::make_unique<LeastRequest>();
    case options::BalancingPolicy::kRoundRobin:
      return std::make_unique<RoundRobin>();
  }
  return nullptr;  // Not reached: every policy returns above.
}

}  // namespace mesh::balancing
