#ifndef MESH_FRONT_IDENTITIES_H_
#define MESH_FRONT_IDENTITIES_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/base/event_loop.h"
#include "mesh/front/identity_holder.h"
#include "mesh/options/service.h"
#include "mesh/security/files.h"
#include "mesh/security/source.h"
#include "mesh/service/runtime.h"

namespace mesh::front {

// The identities that a configuration names.
struct NamedIdentities {
  // The identity of the process, and where it comes from. Null: it has none.
  std::shared_ptr<IdentityHolder> process;
  std::optional<options::IdentitySourceOptions> source;
  // Those of services that have files of their own, by these files.
  std::vector<
      std::pair<security::IdentityPaths, std::shared_ptr<IdentityHolder>>>
      own;

  // The one with `files`. Null: there is none.
  std::shared_ptr<IdentityHolder> Own(
      const security::IdentityPaths& files) const;
  // The one that counts for a service with `tls`: that of its own files, else
  // that of the process. Where the process has none it shows nothing, and
  // trusts the system's authorities.
  std::shared_ptr<IdentityHolder> Of(const options::TlsOptions& tls) const;
};

// Whether calls to `service` are encrypted by what the configuration says.
bool IsTls(const options::ServiceOptions& service);
// Whether a service with `tls` names files of its own.
bool HasFiles(const options::TlsOptions& tls);

// Makes the sources of identities. One thread runs them all; it starts with the
// first. Not thread-safe.
class Identities {
 public:
  // `given`: the application's source. Null: there is none.
  Identities(std::shared_ptr<service::Runtime> runtime,
             std::shared_ptr<GenerationCounter> generations,
             std::shared_ptr<security::IdentitySource> given);

  // The identities of `options`. Those that `before` has are kept as they are,
  // good or bad. A source that is new must be good, but an agent may come
  // later. Until then the last identity of the process stays. The error begins
  // with the field's place and path. New identities are still to be started.
  //
  // Services that `is_given` is true of have credentials in code.
  absl::StatusOr<NamedIdentities> For(
      const options::MeshOptions& options, const NamedIdentities& before,
      const std::function<bool(const std::string& name)>& is_given);

  bool is_given() const { return given_ != nullptr; }

 private:
  // `options` has an identity.
  absl::Status AddProcess(const options::MeshOptions& options,
                          const NamedIdentities& before,
                          NamedIdentities* identities);
  absl::StatusOr<std::shared_ptr<security::IdentitySource>> MakeSource(
      const options::MeshOptions& options);
  absl::StatusOr<std::shared_ptr<security::IdentitySource>> MakeFiles(
      security::IdentityPaths files);
  std::shared_ptr<base::EventLoop> Loop();

  const std::shared_ptr<service::Runtime> runtime_;
  const std::shared_ptr<GenerationCounter> generations_;
  const std::shared_ptr<security::IdentitySource> given_;
  std::shared_ptr<base::EventLoop> loop_;
};

}  // namespace mesh::front

#endif  // MESH_FRONT_IDENTITIES_H_
