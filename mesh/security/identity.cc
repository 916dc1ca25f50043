#include "mesh/security/identity.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mesh/security/certificate.h"
#include "mesh/security/verifier.h"
#include "openssl/crypto.h"
#include "openssl/pem.h"

namespace mesh::security {
namespace {

constexpr size_t kMostCertificates = 8;
constexpr size_t kMostBytes = 1 << 20;  // A chain's, and a key's.
constexpr absl::Duration kLongLife = absl::Hours(366 * 24);

absl::Status Wrong(absl::string_view part, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(part, ": ", why));
}

std::string Written(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

// An encrypted key is refused rather than asked for on the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

// gRPC reads such a text only as far as a NUL, and aborts where nothing stands
// before that.
bool HasNul(const std::string& pem) { return absl::StrContains(pem, '\0'); }

absl::StatusOr<std::vector<X509Ptr>> ParseChain(const std::string& pem) {
  if (pem.size() > kMostBytes) return Wrong("chain", "it has more than 1 MiB.");
  if (HasNul(pem)) return Wrong("chain", "it has a NUL byte, as no PEM has.");
  absl::StatusOr<std::vector<X509Ptr>> chain =
      ParseCertificates(pem, kMostCertificates);
  if (!chain.ok()) return Wrong("chain", chain.status().message());
  if (chain->empty() && !pem.empty()) {
    return Wrong("chain", "it has no certificate in PEM.");
  }
  return chain;
}

absl::Status CheckPrivateKey(const std::string& pem, const X509* leaf) {
  if (pem.size() > kMostBytes) return Wrong("key", "it has more than 1 MiB.");
  if (HasNul(pem)) return Wrong("key", "it has a NUL byte, as no PEM has.");
  if (absl::StrContains(pem, "ENCRYPTED")) {
    return Wrong("key", "it is encrypted; give it without a passphrase.");
  }
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const KeyPtr key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  if (key == nullptr) return Wrong("key", "it has no private key in PEM.");
  if (X509_check_private_key(leaf, key.get()) != 1) {
    return Wrong("key", "it is not that of the chain's first certificate.");
  }
  return absl::OkStatus();
}

absl::Status CheckChain(const std::vector<X509Ptr>& chain) {
  for (size_t i = 0; i < chain.size(); ++i) {
    X509* const one = chain[i].get();
    absl::Status status = CheckKey(one);
    // The signature of one by itself proves nothing, so it may be weak.
    if (status.ok() && SubjectOf(one) != IssuerOf(one)) {
      status = CheckDigest(one);
    }
    if (!status.ok()) {
      return Wrong("chain",
                   absl::StrCat("certificate ", i + 1, " ", status.message()));
    }
    if (i + 1 == chain.size()) break;
    X509* const next = chain[i + 1].get();
    if (X509_check_issued(next, one) != X509_V_OK ||
        X509_verify(one, X509_get0_pubkey(next)) != 1) {
      return Wrong("chain", absl::StrCat("certificate ", i + 1,
                                         " is not signed by the next one."));
    }
  }
  return absl::OkStatus();
}

}  // namespace

IdentityBytes::~IdentityBytes() {
  OPENSSL_cleanse(chain.data(), chain.size());
  OPENSSL_cleanse(key.data(), key.size());
}

absl::StatusOr<std::shared_ptr<const Identity>> Identity::Make(
    IdentityBytes bytes, absl::Time now) {
  const ErrorMark mark;
  std::shared_ptr<Identity> identity(new Identity);
  identity->bytes_ = std::move(bytes);
  const absl::Status read = identity->Read(now);
  if (!read.ok()) return read;
  if (identity->not_after_ <= now) {
    return Wrong("chain",
                 absl::StrCat("it expired at ", Written(identity->not_after_),
                              ", and now it is ", Written(now), "."));
  }
  if (identity->not_before_ > now) {
    return absl::FailedPreconditionError(
        absl::StrCat("chain: it is valid from ", Written(identity->not_before_),
                     " on, and now it is ", Written(now), "."));
  }
  return identity;
}

absl::StatusOr<absl::Time> Identity::NotBefore(const IdentityBytes& bytes) {
  const ErrorMark mark;
  const absl::StatusOr<std::vector<X509Ptr>> chain = ParseChain(bytes.chain);
  if (!chain.ok()) return chain.status();
  absl::Time from = absl::InfinitePast();
  for (const X509Ptr& one : *chain) {
    from = std::max(from, security::NotBefore(one.get()));
  }
  return from;
}

absl::Status Identity::Read(absl::Time now) {
  if (bytes_.chain.empty() != bytes_.key.empty()) {
    return bytes_.key.empty()
               ? Wrong("key", "it is empty, and there is a chain.")
               : Wrong("chain", "it is empty, and there is a key.");
  }
  const absl::StatusOr<std::vector<X509Ptr>> chain = ParseChain(bytes_.chain);
  if (!chain.ok()) return chain.status();
  X509* const leaf = chain->empty() ? nullptr : chain->front().get();
  if (leaf != nullptr) {
    absl::Status status = CheckChain(*chain);
    if (status.ok()) status = CheckPrivateKey(bytes_.key, leaf);
    if (!status.ok()) return status;
    absl::StatusOr<LeafNames> names = NamesOf(leaf);
    if (!names.ok()) return Wrong("chain", names.status().message());
    spiffe_id_ = std::move(names->spiffe_id);
    if (spiffe_id_.has_value()) status = CheckSvid(leaf);
    if (!status.ok()) return Wrong("chain", status.message());
    serial_ = SerialOf(leaf);
    for (const X509Ptr& one : *chain) {
      not_before_ = std::max(not_before_, security::NotBefore(one.get()));
      not_after_ = std::min(not_after_, NotAfter(one.get()));
    }
  }
  absl::StatusOr<std::shared_ptr<const Trust>> trust =
      Trust::Make(bytes_.bundles, bytes_.crls,
                  spiffe_id_.has_value() ? spiffe_id_->trust_domain() : "");
  if (!trust.ok()) return trust.status();
  trust_ = *std::move(trust);
  if (leaf != nullptr) Warn(*chain, std::max(now, not_before_));
  return absl::OkStatus();
}

void Identity::Warn(const std::vector<X509Ptr>& chain, absl::Time now) {
  const X509* const leaf = chain.front().get();
  absl::Time authority_ends = not_after_;
  if (spiffe_id_.has_value()) {
    PeerPolicy policy;
    policy.side = PeerSide::kServer;
    const PeerVerdict verdict = VerifyPeer(chain, *trust_, policy, now);
    is_trusted_by_itself_ = verdict.admitted();
    if (verdict.admitted()) {
      authority_ends = std::min(authority_ends, verdict.not_after);
    } else if (!bytes_.bundles.empty()) {
      warnings_.push_back(
          absl::StrCat("the chain does not lead to the bundle of its own trust "
                       "domain: ",
                       verdict.text));
    }
  }
  const absl::Time leaf_ends = NotAfter(leaf);
  if (authority_ends < leaf_ends) {
    warnings_.push_back(absl::StrCat("an authority ends at ",
                                     Written(authority_ends),
                                     ", before the certificate that it has "
                                     "signed, at ",
                                     Written(leaf_ends), "."));
  }
  const absl::Duration life = leaf_ends - security::NotBefore(leaf);
  if (life > kLongLife) {
    warnings_.push_back(absl::StrCat("the certificate lives for ",
                                     life / absl::Hours(24),
                                     " days; shorter is safer."));
  }
}

bool Identity::WithdrawnBy(const Identity& other) const {
  return trust_->IsWithdrawnBy(*other.trust_);
}

}  // namespace mesh::security
