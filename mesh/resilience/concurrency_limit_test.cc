#include "mesh/resilience/concurrency_limit.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <ostream>
#include <queue>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/base/random.h"
#include "mesh/resilience/admission.h"

namespace mesh::resilience {
namespace {

using options::Mode;

constexpr double kMs = 1e6;
constexpr double kSecond = 1e9;

// Clients with an Admission each, before a service of some slots with one FIFO
// queue without end; calls come by themselves (Poisson).
struct Scene {
  int slots = 8;
  double service_ms = 20;
  bool exponential = false;  // Else it always takes the same, and 0.1 more.
  double network_ms = 0.3;   // There and back.
  int clients = 1;
  double load = 2;  // As a share of what the slots can do.
  double warm_up = 10;
  double seconds = 40;  // With the warm-up.
  uint64_t seed = 1;
  // Functions of the time in seconds; instead of `load` and `service_ms`.
  std::function<double(double)> load_at;
  std::function<double(double)> service_at;
  options::AdaptiveConcurrencyOptions options;

  Scene() { options.mode = Mode::kEnforce; }
};

// After the warm-up.
struct Result {
  double goodput = 0;  // Answers, as a share of what the slots can do.
  double refused = 0;  // Share of the calls.
  double p50 = 0;      // Latency of those admitted, ms.
  double p99 = 0;
  double limit = 0;     // At the end, all clients together.
  double base = 0;      // At the end, the mean of all clients, ms.
  int least_limit = 0;  // Ever, of the first client.
  int most_limit = 0;
};

std::ostream& operator<<(std::ostream& out, const Result& r) {
  return out << "goodput " << r.goodput << " refused " << r.refused << " p50 "
             << r.p50 << " p99 " << r.p99 << " limit " << r.limit << " ("
             << r.least_limit << " to " << r.most_limit << ") base " << r.base;
}

class QueueingService {
 public:
  explicit QueueingService(const Scene& scene)
      : scene_(scene), random_(scene.seed) {
    options::GuardOptions guards;
    guards.adaptive_concurrency = scene.options;
    for (int i = 0; i < scene.clients; ++i) {
      clients_.push_back(std::make_unique<Admission>(guards, Time()));
    }
  }

  Result Run() {
    Push(Arrival(), kArrive, 0);
    while (!events_.empty()) {
      const Event event = events_.top();
      events_.pop();
      now_ = event.time;
      if (now_ > scene_.seconds * kSecond) break;
      Handle(event);
    }
    const double seconds = scene_.seconds - scene_.warm_up;
    std::sort(latencies_.begin(), latencies_.end());
    const auto quantile = [this](double q) {
      return latencies_.empty()
                 ? 0
                 : latencies_[static_cast<size_t>(
                       q * static_cast<double>(latencies_.size() - 1))];
    };
    result_.goodput = static_cast<double>(answered_) / seconds / Capacity();
    result_.refused = offered_ == 0 ? 0 : refused_ / offered_;
    result_.p50 = quantile(0.5);
    result_.p99 = quantile(0.99);
    for (const auto& client : clients_) {
      const Admission::State state = client->Snapshot(Time());
      result_.limit += state.concurrency_limit;
      result_.base += absl::ToDoubleMilliseconds(state.min_latency) /
                      static_cast<double>(scene_.clients);
    }
    return result_;
  }

 private:
  enum Kind { kArrive, kAtServer, kServed, kAnswered };
  struct Event {
    double time;
    Kind kind;
    size_t call;
    bool operator<(const Event& other) const { return time > other.time; }
  };
  struct Call {
    size_t client;
    double start;
    Admission::Ticket ticket;
  };

  absl::Time Time() const {
    return absl::UnixEpoch() + absl::Hours(1) + absl::Nanoseconds(now_);
  }
  double Exponential(double mean) {
    return -std::log(1 - random_.Unit()) * mean;
  }
  double Seconds() const { return now_ / kSecond; }
  double Capacity() const {
    return scene_.slots / (scene_.service_ms * kMs / kSecond);
  }
  double Arrival() {
    const double load =
        scene_.load_at ? scene_.load_at(Seconds()) : scene_.load;
    return now_ + Exponential(kSecond / (load * Capacity()));
  }
  double Service() {
    const double ms =
        scene_.service_at ? scene_.service_at(Seconds()) : scene_.service_ms;
    return kMs * (scene_.exponential ? Exponential(ms)
                                     : ms + Exponential(0.005 * ms));
  }
  void Push(double time, Kind kind, size_t call) {
    events_.push({time, kind, call});
  }
  bool Measured() const { return Seconds() > scene_.warm_up; }

  void Handle(const Event& event) {
    switch (event.kind) {
      case kArrive:
        Push(Arrival(), kArrive, 0);
        return Begin();
      case kAtServer:
        if (busy_ == scene_.slots) return queue_.push_back(event.call);
        ++busy_;
        return Push(now_ + Service(), kServed, event.call);
      case kServed:
        Push(now_ + scene_.network_ms * kMs / 2, kAnswered, event.call);
        if (queue_.empty()) {
          --busy_;
          return;
        }
        Push(now_ + Service(), kServed, queue_.front());
        return queue_.pop_front();
      case kAnswered:
        return End(event.call);
    }
  }

  void Begin() {
    Call call;
    call.client = random_.Below(static_cast<uint32_t>(scene_.clients));
    call.start = now_;
    Admission& client = *clients_[call.client];
    const auto refusal = client.Admit("/a/b", options::RateLimitOptions(),
                                      Time(), &random_, nullptr, &call.ticket);
    if (Measured()) {
      ++offered_;
      if (refusal.has_value()) ++refused_;
    }
    if (call.client == 0 && random_.Below(20) == 0) {
      const int limit = client.Snapshot(Time()).concurrency_limit;
      if (Measured()) {
        if (result_.most_limit == 0) result_.least_limit = limit;
        result_.least_limit = std::min(result_.least_limit, limit);
        result_.most_limit = std::max(result_.most_limit, limit);
      }
    }
    if (refusal.has_value()) return;
    calls_.push_back(call);
    Push(now_ + scene_.network_ms * kMs / 2, kAtServer, calls_.size() - 1);
  }

  void End(size_t index) {
    const Call& call = calls_[index];
    clients_[call.client]->OnCallEnd(call.ticket, absl::StatusCode::kOk,
                                     Time());
    if (!Measured()) return;
    ++answered_;
    latencies_.push_back((now_ - call.start) / kMs);
  }

  const Scene scene_;
  base::Random random_;
  double now_ = 0;
  std::vector<std::unique_ptr<Admission>> clients_;
  std::priority_queue<Event> events_;
  std::deque<size_t> queue_;
  int busy_ = 0;
  std::vector<Call> calls_;
  Result result_;
  double offered_ = 0;
  double refused_ = 0;
  int64_t answered_ = 0;
  std::vector<double> latencies_;
};

Result Simulate(const Scene& scene) { return QueueingService(scene).Run(); }

// 8 slots of 20 ms, as `bench overload` has them.
TEST(ConcurrencyLimitTest, KeepsTheServiceBusyAndTheQueueShort) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    for (double load : {1.4, 2.0, 10.0}) {
      Scene scene;
      scene.seed = seed;
      scene.load = load;
      const Result result = Simulate(scene);
      SCOPED_TRACE(::testing::Message()
                   << "seed " << seed << " load " << load << ": " << result);
      EXPECT_GE(result.goodput, 0.97);
      EXPECT_LE(result.p99, 2.5 * 20.4);
      EXPECT_GE(result.limit, 14);
      EXPECT_LE(result.limit, 19);
    }
  }
}

TEST(ConcurrencyLimitTest, RefusesNothingWhileTheServiceHasRoom) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    Scene scene;
    scene.seed = seed;
    scene.load = 0.7;
    EXPECT_LE(Simulate(scene).refused, 0.001) << Simulate(scene);
    scene.load = 0.9;
    EXPECT_LE(Simulate(scene).refused, 0.01) << Simulate(scene);
  }
}

TEST(ConcurrencyLimitTest, RecoversWhenTheOverloadIsOver) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    for (double after : {0.7, 0.9}) {
      Scene scene;
      scene.seed = seed;
      scene.warm_up = 22;
      scene.seconds = 62;
      scene.load_at = [after](double t) { return t < 20 ? 3.0 : after; };
      const Result result = Simulate(scene);
      EXPECT_LE(result.refused, after < 0.8 ? 0.001 : 0.01)
          << "seed " << seed << ": " << result;
    }
  }
}

TEST(ConcurrencyLimitTest, HoldsForServicesOfManyKinds) {
  struct Kind {
    double service_ms;
    int slots;
    double goodput;
    double p99;  // Over the service time.
  };
  for (const Kind& kind :
       {Kind{1, 8, 0.7, 4}, Kind{20, 2, 0.92, 3}, Kind{20, 64, 0.97, 2.6},
        Kind{100, 30, 0.97, 2.6}, Kind{500, 8, 0.85, 3}}) {
    for (double load : {1.4, 5.0}) {
      Scene scene;
      scene.service_ms = kind.service_ms;
      scene.slots = kind.slots;
      scene.load = load;
      scene.warm_up = (kind.service_ms < 10 ? 3 : 10) + kind.service_ms / 10;
      // A small service works long at the hundred calls that are admitted
      // first.
      if (kind.slots < 8) scene.warm_up += 60;
      scene.seconds = 2 * scene.warm_up;
      const Result result = Simulate(scene);
      SCOPED_TRACE(::testing::Message()
                   << kind.slots << " slots of " << kind.service_ms
                   << " ms, load " << load << ": " << result);
      EXPECT_GE(result.goodput, kind.goodput);
      EXPECT_LE(result.p99, kind.p99 * (kind.service_ms + 0.3));
    }
  }
}

TEST(ConcurrencyLimitTest, NoiseDoesNotShakeIt) {
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    for (int slots : {8, 30}) {
      for (double load : {1.4, 3.0}) {
        Scene scene;
        scene.seed = seed;
        scene.exponential = true;
        scene.seconds = 25;
        scene.slots = slots;
        scene.load = load;
        const Result result = Simulate(scene);
        SCOPED_TRACE(::testing::Message()
                     << "seed " << seed << ", " << slots << " slots, load "
                     << load << ": " << result);
        EXPECT_GE(result.goodput, 0.93);
        EXPECT_LE(result.p50, 3.5 * 20);
        EXPECT_LE(result.most_limit, 6 * slots);
      }
    }
  }
}

TEST(ConcurrencyLimitTest, ManyClientsShareTheService) {
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    for (int clients : {2, 8}) {
      Scene scene;
      scene.seconds = 25;
      scene.seed = seed;
      scene.slots = 32;
      scene.clients = clients;
      scene.load = 3;
      const Result result = Simulate(scene);
      SCOPED_TRACE(::testing::Message() << "seed " << seed << ", " << clients
                                        << " clients: " << result);
      EXPECT_GE(result.goodput, 0.97);
      EXPECT_LE(result.p50, 3.5 * 20);
    }
  }
}

TEST(ConcurrencyLimitTest, AnUnusedLimitStays) {
  Scene scene;
  scene.load = 0.1;
  const Result result = Simulate(scene);
  EXPECT_EQ(result.least_limit, 100);
  EXPECT_EQ(result.most_limit, 100);
}

TEST(ConcurrencyLimitTest, ALightLoadDoesNotLetItGrowWithoutBound) {
  Scene scene;
  scene.load = 0.9;
  scene.slots = 16;
  scene.seconds = 120;
  const Result result = Simulate(scene);
  EXPECT_LE(result.most_limit, 100) << result;
  EXPECT_LT(result.limit, 100) << result;
  EXPECT_LE(result.refused, 0.01) << result;
}

TEST(ConcurrencyLimitTest, GrowsToWhatTheServiceCanDo) {
  Scene scene;
  scene.slots = 200;
  scene.load = 0.8;
  const Result result = Simulate(scene);
  EXPECT_LE(result.refused, 0.001) << result;
  EXPECT_GE(result.limit, 160) << result;
}

TEST(ConcurrencyLimitTest, ASlowStartIsForgotten) {
  Scene scene;
  scene.load_at = [](double t) { return t < 5 ? 0.02 : 2.0; };
  scene.service_at = [](double t) { return t < 5 ? 500.0 : 20.0; };
  const Result result = Simulate(scene);
  EXPECT_GE(result.goodput, 0.97) << result;
  EXPECT_LE(result.p99, 2.5 * 20.4) << result;
}

TEST(ConcurrencyLimitTest, AServiceThatBecomesSlowerForGoodIsFollowed) {
  for (double slower : {30.0, 60.0, 100.0}) {
    Scene scene;
    scene.warm_up = 60;
    scene.seconds = 90;
    scene.load = 1.5;
    scene.service_at = [slower](double t) { return t < 15 ? 20.0 : slower; };
    const Result result = Simulate(scene);
    SCOPED_TRACE(::testing::Message() << slower << " ms: " << result);
    EXPECT_GE(result.goodput, 0.9 * 20 / slower);
    EXPECT_LE(result.p99, 3.2 * slower);
  }
}

TEST(ConcurrencyLimitTest, AServiceThatBecomesFasterIsFollowed) {
  Scene scene;
  scene.service_ms = 20;
  scene.warm_up = 30;
  scene.load = 2;
  scene.service_at = [](double t) { return t < 10 ? 100.0 : 20.0; };
  const Result result = Simulate(scene);
  EXPECT_GE(result.goodput, 0.97) << result;
  EXPECT_LE(result.p99, 2.5 * 20.4) << result;
}

TEST(ConcurrencyLimitTest, ObservingFindsTheSameAndRefusesNothing) {
  Scene scene;
  scene.options.mode = Mode::kObserve;
  scene.load_at = [](double t) { return t < 10 ? 0.6 : 1.5; };
  scene.warm_up = 15;
  scene.seconds = 25;
  const Result result = Simulate(scene);
  EXPECT_EQ(result.refused, 0);
  EXPECT_GE(result.limit, 13) << result;
  EXPECT_LE(result.limit, 24) << result;
}

TEST(ConcurrencyLimitTest, IsNeverLessThanTheLeastLimit) {
  Scene scene;
  scene.options.min_limit = 25;
  EXPECT_EQ(Simulate(scene).least_limit, 25);
  scene.options.min_limit = 250;
  EXPECT_EQ(Simulate(scene).least_limit, 250) << "more than it begins with";
  scene.options.min_limit = 1'000'000;  // Nonsense: it is the most, then.
  EXPECT_EQ(Simulate(scene).most_limit, 10'000);
}

TEST(ConcurrencyLimitTest, AReloadKeepsWhatWasFound) {
  options::AdaptiveConcurrencyOptions options;
  options.mode = Mode::kEnforce;
  options.min_limit = 150;
  ConcurrencyLimit limit(options, {}, 0);
  EXPECT_EQ(limit.limit(), 150);
  options.min_limit = 4;
  options.latency_factor = 3;
  limit.SetOptions(options);
  EXPECT_EQ(limit.limit(), 150);
  options.min_limit = 200;
  limit.SetOptions(options);
  EXPECT_EQ(limit.limit(), 200);
}

TEST(ConcurrencyLimitTest, AbsurdNumbersAreHarmless) {
  constexpr int64_t kFar = int64_t{1} << 62;
  for (double factor : {std::numeric_limits<double>::quiet_NaN(), -1.0, 0.0,
                        std::numeric_limits<double>::infinity()}) {
    options::AdaptiveConcurrencyOptions options;
    options.mode = Mode::kEnforce;
    options.latency_factor = factor;
    ConcurrencyLimit limit(options, {}, kFar);
    ConcurrencyLimit::Totals totals;
    int64_t now = 0;
    for (int64_t latency : {int64_t{0}, int64_t{1}, int64_t{3'600'000'000'000},
                            int64_t{-5}, int64_t{0}, int64_t{1'000'000}}) {
      for (int i = 0; i < 20; ++i) {
        totals.calls += 100;
        totals.latency_ns += 100 * latency;
        now += 100'000'000;
        limit.Update(totals, true, now);
        while (limit.TakeSample()) limit.OnSample(latency);
        EXPECT_GE(limit.limit(), 1);
        EXPECT_LE(limit.limit(), 10000);
        EXPECT_TRUE(std::isfinite(limit.found()));
        EXPECT_TRUE(std::isfinite(limit.base_ns()));
      }
    }
    limit.Update(totals, true, kFar);
    limit.Update(totals, true, 0);
    EXPECT_GE(limit.limit(), 1);
  }
}

}  // namespace
}  // namespace mesh::resilience
