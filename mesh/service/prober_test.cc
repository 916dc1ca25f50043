#include "mesh/service/prober.h"

#include <future>
#include <memory>
#include <optional>
#include <string>

#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/grpc/access.h"
#include "mesh/service/service_test_util.h"

namespace mesh::service {
namespace {

// A server in this process, without a port, that answers when it is told to.
class SlowServer {
 public:
  SlowServer() {
    grpc::ServerBuilder builder;
    builder.RegisterAsyncGenericService(&generic_);
    queue_ = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
    generic_.RequestCall(&context_, &stream_, queue_.get(), queue_.get(), this);
    channel_ = server_->InProcessChannel(grpc::ChannelArguments());
  }
  ~SlowServer() {
    server_->Shutdown(gpr_inf_past(GPR_CLOCK_REALTIME));
    queue_->Shutdown();
    void* tag;
    bool ok;
    while (queue_->Next(&tag, &ok)) {
    }
  }

  grpc_channel* core() { return core::Access::CoreChannel(channel_.get()); }
  // Waits for the call and its request, and returns its method.
  std::string Receive() {
    Await();
    stream_.Read(&request_, this);
    Await();
    return context_.method();
  }
  void Answer(const grpc::Status& status) {
    stream_.Finish(status, this);
    Await();
  }

 private:
  void Await() {
    void* tag;
    bool ok = false;
    ASSERT_TRUE(queue_->Next(&tag, &ok));
    ASSERT_TRUE(ok);
  }

  grpc::AsyncGenericService generic_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_{&context_};
  grpc::ByteBuffer request_;
  std::shared_ptr<grpc::Channel> channel_;
};

// Inside one process gRPC does not tell what a peer said from what became of a
// call on this side, so a cancelled probe counts as answered here. What counts
// is that it ends.
class ProberTest : public ::testing::Test {
 protected:
  ProberTest() {
    endpoint_ = std::make_shared<ConnectedEndpoint>(cluster::Endpoint(), true);
    network_.core = [this](const std::string&, bool) { return core_; };
  }
  ~ProberTest() override { endpoint_->Detach().reset(); }

  void Open(grpc_channel* core) {
    core_ = core;
    endpoint_->Open(network_.Maker()(endpoint_->endpoint(),
                                     std::make_shared<ConnectionSettings>(), 0,
                                     nullptr));
  }
  // Begins a probe; what is returned has the answer.
  std::future<bool> Probe() {
    EXPECT_TRUE(endpoint_->Acquire() || endpoint_->closed());
    auto answer = std::make_shared<std::promise<bool>>();
    std::future<bool> result = answer->get_future();
    prober_->Probe(endpoint_, "/grpc.health.v1.Health/Check",
                   [answer](bool answered) { answer->set_value(answered); });
    return result;
  }

  SlowServer server_;
  core::CoreQueue queue_;
  FakeNetwork network_;
  grpc_channel* core_ = nullptr;
  std::shared_ptr<ConnectedEndpoint> endpoint_;
  std::optional<Prober> prober_{&queue_};
};

TEST_F(ProberTest, AnAnswerOfAnyKindIsOne) {
  Open(server_.core());
  std::future<bool> answered = Probe();
  EXPECT_EQ(server_.Receive(), "/grpc.health.v1.Health/Check");
  server_.Answer(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "no such"));
  EXPECT_TRUE(answered.get());
  prober_->Cancel(endpoint_.get());  // There is nothing left to cancel.
}

TEST_F(ProberTest, AFailureOnThisSideIsNone) {
  grpc_channel* const nowhere = grpc_lame_client_channel_create(
      "nowhere", GRPC_STATUS_UNAVAILABLE, "not connected");
  Open(nowhere);
  EXPECT_FALSE(Probe().get());
  grpc_channel_destroy(nowhere);
}

TEST_F(ProberTest, WithoutAConnectionThereIsNoAnswer) {
  EXPECT_FALSE(Probe().get());
}

TEST_F(ProberTest, AProbeHasNoDeadlineButMayBeCancelled) {
  Open(server_.core());
  std::future<bool> answered = Probe();
  server_.Receive();
  prober_->Cancel(endpoint_.get());
  answered.wait();
}

TEST_F(ProberTest, OnlyTheProbeOfThatEndpointIsCancelled) {
  Open(server_.core());
  std::future<bool> answered = Probe();
  server_.Receive();
  ConnectedEndpoint other(cluster::Endpoint(), true);
  prober_->Cancel(&other);
  server_.Answer(grpc::Status::OK);
  EXPECT_TRUE(answered.get());
}

TEST_F(ProberTest, AProbeOfAnEndpointThatIsClosedEndsAtOnce) {
  Open(server_.core());
  endpoint_->Close();
  Probe().wait();
}

TEST_F(ProberTest, AllProbesEndWithTheProber) {
  Open(server_.core());
  std::future<bool> answered = Probe();
  server_.Receive();
  prober_.reset();
  answered.wait();
}

}  // namespace
}  // namespace mesh::service
