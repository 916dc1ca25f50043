#include "mesh/resilience/health/population.h"

#include <algorithm>
#include <utility>

namespace mesh::resilience {

using cluster::Health;

bool CountsAsEjected(const HealthRecord& record) {
  // An endpoint that leaves by itself takes no place from those that fail.
  if (record.cause == cluster::HealthCause::kDraining) return false;
  return record.health == Health::kEjected ||
         (record.health == Health::kProbing && !IsSilence(record.cause));
}

void Population::SetPriorities(
    std::shared_ptr<const cluster::LoadShares> priorities) {
  priorities_ = std::move(priorities);
  const size_t size =
      priorities_ == nullptr ? 1 : priorities_->priorities().size();
  tallies_.assign(size, Tally());
  dialled_until_ = kNever;
  counting_ = false;
}

void Population::Begin() {
  counting_ = true;
  counted_.assign(tallies_.size(), Tally());
  counted_until_ = kNever;
}

void Population::Add(const cluster::LiveEndpoint& endpoint,
                     const HealthRecord& record) {
  const size_t place = PlaceOf(endpoint);
  if (!counting_ || place == counted_.size()) return;
  Tally& tally = counted_[place];
  const bool ready = endpoint.readiness() == cluster::Readiness::kReady;
  if (ready) {
    ++tally.ready;
    if (IsOut(record.health)) ++tally.out;
    if (record.health == Health::kProbing) ++tally.probing;
  }
  if (ready || record.health == Health::kEjected) ++tally.total;
  if (CountsAsEjected(record)) ++tally.ejected;
}

void Population::AddUnconnected(const cluster::LiveEndpoint& endpoint,
                                int64_t now) {
  const int64_t dialled = endpoint.first_dial();
  if (dialled == 0 || priorities_ == nullptr || !counting_) return;
  const int64_t until = dialled + cluster::kDialGrace;
  const size_t place = PlaceOf(endpoint);
  if (now >= until || place == counted_.size()) return;
  ++counted_[place].dialled;
  counted_until_ = std::min(counted_until_, until);
}

void Population::Finish() {
  if (!counting_) return;
  counting_ = false;
  for (size_t i = 0; i < tallies_.size(); ++i) {
    counted_[i].endpoints = tallies_[i].endpoints;
  }
  tallies_.swap(counted_);
  dialled_until_ = counted_until_;
}

void Population::SetNamed(absl::Span<const uint32_t> endpoints) {
  for (size_t i = 0; i < tallies_.size() && i < endpoints.size(); ++i) {
    tallies_[i].endpoints = endpoints[i];
  }
}

void Population::Move(const cluster::LiveEndpoint& endpoint, Health from,
                      bool was_ejected, const HealthRecord& record) {
  const size_t place = PlaceOf(endpoint);
  // An endpoint that discovery no longer names is not counted.
  if (endpoint.closed() || place == tallies_.size()) return;
  Tally& tally = tallies_[place];
  const auto change = [](uint32_t* count, bool was, bool is) {
    if (is && !was) ++*count;
    if (was && !is && *count > 0) --*count;
  };
  if (endpoint.readiness() == cluster::Readiness::kReady) {
    change(&tally.out, IsOut(from), IsOut(record.health));
    change(&tally.probing, from == Health::kProbing,
           record.health == Health::kProbing);
  }
  change(&tally.ejected, was_ejected, CountsAsEjected(record));
}

size_t Population::PlaceOf(const cluster::LiveEndpoint& endpoint) const {
  return priorities_ == nullptr ? 0 : priorities_->PlaceOf(endpoint.priority());
}

uint32_t Population::Sum(uint32_t Tally::*count) const {
  uint32_t sum = 0;
  for (const Tally& tally : tallies_) sum += tally.*count;
  return sum;
}

uint32_t Population::InUse() const {
  uint32_t in_use = 0;
  for (const Tally& tally : tallies_) in_use += tally.InUse();
  return in_use;
}

}  // namespace mesh::resilience
