#ifndef MESH_SERVICE_CONNECTION_PLAN_H_
#define MESH_SERVICE_CONNECTION_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mesh/base/random.h"
#include "mesh/cluster/health.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/options/endpoints.h"

// Whom to connect to, and whose connection to close: pure, from values.

namespace mesh::service {

// How long after the first dial of one priority the next one is dialled. Also
// how long a dial may run before it no longer holds up the next. (gRFC A56's
// timer, and RFC 8305's, made short.)
inline constexpr absl::Duration kDialHangs = absl::Milliseconds(250);
// The latter, while somebody waits and nothing is connected.
inline constexpr absl::Duration kDialHangsForCalls = absl::Milliseconds(100);
// For how long from its first dial on an endpoint counts as one that will carry
// load.
inline constexpr absl::Duration kTrusted = absl::Seconds(1);
// A priority carries all the load when its usable endpoints are this share of
// those that it wants. The number is Envoy's overprovisioning factor.
inline constexpr double kOverprovisioning = 1.4;
// How long an unwanted connection must be without a call before it is closed.
// One that is lost and not wanted is given back.
inline constexpr absl::Duration kSurplusLasts = absl::Seconds(30);
inline constexpr absl::Duration kIdleLasts = absl::Minutes(1);
// Dials that calls ask for: one per endpoint in this time, and this many per
// service.
inline constexpr absl::Duration kAskAgain = absl::Seconds(1);
inline constexpr int kMostAsked = 10;

// A connection whose secrets were withdrawn, or whose peer has expired, is
// dialled anew within the first of these times. After the second it is ended,
// so that it is gone after 5 s.
inline constexpr absl::Duration kUrgentSpread = absl::Seconds(1);
inline constexpr absl::Duration kUrgentLasts = absl::Milliseconds(4500);
// For how long the dial of a renewal that hangs holds up others.
inline constexpr absl::Duration kRenewalHangs = absl::Seconds(1);
// A renewal waits while so many earlier connections of its endpoint drain. So
// no more than three generations are open.
inline constexpr int kMostDraining = 2;

// The generations of a service's secrets; see Secrets.
struct Generations {
  uint64_t newest = 0;
  uint64_t withdrawn_before = 0;
  absl::Duration spread;
};

// How long a connection is to last.
struct ConnectionTerm {
  // Its peer is not to be trusted from then on.
  absl::Time expires_at = absl::InfiniteFuture();
  // It is to be replaced from then on. It keeps that time when there is a newer
  // generation still.
  absl::Time renew_at = absl::InfiniteFuture();
  // It is to be gone by then, with all that runs on it.
  absl::Time gone_by = absl::InfiniteFuture();

  bool urgent() const { return gone_by != absl::InfiniteFuture(); }
  bool over(absl::Time now) const { return gone_by <= now; }
};

// The term of a connection with secrets of `generation`, from what it was.
ConnectionTerm PlanTerm(ConnectionTerm term, uint64_t generation,
                        const Generations& generations, base::Random* random,
                        absl::Time now);

// The second connection of an endpoint. It takes the place of the first when it
// is connected.
struct SecondState {
  bool made = false;
  bool dialling = false;
  absl::Time redial_at = absl::InfinitePast();  // Not before, if it failed.
};

// An endpoint that discovery names.
struct EndpointState {
  uint32_t priority = 0;
  bool ready = false;       // It is connected.
  bool out = false;         // It is ejected or silent.
  bool dialling = false;    // A dial is under way.
  bool connection = false;  // It has a channel.
  bool busy = false;        // It has attempts in flight.
  // The last dial failed, and gRPC dials again by itself. Only closing the
  // channel ends that.
  bool lingers = false;
  bool blind = false;  // gRPC will not say that the dial has failed.
  int failures = 0;    // Dials in a row that failed.
  // When it was first dialled since it was found or was last ready. Else
  // InfinitePast.
  absl::Time first_dial = absl::InfinitePast();
  absl::Time dialled = absl::InfinitePast();    // The last time.
  absl::Time redial_at = absl::InfinitePast();  // Not before, if it failed.
  absl::Time asked = absl::InfinitePast();  // Last dialled since a call asked.
  absl::Time used = absl::InfinitePast();   // It had a call, or was connected.
  // It is connected, and another connection is wanted: it is silent, or was
  // connected to with settings that are no longer in force.
  bool silent = false;
  bool outdated = false;
  // How long its connection is to last, if it has one.
  ConnectionTerm term;
  // How many connections of it have lost their place, and are still open.
  int draining = 0;
  SecondState second;
};

// What others want from the plan.
struct ConnectionWishes {
  bool wanted = false;   // Somebody waits for a connection.
  bool asked = false;    // Calls wait that found nothing but failures.
  bool may_dial = true;  // False: there is nothing to dial with.
  bool place = false;    // One renewal that is not urgent may begin.
};

// Endpoints by their index.
struct ConnectionPlan {
  std::vector<size_t> dial;
  std::vector<size_t> ask;     // Dial them, since calls ask.
  std::vector<size_t> second;  // Dial a second connection to them.
  // The same, since their connections are to be renewed.
  std::vector<size_t> renew;
  std::vector<size_t> single;  // Give the second one up.
  std::vector<size_t> leave;   // They are connected and not wanted any more.
  std::vector<size_t> drop;    // Their channel is of no use: close it.
  bool wants_place = false;    // A renewal is due that has none.
  // Calls that ask need not wait: no dial is under way, and none may begin.
  bool in_vain = false;
  absl::Time ask_again =
      absl::InfiniteFuture();  // Until then asking would be in vain.
  // When to plan again, should nothing happen before.
  absl::Time next = absl::InfiniteFuture();
};

// `endpoints` come by priority, those of one priority in the order in which
// this process prefers them.
//
// The rule: a priority that carries load gets `ahead` usable connections. The
// next one gets a reserve of two (of one where `ahead` is 1, of none where it
// is 0). A priority is dialled when the one before it has a connection, or when
// all of its dials have failed, or kDialHangs after its first dial. Where
// `ahead` is 0 one connection is made if one is wanted.
//
// A dial that hangs holds no place, nor does one of an endpoint that failed
// before. Such endpoints are dialled as far as places are free, the one first
// that was dialled least recently. Until its backoff is over each holds a place
// among them. So dead endpoints, however many, cost no more dials than `ahead`
// do.
//
// An endpoint whose connection is silent, or outdated, has a second one dialled
// beside it. For silent ones the bound is that of the dials that calls ask for.
// One whose connection is to be renewed has it dialled in the wishes' place,
// the one first whose time came first. Urgent ones need no place.
ConnectionPlan PlanConnections(absl::Span<const EndpointState> endpoints,
                               const options::ConnectionOptions& options,
                               const ConnectionWishes& wishes, absl::Time now);

// An endpoint that discovery no longer names.
struct RetiredState {
  bool drained = false;  // No attempt runs, and none begins.
  absl::Time cut_off_at;
  absl::Time gone_by = absl::InfiniteFuture();
};

// By their index.
struct RetirementPlan {
  std::vector<size_t> close;    // They are drained.
  std::vector<size_t> cut_off;  // End their streams: their time is over.
  std::vector<size_t> sever;    // End all that runs on them.
};

RetirementPlan PlanRetirement(absl::Span<const RetiredState> retired,
                              absl::Time now);

}  // namespace mesh::service

#endif  // MESH_SERVICE_CONNECTION_PLAN_H_
