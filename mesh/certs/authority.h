#ifndef MESH_CERTS_AUTHORITY_H_
#define MESH_CERTS_AUTHORITY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "openssl/ossl_typ.h"

// Makes certificates (RFC 5280) for development and for tests: also bad ones
// where a test asks for them, because nothing here judges what it is told to
// make. Time comes from outside. Keys and serial numbers are OpenSSL's random.
namespace mesh::certs {

enum class KeyType { kP256, kP384, kRsa, kEd25519 };

// A private key. A copy is the same key. Thread-safe.
class Key {
 public:
  // Makes a new one. `rsa_bits` is for kRsa. INTERNAL: OpenSSL refuses.
  static absl::StatusOr<Key> Make(KeyType type, int rsa_bits = 2048);
  // Reads an unencrypted PEM key. INVALID_ARGUMENT: it is none.
  static absl::StatusOr<Key> Parse(absl::string_view pem);
  // Takes `key` over.
  explicit Key(EVP_PKEY* key);

  // PKCS #8, not encrypted.
  std::string Pem() const;
  EVP_PKEY* get() const { return key_.get(); }

 private:
  std::shared_ptr<EVP_PKEY> key_;
};

enum class Digest { kSha1, kSha256, kSha384 };

// One subject alternative name. `bytes` stand in the certificate as they are,
// so they may be no good name. An address (kIp) is 4 or 16 bytes.
struct AltName {
  enum class Type { kUri, kDns, kEmail, kIp };
  Type type = Type::kUri;
  std::string bytes;
};

// An extension beside those of CertificateOptions.
struct Extension {
  std::string oid;  // Dotted.
  bool critical = false;
  std::string der;  // What the extension's octet string holds.
};

// Bits of the key usage extension, as RFC 5280 4.2.1.3 numbers them.
inline constexpr unsigned kDigitalSignature = 1u << 0;
inline constexpr unsigned kKeyEncipherment = 1u << 2;
inline constexpr unsigned kKeyCertSign = 1u << 5;
inline constexpr unsigned kCrlSign = 1u << 6;

// What a certificate is to say.
struct CertificateOptions {
  std::string common_name;  // Empty: the subject is empty.
  std::vector<AltName> names;
  absl::Time not_before;  // Whole seconds.
  absl::Time not_after;
  bool authority = false;
  // How many authorities may stand between this one and a leaf. -1: any number.
  int path_length = -1;
  unsigned key_usage = kDigitalSignature;  // 0: no such extension.
  // Extended key usage: short names of OpenSSL ("serverAuth") or dotted OIDs.
  std::vector<std::string> purposes;
  Digest digest = Digest::kSha256;  // Ed25519 has its own.
  std::string serial;               // Hex. Empty: 127 random bits.
  std::vector<Extension> extensions;
};

// The common kinds, valid from `from` until `until`. An SVID is as the
// X.509-SVID standard has it, for both ends of a connection. Authorities that
// are trusted beside each other need different common names.
CertificateOptions SvidOptions(absl::string_view spiffe_id, absl::Time from,
                               absl::Time until);
CertificateOptions ServerOptions(const std::vector<std::string>& dns_names,
                                 absl::Time from, absl::Time until);
CertificateOptions ClientOptions(const std::vector<std::string>& dns_names,
                                 absl::Time from, absl::Time until);
CertificateOptions AuthorityOptions(absl::string_view common_name,
                                    absl::Time from, absl::Time until);

// What a process shows: PEM.
struct Issued {
  std::string chain;  // The leaf, then intermediates; the root is left out.
  std::string key;
  std::string serial;  // The leaf's, hex in lower case.
};

// The serial number of the first certificate in `pem`, as Issued has it.
// INVALID_ARGUMENT: there is none.
absl::StatusOr<std::string> SerialOfPem(absl::string_view pem);

struct CrlOptions {
  absl::Time this_update;
  absl::Time next_update;
  int64_t number = 1;
  std::vector<std::string> revoked;  // Serial numbers, hex.
  Digest digest = Digest::kSha256;
  std::vector<Extension> extensions;
};

// A certificate authority: a root, or an intermediate below one. A value; a
// copy signs with the same key. Thread-safe. INVALID_ARGUMENT: options that
// cannot be written down, with what is wrong. INTERNAL: OpenSSL refuses.
class Authority {
 public:
  // A root, signed by itself. `options.authority` is to be set.
  static absl::StatusOr<Authority> MakeRoot(const CertificateOptions& options,
                                            const Key& key);
  // One that was made before. `chain` begins with its own certificate and ends
  // with its root, as AllPem() gives it.
  static absl::StatusOr<Authority> Load(absl::string_view chain,
                                        absl::string_view key);

  // An authority below this one.
  absl::StatusOr<Authority> MakeIntermediate(const CertificateOptions& options,
                                             const Key& key) const;
  // The certificate of `key`, alone, in PEM.
  absl::StatusOr<std::string> Certify(const CertificateOptions& options,
                                      const Key& key) const;
  // A certificate of a new key, with all that is sent in a handshake.
  absl::StatusOr<Issued> Issue(const CertificateOptions& options,
                               KeyType type = KeyType::kP256) const;
  absl::StatusOr<Issued> Issue(const CertificateOptions& options,
                               const Key& key) const;
  // A revocation list of version 2, in PEM.
  absl::StatusOr<std::string> MakeCrl(const CrlOptions& options) const;

  // This authority's own certificate.
  const std::string& pem() const { return chain_.front(); }
  // The root's.
  const std::string& root_pem() const { return chain_.back(); }
  // What a leaf's chain has behind the leaf: all but the root.
  std::string IntermediatesPem() const;
  // From this one to the root.
  std::string AllPem() const;
  const Key& key() const { return key_; }

 private:
  Authority(std::shared_ptr<X509> certificate, Key key,
            std::vector<std::string> chain);

  std::shared_ptr<X509> certificate_;
  Key key_;
  std::vector<std::string> chain_;  // PEM, from this one to the root.
};

}  // namespace mesh::certs

#endif  // MESH_CERTS_AUTHORITY_H_
