#ifndef MESH_FRONT_BACKGROUND_H_
#define MESH_FRONT_BACKGROUND_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "mesh/base/mutex.h"
#include "mesh/front/service_secrets.h"
#include "mesh/options/service.h"
#include "mesh/service/runtime.h"
#include "mesh/service/service.h"
#include "mesh/telemetry/snapshot.h"

namespace mesh::front {

// The services that channels without a configuration share. There is one per
// target and credentials; it lives as long as somebody has it. Thread-safe.
class Background {
 public:
  // The one that CreateChannel() uses. Lives as long as the process. If it
  // could not start its thread, the next call makes another one.
  static Background& Get();

  Background();

  // Never null. When `target` is bad, the service's calls fail and say why.
  // `credentials` null: plaintext.
  std::shared_ptr<service::Service> Service(const std::string& target,
                                            Credentials credentials);

  telemetry::Snapshot Metrics() const;

  // The services that exist, as DefaultConfigText() has them.
  std::string ConfigText() const;

  // Why services of this would do nothing. Empty: they do.
  std::string failure() const { return runtime_->failure(); }

 private:
  using Key = std::pair<std::string, Credentials>;
  struct Entry {
    std::weak_ptr<service::Service> weak;
    std::string name;  // Names the service.
  };
  using Services = std::map<Key, Entry>;

  // The target, with a number where it is in use with other credentials too.
  std::string UnusedName(const std::string& target) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Used(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes entries whose service is gone out of the map. They own credentials,
  // so they are to be destroyed without the lock.
  std::vector<Services::node_type> TakeUnused()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Constant.
  const std::shared_ptr<service::Runtime> runtime_;
  const Credentials insecure_ = grpc::InsecureChannelCredentials();
  // All that holds for each service, whatever its target.
  const std::shared_ptr<const options::ServiceOptions> defaults_ =
      std::make_shared<const options::ServiceOptions>();

  mutable base::Mutex mu_;
  Services services_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::front

#endif  // MESH_FRONT_BACKGROUND_H_
