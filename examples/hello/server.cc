// A server for the examples to call: stock gRPC, nothing of mesh. It listens on
// a port of the system's choice and prints its address.
//
//   server [--broken]    broken: every unary call fails with UNAVAILABLE

#include <cstdio>
#include <memory>
#include <string>

#include "examples/hello/hello.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace {

class Greeter final : public hello::Greeter::Service {
 public:
  explicit Greeter(bool broken) : broken_(broken) {}

  grpc::Status Greet(grpc::ServerContext*, const hello::GreetRequest* request,
                     hello::GreetReply* reply) override {
    if (broken_) return Broken();
    reply->set_text("Hello, " + request->name() + "!");
    return grpc::Status::OK;
  }

  grpc::Status SignGuestbook(grpc::ServerContext*,
                             const hello::GreetRequest* request,
                             hello::GreetReply* reply) override {
    if (broken_) return Broken();
    reply->set_text(request->name() + " was here");
    return grpc::Status::OK;
  }

  grpc::Status Countdown(
      grpc::ServerContext*, const hello::CountdownRequest* request,
      grpc::ServerWriter<hello::GreetReply>* replies) override {
    for (uint32_t left = request->from(); left > 0; --left) {
      hello::GreetReply reply;
      reply.set_text(std::to_string(left));
      if (!replies->Write(reply)) break;
    }
    return grpc::Status::OK;
  }

  grpc::Status Chat(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<hello::GreetReply, hello::GreetRequest>* stream)
      override {
    hello::GreetRequest request;
    while (stream->Read(&request)) {
      hello::GreetReply reply;
      reply.set_text("Hello, " + request.name() + "!");
      if (!stream->Write(reply)) break;
    }
    return grpc::Status::OK;
  }

 private:
  static grpc::Status Broken() {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken");
  }

  const bool broken_;
};

}  // namespace

int main(int argc, char** argv) {
  Greeter greeter(argc > 1 && std::string(argv[1]) == "--broken");
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&greeter);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  printf("127.0.0.1:%d\n", port);
  fflush(stdout);
  server->Wait();
}
