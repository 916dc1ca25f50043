#include "mesh/front/registry.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "mesh/config/text.h"
#include "mesh/log.h"

namespace mesh::front {
namespace {

// Most names that a message lists.
constexpr size_t kMostNames = 10;

// Whether two errors differ in numbers at most. The time may be one of them.
bool IsSameReason(absl::string_view a, absl::string_view b) {
  const auto words = [](absl::string_view text) {
    std::string rest(text);
    rest.erase(std::remove_if(rest.begin(), rest.end(), absl::ascii_isdigit),
               rest.end());
    return rest;
  };
  return words(a) == words(b);
}

void Count(const security::ClientCounters& counters,
           telemetry::ServiceSnapshot* service) {
  for (size_t i = 1; i < security::kPeerRefusals; ++i) {
    const auto refusal = static_cast<security::PeerRefusal>(i);
    if (counters.count(refusal) == 0) continue;
    service->peers_refused[std::string(security::PeerRefusalName(refusal))] =
        counters.count(refusal);
  }
  service->peers_without_crl = counters.lacks_crl();
}

}  // namespace

Registry::Registry(std::shared_ptr<service::Runtime> runtime,
                   std::map<std::string, Credentials> given,
                   std::shared_ptr<security::IdentitySource> identity)
    : runtime_(std::move(runtime)),
      given_(std::move(given)),
      has_source_(identity != nullptr),
      doors_(std::make_shared<Doors>(runtime_)),
      identities_(runtime_, generations_, std::move(identity)),
      configuration_(std::make_shared<const Configuration>()) {}

absl::Status Registry::Apply(options::MeshOptions options) {
  const absl::StatusOr<Warnings> warnings = TakeOver(std::move(options));
  if (!warnings.ok()) return warnings.status();
  Warn(*warnings);
  return absl::OkStatus();
}

absl::StatusOr<Registry::Warnings> Registry::TakeOver(
    options::MeshOptions options) {
  // Destroyed after the lock.
  ConfigurationPtr before;
  const auto next = std::make_shared<Configuration>();
  std::vector<std::shared_ptr<service::Service>> services;
  {
    base::MutexLock apply(&apply_mu_);
    before = Current();
    next->options = std::move(options);
    std::map<std::string, SecretsPolicy> policies;
    const absl::Status secured = Secure(*before, next.get(), &policies);
    if (!secured.ok()) return secured;
    absl::StatusOr<std::shared_ptr<const security::Authorization>> rules =
        security::Authorization::Make(next->options.server);
    if (!rules.ok()) return rules.status();

    // From here on nothing fails. Secrets that the configuration in force
    // shares take the new policy before it is in force. So nothing is connected
    // to by the old one afterwards.
    const NamedIdentities& identities = next->identities;
    if (!has_source_ && identities.process != nullptr) {
      identities.process->Start();
    }
    for (const auto& [files, holder] : identities.own) holder->Start();
    for (const auto& [name, policy] : policies) {
      next->secrets.at(name)->Apply(policy);
    }
    services = Enforce(next);
    for (const auto& [name, secrets] : before->secrets) {
      if (!Has(*next, name)) secrets->TellNobody();
    }
    for (const auto& service : services) Configure(*next, service);
    doors_->Apply(identities.process, *std::move(rules));
  }
  // The source is the application's code.
  if (has_source_) next->identities.process->Start();
  Warnings warnings = next->options.warnings;
  if (IsToStay(next->options.telemetry)) {
    warnings.push_back(
        "telemetry holds from the start of the Mesh: what has changed there is "
        "not applied. Restart to apply it.");
  }
  return warnings;
}

std::vector<std::shared_ptr<service::Service>> Registry::Enforce(
    const std::shared_ptr<Configuration>& next) {
  std::vector<std::shared_ptr<service::Service>> services;
  base::MutexLock lock(&mu_);
  next->version = configuration_->version + 1;
  runtime_->stream_bytes().SetLimit(next->options.limits.stream_retry_bytes);
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
  return services;
}

absl::Status Registry::Secure(const Configuration& before, Configuration* next,
                              std::map<std::string, SecretsPolicy>* policies) {
  absl::StatusOr<NamedIdentities> identities = identities_.For(
      next->options, before.identities,
      [this](const std::string& name) { return IsGiven(name); });
  if (!identities.ok()) return identities.status();
  next->identities = *std::move(identities);
  for (const auto& [name, service] : next->options.services) {
    absl::StatusOr<SecretsPolicy> policy = PolicyOf(*next, *service);
    if (!policy.ok()) return policy.status();
    (*policies)[name] = *std::move(policy);
    const auto known = before.secrets.find(name);
    next->secrets[name] = known != before.secrets.end()
                              ? known->second
                              : std::make_shared<ServiceSecrets>(generations_);
  }
  return absl::OkStatus();
}

bool Registry::IsGiven(const std::string& name) const {
  const auto given = given_.find(name);
  return given != given_.end() && given->second != nullptr;
}

absl::StatusOr<SecretsPolicy> Registry::PolicyOf(
    const Configuration& configuration,
    const options::ServiceOptions& service) const {
  SecretsPolicy policy;
  if (IsGiven(service.name) || !IsTls(service)) {
    policy.credentials =
        IsGiven(service.name) ? given_.at(service.name) : insecure_;
    return policy;
  }
  policy.identity = configuration.identities.Of(*service.tls);
  policy.crl = service.tls->crl;
  policy.one_bundle = HasFiles(*service.tls);
  absl::StatusOr<std::vector<security::PeerPattern>> allowed =
      security::ParsePeerPatterns(service.tls->peer);
  if (!allowed.ok()) return allowed.status();
  policy.peer = *std::move(allowed);
  const auto& identity = configuration.options.identity;
  policy.spread = identity.has_value() ? identity->spread : std::nullopt;
  return policy;
}

absl::Status Registry::Reload(absl::StatusOr<options::MeshOptions> options,
                              bool again) {
  if (again) {
    base::MutexLock lock(&mu_);
    if (reload_error_.empty()) return absl::OkStatus();
  }
  const absl::StatusOr<Warnings> warnings =
      options.ok() ? TakeOver(*std::move(options))
                   : absl::StatusOr<Warnings>(options.status());
  const absl::Status& status = warnings.status();
  bool is_known = false;
  {
    base::MutexLock lock(&mu_);
    if (status.ok()) {
      ++reloads_;
      reload_error_.clear();
    } else {
      is_known = again && IsSameReason(status.message(), reload_error_);
      if (!is_known) ++reload_failures_;
      reload_error_ = std::string(status.message());
    }
  }
  if (is_known) return status;
  if (status.ok()) {
    Warn(*warnings);
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
    Configure(*configuration, made);
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
  const ConfigurationPtr current = Current();
  for (const auto& service : services) {
    snapshot.services.push_back(service->Metrics());
    const auto secrets = current->secrets.find(service->name());
    if (secrets == current->secrets.end()) continue;
    Count(secrets->second->counters(), &snapshot.services.back());
  }
  const NamedIdentities& identities = current->identities;
  if (identities.process != nullptr) {
    snapshot.identities.push_back(identities.process->Metrics());
  }
  for (const auto& [files, holder] : identities.own) {
    snapshot.identities.push_back(holder->Metrics());
  }
  snapshot.server = doors_->Metrics();
  snapshot.exceptions = runtime_->application().Exceptions();
  return snapshot;
}

std::string Registry::ConfigText() const {
  const ConfigurationPtr current = Current();
  std::string text;
  if (current->options.identity.has_value() && has_source_) {
    text += "# identity: its source is given in code.\n";
  }
  for (const auto& [name, service] : current->options.services) {
    if (IsGiven(name)) {
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
                         const std::shared_ptr<service::Service>& service) {
  const std::string& name = service->name();
  const auto found = configuration.options.services.find(name);
  if (found == configuration.options.services.end()) {
    return service->Configure(nullptr, nullptr, Unknown(configuration, name),
                              configuration.version);
  }
  ServiceSecrets& secrets = *configuration.secrets.at(name);
  // First, so that the service misses none.
  secrets.Tell(service);
  service->Configure(found->second, secrets.Secrets(), absl::OkStatus(),
                     configuration.version);
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

void Registry::Warn(const Warnings& warnings) const {
  for (const std::string& warning : warnings) {
    runtime_->Log(LogSeverity::kWarning, warning);
  }
}

bool Registry::IsToStay(const options::TelemetryOptions& next) const {
  const options::TelemetryOptions& now = runtime_->telemetry();
  return next.max_methods != now.max_methods ||
         next.max_endpoints != now.max_endpoints ||
         next.max_peers != now.max_peers;
}

}  // namespace mesh::front
