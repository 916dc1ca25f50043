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
// Thread-safe; a reader sees no single moment.
struct EndpointCounters {
  std::atomic<uint64_t> attempts{0};  // Begun.
  // Ended, by status code (0 to 16).
  std::array<std::atomic<uint64_t>, 17> ended = {};
  // How many of those that ended never reached a server.
  std::atomic<uint64_t> never_sent{0};

  // An attempt has ended. What is no status code of gRPC counts as UNKNOWN.
  void CountEnd(absl::StatusCode code, bool was_never_sent) {
    auto index = static_cast<size_t>(code);
    if (index >= ended.size()) {
      index = static_cast<size_t>(absl::StatusCode::kUnknown);
    }
    attempts.fetch_add(1, std::memory_order_relaxed);
    ended[index].fetch_add(1, std::memory_order_relaxed);
    if (was_never_sent) never_sent.fetch_add(1, std::memory_order_relaxed);
  }

  // Attempts that a server answered, whatever it said.
  uint64_t Answered() const {
    uint64_t answered = 0;
    for (size_t code = 0; code < ended.size(); ++code) {
      switch (static_cast<absl::StatusCode>(code)) {
        case absl::StatusCode::kCancelled:
        case absl::StatusCode::kDeadlineExceeded:
        case absl::StatusCode::kUnavailable:
          break;  // Nobody may have said so.
        default:
          answered += ended[code].load(std::memory_order_relaxed);
      }
    }
    return answered;
  }

  // What `before` has counted was the same endpoint's.
  void Add(const EndpointCounters& before) {
    const auto add = [](std::atomic<uint64_t>* to,
                        const std::atomic<uint64_t>& from) {
      to->fetch_add(from.load(std::memory_order_relaxed),
                    std::memory_order_relaxed);
    };
    add(&attempts, before.attempts);
    add(&never_sent, before.never_sent);
    for (size_t i = 0; i < ended.size(); ++i) add(&ended[i], before.ended[i]);
  }
};

// What a health monitor remembers of an endpoint. What that is, only the
// monitor knows.
class HealthMemory {
 public:
  virtual ~HealthMemory() = default;
};

// An endpoint and the state that this process has of it. It survives updates
// that keep the endpoint. A shell derives from it to add its connections.
//
// An endpoint may have several connections, one after the other or at once.
// To the endpoint belong the attempts in flight, its counters, failures,
// latencies and ejections, whichever connection they came over. Readiness is
// that of the connection which new attempts use. Whether anybody answers is a
// matter of a connection (SilenceEvidence); while there is but one at a time
// the endpoint keeps that, too, and a new connection begins it anew.
//
// Lifetime: pickers hold shared references. A call in flight holds none: its
// count in `in_flight` is its pin. Whoever removes an endpoint calls Close()
// and drops its own reference only when in_flight() is 0 after that.
//
// Small, until it is used: what attempts count is made by the first one.
//
// Thread-safe. On cache lines of its own: the counts are written by all
// threads.
class alignas(64) LiveEndpoint {
 public:
  explicit LiveEndpoint(Endpoint endpoint)
      : priority_(endpoint.priority), endpoint_(std::move(endpoint)) {}
  virtual ~LiveEndpoint() = default;
  LiveEndpoint(const LiveEndpoint&) = delete;
  LiveEndpoint& operator=(const LiveEndpoint&) = delete;

  // The description that this state was made for. Weight and metadata of a
  // later description of the same address are in the picker's set.
  const Endpoint& endpoint() const { return endpoint_; }
  // Its priority by the latest description.
  uint32_t priority() const {
    return priority_.load(std::memory_order_relaxed);
  }
  // Control thread only.
  void set_priority(uint32_t priority) {
    priority_.store(priority, std::memory_order_relaxed);
  }

  // Counts one more attempt in flight and pins the endpoint until Release().
  // False, and nothing counted, when the endpoint is closed: pick again.
  bool Acquire() {
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

  // The same, for whoever has just taken something away that attempts use: one
  // that is not counted here does not find it any more.
  int64_t CountedInFlight() const {
    return in_flight_.load(std::memory_order_seq_cst);
  }

  // Attempts in flight on connections whose place this one has taken, as they
  // were last counted: they too are the endpoint's.
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
  // True once the endpoint is closed and its last attempt has ended: what it
  // holds may be freed. Control thread only.
  bool Drained() const {
    return closed_.load(std::memory_order_seq_cst) &&
           in_flight_.load(std::memory_order_seq_cst) == 0;
  }

  // For an observer, as it is now. Valid while the endpoint lives.
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

  // Zeros before the first attempt. Ask again rather than keep the reference:
  // the first attempt makes the counters.
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
  // When it was first dialled since it was found or was last READY. 0: it was
  // not.
  int64_t first_dial() const {
    return first_dial_.load(std::memory_order_relaxed);
  }

  Health health() const { return static_cast<Health>(standing() >> 8 & 0xff); }
  // The share of its picks that a pick is to leave it, out of 255. 0 while it
  // is suspect or ejected; in between while it ramps, or has failed a few times
  // in a row.
  uint32_t share() const { return standing() >> 16 & 0xff; }
  // By whoever judges it; one thread at a time.
  void set_health(Health health, uint32_t share) {
    Change(0xffff00, static_cast<uint32_t>(health) << 8 | share << 16);
  }

  // Ready, and with its full share: what a pick looks at first.
  bool available() const { return standing() == kAvailable; }

  // While it is kProbing one call at a time may try it. Takes that place: true
  // for one caller, until it is free again (a share of kProbeFree).
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

  // The trial that it is on, or 0. Its health says kTrial meanwhile, so that a
  // pick looks here only then.
  uint32_t trial() const { return trial_.load(std::memory_order_relaxed); }
  // By whoever judges it; one thread at a time. Before set_health(kTrial).
  void set_trial(uint32_t trial) {
    trial_.store(trial, std::memory_order_relaxed);
  }

  // As counters() and mutable_counters().
  const EndpointObservations& observations() const {
    return TalliesOrZeros().observations;
  }
  EndpointObservations& mutable_observations() {
    return tallies_.Get().observations;
  }
  // A slot of the health monitor of its service, which fills it when it first
  // has something to remember. Guarded by that one's lock.
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
  // Readiness, health and share, a byte each.
  std::atomic<uint32_t> standing_{static_cast<uint32_t>(Readiness::kIdle) |
                                  kFullShare};
  // On that line, too, since it has room.
  std::atomic<uint32_t> priority_;
  std::atomic<uint32_t> trial_{0};
  std::atomic<int32_t> in_flight_before_{0};
  std::atomic<int64_t> first_dial_{0};
  base::OnDemand<Tallies> tallies_;

  // From here on what changes less often, or is read less often.
  std::unique_ptr<HealthMemory> health_memory_;
  const Endpoint endpoint_;
};

using LiveEndpointPtr = std::shared_ptr<LiveEndpoint>;

// For an observer, each as it is when it is asked for. Valid while the array
// is.
inline EndpointViews ViewsOf(absl::Span<const LiveEndpointPtr> endpoints) {
  return EndpointViews(
      endpoints.data(), endpoints.size(), [](const void* from, size_t index) {
        return static_cast<const LiveEndpointPtr*>(from)[index]->View();
      });
}

}  // namespace mesh::cluster

#endif  // MESH_CLUSTER_LIVE_ENDPOINT_H_
