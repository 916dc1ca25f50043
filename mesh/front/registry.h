#ifndef MESH_FRONT_REGISTRY_H_
#define MESH_FRONT_REGISTRY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/security/auth_metadata_processor.h"
#include "grpcpp/server_builder.h"
#include "mesh/base/mutex.h"
#include "mesh/front/doors.h"
#include "mesh/front/identities.h"
#include "mesh/front/identity_holder.h"
#include "mesh/front/service_secrets.h"
#include "mesh/options/service.h"
#include "mesh/security/authorization.h"
#include "mesh/security/source.h"
#include "mesh/service/runtime.h"
#include "mesh/service/service.h"
#include "mesh/telemetry/snapshot.h"

namespace mesh::front {

// The services of one Mesh, by name, and the configuration in force. The Mesh
// owns it, and so does the control thread while it watches the configuration.
// Thread-safe.
class Registry {
 public:
  // `given`: credentials of single services, by name; null ones count as
  // absent. `identity`: the application's source; null: there is none.
  Registry(std::shared_ptr<service::Runtime> runtime,
           std::map<std::string, Credentials> given,
           std::shared_ptr<security::IdentitySource> identity = nullptr);

  // Applies all of `options` or nothing. Services that are new in it are made
  // when they are first asked for.
  absl::Status Apply(options::MeshOptions options);

  // Applies a changed configuration, or counts why there is none. Either way it
  // logs. Returns what Apply() would.
  //
  // `again`: the configuration was refused, and is tried once more. While it is
  // refused for the same reason that is neither logged nor counted. When
  // another one is in force since, nothing is done.
  absl::Status Reload(absl::StatusOr<options::MeshOptions> options,
                      bool again = false);

  // Never null. The calls of a service that is not configured fail and say
  // which services are. A configured service is kept, with its connections and
  // counts, once it was asked for. Another one is kept only while somebody has
  // it.
  std::shared_ptr<service::Service> Service(const std::string& name);

  // Adds a port of mesh to `builder`; see Mesh::Listen().
  absl::StatusOr<std::shared_ptr<server::Attachment>> Listen(
      grpc::ServerBuilder* builder, absl::string_view address, int* port,
      std::shared_ptr<grpc::AuthMetadataProcessor> processor) {
    return doors_->Listen(builder, address, port, std::move(processor));
  }

  telemetry::Snapshot Metrics() const;

  // The configuration that holds, as Mesh::ConfigText() has it.
  std::string ConfigText() const;

  service::Runtime& runtime() { return *runtime_; }

 private:
  // The configuration in force at one moment. Immutable once it is in force.
  struct Configuration {
    uint64_t version = 0;  // A later one has a greater number.
    options::MeshOptions options;
    NamedIdentities identities;
    // By the service's name.
    std::map<std::string, std::shared_ptr<ServiceSecrets>> secrets;
  };
  using ConfigurationPtr = std::shared_ptr<const Configuration>;

  struct Entry {
    std::weak_ptr<service::Service> weak;
    std::shared_ptr<service::Service> strong;  // Set for a configured one.
  };

  // What is to be warned of.
  using Warnings = std::vector<std::string>;

  static bool Has(const Configuration& configuration, const std::string& name);
  // Tells `service` what `configuration` says about it. Calls out, so it runs
  // without a lock.
  static void Configure(const Configuration& configuration,
                        const std::shared_ptr<service::Service>& service);
  static absl::Status Unknown(const Configuration& configuration,
                              const std::string& name);

  // What Apply() does, but for the warnings. Runs no code of the application
  // under a lock.
  absl::StatusOr<Warnings> TakeOver(options::MeshOptions options);
  void Warn(const Warnings& warnings) const;
  // Puts `next` in force. Returns the services that are to hear of it.
  std::vector<std::shared_ptr<service::Service>> Enforce(
      const std::shared_ptr<Configuration>& next)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(apply_mu_);

  bool IsGiven(const std::string& name) const;
  // How the connections to `service` are secured by `configuration`.
  absl::StatusOr<SecretsPolicy> PolicyOf(
      const Configuration& configuration,
      const options::ServiceOptions& service) const;
  // Makes the identities and secrets of `next`. Nothing is in force yet.
  absl::Status Secure(const Configuration& before, Configuration* next,
                      std::map<std::string, SecretsPolicy>* policies)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(apply_mu_);

  ConfigurationPtr Current() const;
  // Whether something has changed that holds from the start of the Mesh.
  bool IsToStay(const options::TelemetryOptions& next) const;

  // Constant.
  const std::shared_ptr<service::Runtime> runtime_;
  const std::map<std::string, Credentials> given_;
  const Credentials insecure_ = grpc::InsecureChannelCredentials();
  const bool has_source_;  // The application gives the identity.
  const std::shared_ptr<GenerationCounter> generations_ =
      std::make_shared<GenerationCounter>();
  const std::shared_ptr<Doors> doors_;

  // Held while a configuration is applied. Taken before mu_.
  base::Mutex apply_mu_;
  Identities identities_ ABSL_GUARDED_BY(apply_mu_);

  mutable base::Mutex mu_;
  ConfigurationPtr configuration_ ABSL_GUARDED_BY(mu_);  // Never null.
  std::map<std::string, Entry> services_ ABSL_GUARDED_BY(mu_);
  uint64_t reloads_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t reload_failures_ ABSL_GUARDED_BY(mu_) = 0;
  std::string reload_error_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::front

#endif  // MESH_FRONT_REGISTRY_H_
