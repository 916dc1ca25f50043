// A server that knows its callers by name. Its configuration (server.yaml) says
// what it shows, whom it believes and who may call what, also as that changes
// while it runs. It listens on a port of the system's choice and prints its
// address.
//
//   greeter server.yaml

#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "examples/hello/hello.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "mesh/mesh.h"
#include "mesh/server/peer.h"

namespace {

class Greeter final : public hello::Greeter::Service {
 public:
  grpc::Status Greet(grpc::ServerContext* context,
                     const hello::GreetRequest* request,
                     hello::GreetReply* reply) override {
    // Whoever comes here was verified, and the rules let the call pass.
    const auto peer = mesh::server::PeerOf(context);
    const std::string who = !peer.has_value() || peer->plaintext
                                ? "somebody without TLS"
                                : peer->spiffe_id;
    reply->set_text("Hello, " + request->name() + "! You are " + who + ".");
    return grpc::Status::OK;
  }
};

int Fail(const absl::Status& status) {
  fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  auto mesh = mesh::Mesh::FromFile(argc > 1 ? argv[1] : "server.yaml");
  if (!mesh.ok()) return Fail(mesh.status());

  Greeter greeter;
  grpc::ServerBuilder builder;
  builder.RegisterService(&greeter);
  int port = 0;
  const auto attachment = (*mesh)->Listen(&builder, "127.0.0.1:0", &port);
  if (!attachment.ok()) return Fail(attachment.status());
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  printf("127.0.0.1:%d\n", port);
  fflush(stdout);
  server->Wait();
}
