// A program outside the tree, against the installed headers and library: calls
// a server through each way into mesh.

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "mesh/mesh.h"
#include "mesh/security/source.h"
#include "mesh/server/peer.h"
#include "mesh/server/server.h"
#include "mesh/telemetry/snapshot.h"
#include "mesh/v1/config.pb.h"
#include "mesh/version.h"

namespace {

// Sends the one message of any call back.
class EchoService final : public grpc::CallbackGenericService {
 public:
  // Whether a call came to a port of mesh.
  bool has_peer() const { return has_peer_; }

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    if (mesh::server::PeerOf(context).has_value()) has_peer_ = true;
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

 private:
  std::atomic<bool> has_peer_{false};
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

// Calls a port of mesh. The application gives the identity.
bool ListensAndKnowsItsPeer() {
  const auto identity = mesh::security::Identity::Make({}, absl::Now());
  if (!identity.ok()) return false;
  const auto source =
      std::make_shared<mesh::security::IdentitySource::Static>(*identity);
  mesh::Options options;
  options.identity = source;
  mesh::v1::Config config;
  config.mutable_identity();
  config.mutable_server()->set_mode(mesh::v1::Server::PLAINTEXT);
  const auto mesh = mesh::Mesh::Create(config, options);
  if (!mesh.ok()) {
    std::cerr << mesh.status() << "\n";
    return false;
  }
  EchoService service;
  grpc::ServerBuilder builder;
  builder.RegisterCallbackGenericService(&service);
  int port = 0;
  const auto attachment = (*mesh)->Listen(&builder, "127.0.0.1:0", &port);
  if (!attachment.ok()) return false;
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const bool served =
      Call(mesh::CreateChannel("127.0.0.1:" + std::to_string(port)));
  server->Shutdown();
  return served && service.has_peer() &&
         (*mesh)->Metrics().identities.size() == 1;
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

  if (!ListensAndKnowsItsPeer()) {
    std::cerr << "a port of mesh\n";
    return 1;
  }

  if (mesh::Mesh::FromFile("/nonexistent/mesh.yaml").ok()) return 1;
  server->Shutdown();
  std::cout << "mesh " MESH_VERSION "\n";
  return 0;
}
