#include "mesh/security/secrets.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "mesh/security/credentials.h"

namespace mesh::security {
namespace {

bool Same(const grpc::SslCredentialsOptions& a,
          const grpc::SslCredentialsOptions& b) {
  return a.pem_root_certs == b.pem_root_certs &&
         a.pem_private_key == b.pem_private_key &&
         a.pem_cert_chain == b.pem_cert_chain;
}

}  // namespace

ServiceSecrets::ServiceSecrets(std::map<std::string, Credentials> given)
    : given_(std::move(given)) {}

bool ServiceSecrets::IsGiven(const std::string& name) const {
  const auto given = given_.find(name);
  return given != given_.end() && given->second != nullptr;
}

absl::StatusOr<Secrets> ServiceSecrets::SecretsFor(
    const options::ServiceOptions& service, const Secrets* before) const {
  if (IsGiven(service.name)) {
    return Secrets{given_.at(service.name), std::nullopt};
  }
  if (!service.tls.has_value() ||
      service.tls->mode == options::TlsOptions::Mode::kPlaintext) {
    return Secrets{insecure_, std::nullopt};
  }
  absl::StatusOr<grpc::SslCredentialsOptions> tls = ReadTlsFiles(*service.tls);
  if (!tls.ok()) return tls.status();
  if (before != nullptr && before->tls.has_value() &&
      Same(*before->tls, *tls)) {
    return *before;
  }
  return Secrets{grpc::SslCredentials(*tls), *tls};
}

absl::StatusOr<SecretsByService> ServiceSecrets::SecretsForAll(
    const options::MeshOptions& options, const SecretsByService& before) const {
  SecretsByService all;
  for (const auto& [name, service] : options.services) {
    const auto known = before.find(name);
    absl::StatusOr<Secrets> made =
        SecretsFor(*service, known != before.end() ? &known->second : nullptr);
    if (!made.ok()) {
      return absl::Status(
          made.status().code(),
          absl::StrCat("services.", name, ".tls: ", made.status().message()));
    }
    all[name] = *std::move(made);
  }
  return all;
}

}  // namespace mesh::security
