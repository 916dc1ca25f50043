#include "mesh/upstream/method_policies.h"

#include <utility>

#include "absl/strings/match.h"

namespace mesh::upstream {

MethodPolicies::MethodPolicies(
    std::shared_ptr<const options::ServiceOptions> options,
    absl::Span<const Method* const> registered)
    : options_(std::move(options)) {
  if (options_ == nullptr) return;
  all_idempotent_ = options_->AllIdempotent();
  by_index_.reserve(registered.size());
  for (const Method* method : registered) {
    by_index_.push_back(&options_->PolicyOf(method->name));
  }
  ShareBucket(options_->policy, "other methods");
  for (const auto& [pattern, policy] : options_->methods) {
    if (absl::EndsWith(pattern, "/*")) ShareBucket(policy, pattern);
  }
}

// A caller can make up names of methods without end. So all methods that nobody
// has registered and that one policy is for share one bucket.
void MethodPolicies::ShareBucket(const options::MethodOptions& policy,
                                 absl::string_view bucket) {
  if (policy.rate_limit.mode == options::Mode::kOff) return;
  others_.emplace(&policy, policy).first->second.rate_limit.bucket =
      std::string(bucket);
}

const options::MethodOptions& MethodPolicies::Find(
    const Method* method, absl::string_view name) const {
  static const auto* const defaults = new options::MethodOptions;
  if (options_ == nullptr) return *defaults;
  const options::MethodOptions& policy = options_->PolicyOf(name);
  if (method != nullptr || others_.empty()) return policy;
  const auto other = others_.find(&policy);
  return other != others_.end() ? other->second : policy;
}

}  // namespace mesh::upstream
