#ifndef MESH_RESILIENCE_CONCURRENCY_LIMIT_H_
#define MESH_RESILIENCE_CONCURRENCY_LIMIT_H_

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "mesh/base/mutex.h"
#include "mesh/base/random.h"
#include "mesh/options/admission.h"
#include "mesh/options/mode.h"
#include "mesh/resilience/caps.h"
#include "mesh/resilience/guard.h"

namespace mesh::resilience {

// Finds how many calls a service can have under way, from their latency alone.
//
// By Little's law, calls under way = throughput * latency. A saturated service
// has a fixed throughput, so each additional call only waits longer. The limit
// that keeps latency at a target is throughput * target. The target is
// `latency_factor` times the latency without queue. With a factor of 2 as many
// calls wait as are worked on. That keeps the service busy, and no more.
//
// The latency without queue is the mean of a window in which latency was low.
// Under lasting overload there is no such window. So now and then the limit is
// lowered to where nothing should wait, and further while latency falls with
// it. That happens every ten seconds or so, for about a twentieth of a second
// and some ten calls. The service has nearly enough work meanwhile. (BBR does
// so in PROBE_RTT; Envoy's gradient controller goes down to 3 calls.)
//
// Such a measurement may lower the latency without queue at once. It raises it
// only where latency stays high however low the limit is, since the queue may
// be that of other clients. No client among many can tell that queue from a
// service that became slower. So under lasting overload by many clients, limits
// rise in the end.
//
// The limit goes towards throughput * target by a share that grows with the
// number of calls in a window, so that noise does not shake it.
//
// A limit that is not used says nothing. While fewer than half of it are under
// way and nobody met it, it stays.
//
// It knows one latency for all methods. Where methods differ much and their mix
// changes, it takes a slower mix for a queue until it has measured anew.
//
// A function of what it is told. Times are nanoseconds of a monotonic clock.
// Not thread-safe.
class ConcurrencyLimit {
 public:
  // Since the beginning; only grows.
  struct Totals {
    int64_t calls = 0;       // Answered, or given up for their deadline.
    int64_t latency_ns = 0;  // The sum over all of them.
  };

  // The limit begins with this, or with `min_limit` where that is more. Few
  // services need more at once before something is known of them.
  static constexpr double kInitialLimit = 100;
  static int FirstLimit(const options::AdaptiveConcurrencyOptions& options);
  // It is never more: what grows beyond is bounded by `caps`.
  static constexpr double kMaxLimit = 10'000;

  // What is in `totals` was before its time.
  ConcurrencyLimit(const options::AdaptiveConcurrencyOptions& options,
                   const Totals& totals, int64_t now);
  // What was found is kept, within the new bounds.
  void SetOptions(const options::AdaptiveConcurrencyOptions& options);

  // Takes in what was seen until now. `met`: a call met the limit since the
  // last time. Call it some 20 times per second while there are calls; more
  // often changes nothing.
  void Update(const Totals& totals, bool met, int64_t now);

  // While it measures the latency without queue, calls that are admitted are
  // samples. These say whether one is, how long it took to be answered, or that
  // it was not answered.
  bool measuring() const { return measuring_; }
  bool TakeSample();
  void OnSample(int64_t latency_ns);
  void LoseSample();
  // It has all samples: Update() will go on.
  bool has_samples() const { return measuring_ && samples_ >= wanted_; }

  // Most calls under way right now. At least 1.
  int limit() const;
  // The limit that was found, measuring or not.
  double found() const { return limit_; }
  // The latency without queue. 0: not known yet.
  double base_ns() const { return base_; }

 private:
  struct Window {
    double calls = 0;
    double latency = 0;  // Mean, ns.
    double per_ns = 0;   // Throughput.
    bool used = false;   // The limit mattered.
  };

  void StartWindow(const Totals& totals, int64_t now);
  void EndWindow(const Window& window, int64_t now);
  void LearnBase(double latency, int64_t now);
  void Adapt(const Window& window);
  // Whether latency is far above the target, and lowering the limit does not
  // help: then other clients' calls queue.
  bool LatencyStays(const Window& window);
  void StartMeasuring(const Window& window, int64_t now);
  void StartLevel(double level, int64_t now);
  void EndLevel(int64_t now);
  // How much of a new value of the latency without queue to believe (a Kalman
  // gain). `variance` is relative.
  double Believe(double variance, int64_t now);
  double Target() const { return options_.latency_factor * base_; }
  void Clamp();

  options::AdaptiveConcurrencyOptions options_;
  base::Random random_;  // Spreads the measurements of many clients.

  double limit_;

  // The window.
  int64_t begin_;
  int64_t window_start_;
  Totals window_totals_;
  bool met_ = false;
  double latency_ = 0;  // Mean of the last window.

  // The latency without queue.
  double base_ = 0;
  double doubt_ = 1;  // Its relative variance.
  int64_t believed_at_ = 0;
  double base_calls_ = 0;  // Since it was last learned.
  double base_latency_ = 0;
  // The greatest limit since the latency was measured or halved, and the
  // latency at that limit.
  double high_limit_ = 0;
  double high_latency_ = 0;
  double smooth_latency_ = 0;
  bool suspect_base_ = false;

  // Measuring it.
  bool measured_ = false;  // Ever.
  bool measuring_ = false;
  int64_t measure_at_;       // Not before.
  int64_t measured_at_ = 0;  // When it last began.
  double base_before_ = 0;
  double level_ = 0;          // The limit meanwhile.
  double level_latency_ = 0;  // The latency at the limit before this one.
  int64_t level_until_ = 0;
  double spread_ = 0;  // Relative variance of samples.
  int wanted_ = 0;     // Samples.
  int taken_ = 0;
  int samples_ = 0;  // Answered.
  double sample_sum_ = 0;
  double sample_squares_ = 0;
};

// The guard that keeps the calls under way within the limit that was found. It
// counts no streams, and lets the breaker's probes pass. Thread-safe. It takes
// its lock only while it measures.
class ConcurrencyGuard {
 public:
  static constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

  ConcurrencyGuard(const options::AdaptiveConcurrencyOptions& options,
                   int64_t now);
  // A limit that was off begins anew, after `totals`, which are of `now`.
  void SetOptions(const options::AdaptiveConcurrencyOptions& options,
                  const CallTotals& totals, int64_t now);

  bool on() const {
    return mode_.load(std::memory_order_relaxed) != options::Mode::kOff;
  }
  // Calls need not ask it while no more than limit() are under way.
  bool quiet() const { return !measuring_.load(std::memory_order_relaxed); }
  int64_t limit() const { return limit_.load(std::memory_order_relaxed); }
  // The latency without queue, in nanoseconds, as far as it is known.
  double base_ns() const { return base_.load(std::memory_order_relaxed); }
  // What was seen until now.
  void Update(const CallTotals& totals, int64_t now);

  bool Admit(Asking* asking);
  void Undo(const Asking& asking);

  // A stream that was admitted has ended, or its answer has begun.
  void EndStream() { streams_.Give(); }
  // A sample has ended: after that time, or in a way that says nothing.
  // EndSample() returns true when these were enough, and Update() is to come
  // soon.
  bool EndSample(int64_t latency_ns);
  void LoseSample();

  // `state->calls` is known.
  void Describe(AdmissionState* state) const;

 private:
  void Publish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Written with the lock held.
  std::atomic<options::Mode> mode_;
  std::atomic<bool> measuring_{false};
  std::atomic<int64_t> limit_{0};
  std::atomic<double> base_{0};

  Cap streams_;
  std::atomic<bool> met_limit_{false};

  mutable base::Mutex mu_;
  options::AdaptiveConcurrencyOptions options_ ABSL_GUARDED_BY(mu_);
  int64_t began_ ABSL_GUARDED_BY(mu_);
  // Null: it is off, or has seen nothing yet.
  std::unique_ptr<ConcurrencyLimit> concurrency_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_CONCURRENCY_LIMIT_H_
