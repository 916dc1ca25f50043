#ifndef MESH_RESILIENCE_HEALTH_TRIAL_H_
#define MESH_RESILIENCE_HEALTH_TRIAL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "mesh/cluster/live_endpoint.h"
#include "mesh/cluster/trial_ticket.h"
#include "mesh/resilience/health/record.h"

namespace mesh::resilience {

// The evidence of one trial by coin. Each call that the balancer would give to
// the endpoint goes there or elsewhere by a fair coin. Suppose that the
// endpoint is like the others. Then the side of a call is a fair coin whatever
// becomes of the call. So the product of 2 * P(side | bad or not) is a
// martingale that begins at 1. It exceeds 1 / p with a chance of p at most, at
// any time (Ville's inequality). The product is averaged over five pairs of
// rates that an ill endpoint and the others may have.
class Evidence {
 public:
  // A call of that side has ended.
  void Count(bool here, bool bad);
  // The natural logarithm of the product.
  double Log() const;
  // Takes it down to no more than that, and says whether it stood there or
  // above. (What is less than a martingale is still bounded like one.)
  bool CapAt(double log);

 private:
  static constexpr size_t kPairs = 5;
  std::array<double, kPairs> logs_ = {};
};

// What a call on either side says. Every call that has a side counts, also one
// that was given up: it did not fail. Leaving calls out because of what became
// of them would leave out those of an endpoint that is a little slower. Then
// the others' successes would convict it.
struct TrialCall {
  bool here = false;
  bool failed = false;
  bool timed = false;  // It did not fail, and its time may be compared.
  bool slow = false;
};

// When a trial ends.
struct TrialRules {
  double bound = 0;            // A bound on the logarithm of the evidence.
  int64_t slow_for = kSecond;  // Slowness lasts for so long at least.

  // An endpoint like the others is ejected with this chance at most. There are
  // two products, so each may have half of it.
  static TrialRules Of(double chance, int64_t slow_for);
};

enum class Ruling : uint8_t { kNone, kFails, kSlow, kAcquitted };

// One trial. Pure but for what it is told.
class Trial {
 public:
  // `slow_since`: when the slowness began for which it is doubted.
  Trial(Doubt doubt, int64_t slow_since)
      : doubt_(doubt), slow_since_(slow_since) {}

  Doubt doubt() const { return doubt_; }
  // Calls that have counted, on the endpoint and on both sides.
  uint32_t here() const { return here_; }
  uint32_t calls() const { return calls_; }

  // A call has ended. All slowness of one moment is no more evidence than one
  // call can be: a pause of an endpoint makes all calls on it slow at once.
  void Count(const TrialCall& call, int64_t now);
  // Slowness counts no more, and has not counted.
  void IgnoreSlowness();
  // How the trial would end now. After a kFails or kSlow that is not followed,
  // the trial goes on: Resume().
  Ruling Judge(const TrialRules& rules, int64_t now) const;
  void Resume(const TrialRules& rules);

  double failures_log() const { return failures_.Log(); }
  double slowness_log() const { return slowness_.Log(); }

 private:
  void CountFailure(const TrialCall& call);

  Doubt doubt_;
  int64_t slow_since_;
  uint32_t here_ = 0;
  uint32_t calls_ = 0;
  // Calls that went well elsewhere and do not count yet.
  uint32_t waiting_ = 0;
  // What `here_` was when the evidence was last held back.
  uint32_t held_ = 0;
  int64_t moment_began_ = 0;
  // The evidence of slowness is held to this in the moment.
  double moment_most_ = 0;
  bool ignores_slowness_ = false;
  Evidence failures_;
  Evidence slowness_;  // Counts calls that did not fail.
};

// The trials of one service that run. Not thread-safe.
class Trials {
 public:
  struct Running {
    Trial trial;
    // The endpoint on trial. It may be gone: compare it with one that is not.
    const cluster::LiveEndpoint* endpoint;
    uint32_t priority;
    uint32_t began;        // As Doubts::Acquit() wants it.
    uint32_t epoch;        // For MethodPace::UsualIn().
    uint32_t look;         // It was seen then, or is expected by then.
    bool due = false;      // In `due_`.
    bool refused = false;  // It could not be ejected when it was to be.
    SlowMethod slow;       // The method of the last slow calls on it.
  };

  // Begins a trial. Returns its number.
  uint32_t Begin(const Trial& trial, const cluster::LiveEndpoint* endpoint,
                 uint32_t began, int64_t now);
  // Null: it runs no more.
  Running* Find(uint32_t number);
  void End(uint32_t number);
  // The trial goes on with another object for the same endpoint, which counts
  // from `now` what was `before`. The next look may not know that object yet.
  void Move(uint32_t number, const cluster::LiveEndpoint* to, uint32_t before,
            uint32_t now);

  // A verdict waits for someone who holds the endpoint.
  void SetDue(uint32_t number, Running* running);
  bool some_due() const { return !due_.empty(); }
  std::vector<uint32_t> TakeDue();

  // A look at all endpoints. Between the two others, call Saw() for each that
  // is on trial. It ends the trials of endpoints that are gone.
  void BeginLook() { ++look_; }
  void Saw(uint32_t number);
  void EndLook();

  // How many endpoints of that priority are on trial.
  uint32_t CountOf(uint32_t priority) const;

 private:
  using Map = std::unordered_map<uint32_t, Running>;
  // Made with the first trial: most services have none.
  struct Set {
    Map::iterator Erase(Map::iterator trial);

    Map running;
    std::unordered_map<uint32_t, uint32_t> by_priority;
  };

  std::unique_ptr<Set> set_;
  std::vector<uint32_t> due_;
  uint32_t last_ = 0;  // The number of the last one.
  uint32_t look_ = 1;
  uint32_t epoch_ = 0;  // The epoch of what is usual...
  int64_t epoch_since_ = 0;
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_TRIAL_H_
