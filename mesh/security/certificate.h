#ifndef MESH_SECURITY_CERTIFICATE_H_
#define MESH_SECURITY_CERTIFICATE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/security/crypto_ptr.h"
#include "mesh/security/spiffe_id.h"

// What one certificate says, and what mesh asks of it. Pure functions; any
// number of threads may ask about one certificate. Errors are INVALID_ARGUMENT.

namespace mesh::security {

// The certificates in `bytes`: PEM, or DER of one after another. Each one can
// be read to its last byte, has a key that OpenSSL knows, two dates, and each
// extension at most once (RFC 5280, 4.2). None at all is no error.
// RESOURCE_EXHAUSTED: there are more than `most`.
absl::StatusOr<std::vector<X509Ptr>> ParseCertificates(absl::string_view bytes,
                                                       size_t most);

// The DER of subject or issuer. Names are the same when their bytes are (RFC
// 5280, 4.1.2.6). Valid as long as the certificate is.
absl::string_view SubjectOf(const X509* certificate);
absl::string_view IssuerOf(const X509* certificate);
// For a message: escaped and cut.
std::string TextOf(const X509_NAME* name);

// It is valid from NotBefore() on and before NotAfter().
absl::Time NotBefore(const X509* certificate);
absl::Time NotAfter(const X509* certificate);
// InfinitePast: it is no time.
absl::Time TimeOf(const ASN1_TIME* time);

// Whether it says in any way that it is an authority: as a CA, or by a key that
// signs certificates.
bool IsAuthority(X509* certificate);

// RSA from 2048 bits, P-256, P-384 (both as a named curve) or Ed25519.
absl::Status CheckKey(const X509* certificate);
// It was signed with SHA-256 or better, or with Ed25519.
absl::Status CheckDigest(X509* certificate);
// Whether this is the digest of such a signature: its NID.
bool IsGoodSignature(int digest, int key_type);

// It has none of policyMappings, policyConstraints and inhibitAnyPolicy. mesh
// makes no policy tree, whose size a peer could choose (CVE-2023-0464).
absl::Status CheckPolicies(const X509* certificate);

// Whom a leaf names, by its subjectAltName alone. The subject never counts.
struct LeafNames {
  std::optional<SpiffeId> spiffe_id;
  std::vector<std::string> dns_names;
};

// A leaf with any URI of the scheme "spiffe", in upper case too, is an
// X.509-SVID: that is its only URI, and it has a path. An error as well: a URI
// or DNS name with a NUL, or with bytes that such a name never has.
absl::StatusOr<LeafNames> NamesOf(const X509* leaf);

// Whether a certificate is for this host, as grpc::SslCredentials() has it. A
// DNS name is compared with the dNSNames, without the case of a-z, and "*"
// stands for one whole label at the left of two or more (RFC 9525, 6.3). An IP
// address is compared with the iPAddresses, and with the text of dNSNames. The
// first common name counts for a certificate without any subjectAltName.
bool IsForHost(const X509* leaf, absl::string_view host);

// What the X.509-SVID standard asks of a leaf beside its name: no authority,
// digitalSignature, neither keyCertSign nor cRLSign, and both purposes if it
// names any.
absl::Status CheckSvid(X509* leaf);

// Hex, in lower case.
std::string SerialOf(const X509* certificate);

}  // namespace mesh::security

#endif  // MESH_SECURITY_CERTIFICATE_H_
