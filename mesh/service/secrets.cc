#include "mesh/service/secrets.h"

#include <utility>

namespace mesh::service {

SecretsPtr FixedSecrets(std::shared_ptr<grpc::ChannelCredentials> credentials,
                        uint64_t generation) {
  auto secrets = std::make_shared<Secrets>();
  secrets->make = [credentials = std::move(credentials)](
                      const Secrets::Expires&) { return credentials; };
  secrets->generation = generation;
  return secrets;
}

}  // namespace mesh::service
