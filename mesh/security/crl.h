#ifndef MESH_SECURITY_CRL_H_
#define MESH_SECURITY_CRL_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/security/crypto_ptr.h"

namespace mesh::security {

using Digest = std::array<uint8_t, 32>;  // SHA-256.

// One list of revoked certificates. Immutable but for a memory of the key that
// signed it, so any number of threads may ask; no question takes a lock.
//
// mesh reads complete lists of one issuer (RFC 5280, 5.2). A list with an
// issuingDistributionPoint, a deltaCRLIndicator, another issuer's entries or an
// unknown critical extension is an error. So no name within such an extension
// is ever compared (CVE-2020-1971, CVE-2023-0286).
class Crl {
 public:
  // INVALID_ARGUMENT: it cannot be read, is no complete list, was signed with
  // less than SHA-256, or does not say when the next one comes.
  static absl::StatusOr<std::unique_ptr<const Crl>> Parse(
      absl::string_view der);
  ~Crl();
  Crl(const Crl&) = delete;
  Crl& operator=(const Crl&) = delete;

  // The DER of its issuer's name.
  const std::string& issuer() const { return issuer_; }
  absl::Time this_update() const { return this_update_; }
  absl::Time next_update() const { return next_update_; }
  const Digest& digest() const { return digest_; }

  // Whether this authority signed it and may sign lists.
  bool IsSignedBy(X509* authority) const;
  // Whether it has this certificate of its issuer.
  bool Has(const X509* certificate) const;

 private:
  Crl() = default;

  CrlPtr crl_;
  std::string issuer_;
  absl::Time this_update_;
  absl::Time next_update_;
  Digest digest_ = {};
  // The key that IsSignedBy() found to be its signer, owned. It saves a digest
  // of the whole list, which may have megabytes, per verdict.
  mutable std::atomic<EVP_PKEY*> signer_{nullptr};
};

// All lists of a PEM text, at least one.
absl::StatusOr<std::vector<std::unique_ptr<const Crl>>> ParseCrls(
    absl::string_view pem);

}  // namespace mesh::security

#endif  // MESH_SECURITY_CRL_H_
