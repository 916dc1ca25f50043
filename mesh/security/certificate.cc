#include "mesh/security/certificate.h"

#include <arpa/inet.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mesh/security/pem.h"
#include "openssl/crypto.h"
#include "openssl/objects.h"

namespace mesh::security {
namespace {

constexpr int kLeastRsaBits = 2048;
// A certificate has about ten. This bounds the search for one that comes twice.
constexpr int kMostExtensions = 64;

absl::Status Wrong(absl::string_view why) {
  return absl::InvalidArgumentError(why);
}

absl::string_view BytesOf(const ASN1_STRING* string) {
  return absl::string_view(
      reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
      ASN1_STRING_length(string));
}

absl::string_view DerOf(const X509_NAME* name) {
  const unsigned char* der = nullptr;
  size_t size = 0;
  if (X509_NAME_get0_der(name, &der, &size) != 1) return "";
  return absl::string_view(reinterpret_cast<const char*>(der), size);
}

// What OpenSSL reads without a word, and what no certificate has.
absl::Status CheckShape(X509* certificate) {
  const int count = X509_get_ext_count(certificate);
  if (count > kMostExtensions) return Wrong("has too many extensions.");
  for (int i = 0; i < count; ++i) {
    const ASN1_OBJECT* const type =
        X509_EXTENSION_get_object(X509_get_ext(certificate, i));
    if (X509_get_ext_by_OBJ(certificate, type, i) >= 0) {
      return Wrong("has an extension twice.");
    }
  }
  // Reads the extensions now, and not under a lock when they are asked for.
  X509_check_purpose(certificate, -1, 0);
  if ((X509_get_extension_flags(certificate) & EXFLAG_INVALID) != 0) {
    return Wrong("has an extension that cannot be read.");
  }
  if (X509_get0_pubkey(certificate) == nullptr) {
    return Wrong("has a public key that cannot be read.");
  }
  if (NotBefore(certificate) == absl::InfinitePast() ||
      NotAfter(certificate) == absl::InfinitePast()) {
    return Wrong("has a date that cannot be read.");
  }
  return absl::OkStatus();
}

absl::StatusOr<X509Ptr> TakeCertificate(absl::string_view* der) {
  const auto* const begin = reinterpret_cast<const unsigned char*>(der->data());
  const unsigned char* end = begin;
  X509Ptr certificate(
      d2i_X509(nullptr, &end, static_cast<long>(der->size())));  // NOLINT
  if (certificate == nullptr) return Wrong("cannot be read.");
  der->remove_prefix(end - begin);
  const absl::Status shape = CheckShape(certificate.get());
  if (!shape.ok()) return shape;
  return certificate;
}

absl::Status AtPlace(size_t place, const absl::Status& status) {
  return absl::InvalidArgumentError(
      absl::StrCat("certificate ", place, " ", status.message()));
}

bool IsUriByte(char c) { return c > ' ' && c < 0x7f; }

// Letters, digits, and what stands between them. A wildcard is a DNS name to
// whoever made the certificate, and names nobody here.
bool IsDnsByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' ||
         c == '-' || c == '_' || c == '*';
}

bool IsSpiffeUri(absl::string_view uri) {
  return absl::StartsWithIgnoreCase(uri, "spiffe:");
}

// The bytes of an IP address; empty if `host` is none.
std::string AddressOf(const std::string& host) {
  unsigned char bytes[16];
  const char* const begin = reinterpret_cast<const char*>(bytes);
  if (inet_pton(AF_INET, host.c_str(), bytes) == 1) return {begin, 4};
  if (inet_pton(AF_INET6, host.c_str(), bytes) == 1) return {begin, 16};
  return "";
}

// Whether a DNS name in a certificate stands for `host`.
bool Covers(absl::string_view name, absl::string_view host) {
  absl::ConsumeSuffix(&name, ".");
  if (name.empty()) return false;
  if (absl::EqualsIgnoreCase(name, host)) return true;
  if (!absl::ConsumePrefix(&name, "*.") || !absl::StrContains(name, '.')) {
    return false;
  }
  const size_t dot = host.find('.');
  return dot != absl::string_view::npos && dot > 0 &&
         absl::EqualsIgnoreCase(name, host.substr(dot + 1));
}

std::string CommonNameOf(const X509* certificate) {
  X509_NAME* const subject = X509_get_subject_name(certificate);
  const int index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (index < 0) return "";
  unsigned char* utf8 = nullptr;
  const int size = ASN1_STRING_to_UTF8(
      &utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index)));
  if (size < 0) return "";
  std::string name(reinterpret_cast<const char*>(utf8), size);
  OPENSSL_free(utf8);
  return name;
}

}  // namespace

absl::StatusOr<std::vector<X509Ptr>> ParseCertificates(absl::string_view bytes,
                                                       size_t most) {
  const ErrorMark mark;
  std::vector<X509Ptr> certificates;
  // PEM has no byte from 0x80 on before its first block, and a certificate is
  // longer than the 127 bytes whose length DER says in one byte.
  if (bytes.size() > 1 && bytes[0] == '\x30' && (bytes[1] & 0x80) != 0) {
    while (!bytes.empty()) {
      if (certificates.size() == most) {
        return absl::ResourceExhaustedError(
            absl::StrCat("there are more than ", most, " of them."));
      }
      absl::StatusOr<X509Ptr> one = TakeCertificate(&bytes);
      if (!one.ok()) return AtPlace(certificates.size() + 1, one.status());
      certificates.push_back(*std::move(one));
    }
    return certificates;
  }
  absl::StatusOr<std::vector<std::string>> blocks =
      PemBlocks(bytes, "CERTIFICATE", most);
  if (!blocks.ok()) return blocks.status();
  for (const std::string& block : *blocks) {
    absl::string_view der = block;
    absl::StatusOr<X509Ptr> one = TakeCertificate(&der);
    if (one.ok() && !der.empty()) one = Wrong("has bytes behind its end.");
    if (!one.ok()) return AtPlace(certificates.size() + 1, one.status());
    certificates.push_back(*std::move(one));
  }
  return certificates;
}

absl::string_view SubjectOf(const X509* certificate) {
  return DerOf(X509_get_subject_name(certificate));
}

absl::string_view IssuerOf(const X509* certificate) {
  return DerOf(X509_get_issuer_name(certificate));
}

std::string TextOf(const X509_NAME* name) {
  char text[128];
  if (X509_NAME_oneline(name, text, sizeof(text)) == nullptr) return Quoted("");
  return Quoted(text);
}

absl::Time TimeOf(const ASN1_TIME* time) {
  std::tm tm = {};
  if (time == nullptr || ASN1_TIME_to_tm(time, &tm) != 1) {
    return absl::InfinitePast();
  }
  return absl::FromTM(tm, absl::UTCTimeZone());
}

absl::Time NotBefore(const X509* certificate) {
  return TimeOf(X509_get0_notBefore(certificate));
}

absl::Time NotAfter(const X509* certificate) {
  return TimeOf(X509_get0_notAfter(certificate));
}

bool IsAuthority(X509* certificate) {
  // X509_check_ca() says no to a CA whose key may not sign.
  return (X509_get_extension_flags(certificate) & EXFLAG_CA) != 0 ||
         X509_check_ca(certificate) != 0;
}

absl::Status CheckKey(const X509* certificate) {
  ASN1_OBJECT* type = nullptr;
  X509_ALGOR* algorithm = nullptr;
  if (X509_PUBKEY_get0_param(&type, nullptr, nullptr, &algorithm,
                             X509_get_X509_PUBKEY(certificate)) != 1) {
    return Wrong("has a public key that cannot be read.");
  }
  switch (OBJ_obj2nid(type)) {
    case NID_rsaEncryption: {
      const int bits = EVP_PKEY_get_bits(X509_get0_pubkey(certificate));
      if (bits >= kLeastRsaBits) return absl::OkStatus();
      return Wrong(absl::StrCat("has an RSA key of ", bits,
                                " bits; the least is ", kLeastRsaBits, "."));
    }
    case NID_X9_62_id_ecPublicKey: {
      int form = V_ASN1_UNDEF;
      const void* curve = nullptr;
      X509_ALGOR_get0(nullptr, &form, &curve, algorithm);
      if (form != V_ASN1_OBJECT) {
        return Wrong(
            "has a key with explicit curve parameters; use a named "
            "curve.");
      }
      const int nid = OBJ_obj2nid(static_cast<const ASN1_OBJECT*>(curve));
      if (nid == NID_X9_62_prime256v1 || nid == NID_secp384r1) {
        return absl::OkStatus();
      }
      return Wrong("has a key on another curve than P-256 and P-384.");
    }
    case NID_ED25519:
      return absl::OkStatus();
    default:
      return Wrong("has a key that is neither RSA, P-256, P-384 nor Ed25519.");
  }
}

bool IsGoodSignature(int digest, int key_type) {
  return digest == NID_sha256 || digest == NID_sha384 || digest == NID_sha512 ||
         key_type == NID_ED25519;
}

absl::Status CheckDigest(X509* certificate) {
  int digest = NID_undef;
  int key_type = NID_undef;
  if (X509_get_signature_info(certificate, &digest, &key_type, nullptr,
                              nullptr) != 1 ||
      !IsGoodSignature(digest, key_type)) {
    return Wrong("is signed with a weaker digest than SHA-256.");
  }
  return absl::OkStatus();
}

absl::Status CheckPolicies(const X509* certificate) {
  for (const int nid :
       {NID_policy_mappings, NID_policy_constraints, NID_inhibit_any_policy}) {
    if (X509_get_ext_by_NID(certificate, nid, -1) >= 0) {
      return Wrong(absl::StrCat("has the extension ", OBJ_nid2ln(nid),
                                ", which is not supported."));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<LeafNames> NamesOf(const X509* leaf) {
  const ErrorMark mark;
  LeafNames names;
  int critical = 0;
  const GeneralNamesPtr all(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(leaf, NID_subject_alt_name, &critical, nullptr)));
  if (all == nullptr) {
    if (critical == -1) return names;  // It has no such extension.
    return Wrong("the certificate's subjectAltName cannot be read.");
  }
  std::vector<absl::string_view> uris;
  for (int i = 0; i < sk_GENERAL_NAME_num(all.get()); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(all.get(), i);
    if (name->type == GEN_URI) {
      uris.push_back(BytesOf(name->d.uniformResourceIdentifier));
      if (!std::all_of(uris.back().begin(), uris.back().end(), IsUriByte)) {
        return Wrong(absl::StrCat("the certificate's URI ", Quoted(uris.back()),
                                  " has bytes that no URI has."));
      }
    } else if (name->type == GEN_DNS) {
      const absl::string_view dns = BytesOf(name->d.dNSName);
      if (dns.empty() || !std::all_of(dns.begin(), dns.end(), IsDnsByte)) {
        return Wrong(absl::StrCat("the certificate's DNS name ", Quoted(dns),
                                  " has bytes that no DNS name has."));
      }
      names.dns_names.emplace_back(dns);
    }
  }
  if (!std::any_of(uris.begin(), uris.end(), IsSpiffeUri)) return names;
  if (uris.size() != 1) {
    return Wrong(absl::StrCat("the certificate has ", uris.size(),
                              " URIs; a SPIFFE ID must be the only one."));
  }
  absl::StatusOr<SpiffeId> id = SpiffeId::Parse(uris[0]);
  if (!id.ok()) return id.status();
  if (id->path().empty()) {
    return Wrong(absl::StrCat(Quoted(id->text()),
                              " names a trust domain and no workload."));
  }
  names.spiffe_id = *std::move(id);
  return names;
}

bool IsForHost(const X509* leaf, absl::string_view host) {
  const ErrorMark mark;
  absl::ConsumeSuffix(&host, ".");
  if (host.empty()) return false;
  const std::string address = AddressOf(std::string(host));
  int critical = 0;
  const GeneralNamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(leaf, NID_subject_alt_name, &critical, nullptr)));
  if (names == nullptr && critical != -1) return false;  // Unreadable.
  if (names == nullptr || sk_GENERAL_NAME_num(names.get()) == 0) {
    return address.empty() && Covers(CommonNameOf(leaf), host);
  }
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_DNS) {
      const absl::string_view dns = BytesOf(name->d.dNSName);
      if (address.empty() ? Covers(dns, host) : dns == host) return true;
    } else if (name->type == GEN_IPADD && !address.empty() &&
               BytesOf(name->d.iPAddress) == address) {
      return true;
    }
  }
  return false;
}

absl::Status CheckSvid(X509* leaf) {
  if (IsAuthority(leaf)) {
    return Wrong("an X.509-SVID must not be an authority.");
  }
  const uint32_t usage = X509_get_key_usage(leaf);
  if (usage == UINT32_MAX || (usage & KU_DIGITAL_SIGNATURE) == 0) {
    return Wrong("an X.509-SVID must have the key usage digitalSignature.");
  }
  if ((usage & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) != 0) {
    return Wrong("an X.509-SVID must have neither keyCertSign nor cRLSign.");
  }
  const uint32_t purposes = X509_get_extended_key_usage(leaf);
  constexpr uint32_t kBoth = XKU_SSL_SERVER | XKU_SSL_CLIENT;
  if (purposes != UINT32_MAX && (purposes & kBoth) != kBoth) {
    return Wrong(
        "an X.509-SVID that has purposes must have serverAuth and clientAuth.");
  }
  return absl::OkStatus();
}

std::string SerialOf(const X509* certificate) {
  const BignumPtr number(
      ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
  if (number == nullptr) return "";
  char* const hex = BN_bn2hex(number.get());
  std::string text = hex == nullptr ? "" : absl::AsciiStrToLower(hex);
  OPENSSL_free(hex);
  return text;
}

}  // namespace mesh::security
