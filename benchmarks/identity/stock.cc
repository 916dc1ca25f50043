#include "benchmarks/identity/stock.h"

#include "absl/strings/str_cat.h"
#include "benchmarks/identity/secret_files.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"

namespace mesh::benchmarks {
namespace {

namespace experimental = grpc::experimental;

constexpr unsigned kSeconds = 1;  // Between two looks.

std::shared_ptr<experimental::CertificateProviderInterface> Provider(
    const std::string& directory) {
  return std::make_shared<experimental::FileWatcherCertificateProvider>(
      absl::StrCat(directory, "/", SecretFiles::kKey),
      absl::StrCat(directory, "/", SecretFiles::kCert),
      absl::StrCat(directory, "/", SecretFiles::kBundle), kSeconds);
}

}  // namespace

std::shared_ptr<grpc::ServerCredentials> StockServerCredentials(
    const std::string& directory) {
  experimental::TlsServerCredentialsOptions options(Provider(directory));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return experimental::TlsServerCredentials(options);
}

std::shared_ptr<grpc::ChannelCredentials> StockCredentials(
    const std::string& directory) {
  experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(Provider(directory));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  return experimental::TlsCredentials(options);
}

}  // namespace mesh::benchmarks
