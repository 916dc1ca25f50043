#include "mesh/cluster/load_shares.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace mesh::cluster {

uint32_t CapacityOf(const PriorityState& state, int ahead) {
  const auto most = static_cast<uint64_t>(std::max(ahead, 1));
  const uint64_t wanted =
      std::max<uint64_t>(1, std::min<uint64_t>(most, state.endpoints));
  // 1.4 is 7 / 5. Rounded up, so that parts that make a whole add up to one.
  const uint64_t part =
      (uint64_t{kWholeLoad} * 7 * state.usable + 5 * wanted - 1) / (5 * wanted);
  return static_cast<uint32_t>(std::min<uint64_t>(part, kWholeLoad));
}

uint64_t SumOfCapacities(absl::Span<const PriorityState> states, int ahead) {
  uint64_t sum = 0;
  for (const PriorityState& state : states) sum += CapacityOf(state, ahead);
  return sum;
}

std::vector<uint32_t> SpreadLoad(absl::Span<const PriorityState> states,
                                 int ahead) {
  std::vector<uint32_t> shares(states.size());
  if (states.empty()) return shares;
  // What each takes of `sum`, where the load is less than that.
  std::vector<uint64_t> parts(states.size());
  for (size_t i = 0; i < states.size(); ++i) {
    parts[i] = CapacityOf(states[i], ahead);
  }
  uint64_t sum = std::accumulate(parts.begin(), parts.end(), uint64_t{0});
  uint64_t load = kWholeLoad;
  if (sum == 0) {
    for (size_t i = 0; i < states.size(); ++i) parts[i] = states[i].connected;
    load = sum = std::accumulate(parts.begin(), parts.end(), uint64_t{0});
  }
  load = std::min(load, sum);
  if (load == 0) {
    shares[0] = kWholeLoad;
    return shares;
  }
  // The ends of the shares are rounded, not the shares: nothing gets lost.
  uint64_t before = 0;
  for (size_t i = 0; i < states.size(); ++i) {
    const uint64_t end = std::min(before + parts[i], load);
    shares[i] = static_cast<uint32_t>(end * kWholeLoad / load -
                                      before * kWholeLoad / load);
    before = end;
  }
  return shares;
}

LoadShares::LoadShares(std::vector<uint32_t> priorities)
    : priorities_(std::move(priorities)),
      ends_(std::make_unique<std::atomic<uint32_t>[]>(priorities_.size())),
      to_probe_(priorities_.size()) {
  for (size_t i = 0; i < priorities_.size(); ++i) ends_[i] = kWholeLoad;
}

size_t LoadShares::PlaceOf(uint32_t priority) const {
  const auto found =
      std::lower_bound(priorities_.begin(), priorities_.end(), priority);
  if (found == priorities_.end() || *found != priority) {
    return priorities_.size();
  }
  return static_cast<size_t>(found - priorities_.begin());
}

void LoadShares::Set(absl::Span<const uint32_t> shares, size_t to_probe) {
  uint32_t end = 0;
  for (size_t i = 0; i < priorities_.size(); ++i) {
    end += shares[i];
    ends_[i].store(end, std::memory_order_relaxed);
  }
  to_probe_.store(to_probe, std::memory_order_relaxed);
}

uint32_t LoadShares::share(size_t place) const {
  return End(place) - (place == 0 ? 0 : End(place - 1));
}

size_t LoadShares::Draw(base::Random* random) const {
  if (FirstCarriesAll()) return 0;
  const uint32_t drawn = random->Below(kWholeLoad);
  for (size_t i = 0; i + 1 < priorities_.size(); ++i) {
    if (drawn < End(i)) return i;
  }
  return priorities_.size() - 1;
}

}  // namespace mesh::cluster
