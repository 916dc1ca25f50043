#ifndef MESH_CLUSTER_LOAD_SHARES_H_
#define MESH_CLUSTER_LOAD_SHARES_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "mesh/base/random.h"

// How the calls of a service are spread over the priorities of its endpoints.

namespace mesh::cluster {

// All of the load. Shares of it are whole numbers of this.
inline constexpr uint32_t kWholeLoad = 1 << 16;

// How long an endpoint that is being connected to counts as usable, in
// nanoseconds. The time runs from its first dial since it was found or was last
// READY.
inline constexpr int64_t kDialGrace = 1'000'000'000;

// What is known of the endpoints of one priority.
struct PriorityState {
  uint32_t endpoints = 0;  // As many as discovery names.
  uint32_t connected = 0;
  // Connected and neither ejected nor silent; or dialled less than kDialGrace
  // ago.
  uint32_t usable = 0;
};

// The part of the load that a priority could carry: min(1, 1.4 x usable /
// wanted). `wanted` is the lesser of its endpoints and `ahead`, and at least 1.
uint32_t CapacityOf(const PriorityState& state, int ahead);

// What the priorities could carry together. From kWholeLoad on, all is well.
// States are in the order of the priorities, here and below.
uint64_t SumOfCapacities(absl::Span<const PriorityState> states, int ahead);

// The share of each priority: what it can carry of what those before it leave.
// If all together cannot carry the whole load, each takes more in proportion.
// If none can carry any, each takes as much as it has connected endpoints. The
// shares add up to kWholeLoad, unless there are no priorities at all.
std::vector<uint32_t> SpreadLoad(absl::Span<const PriorityState> states,
                                 int ahead);

// The shares of a service with several priorities, as picks read them. Whoever
// judges the health of endpoints sets them, so a change of health makes no new
// picker. Thread-safe.
class LoadShares {
 public:
  // `priorities` ascend, and there is at least one. The first carries all.
  explicit LoadShares(std::vector<uint32_t> priorities);

  const std::vector<uint32_t>& priorities() const { return priorities_; }
  // The index of `priority`; priorities().size() if it is not one of them.
  size_t PlaceOf(uint32_t priority) const;

  // Sets the shares by index; they add up to kWholeLoad. `to_probe` is the
  // index of a priority that carries nothing and has endpoints that calls are
  // to try singly. If there is none, it is the number of priorities. One thread
  // at a time.
  void Set(absl::Span<const uint32_t> shares, size_t to_probe);
  uint32_t share(size_t place) const;
  size_t to_probe() const { return to_probe_.load(std::memory_order_relaxed); }

  // Whether the first priority carries all, so that no draw is needed.
  bool FirstCarriesAll() const { return End(0) == kWholeLoad; }
  // Draws the index of a priority; each is as likely as its share says.
  size_t Draw(base::Random* random) const;

 private:
  uint32_t End(size_t place) const {
    return ends_[place].load(std::memory_order_relaxed);
  }

  const std::vector<uint32_t> priorities_;
  // The sum of the shares up to each. A reader may see some old and some new
  // ones. It then draws a priority that carries load either before or after.
  const std::unique_ptr<std::atomic<uint32_t>[]> ends_;
  std::atomic<size_t> to_probe_;
};

}  // namespace mesh::cluster

#endif  // MESH_CLUSTER_LOAD_SHARES_H_
