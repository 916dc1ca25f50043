// A service in the middle: it answers calls by calling another service through
// mesh. It passes on what those calls came with (docs/server.md). It listens on
// a port of the system's choice and prints its address.
//
//   tier ADDRESS[,ADDRESS...]     of the servers that it calls

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "examples/hello/hello.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "mesh/mesh.h"
#include "mesh/server/server.h"

namespace {

class PoliteGreeter final : public hello::Greeter::Service {
 public:
  explicit PoliteGreeter(std::shared_ptr<grpc::ChannelInterface> greeter)
      : greeter_(hello::Greeter::NewStub(std::move(greeter))) {}

  grpc::Status Greet(grpc::ServerContext* context,
                     const hello::GreetRequest* request,
                     hello::GreetReply* reply) override {
    // With this context the call ends when the one that is served does, and
    // mesh knows by when.
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    hello::GreetRequest polite;
    polite.set_name("dear " + request->name());
    // A failure that mesh retried in vain says to the caller that it need not
    // try again: the handler only has to pass it on.
    return greeter_->Greet(onward.get(), polite, reply);
  }

 private:
  const std::unique_ptr<hello::Greeter::Stub> greeter_;
};

}  // namespace

int main(int argc, char** argv) {
  PoliteGreeter greeter(mesh::CreateChannel(argc > 1 ? argv[1] : ""));
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&greeter);
  mesh::server::Attach(&builder);  // The one line.
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  printf("127.0.0.1:%d\n", port);
  fflush(stdout);
  server->Wait();
}
