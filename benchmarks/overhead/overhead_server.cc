// The server of the overhead benchmark. Prints its port on a line and serves
// until it is told to end or whoever started it is gone (end of stdin).

#include <unistd.h>

#include <cstdio>
#include <memory>

#include "benchmarks/overhead/echo.grpc.pb.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

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

int Run() {
  EchoService service;
  int port = 0;
  grpc::ServerBuilder builder;
  // Two benchmarks at once must not share a port.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    std::fprintf(stderr, "overhead_server: cannot listen on 127.0.0.1\n");
    return 1;
  }
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

int main() { return mesh::benchmarks::Run(); }
