#ifndef MESH_BASE_SNAPSHOT_SLOT_H_
#define MESH_BASE_SNAPSHOT_SLOT_H_

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "mesh/base/mutex.h"

namespace mesh::base {

// Holds the current one of a series of immutable snapshots. Reading costs a few
// loads of what nobody writes between two changes: no lock, no reference count.
// Each thread keeps a reference of its own to what it read last and takes a new
// one only after a change.
//
// So an idle thread keeps alive what it read last, until it reads this slot
// again, or ends, or the slot is destroyed. A snapshot must not be the only
// one who knows when something is to be closed.
//
// Thread-safe, except that nobody may use a slot while it is destroyed. What
// the main thread holds when the process exits is not destroyed.
template <typename T>
class SnapshotSlot {
 public:
  explicit SnapshotSlot(std::shared_ptr<const T> value = nullptr);
  ~SnapshotSlot();
  SnapshotSlot(const SnapshotSlot&) = delete;
  SnapshotSlot& operator=(const SnapshotSlot&) = delete;

  // The current snapshot. The reference is good until this thread calls Get()
  // of this slot again, or the slot is destroyed.
  const std::shared_ptr<const T>& Get() const {
    const ThreadCache* const cache = this_thread_;
    if (ABSL_PREDICT_TRUE(index_ < cache->size)) {
      const Entry* const entry = cache->entries[index_];
      // Relaxed: what the version leads to is read under the lock. Whoever
      // knows of a Set() sees its version.
      if (ABSL_PREDICT_TRUE(entry->version ==
                            version_.load(std::memory_order_relaxed))) {
        return entry->value;
      }
    }
    return Refresh();
  }

  // Replaces the snapshot. The old one is let go outside of any lock.
  void Set(std::shared_ptr<const T> value) {
    MutexLock lock(&mu_);
    value_.swap(value);
    version_.store(version_.load(std::memory_order_relaxed) + 1,
                   std::memory_order_relaxed);
  }  // `lock` is released before `value`, the old one.

 private:
  // What one thread has read of one slot. On the heap: references to `value`
  // stay good when the thread's table grows.
  struct Entry {
    uint64_t version = 0;  // 0: nothing.
    std::shared_ptr<const T> value;
  };

  // What one thread has read of all slots, by their index. Written under the
  // registry's lock, by the thread itself; the thread reads it without. The
  // entry of a slot that is destroyed, which no one reads then, is written by
  // who destroys it.
  struct ThreadCache {
    size_t size = 0;
    Entry** entries = nullptr;
  };

  // Of all threads and slots of one T.
  struct Registry {
    Mutex mu;
    std::vector<ThreadCache*> threads ABSL_GUARDED_BY(mu);
    std::vector<uint32_t> free_indices ABSL_GUARDED_BY(mu);
    uint32_t indices ABSL_GUARDED_BY(mu) = 0;  // All below have been given out.
    // Calls ForgetThread() when a thread ends. A key rather than a destructor:
    // it runs after all thread_local objects are destroyed, which may still
    // read slots.
    pthread_key_t at_thread_exit;
  };

  static Registry& registry() {
    static Registry* const instance = [] {
      auto* const made = new Registry;
      pthread_key_create(&made->at_thread_exit, &ForgetThread);
      return made;
    }();
    return *instance;
  }

  static void ForgetThread(void* cache);
  // This thread's entry for `index`.
  static Entry& MakeEntry(size_t index);
  const std::shared_ptr<const T>& Refresh() const;

  // Stand for what has not been read yet. Never written.
  inline static Entry no_entry_;
  inline static ThreadCache no_cache_;

  inline static thread_local ThreadCache* this_thread_ = &no_cache_;

  // Constant. Given to another slot when this one is destroyed.
  uint32_t index_;

  std::atomic<uint64_t> version_{1};

  mutable Mutex mu_;
  std::shared_ptr<const T> value_ ABSL_GUARDED_BY(mu_);
};

template <typename T>
SnapshotSlot<T>::SnapshotSlot(std::shared_ptr<const T> value)
    : value_(std::move(value)) {
  Registry& all = registry();
  MutexLock lock(&all.mu);
  if (all.free_indices.empty()) {
    index_ = all.indices++;
  } else {
    index_ = all.free_indices.back();
    all.free_indices.pop_back();
  }
}

template <typename T>
SnapshotSlot<T>::~SnapshotSlot() {
  std::vector<std::shared_ptr<const T>> held;  // Let go after the lock.
  Registry& all = registry();
  MutexLock lock(&all.mu);
  held.reserve(all.threads.size());
  for (ThreadCache* thread : all.threads) {
    if (index_ >= thread->size) continue;
    Entry* const entry = thread->entries[index_];
    if (entry->version == 0) continue;
    held.push_back(std::move(entry->value));
    entry->version = 0;
  }
  all.free_indices.push_back(index_);
}

template <typename T>
void SnapshotSlot<T>::ForgetThread(void* cache) {
  auto* const thread = static_cast<ThreadCache*>(cache);
  // What is destroyed below may read slots again; it begins anew.
  this_thread_ = &no_cache_;
  {
    Registry& all = registry();
    MutexLock lock(&all.mu);
    all.threads.erase(
        std::find(all.threads.begin(), all.threads.end(), thread));
  }
  for (size_t i = 0; i < thread->size; ++i) {
    if (thread->entries[i] != &no_entry_) delete thread->entries[i];
  }
  delete[] thread->entries;
  delete thread;
}

template <typename T>
typename SnapshotSlot<T>::Entry& SnapshotSlot<T>::MakeEntry(size_t index) {
  Registry& all = registry();
  ThreadCache* thread = this_thread_;
  if (thread == &no_cache_) {
    thread = new ThreadCache;
    pthread_setspecific(all.at_thread_exit, thread);
    this_thread_ = thread;
    MutexLock lock(&all.mu);
    all.threads.push_back(thread);
  }
  MutexLock lock(&all.mu);
  if (index >= thread->size) {
    const size_t size = std::max(2 * thread->size, index + 1);
    auto* const entries = new Entry*[size];
    std::copy_n(thread->entries, thread->size, entries);
    std::fill(entries + thread->size, entries + size, &no_entry_);
    delete[] thread->entries;
    thread->entries = entries;
    thread->size = size;
  }
  if (thread->entries[index] == &no_entry_) thread->entries[index] = new Entry;
  return *thread->entries[index];
}

template <typename T>
ABSL_ATTRIBUTE_NOINLINE const std::shared_ptr<const T>&
SnapshotSlot<T>::Refresh() const {
  Entry& entry = MakeEntry(index_);
  std::shared_ptr<const T> old;  // Let go after the lock.
  MutexLock lock(&mu_);
  old = std::exchange(entry.value, value_);
  entry.version = version_.load(std::memory_order_relaxed);
  return entry.value;
}

}  // namespace mesh::base

#endif  // MESH_BASE_SNAPSHOT_SLOT_H_
