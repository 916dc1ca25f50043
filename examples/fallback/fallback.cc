// Something to show when a service fails: a fallback answers in its place
// (docs/resilience.md). With mesh.yaml of ../policy:
//
//   fallback mesh.yaml

#include "mesh/fallback.h"

#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "examples/hello/hello.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "mesh/mesh.h"

namespace {

// What visitors read while nobody greets them.
std::optional<grpc::ByteBuffer> GreetAnyway(const mesh::FailedCall& call) {
  if (call.method != "/hello.Greeter/Greet") return std::nullopt;  // It fails.
  hello::GreetReply reply;
  reply.set_text("Hello, whoever you are!");
  const grpc::Slice bytes(reply.SerializeAsString());
  return grpc::ByteBuffer(&bytes, 1);
}

}  // namespace

int main(int argc, char** argv) {
  mesh::Options options;
  options.fallbacks["greeter"] = GreetAnyway;  // By service.
  auto mesh = mesh::Mesh::FromFile(argc > 1 ? argv[1] : "mesh.yaml",
                                   std::move(options));
  if (!mesh.ok()) {
    fprintf(stderr, "%s\n", std::string(mesh.status().message()).c_str());
    return 2;
  }
  auto greeter = hello::Greeter::NewStub((*mesh)->Channel("greeter"));

  hello::GreetRequest request;
  request.set_name("world");
  hello::GreetReply reply;
  grpc::ClientContext greet_context;
  const grpc::Status status = greeter->Greet(&greet_context, request, &reply);
  printf("%s\n", status.ok() ? reply.text().c_str() : "Greet failed");

  // Nobody signs in a visitor's place.
  grpc::ClientContext sign_context;
  printf("%s\n", greeter->SignGuestbook(&sign_context, request, &reply).ok()
                     ? reply.text().c_str()
                     : "SignGuestbook failed");
}
