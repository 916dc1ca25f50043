#ifndef MESH_TELEMETRY_OBSERVER_H_
#define MESH_TELEMETRY_OBSERVER_H_

#include "mesh/telemetry/events.h"

namespace mesh::telemetry {

// Sees every decision of every call as it is made, on the thread that makes it.
// It must be quick and must not block, not even by a call that it waits for.
// Thread-safe. What it throws is caught and counted, and the first one is
// logged. The call goes on as if the observer had ignored the event.
//
// It may call the mesh back, but must not destroy it. The mesh holds no lock
// then, but for one. A hedged call has attempts on several threads, so it tells
// what it tells under a lock of its own, in one order. The functions of
// mesh::Mesh and other calls do not take that lock.
class Observer {
 public:
  virtual ~Observer() = default;
  // Calls that begin, and successful picks: only while WantsPicks().
  virtual void OnCallStart(const CallInfo&, const CallStartEvent&) {}
  virtual void OnPick(const CallInfo&, const PickEvent&) {}
  virtual void OnAttemptEnd(const CallInfo&, const AttemptEvent&) {}
  virtual void OnRetryDecision(const CallInfo&, const RetryEvent&) {}
  virtual void OnRefusal(const CallInfo&, const RefusalEvent&) {}
  virtual void OnCallEnd(const CallInfo&, const CallEvent&) {}
  virtual void OnHealth(const HealthEvent&) {}
  virtual void OnProbe(const ProbeEvent&) {}
  // An identity expires, or its source has no newer one.
  virtual void OnIdentity(const IdentityEvent&) {}
  // Rules do not let a call pass; at most ten events per second.
  virtual void OnDenial(const DenialEvent&) {}
  // A port of mesh takes no connections any more, because the system failed it.
  // On the control thread. The port's server may be ended there.
  virtual void OnPortFailure(const PortFailureEvent&) {}
  // On the control thread, and only while WantsPicks().
  virtual void OnPicker(const PickerEvent&) {}
  // Whether to be told of what goes well too: calls that begin, successful
  // picks with their candidates, new pickers. Asked once per call. The mesh's
  // metrics say no.
  virtual bool WantsPicks() const { return false; }
};

}  // namespace mesh::telemetry

#endif  // MESH_TELEMETRY_OBSERVER_H_
