#ifndef MESH_RESILIENCE_HEALTH_POPULATION_H_
#define MESH_RESILIENCE_HEALTH_POPULATION_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/cluster/load_shares.h"
#include "mesh/resilience/health/record.h"

namespace mesh::resilience {

// Whether an endpoint counts against max_ejection_percent.
bool CountsAsEjected(const HealthRecord& record);

// How many endpoints of a service there are in each priority, and how many of
// them are out. A service with one priority has one tally, whatever the number
// of the priority. Not thread-safe.
class Population {
 public:
  // How the endpoints of one priority are.
  struct Tally {
    uint32_t endpoints = 0;  // As many as discovery names. 0 with one priority.
    uint32_t ready = 0;      // Connected, out or not.
    uint32_t out = 0;        // Ready ones that are suspect, ejected or probed.
    uint32_t probing = 0;    // Ready ones that are probed.
    uint32_t total = 0;      // Connected, or ejected.
    uint32_t ejected = 0;    // Those that CountsAsEjected().
    uint32_t dialled = 0;    // Not connected, and dialled a moment ago.

    uint32_t InUse() const { return ready > out ? ready - out : 0; }
    cluster::PriorityState State() const {
      return {endpoints, ready, InUse() + dialled};
    }
  };

  // Sets the priorities that there are. Null: there is one. Forgets all that
  // was counted.
  void SetPriorities(std::shared_ptr<const cluster::LoadShares> priorities);
  // How many endpoints discovery names, by place. After SetPriorities().
  void SetNamed(absl::Span<const uint32_t> endpoints);

  // Counts all endpoints anew. What was counted before holds until Finish(),
  // and longer if priorities were set meanwhile.
  void Begin();
  void Add(const cluster::LiveEndpoint& endpoint, const HealthRecord& record);
  // Counts an endpoint without a record, which is healthy and not connected.
  void AddUnconnected(const cluster::LiveEndpoint& endpoint, int64_t now);
  void Finish();

  // Between two counts: the health of one endpoint has become that of `record`.
  void Move(const cluster::LiveEndpoint& endpoint, cluster::Health from,
            bool was_ejected, const HealthRecord& record);

  // In the order of the priorities. There is one at least.
  size_t size() const { return tallies_.size(); }
  const Tally& operator[](size_t place) const { return tallies_[place]; }
  // Where an endpoint is counted. size(): nowhere, since it has none of the
  // priorities.
  size_t PlaceOf(const cluster::LiveEndpoint& endpoint) const;

  // The sum over all priorities.
  uint32_t total() const { return Sum(&Tally::total); }
  uint32_t ready() const { return Sum(&Tally::ready); }
  uint32_t ejected() const { return Sum(&Tally::ejected); }
  uint32_t InUse() const;
  // When those dialled a moment ago no longer count. kNever: there are none.
  int64_t dialled_until() const { return dialled_until_; }

 private:
  using Tallies = absl::InlinedVector<Tally, 1>;
  uint32_t Sum(uint32_t Tally::*count) const;

  std::shared_ptr<const cluster::LoadShares> priorities_;  // May be null.
  Tallies tallies_{1};
  int64_t dialled_until_ = kNever;
  // Since Begin().
  bool counting_ = false;
  Tallies counted_{1};
  int64_t counted_until_ = kNever;
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_POPULATION_H_
