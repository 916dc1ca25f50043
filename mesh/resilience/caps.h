#ifndef MESH_RESILIENCE_CAPS_H_
#define MESH_RESILIENCE_CAPS_H_

#include <atomic>
#include <cstdint>
#include <limits>

#include "mesh/base/guard.h"
#include "mesh/options/admission.h"
#include "mesh/options/mode.h"
#include "mesh/resilience/guard.h"

namespace mesh::resilience {

// How many of something are under way, and a bound on it. Thread-safe. One that
// is being refused counts for that moment. So at the bound one too many may be
// refused, never one too few.
class Cap {
 public:
  // Counts one more. False, and nothing is counted, when that is more than
  // `most`.
  bool TryTake(int64_t most) {
    if (Take() <= most) return true;
    Give();
    return false;
  }
  // Counts one more, whatever the bound. Returns how many there are then.
  int64_t Take() { return count_.fetch_add(1, std::memory_order_relaxed) + 1; }
  void Give() { count_.fetch_sub(1, std::memory_order_relaxed); }

  int64_t count() const { return count_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> count_{0};
};

// The guard that bounds how many calls of a service are under way and how many
// wait for an endpoint. The cheapest of the guards, and the most final.
class alignas(64) CapsGuard {
 public:
  static constexpr int64_t kNoBound = std::numeric_limits<int64_t>::max();

  void SetOptions(const options::CapsOptions& options);

  // Counts one more call, as far as `most`. Nothing else is asked.
  bool TryTake(int64_t most) { return calls_.TryTake(most); }
  // A call has ended, or the answer of a stream has begun.
  void Give() { calls_.Give(); }
  // A stream has ended.
  void EndStream() { streams_.Give(); }
  // How many calls may be under way.
  int64_t bound() const;

  bool Admit(Asking* asking);
  void Undo(const Asking& asking);

  // A call is to wait for an endpoint. False: too many do. EndWait() is owed
  // for each true.
  bool TryWait(RefusalListener* listener);
  void EndWait() { waiting_.Give(); }
  // A retry or hedge begins. It is only counted: the retry budget bounds them.
  void BeginRetry() { retries_.Take(); }
  void EndRetry() { retries_.Give(); }

  void Describe(AdmissionState* state) const;

 private:
  bool AdmitStream(Asking* asking, options::Mode mode);

  // One cache line. Every call writes the first of it. Whoever needs the rest
  // has that line by then.
  Cap calls_;
  Cap streams_;
  Cap waiting_;
  Cap retries_;
  std::atomic<options::Mode> mode_{options::Mode::kOff};
  std::atomic<int64_t> max_calls_{0};
  std::atomic<int64_t> max_waiting_{0};
  std::atomic<int64_t> max_streams_{0};
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_CAPS_H_
