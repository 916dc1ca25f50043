#include "benchmarks/identity/callers.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "benchmarks/identity/pki.h"
#include "benchmarks/identity/process_side.h"
#include "benchmarks/identity/stock.h"
#include "benchmarks/outages/clients.h"
#include "benchmarks/outages/world.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/channel_arguments.h"
#include "mesh/config/loader.h"
#include "mesh/mesh.h"
#include "mesh/v1/config.pb.h"

namespace mesh::benchmarks {
namespace {

constexpr char kLoad[] = "test";
constexpr char kFresh[] = "fresh";
constexpr absl::Duration kBetweenTries = absl::Milliseconds(20);
constexpr absl::Duration kSampleTimeout = absl::Seconds(1);

grpc::Status CallOnce(test::TestService::Stub* stub, absl::Duration timeout,
                      test::Reply* reply) {
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoMicroseconds(timeout));
  return stub->Unary(&context, test::Request(), reply);
}

std::string SerialIn(const test::Reply& reply) {
  return reply.seen().peer_identity_size() > 0 ? reply.seen().peer_identity(0)
                                               : "";
}

// ---------------------------------------------------------------------------
// mesh

class MeshCaller final : public Caller {
 public:
  MeshCaller(const std::string& config, std::string fresh_config)
      : fresh_config_(std::move(fresh_config)), mesh_(MustMake(config)) {
    const absl::StatusOr<v1::Config> read =
        config::LoadFileWithDefaults(config);
    if (!read.ok()) Die(read.status().message());
    config_ = *read;
    const auto it = config_.services().find(kFresh);
    if (it != config_.services().end()) {
      for (const v1::Endpoint& endpoint : it->second.endpoints()) {
        servers_.push_back(endpoint);
      }
    }
    stub_ = test::TestService::NewStub(mesh_->Channel(kLoad));
    fresh_stub_ = test::TestService::NewStub(mesh_->Channel(kFresh));
  }

  StubPtr stub() const override { return stub_; }

  bool StartAndCall(absl::Time deadline, std::string* why) override {
    for (; Now() < deadline; absl::SleepFor(kBetweenTries)) {
      absl::StatusOr<std::unique_ptr<Mesh>> mesh = Make(fresh_config_);
      if (!mesh.ok()) {
        *why = std::string(mesh.status().message());
        continue;
      }
      const auto stub = test::TestService::NewStub((*mesh)->Channel(kLoad));
      test::Reply reply;
      const grpc::Status status =
          CallOnce(stub.get(), deadline - Now(), &reply);
      if (status.ok()) return true;
      *why = status.error_message();
    }
    return false;
  }

  // The service "fresh" has one endpoint at a time. To a new one there is a new
  // connection; that to the old one goes.
  std::string SerialOfNewConnection() override {
    if (servers_.empty()) Die("there is no service \"fresh\"");
    next_ = (next_ + 1) % servers_.size();
    v1::Service& fresh = (*config_.mutable_services())[kFresh];
    fresh.clear_endpoints();
    *fresh.add_endpoints() = servers_[next_];
    if (!mesh_->Reload(config_).ok()) return "";  // Files are being replaced.
    test::Reply reply;
    const grpc::Status status =
        CallOnce(fresh_stub_.get(), kSampleTimeout, &reply);
    return status.ok() ? SerialIn(reply) : "";
  }

  void Tell(identity::Stats* stats) const override {
    TellMetrics(*mesh_, stats);
  }

 private:
  static absl::StatusOr<std::unique_ptr<Mesh>> Make(const std::string& config) {
    Options options;
    options.log_sink = NoLog();
    return Mesh::FromFile(config, std::move(options));
  }
  static std::unique_ptr<Mesh> MustMake(const std::string& config) {
    absl::StatusOr<std::unique_ptr<Mesh>> mesh = Make(config);
    if (!mesh.ok()) Die(mesh.status().message());
    return *std::move(mesh);
  }

  const std::string fresh_config_;
  const std::unique_ptr<Mesh> mesh_;
  v1::Config config_;
  std::vector<v1::Endpoint> servers_;
  size_t next_ = 0;
  StubPtr stub_;
  StubPtr fresh_stub_;
};

// ---------------------------------------------------------------------------
// gRPC

class StockCaller final : public Caller {
 public:
  StockCaller(std::string directory, std::vector<std::string> servers)
      : directory_(std::move(directory)),
        servers_(std::move(servers)),
        credentials_(StockCredentials(directory_)),
        stub_(test::TestService::NewStub(
            BareChannel(servers_, credentials_, Arguments()))) {}

  StubPtr stub() const override { return stub_; }

  bool StartAndCall(absl::Time deadline, std::string* why) override {
    for (; Now() < deadline; absl::SleepFor(kBetweenTries)) {
      const auto stub = test::TestService::NewStub(
          BareChannel(servers_, StockCredentials(directory_), OwnConnection()));
      test::Reply reply;
      const grpc::Status status =
          CallOnce(stub.get(), deadline - Now(), &reply);
      if (status.ok()) return true;
      *why = status.error_message();
    }
    return false;
  }

  std::string SerialOfNewConnection() override {
    next_ = (next_ + 1) % servers_.size();
    const auto stub = test::TestService::NewStub(
        BareChannel({servers_[next_]}, credentials_, OwnConnection()));
    test::Reply reply;
    const grpc::Status status = CallOnce(stub.get(), kSampleTimeout, &reply);
    return status.ok() ? SerialIn(reply) : "";
  }

  void Tell(identity::Stats*) const override {}

 private:
  static grpc::ChannelArguments Arguments() {
    grpc::ChannelArguments arguments;
    arguments.SetSslTargetNameOverride(Pki::kDnsName);
    return arguments;
  }
  static grpc::ChannelArguments OwnConnection() {
    grpc::ChannelArguments arguments = Arguments();
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return arguments;
  }

  const std::string directory_;
  const std::vector<std::string> servers_;
  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
  const StubPtr stub_;
  size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Caller> MakeMeshCaller(const std::string& config,
                                       const std::string& fresh_config) {
  return std::make_unique<MeshCaller>(config, fresh_config);
}

std::unique_ptr<Caller> MakeStockCaller(const std::string& directory,
                                        std::vector<std::string> servers) {
  return std::make_unique<StockCaller>(directory, std::move(servers));
}

}  // namespace mesh::benchmarks
