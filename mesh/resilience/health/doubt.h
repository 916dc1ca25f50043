#ifndef MESH_RESILIENCE_HEALTH_DOUBT_H_
#define MESH_RESILIENCE_HEALTH_DOUBT_H_

#include <cstdint>
#include <optional>

#include "mesh/resilience/health/ledger.h"
#include "mesh/resilience/health/record.h"

namespace mesh::resilience {

// The detector of doubt: whether an endpoint is to be put on trial (trial.h).
// It may be wrong, because what the balancer sends somewhere is no fair sample;
// but a trial costs little. Three doubts are kept apart:
//   kRow       three failures in a row.
//   kFailures  a cumulative sum (Page, "Continuous inspection schemes", 1954)
//              of the log-likelihood that it fails more often than the other
//              endpoints do.
//   kSlowness  such a sum of answers that took longer than a recent answer of
//              the same method elsewhere.
// No interval resets a sum. It falls with each attempt that goes well, which is
// counted when the next bad one comes.

inline constexpr uint32_t kDoubtfulRow = 3;
inline constexpr double kDoubtfulFailures = 4.6;
inline constexpr double kDoubtfulSlowness = 6;

// The log-likelihood `sum` after `good` attempts that went well and one that
// failed. `others` is the share of the attempts elsewhere that fails.
double AfterFailure(double sum, uint32_t good, double others);
// The same, after `quick` answers that were not slow and one that was.
double AfterSlowAnswer(double sum, uint32_t quick);

// All doubts of the endpoints of one service, and how often those endpoints
// fail. Not thread-safe.
class Doubts {
 public:
  // A look at all endpoints: call Count() for each, between the two others.
  void BeginLook();
  void Count(const Counted& counted, uint32_t ended, DoubtMemory* memory);
  void EndLook();

  // How often the others have failed lately.
  double OthersFail(const DoubtMemory& memory) const;

  // Notes a failure, the `row`th in a row. `ended`: attempts on the endpoint
  // that say something and have ended. Returns what is in doubt, if anything is
  // now.
  std::optional<Doubt> OnFailure(uint32_t row, uint32_t ended,
                                 DoubtMemory* memory) const;
  // Notes an answer that took too long. Returns the same.
  static std::optional<Doubt> OnSlowAnswer(uint32_t ended, int64_t now,
                                           DoubtMemory* memory);

  // The trial that `doubt` had brought about is over, after so many calls. It
  // began when `began` attempts had ended. The same doubt rests for as many
  // attempts, and for longer each time that it comes again soon.
  static void Acquit(Doubt doubt, uint32_t calls, uint32_t began,
                     uint32_t ended, DoubtMemory* memory);
  // Clears what was held against the endpoint, since that is judged.
  static void Forget(DoubtMemory* memory);
  // The attempts that have ended are counted anew: what was `before` is `now`.
  static void Rebase(uint32_t before, uint32_t now, DoubtMemory* memory);

 private:
  struct Tally {
    double total = 0;
    double failed = 0;
  };
  Tally all_;           // What the last look counted.
  Tally counting_;      // Since BeginLook().
  bool halve_ = false;  // What was counted before weighs half from now on.
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_DOUBT_H_
