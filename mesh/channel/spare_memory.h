#ifndef MESH_CHANNEL_SPARE_MEMORY_H_
#define MESH_CHANNEL_SPARE_MEMORY_H_

#include <cstddef>
#include <new>

namespace mesh::channel {

// The memory of `T`s that have ended on a thread, which that thread keeps for
// its next ones. `T` is a final class: all of them have one size. For its
// operator new and delete.
template <typename T>
class SpareMemory {
 public:
  // Off under sanitizers, which are to see objects come and go.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    defined(MESH_TSAN)
  static constexpr size_t kMost = 0;
#else
  static constexpr size_t kMost = 16;
#endif

  static void* New(size_t size) {
    SpareMemory* const spare = OfThread();
    void* const block = spare != nullptr && spare->count_ > 0
                            ? spare->blocks_[--spare->count_]
                            : nullptr;
    return block != nullptr ? block : ::operator new(size);
  }

  static void Delete(void* block) {
    SpareMemory* const spare = OfThread();
    if (spare == nullptr || spare->count_ >= kMost) {
      return ::operator delete(block);
    }
    spare->blocks_[spare->count_++] = block;
  }

  // How many blocks this thread keeps.
  static size_t Count() {
    SpareMemory* const spare = OfThread();
    return spare != nullptr ? spare->count_ : 0;
  }

  ~SpareMemory() {
    while (count_ > 0) ::operator delete(blocks_[--count_]);
    gone_ = true;
  }

 private:
  // Null while the thread ends: calls may outlive its other variables.
  static SpareMemory* OfThread() {
    if (gone_) return nullptr;
    static thread_local SpareMemory spare;
    return &spare;
  }

  static inline thread_local bool gone_ = false;

  void* blocks_[kMost + 1];
  size_t count_ = 0;
};

}  // namespace mesh::channel

#endif  // MESH_CHANNEL_SPARE_MEMORY_H_
