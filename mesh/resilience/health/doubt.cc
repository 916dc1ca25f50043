#include "mesh/resilience/health/doubt.h"

#include <algorithm>
#include <cmath>

namespace mesh::resilience {
namespace {

// The rate at which others fail, as far as doubt goes: at least, and at most.
constexpr double kLeastRate = 0.01;
constexpr double kMostRate = 0.9;
// The odds of failure of the endpoint that is feared are this many times as
// high: 9% where others fail at 1%. So two failures in a row are not enough.
constexpr double kOdds = 10;
// How often an answer is slow against another one that chance has picked: when
// both are alike, and when its endpoint is slow.
constexpr double kSlowByChance = 0.2;
constexpr double kSlowByFault = 0.6;
// A sum climbs no higher than this many times what is enough.
constexpr double kMostSum = 2;

// How often others fail is known from this many recent attempts.
constexpr double kRecentAttempts = 500;
// A doubt rests for at most 2^this times as many calls as its trial took.
constexpr int kMostDoublings = 4;

bool Rests(const DoubtMemory& memory, Doubt doubt, uint32_t ended) {
  const DoubtMemory::Rest& rest = memory.rest(doubt);
  return rest.calls != 0 && static_cast<int32_t>(ended - rest.until) < 0;
}

}  // namespace

double AfterFailure(double sum, uint32_t good, double others) {
  const double usual = std::clamp(others, kLeastRate, kMostRate);
  const double odds = kOdds * usual / (1 - usual);
  const double feared = odds / (1 + odds);
  const double before =
      std::max(0.0, sum + good * std::log((1 - feared) / (1 - usual)));
  return std::min(before + std::log(feared / usual),
                  kMostSum * kDoubtfulFailures);
}

double AfterSlowAnswer(double sum, uint32_t quick) {
  const double before = std::max(
      0.0, sum + quick * std::log((1 - kSlowByFault) / (1 - kSlowByChance)));
  return std::min(before + std::log(kSlowByFault / kSlowByChance),
                  kMostSum * kDoubtfulSlowness);
}

// ---- How often endpoints fail ----

void Doubts::BeginLook() {
  counting_ = Tally();
  halve_ = all_.total > kRecentAttempts;
}

void Doubts::Count(const Counted& counted, uint32_t ended,
                   DoubtMemory* memory) {
  if (halve_) {
    memory->total /= 2;
    memory->failed /= 2;
  }
  memory->total += counted.total;
  memory->failed += std::min(counted.failed, counted.total);
  counting_.total += memory->total;
  counting_.failed += memory->failed;
  // Counts are modulo their width, so the end of a rest is noted in time.
  for (DoubtMemory::Rest& rest : memory->rests) {
    if (rest.calls != 0 &&
        static_cast<int32_t>(ended - rest.until - rest.calls) > 0) {
      rest = DoubtMemory::Rest();
    }
  }
}

void Doubts::EndLook() { all_ = counting_; }

double Doubts::OthersFail(const DoubtMemory& memory) const {
  const double total = all_.total - memory.total;
  const double failed = all_.failed - memory.failed;
  return total < 1 ? 0 : std::clamp(failed / total, 0.0, 1.0);
}

// ---- Doubts ----

std::optional<Doubt> Doubts::OnFailure(uint32_t row, uint32_t ended,
                                       DoubtMemory* memory) const {
  const uint32_t since = ended - memory->failures_at;
  memory->failures = AfterFailure(memory->failures, since > 0 ? since - 1 : 0,
                                  OthersFail(*memory));
  memory->failures_at = ended;
  if (row >= kDoubtfulRow && !Rests(*memory, Doubt::kRow, ended)) {
    return Doubt::kRow;
  }
  if (memory->failures >= kDoubtfulFailures &&
      !Rests(*memory, Doubt::kFailures, ended)) {
    return Doubt::kFailures;
  }
  return std::nullopt;
}

std::optional<Doubt> Doubts::OnSlowAnswer(uint32_t ended, int64_t now,
                                          DoubtMemory* memory) {
  const uint32_t since = ended - memory->slowness_at;
  const double before = memory->slowness;
  memory->slowness = AfterSlowAnswer(before, since > 0 ? since - 1 : 0);
  memory->slowness_at = ended;
  if (before == 0 || memory->slowness <= AfterSlowAnswer(0, 0)) {
    memory->slow_since = now;
  }
  if (memory->slowness >= kDoubtfulSlowness &&
      !Rests(*memory, Doubt::kSlowness, ended)) {
    return Doubt::kSlowness;
  }
  return std::nullopt;
}

void Doubts::Acquit(Doubt doubt, uint32_t calls, uint32_t began, uint32_t ended,
                    DoubtMemory* memory) {
  DoubtMemory::Rest& rest = memory->rest(doubt);
  // It came again soon after its last rest.
  const bool again = rest.calls != 0 &&
                     static_cast<int32_t>(began - rest.until - rest.calls) <= 0;
  rest.doublings = again ? std::min(rest.doublings + 1, kMostDoublings) : 0;
  rest.calls = calls << rest.doublings;
  rest.until = ended + rest.calls;
  Forget(memory);
}

void Doubts::Forget(DoubtMemory* memory) {
  memory->failures = 0;
  memory->slowness = 0;
}

void Doubts::Rebase(uint32_t before, uint32_t now, DoubtMemory* memory) {
  const uint32_t shift = now - before;
  memory->failures_at += shift;
  memory->slowness_at += shift;
  for (DoubtMemory::Rest& rest : memory->rests) rest.until += shift;
}

}  // namespace mesh::resilience
