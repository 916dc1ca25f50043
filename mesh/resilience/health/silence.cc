#include "mesh/resilience/health/silence.h"

#include <algorithm>

#include "mesh/resilience/health/ledger.h"

namespace mesh::resilience {
namespace {

// This many attempts, begun at different times and none of them answered, show
// silence in half the time.
constexpr int32_t kPlenty = 8;
constexpr int kMostPatience = 4;  // Sixteen times.
// How long each doubling of it lasts, since it was last of use.
constexpr int64_t kPatienceLasts = 60 * kSecond;

void Decay(int64_t now, SilencePatience* patience) {
  if (patience->doublings == 0) return;
  const int64_t steps = (now - patience->since) / kPatienceLasts;
  if (steps <= 0) return;
  patience->doublings =
      static_cast<int>(std::max<int64_t>(0, patience->doublings - steps));
  patience->since = now;
}

}  // namespace

std::optional<int64_t> FindSilence(const SilenceCounts& counts,
                                   const SilencePeers& peers,
                                   const options::SilenceOptions& options,
                                   int64_t now, SilencePatience* patience) {
  if (options.mode == options::Mode::kOff || peers.stalled ||
      peers.usual_p99 == 0) {
    return std::nullopt;
  }
  // One attempt alone may be a call that takes long.
  if (counts.unanswered < 2) return std::nullopt;
  if (counts.unanswered < AttemptLedger::kManySilent && !counts.awaited) {
    return std::nullopt;
  }

  Decay(now, patience);
  const int64_t least = Nanos(options.min_duration);
  const auto usual = static_cast<int64_t>(options.latency_factor *
                                          static_cast<double>(peers.usual_p99));
  const int64_t most = std::max(least, usual);
  int64_t limit = most;
  if (counts.unanswered >= kPlenty) {
    limit = std::max(least, usual / 2);
  } else if (counts.unanswered == 2) {
    limit = std::max(2 * limit, peers.usual_most);
  }
  const int64_t quiet = now - counts.quiet_since;
  if (quiet < limit) return std::nullopt;
  if (patience->doublings > 0) {
    // It is as silent as when it was suspected for nothing.
    patience->since = now;
    limit <<= patience->doublings;
    if (quiet < limit) return std::nullopt;
  }
  return std::min(limit, most << patience->doublings);
}

void LearnPatience(int64_t since, int64_t silence, int64_t now,
                   SilencePatience* patience) {
  if (now - since >= 2 * silence) return;
  patience->doublings = std::min(patience->doublings + 1, kMostPatience);
  patience->since = now;
}

}  // namespace mesh::resilience
