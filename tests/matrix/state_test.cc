// Connectivity as a channel tells it, and calls that wait for it.

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/v1/config.pb.h"
#include "tests/matrix/environment.h"
#include "tests/matrix/script.h"

namespace mesh::test {
namespace {

std::chrono::system_clock::time_point In(std::chrono::milliseconds left) {
  return std::chrono::system_clock::now() + left;
}
constexpr std::chrono::seconds kLong(20);
constexpr std::chrono::milliseconds kShort(20);

// A channel to a socket file on which nobody listens yet, bare or of a mesh.
class State : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    address_ = absl::StrCat("unix:", Arms::Get().NewSocketPath());
    if (!GetParam()) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
      arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
      channel_ = grpc::CreateCustomChannel(
          address_, grpc::InsecureChannelCredentials(), arguments);
      return;
    }
    v1::Config config;
    v1::Service& service = (*config.mutable_services())["late"];
    service.add_endpoints()->set_address(address_);
    service.mutable_connections()->mutable_initial_backoff()->set_nanos(
        100000000);
    service.mutable_connections()->mutable_max_backoff()->set_nanos(100000000);
    auto mesh = mesh::Mesh::Create(config);
    ASSERT_TRUE(mesh.ok()) << mesh.status();
    mesh_ = *std::move(mesh);
    channel_ = mesh_->Channel("late");
  }

  void StartServer() {
    TestServer::Options options;
    options.addresses = {};
    options.customize = [this](grpc::ServerBuilder* builder) {
      builder->AddListeningPort(address_, grpc::InsecureServerCredentials());
    };
    auto server = TestServer::Start(std::move(options));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  std::string address_;
  std::unique_ptr<mesh::Mesh> mesh_;
  std::shared_ptr<grpc::ChannelInterface> channel_;
  std::unique_ptr<TestServer> server_;
};

TEST_P(State, WaitForConnectedSaysWhetherItIs) {
  EXPECT_FALSE(channel_->WaitForConnected(In(kShort)));
  StartServer();
  EXPECT_TRUE(channel_->WaitForConnected(In(kLong)));
  EXPECT_EQ(channel_->GetState(false), GRPC_CHANNEL_READY);
}

TEST_P(State, FailureToConnectIsSeen) {
  auto state = channel_->GetState(true);
  while (state != GRPC_CHANNEL_TRANSIENT_FAILURE) {
    ASSERT_NE(state, GRPC_CHANNEL_READY);
    ASSERT_TRUE(channel_->WaitForStateChange(state, In(kLong)));
    state = channel_->GetState(true);
  }
}

TEST_P(State, WaitForStateChangeEndsAtItsDeadline) {
  StartServer();
  ASSERT_TRUE(channel_->WaitForConnected(In(kLong)));
  EXPECT_FALSE(channel_->WaitForStateChange(GRPC_CHANNEL_READY, In(kShort)));
}

TEST_P(State, WaitForStateChangeFromAnotherStateReturnsAtOnce) {
  StartServer();
  ASSERT_TRUE(channel_->WaitForConnected(In(kLong)));
  EXPECT_TRUE(channel_->WaitForStateChange(GRPC_CHANNEL_SHUTDOWN, In(kLong)));
}

TEST_P(State, LosingTheServerIsSeen) {
  StartServer();
  ASSERT_TRUE(channel_->WaitForConnected(In(kLong)));
  server_.reset();
  EXPECT_TRUE(channel_->WaitForStateChange(GRPC_CHANNEL_READY, In(kLong)));
  EXPECT_NE(channel_->GetState(false), GRPC_CHANNEL_READY);
}

TEST_P(State, NotifyOnStateChangeTellsTheQueue) {
  grpc::CompletionQueue queue;
  StartServer();
  ASSERT_TRUE(channel_->WaitForConnected(In(kLong)));
  int late = 0, lost = 0;
  void* tag = nullptr;
  bool ok = true;

  channel_->NotifyOnStateChange(GRPC_CHANNEL_READY, In(kShort), &queue, &late);
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(tag, &late);
  EXPECT_FALSE(ok) << "nothing changed until the deadline";

  channel_->NotifyOnStateChange(GRPC_CHANNEL_READY, In(kLong), &queue, &lost);
  server_.reset();
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(tag, &lost);
  EXPECT_TRUE(ok);
}

TEST_P(State, ChannelMayGoWhileSomebodyWaitsOnAQueue) {
  grpc::CompletionQueue queue;
  StartServer();
  ASSERT_TRUE(channel_->WaitForConnected(In(kLong)));
  void* tag = nullptr;
  bool ok = true;
  channel_->NotifyOnStateChange(
      GRPC_CHANNEL_READY, In(std::chrono::milliseconds(50)), &queue, &queue);
  channel_.reset();
  mesh_.reset();
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(tag, &queue);
}

// Every style of call waits for a server that comes late, if it is told to.
TEST_P(State, CallsThatWaitForReadyWaitForALateServer) {
  struct Waiting {
    Kind kind;
    Style style;
    std::unique_ptr<Driver> driver;
    std::thread thread;
    grpc::Status status;
  };
  std::vector<std::unique_ptr<Waiting>> calls;
  for (const auto& [kind, style] : AllWays()) {
    auto call = std::make_unique<Waiting>();
    call->kind = kind;
    call->style = style;
    call->driver = Driver::Make(kind, style, channel_);
    call->driver->context().set_wait_for_ready(true);
    call->driver->context().set_deadline(In(kLong));
    calls.push_back(std::move(call));
  }
  for (auto& call : calls) {
    call->thread = std::thread([call = call.get()] {
      Reply reply;
      call->driver->Start(Request());
      if (Writes(call->kind)) call->driver->WritesDone();
      if (Reads(call->kind)) {
        while (call->driver->Read(&reply)) {
        }
      }
      call->status = call->driver->Finish(&reply);
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  StartServer();
  for (auto& call : calls) {
    call->thread.join();
    EXPECT_TRUE(call->status.ok())
        << Name(call->kind) << " " << Name(call->style) << ": "
        << call->status.error_message();
  }
}

INSTANTIATE_TEST_SUITE_P(Arms, State, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& info) {
                           return info.param ? "Mesh" : "Bare";
                         });

}  // namespace
}  // namespace mesh::test
