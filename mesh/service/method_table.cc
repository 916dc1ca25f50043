#include "mesh/service/method_table.h"

#include <algorithm>

#include "grpcpp/impl/codegen/config_protobuf.h"

namespace mesh::service {

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

MethodTable::~MethodTable() {
  base::MutexLock lock(&mu_);
  for (auto& [name, method] : methods_) grpc_slice_unref(method->path);
}

std::pair<Method*, bool> MethodTable::Register(absl::string_view name) {
  if (Method* const known = Find(name)) return {known, false};
  // Made with no lock held, because descriptors have locks of their own.
  auto made = std::make_unique<Method>();
  made->name = std::string(name);
  made->path = grpc_slice_from_copied_buffer(name.data(), name.size());
  made->idempotent = IdempotencyLevel(name);
  Method* result;
  {
    base::MutexLock lock(&mu_);
    const auto [known, added] = methods_.try_emplace(made->name);
    if (added) {
      made->index = by_index_.size();
      by_index_.push_back(made.get());
      known->second = std::move(made);
    }
    result = known->second.get();
  }
  if (made == nullptr) return {result, true};
  grpc_slice_unref(made->path);  // Another thread was first.
  return {result, false};
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
  return found == methods_.end() ? nullptr : found->second.get();
}

std::vector<const upstream::Method*> MethodTable::ByIndex() const {
  base::MutexLock lock(&mu_);
  return by_index_;
}

}  // namespace mesh::service
