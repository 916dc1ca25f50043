#ifndef MESH_BENCHMARKS_IDENTITY_ROTATION_H_
#define MESH_BENCHMARKS_IDENTITY_ROTATION_H_

#include <vector>

#include "absl/random/bit_gen_ref.h"
#include "absl/time/time.h"
#include "benchmarks/identity/fleet.h"

// What happens to the identities of a fleet, and what is measured of it.

namespace mesh::benchmarks {

// One step: what happens to all members.
enum class StepKind {
  kLeaf,         // A new leaf.
  kAdd,          // The next authority is trusted, too.
  kAddedLeaf,    // A new leaf of it.
  kWithdraw,     // The old one is not trusted any more.
  kTorn,         // A new key, and 100 ms later its certificate.
  kMismatched,   // The certificate is another key's, for 200 ms.
  kTruncated,    // The certificate is cut, for 200 ms.
  kEmpty,        // There is nothing, for 200 ms.
  kExpired,      // A leaf that has expired, for 200 ms.
  kNotYetValid,  // A leaf of the next hour, for 200 ms.
  kBundleCut,    // The bundle ends between two certificates, for 50 ms.
  kSwap,         // A symbolic link leads to other files.
  kReplace,      // The directory is another one.
};

// `count` steps that an arm plays: whole decks with one of each kind, each
// shuffled. The three steps of an authority stay together and in order.
std::vector<StepKind> StepsOf(Arm arm, int count, absl::BitGenRef random);

struct RotationResult {
  Fleet::Totals totals;
  int steps = 0;
  int rotations = 0;  // Steps that have published something.
  // From a rename or push to the first handshake with the new serial, one per
  // member and step.
  std::vector<double> new_identity_ms;
  int unseen = 0;         // Those of them that were never seen.
  int published_bad = 0;  // By a member, in a step.
  int stuck = 0;          // Gauges that did not move.
  int agent_kills = 0;
  absl::Duration agent_back;  // The longest.
  // The greatest of all members.
  double rss_slope_kb = 0;  // Per rotation.
  double fd_slope = 0;
};

// Plays `steps` of two per second on a new fleet. `kills`: how often the agent
// is killed meanwhile.
RotationResult PlayRotation(Arm arm, int steps, int kills,
                            absl::BitGenRef random);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_IDENTITY_ROTATION_H_
