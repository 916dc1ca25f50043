#include "mesh/security/trust.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "mesh/security/certificate.h"
#include "mesh/security/spiffe_id.h"
#include "openssl/pem.h"

namespace mesh::security {
namespace {

Digest DigestOf(const X509* certificate) {
  Digest digest = {};
  unsigned length = 0;
  X509_digest(certificate, EVP_sha256(), digest.data(), &length);
  return digest;
}

void SortUnique(std::vector<Digest>* digests) {
  std::sort(digests->begin(), digests->end());
  digests->erase(std::unique(digests->begin(), digests->end()), digests->end());
}

}  // namespace

absl::StatusOr<Bundle> Bundle::Parse(absl::string_view pem) {
  if (pem.size() > kMaxBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "it has ", pem.size(), " bytes; at most ", kMaxBytes, " are allowed."));
  }
  absl::StatusOr<std::vector<X509Ptr>> certificates =
      ParseCertificates(pem, kMaxCertificates);
  if (!certificates.ok()) {
    return absl::InvalidArgumentError(certificates.status().message());
  }
  if (certificates->empty()) {
    return absl::InvalidArgumentError("it has no certificate.");
  }
  Bundle bundle;
  for (X509Ptr& certificate : *certificates) {
    const absl::Status key = CheckKey(certificate.get());
    if (!key.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the authority ", TextOf(X509_get_subject_name(certificate.get())),
          " ", key.message()));
    }
    const Digest digest = DigestOf(certificate.get());
    bundle.digests_.push_back(digest);
    std::vector<X509Ptr>& same =
        bundle.by_subject_[std::string(SubjectOf(certificate.get()))];
    const bool is_known = std::any_of(
        same.begin(), same.end(), [&certificate](const X509Ptr& other) {
          return X509_cmp(other.get(), certificate.get()) == 0;
        });
    if (!is_known) same.push_back(std::move(certificate));
  }
  SortUnique(&bundle.digests_);
  return bundle;
}

absl::Span<const X509Ptr> Bundle::With(absl::string_view subject) const {
  const auto found = by_subject_.find(subject);
  if (found == by_subject_.end()) return {};
  return found->second;
}

bool Bundle::Has(const X509* certificate) const {
  return std::binary_search(digests_.begin(), digests_.end(),
                            DigestOf(certificate));
}

bool Bundle::IsWithin(const Bundle& other) const {
  return std::includes(other.digests_.begin(), other.digests_.end(),
                       digests_.begin(), digests_.end());
}

void Bundle::AppendPem(std::set<Digest>* written, BIO* to) const {
  for (const auto& [unused, certificates] : by_subject_) {
    for (const X509Ptr& certificate : certificates) {
      if (written->insert(DigestOf(certificate.get())).second) {
        PEM_write_bio_X509(to, certificate.get());
      }
    }
  }
}

absl::StatusOr<std::shared_ptr<const Trust>> Trust::Make(
    const std::map<std::string, std::string>& bundles,
    absl::Span<const std::string> crls, absl::string_view own_domain) {
  std::shared_ptr<Trust> trust(new Trust);
  trust->own_domain_ = std::string(own_domain);
  for (const auto& [domain, pem] : bundles) {
    const std::string name =
        domain.empty() ? "the bundle"
                       : absl::StrCat("the bundle of ", Quoted(domain));
    const absl::Status good_name =
        domain.empty() ? absl::OkStatus() : SpiffeId::CheckTrustDomain(domain);
    if (!good_name.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": ", good_name.message()));
    }
    absl::StatusOr<Bundle> bundle = Bundle::Parse(pem);
    if (!bundle.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": ", bundle.status().message()));
    }
    trust->bundles_.emplace(domain, *std::move(bundle));
  }
  const absl::Status added = trust->AddCrls(crls);
  if (!added.ok()) return added;
  return trust;
}

absl::Status Trust::AddCrls(absl::Span<const std::string> crls) {
  size_t bytes = 0;
  for (const std::string& pem : crls) bytes += pem.size();
  if (bytes > kMaxCrlBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the revocation lists have ", bytes, " bytes; at most ",
                     kMaxCrlBytes, " are allowed."));
  }
  for (size_t i = 0; i < crls.size(); ++i) {
    absl::StatusOr<Lists> lists = ParseCrls(crls[i]);
    if (!lists.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the revocation lists, text ", i + 1, ": ",
                       lists.status().message()));
    }
    for (std::unique_ptr<const Crl>& list : *lists) {
      crl_digests_.push_back(list->digest());
      crls_[list->issuer()].push_back(std::move(list));
    }
  }
  SortUnique(&crl_digests_);
  return absl::OkStatus();
}

const Bundle* Trust::ForDomain(absl::string_view domain) const {
  auto found = bundles_.find(domain);
  if (found == bundles_.end() && domain == own_domain_) {
    found = bundles_.find("");
  }
  return found == bundles_.end() ? nullptr : &found->second;
}

const Bundle* Trust::ForDnsNames() const {
  const auto found = bundles_.find("");
  return found == bundles_.end() ? nullptr : &found->second;
}

bool Trust::VouchesForDnsNames(const Bundle* bundle) const {
  if (bundle == nullptr) return false;
  if (!own_domain_.empty() && bundle == ForDomain(own_domain_)) return true;
  const Bundle* const for_names = ForDnsNames();
  return for_names != nullptr && bundle->IsWithin(*for_names);
}

absl::Span<const std::unique_ptr<const Crl>> Trust::CrlsOf(
    absl::string_view issuer) const {
  const auto found = crls_.find(issuer);
  if (found == crls_.end()) return {};
  return found->second;
}

std::string Trust::AllPem() const {
  const ErrorMark mark;
  const BioPtr out(BIO_new(BIO_s_mem()));
  if (out == nullptr) return "";
  std::set<Digest> written;
  for (const auto& [unused, bundle] : bundles_) {
    bundle.AppendPem(&written, out.get());
  }
  const char* data = nullptr;
  const auto size = BIO_get_mem_data(out.get(), &data);
  return std::string(data, size);
}

bool Trust::IsWithdrawnBy(const Trust& other) const {
  if (crl_digests_ != other.crl_digests_) return true;
  return std::any_of(bundles_.begin(), bundles_.end(),
                     [&other](const auto& bundle) {
                       const auto found = other.bundles_.find(bundle.first);
                       return found == other.bundles_.end() ||
                              !bundle.second.IsWithin(found->second);
                     });
}

}  // namespace mesh::security
