#ifndef MESH_SECURITY_VERIFIER_H_
#define MESH_SECURITY_VERIFIER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/options/security.h"
#include "mesh/security/peer.h"
#include "mesh/security/peer_pattern.h"
#include "mesh/security/trust.h"

namespace mesh::security {

// Which end of the connection the peer is.
enum class PeerSide : uint8_t { kClient, kServer };

// Whether the certificates of a chain are looked for in their issuers' lists.
enum class CrlCheck : uint8_t {
  kOff,        // No.
  kIfPresent,  // Yes; where no list holds, the peer is admitted and counted.
  kRequire,    // Yes; where no list holds, the peer is refused.
};

// What `mode` means where a peer is verified by `trust`.
CrlCheck CrlCheckOf(options::CrlMode mode, const Trust& trust);

// What a peer has to be beside trusted.
struct PeerPolicy {
  PeerSide side = PeerSide::kClient;
  CrlCheck crl = CrlCheck::kOff;
  std::vector<PeerPattern> allowed;  // Empty: every name.
  // Whether the bundle "" vouches for the trust domains that `allowed` names,
  // too, where these have none.
  bool one_bundle = false;
  // A DNS name or an IP address. Not empty: the certificate has to be for it,
  // as IsForHost() says, and a SPIFFE ID need not be there.
  std::string host;
};

// Why a peer is refused. The order is how far a chain came: when several chains
// can be built of what a peer has shown, the last one tells.
enum class PeerRefusal : uint8_t {
  kNone,  // It is admitted.
  kNoCertificate,
  kMalformed,         // A certificate cannot be read.
  kTooLong,           // The chain has too many certificates or bytes.
  kBadName,           // A name with forbidden bytes, or a bad SPIFFE ID.
  kBadLeaf,           // An authority as a leaf, or no good X.509-SVID.
  kNoBundle,          // Nobody is trusted to vouch for its trust domain.
  kUnknownAuthority,  // No chain leads to its bundle.
  kBadChain,          // A signature, a CA flag, an unknown critical extension.
  kBadPurpose,        // Not for its side of the connection.
  kNameConstraints,   // An authority may not vouch for this name.
  kWeak,              // A key or a digest is too weak.
  kNotYetValid,
  kExpired,
  kNoCrl,       // No list of an issuer is there.
  kCrlExpired,  // No list of an issuer holds now.
  kRevoked,
  kNotAllowed,  // It is trusted, and is somebody else.
};

inline constexpr size_t kPeerRefusals =
    static_cast<size_t>(PeerRefusal::kNotAllowed) + 1;

// "expired": for a metric's label.
absl::string_view PeerRefusalName(PeerRefusal refusal);

struct PeerVerdict {
  PeerRefusal refusal = PeerRefusal::kNoCertificate;
  // Why it was refused, for a log: one sentence. Names in it are escaped.
  std::string text;
  // Whom the leaf names, escaped. Nobody may have verified that. Empty: nobody.
  std::string claim;

  // The rest is there for a peer that is admitted.
  Peer peer;
  // Until when this holds: the end of a certificate, or of a list with
  // CrlCheck::kRequire.
  absl::Time not_after;
  // With kIfPresent: an issuer had no list that holds.
  bool lacks_crl = false;

  bool admitted() const { return refusal == PeerRefusal::kNone; }
};

// A peer's chain has at most so many certificates and bytes.
inline constexpr size_t kMaxPeerChain = 8;
inline constexpr size_t kMaxPeerChainBytes = 256 << 10;

// Whether a peer with this chain is admitted at `now`. `chain` is PEM, or DER
// of one certificate after another. The leaf comes first, as in TLS; the order
// of the others does not count, and neither do doubles.
//
// A SPIFFE ID is verified by the bundle of its trust domain and by no other
// (but see `policy.one_bundle`).
// A certificate without one is verified by the bundle "", and so is one for
// `policy.host` whose trust domain has no bundle: its SPIFFE ID counts for
// nothing then. The chain is that of RFC 5280, section 6, without policies (see
// CheckPolicies()). All certificates hold at `now`, and all that have an issuer
// are looked for in its lists.
//
// A pure function: no I/O, no clock. Takes no lock of mesh's. Its work is
// bounded, whatever the chain is.
PeerVerdict VerifyPeer(absl::string_view chain, const Trust& trust,
                       const PeerPolicy& policy, absl::Time now);
// The same, of one who has read the certificates: as ParseCertificates() does.
PeerVerdict VerifyPeer(const std::vector<X509Ptr>& chain, const Trust& trust,
                       const PeerPolicy& policy, absl::Time now);

}  // namespace mesh::security

#endif  // MESH_SECURITY_VERIFIER_H_
