#ifndef MESH_SERVICE_CONNECTION_PLAN_H_
#define MESH_SERVICE_CONNECTION_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
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
  SecondState second;
};

// What others want from the plan.
struct ConnectionWishes {
  bool wanted = false;  // Somebody waits for a connection.
  bool asked = false;   // Calls wait that found nothing but failures.
};

// Endpoints by their index.
struct ConnectionPlan {
  std::vector<size_t> dial;
  std::vector<size_t> ask;     // Dial them, since calls ask.
  std::vector<size_t> second;  // Dial a second connection to them.
  std::vector<size_t> single;  // Give the second one up.
  std::vector<size_t> leave;   // They are connected and not wanted any more.
  std::vector<size_t> drop;    // Their channel is of no use: close it.
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
ConnectionPlan PlanConnections(absl::Span<const EndpointState> endpoints,
                               const options::ConnectionOptions& options,
                               const ConnectionWishes& wishes, absl::Time now);

// An endpoint that discovery no longer names.
struct RetiredState {
  bool drained = false;  // No attempt runs, and none begins.
  absl::Time cut_off_at;
};

// By their index.
struct RetirementPlan {
  std::vector<size_t> close;    // They are drained.
  std::vector<size_t> cut_off;  // End their streams: their time is over.
};

RetirementPlan PlanRetirement(absl::Span<const RetiredState> retired,
                              absl::Time now);

}  // namespace mesh::service

#endif  // MESH_SERVICE_CONNECTION_PLAN_H_
