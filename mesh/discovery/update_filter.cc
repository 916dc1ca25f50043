#include "mesh/discovery/update_filter.h"

#include <utility>

namespace mesh::discovery {

UpdateFilter::Decision UpdateFilter::OnUpdate(
    const absl::StatusOr<cluster::EndpointSetPtr>& update, absl::Time now) {
  if (!update.ok() || *update == nullptr) {
    ++counters_.failures;
    held_ = nullptr;
    return {};
  }
  if (!(*update)->endpoints.empty()) {
    if (held_ != nullptr) ++counters_.averted;
    return Apply(*update);
  }
  if (!has_endpoints_) return Apply(*update);

  if (held_ == nullptr) {
    held_ = *update;
    reports_ = 0;
    apply_held_at_ = now + Standing();
  }
  if (++reports_ < kReports && now < apply_held_at_) {
    ++counters_.doubted;
    return {nullptr, apply_held_at_};
  }
  ++counters_.emptied;
  return Apply(*update);
}

UpdateFilter::Decision UpdateFilter::OnTime(absl::Time now) {
  if (held_ == nullptr) return {};
  if (now < apply_held_at_) return {nullptr, apply_held_at_};
  ++counters_.emptied;
  return Apply(held_);
}

UpdateFilter::Decision UpdateFilter::Apply(cluster::EndpointSetPtr set) {
  ++counters_.applied;
  held_ = nullptr;
  has_endpoints_ = !set->endpoints.empty();
  return {std::move(set), absl::InfiniteFuture()};
}

}  // namespace mesh::discovery
