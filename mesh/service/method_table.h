#ifndef MESH_SERVICE_METHOD_TABLE_H_
#define MESH_SERVICE_METHOD_TABLE_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"
#include "grpc/grpc.h"
#include "mesh/base/mutex.h"
#include "mesh/telemetry/metrics.h"
#include "mesh/upstream/method_policies.h"

namespace mesh::service {

// A method as a stub registers it.
struct Method : upstream::Method {
  grpc_slice path;  // The name. No reference of its own: it never goes.
  // Null: no call of it has been made yet.
  std::atomic<telemetry::MethodMetrics*> metrics{nullptr};
};

// The method's `idempotency_level`, where this process has its descriptor.
std::optional<bool> IdempotencyLevel(absl::string_view method);

// The methods of one service that stubs have registered. Thread-safe.
class MethodTable {
 public:
  // `metrics` outlives the table.
  explicit MethodTable(telemetry::ServiceMetrics* metrics)
      : metrics_(metrics) {}
  MethodTable(const MethodTable&) = delete;
  MethodTable& operator=(const MethodTable&) = delete;

  // The method of that name, which lives as long as the table. True: it is new,
  // and has the next index.
  std::pair<Method*, bool> Register(absl::string_view name);
  // Null when no stub has registered it.
  Method* Find(absl::string_view name);

  // Where the calls of `method` are counted. Never null; made with the first.
  telemetry::MethodMetrics* MetricsOf(Method* method) {
    auto* const made = method->metrics.load(std::memory_order_acquire);
    return ABSL_PREDICT_TRUE(made != nullptr) ? made : MakeMetrics(method);
  }

  // All methods so far, by their index.
  std::vector<const upstream::Method*> ByIndex() const;

 private:
  // A method is known by its name.
  struct ByName {
    using is_transparent = void;
    static absl::string_view Of(absl::string_view name) { return name; }
    static absl::string_view Of(const std::unique_ptr<Method>& method) {
      return method->name;
    }
    template <typename T>
    size_t operator()(const T& one) const {
      return absl::Hash<absl::string_view>()(Of(one));
    }
    template <typename T, typename U>
    bool operator()(const T& one, const U& other) const {
      return Of(one) == Of(other);
    }
  };

  telemetry::MethodMetrics* MakeMetrics(Method* method);

  telemetry::ServiceMetrics* const metrics_;

  mutable base::Mutex mu_;
  absl::flat_hash_set<std::unique_ptr<Method>, ByName, ByName> methods_
      ABSL_GUARDED_BY(mu_);
  std::vector<const upstream::Method*> by_index_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_METHOD_TABLE_H_
