// The server of the overhead benchmark. Prints its port on a line and serves
// until it is told to end or whoever started it is gone (end of stdin).
//
//   overhead_server                 plaintext
//   overhead_server tls BASE        mutual TLS by SslServerCredentials, with
//   the
//                                   files BASE (see ReadTlsFiles())
//   overhead_server attach BASE     the same with mesh::server::Attach()
//   overhead_server listen CONFIG   Mesh::Listen() with that configuration

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "benchmarks/overhead/echo.grpc.pb.h"
#include "benchmarks/overhead/tls_files.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "mesh/mesh.h"
#include "mesh/server/server.h"

namespace mesh::benchmarks {
namespace {

class EchoService final : public echo::Echo::Service {
  grpc::Status Unary(grpc::ServerContext*, const echo::EchoMessage* request,
                     echo::EchoMessage* response) override {
    *response = *request;
    return grpc::Status::OK;
  }

  grpc::Status Stream(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<echo::EchoMessage, echo::EchoMessage>* stream)
      override {
    echo::EchoMessage message;
    while (stream->Read(&message)) stream->Write(message);
    return grpc::Status::OK;
  }
};

constexpr char kAddress[] = "127.0.0.1:0";

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "overhead_server: %s\n", what.c_str());
  std::exit(1);
}

std::shared_ptr<grpc::ServerCredentials> TlsCredentials(
    const std::string& base) {
  absl::StatusOr<TlsTexts> texts = ReadTlsFiles(base);
  if (!texts.ok()) Die(std::string(texts.status().message()));
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = texts->bundle;
  options.pem_key_cert_pairs.push_back({texts->key, texts->chain});
  return grpc::SslServerCredentials(options);
}

int Run(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const std::string what = argc > 2 ? argv[2] : "";
  EchoService service;
  int port = 0;
  grpc::ServerBuilder builder;
  // Two benchmarks at once must not share a port.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(&service);
  std::unique_ptr<Mesh> mesh;
  if (mode == "listen") {
    absl::StatusOr<std::unique_ptr<Mesh>> made = Mesh::FromFile(what);
    if (!made.ok()) Die(std::string(made.status().message()));
    mesh = *std::move(made);
    const auto attachment = mesh->Listen(&builder, kAddress, &port);
    if (!attachment.ok()) Die(std::string(attachment.status().message()));
  } else {
    if (mode == "attach") server::Attach(&builder);
    builder.AddListeningPort(
        kAddress,
        mode.empty() ? grpc::InsecureServerCredentials() : TlsCredentials(what),
        &port);
  }
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) Die("cannot listen on 127.0.0.1");
  std::printf("%d\n", port);
  std::fflush(stdout);
  char buffer[64];
  while (read(STDIN_FILENO, buffer, sizeof(buffer)) > 0) {
  }
  server->Shutdown(std::chrono::system_clock::now());
  return 0;
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) { return mesh::benchmarks::Run(argc, argv); }
