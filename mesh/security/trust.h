#ifndef MESH_SECURITY_TRUST_H_
#define MESH_SECURITY_TRUST_H_

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mesh/security/crl.h"
#include "mesh/security/crypto_ptr.h"

namespace mesh::security {

// The authorities of one trust domain. Immutable; any thread may ask.
class Bundle {
 public:
  static constexpr size_t kMaxCertificates = 1000;
  static constexpr size_t kMaxBytes = 1 << 20;

  // INVALID_ARGUMENT: `pem` is longer than that, has no certificate, or one
  // that cannot be read or has a weak key.
  static absl::StatusOr<Bundle> Parse(absl::string_view pem);

  // The authorities with this subject, in DER. There may be several: an
  // authority keeps its name when its key changes.
  absl::Span<const X509Ptr> With(absl::string_view subject) const;
  // Whether it has just this certificate.
  bool Has(const X509* certificate) const;
  // Whether `other` has every authority that this has.
  bool IsWithin(const Bundle& other) const;
  // Writes the authorities as PEM, but those whose digests are in `*written`.
  void AppendPem(std::set<Digest>* written, BIO* to) const;
  size_t size() const { return digests_.size(); }

 private:
  std::map<std::string, std::vector<X509Ptr>, std::less<>> by_subject_;
  std::vector<Digest> digests_;  // Sorted.
};

// Whom a process trusts, parsed: a bundle per trust domain, and lists of
// revoked certificates. Immutable; questions take no lock and do no I/O.
class Trust {
 public:
  using Lists = std::vector<std::unique_ptr<const Crl>>;

  static constexpr size_t kMaxCrlBytes = 16 << 20;  // All of them together.

  // `bundles`: PEM by trust domain, as in IdentityBytes. `own_domain`: the
  // trust domain of this process; empty: it has none. INVALID_ARGUMENT names
  // the part that is wrong.
  static absl::StatusOr<std::shared_ptr<const Trust>> Make(
      const std::map<std::string, std::string>& bundles,
      absl::Span<const std::string> crls, absl::string_view own_domain);

  // The one bundle that vouches for a SPIFFE ID of this trust domain. Null:
  // none does. The bundle "" stands for the own domain that has no other.
  const Bundle* ForDomain(absl::string_view domain) const;
  // The one that vouches for peers without a SPIFFE ID. Null: none does.
  const Bundle* ForDnsNames() const;
  // Whether names of other kinds than SPIFFE IDs count in a certificate of this
  // bundle. Those of a foreign trust domain do not: its authority would speak
  // for names that are not its own. But they do where each of its authorities
  // stands in ForDnsNames() as well.
  bool VouchesForDnsNames(const Bundle* bundle) const;

  // The lists of this issuer, whose name is in DER.
  absl::Span<const std::unique_ptr<const Crl>> CrlsOf(
      absl::string_view issuer) const;
  bool has_crls() const { return !crl_digests_.empty(); }

  // All authorities of all bundles, each one once, in PEM: for gRPC's own
  // check, which knows only one bundle. Empty: there is no bundle.
  std::string AllPem() const;

  // Whether `other` trusts less: an authority of a domain is gone, or the lists
  // are others.
  bool IsWithdrawnBy(const Trust& other) const;

 private:
  Trust() = default;

  absl::Status AddCrls(absl::Span<const std::string> crls);

  std::map<std::string, Bundle, std::less<>> bundles_;
  std::string own_domain_;
  std::map<std::string, Lists, std::less<>> crls_;  // By issuer.
  std::vector<Digest> crl_digests_;                 // Sorted.
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_TRUST_H_
