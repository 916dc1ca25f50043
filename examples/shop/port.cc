#include "examples/shop/port.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "examples/shop/files.h"
#include "grpcpp/security/server_credentials.h"
#include "mesh/mesh.h"

namespace shop {
namespace {

// mTLS by gRPC: the certificates are read once.
std::shared_ptr<grpc::ServerCredentials> CredentialsIn(
    const std::string& directory) {
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = ReadFile(directory + "/ca.crt");
  options.pem_key_cert_pairs.push_back(
      {ReadFile(directory + "/tls.key"), ReadFile(directory + "/tls.crt")});
  return grpc::SslServerCredentials(options);
}

}  // namespace

absl::StatusOr<std::shared_ptr<void>> AddPort(grpc::ServerBuilder* builder,
                                              const std::string& arm,
                                              const std::string& identity,
                                              int* port) {
  const std::string address = absl::StrCat("127.0.0.1:", *port);
  // Two servers must not share a port unnoticed.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  if (identity.empty() || arm != "mesh") {
    builder->AddListeningPort(address,
                              identity.empty()
                                  ? grpc::InsecureServerCredentials()
                                  : CredentialsIn(identity),
                              port);
    return nullptr;
  }
  absl::StatusOr<std::unique_ptr<mesh::Mesh>> mesh =
      mesh::Mesh::FromFile(identity + "/server.yaml");
  if (!mesh.ok()) return mesh.status();
  const auto attachment = (*mesh)->Listen(builder, address, port);
  if (!attachment.ok()) return attachment.status();
  return std::shared_ptr<mesh::Mesh>(*std::move(mesh));
}

}  // namespace shop
