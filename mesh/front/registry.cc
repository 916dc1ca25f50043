#include "mesh/front/registry.h"

#include <cstddef>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mesh/config/text.h"
#include "mesh/log.h"

namespace mesh::front {
namespace {

// Most names that a message lists.
constexpr size_t kMostNames = 10;

}  // namespace

Registry::Registry(std::shared_ptr<service::Runtime> runtime,
                   std::map<std::string, security::Credentials> given)
    : runtime_(std::move(runtime)),
      secrets_of_(std::move(given)),
      configuration_(std::make_shared<const Configuration>()) {}

absl::Status Registry::Apply(options::MeshOptions options) {
  auto next = std::make_shared<Configuration>();
  {
    absl::StatusOr<security::SecretsByService> secrets =
        secrets_of_.SecretsForAll(options, Current()->secrets);
    if (!secrets.ok()) return secrets.status();
    next->secrets = *std::move(secrets);
  }
  const ConfigurationPtr before = Current();
  for (const auto& [name, secrets] : next->secrets) {
    const auto known = before->secrets.find(name);
    next->fixed[name] = known != before->secrets.end() &&
                                known->second.credentials == secrets.credentials
                            ? before->fixed.at(name)
                            : service::FixedSecrets(secrets.credentials);
  }
  next->options = std::move(options);

  ConfigurationPtr replaced;
  std::vector<std::shared_ptr<service::Service>> services;
  {
    base::MutexLock lock(&mu_);
    next->version = configuration_->version + 1;
    runtime_->stream_bytes().SetLimit(next->options.limits.stream_retry_bytes);
    replaced = std::move(configuration_);
    configuration_ = next;
    for (auto it = services_.begin(); it != services_.end();) {
      std::shared_ptr<service::Service> service = it->second.weak.lock();
      if (service == nullptr) {
        it = services_.erase(it);
        continue;
      }
      it->second.strong = Has(*next, it->first) ? service : nullptr;
      services.push_back(std::move(service));
      ++it;
    }
  }
  // Another Apply() may overtake this one here. Services tell by the version
  // which configuration is in force.
  for (const auto& service : services) Configure(*next, service.get());
  WarnOfWhatStays(next->options.telemetry);
  for (const std::string& warning : next->options.warnings) {
    runtime_->Log(LogSeverity::kWarning, warning);
  }
  return absl::OkStatus();
}

absl::Status Registry::Reload(absl::StatusOr<options::MeshOptions> options) {
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
    runtime_->Log(LogSeverity::kInfo, "the configuration was reloaded.");
  } else {
    runtime_->Log(LogSeverity::kError,
                  absl::StrCat("the changed configuration is not applied, "
                               "and all stays as it is:\n",
                               status.message()));
  }
  return status;
}

std::shared_ptr<service::Service> Registry::Service(const std::string& name) {
  std::shared_ptr<service::Service> made;
  ConfigurationPtr configuration;  // What `made` was told.
  for (;;) {
    const ConfigurationPtr told = std::move(configuration);
    {
      base::MutexLock lock(&mu_);
      const auto known = services_.find(name);
      if (known != services_.end()) {
        if (auto service = known->second.weak.lock()) return service;
      }
      if (made != nullptr && told == configuration_) {
        // Names that nobody uses any more are not kept.
        for (auto it = services_.begin(); it != services_.end();) {
          it = it->second.weak.expired() ? services_.erase(it) : std::next(it);
        }
        services_[name] = {made, Has(*told, name) ? made : nullptr};
        return made;
      }
      configuration = configuration_;
    }
    // This runs without the lock. `made` is put in its place above once it
    // knows what is in force by then, unless another thread was faster.
    if (made == nullptr) {
      const auto found = configuration->options.services.find(name);
      made = service::Service::Create(
          runtime_, name,
          found != configuration->options.services.end() ? found->second
                                                         : nullptr);
    }
    Configure(*configuration, made.get());
  }
}

telemetry::Snapshot Registry::Metrics() const {
  std::vector<std::shared_ptr<service::Service>> services;
  telemetry::Snapshot snapshot;
  {
    base::MutexLock lock(&mu_);
    for (const auto& [name, entry] : services_) {
      if (auto service = entry.weak.lock()) {
        services.push_back(std::move(service));
      }
    }
    snapshot.config_reloads = reloads_;
    snapshot.config_reload_failures = reload_failures_;
    snapshot.config_error = reload_error_;
  }
  for (const auto& service : services) {
    snapshot.services.push_back(service->Metrics());
  }
  snapshot.exceptions = runtime_->application().Exceptions();
  return snapshot;
}

std::string Registry::ConfigText() const {
  const ConfigurationPtr current = Current();
  std::string text;
  for (const auto& [name, service] : current->options.services) {
    if (secrets_of_.IsGiven(name)) {
      absl::StrAppend(&text, "# ", config::KeyPath("services", name),
                      ": its credentials are given in code.\n");
    }
  }
  if (current->options.written != nullptr) {
    text += current->options.written->Text(runtime_->telemetry());
  }
  return text;
}

bool Registry::Has(const Configuration& configuration,
                   const std::string& name) {
  return configuration.options.services.count(name) > 0;
}

void Registry::Configure(const Configuration& configuration,
                         service::Service* service) {
  const std::string& name = service->name();
  const auto found = configuration.options.services.find(name);
  if (found != configuration.options.services.end()) {
    service->Configure(found->second, configuration.fixed.at(name),
                       absl::OkStatus(), configuration.version);
  } else {
    service->Configure(nullptr, nullptr, Unknown(configuration, name),
                       configuration.version);
  }
}

absl::Status Registry::Unknown(const Configuration& configuration,
                               const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, service] : configuration.options.services) {
    names.push_back(known);
  }
  std::string text = absl::StrCat("the service ", config::Quoted(name),
                                  " is not in the configuration");
  absl::StrAppend(&text, config::DidYouMean(name, names));
  if (text.back() != '?') text += '.';
  if (names.empty()) return absl::UnavailableError(text);
  if (names.size() > kMostNames) names.resize(kMostNames);
  const auto quote = [](std::string* out, const std::string& known) {
    out->append(config::Quoted(known));
  };
  absl::StrAppend(&text, " It has ", absl::StrJoin(names, ", ", quote), ".");
  return absl::UnavailableError(text);
}

Registry::ConfigurationPtr Registry::Current() const {
  base::MutexLock lock(&mu_);
  return configuration_;
}

void Registry::WarnOfWhatStays(const options::TelemetryOptions& next) const {
  const options::TelemetryOptions& now = runtime_->telemetry();
  if (next.max_methods != now.max_methods ||
      next.max_endpoints != now.max_endpoints ||
      next.max_peers != now.max_peers) {
    runtime_->Log(LogSeverity::kWarning,
                  "telemetry holds from the start of the Mesh: what has "
                  "changed there is not applied. Restart to apply it.");
  }
}

}  // namespace mesh::front
