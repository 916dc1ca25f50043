#include "benchmarks/overload/gradient2.h"

#include <algorithm>

namespace mesh::benchmarks {
namespace {

constexpr double kMinLimit = 20;
constexpr double kMaxLimit = 200;
constexpr double kQueue = 4;
constexpr double kSmoothing = 0.2;
constexpr double kTolerance = 1.5;
constexpr int kLongWindow = 600;
constexpr int kWarmUp = 10;
constexpr int kLeastCalls = 10;
constexpr absl::Duration kWindow = absl::Seconds(1);

}  // namespace

bool Gradient2::TryBegin() {
  base::MutexLock lock(&mu_);
  if (in_flight_ >= static_cast<int>(limit_)) return false;
  ++in_flight_;
  return true;
}

void Gradient2::End(bool answered, absl::Duration latency, absl::Time now) {
  base::MutexLock lock(&mu_);
  const int in_flight = in_flight_--;
  if (answered) {
    sum_ += absl::ToDoubleSeconds(latency);
    ++count_;
    most_in_flight_ = std::max(most_in_flight_, in_flight);
  }
  if (now < window_end_) return;
  window_end_ = now + kWindow;
  if (count_ >= kLeastCalls) Update(sum_ / count_, most_in_flight_);
  sum_ = 0;
  count_ = 0;
  most_in_flight_ = 0;
}

void Gradient2::Update(double rtt, int in_flight) {
  if (long_count_ < kWarmUp) {
    ++long_count_;
    long_sum_ += rtt;
    long_rtt_ = long_sum_ / long_count_;
  } else {
    constexpr double kFactor = 2.0 / (kLongWindow + 1);
    long_rtt_ = long_rtt_ * (1 - kFactor) + rtt * kFactor;
  }
  const double long_rtt = long_rtt_;
  // It recovers sooner from a long time of load.
  if (long_rtt / rtt > 2) long_rtt_ *= 0.95;
  if (in_flight < limit_ / 2) return;
  const double gradient = std::clamp(kTolerance * long_rtt / rtt, 0.5, 1.0);
  const double wanted = limit_ * gradient + kQueue;
  limit_ = std::clamp(limit_ * (1 - kSmoothing) + wanted * kSmoothing,
                      kMinLimit, kMaxLimit);
}

int Gradient2::limit() {
  base::MutexLock lock(&mu_);
  return static_cast<int>(limit_);
}

}  // namespace mesh::benchmarks
