#ifndef MESH_FRONT_REGISTRY_H_
#define MESH_FRONT_REGISTRY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mesh/base/mutex.h"
#include "mesh/options/service.h"
#include "mesh/security/secrets.h"
#include "mesh/service/runtime.h"
#include "mesh/service/service.h"
#include "mesh/telemetry/snapshot.h"

namespace mesh::front {

// The services of one Mesh, by name, and the configuration in force. The Mesh
// owns it, and so does the control thread while it watches the configuration.
// Thread-safe.
class Registry {
 public:
  Registry(std::shared_ptr<service::Runtime> runtime,
           std::map<std::string, security::Credentials> given);

  // Applies all of `options` or nothing. Services that are new in it are made
  // when they are first asked for.
  absl::Status Apply(options::MeshOptions options);

  // Applies a changed configuration, or counts why there is none. Either way it
  // logs. Returns what Apply() would.
  absl::Status Reload(absl::StatusOr<options::MeshOptions> options);

  // Never null. The calls of a service that is not configured fail and say
  // which services are. A configured service is kept, with its connections and
  // counts, once it was asked for. Another one is kept only while somebody has
  // it.
  std::shared_ptr<service::Service> Service(const std::string& name);

  telemetry::Snapshot Metrics() const;

  // The configuration that holds, as Mesh::ConfigText() has it.
  std::string ConfigText() const;

  service::Runtime& runtime() { return *runtime_; }

 private:
  // The configuration in force at one moment. Immutable once it is in force.
  struct Configuration {
    uint64_t version = 0;  // A later one has a greater number.
    options::MeshOptions options;
    security::SecretsByService secrets;
    // The same for services. As long as the credentials of one stay, so does
    // the object here.
    std::map<std::string, service::SecretsPtr> fixed;
  };
  using ConfigurationPtr = std::shared_ptr<const Configuration>;

  struct Entry {
    std::weak_ptr<service::Service> weak;
    std::shared_ptr<service::Service> strong;  // Set for a configured one.
  };

  static bool Has(const Configuration& configuration, const std::string& name);
  // Tells `service` what `configuration` says about it. Calls out, so it runs
  // without a lock.
  static void Configure(const Configuration& configuration,
                        service::Service* service);
  static absl::Status Unknown(const Configuration& configuration,
                              const std::string& name);

  ConfigurationPtr Current() const;
  void WarnOfWhatStays(const options::TelemetryOptions& next) const;

  // Constant.
  const std::shared_ptr<service::Runtime> runtime_;
  const security::ServiceSecrets secrets_of_;

  mutable base::Mutex mu_;
  ConfigurationPtr configuration_ ABSL_GUARDED_BY(mu_);  // Never null.
  std::map<std::string, Entry> services_ ABSL_GUARDED_BY(mu_);
  uint64_t reloads_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t reload_failures_ ABSL_GUARDED_BY(mu_) = 0;
  std::string reload_error_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::front

#endif  // MESH_FRONT_REGISTRY_H_
