#ifndef MESH_SECURITY_PEER_PATTERN_H_
#define MESH_SECURITY_PEER_PATTERN_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mesh/security/peer.h"

namespace mesh::security {

// Which peers are meant. A value; any number of threads may ask it.
//
//   spiffe://prod/cart      exactly this SPIFFE ID
//   spiffe://prod/shop/*    each ID with one segment or more below /shop
//   dns:cart.prod           each certificate with this name among its dNSNames
//
// SPIFFE IDs compare as bytes. DNS names compare without the case of a-z (RFC
// 9525, 6.3). A wildcard in a certificate ("*.prod") matches no pattern: it
// would let each holder speak for every service. The common name and other
// kinds of names never count. A peer without TLS matches nothing.
class PeerPattern {
 public:
  // INVALID_ARGUMENT says what is wrong with `text`, and what would do.
  static absl::StatusOr<PeerPattern> Parse(absl::string_view text);

  bool Matches(const Peer& peer) const;

  // Whose bundle has to vouch for such a peer: "prod". Empty for a DNS name.
  std::string trust_domain() const;
  // As it was written.
  const std::string& text() const { return text_; }

  bool operator==(const PeerPattern& o) const { return text_ == o.text_; }

 private:
  enum class Kind { kSpiffeId, kBelow, kDnsName };

  PeerPattern(std::string text, Kind kind, std::string name)
      : text_(std::move(text)), kind_(kind), name_(std::move(name)) {}

  std::string text_;
  Kind kind_;
  std::string name_;  // kBelow: with the slash at the end.
};

// The error is that of the first text that is wrong.
absl::StatusOr<std::vector<PeerPattern>> ParsePeerPatterns(
    absl::Span<const std::string> texts);

bool AnyMatches(absl::Span<const PeerPattern> patterns, const Peer& peer);

}  // namespace mesh::security

#endif  // MESH_SECURITY_PEER_PATTERN_H_
