#include "mesh/front/background.h"

#include <algorithm>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mesh/config/loader.h"
#include "mesh/config/target.h"
#include "mesh/config/target_text.h"
#include "mesh/config/text.h"
#include "mesh/fallback.h"
#include "mesh/log.h"
#include "mesh/options/service.h"
#include "mesh/telemetry/observer.h"

namespace mesh::front {

Background& Background::Get() {
  static base::Mutex* const mu = new base::Mutex;
  static Background* background = nullptr;
  base::MutexLock lock(mu);
  if (background == nullptr || !background->failure().empty()) {
    background = new Background;
  }
  return *background;
}

Background::Background()
    : runtime_(service::Runtime::Make(
          LogSink(), std::vector<std::shared_ptr<telemetry::Observer>>(),
          std::map<std::string, Fallback>(), options::TelemetryOptions(),
          options::LimitsOptions(), config::ParseEndpoints)) {}

std::shared_ptr<service::Service> Background::Service(const std::string& target,
                                                      Credentials credentials) {
  if (credentials == nullptr) credentials = insecure_;
  const Key key(target, credentials);
  std::shared_ptr<service::Service> made;
  std::vector<Services::node_type> unused;  // Destroyed after the lock.
  for (;;) {
    std::string name;
    {
      base::MutexLock lock(&mu_);
      if (const auto known = services_.find(key); known != services_.end()) {
        if (auto service = known->second.weak.lock()) return service;
      }
      if (made != nullptr && !Used(made->name())) {
        unused = TakeUnused();
        services_[key] = {made, made->name()};
        return made;
      }
      name = UnusedName(target);
    }
    // This runs without the lock. The result is put in its place above, unless
    // another thread has made one or taken the name.
    absl::StatusOr<options::TargetOptions> parsed = config::ParseTarget(target);
    made = service::Service::Create(runtime_, name,
                                    parsed.ok() ? defaults_ : nullptr);
    if (parsed.ok()) {
      made->Configure(
          defaults_, service::FixedSecrets(credentials), absl::OkStatus(),
          /*version=*/1,
          std::make_shared<const options::TargetOptions>(*std::move(parsed)));
    } else {
      made->Configure(nullptr, nullptr, parsed.status(), /*version=*/1);
    }
  }
}

telemetry::Snapshot Background::Metrics() const {
  std::vector<std::shared_ptr<service::Service>> live;
  {
    base::MutexLock lock(&mu_);
    for (const auto& [key, entry] : services_) {
      if (auto service = entry.weak.lock()) live.push_back(std::move(service));
    }
  }
  telemetry::Snapshot snapshot;
  for (const auto& service : live) {
    snapshot.services.push_back(service->Metrics());
  }
  return snapshot;
}

std::string Background::ConfigText() const {
  std::map<std::string, std::string> targets;  // By the service's name.
  std::string text;
  {
    base::MutexLock lock(&mu_);
    for (const auto& [key, entry] : services_) {
      if (entry.weak.expired()) continue;
      targets[entry.name] = key.first;
      if (key.second != insecure_) {
        absl::StrAppend(&text, "# ", config::KeyPath("services", entry.name),
                        ": its credentials are given in code.\n");
      }
    }
  }
  return text + config::TextOfTargets(targets);
}

bool Background::Used(const std::string& name) const {
  return std::any_of(services_.begin(), services_.end(), [&](const auto& one) {
    return one.second.name == name && !one.second.weak.expired();
  });
}

std::string Background::UnusedName(const std::string& target) const {
  std::string name = target;
  for (int i = 2; Used(name); ++i) name = absl::StrCat(target, "#", i);
  return name;
}

std::vector<Background::Services::node_type> Background::TakeUnused() {
  std::vector<Services::node_type> unused;
  for (auto it = services_.begin(); it != services_.end();) {
    const auto here = it++;
    if (here->second.weak.expired()) unused.push_back(services_.extract(here));
  }
  return unused;
}

}  // namespace mesh::front
