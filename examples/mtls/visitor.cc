// A client of the greeter. Nothing here speaks of certificates: they stand in
// its configuration (client.yaml), and change while it runs.
//
//   visitor client.yaml [SECONDS]
//
// Without SECONDS it greets once. With SECONDS it greets ten times per second
// for so long. It says which of its certificates is in force, and counts.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "examples/hello/hello.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "mesh/mesh.h"

namespace {

constexpr std::chrono::milliseconds kPause(100);

grpc::Status Greet(hello::Greeter::Stub& greeter, std::string* text) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(2));
  hello::GreetRequest request;
  request.set_name("world");
  hello::GreetReply reply;
  const grpc::Status status = greeter.Greet(&context, request, &reply);
  *text = status.ok() ? reply.text() : status.error_message();
  return status;
}

// Says which certificate is in force when that is another one than `serial`.
void Tell(const mesh::Mesh& mesh, std::string* serial) {
  for (const auto& identity : mesh.Metrics().identities) {
    if (identity.name != "process" || identity.serial == *serial) continue;
    *serial = identity.serial;
    printf("%s, serial %s\n", identity.spiffe_id.c_str(), serial->c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  auto mesh = mesh::Mesh::FromFile(argc > 1 ? argv[1] : "client.yaml");
  if (!mesh.ok()) {
    fprintf(stderr, "%s\n", std::string(mesh.status().message()).c_str());
    return 2;
  }
  const auto greeter = hello::Greeter::NewStub((*mesh)->Channel("greeter"));
  std::string text;
  if (argc <= 2) {
    const grpc::Status status = Greet(*greeter, &text);
    printf("%s\n", text.c_str());
    return status.ok() ? 0 : 1;
  }

  std::string serial;
  int calls = 0, failed = 0;
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::seconds(std::atoi(argv[2]));
  while (std::chrono::steady_clock::now() < end) {
    ++calls;
    if (!Greet(*greeter, &text).ok()) {
      ++failed;
      printf("%s\n", text.c_str());
    }
    Tell(**mesh, &serial);
    fflush(stdout);
    std::this_thread::sleep_for(kPause);
  }
  printf("%d calls, %d failed\n", calls, failed);
  return failed == 0 ? 0 : 1;
}
