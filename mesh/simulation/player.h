#ifndef MESH_SIMULATION_PLAYER_H_
#define MESH_SIMULATION_PLAYER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "mesh/balancing/load_balancer.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/options/endpoints.h"
#include "mesh/simulation/replay.h"
#include "mesh/simulation/trace_line.h"

namespace mesh::simulation {

// Plays the calls of one trace.
class Player {
 public:
  explicit Player(options::BalancingPolicy policy) : policy_(policy) {}

  absl::Status AddPicker(const Line& line);
  // `lines` is a call's, from "call" to "end".
  absl::Status Play(const std::vector<Line>& lines);

  const ReplayCount& count() const { return count_; }

 private:
  struct Recorded {
    std::unique_ptr<balancing::LoadBalancer> balancer;
    std::vector<balancing::Member> members;
    std::vector<cluster::Readiness> readiness;

    // Every member's dial had failed: what it picks is unreachable.
    bool AllFailed() const;
  };

  cluster::LiveEndpointPtr EndpointOf(absl::string_view escaped);

  // One call, played: its lines are the script, and what the machine does is
  // held against them.
  class Stage;

  const options::BalancingPolicy policy_;
  std::map<std::string, cluster::LiveEndpointPtr> endpoints_;
  std::map<int64_t, Recorded> pickers_;
  ReplayCount count_;
};

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_PLAYER_H_
