#include "mesh/security/placeholder.h"

#include <memory>

#include "absl/status/status.h"
#include "openssl/bio.h"
#include "openssl/evp.h"
#include "openssl/pem.h"
#include "openssl/x509.h"

namespace mesh::security {
namespace {

template <typename T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* value) const { Free(value); }
};
template <typename T, void (*Free)(T*)>
using Owned = std::unique_ptr<T, Deleter<T, Free>>;
using Key = Owned<EVP_PKEY, EVP_PKEY_free>;
using Certificate = Owned<X509, X509_free>;
using Memory = Owned<BIO, BIO_free_all>;

std::string TextOf(BIO* memory) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory, &data);
  return size <= 0 ? "" : std::string(data, static_cast<size_t>(size));
}

}  // namespace

absl::StatusOr<PlaceholderPair> MakePlaceholderPair() {
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate(X509_new());
  const Memory certificate_pem(BIO_new(BIO_s_mem()));
  const Memory key_pem(BIO_new(BIO_s_secmem()));
  const bool made =
      key != nullptr && certificate != nullptr && certificate_pem != nullptr &&
      key_pem != nullptr && X509_set_version(certificate.get(), 2) == 1 &&
      ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1) == 1 &&
      ASN1_TIME_set(X509_getm_notBefore(certificate.get()), 0) != nullptr &&
      ASN1_TIME_set(X509_getm_notAfter(certificate.get()), 1) != nullptr &&
      X509_set_pubkey(certificate.get(), key.get()) == 1 &&
      X509_sign(certificate.get(), key.get(), EVP_sha256()) > 0 &&
      PEM_write_bio_X509(certificate_pem.get(), certificate.get()) == 1 &&
      PEM_write_bio_PrivateKey(key_pem.get(), key.get(), nullptr, nullptr, 0,
                               nullptr, nullptr) == 1;
  if (!made) {
    return absl::InternalError("OpenSSL makes no placeholder certificate.");
  }
  return PlaceholderPair{TextOf(certificate_pem.get()), TextOf(key_pem.get())};
}

}  // namespace mesh::security
