#include "mesh/incoming/incoming_call.h"

#include <array>
#include <cstddef>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "mesh/base/mutex.h"

namespace mesh::incoming {
namespace {

// There are many shards, so that calls hardly ever wait for each other.
struct alignas(64) Shard {
  base::Mutex mu;
  absl::flat_hash_map<grpc_call*, ServedCall*> calls ABSL_GUARDED_BY(mu);
};

constexpr size_t kShards = 64;
using Shards = std::array<Shard, kShards>;

Shards& AllShards() {
  // Lives as long as the process: calls may end after static destructors.
  static auto* const shards = new Shards;
  return *shards;
}

Shard& ShardOf(grpc_call* call) {
  return AllShards()[absl::Hash<grpc_call*>()(call) % kShards];
}

}  // namespace

std::optional<IncomingCall> FindIncoming(grpc_call* call) {
  if (call == nullptr) return std::nullopt;
  Shard& shard = ShardOf(call);
  base::MutexLock lock(&shard.mu);
  const auto it = shard.calls.find(call);
  if (it == shard.calls.end()) return std::nullopt;
  return it->second->values;
}

std::shared_ptr<const security::Peer> PeerOfIncoming(grpc_call* call) {
  if (call == nullptr) return nullptr;
  Shard& shard = ShardOf(call);
  base::MutexLock lock(&shard.mu);
  const auto it = shard.calls.find(call);
  return it == shard.calls.end() ? nullptr : it->second->peer;
}

void MarkRetriedInVain(grpc_call* call) {
  if (call == nullptr) return;
  Shard& shard = ShardOf(call);
  base::MutexLock lock(&shard.mu);
  const auto it = shard.calls.find(call);
  if (it == shard.calls.end()) return;
  it->second->retried_in_vain.store(true, std::memory_order_relaxed);
}

bool AddIncoming(grpc_call* call, ServedCall* served) {
  Shard& shard = ShardOf(call);
  base::MutexLock lock(&shard.mu);
  return shard.calls.emplace(call, served).second;
}

void RemoveIncoming(grpc_call* call) {
  Shard& shard = ShardOf(call);
  base::MutexLock lock(&shard.mu);
  shard.calls.erase(call);
}

size_t CountIncoming() {
  size_t count = 0;
  for (Shard& shard : AllShards()) {
    base::MutexLock lock(&shard.mu);
    count += shard.calls.size();
  }
  return count;
}

}  // namespace mesh::incoming
