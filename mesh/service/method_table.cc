#include "mesh/service/method_table.h"

#include <algorithm>
#include <functional>
#include <map>
#include <string>

#include "grpcpp/impl/codegen/config_protobuf.h"

namespace mesh::service {

namespace {

// What is the same of a method for all services. A program has few methods,
// those of its stubs. So this is kept for good, once for each name.
struct SharedMethod {
  // Counted, though it never goes: gRPC's retry filter copies a static one.
  grpc_slice path;
  std::optional<bool> idempotent;
};
using SharedMethods = std::map<std::string, SharedMethod, std::less<>>;

const SharedMethods::value_type& Shared(absl::string_view name) {
  static base::Mutex* const mu = new base::Mutex;
  static auto* const all = new SharedMethods;
  {
    base::MutexLock lock(mu);
    const auto found = all->find(name);
    if (found != all->end()) return *found;
  }
  // No lock is held, because descriptors have locks of their own.
  const std::optional<bool> idempotent = IdempotencyLevel(name);
  base::MutexLock lock(mu);
  const auto [shared, added] = all->try_emplace(std::string(name));
  if (added) {
    shared->second = {grpc_slice_from_copied_buffer(name.data(), name.size()),
                      idempotent};
  }
  return *shared;
}

}  // namespace

std::optional<bool> IdempotencyLevel(absl::string_view method) {
  std::string full_name(method.substr(method.substr(0, 1) == "/" ? 1 : 0));
  std::replace(full_name.begin(), full_name.end(), '/', '.');
  const auto* const descriptor =
      grpc::protobuf::DescriptorPool::generated_pool()->FindMethodByName(
          full_name);
  if (descriptor == nullptr) return std::nullopt;
  return descriptor->options().idempotency_level() !=
         google::protobuf::MethodOptions::IDEMPOTENCY_UNKNOWN;
}

std::pair<Method*, bool> MethodTable::Register(absl::string_view name) {
  if (Method* const known = Find(name)) return {known, false};
  const auto& [shared_name, shared] = Shared(name);
  auto made = std::make_unique<Method>();
  made->name = shared_name;
  made->path = shared.path;
  made->idempotent = shared.idempotent;
  base::MutexLock lock(&mu_);
  made->index = by_index_.size();
  const auto [known, added] = methods_.insert(std::move(made));
  if (added) by_index_.push_back(known->get());
  return {known->get(), added};  // Another thread may have been first.
}

telemetry::MethodMetrics* MethodTable::MakeMetrics(Method* method) {
  telemetry::MethodMetrics* const made =
      metrics_->Method(method->name, /*registered=*/true);
  method->metrics.store(made, std::memory_order_release);
  return made;
}

Method* MethodTable::Find(absl::string_view name) {
  base::MutexLock lock(&mu_);
  const auto found = methods_.find(name);
  return found == methods_.end() ? nullptr : found->get();
}

std::vector<const upstream::Method*> MethodTable::ByIndex() const {
  base::MutexLock lock(&mu_);
  return by_index_;
}

}  // namespace mesh::service
