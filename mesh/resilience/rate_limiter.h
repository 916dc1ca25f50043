#ifndef MESH_RESILIENCE_RATE_LIMITER_H_
#define MESH_RESILIENCE_RATE_LIMITER_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "mesh/base/mutex.h"
#include "mesh/base/on_demand.h"
#include "mesh/options/admission.h"
#include "mesh/options/mode.h"
#include "mesh/resilience/guard.h"

namespace mesh::resilience {

// Tokens that come in at a steady rate and are taken one by one. It begins
// full. Times are nanoseconds of a monotonic clock. They may go back a little,
// since threads read the clock before they come here. Not thread-safe.
class TokenBucket {
 public:
  // Takes one token. False when there is none. The rate and the size may differ
  // each time.
  bool TryTake(const options::RateLimitOptions& limit, int64_t now);
  // Gives the token back: it was not needed after all.
  void Give() { tokens_ += 1; }

 private:
  bool begun_ = false;
  double tokens_ = 0;
  int64_t last_ = 0;
};

// The guard that has the buckets of one service and of its methods. It comes
// last, since tokens are only for calls that are made. Thread-safe. It takes
// its lock for each call that has a limit.
class RateLimiter {
 public:
  explicit RateLimiter(const options::RateLimitOptions& service) {
    SetOptions(service);
  }
  // Tokens are kept, up to the new burst.
  void SetOptions(const options::RateLimitOptions& service);

  // Calls need not ask it, except for the limit of their method.
  bool quiet() const { return !limited_.load(std::memory_order_relaxed); }

  bool Admit(Asking* asking) {
    return (quiet() && asking->method_limit->mode == options::Mode::kOff) ||
           Ask(asking);
  }
  // Nobody is asked after it.
  void Undo(const Asking&) {}

  enum class Decision : uint8_t { kAdmit, kServiceLimit, kMethodLimit };
  // Takes the tokens of one call. A bucket whose mode is not kEnforce refuses
  // nothing: `*observed` says that it would have. The method's bucket is the
  // one that its limit names, if it names one. All buckets beyond kMaxMethods
  // are one.
  Decision TryTake(absl::string_view method,
                   const options::RateLimitOptions& method_limit, int64_t now,
                   bool* observed);

  static constexpr size_t kMaxMethods = 1000;

  // For a person: "the rate limit of the service is reached: ...".
  std::string Why(Decision verdict, absl::string_view method,
                  const options::RateLimitOptions& method_limit);

 private:
  struct Buckets {
    TokenBucket* Of(absl::string_view method) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

    base::Mutex mu;
    options::RateLimitOptions service_limit ABSL_GUARDED_BY(mu);
    TokenBucket service ABSL_GUARDED_BY(mu);
    absl::flat_hash_map<std::string, TokenBucket> methods ABSL_GUARDED_BY(mu);
    TokenBucket other_methods ABSL_GUARDED_BY(mu);
  };

  bool Ask(Asking* asking);

  // Written with the lock of the buckets held.
  std::atomic<bool> limited_{false};
  // Most services have no limit, and never need them.
  base::OnDemand<Buckets> buckets_;
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_RATE_LIMITER_H_
