#ifndef MESH_SECURITY_SECRETS_H_
#define MESH_SECURITY_SECRETS_H_

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/security/credentials.h"
#include "mesh/options/service.h"

namespace mesh::security {

using Credentials = std::shared_ptr<grpc::ChannelCredentials>;

// What the connections of one service are made with.
struct Secrets {
  Credentials credentials;  // Never null.
  // The files' contents that they were made of. Empty: no files.
  std::optional<grpc::SslCredentialsOptions> tls;
};
using SecretsByService = std::map<std::string, Secrets>;

// Decides with what this process shows itself to each service. Credentials
// given in code come first, then those of the service's `tls` files, then
// plaintext. Immutable, so any number of threads may ask at once. Reads files.
class ServiceSecrets {
 public:
  // `given`: by the service's name. Null ones count as absent.
  explicit ServiceSecrets(std::map<std::string, Credentials> given);

  // `before`: what is in force; null when nothing is. The same secrets give the
  // same object again, since new credentials are new connections. Errors are
  // those of ReadTlsFiles().
  absl::StatusOr<Secrets> SecretsFor(const options::ServiceOptions& service,
                                     const Secrets* before) const;

  // Does so for all services at once. An error begins with "services.NAME.tls:
  // ".
  absl::StatusOr<SecretsByService> SecretsForAll(
      const options::MeshOptions& options,
      const SecretsByService& before) const;

  // Whether credentials for the service `name` were given in code.
  bool IsGiven(const std::string& name) const;

  // Plaintext.
  const Credentials& insecure() const { return insecure_; }

 private:
  const std::map<std::string, Credentials> given_;
  const Credentials insecure_ = grpc::InsecureChannelCredentials();
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_SECRETS_H_
