#ifndef MESH_BALANCING_PICKER_H_
#define MESH_BALANCING_PICKER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "mesh/base/random.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/cluster/load_shares.h"
#include "mesh/cluster/membership.h"
#include "mesh/cluster/trial_ticket.h"

namespace mesh::balancing {

// What a pick considered, for an observer. Least request considers two
// candidates or, when it looked at all endpoints, only the chosen one.
// `considered` counts them.
struct PickTrace {
  struct Candidate {
    const cluster::LiveEndpoint* endpoint = nullptr;
    int64_t in_flight = 0;
  };
  Candidate candidates[2];
  int considered = 0;
  // Some ready endpoint was passed over because this call had tried it.
  bool preferred_untried = false;
  // Some endpoint was ready and not available(), so the pick looked closer. Or
  // the pick did not go to the first priority.
  bool by_health = false;
};

// Says that a call has drawn no priority yet.
inline constexpr uint32_t kNoPriority = ~uint32_t{0};

// Where a call stands in the trial of an endpoint (resilience/health/trial.h).
// Its coin is tossed once, when it is about to go to an endpoint on trial.
struct Coin {
  cluster::TrialTicket ticket;  // None: the coin has not been tossed.

  // The call is to go to endpoints that are not on trial, while there are any.
  bool SendsElsewhere() const { return ticket && !ticket.here(); }
};

// What one pick may use.
struct PickArgs {
  // Endpoints that this call has tried already. They are used again only when
  // there is no other.
  absl::Span<const cluster::LiveEndpoint* const> tried;
  // How many of `tried`, counted from its end, have no room. Those are not used
  // at all.
  size_t full = 0;
  // Set for a hedge. Among untried endpoints the pick prefers those in another
  // locality than this one's. Null: no preference.
  const cluster::LiveEndpoint* elsewhere_than = nullptr;
  // The call would rather wait than fail while no endpoint can be reached.
  bool wait_for_ready = false;
  // The priority that the call has drawn, or kNoPriority. Where there are
  // several, the call's first pick draws one, and its other picks keep to it.
  // Null: each pick draws.
  uint32_t* priority = nullptr;
  // Set for the first attempt of a call. Null: another attempt, which trials do
  // not concern.
  Coin* coin = nullptr;
  base::Random* random = nullptr;  // Never null.
  PickTrace* trace = nullptr;      // Filled in when not null.
};

struct PickResult {
  enum class Kind : uint8_t {
    kUse,   // `endpoint` is acquired for the caller, who calls Release().
    kWait,  // Ask the next picker.
    kFail,  // Finish the call with `status`, unless it is to wait for ready.
    kDrop,  // Finish the call with `status`, whatever it wants.
  };
  Kind kind = Kind::kWait;
  cluster::LiveEndpoint* endpoint = nullptr;
  const absl::Status* status = nullptr;  // Lives as long as the picker.
  // Goes with kUse and kWait: nothing is connected and all dials have failed.
  // The endpoint, if there is one, fails the call at once, with the reason. The
  // call may ask for dials first.
  bool unreachable = false;
};

// Chooses an endpoint for one call. Holds all that a pick needs, so any number
// of threads may call Pick(), without a lock.
class Picker {
 public:
  virtual ~Picker() = default;
  virtual PickResult Pick(const PickArgs& args) const = 0;
};
using PickerPtr = std::shared_ptr<const Picker>;

// One endpoint as the control thread hands it to a policy.
using cluster::Member;

// Turns updates of endpoints, or of their readiness, into pickers. Control
// plane: one thread, may be slow.
class LoadBalancer {
 public:
  virtual ~LoadBalancer() = default;
  // `members` are in a stable order. `none` is what calls fail with while there
  // are no members at all; it is never OK. `shares` are those of the members'
  // priorities, if there are several. Null: the first one that is connected
  // carries all.
  virtual PickerPtr Update(
      const std::vector<Member>& members, const absl::Status& none,
      const std::shared_ptr<const cluster::LoadShares>& shares) = 0;
};

}  // namespace mesh::balancing

#endif  // MESH_BALANCING_PICKER_H_
