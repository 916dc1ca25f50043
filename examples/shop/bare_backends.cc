#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "examples/shop/backends.h"
#include "examples/shop/endpoints_file.h"
#include "examples/shop/files.h"

namespace shop {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(100);

std::shared_ptr<grpc::ChannelCredentials> CredentialsIn(
    const std::string& directory) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ReadFile(directory + "/ca.crt");
  options.pem_private_key = ReadFile(directory + "/tls.key");
  options.pem_cert_chain = ReadFile(directory + "/tls.crt");
  return grpc::SslCredentials(options);
}

class FromGrpc final : public Backends {
 public:
  explicit FromGrpc(const std::string& directory)
      : directory_(directory),
        service_config_(
            ReadFile(absl::StrCat(directory, "/service_config.json"))),
        credentials_(CredentialsIn(absl::StrCat(directory, "/frontend"))) {
    ReplaceWhatChanged();
    watcher_ = std::thread([this] {
      while (!stopping_) {
        absl::SleepFor(kPollInterval);
        ReplaceWhatChanged();
      }
    });
  }

  ~FromGrpc() override {
    stopping_ = true;
    watcher_.join();
  }

  std::shared_ptr<const Stubs> stubs() const override {
    return std::atomic_load(&stubs_);
  }

  void Report(Panel&) override {}  // gRPC does not say.

 private:
  // A channel to one service, and the addresses that it was made for.
  struct Target {
    std::string addresses;
    std::shared_ptr<grpc::Channel> channel;
  };

  void ReplaceWhatChanged() {
    bool changed = false;
    changed |= Replace("cart", &cart_);
    changed |= Replace("catalog", &catalog_);
    changed |= Replace("payment", &payment_);
    if (!changed) return;
    auto stubs = std::make_shared<Stubs>();
    stubs->cart = v1::Cart::NewStub(cart_.channel);
    stubs->catalog = v1::Catalog::NewStub(catalog_.channel);
    stubs->payment = v1::Payment::NewStub(payment_.channel);
    // Calls in flight keep the old stubs, and these their channels.
    std::atomic_store(&stubs_, std::shared_ptr<const Stubs>(std::move(stubs)));
  }

  // Whether `target` was replaced.
  bool Replace(const std::string& service, Target* target) {
    const std::string addresses = absl::StrJoin(
        ParseEndpoints(
            ReadFile(absl::StrCat(directory_, "/", service, ".yaml"))),
        ",");
    if (addresses == target->addresses || addresses.empty()) return false;
    grpc::ChannelArguments arguments;
    arguments.SetServiceConfigJSON(service_config_);
    // Whom the server's certificate must be for.
    arguments.SetSslTargetNameOverride(service);
    std::shared_ptr<grpc::Channel> channel = grpc::CreateCustomChannel(
        absl::StrCat("ipv4:", addresses), credentials_, arguments);
    // A channel that is not connected yet would delay the calls that come
    // first. Connections to addresses that stay are shared with the old one.
    channel->WaitForConnected(std::chrono::system_clock::now() +
                              std::chrono::milliseconds(500));
    *target = {addresses, std::move(channel)};
    return true;
  }

  const std::string directory_;
  const std::string service_config_;
  // One object for all channels, so that they can share connections.
  const std::shared_ptr<grpc::ChannelCredentials> credentials_;

  // Only the watching thread uses it, once that runs.
  Target cart_, catalog_, payment_;

  std::atomic<bool> stopping_{false};
  std::shared_ptr<const Stubs> stubs_;  // Through std::atomic_load and _store.
  std::thread watcher_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backends>> BareBackends(
    const std::string& directory) {
  auto backends = std::make_unique<FromGrpc>(directory);
  if (backends->stubs() == nullptr) {
    return absl::NotFoundError(absl::StrCat("the directory \"", directory,
                                            "\" has no endpoints files."));
  }
  return backends;
}

}  // namespace shop
