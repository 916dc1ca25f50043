#ifndef MESH_RESILIENCE_HEALTH_POPULATION_H_
#define MESH_RESILIENCE_HEALTH_POPULATION_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "mesh/cluster/live_endpoint.h"
#include "mesh/resilience/health/record.h"

namespace mesh::resilience {

// Whether an endpoint counts against max_ejection_percent.
bool CountsAsEjected(const HealthRecord& record);

// How many endpoints of a service there are in each priority, and how many of
// them are out. Not thread-safe.
class Population {
 public:
  // Counts all endpoints anew; what was counted before holds until Finish().
  void Begin();
  void Add(const cluster::LiveEndpoint& endpoint, const HealthRecord& record);
  void Finish();
  // Between two counts: one that is connected goes out, or comes back; one is
  // ejected, or is no longer.
  void MoveOut(const cluster::LiveEndpoint& endpoint);
  void MoveIn(const cluster::LiveEndpoint& endpoint);
  void AddEjected() { ++ejected_; }
  void RemoveEjected() { ejected_ -= ejected_ > 0 ? 1 : 0; }

  // Connected, or ejected.
  uint32_t total() const { return total_; }
  // Connected, out or not.
  uint32_t ready() const { return ready_; }
  // Count against max_ejection_percent: ejected, or probing since.
  uint32_t ejected() const { return ejected_; }
  // Connected and not out.
  uint32_t InUse() const;
  // Whether fewer than this share are in use in every priority that there is.
  bool Panics(int threshold_percent) const;

 private:
  static constexpr uint32_t kPriorities = 128;
  // How many endpoints of a priority may be used as far as their connection
  // goes, and how many of those are suspect or ejected.
  struct Tally {
    uint32_t ready = 0;
    uint32_t out = 0;
    uint32_t InUse() const { return ready > out ? ready - out : 0; }
  };
  struct Counting {
    std::array<Tally, kPriorities> tallies = {};
    uint32_t total = 0;
    uint32_t ejected = 0;
  };

  static size_t PlaceOf(const cluster::LiveEndpoint& endpoint);

  Counting counting_;  // Since Begin().
  std::array<Tally, kPriorities> tallies_ = {};
  uint32_t total_ = 0;
  uint32_t ready_ = 0;
  uint32_t ejected_ = 0;
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_POPULATION_H_
