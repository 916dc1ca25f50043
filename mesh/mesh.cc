#include "mesh/mesh.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mesh/base/mutex.h"
#include "mesh/channel/channel.h"
#include "mesh/config/address.h"
#include "mesh/config/file_watcher.h"
#include "mesh/config/loader.h"
#include "mesh/config/text.h"
#include "mesh/options/endpoints.h"
#include "mesh/options/service.h"
#include "mesh/security/credentials.h"
#include "mesh/service/runtime.h"
#include "mesh/service/service.h"
#include "mesh/telemetry/prometheus.h"

namespace mesh {
namespace {

using Credentials = std::shared_ptr<grpc::ChannelCredentials>;

// Most names that a message lists.
constexpr size_t kMostNames = 10;

// The services of one Mesh, by name. Also the control thread has it, for as
// long as it watches the configuration.
class Registry {
 public:
  Registry(std::shared_ptr<service::Runtime> runtime,
           std::map<std::string, Credentials> credentials)
      : runtime_(std::move(runtime)), credentials_(std::move(credentials)) {}

  // All or nothing.
  absl::Status Apply(options::MeshOptions options) {
    std::map<std::string, Secrets> credentials;
    for (const auto& [name, service] : options.services) {
      absl::StatusOr<Secrets> made = SecretsFor(*service);
      if (!made.ok()) {
        return absl::Status(
            made.status().code(),
            absl::StrCat("services.", name, ".tls: ", made.status().message()));
      }
      credentials[name] = *std::move(made);
    }
    base::MutexLock lock(&mu_);
    runtime_->stream_bytes().SetLimit(options.limits.stream_retry_bytes);
    WarnOfWhatStays(options.telemetry);
    options_ = std::move(options);
    made_ = std::move(credentials);
    for (auto it = services_.begin(); it != services_.end();) {
      const std::shared_ptr<service::Service> service = it->second.weak.lock();
      if (service == nullptr) {
        it = services_.erase(it);
        continue;
      }
      ConfigureLocked(it->first, service, &it->second);
      ++it;
    }
    return absl::OkStatus();
  }

  // A reload: what went wrong is kept for Metrics() and logged.
  absl::Status Reload(absl::StatusOr<options::MeshOptions> options) {
    const absl::Status status =
        options.ok() ? Apply(*std::move(options)) : options.status();
    {
      base::MutexLock lock(&mu_);
      if (status.ok()) {
        ++reloads_;
        reload_error_.clear();
      } else {
        ++reload_failures_;
        reload_error_ = std::string(status.message());
      }
    }
    if (status.ok()) {
      runtime_->Log(LogSeverity::kInfo, "the configuration was reloaded");
    } else {
      runtime_->Log(LogSeverity::kError,
                    absl::StrCat("the changed configuration is not applied, "
                                 "all stays as it is:\n",
                                 status.message()));
    }
    return status;
  }

  std::shared_ptr<service::Service> Service(const std::string& name) {
    base::MutexLock lock(&mu_);
    if (services_.find(name) == services_.end()) {
      // Names that nobody uses any more are not kept.
      for (auto it = services_.begin(); it != services_.end();) {
        it = it->second.weak.expired() ? services_.erase(it) : std::next(it);
      }
    }
    Entry& entry = services_[name];
    std::shared_ptr<service::Service> service = entry.weak.lock();
    if (service == nullptr) {
      const auto found = options_.services.find(name);
      service = service::Service::Create(
          runtime_, name,
          found != options_.services.end() ? found->second : nullptr);
      entry.weak = service;
      ConfigureLocked(name, service, &entry);
    }
    return service;
  }

  telemetry::Snapshot Metrics() const {
    std::vector<std::shared_ptr<service::Service>> services;
    telemetry::Snapshot snapshot;
    {
      base::MutexLock lock(&mu_);
      for (const auto& [name, entry] : services_) {
        if (auto service = entry.weak.lock()) services.push_back(service);
      }
      snapshot.config_reloads = reloads_;
      snapshot.config_reload_failures = reload_failures_;
      snapshot.config_error = reload_error_;
    }
    for (const auto& service : services) {
      snapshot.services.push_back(service->Metrics());
    }
    return snapshot;
  }

  service::Runtime& runtime() { return *runtime_; }
  const std::shared_ptr<service::Runtime>& shared_runtime() { return runtime_; }

 private:
  struct Entry {
    std::weak_ptr<service::Service> weak;
    // What is configured is kept, with its connections and counts, also while
    // it has no channel.
    std::shared_ptr<service::Service> strong;
  };

  // Credentials, and what they were made of where that was files.
  struct Secrets {
    Credentials credentials;
    std::optional<grpc::SslCredentialsOptions> tls;
  };

  // The same object for the same secrets: new credentials are new connections.
  absl::StatusOr<Secrets> SecretsFor(const options::ServiceOptions& service) {
    const auto given = credentials_.find(service.name);
    if (given != credentials_.end() && given->second != nullptr) {
      return Secrets{given->second, std::nullopt};
    }
    if (!service.tls.has_value()) return Secrets{insecure_, std::nullopt};
    absl::StatusOr<grpc::SslCredentialsOptions> tls =
        security::ReadTlsFiles(*service.tls);
    if (!tls.ok()) return tls.status();
    {
      base::MutexLock lock(&mu_);
      const auto before = made_.find(service.name);
      if (before != made_.end() && before->second.tls.has_value() &&
          before->second.tls->pem_root_certs == tls->pem_root_certs &&
          before->second.tls->pem_private_key == tls->pem_private_key &&
          before->second.tls->pem_cert_chain == tls->pem_cert_chain) {
        return before->second;
      }
    }
    return Secrets{grpc::SslCredentials(*tls), *tls};
  }

  void WarnOfWhatStays(const options::TelemetryOptions& next) const {
    const options::TelemetryOptions& now = runtime_->telemetry();
    if (next.max_methods != now.max_methods ||
        next.max_endpoints != now.max_endpoints) {
      runtime_->Log(LogSeverity::kWarning,
                    "telemetry holds from the start of the Mesh: what has "
                    "changed there is not applied");
    }
  }

  void ConfigureLocked(const std::string& name,
                       const std::shared_ptr<service::Service>& service,
                       Entry* entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const auto found = options_.services.find(name);
    if (found != options_.services.end()) {
      entry->strong = service;
      service->Configure(found->second, made_[name].credentials,
                         absl::OkStatus());
      return;
    }
    entry->strong = nullptr;
    service->Configure(nullptr, nullptr, UnknownLocked(name));
  }

  absl::Status UnknownLocked(const std::string& name) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    std::vector<std::string> names;
    for (const auto& [known, service] : options_.services) {
      names.push_back(known);
    }
    std::string text =
        absl::StrCat("service \"", name, "\" is not in the configuration");
    const std::string nearest = config::Nearest(name, names);
    if (!nearest.empty()) {
      absl::StrAppend(&text, ", did you mean \"", nearest, "\"?");
    }
    if (names.size() > kMostNames) names.resize(kMostNames);
    absl::StrAppend(&text, " It has: ", absl::StrJoin(names, ", "));
    return absl::UnavailableError(text);
  }

  // Constant.
  const std::shared_ptr<service::Runtime> runtime_;
  const std::map<std::string, Credentials> credentials_;
  const Credentials insecure_ = grpc::InsecureChannelCredentials();

  mutable base::Mutex mu_;
  options::MeshOptions options_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, Secrets> made_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, Entry> services_ ABSL_GUARDED_BY(mu_);
  uint64_t reloads_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t reload_failures_ ABSL_GUARDED_BY(mu_) = 0;
  std::string reload_error_ ABSL_GUARDED_BY(mu_);
};

std::shared_ptr<grpc::ChannelInterface> MakeChannel(
    std::shared_ptr<service::Service> service, ChannelOptions options) {
  service->Start();
  return std::make_shared<channel::Channel>(std::move(service),
                                            std::move(options.interceptors));
}

class MeshImpl final : public Mesh {
 public:
  MeshImpl(Options options, const options::MeshOptions& config)
      : registry_(std::make_shared<Registry>(
            std::make_shared<service::Runtime>(
                std::move(options.log_sink), std::move(options.observers),
                std::move(options.fallbacks), config.telemetry, config.limits),
            std::move(options.credentials))) {}

  ~MeshImpl() override {
    // What watches belongs to the control thread, and so does, with the last
    // channel gone, the runtime.
    registry_->runtime().loop().Post([watcher = std::move(watcher_),
                                      registry =
                                          std::move(registry_)]() mutable {
      watcher.reset();  // Before the loop, which the registry may hold last.
      registry.reset();
    });
  }

  absl::Status Init(options::MeshOptions options) {
    return registry_->Apply(std::move(options));
  }

  void Watch(std::unique_ptr<config::FileWatcher> watcher) {
    watcher_ = std::move(watcher);
    registry_->runtime().loop().Post(
        [watcher = watcher_, registry = registry_] {
          watcher->Start(&registry->runtime().loop(),
                         [weak = std::weak_ptr<Registry>(registry)](
                             absl::StatusOr<options::MeshOptions> options) {
                           if (auto registry = weak.lock()) {
                             registry->Reload(std::move(options)).IgnoreError();
                           }
                         });
        });
  }

  std::shared_ptr<grpc::ChannelInterface> Channel(
      absl::string_view service, ChannelOptions options) override {
    return MakeChannel(registry_->Service(std::string(service)),
                       std::move(options));
  }

  absl::Status Reload(const v1::Config& config) override {
    return registry_->Reload(config::FromProto(config));
  }

  telemetry::Snapshot Metrics() const override { return registry_->Metrics(); }

  std::string PrometheusText() const override {
    return telemetry::PrometheusText(Metrics());
  }

 private:
  std::shared_ptr<Registry> registry_;
  std::shared_ptr<config::FileWatcher> watcher_;
};

// "dns:///host:port", or addresses separated by commas.
absl::StatusOr<options::ServiceOptions> ParseTarget(const std::string& target) {
  options::ServiceOptions options;
  options.name = target;
  absl::string_view rest = target;
  if (absl::ConsumePrefix(&rest, "dns:///") ||
      absl::ConsumePrefix(&rest, "dns:")) {
    options::DnsOptions dns;
    const size_t colon = rest.rfind(':');
    uint32_t port = 0;
    if (colon == absl::string_view::npos ||
        !config::ValidateHostName(rest.substr(0, colon)).ok() ||
        !absl::SimpleAtoi(rest.substr(colon + 1), &port) || port == 0 ||
        port > 65535) {
      return absl::InvalidArgumentError(absl::StrCat(
          "target \"", target, "\" is not of the form dns:///host:port"));
    }
    dns.name = std::string(rest.substr(0, colon));
    dns.port = static_cast<uint16_t>(port);
    options.source = std::move(dns);
    options.authority = std::string(rest);
    return options;
  }
  auto set = std::make_shared<cluster::EndpointSet>();
  std::set<std::string> seen;
  for (absl::string_view address : absl::StrSplit(rest, ',')) {
    const absl::Status valid = config::ValidateAddress(address);
    if (!valid.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("target \"", target, "\": ", valid.message(),
                       " (a name's target is dns:///host:port)"));
    }
    if (!seen.insert(config::CanonicalAddress(address)).second) continue;
    cluster::Endpoint endpoint;
    endpoint.address = std::string(address);
    set->endpoints.push_back(std::move(endpoint));
  }
  options.authority = set->endpoints.front().address;
  options.source = cluster::EndpointSetPtr(std::move(set));
  return options;
}

// What CreateChannel() makes, for as long as the process lives.
class Background {
 public:
  static Background& Get() {
    static Background* const background = new Background;
    return *background;
  }

  std::shared_ptr<service::Service> Service(const std::string& target,
                                            Credentials credentials) {
    base::MutexLock lock(&mu_);
    if (credentials == nullptr) credentials = insecure_;
    const auto key = std::make_pair(target, credentials);
    if (const auto known = services_.find(key); known != services_.end()) {
      if (auto service = known->second.lock()) return service;
    }
    // An entry keeps its credentials: none stays without its service.
    for (auto it = services_.begin(); it != services_.end();) {
      it = it->second.expired() ? services_.erase(it) : std::next(it);
    }
    absl::StatusOr<options::ServiceOptions> parsed = ParseTarget(target);
    std::shared_ptr<const options::ServiceOptions> options;
    if (parsed.ok()) {
      options =
          std::make_shared<const options::ServiceOptions>(*std::move(parsed));
    }
    auto service =
        service::Service::Create(runtime_, UnusedNameLocked(target), options);
    services_[key] = service;
    if (options != nullptr) {
      service->Configure(std::move(options), std::move(credentials),
                         absl::OkStatus());
    } else {
      // NOLINTNEXTLINE(bugprone-use-after-move): only a good one was moved.
      service->Configure(nullptr, nullptr, parsed.status());
    }
    return service;
  }

  telemetry::Snapshot Metrics() {
    telemetry::Snapshot snapshot;
    for (const auto& service : Live()) {
      snapshot.services.push_back(service->Metrics());
    }
    return snapshot;
  }

 private:
  std::vector<std::shared_ptr<service::Service>> Live() {
    base::MutexLock lock(&mu_);
    std::vector<std::shared_ptr<service::Service>> live;
    for (const auto& [key, weak] : services_) {
      if (auto service = weak.lock()) live.push_back(std::move(service));
    }
    return live;
  }

  // The target, and a number where it is called with other credentials too.
  std::string UnusedNameLocked(const std::string& target)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    std::set<std::string> used;
    for (const auto& [key, weak] : services_) {
      if (const auto service = weak.lock()) used.insert(service->name());
    }
    std::string name = target;
    for (int i = 2; used.count(name) > 0; ++i) {
      name = absl::StrCat(target, "#", i);
    }
    return name;
  }

  // Constant.
  const std::shared_ptr<service::Runtime> runtime_ =
      std::make_shared<service::Runtime>(
          LogSink(), std::vector<std::shared_ptr<telemetry::Observer>>(),
          std::map<std::string, Fallback>(), options::TelemetryOptions(),
          options::LimitsOptions());
  const Credentials insecure_ = grpc::InsecureChannelCredentials();

  base::Mutex mu_;
  std::map<std::pair<std::string, Credentials>, std::weak_ptr<service::Service>>
      services_ ABSL_GUARDED_BY(mu_);
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
  return MakeChannel(Background::Get().Service(target, std::move(credentials)),
                     {});
}

telemetry::Snapshot DefaultMetrics() { return Background::Get().Metrics(); }

std::string DefaultPrometheusText() {
  return telemetry::PrometheusText(DefaultMetrics());
}

}  // namespace mesh
