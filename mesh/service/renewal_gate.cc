#include "mesh/service/renewal_gate.h"

#include <algorithm>
#include <thread>
#include <utility>

namespace mesh::service {

RenewalGate& RenewalGate::OfProcess() {
  static auto* const gate = new RenewalGate(
      std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  return *gate;
}

void RenewalGate::Enter(Granted granted) {
  {
    base::MutexLock lock(&mu_);
    if (free_ == 0) {
      waiting_.push_back(std::move(granted));
      return;
    }
    --free_;
  }
  granted(Take());
}

RenewalGate::Place RenewalGate::Take() {
  return Place(this, [this](void*) { Leave(); });
}

void RenewalGate::Leave() {
  Granted next;
  {
    base::MutexLock lock(&mu_);
    if (waiting_.empty()) {
      ++free_;
      return;
    }
    next = std::move(waiting_.front());
    waiting_.pop_front();
  }
  next(Take());
}

}  // namespace mesh::service
