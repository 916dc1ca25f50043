#ifndef MESH_CLUSTER_LIVE_ENDPOINT_H_
#define MESH_CLUSTER_LIVE_ENDPOINT_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "mesh/base/on_demand.h"
#include "mesh/cluster/endpoint.h"
#include "mesh/cluster/endpoint_view.h"
#include "mesh/cluster/health.h"
#include "mesh/cluster/observations.h"
#include "mesh/cluster/readiness.h"

namespace mesh::cluster {

// What this process has seen of one endpoint since it was discovered.
// Thread-safe. A reader does not see all fields at one moment.
struct EndpointCounters {
  // Attempts that have ended, by status code (0 to 16).
  std::array<std::atomic<uint64_t>, 17> ended = {};
  // Ended attempts that never reached a server.
  std::atomic<uint64_t> never_sent{0};

  // An attempt has ended. What is no status code of gRPC counts as UNKNOWN.
  void CountEnd(absl::StatusCode code, bool was_never_sent) {
    auto index = static_cast<size_t>(code);
    if (index >= ended.size()) {
      index = static_cast<size_t>(absl::StatusCode::kUnknown);
    }
    ended[index].fetch_add(1, std::memory_order_relaxed);
    if (was_never_sent) never_sent.fetch_add(1, std::memory_order_relaxed);
  }

  // All attempts that have ended.
  uint64_t Attempts() const {
    uint64_t attempts = 0;
    for (const std::atomic<uint64_t>& of_code : ended) {
      attempts += of_code.load(std::memory_order_relaxed);
    }
    return attempts;
  }

  // Attempts that a server answered, with whatever code.
  uint64_t Answered() const {
    uint64_t answered = 0;
    for (size_t code = 0; code < ended.size(); ++code) {
      switch (static_cast<absl::StatusCode>(code)) {
        case absl::StatusCode::kCancelled:
        case absl::StatusCode::kDeadlineExceeded:
        case absl::StatusCode::kUnavailable:
          break;  // A proxy or gRPC itself may have said so.
        default:
          answered += ended[code].load(std::memory_order_relaxed);
      }
    }
    return answered;
  }

  // Adds what `before` counted for the same endpoint.
  void Add(const EndpointCounters& before) {
    const auto add = [](std::atomic<uint64_t>* to,
                        const std::atomic<uint64_t>& from) {
      to->fetch_add(from.load(std::memory_order_relaxed),
                    std::memory_order_relaxed);
    };
    add(&never_sent, before.never_sent);
    for (size_t i = 0; i < ended.size(); ++i) add(&ended[i], before.ended[i]);
  }
};

// What a health monitor remembers of an endpoint. Only the monitor knows its
// contents.
class HealthMemory {
 public:
  virtual ~HealthMemory() = default;
};

// An endpoint and the state that this process has of it. It survives updates
// that keep the endpoint. A shell derives from it to add its connections.
//
// An endpoint may have several connections, one after the other or at once. The
// attempts in flight, counters, failures, latencies and ejections belong to the
// endpoint, whichever connection they came over. Readiness is that of the
// connection which new attempts use. Silence is a matter of one connection
// (SilenceEvidence). While there is one connection at a time, the endpoint
// keeps that evidence too, and a new connection begins it anew.
//
// Lifetime: pickers hold shared references. A call in flight holds none: its
// count in `in_flight` pins the endpoint. Whoever removes an endpoint calls
// Close(), and drops its own reference only when in_flight() is 0 after that.
//
// It is small until it is used: the first attempt makes the counters.
//
// Thread-safe. It has cache lines of its own, since all threads write the
// counts.
class alignas(64) LiveEndpoint {
 public:
  explicit LiveEndpoint(Endpoint endpoint)
      : priority_(endpoint.priority), endpoint_(std::move(endpoint)) {}
  virtual ~LiveEndpoint() = default;
  LiveEndpoint(const LiveEndpoint&) = delete;
  LiveEndpoint& operator=(const LiveEndpoint&) = delete;

  // The description that this state was made for. A later description of the
  // same address may have another weight and metadata: those are in the
  // picker's set.
  const Endpoint& endpoint() const { return endpoint_; }
  // Its priority in the latest description.
  uint32_t priority() const {
    return priority_.load(std::memory_order_relaxed);
  }
  // Control thread only.
  void set_priority(uint32_t priority) {
    priority_.store(priority, std::memory_order_relaxed);
  }

  // Counts one more attempt in flight and pins the endpoint until Release().
  // Returns false, and counts nothing, when the endpoint is closed: pick again.
  bool Acquire() {
    // First count, then look; Close() and Drained() go the other way round. In
    // one total order one of the two sides sees the other.
    in_flight_.fetch_add(1, std::memory_order_seq_cst);
    if (!closed_.load(std::memory_order_seq_cst)) return true;
    in_flight_.fetch_sub(1, std::memory_order_seq_cst);
    return false;
  }

  // Ends what Acquire() began. The endpoint may be gone when this returns.
  void Release() { in_flight_.fetch_sub(1, std::memory_order_release); }

  // Attempts in flight.
  int64_t in_flight() const {
    return in_flight_.load(std::memory_order_relaxed);
  }

  // The same, for a caller that has just taken away something that attempts
  // use. An attempt that is not counted here will not find it.
  int64_t CountedInFlight() const {
    return in_flight_.load(std::memory_order_seq_cst);
  }

  // Attempts in flight on connections whose place this one has taken, as they
  // were last counted. They are the endpoint's, too.
  int64_t in_flight_before() const {
    return in_flight_before_.load(std::memory_order_relaxed);
  }
  // Control thread only.
  void AddInFlightBefore(int64_t more) {
    in_flight_before_.fetch_add(static_cast<int32_t>(more),
                                std::memory_order_relaxed);
  }

  // Lets no new attempt in. Control thread only.
  void Close() { closed_.store(true, std::memory_order_seq_cst); }
  // A closed endpoint stays closed.
  bool closed() const { return closed_.load(std::memory_order_relaxed); }
  // True once the endpoint is closed and its last attempt has ended. What it
  // holds may be freed then. Control thread only.
  bool Drained() const {
    return closed_.load(std::memory_order_seq_cst) &&
           in_flight_.load(std::memory_order_seq_cst) == 0;
  }

  // The state now, for an observer. Valid while the endpoint lives.
  EndpointView View() const {
    const uint32_t now = standing();
    EndpointView view;
    view.endpoint = &endpoint_;
    view.in_flight = in_flight();
    view.readiness = static_cast<Readiness>(now & 0xff);
    view.health = static_cast<Health>(now >> 8 & 0xff);
    view.share = static_cast<uint8_t>(now >> 16);
    view.closed = closed();
    return view;
  }

  // Zeros before the first attempt. Ask again rather than keep the reference,
  // since the first attempt makes the counters.
  const EndpointCounters& counters() const { return TalliesOrZeros().counters; }
  EndpointCounters& mutable_counters() { return tallies_.Get().counters; }

  Readiness readiness() const {
    return static_cast<Readiness>(standing() & 0xff);
  }
  // Control thread only.
  void set_readiness(Readiness readiness) {
    if (readiness == Readiness::kReady) {
      first_dial_.store(0, std::memory_order_relaxed);
    }
    Change(0xff, static_cast<uint32_t>(readiness));
  }

  // A dial begins, at this nanosecond of the monotonic clock. Control thread
  // only.
  void NoteDial(int64_t now) {
    if (first_dial() == 0) first_dial_.store(now, std::memory_order_relaxed);
  }
  // When it was first dialled since it was found or was last READY, whichever
  // came later. 0: not since.
  int64_t first_dial() const {
    return first_dial_.load(std::memory_order_relaxed);
  }

  Health health() const { return static_cast<Health>(standing() >> 8 & 0xff); }
  // The share of its picks that a pick is to leave it, out of 255. 0 while it
  // is suspect or ejected. In between while it ramps, or has failed a few times
  // in a row.
  uint32_t share() const { return standing() >> 16 & 0xff; }
  // For the one who judges health; one thread at a time.
  void set_health(Health health, uint32_t share) {
    Change(0xffff00, static_cast<uint32_t>(health) << 8 | share << 16);
  }

  // Ready, and with its full share. A pick looks at this first.
  bool available() const { return standing() == kAvailable; }

  // While it is kProbing, one call at a time may try it. Returns true to one
  // caller, who has that place until it is free again (a share of kProbeFree).
  static constexpr uint32_t kProbeFree = 1;
  bool ClaimProbe() {
    uint32_t before = standing();
    while ((before & 0xffff00) ==
           (static_cast<uint32_t>(Health::kProbing) << 8 | kProbeFree << 16)) {
      if (standing_.compare_exchange_weak(before, before & ~0xff0000u,
                                          std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  // The number of the trial that it is on, or 0. Its health is kTrial
  // meanwhile, so that a pick looks here only then.
  uint32_t trial() const { return trial_.load(std::memory_order_relaxed); }
  // Call it before set_health(kTrial). For the one who judges health; one
  // thread at a time.
  void set_trial(uint32_t trial) {
    trial_.store(trial, std::memory_order_relaxed);
  }

  // Like counters() and mutable_counters().
  const EndpointObservations& observations() const {
    return TalliesOrZeros().observations;
  }
  EndpointObservations& mutable_observations() {
    return tallies_.Get().observations;
  }
  // A slot for the health monitor of the service. The monitor fills it when it
  // first has something to remember, and its lock guards it.
  std::unique_ptr<HealthMemory>& health_memory() { return health_memory_; }

 private:
  // What attempts count. Most endpoints of a big service never have any.
  struct alignas(64) Tallies {
    EndpointObservations observations;
    EndpointCounters counters;
  };

  static constexpr uint32_t kFullShare = 255u << 16;
  static constexpr uint32_t kAvailable =
      static_cast<uint32_t>(Readiness::kReady) | kFullShare;

  const Tallies& TalliesOrZeros() const {
    static const Tallies zeros;
    const Tallies* const tallies = tallies_.Find();
    return tallies != nullptr ? *tallies : zeros;
  }
  uint32_t standing() const {
    return standing_.load(std::memory_order_relaxed);
  }
  void Change(uint32_t mask, uint32_t bits) {
    uint32_t before = standing();
    while (!standing_.compare_exchange_weak(before, (before & ~mask) | bits,
                                            std::memory_order_relaxed)) {
    }
  }

  // First, on one cache line: what a pick reads and writes.
  std::atomic<int64_t> in_flight_{0};
  std::atomic<bool> closed_{false};
  // Readiness, health and share, one byte each.
  std::atomic<uint32_t> standing_{static_cast<uint32_t>(Readiness::kIdle) |
                                  kFullShare};
  // It is on that line because there is room.
  std::atomic<uint32_t> priority_;
  std::atomic<uint32_t> trial_{0};
  std::atomic<int32_t> in_flight_before_{0};
  std::atomic<int64_t> first_dial_{0};
  base::OnDemand<Tallies> tallies_;

  // From here on: what changes less often, or is read less often.
  std::unique_ptr<HealthMemory> health_memory_;
  const Endpoint endpoint_;
};

using LiveEndpointPtr = std::shared_ptr<LiveEndpoint>;

// Views for an observer, each made when it is asked for. Valid while the array
// is.
inline EndpointViews ViewsOf(absl::Span<const LiveEndpointPtr> endpoints) {
  return EndpointViews(
      endpoints.data(), endpoints.size(), [](const void* from, size_t index) {
        return static_cast<const LiveEndpointPtr*>(from)[index]->View();
      });
}

}  // namespace mesh::cluster

#endif  // MESH_CLUSTER_LIVE_ENDPOINT_H_
