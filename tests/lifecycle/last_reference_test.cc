// A process of its own: nothing else in it uses gRPC's callback threads, which
// gRPC joins when the last channel that uses them goes.

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mesh/mesh.h"
#include "mesh/security/workload_api.h"
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

// How many threads gRPC has for callbacks.
int CallbackThreads() {
  int threads = 0;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    threads += name == "nexting_thread";
  }
  return threads;
}

// Its stream ends on one of those threads.
TEST(LastReferenceTest, AWorkloadApiMayBeLeft) {
  // An agent that never answers.
  const int listening = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(bind(listening, generic, size), 0);
  ASSERT_EQ(listen(listening, 10), 0);
  ASSERT_EQ(getsockname(listening, generic, &size), 0);
  for (int i = 0; i < 20; ++i) {
    auto source = security::WorkloadApiSource::Make(
        absl::StrCat("tcp:127.0.0.1:", ntohs(address.sin_port)));
    ASSERT_TRUE(source.ok()) << source.status();
    const int agent = accept(listening, nullptr, nullptr);
    ASSERT_GE(agent, 0);
    source->reset();
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (CallbackThreads() > 0 && absl::Now() < end) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    EXPECT_EQ(CallbackThreads(), 0) << "the channel is there";
    close(agent);
  }
  close(listening);
}

}  // namespace
}  // namespace mesh::test
