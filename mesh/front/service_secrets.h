#ifndef MESH_FRONT_SERVICE_SECRETS_H_
#define MESH_FRONT_SERVICE_SECRETS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "grpcpp/security/credentials.h"
#include "mesh/base/mutex.h"
#include "mesh/front/identity_holder.h"
#include "mesh/options/security.h"
#include "mesh/security/client_counters.h"
#include "mesh/security/client_credentials.h"
#include "mesh/security/peer_pattern.h"
#include "mesh/service/secrets.h"
#include "mesh/service/service.h"

namespace mesh::front {

using Credentials = std::shared_ptr<grpc::ChannelCredentials>;

// How the connections to one service are secured, as a configuration says.
struct SecretsPolicy {
  // Not null: with these, and the rest does not count.
  Credentials credentials;
  // Else with this identity, and for peers with one of these names. No name:
  // for the service's authority.
  std::shared_ptr<IdentityHolder> identity;
  std::vector<security::PeerPattern> peer;
  options::CrlMode crl = options::CrlMode::kDefault;
  bool one_bundle = false;  // As security::PeerPolicy has it.
  // In which time a renewal replaces connections. Absent: 30 s, or a tenth of
  // the certificate's lifetime if that is less.
  std::optional<absl::Duration> spread;

  // Whether connections are the same by both. The spread is about later ones.
  bool MakesTheSame(const SecretsPolicy& o) const {
    return credentials == o.credentials && identity == o.identity &&
           peer == o.peer && crl == o.crl && one_bundle == o.one_bundle;
  }
};

// Makes a service's secrets of what its configuration says and of the identity
// that it names, anew whenever one of them changes. The secrets that it makes
// keep it, so connections go on to be renewed when the Mesh is gone.
// Thread-safe.
class ServiceSecrets final
    : public IdentityHolder::User,
      public std::enable_shared_from_this<ServiceSecrets> {
 public:
  explicit ServiceSecrets(std::shared_ptr<GenerationCounter> generations)
      : generations_(std::move(generations)) {}

  // What holds from now on. The same policy changes nothing.
  void Apply(const SecretsPolicy& policy);
  // The present secrets. They keep this object alive.
  service::SecretsPtr Secrets();
  const security::ClientCounters& counters() const { return *counters_; }
  // `service` is told of secrets that a change of the identity makes, while it
  // is there. Several may be: threads that ask for one name at once make one
  // each, and only one of these is kept.
  void Tell(const std::shared_ptr<service::Service>& service);
  // Nobody is told from now on: the configuration has no such service.
  void TellNobody();

  // IdentityHolder::User
  void OnIdentityChange() override;

 private:
  // Makes secrets_ anew if anything that they are made of has changed.
  void Renew() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Constant.
  const std::shared_ptr<GenerationCounter> generations_;
  // Connections outlive this object.
  const std::shared_ptr<security::ClientCounters> counters_ =
      std::make_shared<security::ClientCounters>();

  base::Mutex mu_;
  SecretsPolicy policy_ ABSL_GUARDED_BY(mu_);
  // The generation at which the policy last changed.
  uint64_t applied_ ABSL_GUARDED_BY(mu_) = 0;
  // Connections of generations below this are not as the policy wants them.
  uint64_t withdrawn_before_ ABSL_GUARDED_BY(mu_) = 0;
  // The policy's identity when secrets_ were made of it.
  security::IdentityPtr identity_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const service::Secrets> secrets_ ABSL_GUARDED_BY(mu_);
  std::vector<std::weak_ptr<service::Service>> services_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::front

#endif  // MESH_FRONT_SERVICE_SECRETS_H_
