#include "mesh/security/crl.h"

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "mesh/security/certificate.h"
#include "mesh/security/pem.h"
#include "openssl/objects.h"

namespace mesh::security {
namespace {

constexpr size_t kMostLists = 1000;
constexpr absl::string_view kLabel = "X509 CRL";

absl::Status Wrong(absl::string_view why) {
  return absl::InvalidArgumentError(why);
}

absl::Status CheckExtensions(const X509_CRL* crl) {
  for (int i = 0; i < X509_CRL_get_ext_count(crl); ++i) {
    X509_EXTENSION* const extension = X509_CRL_get_ext(crl, i);
    const int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
    if (nid == NID_issuing_distribution_point || nid == NID_delta_crl) {
      return Wrong("is only a part of a list; give the complete one.");
    }
    if (X509_EXTENSION_get_critical(extension) != 0 &&
        nid != NID_authority_key_identifier && nid != NID_crl_number) {
      return Wrong("has a critical extension that is not supported.");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckEntries(X509_CRL* crl) {
  STACK_OF(X509_REVOKED)* const entries = X509_CRL_get_REVOKED(crl);
  for (int i = 0; i < sk_X509_REVOKED_num(entries); ++i) {
    const X509_REVOKED* const entry = sk_X509_REVOKED_value(entries, i);
    for (int j = 0; j < X509_REVOKED_get_ext_count(entry); ++j) {
      X509_EXTENSION* const extension = X509_REVOKED_get_ext(entry, j);
      const int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
      if (nid == NID_certificate_issuer ||
          (X509_EXTENSION_get_critical(extension) != 0 &&
           nid != NID_crl_reason)) {
        return Wrong(
            "has an entry of another issuer, or one of an unknown "
            "kind.");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSignature(const X509_CRL* crl) {
  int digest = NID_undef;
  int key_type = NID_undef;
  if (OBJ_find_sigid_algs(X509_CRL_get_signature_nid(crl), &digest,
                          &key_type) != 1 ||
      !IsGoodSignature(digest, key_type)) {
    return Wrong("is signed with a weaker digest than SHA-256.");
  }
  return absl::OkStatus();
}

}  // namespace

Crl::~Crl() { EVP_PKEY_free(signer_.load(std::memory_order_acquire)); }

absl::StatusOr<std::unique_ptr<const Crl>> Crl::Parse(absl::string_view der) {
  const ErrorMark mark;
  const auto* const begin = reinterpret_cast<const unsigned char*>(der.data());
  const unsigned char* end = begin;
  std::unique_ptr<Crl> list(new Crl);
  list->crl_.reset(
      d2i_X509_CRL(nullptr, &end, static_cast<long>(der.size())));  // NOLINT
  X509_CRL* const crl = list->crl_.get();
  if (crl == nullptr || end != begin + der.size()) {
    return Wrong("cannot be read.");
  }
  for (const absl::Status& status :
       {CheckExtensions(crl), CheckEntries(crl), CheckSignature(crl)}) {
    if (!status.ok()) return status;
  }
  list->this_update_ = TimeOf(X509_CRL_get0_lastUpdate(crl));
  list->next_update_ = TimeOf(X509_CRL_get0_nextUpdate(crl));
  if (list->this_update_ == absl::InfinitePast() ||
      list->next_update_ == absl::InfinitePast()) {
    return Wrong("does not say from when until when it holds.");
  }
  const unsigned char* name = nullptr;
  size_t size = 0;
  unsigned length = 0;
  if (X509_NAME_get0_der(X509_CRL_get_issuer(crl), &name, &size) != 1 ||
      X509_CRL_digest(crl, EVP_sha256(), list->digest_.data(), &length) != 1) {
    return Wrong("cannot be read.");
  }
  list->issuer_.assign(reinterpret_cast<const char*>(name), size);
  // OpenSSL sorts the entries at the first question, under a lock.
  const IntegerPtr any(ASN1_INTEGER_new());
  X509_REVOKED* entry = nullptr;
  if (any == nullptr) return absl::ResourceExhaustedError("out of memory.");
  X509_CRL_get0_by_serial(crl, &entry, any.get());
  return list;
}

bool Crl::IsSignedBy(X509* authority) const {
  // UINT32_MAX, all bits: it does not say for what its key is.
  if ((X509_get_key_usage(authority) & KU_CRL_SIGN) == 0) return false;
  EVP_PKEY* const key = X509_get0_pubkey(authority);
  if (key == nullptr) return false;
  const ErrorMark mark;
  EVP_PKEY* known = signer_.load(std::memory_order_acquire);
  if (known != nullptr && EVP_PKEY_eq(known, key) == 1) return true;
  if (X509_CRL_verify(crl_.get(), key) != 1) return false;
  known = nullptr;
  if (EVP_PKEY_up_ref(key) == 1 &&
      !signer_.compare_exchange_strong(known, key, std::memory_order_acq_rel)) {
    EVP_PKEY_free(key);
  }
  return true;
}

bool Crl::Has(const X509* certificate) const {
  X509_REVOKED* entry = nullptr;
  // 2: an entry "removeFromCRL", which takes an older one back.
  return X509_CRL_get0_by_serial(crl_.get(), &entry,
                                 X509_get0_serialNumber(certificate)) == 1;
}

absl::StatusOr<std::vector<std::unique_ptr<const Crl>>> ParseCrls(
    absl::string_view pem) {
  absl::StatusOr<std::vector<std::string>> blocks =
      PemBlocks(pem, kLabel, kMostLists);
  if (!blocks.ok()) return blocks.status();
  if (blocks->empty()) {
    return Wrong(absl::StrCat("it has no block \"", kLabel, "\"."));
  }
  std::vector<std::unique_ptr<const Crl>> lists;
  for (const std::string& block : *blocks) {
    absl::StatusOr<std::unique_ptr<const Crl>> list = Crl::Parse(block);
    if (!list.ok()) {
      return Wrong(absl::StrCat("list ", lists.size() + 1, " ",
                                list.status().message()));
    }
    lists.push_back(*std::move(list));
  }
  return lists;
}

}  // namespace mesh::security
