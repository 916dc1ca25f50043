#include "mesh/certs/authority.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "openssl/bio.h"
#include "openssl/bn.h"
#include "openssl/core_names.h"
#include "openssl/ec.h"
#include "openssl/err.h"
#include "openssl/evp.h"
#include "openssl/pem.h"
#include "openssl/rsa.h"
#include "openssl/x509.h"
#include "openssl/x509v3.h"

namespace mesh::certs {
namespace {

// Frees what OpenSSL made.
struct Free {
  void operator()(X509* p) const { X509_free(p); }
  void operator()(X509_CRL* p) const { X509_CRL_free(p); }
  void operator()(X509_REVOKED* p) const { X509_REVOKED_free(p); }
  void operator()(X509_NAME* p) const { X509_NAME_free(p); }
  void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
  void operator()(BIO* p) const { BIO_free(p); }
  void operator()(BIGNUM* p) const { BN_free(p); }
  // Integers, times and strings, too: they are one type.
  void operator()(ASN1_STRING* p) const { ASN1_STRING_free(p); }
  void operator()(ASN1_OBJECT* p) const { ASN1_OBJECT_free(p); }
  void operator()(GENERAL_NAMES* p) const { GENERAL_NAMES_free(p); }
  void operator()(AUTHORITY_KEYID* p) const { AUTHORITY_KEYID_free(p); }
  void operator()(BASIC_CONSTRAINTS* p) const { BASIC_CONSTRAINTS_free(p); }
  void operator()(EXTENDED_KEY_USAGE* p) const {
    sk_ASN1_OBJECT_pop_free(p, ASN1_OBJECT_free);
  }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

const unsigned char* Bytes(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

absl::Status Refused(absl::string_view what) {
  char reason[256] = "no reason given";
  const unsigned long error = ERR_peek_last_error();
  if (error != 0) ERR_error_string_n(error, reason, sizeof(reason));
  ERR_clear_error();
  return absl::InternalError(
      absl::StrCat("OpenSSL refuses ", what, ": ", reason, "."));
}

absl::Status Wrong(absl::string_view field, absl::string_view value,
                   absl::string_view remedy) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, " \"", absl::CHexEscape(value), "\" ", remedy, "."));
}

Owned<BIO> Open(absl::string_view text) {
  return Owned<BIO>(BIO_new_mem_buf(text.data(), text.size()));
}

std::string TextOf(BIO* bio) {
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio, &text);
  return std::string(text, size);
}

// An encrypted key is refused rather than asked for on the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

std::string PemOf(X509* certificate) {
  const Owned<BIO> bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate);
  return TextOf(bio.get());
}

const EVP_MD* DigestFor(EVP_PKEY* key, Digest digest) {
  if (EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519) return nullptr;
  switch (digest) {
    case Digest::kSha1:
      return EVP_sha1();
    case Digest::kSha256:
      return EVP_sha256();
    case Digest::kSha384:
      return EVP_sha384();
  }
  return EVP_sha256();
}

Owned<ASN1_TIME> Asn1(absl::Time time) {
  return Owned<ASN1_TIME>(ASN1_TIME_set(nullptr, absl::ToTimeT(time)));
}

absl::StatusOr<Owned<ASN1_INTEGER>> Serial(const std::string& hex) {
  BIGNUM* number = nullptr;
  if (hex.empty()) {
    number = BN_new();
    // The top bit is set, so that all have the same length; 127 bits stay
    // positive in DER.
    if (BN_rand(number, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) != 1) {
      BN_free(number);
      return Refused("a random serial number");
    }
  } else if (BN_hex2bn(&number, hex.c_str()) != static_cast<int>(hex.size())) {
    BN_free(number);
    ERR_clear_error();
    return Wrong("the serial number", hex, "must be hex digits");
  }
  const Owned<BIGNUM> owned(number);
  return Owned<ASN1_INTEGER>(BN_to_ASN1_INTEGER(number, nullptr));
}

std::string HexOf(const ASN1_INTEGER* serial) {
  const Owned<BIGNUM> number(ASN1_INTEGER_to_BN(serial, nullptr));
  char* const hex = BN_bn2hex(number.get());
  std::string text = absl::AsciiStrToLower(hex);
  OPENSSL_free(hex);
  return text;
}

absl::StatusOr<Owned<X509_NAME>> NameOf(const std::string& common_name) {
  Owned<X509_NAME> name(X509_NAME_new());
  if (!common_name.empty() &&
      X509_NAME_add_entry_by_NID(name.get(), NID_commonName, MBSTRING_UTF8,
                                 Bytes(common_name), common_name.size(), -1,
                                 0) != 1) {
    ERR_clear_error();
    return Wrong("the common name", common_name, "must be 1 to 64 characters");
  }
  return name;
}

absl::StatusOr<Owned<GENERAL_NAMES>> AltNames(
    const std::vector<AltName>& names) {
  Owned<GENERAL_NAMES> all(GENERAL_NAMES_new());
  for (const AltName& name : names) {
    const bool address = name.type == AltName::Type::kIp;
    if (address && name.bytes.size() != 4 && name.bytes.size() != 16) {
      return Wrong("the address", name.bytes, "must have 4 or 16 bytes");
    }
    ASN1_STRING* const text =
        ASN1_STRING_type_new(address ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    ASN1_STRING_set(text, name.bytes.data(), name.bytes.size());
    GENERAL_NAME* const made = GENERAL_NAME_new();
    const int type = address                              ? GEN_IPADD
                     : name.type == AltName::Type::kDns   ? GEN_DNS
                     : name.type == AltName::Type::kEmail ? GEN_EMAIL
                                                          : GEN_URI;
    GENERAL_NAME_set0_value(made, type, text);
    sk_GENERAL_NAME_push(all.get(), made);
  }
  return all;
}

absl::StatusOr<Owned<X509_EXTENSION>> Made(const Extension& extension) {
  const Owned<ASN1_OBJECT> oid(OBJ_txt2obj(extension.oid.c_str(), 1));
  if (oid == nullptr) {
    ERR_clear_error();
    return Wrong("the extension", extension.oid, "must be a dotted OID");
  }
  const Owned<ASN1_OCTET_STRING> value(ASN1_OCTET_STRING_new());
  ASN1_OCTET_STRING_set(value.get(), Bytes(extension.der),
                        extension.der.size());
  return Owned<X509_EXTENSION>(X509_EXTENSION_create_by_OBJ(
      nullptr, oid.get(), extension.critical ? 1 : 0, value.get()));
}

// Who has signed, by the identifier of its key.
Owned<AUTHORITY_KEYID> KeyIdOf(X509* issuer) {
  const ASN1_OCTET_STRING* const id = X509_get0_subject_key_id(issuer);
  if (id == nullptr) return nullptr;
  Owned<AUTHORITY_KEYID> made(AUTHORITY_KEYID_new());
  made->keyid = ASN1_OCTET_STRING_dup(id);
  return made;
}

bool Add(X509* to, int nid, void* value, bool critical) {
  return X509_add1_ext_i2d(to, nid, value, critical ? 1 : 0,
                           X509V3_ADD_DEFAULT) == 1;
}

bool AddKeyIds(X509* certificate, X509* issuer) {
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (X509_pubkey_digest(certificate, EVP_sha1(), hash, &size) != 1) {
    return false;
  }
  const Owned<ASN1_OCTET_STRING> id(ASN1_OCTET_STRING_new());
  ASN1_OCTET_STRING_set(id.get(), hash, static_cast<int>(size));
  if (!Add(certificate, NID_subject_key_identifier, id.get(), false)) {
    return false;
  }
  const Owned<AUTHORITY_KEYID> of_issuer = KeyIdOf(issuer);
  return of_issuer == nullptr ||
         Add(certificate, NID_authority_key_identifier, of_issuer.get(), false);
}

absl::Status AddPurposes(X509* certificate,
                         const std::vector<std::string>& purposes) {
  if (purposes.empty()) return absl::OkStatus();
  const Owned<EXTENDED_KEY_USAGE> all(sk_ASN1_OBJECT_new_null());
  for (const std::string& purpose : purposes) {
    ASN1_OBJECT* const oid = OBJ_txt2obj(purpose.c_str(), 0);
    if (oid == nullptr) {
      ERR_clear_error();
      return Wrong("the purpose", purpose,
                   "must be a name such as serverAuth or a dotted OID");
    }
    sk_ASN1_OBJECT_push(all.get(), oid);
  }
  if (!Add(certificate, NID_ext_key_usage, all.get(), false)) {
    return Refused("the extended key usage");
  }
  return absl::OkStatus();
}

absl::Status AddExtensions(X509* certificate, X509* issuer,
                           const CertificateOptions& options) {
  if (options.authority) {
    const Owned<BASIC_CONSTRAINTS> constraints(BASIC_CONSTRAINTS_new());
    constraints->ca = 0xff;
    if (options.path_length >= 0) {
      constraints->pathlen = ASN1_INTEGER_new();
      ASN1_INTEGER_set(constraints->pathlen, options.path_length);
    }
    if (!Add(certificate, NID_basic_constraints, constraints.get(), true)) {
      return Refused("the basic constraints");
    }
  }
  if (options.key_usage != 0) {
    const Owned<ASN1_BIT_STRING> usage(ASN1_BIT_STRING_new());
    for (int bit = 0; bit < 9; ++bit) {
      if (options.key_usage >> bit & 1) {
        ASN1_BIT_STRING_set_bit(usage.get(), bit, 1);
      }
    }
    if (!Add(certificate, NID_key_usage, usage.get(), true)) {
      return Refused("the key usage");
    }
  }
  const absl::Status purposes = AddPurposes(certificate, options.purposes);
  if (!purposes.ok()) return purposes;
  if (!options.names.empty()) {
    const absl::StatusOr<Owned<GENERAL_NAMES>> names = AltNames(options.names);
    if (!names.ok()) return names.status();
    // RFC 5280 4.2.1.6: critical when the subject is empty.
    if (!Add(certificate, NID_subject_alt_name, names->get(),
             options.common_name.empty())) {
      return Refused("the alternative names");
    }
  }
  if (!AddKeyIds(certificate, issuer)) return Refused("the key identifiers");
  for (const Extension& extension : options.extensions) {
    const absl::StatusOr<Owned<X509_EXTENSION>> made = Made(extension);
    if (!made.ok()) return made.status();
    if (X509_add_ext(certificate, made->get(), -1) != 1) {
      return Refused("an extension");
    }
  }
  return absl::OkStatus();
}

// A certificate of `key`, signed by `issuer` with `issuer_key`. A null issuer
// is the certificate itself.
absl::StatusOr<Owned<X509>> Sign(const CertificateOptions& options,
                                 EVP_PKEY* key, X509* issuer,
                                 EVP_PKEY* issuer_key) {
  absl::StatusOr<Owned<X509_NAME>> name = NameOf(options.common_name);
  if (!name.ok()) return name.status();
  const absl::StatusOr<Owned<ASN1_INTEGER>> serial = Serial(options.serial);
  if (!serial.ok()) return serial.status();
  const Owned<ASN1_TIME> from = Asn1(options.not_before);
  const Owned<ASN1_TIME> until = Asn1(options.not_after);
  if (from == nullptr || until == nullptr) return Refused("the dates");

  Owned<X509> made(X509_new());
  X509* const certificate = made.get();
  if (issuer == nullptr) issuer = certificate;
  if (X509_set_version(certificate, X509_VERSION_3) != 1 ||
      X509_set_serialNumber(certificate, serial->get()) != 1 ||
      X509_set_subject_name(certificate, name->get()) != 1 ||
      X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) != 1 ||
      X509_set1_notBefore(certificate, from.get()) != 1 ||
      X509_set1_notAfter(certificate, until.get()) != 1 ||
      X509_set_pubkey(certificate, key) != 1) {
    return Refused("the certificate's fields");
  }
  const absl::Status added = AddExtensions(certificate, issuer, options);
  if (!added.ok()) return added;
  if (X509_sign(certificate, issuer_key,
                DigestFor(issuer_key, options.digest)) == 0) {
    return Refused("to sign the certificate");
  }
  return made;
}

CertificateOptions LeafOptions(const std::vector<std::string>& names,
                               AltName::Type type, absl::Time from,
                               absl::Time until) {
  CertificateOptions options;
  for (const std::string& name : names) options.names.push_back({type, name});
  options.not_before = from;
  options.not_after = until;
  return options;
}

// Puts the entries of `revoked` into `crl`.
absl::Status Revoke(X509_CRL* crl, const CrlOptions& options) {
  const Owned<ASN1_TIME> when = Asn1(options.this_update);
  for (const std::string& hex : options.revoked) {
    if (hex.empty()) return Wrong("the serial number", hex, "must be hex");
    const absl::StatusOr<Owned<ASN1_INTEGER>> serial = Serial(hex);
    if (!serial.ok()) return serial.status();
    Owned<X509_REVOKED> entry(X509_REVOKED_new());
    if (X509_REVOKED_set_serialNumber(entry.get(), serial->get()) != 1 ||
        X509_REVOKED_set_revocationDate(entry.get(), when.get()) != 1 ||
        X509_CRL_add0_revoked(crl, entry.get()) != 1) {
      return Refused("an entry of the revocation list");
    }
    (void)entry.release();  // The list has it now.
  }
  X509_CRL_sort(crl);
  return absl::OkStatus();
}

}  // namespace

Key::Key(EVP_PKEY* key) : key_(key, &EVP_PKEY_free) {}

absl::StatusOr<Key> Key::Make(KeyType type, int rsa_bits) {
  EVP_PKEY* key = nullptr;
  switch (type) {
    case KeyType::kP256:
      key = EVP_EC_gen("P-256");
      break;
    case KeyType::kP384:
      key = EVP_EC_gen("P-384");
      break;
    case KeyType::kRsa:
      key = EVP_RSA_gen(rsa_bits);
      break;
    case KeyType::kEd25519:
      key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
      break;
  }
  if (key == nullptr) return Refused("to make a key");
  return Key(key);
}

absl::StatusOr<Key> Key::Parse(absl::string_view pem) {
  EVP_PKEY* const key =
      PEM_read_bio_PrivateKey(Open(pem).get(), nullptr, NoPassphrase, nullptr);
  ERR_clear_error();
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        "this is no unencrypted private key in PEM.");
  }
  return Key(key);
}

std::string Key::Pem() const {
  const Owned<BIO> bio(BIO_new(BIO_s_secmem()));
  PEM_write_bio_PKCS8PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0,
                                nullptr, nullptr);
  return TextOf(bio.get());
}

CertificateOptions SvidOptions(absl::string_view spiffe_id, absl::Time from,
                               absl::Time until) {
  CertificateOptions options =
      LeafOptions({std::string(spiffe_id)}, AltName::Type::kUri, from, until);
  options.purposes = {"serverAuth", "clientAuth"};
  return options;
}

CertificateOptions ServerOptions(const std::vector<std::string>& dns_names,
                                 absl::Time from, absl::Time until) {
  CertificateOptions options =
      LeafOptions(dns_names, AltName::Type::kDns, from, until);
  options.purposes = {"serverAuth"};
  return options;
}

CertificateOptions ClientOptions(const std::vector<std::string>& dns_names,
                                 absl::Time from, absl::Time until) {
  CertificateOptions options =
      LeafOptions(dns_names, AltName::Type::kDns, from, until);
  options.purposes = {"clientAuth"};
  return options;
}

CertificateOptions AuthorityOptions(absl::string_view common_name,
                                    absl::Time from, absl::Time until) {
  CertificateOptions options;
  options.common_name = std::string(common_name);
  options.not_before = from;
  options.not_after = until;
  options.authority = true;
  options.key_usage = kKeyCertSign | kCrlSign;
  return options;
}

absl::StatusOr<std::string> SerialOfPem(absl::string_view pem) {
  const Owned<X509> certificate(
      PEM_read_bio_X509(Open(pem).get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  if (certificate == nullptr) {
    return absl::InvalidArgumentError("there is no certificate in PEM.");
  }
  return HexOf(X509_get0_serialNumber(certificate.get()));
}

Authority::Authority(std::shared_ptr<X509> certificate, Key key,
                     std::vector<std::string> chain)
    : certificate_(std::move(certificate)),
      key_(std::move(key)),
      chain_(std::move(chain)) {}

absl::StatusOr<Authority> Authority::MakeRoot(const CertificateOptions& options,
                                              const Key& key) {
  absl::StatusOr<Owned<X509>> made =
      Sign(options, key.get(), nullptr, key.get());
  if (!made.ok()) return made.status();
  std::string pem = PemOf(made->get());
  return Authority(std::shared_ptr<X509>(*std::move(made)), key,
                   {std::move(pem)});
}

absl::StatusOr<Authority> Authority::Load(absl::string_view chain,
                                          absl::string_view key) {
  absl::StatusOr<Key> parsed = Key::Parse(key);
  if (!parsed.ok()) return parsed.status();
  std::shared_ptr<X509> first;
  std::vector<std::string> pems;
  const Owned<BIO> bio = Open(chain);
  while (Owned<X509> next{
      PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr)}) {
    pems.push_back(PemOf(next.get()));
    if (first == nullptr) first = std::shared_ptr<X509>(std::move(next));
  }
  ERR_clear_error();  // The end of the file is one.
  if (first == nullptr) {
    return absl::InvalidArgumentError("there is no certificate in PEM.");
  }
  if (X509_check_private_key(first.get(), parsed->get()) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError(
        "the key is not that of the first certificate.");
  }
  return Authority(std::move(first), *std::move(parsed), std::move(pems));
}

absl::StatusOr<Authority> Authority::MakeIntermediate(
    const CertificateOptions& options, const Key& key) const {
  absl::StatusOr<Owned<X509>> made =
      Sign(options, key.get(), certificate_.get(), key_.get());
  if (!made.ok()) return made.status();
  std::vector<std::string> chain = {PemOf(made->get())};
  chain.insert(chain.end(), chain_.begin(), chain_.end());
  return Authority(std::shared_ptr<X509>(*std::move(made)), key,
                   std::move(chain));
}

absl::StatusOr<std::string> Authority::Certify(
    const CertificateOptions& options, const Key& key) const {
  const absl::StatusOr<Owned<X509>> made =
      Sign(options, key.get(), certificate_.get(), key_.get());
  if (!made.ok()) return made.status();
  return PemOf(made->get());
}

absl::StatusOr<Issued> Authority::Issue(const CertificateOptions& options,
                                        KeyType type) const {
  const absl::StatusOr<Key> key = Key::Make(type);
  if (!key.ok()) return key.status();
  return Issue(options, *key);
}

absl::StatusOr<Issued> Authority::Issue(const CertificateOptions& options,
                                        const Key& key) const {
  const absl::StatusOr<Owned<X509>> made =
      Sign(options, key.get(), certificate_.get(), key_.get());
  if (!made.ok()) return made.status();
  return Issued{absl::StrCat(PemOf(made->get()), IntermediatesPem()), key.Pem(),
                HexOf(X509_get0_serialNumber(made->get()))};
}

absl::StatusOr<std::string> Authority::MakeCrl(
    const CrlOptions& options) const {
  const Owned<ASN1_TIME> from = Asn1(options.this_update);
  const Owned<ASN1_TIME> until = Asn1(options.next_update);
  if (from == nullptr || until == nullptr) return Refused("the dates");
  const Owned<X509_CRL> crl(X509_CRL_new());
  if (X509_CRL_set_version(crl.get(), X509_CRL_VERSION_2) != 1 ||
      X509_CRL_set_issuer_name(
          crl.get(), X509_get_subject_name(certificate_.get())) != 1 ||
      X509_CRL_set1_lastUpdate(crl.get(), from.get()) != 1 ||
      X509_CRL_set1_nextUpdate(crl.get(), until.get()) != 1) {
    return Refused("the revocation list's fields");
  }
  const absl::Status revoked = Revoke(crl.get(), options);
  if (!revoked.ok()) return revoked;
  const Owned<ASN1_INTEGER> number(ASN1_INTEGER_new());
  ASN1_INTEGER_set_int64(number.get(), options.number);
  const Owned<AUTHORITY_KEYID> key_id = KeyIdOf(certificate_.get());
  if (X509_CRL_add1_ext_i2d(crl.get(), NID_crl_number, number.get(), 0,
                            X509V3_ADD_DEFAULT) != 1 ||
      (key_id != nullptr &&
       X509_CRL_add1_ext_i2d(crl.get(), NID_authority_key_identifier,
                             key_id.get(), 0, X509V3_ADD_DEFAULT) != 1)) {
    return Refused("the revocation list's extensions");
  }
  for (const Extension& extension : options.extensions) {
    const absl::StatusOr<Owned<X509_EXTENSION>> made = Made(extension);
    if (!made.ok()) return made.status();
    if (X509_CRL_add_ext(crl.get(), made->get(), -1) != 1) {
      return Refused("an extension");
    }
  }
  if (X509_CRL_sign(crl.get(), key_.get(),
                    DigestFor(key_.get(), options.digest)) == 0) {
    return Refused("to sign the revocation list");
  }
  const Owned<BIO> bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509_CRL(bio.get(), crl.get());
  return TextOf(bio.get());
}

std::string Authority::IntermediatesPem() const {
  return absl::StrJoin(chain_.begin(), chain_.end() - 1, "");
}

std::string Authority::AllPem() const { return absl::StrJoin(chain_, ""); }

}  // namespace mesh::certs
