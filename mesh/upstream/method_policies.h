#ifndef MESH_UPSTREAM_METHOD_POLICIES_H_
#define MESH_UPSTREAM_METHOD_POLICIES_H_

#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/optimization.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mesh/base/on_demand.h"
#include "mesh/options/service.h"
#include "mesh/resilience/health/pace.h"
#include "mesh/resilience/latency_tracker.h"

namespace mesh::upstream {

// A method that a caller has registered. It survives reloads. What changes with
// them is found by `index` in a MethodPolicies.
struct Method {
  absl::string_view name;  // "/package.Service/Method". It outlives this.
  size_t index = 0;
  std::optional<bool> idempotent;  // What its .proto says, where that is known.
  // Made when a call of the method may be hedged. The Upstream owns it.
  std::atomic<resilience::LatencyTracker*> latency{nullptr};
  // How long its calls take. For the health monitor of the service. Made with
  // the first call.
  base::OnDemand<resilience::MethodPace> pace;
};

// The policies of a service's methods in one configuration. Immutable once
// made: any number of threads may read it.
class MethodPolicies {
 public:
  // For a service that is unknown: each method has the defaults.
  MethodPolicies() = default;
  // `options` may be null, as above. `registered[i]` has the index i. Methods
  // that come later are found by their names, until the next MethodPolicies is
  // made.
  explicit MethodPolicies(
      std::shared_ptr<const options::ServiceOptions> options,
      absl::Span<const Method* const> registered = {});

  // The policy of `method`. Where `method` is null: the policy of the
  // unregistered method named `name`. It lives as long as this object.
  const options::MethodOptions& Of(const Method* method,
                                   absl::string_view name) const {
    if (ABSL_PREDICT_TRUE(method != nullptr &&
                          method->index < by_index_.size())) {
      return *by_index_[method->index];
    }
    return Find(method, name);
  }

  // Null: the service is unknown.
  const options::ServiceOptions* options() const { return options_.get(); }
  // Whether every method may be executed twice.
  bool all_idempotent() const { return all_idempotent_; }

 private:
  const options::MethodOptions& Find(const Method* method,
                                     absl::string_view name) const;
  void ShareBucket(const options::MethodOptions& policy,
                   absl::string_view bucket);

  std::shared_ptr<const options::ServiceOptions> options_;
  bool all_idempotent_ = false;
  std::vector<const options::MethodOptions*> by_index_;
  // For methods that nobody has registered: stands in for a policy that is for
  // any method and limits its rate.
  std::map<const options::MethodOptions*, options::MethodOptions> others_;
};

}  // namespace mesh::upstream

#endif  // MESH_UPSTREAM_METHOD_POLICIES_H_
