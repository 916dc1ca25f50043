// A program outside the tree, against the installed headers and library: calls
// a server through each way into mesh.

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "mesh/mesh.h"
#include "mesh/server/server.h"
#include "mesh/telemetry/snapshot.h"
#include "mesh/v1/config.pb.h"
#include "mesh/version.h"

namespace {

// Sends the one message of any call back.
class EchoService final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext*) override {
    class Echo final : public grpc::ServerGenericBidiReactor {
     public:
      Echo() { StartRead(&message_); }
      void OnReadDone(bool ok) override {
        if (!ok) return Finish(grpc::Status::OK);
        StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
      }
      void OnDone() override { delete this; }

     private:
      grpc::ByteBuffer message_;
    };
    return new Echo;
  }
};

bool Call(const std::shared_ptr<grpc::ChannelInterface>& channel) {
  const std::string text = "through the mesh";
  const grpc::Slice slice(text);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer reply;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(30));
  grpc::GenericStub stub(channel);
  std::mutex mu;
  std::condition_variable done;
  bool finished = false;
  grpc::Status status;
  stub.UnaryCall(&context, "/test.Echo/Say", {}, &request, &reply,
                 [&](grpc::Status outcome) {
                   std::lock_guard<std::mutex> lock(mu);
                   status = std::move(outcome);
                   finished = true;
                   done.notify_one();
                 });
  std::unique_lock<std::mutex> lock(mu);
  done.wait(lock, [&] { return finished; });
  if (!status.ok()) {
    std::cerr << "failed: " << status.error_message() << "\n";
    return false;
  }
  grpc::Slice answer;
  reply.DumpToSingleSlice(&answer);
  return std::string(reinterpret_cast<const char*>(answer.begin()),
                     answer.size()) == text;
}

}  // namespace

int main() {
  EchoService service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterCallbackGenericService(&service);
  mesh::server::Attach(&builder);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const std::string address = "127.0.0.1:" + std::to_string(port);

  if (!Call(mesh::CreateChannel(address))) return 1;

  mesh::v1::Config config;
  (*config.mutable_services())["echo"].add_endpoints()->set_address(address);
  auto created = mesh::Mesh::Create(config);
  if (!created.ok()) {
    std::cerr << created.status() << "\n";
    return 1;
  }
  const auto channel = (*created)->Channel("echo");
  if (!Call(channel)) return 1;
  const mesh::telemetry::Snapshot metrics = (*created)->Metrics();
  if (metrics.services.empty() || metrics.services[0].service != "echo") {
    std::cerr << "no metrics\n";
    return 1;
  }

  if (mesh::Mesh::FromFile("/nonexistent/mesh.yaml").ok()) return 1;
  server->Shutdown();
  std::cout << "mesh " MESH_VERSION "\n";
  return 0;
}
