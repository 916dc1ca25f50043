#ifndef MESH_CALL_CALL_MACHINE_H_
#define MESH_CALL_CALL_MACHINE_H_

#include <cstdint>
#include <optional>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mesh/balancing/picker.h"
#include "mesh/base/random.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/config/options.h"
#include "mesh/resilience/retry_budget.h"
#include "mesh/telemetry/observer.h"

namespace mesh::call {

// What is settled when a call begins. All that is pointed to outlives the call.
struct CallPlan {
  const config::MethodOptions* policy = nullptr;  // Never null.
  resilience::RetryBudget* budget = nullptr;      // Never null.
  telemetry::Observer* observer = nullptr;        // Null: nobody listens.
  bool idempotent = false;                        // May be executed twice.
  bool wait_for_ready = false;  // Waits rather than fails without endpoints.
  bool replayable = false;      // The shell can send the request again (unary).
};

// How one attempt ended.
struct AttemptOutcome {
  absl::StatusCode code = absl::StatusCode::kOk;
  // Proved that no server application has seen it, and none will.
  bool never_sent = false;
  // It ran into the deadline of the attempt, not of the call.
  bool attempt_timed_out = false;
  // Of its answer something has been handed to the caller.
  bool committed = false;
  // The server's grpc-retry-pushback-ms. Negative (or not a number): do not
  // retry.
  std::optional<absl::Duration> pushback;
};

// What the shell is to do next. Exactly one thing is outstanding at a time: an
// attempt, a timer, or the wait for endpoints.
struct Action {
  enum class Kind : uint8_t {
    // Start an attempt on `endpoint`, which is acquired for it; `at` is its
    // deadline (InfiniteFuture: none). Then OnAttemptDone(), always.
    kStartAttempt,
    // Call OnTimer() at `at`.
    kSetTimer,
    // Call OnEndpointsChanged() when there is a new picker, or OnTimer() at
    // `at` (the deadline), whichever comes first.
    kWait,
    // The outcome of the last attempt is the outcome of the call.
    kFinish,
    // `status` is the outcome of the call: no attempt has one for it.
    kFail,
  };
  Kind kind = Kind::kFinish;
  cluster::LiveEndpoint* endpoint = nullptr;
  absl::Time at = absl::InfiniteFuture();
  absl::Status status;
};

// The moment at which an event is handled.
struct Moment {
  absl::Time now;
  const balancing::Picker* picker = nullptr;  // The newest. Never null.
  base::Random* random = nullptr;             // Never null.
};

// The life of one logical call: pick, attempt, judge, back off, retry, finish.
// A pure state machine: no I/O, no thread, no clock. The shells (mesh/channel
// on gRPC, mesh/simulation on virtual time) feed it events and do what it
// says. Not thread-safe: one event at a time. An event that the state does not
// expect (a late timer, a change that nobody waits for) is answered with
// nullopt and changes nothing.
//
// Follows gRFC A6 where that has a rule, with the differences that
// docs/retries.md lists (retries go elsewhere, the budget is a share of calls).
class CallMachine {
 public:
  // `info` and what `plan` points to must outlive the machine.
  CallMachine(const CallPlan& plan, const telemetry::CallInfo* info);

  Action Start(const Moment& moment);
  Action OnAttemptDone(const AttemptOutcome& outcome, const Moment& moment);
  std::optional<Action> OnTimer(const Moment& moment);
  std::optional<Action> OnEndpointsChanged(const Moment& moment);
  // The caller cancelled. While an attempt runs nothing is to be done but to
  // let it be cancelled: its outcome then ends the call.
  std::optional<Action> OnCancelled(const Moment& moment);

  // For a call that goes away without its outcome having been seen: gives the
  // endpoint back and ends the accounting. Nothing after kFinish or kFail.
  void Abandon(absl::Time now);

  // Attempts begun.
  int attempts() const { return attempts_; }
  // As `grpc-previous-rpc-attempts` is to say: attempts that a server may have
  // seen, before the one that runs.
  int previous_attempts() const { return previous_attempts_; }
  // The endpoint of the attempt that runs or was the last. May be null. Valid
  // while the attempt runs.
  cluster::LiveEndpoint* endpoint() const { return endpoint_; }
  bool finished() const { return state_ == State::kFinished; }

 private:
  enum class State : uint8_t {
    kNew,
    kAttempting,
    kBackingOff,
    kWaiting,
    kFinished,
  };

  Action PickAndStart(const Moment& moment);
  Action Finish(absl::StatusCode code, absl::Time now);
  Action Fail(absl::Status status, absl::Time now);

  // Constant.
  const CallPlan plan_;
  const telemetry::CallInfo* const info_;

  State state_ = State::kNew;
  telemetry::AttemptReason reason_ = telemetry::AttemptReason::kFirst;
  int attempts_ = 0;
  int previous_attempts_ = 0;
  int backoffs_ = 0;
  int transparent_ = 0;
  absl::Time attempt_start_;
  cluster::LiveEndpoint* endpoint_ = nullptr;
  // What the last failed attempt said; the status when no other can be made.
  absl::StatusCode last_code_ = absl::StatusCode::kOk;
  absl::InlinedVector<const cluster::LiveEndpoint*, 4> tried_;
};

}  // namespace mesh::call

#endif  // MESH_CALL_CALL_MACHINE_H_
