// A process of its own: nothing else in it uses gRPC's callback threads, which
// gRPC joins when the last channel that uses them goes.

#include <future>
#include <memory>

#include "gtest/gtest.h"
#include "mesh/mesh.h"
#include "mesh/v1/config.pb.h"
#include "tests/sanitizers/echo.h"

namespace mesh::test {
namespace {

TEST(LastReferenceTest, MayBeDroppedByTheOnlyCallbackOfTheProcess) {
  SyncEcho service("echo ");
  std::string address;
  const auto server = StartServer(&service, &address);
  v1::Config config;
  (*config.mutable_services())["echo"].add_endpoints()->set_address(address);
  struct Everything {
    std::unique_ptr<mesh::Mesh> mesh;
    std::unique_ptr<TestService::Stub> stub;
    grpc::ClientContext context;
    Request request;
    Reply reply;
  };
  for (int i = 0; i < 20; ++i) {
    auto* const all = new Everything;
    all->mesh = std::move(*mesh::Mesh::Create(config));
    all->stub = TestService::NewStub(all->mesh->Channel("echo"));
    std::promise<bool> done;
    all->stub->async()->Unary(&all->context, &all->request, &all->reply,
                              [all, &done](grpc::Status status) {
                                delete all;
                                done.set_value(status.ok());
                              });
    EXPECT_TRUE(done.get_future().get());
  }
  server->Shutdown();
}

}  // namespace
}  // namespace mesh::test
