#include "mesh/front/caller_verifier.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"

namespace mesh::front {
namespace {

// After this time a peer that was refused is judged anew.
constexpr absl::Duration kRefusedFor = absl::Seconds(1);

}  // namespace

server::VerifyPeer CallerVerifier(std::shared_ptr<const security::Trust> trust,
                                  options::CrlMode crl,
                                  std::shared_ptr<CallerCounts> counts,
                                  std::function<absl::Time()> wall,
                                  const base::Clock* clock) {
  security::PeerPolicy policy;
  policy.side = security::PeerSide::kClient;
  policy.crl = security::CrlCheckOf(crl, *trust);
  return [trust = std::move(trust), policy = std::move(policy),
          counts = std::move(counts), wall = std::move(wall),
          clock](const std::string& chain) {
    const absl::Time now = wall();
    security::PeerVerdict judged =
        security::VerifyPeer(chain, *trust, policy, now);
    server::PeerVerification verdict;
    if (!judged.admitted()) {
      counts->refused[static_cast<size_t>(judged.refusal)].fetch_add(
          1, std::memory_order_relaxed);
      // Who is refused need not know whom this process trusts.
      verdict.status =
          absl::UnauthenticatedError(security::PeerRefusalName(judged.refusal));
      // A list or a certificate may come to hold, and a clock be put right.
      verdict.until = clock->Now() + kRefusedFor;
      return verdict;
    }
    if (judged.lacks_crl) {
      counts->without_crl.fetch_add(1, std::memory_order_relaxed);
    }
    verdict.peer = std::move(judged.peer);
    verdict.until =
        clock->Now() + std::min(judged.not_after - now, kVerdictHolds);
    return verdict;
  };
}

}  // namespace mesh::front
