#ifndef MESH_SECURITY_CREDENTIALS_H_
#define MESH_SECURITY_CREDENTIALS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/security/credentials.h"
#include "mesh/options/security.h"

namespace mesh::security {

// What the files that `tls` names hold, for grpc::SslCredentials(): mutual TLS
// where a certificate is named. Checked before gRPC sees it, which would only
// fail every connection: the files must be readable PEM, and the key must be
// the certificate's. INVALID_ARGUMENT says which file and why.
absl::StatusOr<grpc::SslCredentialsOptions> ReadTlsFiles(
    const options::TlsOptions& tls);

}  // namespace mesh::security

#endif  // MESH_SECURITY_CREDENTIALS_H_
