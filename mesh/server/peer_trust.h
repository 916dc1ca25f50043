#ifndef MESH_SERVER_PEER_TRUST_H_
#define MESH_SERVER_PEER_TRUST_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/base/mutex.h"
#include "mesh/security/peer.h"

namespace mesh::server {

// What a server makes of the certificates that a peer has sent.
struct PeerVerification {
  absl::Status status;  // OK: `peer` is at the other end.
  security::Peer peer;
  // When to ask anew, by the server's clock: a certificate or a list expires.
  absl::Time until = absl::InfiniteFuture();
};

// Verifies a chain: PEM, the leaf first. Called on gRPC's threads, and by
// several at once. Must not block.
using VerifyPeer = std::function<PeerVerification(const std::string& chain)>;

// A chain, and what was made of it.
struct JudgedChain {
  std::string chain;
  PeerVerification verdict;
};
using JudgedChainPtr = std::shared_ptr<const JudgedChain>;

// One generation of trust: whom a server believes until its authorities or
// lists change. It remembers its verdicts by the chains' bytes. Thread-safe.
class PeerTrust {
 public:
  // A null `verify` believes nobody.
  explicit PeerTrust(VerifyPeer verify) : verify_(std::move(verify)) {}

  // Never null. Two threads with the same new chain may both verify it.
  JudgedChainPtr Judge(absl::string_view chain, absl::Time now);

  // How many verdicts are kept. For tests.
  size_t kept();

 private:
  // More than that, and all are forgotten.
  static constexpr size_t kMostKept = 1000;
  static constexpr size_t kMostBytes = 8 << 20;

  const VerifyPeer verify_;

  base::Mutex mu_;
  // The keys are views of the values' chains.
  absl::flat_hash_map<absl::string_view, JudgedChainPtr> judged_
      ABSL_GUARDED_BY(mu_);
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace mesh::server

#endif  // MESH_SERVER_PEER_TRUST_H_
