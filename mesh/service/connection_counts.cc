#include "mesh/service/connection_counts.h"

#include <algorithm>

namespace mesh::service {

std::shared_ptr<void> ConnectionCounts::Add(const std::string& address,
                                            uint64_t generation) {
  Counts::iterator counted;
  {
    base::MutexLock lock(&mu_);
    counted = counts_.try_emplace({address, generation}, 0).first;
    ++counted->second;
  }
  return {this, [self = shared_from_this(), counted](void*) {
            base::MutexLock lock(&self->mu_);
            if (--counted->second == 0) self->counts_.erase(counted);
          }};
}

std::map<uint64_t, uint64_t> ConnectionCounts::ByGeneration() const {
  std::map<uint64_t, uint64_t> by_generation;
  base::MutexLock lock(&mu_);
  for (const auto& [key, count] : counts_) by_generation[key.second] += count;
  return by_generation;
}

uint64_t ConnectionCounts::MostGenerations() const {
  uint64_t most = 0;
  uint64_t here = 0;
  const std::string* address = nullptr;
  base::MutexLock lock(&mu_);
  for (const auto& [key, count] : counts_) {
    here = address != nullptr && *address == key.first ? here + 1 : 1;
    address = &key.first;
    most = std::max(most, here);
  }
  return most;
}

}  // namespace mesh::service
