#ifndef MESH_BALANCING_TIER_H_
#define MESH_BALANCING_TIER_H_

#include <cstdint>
#include <vector>

#include "mesh/balancing/picker.h"
#include "mesh/cluster/live_endpoint.h"

// What policies share: which members calls may go to at all, and the exact way
// to choose when the quick one does not find any.

namespace mesh::balancing {

// A policy that spreads calls over the ready members of one priority: the
// first that has a member which has not failed. What it does while none is
// ready is the same for every policy:
//   - some may yet become ready: calls wait for the next picker;
//   - all have failed: a call goes to one of them, which fails it at once with
//     the reason, or waits if it is to wait for ready;
//   - there are none: calls fail with the status given for it, or wait
//     likewise.
class TierBalancer : public LoadBalancer {
 public:
  PickerPtr Update(const std::vector<Member>& members,
                   const absl::Status& none) final;

 private:
  // `ready` is not empty.
  virtual PickerPtr MakePicker(std::vector<Member> ready) = 0;
};

// The members of one tier as picks read them. Immutable but for the live state
// of the endpoints.
class Tier {
 public:
  enum class Eligible : uint8_t {
    kReady,  // Only endpoints that are ready still.
    kAny,    // All that are not closed.
  };

  // `members` is not empty.
  Tier(std::vector<Member> members, Eligible eligible);

  uint32_t size() const { return size_; }
  cluster::LiveEndpoint* endpoint(uint32_t i) const { return endpoints_[i]; }
  uint32_t weight(uint32_t i) const { return weights_[i]; }
  const std::vector<uint32_t>& weights() const { return weights_; }
  bool equal_weights() const { return equal_weights_; }

  // The usable endpoint with the fewest calls in flight for its weight among
  // those not tried; if there are none, among those tried. Random among
  // equals. kWait when no endpoint is usable at all. Looks at all endpoints,
  // or until it meets an idle one.
  PickResult PickByScan(const PickArgs& args) const;

 private:
  const uint32_t size_;
  std::vector<cluster::LiveEndpoint*> endpoints_;
  std::vector<uint32_t> weights_;
  std::vector<cluster::LiveEndpointPtr> pins_;  // Keep endpoints_ alive.
  const Eligible eligible_;
  bool equal_weights_ = true;
};

inline bool WasTried(const PickArgs& args,
                     const cluster::LiveEndpoint* endpoint) {
  for (const cluster::LiveEndpoint* tried : args.tried) {
    if (tried == endpoint) return true;
  }
  return false;
}

inline PickResult Use(cluster::LiveEndpoint* acquired) {
  return {PickResult::Kind::kUse, acquired, nullptr};
}

}  // namespace mesh::balancing

#endif  // MESH_BALANCING_TIER_H_
