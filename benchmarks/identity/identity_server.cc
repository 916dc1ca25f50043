// A server of the benches of identities: mesh.test.TestService on a port with
// TLS. It prints the address of that port, then that of its control, then an
// empty line, and runs until it is killed.
//
//   identity_server --name=NAME --port=PORT --config=FILE   Mesh::Listen()
//   identity_server --name=NAME --port=PORT --stock=DIR     gRPC's own
//
// DIR has tls.key, tls.crt and ca.crt, which gRPC looks at once a second.

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "benchmarks/identity/control.grpc.pb.h"
#include "benchmarks/identity/process_side.h"
#include "benchmarks/identity/sightings.h"
#include "benchmarks/identity/stock.h"
#include "benchmarks/outages/world.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "mesh/mesh.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::benchmarks {
namespace {

// Says who it is, where the caller is, and which certificate the caller showed.
class Served final : public test::TestService::Service {
 public:
  explicit Served(std::string name) : name_(std::move(name)) {}

  void SetPort(int port) { port_ = port; }
  void Tell(identity::Stats* stats) {
    sightings_.Take(stats);
    stats->set_plaintext_calls(plaintext_calls_);
  }

  grpc::Status Unary(grpc::ServerContext* context, const test::Request* request,
                     test::Reply* reply) override {
    Answer(*context, *request, reply);
    return grpc::Status::OK;
  }

  grpc::Status Bidi(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<test::Reply, test::Request>* stream) override {
    test::Request request;
    while (stream->Read(&request)) {
      test::Reply reply;
      Answer(*context, request, &reply);
      stream->Write(reply);
    }
    return grpc::Status::OK;
  }

 private:
  void Answer(const grpc::ServerContext& context, const test::Request& request,
              test::Reply* reply) {
    const std::string serial =
        sightings_.Note(PortOf(context.peer()), port_, *context.auth_context());
    if (serial.empty()) ++plaintext_calls_;
    reply->set_payload(request.payload());
    reply->mutable_seen()->set_server(name_);
    reply->mutable_seen()->set_peer(context.peer());
    reply->mutable_seen()->add_peer_identity(serial);
  }

  const std::string name_;
  std::atomic<int> port_{0};
  std::atomic<int64_t> plaintext_calls_{0};
  Sightings sightings_{Sightings::End::kServer};
};

class Steering final : public identity::Control::Service {
 public:
  // `mesh` is null for gRPC's own.
  Steering(Served* served, const Mesh* mesh) : served_(served), mesh_(mesh) {}

  grpc::Status GetStats(grpc::ServerContext*,
                        const identity::StatsRequest* request,
                        identity::Stats* stats) override {
    served_->Tell(stats);
    if (mesh_ != nullptr) TellMetrics(*mesh_, stats);
    if (request->memory()) TellMemory(stats);
    return grpc::Status::OK;
  }

 private:
  Served* const served_;
  const Mesh* const mesh_;
};

int Run(int argc, char** argv) {
  Flags flags = ParseFlags(argc, argv, {"name", "port", "config", "stock"});
  const std::string address = absl::StrCat("127.0.0.1:", flags["port"]);
  Served served(flags["name"]);
  std::unique_ptr<Mesh> mesh;
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(&served);
  int port = 0;
  if (flags.count("stock") > 0) {
    builder.AddListeningPort(address, StockServerCredentials(flags["stock"]),
                             &port);
  } else {
    Options options;
    options.log_sink = NoLog();
    auto made = Mesh::FromFile(flags["config"], std::move(options));
    if (!made.ok()) Die(made.status().message());
    mesh = *std::move(made);
    const auto attachment = mesh->Listen(&builder, address, &port);
    if (!attachment.ok()) Die(attachment.status().message());
  }
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) Die("it cannot listen on " + address);
  served.SetPort(port);
  Steering steering(&served, mesh.get());
  const ControlServer control(&steering);
  AnnounceAndStay({absl::StrCat("127.0.0.1:", port), control.address()});
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) { return mesh::benchmarks::Run(argc, argv); }
