#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/simulation/simulation_test_util.h"

// Adaptive concurrency of many clients that overload the same servers together:
// each sees the queue of all the others. docs/resilience.md has the figures.

namespace mesh::simulation {
namespace {

constexpr absl::Duration kStep = absl::Seconds(10);
// What the servers below can do, per second: 80 calls at once of 22.7 ms.
constexpr double kCapacity = 3530;

// The mean latency of the calls that were answered, by the step of their start.
class Latencies final : public telemetry::Observer {
 public:
  void OnCallEnd(const telemetry::CallInfo& call,
                 const telemetry::CallEvent& event) override {
    if (event.code != absl::StatusCode::kOk) return;
    if (sums_.empty()) first_ = call.start;
    const auto step = static_cast<size_t>((call.start - first_) / kStep);
    if (step >= sums_.size()) sums_.resize(step + 1);
    sums_[step].first += absl::ToDoubleMilliseconds(event.end - call.start);
    ++sums_[step].second;
  }
  // In milliseconds.
  double Mean(size_t step) const {
    return step < sums_.size() ? sums_[step].first / sums_[step].second : 0;
  }

 private:
  absl::Time first_;
  std::vector<std::pair<double, int>> sums_;
};

// Ten servers that execute also what nobody waits for any more.
Cluster Ten(int clients) {
  Cluster cluster;
  for (int i = 0; i < 10; ++i) {
    Server server;
    server.address = std::string(1, static_cast<char>('a' + i));
    server.latency = Distribution::LogNormal(20 * kMs, 0.5);
    server.slots = 8;
    server.queue = 100'000;
    server.drops_abandoned = false;
    cluster.servers.push_back(std::move(server));
  }
  cluster.clients = clients;
  return cluster;
}

// Calls at `times` the capacity.
Load Times(double times, absl::Duration deadline, absl::Duration from,
           absl::Duration until) {
  Load load = Load::Open("/shop.Cart/Get", times * kCapacity);
  load.deadline = deadline;
  load.from = from;
  load.until = until;
  return load;
}

options::ServiceOptions Limited() {
  options::ServiceOptions service = Idempotent();
  service.guards.adaptive_concurrency.mode = options::Mode::kEnforce;
  return service;
}

Result Watch(const options::ServiceOptions& service, const Cluster& cluster,
             absl::Duration duration, Latencies* latencies) {
  Options options = For(duration);
  options.step = kStep;
  options.observer = latencies;
  return RunOk(service, cluster, options);
}

// The share of the capacity that was answered in a step.
double Goodput(const Result& result, size_t step) {
  return static_cast<double>(result.steps[step].ok) /
         (kCapacity * absl::ToDoubleSeconds(kStep));
}

TEST(ConcurrencyLimitsTest, OneClientKeepsItsTarget) {
  Cluster cluster = Ten(/*clients=*/1);
  cluster.loads = {
      Times(2, absl::Seconds(1), absl::ZeroDuration(), absl::Seconds(40))};
  Latencies latencies;
  const Result result =
      Watch(Limited(), cluster, absl::Seconds(40), &latencies);
  for (size_t step = 1; step < 4; ++step) {
    EXPECT_LT(latencies.Mean(step), 50);
    EXPECT_GT(Goodput(result, step), 0.95);
  }
}

TEST(ConcurrencyLimitsTest, FiftyClientsDriftUpUntilTheOverloadEnds) {
  Cluster cluster = Ten(/*clients=*/50);
  cluster.loads = {
      Times(2, absl::Seconds(5), absl::ZeroDuration(), absl::Seconds(60)),
      Times(0.5, absl::Seconds(5), absl::Seconds(60),
            absl::InfiniteDuration())};
  Latencies latencies;
  const Result result =
      Watch(Limited(), cluster, absl::Seconds(80), &latencies);
  EXPECT_LT(latencies.Mean(1), 80);
  EXPECT_GT(latencies.Mean(5), 80) << "does it drift no more? See the docs";
  EXPECT_LT(latencies.Mean(5), 400);
  for (size_t step = 1; step < 6; ++step) {
    EXPECT_GT(Goodput(result, step), 0.9) << step;
  }
  EXPECT_LT(latencies.Mean(7), 30) << "the overload has ended";
}

TEST(ConcurrencyLimitsTest, ACapOfCallsHoldsFiftyClients) {
  Cluster cluster = Ten(/*clients=*/50);
  cluster.loads = {
      Times(2, 250 * kMs, absl::ZeroDuration(), absl::Seconds(60))};
  options::ServiceOptions service = Limited();
  service.guards.caps.max_calls = 8;
  Latencies latencies;
  const Result result = Watch(service, cluster, absl::Seconds(60), &latencies);
  for (size_t step = 1; step < 6; ++step) {
    // 50 x 8 calls at most, which take 113 ms.
    EXPECT_LT(latencies.Mean(step), 115);
    EXPECT_GT(Goodput(result, step), 0.95);
  }
}

// All is late at first: the limit is not known, and 50 x 100 calls wait. That
// the deadline passes is no latency to get used to.
TEST(ConcurrencyLimitsTest, FiftyClientsFindOutOfAQueueThatIsAllTooLate) {
  Cluster cluster = Ten(/*clients=*/50);
  cluster.loads = {
      Times(0.5, 250 * kMs, absl::ZeroDuration(), absl::Seconds(10)),
      Times(2, 250 * kMs, absl::Seconds(10), absl::InfiniteDuration())};
  Latencies latencies;
  const Result result =
      Watch(Limited(), cluster, absl::Seconds(110), &latencies);
  EXPECT_LT(Goodput(result, 2), 0.1);
  EXPECT_GT(Goodput(result, 10), 0.9);
}

}  // namespace
}  // namespace mesh::simulation
