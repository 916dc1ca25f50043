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

// A priority is dialled so long after the first dial of the one before it, and
// a dial that has run for so long does not hold up the next (gRFC A56's timer,
// and RFC 8305's, made short).
inline constexpr absl::Duration kDialHangs = absl::Milliseconds(250);
// The latter while somebody waits and nothing is connected.
inline constexpr absl::Duration kDialHangsForCalls = absl::Milliseconds(100);
// An endpoint counts as one that will carry load for so long from its first
// dial.
inline constexpr absl::Duration kTrusted = absl::Seconds(1);
// A priority whose usable endpoints are this share of those that it wants
// carries all the load. The number is Envoy's overprovisioning factor.
inline constexpr double kOverprovisioning = 1.4;
// A connection that is not wanted is closed when it has had no call for so
// long; one that is lost and not wanted is given back.
inline constexpr absl::Duration kSurplusLasts = absl::Seconds(30);
inline constexpr absl::Duration kIdleLasts = absl::Minutes(1);
// Dials that calls ask for: one per endpoint in so long, so many per service.
inline constexpr absl::Duration kAskAgain = absl::Seconds(1);
inline constexpr int kMostAsked = 10;

// The second connection of an endpoint, which takes the place of the first when
// it is connected.
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
  // Of the first dial since it was found or was last ready. Else InfinitePast.
  absl::Time first_dial = absl::InfinitePast();
  absl::Time dialled = absl::InfinitePast();    // The last time.
  absl::Time redial_at = absl::InfinitePast();  // Not before, if it failed.
  absl::Time asked = absl::InfinitePast();  // Last dialled since a call asked.
  absl::Time used = absl::InfinitePast();   // It had a call, or was connected.
  // It is connected, and another connection is wanted: it says nothing, or was
  // connected to with settings that are not those of now.
  bool silent = false;
  bool outdated = false;
  SecondState second;
};

// What others want of the plan.
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
      absl::InfiniteFuture();  // They would be in vain until.
  // When to plan again, should nothing happen before.
  absl::Time next = absl::InfiniteFuture();
};

// `endpoints` come by priority, those of one priority in the order in which
// this process prefers them.
//
// The rule: a priority that carries load gets `ahead` usable connections, and
// the next one a reserve of two (of one where `ahead` is 1, of none where it is
// 0). A priority is dialled when the one before it has a connection, or when
// all of its dials have failed, or kDialHangs after its first dial. Where
// `ahead` is 0 one connection is made if one is wanted.
//
// A dial that hangs holds no place, nor does one of an endpoint that failed
// before. Those are dialled as far as places are free, the one first that was
// dialled least recently; until its backoff is over each holds a place among
// them. So dead endpoints, however many, cost no more dials than `ahead` do.
//
// An endpoint whose connection is silent, or outdated, has a second one dialled
// beside it. Of silent ones that is bounded as the dials are that calls ask
// for.
ConnectionPlan PlanConnections(absl::Span<const EndpointState> endpoints,
                               const options::ConnectionOptions& options,
                               const ConnectionWishes& wishes, absl::Time now);

// An endpoint that discovery does not name any more.
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
