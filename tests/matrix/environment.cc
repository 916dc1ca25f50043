#include "tests/matrix/environment.h"

#include <stdlib.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "grpc/compression.h"
#include "grpcpp/create_channel.h"
#include "mesh/v1/config.pb.h"

namespace mesh::test {
namespace {

constexpr Flavour kFlavours[] = {Flavour::kPlain, Flavour::kSmallMessages,
                                 Flavour::kLocal, Flavour::kDead,
                                 Flavour::kGzip};

// The service's name, which is the :authority too.
const char* ServiceOf(Flavour flavour) {
  switch (flavour) {
    case Flavour::kPlain:
      return "plain";
    case Flavour::kSmallMessages:
      return "small";
    case Flavour::kLocal:
      return "local";
    case Flavour::kDead:
      return "dead";
    case Flavour::kGzip:
      break;
  }
  return "gzip";
}

std::map<std::string, int> IntArgsOf(Flavour flavour) {
  switch (flavour) {
    case Flavour::kSmallMessages:
      return {{GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, kSmallMessage},
              {GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, kSmallMessage}};
    case Flavour::kGzip:
      return {{GRPC_COMPRESSION_CHANNEL_DEFAULT_ALGORITHM, GRPC_COMPRESS_GZIP}};
    case Flavour::kPlain:
    case Flavour::kLocal:
    case Flavour::kDead:
      break;
  }
  return {};
}

std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(Flavour flavour) {
  return flavour == Flavour::kLocal ? grpc::experimental::LocalCredentials(UDS)
                                    : grpc::InsecureChannelCredentials();
}

grpc::ChannelArguments ArgumentsOf(Flavour flavour) {
  grpc::ChannelArguments arguments;
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, ServiceOf(flavour));
  for (const auto& [key, value] : IntArgsOf(flavour)) {
    arguments.SetInt(key, value);
  }
  return arguments;
}

}  // namespace

Arms& Arms::Get() {
  static Arms* const arms = static_cast<Arms*>(
      testing::AddGlobalTestEnvironment(new Arms));  // Owned by GoogleTest.
  return *arms;
}

// Before main(), as GoogleTest wants it.
[[maybe_unused]] static Arms& registered = Arms::Get();

void Arms::SetUp() {
  // Short, as a socket's path must be.
  std::string pattern = "/tmp/mesh-matrix-XXXXXX";
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  directory_ = pattern;
  const std::vector<std::string> local = {
      absl::StrCat("unix:", NewSocketPath()),
      absl::StrCat("unix:", NewSocketPath())};

  TestServer::Options options;
  options.addresses = {"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"};
  options.customize = [local](grpc::ServerBuilder* builder) {
    for (const std::string& address : local) {
      builder->AddListeningPort(
          address, grpc::experimental::LocalServerCredentials(UDS));
    }
  };
  server_ = TestServer::Start(std::move(options)).value();

  std::map<Flavour, std::vector<std::string>> addresses;
  for (Flavour flavour : kFlavours) addresses[flavour] = server_->addresses();
  addresses[Flavour::kLocal] = local;
  addresses[Flavour::kDead] = {absl::StrCat("unix:", NewSocketPath())};

  v1::Config config;
  Options mesh_options;
  for (Flavour flavour : kFlavours) {
    bare_[flavour] = grpc::CreateCustomChannel(
        addresses[flavour][0], CredentialsOf(flavour), ArgumentsOf(flavour));

    v1::Service& service = (*config.mutable_services())[ServiceOf(flavour)];
    for (const std::string& address : addresses[flavour]) {
      service.add_endpoints()->set_address(address);
    }
    for (const auto& [key, value] : IntArgsOf(flavour)) {
      (*service.mutable_channel_args())[key].set_integer(value);
    }
    service.mutable_policy()->set_idempotent(true);
    service.mutable_policy()->mutable_retry()->set_max_attempts(kMaxAttempts);
    service.mutable_policy()
        ->mutable_retry()
        ->mutable_initial_backoff()
        ->set_nanos(1000000);
    service.mutable_policy()->mutable_retry()->set_stream_bytes(16 << 20);
    // Every call that fails may be retried here.
    service.mutable_retry_budget()->set_ratio(1);
    service.mutable_retry_budget()->set_min_per_second(100000);
    mesh_options.credentials[ServiceOf(flavour)] = CredentialsOf(flavour);
  }
  auto mesh = mesh::Mesh::Create(config, mesh_options);
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  mesh_owner_ = *std::move(mesh);

  for (auto& [name, service] : *config.mutable_services()) {
    v1::Hedging& hedging = *service.mutable_policy()->mutable_hedging();
    hedging.set_mode(v1::MODE_ENFORCE);
    hedging.mutable_delay()->set_nanos(kHedgeDelayMs * 1000000);
    hedging.set_max_attempts(kMaxAttempts);
  }
  mesh = mesh::Mesh::Create(config, std::move(mesh_options));
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  hedged_owner_ = *std::move(mesh);
  for (Flavour flavour : kFlavours) {
    mesh_[flavour] = mesh_owner_->Channel(ServiceOf(flavour));
    hedged_[flavour] = hedged_owner_->Channel(ServiceOf(flavour));
  }
}

void Arms::TearDown() {
  mesh_.clear();
  hedged_.clear();
  mesh_owner_.reset();
  hedged_owner_.reset();
  bare_.clear();
  server_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

std::shared_ptr<grpc::ChannelInterface> Arms::NewBare(
    InterceptorFactories interceptors) {
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      server_->address(), CredentialsOf(Flavour::kPlain),
      ArgumentsOf(Flavour::kPlain), std::move(interceptors));
}

std::shared_ptr<grpc::ChannelInterface> Arms::NewMesh(
    InterceptorFactories interceptors) {
  ChannelOptions options;
  options.interceptors = std::move(interceptors);
  return mesh_owner_->Channel(ServiceOf(Flavour::kPlain), std::move(options));
}

std::shared_ptr<grpc::ChannelInterface> Arms::NewHedged(
    InterceptorFactories interceptors) {
  ChannelOptions options;
  options.interceptors = std::move(interceptors);
  return hedged_owner_->Channel(ServiceOf(Flavour::kPlain), std::move(options));
}

std::string Arms::NewSocketPath() {
  return absl::StrCat(directory_, "/", ++sockets_);
}

}  // namespace mesh::test
