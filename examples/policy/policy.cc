// Services and the policy of single methods from a file, mesh.yaml beside this
// one.
//
//   policy mesh.yaml
//
// Greet may be retried, so all its calls succeed even when a server is broken.
// SignGuestbook must not be done twice, so it is not.

#include <cstdio>
#include <memory>
#include <string>

#include "examples/hello/hello.grpc.pb.h"
#include "mesh/mesh.h"

int main(int argc, char** argv) {
  // The file is watched: change it while this runs and it is applied. A bad
  // one is told with line, column and reason, and leaves all as it is.
  auto mesh = mesh::Mesh::FromFile(argc > 1 ? argv[1] : "mesh.yaml");
  if (!mesh.ok()) {
    fprintf(stderr, "%s\n", std::string(mesh.status().message()).c_str());
    return 2;
  }
  auto greeter = hello::Greeter::NewStub((*mesh)->Channel("greeter"));

  constexpr int kCalls = 20;
  int greeted = 0, signed_in = 0;
  for (int i = 0; i < kCalls; ++i) {
    hello::GreetRequest request;
    request.set_name("visitor " + std::to_string(i));
    hello::GreetReply reply;
    grpc::ClientContext greet_context;
    greeted += greeter->Greet(&greet_context, request, &reply).ok();
    grpc::ClientContext sign_context;
    signed_in += greeter->SignGuestbook(&sign_context, request, &reply).ok();
  }
  printf("Greet: %d of %d\nSignGuestbook: %d of %d\n", greeted, kCalls,
         signed_in, kCalls);

  // What the mesh counted.
  for (const auto& service : (*mesh)->Metrics().services) {
    for (const auto& method : service.methods) {
      printf("%s: %d retries\n", method.method.c_str(),
             static_cast<int>(method.retries));
    }
  }
  return greeted == kCalls ? 0 : 1;
}
