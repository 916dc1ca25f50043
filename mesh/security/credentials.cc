#include "mesh/security/credentials.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/base/file.h"
#include "openssl/bio.h"
#include "openssl/err.h"
#include "openssl/evp.h"
#include "openssl/pem.h"
#include "openssl/x509.h"

namespace mesh::security {
namespace {

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Bio Open(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
             &BIO_free);
}

// An encrypted key is refused rather than asked for on the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

absl::StatusOr<Certificate> FirstCertificate(const std::string& path,
                                             const std::string& pem) {
  const Bio bio = Open(pem);
  Certificate certificate(
      PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr), &X509_free);
  ERR_clear_error();
  if (certificate == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("the file \"", path, "\" holds no certificate in PEM."));
  }
  return certificate;
}

absl::Status CheckPair(const options::TlsOptions& tls,
                       const std::string& certificate_pem,
                       const std::string& key_pem) {
  absl::StatusOr<Certificate> certificate =
      FirstCertificate(tls.cert_file, certificate_pem);
  if (!certificate.ok()) return certificate.status();
  const Bio bio = Open(key_pem);
  const Key key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr),
      &EVP_PKEY_free);
  if (key == nullptr) {
    ERR_clear_error();
    return absl::InvalidArgumentError(
        absl::StrCat("the file \"", tls.key_file,
                     "\" holds no unencrypted private key in PEM."));
  }
  const bool match = X509_check_private_key(certificate->get(), key.get()) == 1;
  ERR_clear_error();
  if (!match) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the key in \"", tls.key_file,
        "\" is not that of the certificate in \"", tls.cert_file, "\"."));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<grpc::SslCredentialsOptions> ReadTlsFiles(
    const options::TlsOptions& tls) {
  grpc::SslCredentialsOptions options;
  if (!tls.ca_file.empty()) {
    absl::StatusOr<std::string> pem = base::ReadFile(tls.ca_file);
    if (!pem.ok()) return pem.status();
    absl::StatusOr<Certificate> first = FirstCertificate(tls.ca_file, *pem);
    if (!first.ok()) return first.status();
    options.pem_root_certs = *std::move(pem);
  }
  if (!tls.cert_file.empty()) {
    absl::StatusOr<std::string> chain = base::ReadFile(tls.cert_file);
    if (!chain.ok()) return chain.status();
    absl::StatusOr<std::string> key = base::ReadFile(tls.key_file);
    if (!key.ok()) return key.status();
    const absl::Status pair = CheckPair(tls, *chain, *key);
    if (!pair.ok()) return pair;
    options.pem_cert_chain = *std::move(chain);
    options.pem_private_key = *std::move(key);
  }
  return options;
}

}  // namespace mesh::security
