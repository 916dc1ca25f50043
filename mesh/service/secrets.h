#ifndef MESH_SERVICE_SECRETS_H_
#define MESH_SERVICE_SECRETS_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/security/credentials.h"

namespace mesh::service {

// With what the connections of a service are secured: one generation of it.
// Immutable. Whoever misses a generation learns all that counts from a later
// one.
struct Secrets {
  // Called when a connection's peer has shown until when it may be trusted: by
  // the wall clock. Any thread.
  using Expires = std::function<void(absl::Time wall)>;

  // Makes the credentials of one connection. `expires` may be called in each of
  // its handshakes, also when the connection is gone. Null: there is no
  // identity yet, so nothing is dialled.
  std::function<std::shared_ptr<grpc::ChannelCredentials>(Expires expires)>
      make;
  // A later one of the same service has a greater number. 0: credentials that
  // belong to no identity.
  uint64_t generation = 0;
  // Connections of generations below this are to be gone in seconds.
  uint64_t withdrawn_before = 0;
  // In which time the connections of other earlier generations are replaced.
  absl::Duration spread;
  // With a null `make`: why calls fail, also those that wait for ready. OK: all
  // calls wait, up to their deadline.
  absl::Status missing;
};
using SecretsPtr = std::shared_ptr<const Secrets>;

// Credentials that stay as they are, for all connections. `credentials` is not
// null.
SecretsPtr FixedSecrets(std::shared_ptr<grpc::ChannelCredentials> credentials,
                        uint64_t generation = 0);

}  // namespace mesh::service

#endif  // MESH_SERVICE_SECRETS_H_
