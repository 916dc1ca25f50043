#ifndef MESH_SECURITY_CLIENT_COUNTERS_H_
#define MESH_SECURITY_CLIENT_COUNTERS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "mesh/security/verifier.h"

namespace mesh::security {

// What became of the servers that a client has dialled, since the start.
// Thread-safe, without a lock. A server that gRPC's own check refuses is in
// none of these counts: mesh never sees it.
class ClientCounters {
 public:
  void Count(const PeerVerdict& verdict) {
    verdicts_[static_cast<size_t>(verdict.refusal)].fetch_add(
        1, std::memory_order_relaxed);
    if (verdict.lacks_crl) lacks_crl_.fetch_add(1, std::memory_order_relaxed);
  }

  // How many handshakes ended so. PeerRefusal::kNone: the server was admitted.
  uint64_t count(PeerRefusal refusal) const {
    return verdicts_[static_cast<size_t>(refusal)].load(
        std::memory_order_relaxed);
  }
  // Those that were admitted although an issuer had no list that holds.
  uint64_t lacks_crl() const {
    return lacks_crl_.load(std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<uint64_t>, kPeerRefusals> verdicts_ = {};
  std::atomic<uint64_t> lacks_crl_{0};
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_CLIENT_COUNTERS_H_
