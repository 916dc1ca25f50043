#ifndef MESH_CLUSTER_TRIAL_TICKET_H_
#define MESH_CLUSTER_TRIAL_TICKET_H_

#include <cstdint>

namespace mesh::cluster {

// Which side of a trial a fair coin gave a call. A value; a default ticket
// belongs to no trial. The call keeps its ticket wherever it goes in the end.
// Only so is each side a fair sample, whatever becomes of a call.
class TrialTicket {
 public:
  // Numbers of trials are in 1..kMostTrials.
  static constexpr uint32_t kMostTrials = ~uint32_t{0} >> 1;

  TrialTicket() = default;
  TrialTicket(uint32_t trial, bool here) : bits_(trial << 1 | here) {}

  explicit operator bool() const { return bits_ != 0; }
  uint32_t trial() const { return bits_ >> 1; }
  // True: to the endpoint on trial. False: to another one.
  bool here() const { return (bits_ & 1) != 0; }

 private:
  uint32_t bits_ = 0;
};

}  // namespace mesh::cluster

#endif  // MESH_CLUSTER_TRIAL_TICKET_H_
