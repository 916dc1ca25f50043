#ifndef MESH_SERVICE_WAITER_H_
#define MESH_SERVICE_WAITER_H_

namespace mesh::service {

// A call that a ParkingLot keeps. It is woken once, in one of these ways, on
// the control thread, with no lock held.
class Waiter {
 public:
  // Its time has come.
  virtual void OnTimer() = 0;
  // The snapshot is another one.
  virtual void OnEndpointsChanged() = 0;
  // It was cancelled, by the application or with its parent.
  virtual void OnCancelled() = 0;

 protected:
  ~Waiter() = default;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_WAITER_H_
