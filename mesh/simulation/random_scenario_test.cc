#include "mesh/simulation/random_scenario.h"

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
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
  EXPECT_GT(ejections, seeds.last);
  EXPECT_GT(suspicions, seeds.last / 10);
  EXPECT_GT(probes, seeds.last / 10);
  for (int guard = 0; guard < base::kGuards; ++guard) {
    // The simulator makes unary calls only.
    if (static_cast<base::Guard>(guard) == base::Guard::kMaxStreams) continue;
    EXPECT_GT(refused[guard], 0u)
        << base::NameOf(static_cast<base::Guard>(guard));
  }
}

// With the shipped budget, and servers that can do at least 1.2 times the load,
// retries and hedges do no harm: in pairs of runs of one seed, one with them
// and one without, the goodput (the share of calls that end OK) with them is
// on average not more than 1% below that without. A pair for 25 seeds, each run
// of 10 to 30 simulated seconds.
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

}  // namespace
}  // namespace mesh::simulation
