#ifndef MESH_SECURITY_IDENTITY_H_
#define MESH_SECURITY_IDENTITY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/security/crypto_ptr.h"
#include "mesh/security/spiffe_id.h"
#include "mesh/security/trust.h"

namespace mesh::security {

// What a source has read of an identity. Bytes only: nothing is checked yet.
// The memory of the key is cleansed at the end, and that of the chain, for a
// file may have both.
struct IdentityBytes {
  IdentityBytes() = default;
  IdentityBytes(const IdentityBytes&) = default;
  IdentityBytes& operator=(const IdentityBytes&) = default;
  IdentityBytes(IdentityBytes&&) = default;
  IdentityBytes& operator=(IdentityBytes&&) = default;
  ~IdentityBytes();

  friend bool operator==(const IdentityBytes& a, const IdentityBytes& b) {
    return a.chain == b.chain && a.key == b.key && a.bundles == b.bundles &&
           a.crls == b.crls;
  }

  // PEM certificates, the leaf first. Empty: this process shows nothing.
  std::string chain;
  // PEM, not encrypted. Empty exactly when `chain` is.
  std::string key;
  // PEM certificates by trust domain ("prod"). The key "" is for peers that are
  // known by a DNS name, and for the trust domain of this process when that has
  // no bundle of its own. No bundle at all: a client trusts the system's
  // authorities (see ClientCredentials), and a server nobody.
  std::map<std::string, std::string> bundles;
  // PEM certificate revocation lists, any number in each string.
  std::vector<std::string> crls;
};

// One whole identity: what this process shows, and whom it trusts. Immutable,
// so any number of threads may read it.
class Identity {
 public:
  // Checks `bytes` as a whole at `now`. INVALID_ARGUMENT says what is wrong and
  // in which part, never with bytes of the key. FAILED_PRECONDITION: all is
  // well but the leaf is not valid yet; Make() again at NotBefore(bytes).
  //
  // The key fits the leaf, each certificate is signed by the next, and dates
  // hold. Keys are RSA from 2048 bits, P-256, P-384 or Ed25519; digests SHA-256
  // or better. A chain has at most 8 certificates, a bundle 1,000 and 1 MiB. A
  // leaf with a SPIFFE ID is an X.509-SVID. Revocation lists are complete ones;
  // one that has expired is for the verifier to judge.
  static absl::StatusOr<std::shared_ptr<const Identity>> Make(
      IdentityBytes bytes, absl::Time now);

  // From when on all certificates of `bytes.chain` are valid. InfinitePast:
  // there is none. INVALID_ARGUMENT: they cannot be read.
  static absl::StatusOr<absl::Time> NotBefore(const IdentityBytes& bytes);

  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;

  const IdentityBytes& bytes() const { return bytes_; }
  // Whom it trusts, parsed.
  const Trust& trust() const { return *trust_; }
  // The same, for who outlives the identity and has no need of its key.
  const std::shared_ptr<const Trust>& shared_trust() const { return trust_; }
  // Absent: the leaf has none, or there is no leaf.
  const std::optional<SpiffeId>& spiffe_id() const { return spiffe_id_; }
  // When the whole chain is valid. Infinite when there is no leaf.
  absl::Time not_before() const { return not_before_; }
  absl::Time not_after() const { return not_after_; }
  // Hex, in lower case. Empty when there is no leaf.
  const std::string& serial() const { return serial_; }
  // Whether a peer that has the same trust would find this chain trusted: the
  // bundle of the own trust domain verifies it. True without a SPIFFE ID.
  bool is_trusted_by_itself() const { return is_trusted_by_itself_; }
  // What an operator should know and what forbids nothing, one sentence each.
  // Such are a chain that does not build to its own bundle, if there is one,
  // and an authority that ends before the leaf. A leaf that lives longer than a
  // year is one, too.
  const std::vector<std::string>& warnings() const { return warnings_; }

  // Whether `other`, which comes after this one, takes trust away: an anchor
  // that is gone, a list that is new or other. Connections under it are then to
  // go in seconds.
  bool WithdrawnBy(const Identity& other) const;

 private:
  Identity() = default;

  // Checks all of `bytes_` but the present time, and sets the rest.
  absl::Status Read(absl::Time now);
  void Warn(const std::vector<X509Ptr>& chain, absl::Time now);

  IdentityBytes bytes_;
  std::shared_ptr<const Trust> trust_;
  std::optional<SpiffeId> spiffe_id_;
  absl::Time not_before_ = absl::InfinitePast();
  absl::Time not_after_ = absl::InfiniteFuture();
  std::string serial_;
  bool is_trusted_by_itself_ = true;
  std::vector<std::string> warnings_;
};

using IdentityPtr = std::shared_ptr<const Identity>;

}  // namespace mesh::security

#endif  // MESH_SECURITY_IDENTITY_H_
