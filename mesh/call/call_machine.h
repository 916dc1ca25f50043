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
  // Of the method, for the delay of hedges. Null: no hedging.
  resilience::LatencyTracker* latency = nullptr;
  // Of the method, for `health`. Null: nobody knows it.
  resilience::MethodPace* pace = nullptr;
  // Whether another attempt could end before the deadline is asked of `health`.
  // A replay, which has none, says here what an answer takes.
  resilience::LatencyTracker* needed = nullptr;
  // For max_calls_per_endpoint; the others are `admission`'s. Null: no bound.
  const options::CapsOptions* caps = nullptr;
  bool idempotent = false;      // May be executed twice.
  bool wait_for_ready = false;  // Waits rather than fails without endpoints.
  bool replayable = false;      // The shell can send the request again.
  bool unary = true;            // Otherwise a stream: never hedged.
  // What metadata of the call asks for (FaultOptions::by_header).
  std::optional<absl::StatusCode> abort_by_header;
  std::optional<absl::Duration> delay_by_header;
};

// How one attempt ended.
struct AttemptOutcome {
  absl::StatusCode code = absl::StatusCode::kOk;
  // Proved that no server application has seen it, and none will.
  bool never_sent = false;
  // It came about on this side of the connection: it could not be made, or
  // broke, or a deadline of ours passed. Otherwise a server said so.
  bool local = false;
  // This side made it, and would have made it of whatever endpoint: a limit on
  // messages, credentials that could not be had.
  bool own = false;
  // `own`: an endpoint had answered; this side did not take the answer.
  bool answered = false;
  // It ran into the deadline of the attempt, not of the call.
  bool attempt_timed_out = false;
  // Of its answer something has been handed to the caller.
  bool committed = false;
  // The server's grpc-retry-pushback-ms. Negative (or not a number): do not
  // retry.
  std::optional<absl::Duration> pushback;
};

// What the shell is to do next. Without hedging exactly one thing is
// outstanding at a time: an attempt, a timer, or the wait for endpoints. With
// it, several attempts and a timer.
struct Action {
  enum class Kind : uint8_t {
    // Start attempt number `attempt` on `endpoint`, which is acquired for it;
    // `at` is its deadline (InfiniteFuture: none). Then OnAttemptDone() of it,
    // once, unless it is cancelled as one of the others. Where `hedge`, others
    // run and go on.
    kStartAttempt,
    // Call OnTimer() at `at`.
    kSetTimer,
    // Call OnEndpointsChanged() when there is a new picker, or OnTimer() at
    // `at` (the deadline), whichever comes first.
    kWait,
    // The outcome of attempt number `attempt` is the outcome of the call.
    // Others that run are to be cancelled: nothing is to be told of them any
    // more, and their endpoints are released already.
    kFinish,
    // `status` is the outcome of the call: no attempt has one for it. Attempts
    // that run are to be cancelled likewise.
    kFail,
    // Attempts run that will say more.
    kGoOn,
  };
  Kind kind = Kind::kFinish;
  bool hedge = false;
  // kWait: nothing is connected and all dials have failed. Dial at once, as far
  // as that is allowed, and call OnEndpointsChanged() when an endpoint is
  // connected or a dial that has begun since has failed, or at once when there
  // is none; not for other new pickers.
  bool asks = false;
  // kGoOn: all attempts that run but `attempt` are to be cancelled likewise.
  bool cancel_others = false;
  int attempt = 0;
  cluster::LiveEndpoint* endpoint = nullptr;
  absl::Time at = absl::InfiniteFuture();
  // kStartAttempt and kGoOn: call OnTimer() then, too, if the call has not
  // ended; it replaces the timer of an earlier action. InfiniteFuture: no
  // timer is needed any more.
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

// Most transparent retries that a call makes at once. After them its failure
// is one like any other.
inline constexpr int kMaxTransparentRetries = 5;

// A call waits so long, at most, for a dial that it has asked for.
inline constexpr absl::Duration kAskWaits = absl::Seconds(1);

// A server that asks for more patience than this is taken to say: do not
// retry.
inline constexpr absl::Duration kMaxPushback = absl::Minutes(1);

// The life of one logical call: pick, attempt, judge, back off, retry, finish.
// A pure state machine: no I/O, no thread, no clock. The shells (mesh/channel
// on gRPC, mesh/simulation on virtual time) feed it events and do what it
// says. Not thread-safe: one event at a time. An event that the state does not
// expect (a late timer, a change that nobody waits for) is answered with
// nullopt and changes nothing; a timer that comes before its time is answered
// with the action that is still to be done.
//
// Follows gRFC A6 where that has a rule, with the differences that
// docs/retries.md lists (retries go elsewhere, the budget is a share of calls).
class CallMachine {
 public:
  // `info` and what `plan` points to must outlive the machine.
  CallMachine(const CallPlan& plan, const telemetry::CallInfo* info)
      : plan_(plan), info_(info) {}

  // Once, first.
  Action Start(const Moment& moment);
  // For each kStartAttempt, however the attempt ends. Of one that was to be
  // cancelled, or when the call has ended, it changes nothing: kGoOn.
  Action OnAttemptDone(int attempt, const AttemptOutcome& outcome,
                       const Moment& moment);
  // Of the answer of `attempt` something is handed to the caller while it runs
  // (gRFC A6, "commit"): no other attempt will count.
  Action OnCommitted(int attempt, const Moment& moment);
  // The answer of a call that is a stream has begun: it is no more than open
  // from here on. Any thread, also beside another event.
  void OnStreamAnswer() {
    if (admitted_) plan_.admission->OnStreamAnswer(&ticket_);
  }
  std::optional<Action> OnTimer(const Moment& moment);
  std::optional<Action> OnEndpointsChanged(const Moment& moment);
  // The caller cancelled. While an attempt runs nothing is to be done but to
  // let it be cancelled: its outcome then ends the call.
  std::optional<Action> OnCancelled(const Moment& moment);

  // For a call that goes away without its outcome having been seen: gives the
  // endpoint back and ends the accounting, as CANCELLED. Nothing before
  // Start() and after kFinish or kFail.
  void Abandon(absl::Time now);

  // Attempts begun.
  int attempts() const { return attempts_; }
  // As `grpc-previous-rpc-attempts` is to say with the attempt that was begun
  // last: attempts before it that a server may have seen, hedged ones too.
  int previous_attempts() const { return std::max(0, attempts_ - 1 - unseen_); }
  // The endpoint of the attempt that was begun last. May be null. Valid while
  // the attempt runs.
  cluster::LiveEndpoint* endpoint() const { return endpoint_; }
  bool finished() const { return state_ == State::kFinished; }
  // Once finished: it failed though it was tried more than once, or would have
  // been had the budget allowed it. Who made the call should not try again on
  // top.
  bool retried_in_vain() const;
  // For a person: "cart: 3 attempts in 412 ms, last UNAVAILABLE from
  // 10.0.0.7:80; retry budget exhausted".
  std::string Story(absl::Time now) const;

 private:
  using Verdict = telemetry::RetryEvent::Verdict;

  enum class State : uint8_t {
    kNew,
    kDelayed,  // By an injected fault.
    kAttempting,
    kBackingOff,
    kWaiting,
    kFinished,
  };

  // One that runs.
  struct Attempt {
    cluster::LiveEndpoint* endpoint;  // Acquired.
    absl::Time start;
    int number;
    telemetry::AttemptReason reason;
    bool holds_retry;  // Admission::EndRetry() is owed.
    cluster::TrialTicket ticket;
  };

  // Those that run, in place: it costs nothing to make. In the order in which
  // they began.
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
  // One that has failed, for Story().
  struct Failure {
    int attempt;
    absl::StatusCode code;
    std::string address;
  };

  // What a call that may be hedged keeps for that.
  struct HedgeState {
    absl::Time at;         // Of the next hedge. Else InfiniteFuture.
    absl::Duration delay;  // Of an attempt, until it is hedged.
    absl::Duration wait;   // As that, but twice as long after each no.
  };

  // One pick and what an observer wants to know of it.
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
  // What was chosen is at its cap: chooses another.
  void PickBelowCap(balancing::PickArgs args, Choice* choice,
                    const Moment& moment);
  // Where the call goes next, while no attempt runs; beside those that do.
  Choice Choose(const Moment& moment);
  // The latter where the call has not been. `but` (may be null) does not count.
  Choice ChooseBeside(const Moment& moment, const cluster::LiveEndpoint* but);
  // Gives back what was chosen.
  void Decline(const Choice& choice, const Moment& moment);

  // Each twice: in line for a call's first attempt, and for what is rarer.
  Choice ChooseAnother(const Moment& moment);
  Action PickAndStart(const Moment& moment);
  Action PickAgain(const Moment& moment);
  Action Begin(const Choice& choice, const Moment& moment);
  Action BeginAnother(const Choice& choice, const Moment& moment);
  Action Wait(const Choice& choice, const Moment& moment);
  // What was chosen has failed: for a dial that begins now.
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
  // What it takes, as far as that is known. Never infinite.
  absl::Duration NeededToAnswer(absl::Time now) const;
  bool TryRetry(const Moment& moment);
  Pause NextBackoff(base::Random* random);
  Action BackOff(absl::Duration delay, absl::Time now);

  // When the next hedge is due, now that an attempt begins.
  void ArmHedge(absl::Time now);
  absl::Duration HedgeDelay(absl::Time now) const;
  absl::Time hedge_at() const {
    return hedging_.has_value() ? hedging_->at : absl::InfiniteFuture();
  }
  void StopHedging() {
    if (hedging_.has_value()) hedging_->at = absl::InfiniteFuture();
  }
  Action Hedge(const Moment& moment);
  void ReportUnmadeHedge(const Attempt& attempt, absl::Time now);

  // Nothing to do until then, but what may happen.
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
  // Ends all that run, when the call does not want them any more.
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

  // Attempts that count against limits on them.
  int counted_attempts() const { return attempts_ - transparent_; }
  // "3 attempts in 412 ms (a, b, c), last UNAVAILABLE from c; ...".
  std::string Account(absl::Time now) const;

  // Constant.
  const CallPlan plan_;
  const telemetry::CallInfo* const info_;

  State state_ = State::kNew;
  telemetry::AttemptReason reason_ = telemetry::AttemptReason::kFirst;
  bool cancelled_ = false;    // While an attempt ran.
  bool committed_ = false;    // To the one attempt that runs.
  bool pushed_back_ = false;  // A server said that nothing may follow.
  bool repeated_ = false;     // A transparent retry went to a tried endpoint.
  bool asked_ = false;        // For a dial.
  bool wants_picks_ = false;
  bool admitted_ = false;
  bool holds_wait_ = false;   // Admission::EndWait() is owed.
  bool holds_retry_ = false;  // EndRetry() is, for one that is to begin.
  std::optional<absl::StatusCode> abort_;  // An injected fault.
  // Why the call went no further, once an attempt has failed for good.
  std::optional<Verdict> stopped_;
  int attempts_ = 0;
  int unseen_ = 0;  // Of them ended, never sent...
  const cluster::LiveEndpoint* unseen_at_ = nullptr;  // ...the last one there.
  int transparent_ = 0;  // Transparent retries begun.
  int retries_ = 0;      // By policy.
  int backoffs_ = 0;     // Since the start, or the last pushback.
  // What the last failed attempt said; the status when no other can be made.
  // Once finished: what the call ended with.
  absl::StatusCode last_code_ = absl::StatusCode::kOk;
  int last_attempt_ = 0;
  uint32_t priority_ = balancing::kNoPriority;  // The one that it has drawn.
  cluster::LiveEndpoint* endpoint_ = nullptr;
  absl::Time timer_at_;  // While it is delayed, backs off or waits.
  Running running_;
  std::optional<HedgeState> hedging_;
  resilience::Admission::Ticket ticket_;
  // Endpoints of this round of attempts, for comparison only: they may be
  // gone. When there is no other, a new round begins.
  absl::InlinedVector<const cluster::LiveEndpoint*, 4> tried_;
  std::vector<Failure> failures_;
  // What a waiting call would have failed with, or one that is refused fails
  // with.
  absl::Status unreachable_;
};

}  // namespace mesh::call

#endif  // MESH_CALL_CALL_MACHINE_H_
