#ifndef MESH_SERVICE_LIVE_STREAMS_H_
#define MESH_SERVICE_LIVE_STREAMS_H_

#include <cstdint>
#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"
#include "mesh/base/scheduler.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/service/live_stream.h"

namespace mesh::service {

// Ends streams from outside: those on an endpoint that has been gone for too
// long, and those that are idle for too long. Thread-safe.
//
// A stream may be destroyed on any thread while the control thread wants to ask
// it something. No lock is held while it is asked. Instead the object notes
// whom it asks, and Remove() of that stream waits until the answer is there. So
// after Remove() a stream is not asked and may be destroyed. Its answer is a
// reference of its own, which outlives it. Only the control thread asks, one
// stream at a time. So it does not wait for itself, as long as no answer calls
// Remove().
class LiveStreams {
 public:
  // Ends `call` with `status`, and drops a reference to it.
  using End = void (*)(grpc_call* call, grpc_status_code status,
                       const char* why);
  // With gRPC's grpc_call_cancel_with_status().
  static void EndCall(grpc_call* call, grpc_status_code status,
                      const char* why);

  // Closures on `control` run on the control thread, and only while this lives.
  // `clock` outlives this.
  LiveStreams(std::shared_ptr<base::Scheduler> control,
              const base::Clock* clock, End end = EndCall);
  LiveStreams(const LiveStreams&) = delete;
  LiveStreams& operator=(const LiveStreams&) = delete;

  // Once, before WatchIdle() and Remove().
  void Add(LiveStream* stream);
  // Asks `stream` at `at` whether it is idle, and then whenever the stream
  // says. Ends it when it is idle. Call this once per stream.
  void WatchIdle(LiveStream* stream, absl::Time at);
  // Returns when `stream` will not be asked any more. Does nothing if it has
  // been removed before.
  void Remove(LiveStream* stream);

  // Why the streams on an endpoint are ended.
  enum class Cause : uint8_t {
    kRemoved,    // It was removed, and has had its time to drain.
    kWithdrawn,  // What its connection was secured with is no longer valid.
  };
  // Ends the streams that run on `endpoint`. Control thread only.
  void CutOff(const cluster::LiveEndpoint* endpoint,
              Cause cause = Cause::kRemoved);

 private:
  struct Entry {
    // Identifies the stream, which may have the address of an earlier one, and
    // its timer, which may run before it is noted.
    uint64_t id = 0;
    base::Scheduler::TimerId timer = 0;  // The timer of its idle watch, or 0.
  };

  bool BeginAsking(LiveStream* stream, uint64_t id);
  void EndAsking();
  bool Renew(LiveStream* stream, uint64_t* id);
  void SetTimer(LiveStream* stream, uint64_t id, absl::Time at);
  void AskWhetherIdle(LiveStream* stream, uint64_t id);

  // Constant.
  const std::shared_ptr<base::Scheduler> control_;
  const base::Clock* const clock_;
  const End end_;

  base::Mutex mu_;
  base::CondVar answered_;
  std::map<LiveStream*, Entry> streams_ ABSL_GUARDED_BY(mu_);
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  const LiveStream* asking_ ABSL_GUARDED_BY(mu_) = nullptr;
  int waiting_ ABSL_GUARDED_BY(mu_) = 0;  // How many wait for answered_.
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_LIVE_STREAMS_H_
