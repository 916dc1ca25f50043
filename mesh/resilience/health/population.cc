#include "mesh/resilience/health/population.h"

#include <algorithm>

namespace mesh::resilience {

using cluster::Health;

bool CountsAsEjected(const HealthRecord& record) {
  // What leaves by itself takes no place of what fails.
  if (record.cause == cluster::HealthCause::kDraining) return false;
  return record.health == Health::kEjected ||
         (record.health == Health::kProbing && !IsSilence(record.cause));
}

void Population::Begin() { counting_ = Counting(); }

void Population::Add(const cluster::LiveEndpoint& endpoint,
                     const HealthRecord& record) {
  const bool ready = endpoint.readiness() == cluster::Readiness::kReady;
  if (ready) {
    Tally& tally = counting_.tallies[PlaceOf(endpoint)];
    ++tally.ready;
    if (IsOut(record.health)) ++tally.out;
  }
  if (ready || record.health == Health::kEjected) ++counting_.total;
  if (CountsAsEjected(record)) ++counting_.ejected;
}

void Population::Finish() {
  tallies_ = counting_.tallies;
  total_ = counting_.total;
  ejected_ = counting_.ejected;
  ready_ = 0;
  for (const Tally& tally : tallies_) ready_ += tally.ready;
}

void Population::MoveOut(const cluster::LiveEndpoint& endpoint) {
  ++tallies_[PlaceOf(endpoint)].out;
}

void Population::MoveIn(const cluster::LiveEndpoint& endpoint) {
  uint32_t& out = tallies_[PlaceOf(endpoint)].out;
  out -= std::min(out, 1u);
}

size_t Population::PlaceOf(const cluster::LiveEndpoint& endpoint) {
  return std::min<uint32_t>(endpoint.endpoint().priority, kPriorities - 1);
}

uint32_t Population::InUse() const {
  uint32_t in_use = 0;
  for (const Tally& tally : tallies_) in_use += tally.InUse();
  return in_use;
}

bool Population::Panics(int threshold_percent) const {
  bool some = false;
  for (const Tally& tally : tallies_) {
    if (tally.ready == 0) continue;
    some = true;
    if (tally.InUse() * 100 >=
        static_cast<uint32_t>(threshold_percent) * tally.ready) {
      return false;
    }
  }
  return some;
}

}  // namespace mesh::resilience
