#include "mesh/security/testing/certificates.h"

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "absl/strings/str_cat.h"
#include "openssl/ec.h"
#include "openssl/evp.h"
#include "openssl/objects.h"

namespace mesh::security::testing {
namespace {

constexpr char kAltNamesOid[] = "2.5.29.17";
constexpr char kNameConstraintsOid[] = "2.5.29.30";
constexpr char kDistributionPointsOid[] = "2.5.29.31";
constexpr char kIssuingDistributionPointOid[] = "2.5.29.28";

// DistributionPointName with a full name.
std::string PointName(absl::string_view name) {
  return Der(0xa0, Der(0xa0, name));
}

std::string Subtrees(uint8_t tag, const std::vector<std::string>& names) {
  if (names.empty()) return "";
  std::string all;
  for (const std::string& name : names) all += Der(kSequence, name);
  return Der(tag, all);
}

certs::Key KeyOn(const char* curve, int encoding) {
  const std::unique_ptr<EVP_PKEY_CTX, CryptoFree<EVP_PKEY_CTX_free>> context(
      EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nullptr));
  EVP_PKEY* key = nullptr;
  if (EVP_PKEY_keygen_init(context.get()) != 1 ||
      EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context.get(),
                                             OBJ_txt2nid(curve)) != 1 ||
      EVP_PKEY_CTX_set_ec_param_enc(context.get(), encoding) != 1 ||
      EVP_PKEY_keygen(context.get(), &key) != 1) {
    Require(absl::InternalError(absl::StrCat("no key on ", curve)));
  }
  return certs::Key(key);
}

}  // namespace

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}

std::string Der(uint8_t tag, absl::string_view content) {
  std::string der(1, static_cast<char>(tag));
  const size_t size = content.size();
  if (size < 0x80) {
    der += static_cast<char>(size);
  } else if (size < 0x100) {
    der += '\x81';
    der += static_cast<char>(size);
  } else {
    der += '\x82';
    der += static_cast<char>(size >> 8);
    der += static_cast<char>(size & 0xff);
  }
  return absl::StrCat(der, content);
}

std::string DerOid(absl::string_view dotted) {
  const std::unique_ptr<ASN1_OBJECT, CryptoFree<ASN1_OBJECT_free>> oid(
      OBJ_txt2obj(std::string(dotted).c_str(), 1));
  return Der(0x06, absl::string_view(
                       reinterpret_cast<const char*>(OBJ_get0_data(oid.get())),
                       OBJ_length(oid.get())));
}

certs::Extension AltNamesExtension(absl::string_view names) {
  return {kAltNamesOid, false, Der(kSequence, names)};
}

certs::Extension NameConstraints(const std::vector<std::string>& permitted,
                                 const std::vector<std::string>& excluded) {
  return {kNameConstraintsOid, true,
          Der(kSequence, absl::StrCat(Subtrees(0xa0, permitted),
                                      Subtrees(0xa1, excluded)))};
}

certs::Extension DistributionPoints(absl::string_view name) {
  return {kDistributionPointsOid, false,
          Der(kSequence, Der(kSequence, PointName(name)))};
}

certs::Extension IssuingDistributionPoint(absl::string_view name) {
  return {kIssuingDistributionPointOid, true, Der(kSequence, PointName(name))};
}

certs::Key ExplicitCurveKey() {
  return KeyOn("prime256v1", OPENSSL_EC_EXPLICIT_CURVE);
}

certs::Key CurveKey(const char* curve) {
  return KeyOn(curve, OPENSSL_EC_NAMED_CURVE);
}

Scene::Scene(absl::Time now)
    : now(now),
      from(now - absl::Hours(24)),
      until(now + absl::Hours(24)),
      root(MakeRoot("root")),
      bundles({{"prod", root.pem()}, {"", root.pem()}}) {}

certs::CertificateOptions Scene::AuthorityOptions(
    absl::string_view name) const {
  return certs::AuthorityOptions(name, from, until);
}

certs::Authority Scene::MakeRoot(absl::string_view name) const {
  return Must(certs::Authority::MakeRoot(
      AuthorityOptions(name), Must(certs::Key::Make(certs::KeyType::kP256))));
}

certs::Authority Scene::MakeBelow(const certs::Authority& above,
                                  absl::string_view name) const {
  return Must(above.MakeIntermediate(
      AuthorityOptions(name), Must(certs::Key::Make(certs::KeyType::kP256))));
}

certs::CertificateOptions Scene::Svid(absl::string_view id) const {
  return certs::SvidOptions(id, from, until);
}

std::string Scene::Chain(const certs::CertificateOptions& leaf) const {
  return Must(root.Issue(leaf)).chain;
}

std::string Scene::Crl(const certs::Authority& issuer,
                       std::vector<std::string> revoked) const {
  certs::CrlOptions options;
  options.this_update = from;
  options.next_update = until;
  options.revoked = std::move(revoked);
  return Must(issuer.MakeCrl(options));
}

PeerVerdict Scene::Judge(absl::string_view chain) const {
  return VerifyPeer(chain, *Must(Trust::Make(bundles, crls, own_domain)),
                    policy, now);
}

std::string Scene::Why(absl::string_view chain) const {
  return std::string(PeerRefusalName(Judge(chain).refusal));
}

}  // namespace mesh::security::testing
