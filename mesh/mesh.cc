#include "mesh/mesh.h"

#include <memory>
#include <string>
#include <utility>

#include "mesh/channel/channel.h"
#include "mesh/config/file_watcher.h"
#include "mesh/config/loader.h"
#include "mesh/front/background.h"
#include "mesh/front/registry.h"
#include "mesh/grpc/access.h"
#include "mesh/options/service.h"
#include "mesh/service/runtime.h"
#include "mesh/service/service.h"
#include "mesh/telemetry/prometheus.h"

namespace mesh {
namespace {

std::shared_ptr<grpc::ChannelInterface> MakeChannel(
    std::shared_ptr<service::Service> service, ChannelOptions options) {
  service->Start();
  return std::make_shared<channel::Channel>(std::move(service),
                                            std::move(options.interceptors));
}

class MeshImpl final : public Mesh {
 public:
  MeshImpl(Options options, const options::MeshOptions& config)
      : registry_(std::make_shared<front::Registry>(
            service::Runtime::Make(
                std::move(options.log_sink), std::move(options.observers),
                std::move(options.fallbacks), config.telemetry, config.limits,
                config::ParseEndpoints),
            std::move(options.credentials), std::move(options.identity))) {}

  ~MeshImpl() override {
    // The watcher belongs to the control thread. So does the runtime, once the
    // last channel is gone.
    registry_->runtime().loop().Post(
        [watcher = std::move(watcher_),
         registry = std::move(registry_)]() mutable {
          // First, since the registry may be the last to hold the loop.
          watcher.reset();
          registry.reset();
        });
  }

  absl::Status Init(options::MeshOptions options) {
    const std::string failure = registry_->runtime().failure();
    if (!failure.empty()) return absl::ResourceExhaustedError(failure);
    return registry_->Apply(std::move(options));
  }

  void Watch(std::unique_ptr<config::FileWatcher> watcher) {
    watcher_ = std::move(watcher);
    registry_->runtime().loop().Post(
        [watcher = watcher_, registry = registry_] {
          watcher->Start(
              &registry->runtime().loop(),
              [weak = std::weak_ptr<front::Registry>(registry)](
                  absl::StatusOr<options::MeshOptions> options, bool again) {
                auto registry = weak.lock();
                return registry == nullptr ||
                       registry->Reload(std::move(options), again).ok();
              });
        });
  }

  std::shared_ptr<grpc::ChannelInterface> Channel(
      absl::string_view service, ChannelOptions options) override {
    return MakeChannel(registry_->Service(std::string(service)),
                       std::move(options));
  }

  absl::StatusOr<std::shared_ptr<server::Attachment>> Listen(
      grpc::ServerBuilder* builder, absl::string_view address, int* port,
      ListenOptions options) override {
    return registry_->Listen(builder, address, port,
                             std::move(options.processor));
  }

  absl::Status Reload(const v1::Config& config) override {
    return registry_->Reload(config::FromProto(config));
  }

  telemetry::Snapshot Metrics() const override { return registry_->Metrics(); }

  std::string PrometheusText() const override {
    return telemetry::PrometheusText(Metrics());
  }

  std::string ConfigText() const override { return registry_->ConfigText(); }

 private:
  std::shared_ptr<front::Registry> registry_;
  std::shared_ptr<config::FileWatcher> watcher_;
};

absl::StatusOr<std::unique_ptr<MeshImpl>> Make(
    absl::StatusOr<options::MeshOptions> config, Options options) {
  if (!config.ok()) return config.status();
  auto mesh = std::make_unique<MeshImpl>(std::move(options), *config);
  const absl::Status status = mesh->Init(*std::move(config));
  if (!status.ok()) return status;
  return mesh;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Mesh>> Mesh::FromFile(const std::string& path,
                                                     Options options) {
  auto watcher = std::make_unique<config::FileWatcher>(path);
  absl::StatusOr<std::unique_ptr<MeshImpl>> mesh =
      Make(watcher->Load(), std::move(options));
  if (!mesh.ok()) return mesh.status();
  (*mesh)->Watch(std::move(watcher));
  return *std::move(mesh);
}

absl::StatusOr<std::unique_ptr<Mesh>> Mesh::Create(const v1::Config& config,
                                                   Options options) {
  absl::StatusOr<std::unique_ptr<MeshImpl>> mesh =
      Make(config::FromProto(config), std::move(options));
  if (!mesh.ok()) return mesh.status();
  return *std::move(mesh);
}

std::shared_ptr<grpc::ChannelInterface> CreateChannel(
    const std::string& target,
    std::shared_ptr<grpc::ChannelCredentials> credentials) {
  front::Background& background = front::Background::Get();
  const std::string failure = background.failure();
  if (!failure.empty()) {
    return core::Access::Wrap(grpc_lame_client_channel_create(
        target.c_str(), GRPC_STATUS_RESOURCE_EXHAUSTED, failure.c_str()));
  }
  return MakeChannel(background.Service(target, std::move(credentials)), {});
}

telemetry::Snapshot DefaultMetrics() {
  return front::Background::Get().Metrics();
}

std::string DefaultPrometheusText() {
  return telemetry::PrometheusText(DefaultMetrics());
}

std::string DefaultConfigText() {
  return front::Background::Get().ConfigText();
}

}  // namespace mesh
