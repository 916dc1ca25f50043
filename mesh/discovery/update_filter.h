#ifndef MESH_DISCOVERY_UPDATE_FILTER_H_
#define MESH_DISCOVERY_UPDATE_FILTER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/cluster/endpoint.h"

namespace mesh::discovery {

// Decides which reports of a resolver are applied. The rule:
//
// - A failure is never applied: the last set stays.
// - A set that names endpoints is applied at once.
// - An empty set is applied at once while nothing, or an empty set, is in
//   force.
// - An empty set after one that names endpoints is doubted, because a registry
//   that loses its data reports just that. It is applied when it has been
//   reported kReports times running, or has stood for kStanding without another
//   report. A failure in between means that the source is ill: the doubt begins
//   again with the next report.
//
// Pure: time comes in with each call. Not thread-safe.
class UpdateFilter {
 public:
  static constexpr int kReports = 3;
  static constexpr absl::Duration Standing() { return absl::Seconds(10); }

  struct Decision {
    // What to apply now. Null: nothing.
    cluster::EndpointSetPtr apply;
    // When to call OnTime(), unless OnUpdate() is called before.
    // InfiniteFuture: never.
    absl::Time look_again = absl::InfiniteFuture();
  };

  // Counts since construction.
  struct Counters {
    uint64_t applied = 0;   // Sets, empty ones included.
    uint64_t failures = 0;  // Reports of a failure.
    uint64_t doubted = 0;   // Reports of an empty set that were held back.
    uint64_t emptied = 0;   // Times that a doubted empty set was applied.
    uint64_t averted = 0;   // Times that endpoints came back while it was held.
  };

  Decision OnUpdate(const absl::StatusOr<cluster::EndpointSetPtr>& update,
                    absl::Time now);
  Decision OnTime(absl::Time now);

  // Whether an empty set is held back.
  bool doubting() const { return held_ != nullptr; }
  const Counters& counters() const { return counters_; }

 private:
  Decision Apply(cluster::EndpointSetPtr set);

  bool has_endpoints_ = false;    // The set in force names some.
  cluster::EndpointSetPtr held_;  // The doubted set. Null: none.
  int reports_ = 0;               // How often it was reported in a row.
  absl::Time apply_held_at_;
  Counters counters_;
};

}  // namespace mesh::discovery

#endif  // MESH_DISCOVERY_UPDATE_FILTER_H_
