#ifndef MESH_RESILIENCE_ROLLING_WINDOW_H_
#define MESH_RESILIENCE_ROLLING_WINDOW_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace mesh::resilience {

// Sums over about the last `window` nanoseconds, in ten buckets. It forgets a
// tenth at a time. Not thread-safe.
template <size_t kValues>
class RollingWindow {
 public:
  using Values = std::array<int64_t, kValues>;

  explicit RollingWindow(int64_t window)
      : width_(std::max<int64_t>(1, window / kBuckets)) {}

  void Add(const Values& values, int64_t now) {
    Advance(now);
    for (size_t i = 0; i < kValues; ++i) {
      buckets_[current_][i] += values[i];
      sum_[i] += values[i];
    }
  }

  // The state at the last Add().
  const Values& sum() const { return sum_; }

  void Clear() {
    buckets_ = {};
    sum_ = {};
  }

 private:
  static constexpr int kBuckets = 10;

  void Advance(int64_t now) {
    if (now - start_ >= kBuckets * width_) {
      Clear();
      start_ = now;
      return;
    }
    while (now - start_ >= width_) {
      start_ += width_;
      current_ = (current_ + 1) % kBuckets;
      for (size_t i = 0; i < kValues; ++i) {
        sum_[i] -= buckets_[current_][i];
        buckets_[current_][i] = 0;
      }
    }
  }

  int64_t width_;
  int64_t start_ = 0;  // When the current bucket began.
  size_t current_ = 0;
  std::array<Values, kBuckets> buckets_ = {};
  Values sum_ = {};
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_ROLLING_WINDOW_H_
