#include "mesh/simulation/digest.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/base/guard.h"
#include "mesh/call/trace.h"
#include "mesh/simulation/random_scenario.h"
#include "mesh/simulation/simulation.h"

namespace mesh::simulation {
namespace {

// FNV-1a, 64 bits: the same in every build and on every machine.
class Hash {
 public:
  void Add(absl::string_view text) {
    for (const char c : text) {
      value_ = (value_ ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    }
    Add(text.size());
  }
  void Add(uint64_t number) {
    for (int i = 0; i < 8; ++i) {
      value_ = (value_ ^ (number & 0xff)) * 0x100000001b3u;
      number >>= 8;
    }
  }
  void Add(absl::Duration duration) {
    Add(static_cast<uint64_t>(absl::ToInt64Nanoseconds(duration)));
  }
  template <typename Container>
  void AddAll(const Container& numbers) {
    Add(numbers.size());
    for (const auto number : numbers) Add(static_cast<uint64_t>(number));
  }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xcbf29ce484222325u;
};

void Add(const Histogram& histogram, Hash* hash) {
  hash->Add(histogram.count());
  hash->Add(histogram.Mean());
  hash->Add(histogram.Max());
  for (const double q : {0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999}) {
    hash->Add(histogram.Quantile(q));
  }
}

void Add(const Result& result, Hash* hash) {
  hash->Add(result.hash);
  hash->Add(result.calls);
  hash->AddAll(result.ended);
  hash->Add(result.hanging);
  Add(result.latency, hash);
  Add(result.all, hash);
  for (const uint64_t count :
       {result.attempts, result.retries, result.hedges, result.unmade_hedges,
        result.transparent_retries, result.denied_by_budget, result.waited,
        result.probes, result.events}) {
    hash->Add(count);
  }
  for (size_t i = 0; i < result.refusals.size(); ++i) {
    const auto& count = result.refusals[i];
    if (count.enforced == 0 && count.observed == 0) continue;
    // By name, so that a guard that comes or goes moves nothing.
    hash->Add(base::NameOf(static_cast<base::Guard>(i)));
    hash->Add(count.enforced);
    hash->Add(count.observed);
  }
  for (const auto& count : result.health) {
    hash->Add(count.enforced);
    hash->Add(count.observed);
  }
  for (const Result::Endpoint& endpoint : result.endpoints) {
    hash->Add(endpoint.address);
    hash->AddAll(endpoint.ended);
    for (const uint64_t count : {endpoint.attempts, endpoint.never_sent,
                                 endpoint.executed, endpoint.wasted}) {
      hash->Add(count);
    }
  }
  for (const Result::Tier& tier : result.tiers) {
    for (const uint64_t count :
         {tier.calls, tier.ok, tier.attempts, tier.retries, tier.hedges,
          tier.denied_by_budget}) {
      hash->Add(count);
    }
  }
  for (const Result::Step& step : result.steps) {
    for (const uint64_t count :
         {step.started, step.succeeded, step.ok, step.failed}) {
      hash->Add(count);
    }
    hash->AddAll(step.attempts);
  }
  hash->Add(result.step);
  hash->Add(result.simulated);
}

}  // namespace

absl::StatusOr<uint64_t> DigestOfSeed(uint64_t seed) {
  Scenario scenario = RandomScenario(seed);
  call::TraceRecorder recorder(scenario.service.balancing);
  scenario.options.observer = &recorder;
  const absl::StatusOr<Result> result =
      Simulate(scenario.service, scenario.cluster, scenario.options);
  if (!result.ok()) return result.status();
  if (!result->violations.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("seed ", seed, ": ", result->violations.front()));
  }
  Hash hash;
  hash.Add(recorder.Text());
  Add(*result, &hash);
  return hash.value();
}

}  // namespace mesh::simulation
