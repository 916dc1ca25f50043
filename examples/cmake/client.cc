// A client built with CMake: client ADDRESS[,ADDRESS...]

#include <cstdio>

#include "hello.grpc.pb.h"
#include "mesh/mesh.h"

int main(int argc, char** argv) {
  auto channel = mesh::CreateChannel(argc > 1 ? argv[1] : "");
  auto greeter = hello::Greeter::NewStub(channel);

  hello::GreetRequest request;
  request.set_name("CMake");
  hello::GreetReply reply;
  grpc::ClientContext context;
  const grpc::Status status = greeter->Greet(&context, request, &reply);

  puts(status.ok() ? reply.text().c_str() : status.error_message().c_str());
  return status.ok() ? 0 : 1;
}
