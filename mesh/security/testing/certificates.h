#ifndef MESH_SECURITY_TESTING_CERTIFICATES_H_
#define MESH_SECURITY_TESTING_CERTIFICATES_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/certs/authority.h"
#include "mesh/security/identity.h"
#include "mesh/security/verifier.h"

// Good and bad certificates for the tests of this room, on top of mesh/certs.
// All of it ends the test's process when OpenSSL will not make something.

namespace mesh::security::testing {

// The value; an error ends the process with its text.
void Require(const absl::Status& status);
template <typename T>
T Must(absl::StatusOr<T> value) {
  Require(value.status());
  return *std::move(value);
}

// ---- DER --------------------------------------------------------------------

inline constexpr uint8_t kSequence = 0x30;
inline constexpr uint8_t kUtf8String = 0x0c;
// What a GeneralName is, by its tag (RFC 5280, 4.2.1.6).
inline constexpr uint8_t kOtherName = 0xa0;
inline constexpr uint8_t kEmailName = 0x81;
inline constexpr uint8_t kDnsName = 0x82;
inline constexpr uint8_t kX400Address = 0xa3;
inline constexpr uint8_t kEdiPartyName = 0xa5;
inline constexpr uint8_t kUriName = 0x86;

// Tag, length, content.
std::string Der(uint8_t tag, absl::string_view content);
// An object identifier: "1.2.3".
std::string DerOid(absl::string_view dotted);

// subjectAltName with these GeneralNames.
certs::Extension AltNamesExtension(absl::string_view names);
// nameConstraints; each list is of GeneralNames, in DER.
certs::Extension NameConstraints(const std::vector<std::string>& permitted,
                                 const std::vector<std::string>& excluded);
// Where a list is to be found, or of what it is a part: under this name.
certs::Extension DistributionPoints(absl::string_view name);
certs::Extension IssuingDistributionPoint(absl::string_view name);

// ---- keys -------------------------------------------------------------------

// P-256, but with all numbers of the curve in place of its name.
certs::Key ExplicitCurveKey();
// On this curve of OpenSSL's.
certs::Key CurveKey(const char* curve);

// ---- a process and its peer -------------------------------------------------

// A process in the trust domain "prod" that judges a peer. All is good until a
// test changes it.
struct Scene {
  // `now`: when the peer is judged. Tests with real peers give the present.
  explicit Scene(absl::Time now = absl::FromUnixSeconds(1900000000));

  // An authority of the given name, valid around `now`.
  certs::CertificateOptions AuthorityOptions(absl::string_view name) const;
  certs::Authority MakeRoot(absl::string_view name) const;
  certs::Authority MakeBelow(const certs::Authority& above,
                             absl::string_view name) const;
  certs::CertificateOptions Svid(absl::string_view id) const;
  // A leaf of `root`, as a peer shows it.
  std::string Chain(const certs::CertificateOptions& leaf) const;
  std::string Crl(const certs::Authority& issuer,
                  std::vector<std::string> revoked = {}) const;

  PeerVerdict Judge(absl::string_view chain) const;
  // Its refusal's name: "none" for an admitted peer.
  std::string Why(absl::string_view chain) const;

  absl::Time now;
  absl::Time from;   // A day before.
  absl::Time until;  // A day behind.
  certs::Authority root;
  std::map<std::string, std::string> bundles;  // "prod" and "": `root`.
  std::vector<std::string> crls;
  std::string own_domain = "prod";
  PeerPolicy policy;
};

}  // namespace mesh::security::testing

#endif  // MESH_SECURITY_TESTING_CERTIFICATES_H_
