#ifndef MESH_SERVICE_RENEWAL_GATE_H_
#define MESH_SERVICE_RENEWAL_GATE_H_

#include <deque>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "mesh/base/mutex.h"

namespace mesh::service {

// Bounds how many connections of a process are renewed at one time. A handshake
// takes a core for a while, and calls need the cores as well. Thread-safe.
class RenewalGate {
 public:
  // A place, until the last copy of it is gone. Never null where one is given.
  using Place = std::shared_ptr<void>;
  using Granted = std::function<void(Place place)>;

  // `places`: at least 1. The gate outlives its places.
  explicit RenewalGate(int places) : free_(places) {}
  RenewalGate(const RenewalGate&) = delete;
  RenewalGate& operator=(const RenewalGate&) = delete;

  // The gate of this process has one place for each of its cores.
  static RenewalGate& OfProcess();

  // Calls `granted` once, with a place: now, or later on any thread. Whoever
  // asked first is served first. `granted` must be quick, and may call Enter().
  // No lock is held.
  void Enter(Granted granted);

 private:
  Place Take();
  void Leave();

  base::Mutex mu_;
  int free_ ABSL_GUARDED_BY(mu_);
  std::deque<Granted> waiting_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_RENEWAL_GATE_H_
