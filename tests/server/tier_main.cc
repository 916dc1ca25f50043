// A tier in the middle, as a process of its own: a mesh.test.TestService that
// answers with what the same call on the service "next" of its configuration
// answers. Prints its address.
//
//   tier_main --config=FILE [--bare]    bare: without mesh::server::Attach()

#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "grpcpp/grpcpp.h"
#include "mesh/mesh.h"
#include "mesh/server/server.h"
#include "tests/support/test_service.grpc.pb.h"

namespace {

using mesh::test::Reply;
using mesh::test::Request;
using mesh::test::TestService;

class Tier final : public TestService::Service {
 public:
  explicit Tier(std::shared_ptr<grpc::ChannelInterface> next)
      : stub_(TestService::NewStub(std::move(next))) {}

  grpc::Status Unary(grpc::ServerContext* context, const Request* request,
                     Reply* reply) override {
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    return stub_->Unary(onward.get(), *request, reply);
  }

  grpc::Status ServerStream(grpc::ServerContext* context,
                            const Request* request,
                            grpc::ServerWriter<Reply>* writer) override {
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    const auto reader = stub_->ServerStream(onward.get(), *request);
    Reply reply;
    while (reader->Read(&reply)) writer->Write(reply);
    return reader->Finish();
  }

  // A call that has nothing to do with the one that is served.
  grpc::Status Once(grpc::ServerContext*, const Request* request,
                    Reply* reply) override {
    grpc::ClientContext onward;
    return stub_->Unary(&onward, *request, reply);
  }

 private:
  const std::unique_ptr<TestService::Stub> stub_;
};

}  // namespace

int main(int argc, char** argv) {
  std::string config;
  bool attach = true;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (absl::StartsWith(flag, "--config=")) {
      config = flag.substr(flag.find('=') + 1);
    } else if (flag == "--bare") {
      attach = false;
    } else {
      std::cerr << "tier_main: unknown flag " << flag << "\n";
      return 2;
    }
  }
  const auto mesh = mesh::Mesh::FromFile(config);
  if (!mesh.ok()) {
    std::cerr << "tier_main: " << mesh.status() << "\n";
    return 1;
  }
  Tier tier((*mesh)->Channel("next"));
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&tier);
  if (attach) mesh::server::Attach(&builder);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::printf("127.0.0.1:%d\n", port);
  std::fflush(stdout);
  server->Wait();
}
