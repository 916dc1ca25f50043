#include "mesh/resilience/guard.h"

namespace mesh::resilience {

void Asking::Observe(base::Guard guard) {
  if (listener == nullptr) return;
  Refusal observed;
  observed.guard = guard;
  observed.observed = true;
  listener->OnRefusal(observed);
}

}  // namespace mesh::resilience
