#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mesh/simulation/simulation.h"

namespace mesh::simulation {

void Histogram::Add(int64_t nanoseconds) {
  const uint64_t value =
      nanoseconds < 0 ? 0 : static_cast<uint64_t>(nanoseconds);
  constexpr uint64_t kSub = uint64_t{1} << kSubBits;
  size_t bucket = value;
  if (value >= kSub) {
    const int shift = 63 - __builtin_clzll(value) - kSubBits;
    bucket = (static_cast<size_t>(shift) << kSubBits) + (value >> shift);
  }
  ++counts_[bucket];
  ++count_;
  sum_ += static_cast<double>(value);
  max_ = std::max(max_, nanoseconds);
}

absl::Duration Histogram::Mean() const {
  return count_ == 0 ? absl::ZeroDuration()
                     : absl::Nanoseconds(sum_ / static_cast<double>(count_));
}

absl::Duration Histogram::Quantile(double q) const {
  if (count_ == 0) return absl::ZeroDuration();
  const double rank = std::clamp(q, 0.0, 1.0) * static_cast<double>(count_);
  uint64_t below = 0;
  for (size_t bucket = 0; bucket < counts_.size(); ++bucket) {
    below += counts_[bucket];
    if (counts_[bucket] == 0 || static_cast<double>(below) < rank) continue;
    constexpr size_t kSub = size_t{1} << kSubBits;
    if (bucket < kSub) return absl::Nanoseconds(bucket);
    // The middle of the bucket.
    const int shift = static_cast<int>(bucket >> kSubBits) - 1;
    const uint64_t low = uint64_t{(bucket & (kSub - 1)) | kSub} << shift;
    const uint64_t middle = low + ((uint64_t{1} << shift) >> 1);
    return absl::Nanoseconds(
        std::min<int64_t>(static_cast<int64_t>(middle), max_));
  }
  return Max();
}

double Result::Amplification(absl::Duration from, absl::Duration until,
                             size_t tier) const {
  uint64_t calls = 0;
  uint64_t begun = 0;
  const Tier& of = tiers[tier];
  for (size_t i = 0; i < steps.size(); ++i) {
    const absl::Duration begin = step * i;
    if (begin < from || begin >= until) continue;
    calls += steps[i].started;
    for (size_t e = 0; e < of.endpoints; ++e) {
      begun += steps[i].attempts[of.first_endpoint + e];
    }
  }
  return calls == 0 ? 0 : static_cast<double>(begun) / calls;
}

std::string Result::Summary() const {
  const auto ms = [](absl::Duration duration) {
    return absl::FormatDuration(absl::Trunc(duration, absl::Microseconds(10)));
  };
  std::string text = absl::StrFormat(
      "%d calls, %.3f%% ok, %d attempts, %d retries, %d hedges, %d "
      "transparent, %d denied by the budget\n"
      "latency p50 %s, p99 %s, p99.9 %s, most %s\n",
      calls, calls == 0 ? 0 : 100.0 * ok() / calls, attempts, retries, hedges,
      transparent_retries, denied_by_budget, ms(latency.Quantile(0.5)),
      ms(latency.Quantile(0.99)), ms(latency.Quantile(0.999)),
      ms(latency.Max()));
  for (size_t code = 1; code < ended.size(); ++code) {
    if (ended[code] == 0) continue;
    absl::StrAppend(
        &text, "  ",
        absl::StatusCodeToString(static_cast<absl::StatusCode>(code)), " ",
        ended[code], "\n");
  }
  for (int guard = 0; guard < base::kGuards; ++guard) {
    const Count& count = refusals[guard];
    if (count.enforced + count.observed == 0) continue;
    absl::StrAppend(&text, "  refused by ",
                    base::NameOf(static_cast<base::Guard>(guard)), " ",
                    count.enforced, ", would have been ", count.observed, "\n");
  }
  for (int to = 0; to < cluster::kHealths; ++to) {
    const Count& count = health[to];
    if (count.enforced + count.observed == 0) continue;
    absl::StrAppend(&text, "  became ",
                    cluster::NameOf(static_cast<cluster::Health>(to)), " ",
                    count.enforced, ", would have ", count.observed, "\n");
  }
  if (probes > 0) absl::StrAppend(&text, "  probes ", probes, "\n");
  if (second_dials > 0) {
    absl::StrAppend(&text, "  second connections dialled ", second_dials,
                    ", in use ", replaced, "; ended as dead ", broken, "\n");
  }
  absl::StrAppendFormat(&text, "  %-24s %10s %7s %10s %10s %10s\n", "endpoint",
                        "attempts", "share", "ok", "never sent", "wasted");
  for (const Tier& tier : tiers) {
    for (size_t i = 0; i < tier.endpoints; ++i) {
      const Endpoint& endpoint = endpoints[tier.first_endpoint + i];
      absl::StrAppendFormat(
          &text, "  %-24s %10d %6.2f%% %10d %10d %10d\n", endpoint.address,
          endpoint.attempts,
          tier.attempts == 0 ? 0 : 100.0 * endpoint.attempts / tier.attempts,
          endpoint.ended[0], endpoint.never_sent, endpoint.wasted);
    }
  }
  return text;
}

}  // namespace mesh::simulation
