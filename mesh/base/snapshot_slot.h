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
// Each thread keeps a reference of its own to what it read last, and takes a
// new one only after a change.
//
// So an idle thread keeps alive what it read last. It lets go when it reads
// this slot again, or ends, or the slot is destroyed. Therefore closing
// something must not depend on a snapshot alone.
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
    const Entry* const entry = ABSL_PREDICT_TRUE(index_ < kNear)
                                   ? &cache->near[index_]
                                   : cache->Far(index_);
    // Relaxed is enough: what the version leads to is read under the lock.
    // Whoever knows of a Set() sees its version.
    if (ABSL_PREDICT_TRUE(entry->version ==
                          version_.load(std::memory_order_relaxed))) {
      return entry->value;
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
  // What one thread has read of one slot.
  struct Entry {
    uint64_t version = 0;  // 0: nothing.
    std::shared_ptr<const T> value;
  };

  // How many slots are found without a table: the first ones that a process
  // makes.
  static constexpr size_t kNear = 32;

  // What one thread has read of all slots, by their index. No entry ever moves.
  // Entries are added under the registry's lock. An entry's content is written
  // by the thread, or by who destroys the slot, when no one reads it.
  struct ThreadCache {
    Entry near[kNear];
    size_t far_size = 0;
    Entry** far = nullptr;  // From index kNear on.

    Entry* Far(size_t index) const {
      index -= kNear;
      return index < far_size ? far[index] : &no_entry_;
    }
    Entry* Find(size_t index) {
      return index < kNear ? &near[index] : Far(index);
    }
  };

  // One registry for all threads and slots of one T.
  struct Registry {
    Mutex mu;
    std::vector<ThreadCache*> threads ABSL_GUARDED_BY(mu);
    std::vector<uint32_t> free_indices ABSL_GUARDED_BY(mu);
    uint32_t indices ABSL_GUARDED_BY(mu) = 0;  // All below have been given out.
    // Calls ForgetThread() when a thread ends. It is a key rather than a
    // destructor, so that it runs after all thread_local objects are destroyed.
    // Those may still read slots.
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

  // They stand for what has not been read yet. Never written.
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
    Entry* const entry = thread->Find(index_);
    if (entry->version == 0) continue;
    held.push_back(std::move(entry->value));
    entry->version = 0;
  }
  all.free_indices.push_back(index_);
}

template <typename T>
void SnapshotSlot<T>::ForgetThread(void* cache) {
  auto* const thread = static_cast<ThreadCache*>(cache);
  // What is destroyed below may read slots again; such a read begins anew.
  this_thread_ = &no_cache_;
  {
    Registry& all = registry();
    MutexLock lock(&all.mu);
    all.threads.erase(
        std::find(all.threads.begin(), all.threads.end(), thread));
  }
  for (size_t i = 0; i < thread->far_size; ++i) {
    if (thread->far[i] != &no_entry_) delete thread->far[i];
  }
  delete[] thread->far;
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
  if (index < kNear) return thread->near[index];

  index -= kNear;
  MutexLock lock(&all.mu);
  if (index >= thread->far_size) {
    const size_t size = std::max(2 * thread->far_size, index + 1);
    auto* const far = new Entry*[size];
    std::copy_n(thread->far, thread->far_size, far);
    std::fill(far + thread->far_size, far + size, &no_entry_);
    delete[] thread->far;
    thread->far = far;
    thread->far_size = size;
  }
  if (thread->far[index] == &no_entry_) thread->far[index] = new Entry;
  return *thread->far[index];
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
