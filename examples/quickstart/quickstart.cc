// The smallest use of mesh: one line differs from plain gRPC.
//
//   quickstart ADDRESS[,ADDRESS...]     or  quickstart dns:///HOST:PORT

#include <cstdio>

#include "examples/hello/hello.grpc.pb.h"
#include "mesh/mesh.h"

int main(int argc, char** argv) {
  // Plain gRPC has grpc::CreateChannel(target, credentials) here.
  auto channel = mesh::CreateChannel(argc > 1 ? argv[1] : "");
  auto greeter = hello::Greeter::NewStub(channel);

  hello::GreetRequest request;
  request.set_name("world");
  hello::GreetReply reply;
  grpc::ClientContext context;
  const grpc::Status status = greeter->Greet(&context, request, &reply);

  puts(status.ok() ? reply.text().c_str() : status.error_message().c_str());
  return status.ok() ? 0 : 1;
}
