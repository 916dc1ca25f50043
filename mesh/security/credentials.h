#ifndef MESH_SECURITY_CREDENTIALS_H_
#define MESH_SECURITY_CREDENTIALS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/security/credentials.h"
#include "mesh/options/security.h"

namespace mesh::security {

// Reads the files that `tls` names, for grpc::SslCredentials(). A certificate
// makes it mutual TLS. The files are checked before gRPC sees them, because
// gRPC would only fail every connection. They must be readable PEM, and the key
// must be the certificate's. INVALID_ARGUMENT says which file is wrong and why.
absl::StatusOr<grpc::SslCredentialsOptions> ReadTlsFiles(
    const options::TlsOptions& tls);

}  // namespace mesh::security

#endif  // MESH_SECURITY_CREDENTIALS_H_
