#include "mesh/simulation/random_scenario.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "mesh/simulation/simulation_test_util.h"

namespace mesh::simulation {
namespace {

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* const text = std::getenv(name);
  int64_t value = otherwise;
  if (text != nullptr && *text != 0 && !absl::SimpleAtoi(text, &value)) {
    ADD_FAILURE() << name << " must be a number, is '" << text << "'";
  }
  return value;
}

// The seeds that are played: MESH_SIM_SEED alone, or as many as MESH_SIM_SEEDS
// says, of which `./run test --long` asks for 10,000.
struct Seeds {
  explicit Seeds(int64_t otherwise)
      : one(FromEnvironment("MESH_SIM_SEED", 0) != 0),
        first(FromEnvironment("MESH_SIM_SEED", 1)),
        last(one ? first : FromEnvironment("MESH_SIM_SEEDS", otherwise)) {}
  const bool one;
  const int64_t first;
  const int64_t last;
};

std::string HowToReplay(int64_t seed) {
  return absl::StrCat("Again: MESH_SIM_SEED=", seed,
                      " ./run test //mesh/simulation:simulation_test "
                      "--test_filter='RandomScenarioTest.*' "
                      "--test_output=all");
}

// Random clusters, policies and faults, with events that come late, early,
// twice and where they should not. Whatever happens, the invariants hold (see
// Result::violations).
TEST(RandomScenarioTest, KeepsEveryInvariantWhateverHappens) {
  const Seeds seeds(1000);
  uint64_t calls = 0, ok = 0, retries = 0, transparent = 0, waited = 0;
  uint64_t hedges = 0, ejections = 0, suspicions = 0, probes = 0;
  uint64_t replaced = 0, broken = 0;
  std::array<uint64_t, base::kGuards> refused = {};
  for (int64_t seed = seeds.first; seed <= seeds.last; ++seed) {
    const Scenario scenario = RandomScenario(seed);
    const absl::StatusOr<Result> result =
        Simulate(scenario.service, scenario.cluster, scenario.options);
    ASSERT_TRUE(result.ok()) << result.status() << " in seed " << seed;
    if (seeds.one) std::printf("%s", result->Summary().c_str());
    if (!result->violations.empty()) {
      ADD_FAILURE() << absl::StrJoin(result->violations, "\n") << "\n"
                    << HowToReplay(seed);
    }
    calls += result->calls;
    ok += result->ok();
    retries += result->retries;
    transparent += result->transparent_retries;
    waited += result->waited;
    hedges += result->hedges;
    ejections += result->ejections().enforced;
    suspicions += result->suspicions().enforced;
    probes += result->probes;
    replaced += result->replaced;
    broken += result->broken;
    for (int guard = 0; guard < base::kGuards; ++guard) {
      refused[guard] += result->refusals[guard].enforced;
    }
  }
  if (seeds.one || seeds.last < 500) return;
  // The scenarios are worth something only while all of it happens in them.
  EXPECT_GT(calls, 500 * seeds.last);
  EXPECT_GT(ok, calls / 4);
  EXPECT_LT(ok, calls * 9 / 10);
  EXPECT_GT(retries, calls / 200);
  EXPECT_GT(transparent, calls / 200);
  EXPECT_GT(waited, calls / 500);
  EXPECT_GT(hedges, calls / 100);
  EXPECT_GT(ejections, seeds.last / 4);
  EXPECT_GT(suspicions, seeds.last / 10);
  EXPECT_GT(probes, seeds.last / 10);
  EXPECT_GT(replaced, seeds.last / 20);
  EXPECT_GT(broken, seeds.last / 200);
  for (int guard = 0; guard < base::kGuards; ++guard) {
    // The simulator makes unary calls only.
    if (static_cast<base::Guard>(guard) == base::Guard::kMaxStreams) continue;
    EXPECT_GT(refused[guard], 0u)
        << base::NameOf(static_cast<base::Guard>(guard));
  }
}

// With the shipped budget, and servers that can do at least 1.2 times the load,
// retries and hedges do no harm. Goodput is the share of calls that end OK. It
// is compared in pairs of runs of one seed, one with retries and hedges and one
// without. With them it is on average not more than 1% lower. There is a pair
// for 25 seeds; each run takes 10 to 30 simulated seconds.
TEST(RandomScenarioTest, RetriesAndHedgesDoNotLowerGoodput) {
  const Seeds seeds(1000);
  const int64_t last = seeds.one ? seeds.last : seeds.last / 25;
  double sum = 0;
  double least = 1;
  int64_t worst = 0;
  uint64_t retries = 0, hedges = 0, calls = 0;
  for (int64_t seed = seeds.first; seed <= last; ++seed) {
    SCOPED_TRACE(HowToReplay(seed));
    const Scenario scenario = RandomScenarioWithCapacity(seed);
    const Scenario without = WithoutRetries(scenario);
    const Result with =
        RunOk(scenario.service, scenario.cluster, scenario.options);
    const Result none =
        RunOk(without.service, without.cluster, without.options);
    ASSERT_GT(with.ok(), 0u);
    ASSERT_GT(none.ok(), 0u);
    const double difference =
        static_cast<double>(with.ok()) / with.calls /
            (static_cast<double>(none.ok()) / none.calls) -
        1;
    sum += difference;
    if (difference < least) {
      least = difference;
      worst = seed;
    }
    retries += with.retries;
    hedges += with.hedges;
    calls += with.calls;
  }
  const int64_t pairs = last - seeds.first + 1;
  if (pairs <= 0) return;
  const double mean = sum / static_cast<double>(pairs);
  std::printf(
      "%d pairs: goodput with retries and hedges against none: mean %+.5f, "
      "least %+.5f (seed %d); %d calls, %d retries, %d hedges\n",
      static_cast<int>(pairs), mean, least, static_cast<int>(worst),
      static_cast<int>(calls), static_cast<int>(retries),
      static_cast<int>(hedges));
  EXPECT_GE(mean, -0.01);
  if (pairs < 40) return;
  EXPECT_GT(retries, 0u);
  EXPECT_GT(hedges, calls / 1000);
}

// How often endpoints are on trial and ejected, and for how long they are
// ejected or silent.
class OutOfUse final : public telemetry::Observer {
 public:
  void OnHealth(const telemetry::HealthEvent& event) override {
    using cluster::Health;
    if (event.observed) return;
    trials += event.to == Health::kTrial;
    ejections += event.to == Health::kEjected;
    convictions += event.from == Health::kTrial && event.to == Health::kEjected;
    const auto [out, begins] =
        since_.emplace(event.endpoint.endpoint, event.time);
    if (event.to == Health::kEjected || event.to == Health::kSuspect) return;
    if (!begins) time += event.time - out->second;
    since_.erase(out);
  }
  // A simulation ends.
  void End(absl::Time now) {
    for (const auto& [unused, since] : since_) {
      time += std::max(now - since, absl::ZeroDuration());
    }
    since_.clear();
  }

  int64_t trials = 0;
  int64_t ejections = 0;
  int64_t convictions = 0;  // Ejections that end a trial.
  absl::Duration time;

 private:
  // When each endpoint that is out went out.
  std::map<const cluster::Endpoint*, absl::Time> since_;
};

// Whatever calls cost, and whichever of them fail or are late: no trial
// convicts who is like the others. Of 10,000 seeds three may be wrong.
TEST(RandomScenarioTest, NoTrialConvictsWhoIsLikeTheOthers) {
  const Seeds seeds(1000);
  OutOfUse out;
  absl::Duration all;
  for (int64_t seed = seeds.first; seed <= seeds.last; ++seed) {
    SCOPED_TRACE(HowToReplay(seed));
    Scenario scenario = RandomScenarioOfAlikes(seed);
    scenario.options.observer = &out;
    const int64_t before = out.convictions;
    RunOk(scenario.service, scenario.cluster, scenario.options);
    const absl::Duration duration = scenario.options.duration;
    out.End(absl::UnixEpoch() + duration);
    all += duration * scenario.cluster.clients *
           static_cast<int64_t>(scenario.cluster.servers.size());
    if (out.convictions > before) {
      std::printf("Convicted without need. %s\n", HowToReplay(seed).c_str());
    }
  }
  const int64_t count = seeds.last - seeds.first + 1;
  const double share = absl::FDivDuration(out.time, all);
  std::printf(
      "%d seeds: %d trials, %d convictions, %d ejections in all; ejected or "
      "suspect %.3f%% of the time\n",
      static_cast<int>(count), static_cast<int>(out.trials),
      static_cast<int>(out.convictions), static_cast<int>(out.ejections),
      100 * share);
  EXPECT_LE(out.convictions, 3 * count / 10'000);
  if (count < 500) return;
  EXPECT_GT(out.trials, count);
  // Silence is suspected where calls take long.
  EXPECT_LE(share, 0.001);
}

}  // namespace
}  // namespace mesh::simulation
