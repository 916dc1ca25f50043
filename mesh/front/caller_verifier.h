#ifndef MESH_FRONT_CALLER_VERIFIER_H_
#define MESH_FRONT_CALLER_VERIFIER_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/time/time.h"
#include "mesh/base/clock.h"
#include "mesh/options/security.h"
#include "mesh/security/trust.h"
#include "mesh/security/verifier.h"
#include "mesh/server/peer_trust.h"

namespace mesh::front {

// What is counted of callers, whatever the trust. Thread-safe.
struct CallerCounts {
  std::array<std::atomic<uint64_t>, security::kPeerRefusals> refused = {};
  std::atomic<uint64_t> without_crl{0};
};

// So long a verdict holds at most. Certificates have dates of the wall clock,
// and a server measures time by its steady clock. The wall clock may be set,
// and the steady one stands still while a machine sleeps.
inline constexpr absl::Duration kVerdictHolds = absl::Minutes(1);

// Verifies those who call a server. `wall` is the wall clock, and `clock` the
// server's, which outlives the result.
server::VerifyPeer CallerVerifier(std::shared_ptr<const security::Trust> trust,
                                  options::CrlMode crl,
                                  std::shared_ptr<CallerCounts> counts,
                                  std::function<absl::Time()> wall,
                                  const base::Clock* clock);

}  // namespace mesh::front

#endif  // MESH_FRONT_CALLER_VERIFIER_H_
