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

// What an observer is told. Values: what they point to lives until the
// observer has returned, unless it says otherwise.

namespace mesh::telemetry {

// Where the mesh's own metrics count the calls of a method. Theirs alone: to
// all others it is opaque.
class MethodSlot {
 protected:
  ~MethodSlot() = default;
};

// One logical call, as events name it. Its address is its identity: it is the
// same in all events of a call, and lives until OnCallEnd() has returned.
struct CallInfo {
  absl::string_view service;   // "cart".
  absl::string_view method;    // "/shop.Cart/AddItem".
  MethodSlot* slot = nullptr;  // Null: with methods that are not told apart.
  absl::Time start;            // Monotonic, as all times here.
  absl::Time deadline = absl::InfiniteFuture();
};

// What the policy of a call's method says of its attempts.
struct AttemptPolicy {
  enum class Hedges : uint8_t { kOff, kObserve, kEnforce };
  int max_attempts = 1;    // With the first. 1 is no retry.
  uint32_t retryable = 0;  // Status codes, bit `1 << code`.
  absl::Duration initial_backoff;
  absl::Duration max_backoff;
  double backoff_multiplier = 1;
  absl::Duration attempt_timeout = absl::InfiniteDuration();
  Hedges hedges = Hedges::kOff;
  int max_hedged_attempts = 1;  // With the first one and with retries.
};

// A call has begun. What was settled about it then.
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
  kRetry,        // By the retry policy.
  kHedge,        // Beside one that has not been answered.
};

// An endpoint was chosen, or none could be.
struct PickEvent {
  enum class Result : uint8_t {
    kUsed,      // An attempt begins.
    kWaited,    // The call waits for an endpoint.
    kFailed,    // The call ends: there is no endpoint for it.
    kDeclined,  // A look ahead: the call does something else than go there.
  };
  Result result = Result::kUsed;
  absl::Time time;
  AttemptReason reason = AttemptReason::kFirst;
  int attempt = 1;
  // Chosen, the attempt that begins counted in. No endpoint when there was none
  // to choose.
  cluster::EndpointView endpoint;
  // What was compared: up to two endpoints, with the calls in flight that were
  // compared. What else these views say is of the time after the pick.
  int candidates = 0;
  cluster::EndpointView candidate[2];
  // All endpoints of the service. For an observer of picks.
  cluster::EndpointViews endpoints;
  // The random generator's state before the pick: with it and the loads, the
  // pick can be made again.
  uint64_t random_state = 0;
  // Some endpoint was not available to it in full: the health and the limits
  // of endpoints had a say.
  bool by_health = false;
  // Which picker was asked: the identity that PickerEvent gives it.
  const void* picker = nullptr;
};

struct AttemptEvent {
  int attempt = 1;  // Counted from 1 in a call.
  AttemptReason reason = AttemptReason::kFirst;
  cluster::EndpointView endpoint;  // Never none. The attempt is counted in.
  absl::Time start;
  absl::Time end;
  absl::StatusCode code = absl::StatusCode::kOk;
  bool never_sent = false;  // Proved that no server has seen it.
  bool timed_out = false;   // By the attempt's own deadline.
  bool committed = false;   // The caller has seen part of its answer.
  bool local = false;       // It came about on this side of the connection.
  bool given_up = false;  // Another attempt has answered; `code` is CANCELLED.
  // What the server said of retries. Negative: no.
  std::optional<absl::Duration> pushback;
};

// What was decided after an attempt that failed; or, where `code` is OK, of a
// hedge beside one that has not been answered.
struct RetryEvent {
  enum class Verdict : uint8_t {
    kTransparent,   // Again at once: no server has seen it.
    kHedge,         // Another one beside it: it has not been answered.
    kGoOn,          // Another attempt of the call runs. Of a hedge: there is
                    // no other endpoint for it.
    kRetry,         // Again after `delay`.
    kNotRetryable,  // The method, the code or the call's kind forbids it.
    kCommitted,     // The caller has seen part of the answer.
    kAttemptsExhausted,
    kBudgetExhausted,
    kTooManyRetries,  // caps.max_retries
    kPushedBack,      // The server said not to.
    kDeadline,        // No time is left for another.
    kCancelled,
  };
  Verdict verdict = Verdict::kNotRetryable;
  absl::Time time;
  int attempt = 1;  // The one that failed, or is not answered.
  absl::StatusCode code = absl::StatusCode::kOk;
  // Until a retry, made or refused for want of time or budget. Of a hedge: how
  // long an attempt is to be unanswered for it. Else zero.
  absl::Duration delay;
  bool observed = false;  // A hedge that would have been made.
  // Of the random generator before the delay was drawn. 0: nothing was drawn.
  uint64_t random_state = 0;
};

struct CallEvent {
  absl::Time end;
  absl::StatusCode code = absl::StatusCode::kOk;  // What the caller gets.
  int attempts = 0;  // 0 when no endpoint could be chosen.
};

// A guard refused a call, or (`observed`) would have.
struct RefusalEvent {
  base::Guard guard = base::Guard::kMaxCalls;
  bool observed = false;
  absl::Time time;
  // What the call fails with. Of kMaxRetries: what it would not have failed
  // with; of a fault that only delays the call: OK. `why` is empty when
  // observed.
  absl::StatusCode code = absl::StatusCode::kResourceExhausted;
  absl::string_view why;
  absl::Duration delay;  // Of a fault.
};

// The health of an endpoint has changed, or (`observed`) would have.
struct HealthEvent {
  absl::string_view service;
  absl::Time time;
  cluster::EndpointView endpoint;  // Never none.
  cluster::Health from = cluster::Health::kHealthy;
  cluster::Health to = cluster::Health::kHealthy;
  cluster::HealthCause cause = cluster::HealthCause::kRamped;
  bool observed = false;
};

// A silent endpoint is probed.
struct ProbeEvent {
  enum class Stage : uint8_t {
    kSent,
    kAnswered,  // By the server, whatever it says.
    kFailed,    // The connection broke, or the endpoint was removed.
  };
  Stage stage = Stage::kSent;
  absl::string_view service;
  absl::Time time;
  cluster::EndpointView endpoint;  // Never none.
};

// A service has a new picker. Comes before any pick from it.
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

}  // namespace mesh::telemetry

#endif  // MESH_TELEMETRY_EVENTS_H_
