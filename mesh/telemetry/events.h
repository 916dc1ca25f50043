#ifndef MESH_TELEMETRY_EVENTS_H_
#define MESH_TELEMETRY_EVENTS_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mesh/base/guard.h"
#include "mesh/cluster/endpoint_view.h"
#include "mesh/cluster/health.h"

// What an observer is told. All are values. What they point to lives until the
// observer has returned, unless the field says otherwise.

namespace mesh::telemetry {

// Where the mesh's own metrics count the calls of a method. Only they use it;
// to every other observer it is opaque.
class MethodSlot {
 protected:
  ~MethodSlot() = default;
};

// One logical call, as events name it. Its address is its identity: the address
// is the same in all events of a call, and valid until OnCallEnd() has
// returned.
struct CallInfo {
  absl::string_view service;   // "cart".
  absl::string_view method;    // "/shop.Cart/AddItem".
  MethodSlot* slot = nullptr;  // Null: such methods are counted together.
  absl::Time start;            // Monotonic, as all times here.
  absl::Time deadline = absl::InfiniteFuture();
};

// What the policy of a call's method says about its attempts.
struct AttemptPolicy {
  enum class Hedges : uint8_t { kOff, kObserve, kEnforce };
  int max_attempts = 1;    // The first one included. 1: no retry.
  uint32_t retryable = 0;  // Status codes, bit `1 << code`.
  absl::Duration initial_backoff;
  absl::Duration max_backoff;
  double backoff_multiplier = 1;
  absl::Duration attempt_timeout = absl::InfiniteDuration();
  Hedges hedges = Hedges::kOff;
  int max_hedged_attempts = 1;  // The first one and retries included.
};

// A call has begun. The fields say what was settled about it then.
struct CallStartEvent {
  absl::Time time;
  AttemptPolicy policy;
  bool idempotent = false;
  bool wait_for_ready = false;
  bool replayable = false;
  bool unary = true;
};

// Why an attempt was made.
enum class AttemptReason : uint8_t {
  kFirst,
  kTransparent,  // No server has seen the attempt before it.
  kRetry,        // The retry policy asked for it.
  kHedge,        // Another attempt runs and has no answer yet.
};

// An endpoint was chosen for an attempt, or none could be.
struct PickEvent {
  enum class Result : uint8_t {
    kUsed,      // An attempt begins.
    kWaited,    // The call waits for an endpoint.
    kFailed,    // The call ends: there is no endpoint for it.
    kDeclined,  // A look ahead: the call does not go there.
  };
  Result result = Result::kUsed;
  absl::Time time;
  AttemptReason reason = AttemptReason::kFirst;
  int attempt = 1;
  // The chosen endpoint; its counts include the attempt that begins. No
  // endpoint when there was none to choose.
  cluster::EndpointView endpoint;
  // The endpoints that were compared, two at most, with the calls in flight
  // that were compared. The views' other fields were read after the pick.
  int candidates = 0;
  cluster::EndpointView candidate[2];
  // All endpoints of the service, for an observer that wants picks.
  cluster::EndpointViews endpoints;
  // The random generator's state before the pick. With it and the loads the
  // pick can be repeated.
  uint64_t random_state = 0;
  // True when the health or a limit of some endpoint narrowed the choice.
  bool by_health = false;
  // Which picker was asked. PickerEvent tells the same identity.
  const void* picker = nullptr;
};

struct AttemptEvent {
  int attempt = 1;  // Counted from 1 in a call.
  AttemptReason reason = AttemptReason::kFirst;
  // Never none. Its counts include the attempt.
  cluster::EndpointView endpoint;
  absl::Time start;
  absl::Time end;
  absl::StatusCode code = absl::StatusCode::kOk;
  bool never_sent = false;  // It is proved that no server has seen it.
  bool timed_out = false;   // Its own deadline has passed.
  bool committed = false;   // The caller has seen part of its answer.
  bool local = false;       // This side of the connection made the status.
  bool given_up = false;  // Another attempt has answered; `code` is CANCELLED.
  // The server's wish for retries: after how long. Negative: never.
  std::optional<absl::Duration> pushback;
};

// What was decided after an attempt that failed. Where `code` is OK, it was
// decided about a hedge, beside an attempt that has no answer yet.
struct RetryEvent {
  enum class Verdict : uint8_t {
    kTransparent,  // Again at once: no server has seen it.
    kHedge,        // A hedge beside it: it has no answer yet.
    // Another attempt of the call runs. For a hedge: there is no other endpoint
    // to try.
    kGoOn,
    kRetry,         // Again after `delay`.
    kNotRetryable,  // The method, the code or the call's kind forbids it.
    kCommitted,     // The caller has seen part of the answer.
    kAttemptsExhausted,
    kBudgetExhausted,
    kPushedBack,  // The server said not to.
    kDeadline,    // No time is left for another.
    kCancelled,
  };
  Verdict verdict = Verdict::kNotRetryable;
  absl::Time time;
  int attempt = 1;  // The one that failed, or has no answer.
  absl::StatusCode code = absl::StatusCode::kOk;
  // How long the call waits for a retry, made or refused for want of time or
  // budget. For a hedge: how long an attempt runs without an answer before it.
  // Else zero.
  absl::Duration delay;
  bool observed = false;  // `enforce` would have made this hedge.
  // The random generator's state before the delay was drawn. 0: nothing was
  // drawn.
  uint64_t random_state = 0;
};

struct CallEvent {
  absl::Time end;
  absl::StatusCode code = absl::StatusCode::kOk;  // What the caller gets.
  int attempts = 0;  // 0 when no endpoint could be chosen.
};

// A guard refused a call. `observed`: it would have, in mode `enforce`.
struct RefusalEvent {
  base::Guard guard = base::Guard::kMaxCalls;
  bool observed = false;
  absl::Time time;
  // What the call fails with; OK where a fault only delays it. `why` is empty
  // when observed.
  absl::StatusCode code = absl::StatusCode::kResourceExhausted;
  absl::string_view why;
  absl::Duration delay;  // How long a fault delays the call.
};

// The health of an endpoint has changed. `observed`: it would have, in mode
// `enforce`.
struct HealthEvent {
  absl::string_view service;
  absl::Time time;
  cluster::EndpointView endpoint;  // Never none.
  cluster::Health from = cluster::Health::kHealthy;
  cluster::Health to = cluster::Health::kHealthy;
  cluster::HealthCause cause = cluster::HealthCause::kRamped;
  bool observed = false;
};

// A probe of a silent endpoint.
struct ProbeEvent {
  enum class Stage : uint8_t {
    kSent,
    kAnswered,  // The server answered; any answer will do.
    kFailed,    // The connection broke, or the endpoint was removed.
  };
  Stage stage = Stage::kSent;
  absl::string_view service;
  absl::Time time;
  cluster::EndpointView endpoint;  // Never none.
};

// A service has a new picker. The event comes before any pick from it.
struct PickerEvent {
  struct Member {
    cluster::EndpointView endpoint;  // Never none.
    uint32_t weight = 1;
    uint32_t priority = 0;
  };
  absl::string_view service;
  absl::Time time;
  const void* picker = nullptr;  // Its identity while it lives.
  // In the order in which the policy was given them.
  absl::Span<const Member> members;
};

// Something about an identity that an operator should know.
struct IdentityEvent {
  absl::string_view identity;  // "process", or a service with files of its own.
  // "bad", "unreadable", "not_yet_valid", "no_answer", "recovered",
  // "third_left", "tenth_left", "expired", "warning".
  absl::string_view kind;
  absl::string_view text;  // One sentence or more.
};

// The rules of this process do not let a call pass.
struct DenialEvent {
  absl::string_view peer;    // "spiffe://prod/shop", "dns:cart", "plaintext".
  absl::string_view method;  // The call's path, as it came.
  // "deny[3]", "allow", "path", "header", "plaintext".
  absl::string_view rule;
  bool enforced = true;   // False: it is only counted.
  uint64_t left_out = 0;  // Events that were not told since the last one.
};

// The system has failed a port of mesh, which takes no connections any more.
struct PortFailureEvent {
  absl::string_view text;  // One sentence or more; it names the port.
};

}  // namespace mesh::telemetry

#endif  // MESH_TELEMETRY_EVENTS_H_
