#ifndef MESH_CALL_CALL_MACHINE_H_
#define MESH_CALL_CALL_MACHINE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mesh/balancing/picker.h"
#include "mesh/base/guard.h"
#include "mesh/base/random.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/options/admission.h"
#include "mesh/options/method.h"
#include "mesh/resilience/admission.h"
#include "mesh/resilience/health/monitor.h"
#include "mesh/resilience/latency_tracker.h"
#include "mesh/resilience/retry_budget.h"
#include "mesh/telemetry/observer.h"

namespace mesh::call {

// What is settled when a call begins. All that is pointed to outlives the call.
struct CallPlan {
  const options::MethodOptions* policy = nullptr;  // Never null.
  resilience::RetryBudget* budget = nullptr;       // Never null.
  telemetry::Observer* observer = nullptr;         // Null: nobody listens.
  resilience::HealthMonitor* health = nullptr;     // Null: none.
  resilience::Admission* admission = nullptr;      // Null: all are admitted.
  // The method's latencies, for the delay of hedges. Null: no hedging.
  resilience::LatencyTracker* latency = nullptr;
  // The method's latencies, for `health`. Null: nobody knows them.
  resilience::MethodPace* pace = nullptr;
  // A replay has no `health`. It says here how long an answer takes. Otherwise
  // null, and `health` is asked whether another attempt could end in time.
  resilience::LatencyTracker* needed = nullptr;
  // For max_calls_per_endpoint; `admission` has the other caps. Null: no bound.
  const options::CapsOptions* caps = nullptr;
  bool idempotent = false;      // May be executed twice.
  bool wait_for_ready = false;  // Waits rather than fails without endpoints.
  bool replayable = false;      // The shell can send the request again.
  bool unary = true;            // Otherwise a stream: never hedged.
  // The fault that metadata of the call ask for (FaultOptions::by_header).
  std::optional<absl::StatusCode> abort_by_header;
  std::optional<absl::Duration> delay_by_header;
};

// How one attempt ended.
struct AttemptOutcome {
  absl::StatusCode code = absl::StatusCode::kOk;
  // It is proved that no server application has seen it, and that none will.
  bool never_sent = false;
  // The status was made on this side of the connection: the attempt could not
  // be made, or broke, or a deadline of ours passed. Otherwise a server sent
  // it.
  bool local = false;
  // This side made the status, and would have made it for any endpoint: a limit
  // on messages, or credentials that could not be had.
  bool own = false;
  // Goes with `own`: an endpoint had answered, but this side did not take the
  // answer.
  bool answered = false;
  // It ran into the deadline of the attempt, not of the call.
  bool attempt_timed_out = false;
  // The caller has been given something of its answer.
  bool committed = false;
  // The server's grpc-retry-pushback-ms. Negative (or not a number): do not
  // retry.
  std::optional<absl::Duration> pushback;
};

// What the shell is to do next. Without hedging exactly one thing is
// outstanding at a time: an attempt, a timer, or the wait for endpoints. With
// hedging there may be several attempts and a timer.
struct Action {
  enum class Kind : uint8_t {
    // Start attempt number `attempt` on `endpoint`, which is acquired for it.
    // `at` is its deadline (InfiniteFuture: none). Then call OnAttemptDone()
    // for it, once, unless it is cancelled like the others. With `hedge`, other
    // attempts run and go on.
    kStartAttempt,
    // Call OnTimer() at `at`.
    kSetTimer,
    // Call OnEndpointsChanged() when there is a new picker, or OnTimer() at
    // `at` (the deadline), whichever comes first.
    kWait,
    // The outcome of attempt number `attempt` is the outcome of the call.
    // Cancel the others that run: tell nothing more about them; their endpoints
    // are released already.
    kFinish,
    // `status` is the outcome of the call; no attempt has one for it. Cancel
    // the attempts that run, in the same way.
    kFail,
    // Wait for the attempts that run.
    kGoOn,
  };
  Kind kind = Kind::kFinish;
  bool hedge = false;
  // Goes with kWait: nothing is connected and all dials have failed. Dial at
  // once, as far as that is allowed. Call OnEndpointsChanged() when an endpoint
  // is connected, or when a dial that began since has failed. If no dial can
  // begin, call it at once. Do not call it for other new pickers.
  bool asks = false;
  // Goes with kGoOn: cancel all attempts that run except `attempt`, in the same
  // way.
  bool cancel_others = false;
  int attempt = 0;
  cluster::LiveEndpoint* endpoint = nullptr;
  absl::Time at = absl::InfiniteFuture();
  // Goes with kStartAttempt and kGoOn: call OnTimer() at this time, too, if the
  // call has not ended. It replaces the timer of an earlier action.
  // InfiniteFuture: no timer is needed any more.
  absl::Time timer = absl::InfiniteFuture();
  absl::Status status;
};

// The moment at which an event is handled.
struct Moment {
  absl::Time now;
  const balancing::Picker* picker = nullptr;  // The newest. Never null.
  base::Random* random = nullptr;             // Never null.
  // All endpoints of the service, for its health monitor.
  absl::Span<const cluster::LiveEndpointPtr> endpoints;
};

// The most transparent retries that a call makes at once. After them its
// failure counts like any other.
inline constexpr int kMaxTransparentRetries = 5;

// How long a call waits, at most, for a dial that it has asked for.
inline constexpr absl::Duration kAskWaits = absl::Seconds(1);

// A server that asks for more patience than this means: do not retry.
inline constexpr absl::Duration kMaxPushback = absl::Minutes(1);

// The life of one logical call: pick, attempt, judge, back off, retry, finish.
// A pure state machine: no I/O, no thread, no clock. The shells (mesh/channel
// on gRPC, mesh/simulation on virtual time) feed it events and do what it says.
//
// Not thread-safe: one event at a time. An event that the state does not expect
// (a late timer, a change that nobody waits for) changes nothing, and the
// answer is nullopt. A timer that comes before its time is answered with the
// action that is still to be done.
//
// It follows gRFC A6 where that has a rule. docs/retries.md lists the
// differences (retries go elsewhere, the budget is a share of calls).
class CallMachine {
 public:
  // `info` and what `plan` points to must outlive the machine.
  CallMachine(const CallPlan& plan, const telemetry::CallInfo* info)
      : plan_(plan), info_(info) {}

  // Once, first.
  Action Start(const Moment& moment);
  // Call it for each kStartAttempt, however the attempt ends. It changes
  // nothing (kGoOn) if the attempt was to be cancelled, or if the call has
  // ended.
  Action OnAttemptDone(int attempt, const AttemptOutcome& outcome,
                       const Moment& moment);
  // Something of the answer of `attempt` is handed to the caller while the
  // attempt runs (gRFC A6, "commit"). No other attempt will count.
  Action OnCommitted(int attempt, const Moment& moment);
  // The answer of a call that is a stream has begun. From here on it counts as
  // open only. Any thread, also beside another event.
  void OnStreamAnswer() {
    if (admitted_) plan_.admission->OnStreamAnswer(&ticket_);
  }
  std::optional<Action> OnTimer(const Moment& moment);
  std::optional<Action> OnEndpointsChanged(const Moment& moment);
  // The caller cancelled. While an attempt runs, only let it be cancelled: its
  // outcome then ends the call.
  std::optional<Action> OnCancelled(const Moment& moment);

  // For a call that goes away before its outcome was seen. Gives the endpoint
  // back and ends the accounting, as CANCELLED. Does nothing before Start() and
  // after kFinish or kFail.
  void Abandon(absl::Time now);

  // Attempts begun.
  int attempts() const { return attempts_; }
  // What `grpc-previous-rpc-attempts` is to say with the attempt that began
  // last: how many attempts before it a server may have seen, hedges included.
  int previous_attempts() const { return std::max(0, attempts_ - 1 - unseen_); }
  // The endpoint of the attempt that began last. May be null. Valid while the
  // attempt runs.
  cluster::LiveEndpoint* endpoint() const { return endpoint_; }
  bool finished() const { return state_ == State::kFinished; }
  // Once finished: whether it failed though it was tried more than once, or
  // would have been had the budget allowed it. The one who made the call should
  // not try again on top.
  bool retried_in_vain() const;
  // For a person: "cart: 3 attempts were made in 412 ms (a, b, c), and the last
  // failed with UNAVAILABLE from c. No other was made: ...".
  std::string Story(absl::Time now) const;

 private:
  using Verdict = telemetry::RetryEvent::Verdict;

  enum class State : uint8_t {
    kNew,
    kDelayed,  // An injected fault delays it.
    kAttempting,
    kBackingOff,
    kWaiting,
    kFinished,
  };

  // An attempt that runs.
  struct Attempt {
    cluster::LiveEndpoint* endpoint;  // Acquired.
    absl::Time start;
    int number;
    telemetry::AttemptReason reason;
    bool holds_retry;  // Admission::EndRetry() is owed.
    cluster::TrialTicket ticket;
  };

  // The attempts that run, in the order in which they began. They are stored in
  // place, so that making this costs nothing.
  class Running {
   public:
    Running() {}  // NOLINT: leaves what is not used uninitialised.
    size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    bool full() const { return size_ == kMost; }
    const Attempt* begin() const { return attempts_; }
    const Attempt* end() const { return attempts_ + size_; }
    const Attempt& operator[](size_t i) const { return attempts_[i]; }
    void push_back(const Attempt& attempt) {
      new (&attempts_[size_++]) Attempt(attempt);
    }
    void erase(size_t i) {
      for (--size_; i < size_; ++i) attempts_[i] = attempts_[i + 1];
    }

   private:
    // As many as `hedging.max_attempts` may be.
    static constexpr size_t kMost = 5;
    size_t size_ = 0;
    union {
      Attempt attempts_[kMost];
    };
  };

  // Failed attempts that are remembered by address: the first ones and the
  // last.
  static constexpr size_t kMostFailures = 5;
  // A failed attempt, for Story().
  struct Failure {
    int attempt;
    absl::StatusCode code;
    std::string address;
  };

  // What a call that may be hedged keeps for that.
  struct HedgeState {
    absl::Time at;         // When the next hedge is due. Else InfiniteFuture.
    absl::Duration delay;  // How long an attempt runs until it is hedged.
    // The same, but doubled each time no endpoint is found, or no server sees
    // what is sent.
    absl::Duration wait;
    int lost = 0;  // Attempts beside others that no server has seen.
  };

  // One pick, and what an observer wants to know about it.
  struct Choice {
    balancing::PickResult result;
    bool again = false;   // The call has tried all that there is.
    bool capped = false;  // Some endpoint was passed over at its cap.
    balancing::Coin coin;
    std::unique_ptr<balancing::PickTrace> trace;  // Null: nobody wants it.
    uint64_t random_state = 0;
  };

  // How long to wait for the next attempt, and the generator's state before
  // that was drawn. 0 when nothing was drawn.
  struct Pause {
    absl::Duration delay;
    uint64_t random_state = 0;
  };

  class Refusals;

  // Before the first attempt.
  std::optional<Action> InjectFaults(const Moment& moment);
  Action Abort(absl::StatusCode code, absl::Time now);
  Action Enter(const Moment& moment);

  Choice Pick(absl::Span<const cluster::LiveEndpoint* const> tried,
              const cluster::LiveEndpoint* elsewhere_than,
              const Moment& moment);
  // The chosen endpoint is at its cap: chooses another one.
  void PickBelowCap(balancing::PickArgs args, Choice* choice,
                    const Moment& moment);
  // Where the call goes next, while no attempt runs, and beside those that run.
  Choice Choose(const Moment& moment);
  // The latter, to where the call has not been. `but` (may be null) does not
  // count.
  Choice ChooseBeside(const Moment& moment, const cluster::LiveEndpoint* but);
  // Gives the chosen endpoint back.
  void Decline(const Choice& choice, const Moment& moment);

  // There are two of each: in line for a call's first attempt, and out of line
  // for what is rarer.
  Choice ChooseAnother(const Moment& moment);
  Action PickAndStart(const Moment& moment);
  Action PickAgain(const Moment& moment);
  Action Begin(const Choice& choice, const Moment& moment);
  Action BeginAnother(const Choice& choice, const Moment& moment);
  Action Wait(const Choice& choice, const Moment& moment);
  // The chosen endpoint has failed: asks for a dial that begins now.
  Action WaitForDial(const Choice& choice, const Moment& moment);
  Action FailToPick(const Choice& choice, const absl::Status& status,
                    const Moment& moment);

  std::optional<Action> RetryTransparently(int attempt, absl::StatusCode code,
                                           const Moment& moment);
  Action RetryByPolicy(int attempt, const AttemptOutcome& outcome,
                       const Moment& moment);
  // An attempt has failed while others run.
  Action GoOnWithout(int attempt, const AttemptOutcome& outcome,
                     const Moment& moment);
  bool MayRetry(const AttemptOutcome& outcome) const;
  // Whether another attempt that begins after `delay` could hardly be answered
  // before the deadline.
  bool TooLate(absl::Duration delay, absl::Time now) const;
  // How long an answer takes, as far as that is known. Never infinite.
  absl::Duration NeededToAnswer(absl::Time now) const;
  // A retry or hedge is to begin: it is counted as under way.
  void HoldRetry();
  Pause NextBackoff(base::Random* random);
  Action BackOff(absl::Duration delay, absl::Time now);

  // When the next hedge is due, now that an attempt begins.
  void ArmHedge(absl::Time now);
  // When it has waited for `hedging_->wait`, if there may be one.
  void SetHedgeTimer(absl::Time now);
  absl::Duration HedgeDelay(absl::Time now) const;
  absl::Time hedge_at() const {
    return hedging_.has_value() ? hedging_->at : absl::InfiniteFuture();
  }
  void StopHedging() {
    if (hedging_.has_value()) hedging_->at = absl::InfiniteFuture();
  }
  Action Hedge(const Moment& moment);
  void ReportUnmadeHedge(const Attempt& attempt, absl::Time now);

  // There is nothing to do until then, except on an event.
  Action Rest(Action::Kind kind, absl::Time until);
  Action GoOn(int attempt) const;

  void Report(const Choice& choice, telemetry::PickEvent::Result result,
              const Moment& moment);
  void ReportRefusal(base::Guard guard, bool observed, absl::StatusCode code,
                     absl::string_view why, absl::Duration delay,
                     absl::Time now) const;
  // Ends what runs at `index`.
  void EndAttempt(size_t index, const AttemptOutcome& outcome, bool given_up,
                  absl::Time now);
  // Ends all that run, when the call does not need them any more.
  void GiveUp(bool another_counts, absl::Time now);
  void Remember(const Attempt& attempt, absl::StatusCode code);
  void Decided(Verdict verdict, int attempt, absl::StatusCode code,
               const Pause& pause, const Moment& moment);
  Action Refuse(Verdict verdict, int attempt, absl::StatusCode code,
                const Pause& pause, const Moment& moment);
  Action Finish(int attempt, absl::StatusCode code, absl::Time now);
  Action Fail(absl::StatusCode code, absl::string_view why, absl::Time now);
  Action Fail(absl::Status status, absl::Time now);
  Action FailAtDeadline(absl::Time now);
  void End(absl::StatusCode code, absl::Time now);

  // How many attempts count against limits on attempts.
  int counted_attempts() const { return attempts_ - transparent_; }
  // Story() without the service.
  std::string Account(absl::Time now) const;
  // "retry_budget is exhausted." Empty: nothing has stopped it.
  absl::string_view WhyItStopped() const;

  // Constant.
  const CallPlan plan_;
  const telemetry::CallInfo* const info_;

  State state_ = State::kNew;
  telemetry::AttemptReason reason_ = telemetry::AttemptReason::kFirst;
  bool cancelled_ = false;    // While an attempt ran.
  bool committed_ = false;    // It is bound to the one attempt that runs.
  bool pushed_back_ = false;  // A server said that nothing may follow.
  bool repeated_ = false;     // A transparent retry went to a tried endpoint.
  bool asked_ = false;        // It has asked for a dial.
  bool wants_picks_ = false;
  bool admitted_ = false;
  bool holds_wait_ = false;   // Admission::EndWait() is owed.
  bool holds_retry_ = false;  // EndRetry() is, for one that is to begin.
  std::optional<absl::StatusCode> abort_;  // An injected fault.
  // Why the call went no further, once an attempt has failed for good.
  std::optional<Verdict> stopped_;
  int attempts_ = 0;
  int unseen_ = 0;  // Ended attempts that were never sent...
  // ...and where the last one of them was made.
  const cluster::LiveEndpoint* unseen_at_ = nullptr;
  int transparent_ = 0;  // Transparent retries begun.
  int retries_ = 0;      // By policy.
  int backoffs_ = 0;     // Since the start, or the last pushback.
  // What the last failed attempt said; the status when no other can be made.
  // Once finished: what the call ended with.
  absl::StatusCode last_code_ = absl::StatusCode::kOk;
  int last_attempt_ = 0;
  // The priority that the call has drawn.
  uint32_t priority_ = balancing::kNoPriority;
  cluster::LiveEndpoint* endpoint_ = nullptr;
  absl::Time timer_at_;  // While it is delayed, backs off or waits.
  Running running_;
  std::optional<HedgeState> hedging_;
  resilience::Admission::Ticket ticket_;
  // Endpoints of this round of attempts, for comparison only: they may be
  // gone. When there is no other, a new round begins.
  absl::InlinedVector<const cluster::LiveEndpoint*, 4> tried_;
  std::vector<Failure> failures_;
  // What a waiting call would have failed with, or what a refused call fails
  // with.
  absl::Status unreachable_;
};

}  // namespace mesh::call

#endif  // MESH_CALL_CALL_MACHINE_H_
