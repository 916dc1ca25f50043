#include "mesh/security/verifier.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mesh/security/certificate.h"
#include "mesh/security/crypto_ptr.h"

namespace mesh::security {
namespace {

// How many issuers the search for chains looks at, and how many chains it
// tries. A bundle may have 1,000 authorities of one name, as after many
// rotations.
constexpr int kMostSteps = 10000;
constexpr int kMostChains = 32;

PeerRefusal RefusalOf(int error) {
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return PeerRefusal::kExpired;
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return PeerRefusal::kNotYetValid;
    case X509_V_ERR_INVALID_PURPOSE:
      return PeerRefusal::kBadPurpose;
    case X509_V_ERR_PERMITTED_VIOLATION:
    case X509_V_ERR_EXCLUDED_VIOLATION:
    case X509_V_ERR_SUBTREE_MINMAX:
    case X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE:
    case X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX:
    case X509_V_ERR_UNSUPPORTED_NAME_SYNTAX:
      return PeerRefusal::kNameConstraints;
    case X509_V_ERR_EC_KEY_EXPLICIT_PARAMS:
      return PeerRefusal::kWeak;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
      return PeerRefusal::kUnknownAuthority;
    default:
      return PeerRefusal::kBadChain;
  }
}

// Looks for a chain from a leaf to a bundle that passes all checks. Each
// candidate is given to OpenSSL alone, so the verdict depends on no order and
// on no choice among authorities of one name.
class ChainSearch {
 public:
  ChainSearch(X509* leaf, std::vector<X509*> others, const Bundle& bundle,
              const Trust& trust, const PeerPolicy& policy, absl::Time now)
      : others_(std::move(others)),
        bundle_(bundle),
        trust_(trust),
        policy_(policy),
        now_(now),
        path_({leaf}) {
    verdict_.refusal = PeerRefusal::kUnknownAuthority;
    verdict_.text = absl::StrCat("the certificate's issuer ",
                                 TextOf(X509_get_issuer_name(leaf)),
                                 " is not trusted for this peer.");
  }

  // `leaf_is_anchor`: it is in the bundle itself.
  PeerVerdict Run(bool leaf_is_anchor) {
    if (!(leaf_is_anchor && Try(path_[0]))) Extend();
    return std::move(verdict_);
  }

 private:
  // Whether a chain that begins with `path_` passes.
  bool Extend() {
    X509* const last = path_.back();
    for (const X509Ptr& anchor : bundle_.With(IssuerOf(last))) {
      if (++steps_ > kMostSteps) return false;
      if (X509_check_issued(anchor.get(), last) != X509_V_OK) continue;
      if (++chains_ > kMostChains) return false;
      if (Try(anchor.get())) return true;
    }
    for (X509* const other : others_) {
      if (++steps_ > kMostSteps) return false;
      if (SubjectOf(other) != IssuerOf(last) ||
          std::find(path_.begin(), path_.end(), other) != path_.end() ||
          X509_check_issued(other, last) != X509_V_OK) {
        continue;
      }
      path_.push_back(other);
      if (Extend()) return true;
      path_.pop_back();
    }
    return false;
  }

  // Whether `path_` with `anchor` at its end passes.
  bool Try(X509* anchor) {
    const X509StackPtr anchors(sk_X509_new_null());
    const X509StackPtr untrusted(sk_X509_new_null());
    const StoreContextPtr context(X509_STORE_CTX_new());
    if (anchors == nullptr || untrusted == nullptr || context == nullptr ||
        sk_X509_push(anchors.get(), anchor) == 0) {
      return Refuse(PeerRefusal::kBadChain, "out of memory.");
    }
    for (size_t i = 1; i < path_.size(); ++i) {
      if (sk_X509_push(untrusted.get(), path_[i]) == 0) {
        return Refuse(PeerRefusal::kBadChain, "out of memory.");
      }
    }
    if (X509_STORE_CTX_init(context.get(), nullptr, path_[0],
                            untrusted.get()) != 1) {
      return Refuse(PeerRefusal::kBadChain, "out of memory.");
    }
    X509_STORE_CTX_set0_trusted_stack(context.get(), anchors.get());
    X509_VERIFY_PARAM* const param = X509_STORE_CTX_get0_param(context.get());
    X509_VERIFY_PARAM_set_time(param, absl::ToTimeT(now_));
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_depth(param, kMaxPeerChain);
    X509_VERIFY_PARAM_set_purpose(param, policy_.side == PeerSide::kServer
                                             ? X509_PURPOSE_SSL_SERVER
                                             : X509_PURPOSE_SSL_CLIENT);
    if (X509_verify_cert(context.get()) != 1) {
      const int error = X509_STORE_CTX_get_error(context.get());
      return Refuse(
          RefusalOf(error),
          absl::StrCat(
              "certificate ", X509_STORE_CTX_get_error_depth(context.get()) + 1,
              " of the chain: ", X509_verify_cert_error_string(error), "."));
    }
    return Examine(X509_STORE_CTX_get0_chain(context.get()));
  }

  // What OpenSSL does not look at. `chain` ends with a trusted certificate.
  bool Examine(STACK_OF(X509) * chain) {
    const int count = sk_X509_num(chain);
    absl::Time not_after = absl::InfiniteFuture();
    for (int i = 0; i < count; ++i) {
      X509* const certificate = sk_X509_value(chain, i);
      absl::Status status = CheckKey(certificate);
      // Nobody relies on the signature of what is trusted by itself.
      if (status.ok() && i + 1 < count) status = CheckDigest(certificate);
      if (!status.ok()) {
        return Refuse(PeerRefusal::kWeak,
                      absl::StrCat("certificate ", i + 1, " of the chain ",
                                   status.message()));
      }
      status = CheckPolicies(certificate);
      if (!status.ok()) {
        return Refuse(PeerRefusal::kBadChain,
                      absl::StrCat("certificate ", i + 1, " of the chain ",
                                   status.message()));
      }
      not_after = std::min(not_after, NotAfter(certificate));
    }
    bool lacks_crl = false;
    for (int i = 0; i + 1 < count && policy_.crl != CrlCheck::kOff; ++i) {
      if (!CheckRevoked(sk_X509_value(chain, i), sk_X509_value(chain, i + 1),
                        &not_after, &lacks_crl)) {
        return false;
      }
    }
    verdict_.refusal = PeerRefusal::kNone;
    verdict_.text.clear();
    verdict_.not_after = not_after;
    verdict_.lacks_crl = lacks_crl;
    return true;
  }

  bool CheckRevoked(const X509* certificate, X509* issuer,
                    absl::Time* not_after, bool* lacks_crl) {
    bool has_list = false;
    absl::Time holds_until = absl::InfinitePast();
    for (const auto& list : trust_.CrlsOf(IssuerOf(certificate))) {
      if (!list->IsSignedBy(issuer)) continue;
      // A list that has expired revokes all the same.
      if (list->Has(certificate)) {
        return Refuse(
            PeerRefusal::kRevoked,
            absl::StrCat("the certificate ", SerialOf(certificate), " of ",
                         IssuerText(certificate), " is revoked."));
      }
      has_list = true;
      if (list->this_update() <= now_) {
        holds_until = std::max(holds_until, list->next_update());
      }
    }
    if (holds_until > now_) {
      if (policy_.crl == CrlCheck::kRequire) {
        *not_after = std::min(*not_after, holds_until);
      }
      return true;
    }
    if (policy_.crl == CrlCheck::kIfPresent) {
      *lacks_crl = true;
      return true;
    }
    if (!has_list) {
      return Refuse(PeerRefusal::kNoCrl,
                    absl::StrCat("there is no revocation list of ",
                                 IssuerText(certificate), "."));
    }
    return Refuse(
        PeerRefusal::kCrlExpired,
        absl::StrCat("no revocation list of ", IssuerText(certificate),
                     " holds at ", absl::FormatTime(now_, absl::UTCTimeZone()),
                     "."));
  }

  static std::string IssuerText(const X509* certificate) {
    return TextOf(X509_get_issuer_name(certificate));
  }

  bool Refuse(PeerRefusal refusal, std::string text) {
    if (refusal > verdict_.refusal) {
      verdict_.refusal = refusal;
      verdict_.text = std::move(text);
    }
    return false;
  }

  const std::vector<X509*> others_;
  const Bundle& bundle_;
  const Trust& trust_;
  const PeerPolicy& policy_;
  const absl::Time now_;

  std::vector<X509*> path_;  // The leaf, and what issued it.
  int steps_ = 0;
  int chains_ = 0;
  PeerVerdict verdict_;
};

PeerVerdict Refused(PeerRefusal refusal, absl::string_view text) {
  PeerVerdict verdict;
  verdict.refusal = refusal;
  verdict.text = std::string(text);
  return verdict;
}

std::string ClaimOf(const LeafNames& names) {
  if (names.spiffe_id.has_value()) return Quoted(names.spiffe_id->text());
  if (!names.dns_names.empty()) return Quoted(names.dns_names[0]);
  return "";
}

std::string NameOf(const Peer& peer) {
  if (!peer.spiffe_id.empty()) return Quoted(peer.spiffe_id);
  if (!peer.dns_names.empty()) return Quoted(peer.dns_names[0]);
  return "without a name";
}

// The certificates behind the leaf, each one once.
std::vector<X509*> Others(const std::vector<X509Ptr>& chain) {
  std::vector<X509*> others;
  for (size_t i = 1; i < chain.size(); ++i) {
    X509* const one = chain[i].get();
    const bool is_double = std::any_of(
        others.begin(), others.end(),
        [one](const X509* other) { return X509_cmp(other, one) == 0; });
    if (!is_double) others.push_back(one);
  }
  return others;
}

// The one bundle that vouches for SPIFFE IDs of this trust domain. Null: none.
const Bundle* BundleOf(absl::string_view domain, const Trust& trust,
                       const PeerPolicy& policy) {
  const Bundle* const own = trust.ForDomain(domain);
  if (own != nullptr || !policy.one_bundle) return own;
  const bool is_named = std::any_of(
      policy.allowed.begin(), policy.allowed.end(),
      [&](const PeerPattern& one) { return one.trust_domain() == domain; });
  return is_named ? trust.ForDnsNames() : nullptr;
}

// Judges a chain whose leaf has these names.
PeerVerdict VerifyNamed(const std::vector<X509Ptr>& certificates,
                        LeafNames names, const Trust& trust,
                        const PeerPolicy& policy, absl::Time now) {
  X509* const leaf = certificates.front().get();
  const Bundle* bundle = nullptr;
  if (names.spiffe_id.has_value()) {
    bundle = BundleOf(names.spiffe_id->trust_domain(), trust, policy);
    // Who asks for a host does not ask for a SPIFFE ID.
    if (bundle == nullptr && !policy.host.empty()) names.spiffe_id.reset();
  }
  const bool is_svid = names.spiffe_id.has_value();
  if (!is_svid) bundle = trust.ForDnsNames();
  // A certificate that is its own authority may be in the bundle, as people
  // make them for one server. An X.509-SVID has an issuer.
  const bool is_anchor = !is_svid && bundle != nullptr && bundle->Has(leaf);
  if (is_svid) {
    const absl::Status svid = CheckSvid(leaf);
    if (!svid.ok()) return Refused(PeerRefusal::kBadLeaf, svid.message());
  } else if (!is_anchor && IsAuthority(leaf) && policy.host.empty()) {
    // Where the host counts, it does for TLS as it always was: many a
    // certificate that people made by hand says that it is an authority.
    return Refused(PeerRefusal::kBadLeaf,
                   "an authority's certificate is no peer's.");
  }
  if (bundle == nullptr) {
    return Refused(
        PeerRefusal::kNoBundle,
        is_svid ? absl::StrCat("there is no bundle of the trust domain ",
                               Quoted(names.spiffe_id->trust_domain()), ".")
                : "there is no bundle for peers without a SPIFFE ID.");
  }
  PeerVerdict verdict =
      ChainSearch(leaf, Others(certificates), *bundle, trust, policy, now)
          .Run(is_anchor);
  if (!verdict.admitted()) return verdict;
  const bool dns_counts = trust.VouchesForDnsNames(bundle);
  if (is_svid) verdict.peer.spiffe_id = names.spiffe_id->text();
  if (dns_counts) verdict.peer.dns_names = std::move(names.dns_names);
  if (!policy.allowed.empty() && !AnyMatches(policy.allowed, verdict.peer)) {
    return Refused(PeerRefusal::kNotAllowed,
                   absl::StrCat("the peer ", NameOf(verdict.peer),
                                " is trusted, and is not one of those that "
                                "are allowed here."));
  }
  if (!policy.host.empty() && !(dns_counts && IsForHost(leaf, policy.host))) {
    return Refused(PeerRefusal::kNotAllowed,
                   absl::StrCat("the peer ", NameOf(verdict.peer),
                                " is trusted, and its certificate is not for ",
                                Quoted(policy.host), "."));
  }
  return verdict;
}

}  // namespace

CrlCheck CrlCheckOf(options::CrlMode mode, const Trust& trust) {
  switch (mode) {
    case options::CrlMode::kRequire:
      return CrlCheck::kRequire;
    case options::CrlMode::kIfPresent:
      return CrlCheck::kIfPresent;
    case options::CrlMode::kDefault:
      break;
  }
  return trust.has_crls() ? CrlCheck::kRequire : CrlCheck::kOff;
}

absl::string_view PeerRefusalName(PeerRefusal refusal) {
  switch (refusal) {
    case PeerRefusal::kNone:
      return "none";
    case PeerRefusal::kNoCertificate:
      return "no_certificate";
    case PeerRefusal::kMalformed:
      return "malformed";
    case PeerRefusal::kTooLong:
      return "too_long";
    case PeerRefusal::kBadName:
      return "bad_name";
    case PeerRefusal::kBadLeaf:
      return "bad_leaf";
    case PeerRefusal::kNoBundle:
      return "no_bundle";
    case PeerRefusal::kUnknownAuthority:
      return "unknown_authority";
    case PeerRefusal::kBadChain:
      return "bad_chain";
    case PeerRefusal::kBadPurpose:
      return "bad_purpose";
    case PeerRefusal::kNameConstraints:
      return "name_constraints";
    case PeerRefusal::kWeak:
      return "weak";
    case PeerRefusal::kNotYetValid:
      return "not_yet_valid";
    case PeerRefusal::kExpired:
      return "expired";
    case PeerRefusal::kNoCrl:
      return "no_crl";
    case PeerRefusal::kCrlExpired:
      return "crl_expired";
    case PeerRefusal::kRevoked:
      return "revoked";
    case PeerRefusal::kNotAllowed:
      return "not_allowed";
  }
  return "unknown";
}

PeerVerdict VerifyPeer(absl::string_view chain, const Trust& trust,
                       const PeerPolicy& policy, absl::Time now) {
  const ErrorMark mark;
  if (chain.size() > kMaxPeerChainBytes) {
    return Refused(PeerRefusal::kTooLong,
                   absl::StrCat("the chain has ", chain.size(), " bytes."));
  }
  const absl::StatusOr<std::vector<X509Ptr>> certificates =
      ParseCertificates(chain, kMaxPeerChain);
  if (absl::IsResourceExhausted(certificates.status())) {
    return Refused(PeerRefusal::kTooLong,
                   absl::StrCat("the chain has more than ", kMaxPeerChain,
                                " certificates."));
  }
  if (!certificates.ok()) {
    return Refused(PeerRefusal::kMalformed, certificates.status().message());
  }
  return VerifyPeer(*certificates, trust, policy, now);
}

PeerVerdict VerifyPeer(const std::vector<X509Ptr>& chain, const Trust& trust,
                       const PeerPolicy& policy, absl::Time now) {
  const ErrorMark mark;
  if (chain.empty()) {
    return Refused(PeerRefusal::kNoCertificate,
                   "the peer has shown no certificate.");
  }
  absl::StatusOr<LeafNames> names = NamesOf(chain.front().get());
  if (!names.ok()) {
    return Refused(PeerRefusal::kBadName, names.status().message());
  }
  std::string claim = ClaimOf(*names);
  PeerVerdict verdict =
      VerifyNamed(chain, *std::move(names), trust, policy, now);
  verdict.claim = std::move(claim);
  return verdict;
}

}  // namespace mesh::security
