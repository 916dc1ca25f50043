#ifndef MESH_BALANCING_TIER_H_
#define MESH_BALANCING_TIER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "mesh/balancing/picker.h"
#include "mesh/cluster/live_endpoint.h"

// What policies share: which members calls may go to at all, and the exact way
// to choose when the quick one does not find any.

namespace mesh::balancing {

// How far a pick goes in one tier. While other tiers may have better endpoints,
// it goes no further than needed.
enum class Reach : uint8_t {
  kUntried,  // To endpoints that are in use and that the call has not tried.
  kUsable,   // To all endpoints that are in use.
  kAll,
};

// The members of one tier as picks read them. Immutable but for the live state
// of the endpoints.
class Tier {
 public:
  enum class Eligible : uint8_t {
    kReady,  // Only endpoints that are still ready.
    kAny,    // All endpoints that are not closed.
  };

  // `members` is not empty.
  Tier(std::vector<Member> members, Eligible eligible);

  uint32_t size() const { return size_; }
  cluster::LiveEndpoint* endpoint(uint32_t i) const { return endpoints_[i]; }
  uint32_t weight(uint32_t i) const { return weights_[i]; }
  const std::vector<uint32_t>& weights() const { return weights_; }
  bool equal_weights() const { return equal_weights_; }

  // Whether a pick may consider this endpoint as good as any other. It is asked
  // about an endpoint that is not available(), or by a call that has been
  // elsewhere. An endpoint with part of its share gets that part of the picks,
  // by a draw. True takes the place of one that is probed, so such an endpoint
  // is to be used then.
  bool Accepts(const PickArgs& args, cluster::LiveEndpoint* endpoint) const;

  // Asked about an endpoint that is not available() and that the call is about
  // to go to. False when it is on trial and the coin sends the call elsewhere.
  // From then on the call passes over what is on trial.
  bool Goes(const PickArgs& args, cluster::LiveEndpoint* endpoint) const;

  // The endpoint with the fewest calls in flight for its weight, random among
  // equals. It is of the first of these kinds that has any:
  // - not tried by this call, accepted, and elsewhere if that is wanted;
  // - not tried, and not out of use (suspect or ejected);
  // - not out of use;
  // - any: health is ignored when nothing else is left.
  //
  // kWait when there is none within `reach` that has room. Looks at all
  // endpoints, or until it meets an idle one of the first kind. `passed` was
  // not accepted before and is not now; null: there is none.
  PickResult PickByScan(const PickArgs& args, Reach reach,
                        const cluster::LiveEndpoint* passed = nullptr) const;

 private:
  uint32_t size_;
  std::vector<cluster::LiveEndpoint*> endpoints_;
  std::vector<uint32_t> weights_;
  std::vector<cluster::LiveEndpointPtr> pins_;  // They keep endpoints_ alive.
  Eligible eligible_;
  bool equal_weights_ = true;
};

// A policy's picker for the ready members of one priority. A service with one
// priority uses it by itself.
class TierPicker : public Picker {
 public:
  // Like Pick(), but returns kWait where it would go beyond `reach`.
  virtual PickResult PickWithin(const PickArgs& args, Reach reach) const = 0;
};
using TierPickerPtr = std::unique_ptr<const TierPicker>;

// A policy that spreads calls over the ready members of each priority. This is
// the same for every policy:
// - A call draws one of the priorities; each is as likely as its share of the
//   load says. The shares change without a new picker. While only one priority
//   is ready there is no draw.
// - The call goes to an endpoint of that priority that it has not tried and
//   that is in use. If there is none, it goes to such an endpoint of the first
//   other priority that has one. If there is none either, it goes to one that
//   it has tried, in the same order.
// - Health is ignored when all that is ready is out of use.
// - While no endpoint is ready in any priority, some may yet become so: calls
//   wait for the next picker.
// - When all have failed, a call goes to one of them, which fails it at once
//   with the reason. A call that waits for ready waits.
// - When there are no endpoints, calls fail with the status given for it. A
//   call that waits for ready waits.
class TierBalancer : public LoadBalancer {
 public:
  PickerPtr Update(
      const std::vector<Member>& members, const absl::Status& none,
      const std::shared_ptr<const cluster::LoadShares>& shares) final;

 private:
  virtual TierPickerPtr MakePicker(Tier ready) = 0;
};

inline bool WasTried(const PickArgs& args,
                     const cluster::LiveEndpoint* endpoint) {
  for (const cluster::LiveEndpoint* tried : args.tried) {
    if (tried == endpoint) return true;
  }
  return false;
}

inline bool IsFull(const PickArgs& args,
                   const cluster::LiveEndpoint* endpoint) {
  for (size_t i = args.tried.size() - args.full; i < args.tried.size(); ++i) {
    if (args.tried[i] == endpoint) return true;
  }
  return false;
}

// Whether the coin of the call has sent it away from endpoints like this one.
inline bool IsSentAway(const PickArgs& args,
                       const cluster::LiveEndpoint* endpoint) {
  return args.coin != nullptr && args.coin->SendsElsewhere() &&
         endpoint->health() == cluster::Health::kTrial;
}

// Whether the call would rather go to `endpoint` than to others. It would when
// `endpoint` stands in another place than the attempt beside which this one is
// made, as far as both places are known.
bool IsElsewhere(const PickArgs& args, const cluster::LiveEndpoint* endpoint);

inline PickResult Use(cluster::LiveEndpoint* acquired) {
  return {PickResult::Kind::kUse, acquired, nullptr};
}

}  // namespace mesh::balancing

#endif  // MESH_BALANCING_TIER_H_
