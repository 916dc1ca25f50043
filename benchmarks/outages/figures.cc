#include "benchmarks/outages/figures.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace mesh::benchmarks {
namespace {

std::string Short(double value) { return absl::StrFormat("%.6g", value); }

// The port of "0100007F:9A3C", or -1.
int PortOf(absl::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos) return -1;
  return static_cast<int>(
      std::strtol(std::string(address.substr(colon + 1)).c_str(), nullptr, 16));
}

}  // namespace

std::string Wanted::Text() const {
  const bool bound_below = std::isfinite(least);
  const bool bound_above = std::isfinite(most);
  if (bound_below && bound_above) {
    return absl::StrCat(Short(least), " to ", Short(most));
  }
  if (bound_below) return ">= " + Short(least);
  if (!bound_above) return "";
  return most == 0 ? "0" : "<= " + Short(most);
}

Wanted AtMost(double most) {
  Wanted wanted;
  wanted.most = most;
  return wanted;
}

Wanted AtLeast(double least) {
  Wanted wanted;
  wanted.least = least;
  return wanted;
}

Wanted Between(double least, double most) {
  Wanted wanted;
  wanted.least = least;
  wanted.most = most;
  return wanted;
}

void Figures::Judge(const std::string& key, double value,
                    const Wanted& wanted) {
  const bool met = wanted.Met(value);
  met_ = met_ && met;
  Print(key, value, wanted.Text(), met ? "met" : "MISSED");
}

void Figures::Tell(const std::string& key, double value) {
  Print(key, value, "", "");
}

void Figures::Print(const std::string& key, double value,
                    const std::string& wanted, const char* verdict) {
  report_->Metric(key, value);
  if (!begun_) {
    begun_ = true;
    std::printf("%-42s %12s  %-14s\n%s\n", "", "value", "wanted",
                std::string(78, '-').c_str());
  }
  std::string line = absl::StrFormat("%-42s %12s  %-14s %s", key, Short(value),
                                     wanted, verdict);
  line.erase(line.find_last_not_of(' ') + 1);
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

absl::StatusOr<std::set<std::string>> ParseOnly(
    absl::string_view only, const std::vector<std::string>& all) {
  std::set<std::string> keys;
  for (const absl::string_view key :
       absl::StrSplit(only, ',', absl::SkipEmpty())) {
    if (std::find(all.begin(), all.end(), key) == all.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("there is no row \"", key, "\"; there are ",
                       absl::StrJoin(all, " "), "."));
    }
    keys.emplace(key);
  }
  if (keys.empty()) {
    return absl::InvalidArgumentError("--only= names no row.");
  }
  return keys;
}

double Counts::success() const {
  if (calls == 0) return 1;
  return static_cast<double>(calls - failed) / static_cast<double>(calls);
}

double Counts::by_share() const {
  const int64_t answered = calls - failed;
  if (answered == 0) return 0;
  return static_cast<double>(by) / static_cast<double>(answered);
}

Counts CountDue(const std::vector<Outcome>& outcomes, absl::Time from,
                absl::Time to, char by) {
  Counts counts;
  for (const Outcome& outcome : outcomes) {
    if (outcome.due < from || outcome.due >= to) continue;
    ++counts.calls;
    counts.failed += outcome.ok() ? 0 : 1;
    counts.late += outcome.late && outcome.code == 0 ? 1 : 0;
    counts.by +=
        outcome.ok() && !outcome.by.empty() && outcome.by[0] == by ? 1 : 0;
  }
  return counts;
}

std::optional<absl::Duration> RecoveredAfter(std::vector<Outcome> outcomes,
                                             absl::Time fault, int row) {
  std::sort(outcomes.begin(), outcomes.end(),
            [](const Outcome& a, const Outcome& b) { return a.due < b.due; });
  int good = 0;
  absl::Time first;
  for (const Outcome& outcome : outcomes) {
    if (outcome.due < fault) continue;
    if (!outcome.ok()) {
      good = 0;
      continue;
    }
    if (good == 0) first = outcome.due;
    if (++good == row) return first - fault;
  }
  return std::nullopt;
}

int64_t Accepted::AcceptedIn(absl::Time from, absl::Time to) const {
  return std::count_if(accepts.begin(), accepts.end(), [&](absl::Time time) {
    return time >= from && time < to;
  });
}

int64_t Accepted::OpenAt(absl::Time time) const {
  const auto until = [&](absl::Time other) { return other <= time; };
  return std::count_if(accepts.begin(), accepts.end(), until) -
         std::count_if(closes.begin(), closes.end(), until);
}

Accepted ParseAccepted(absl::string_view text) {
  Accepted accepted;
  while (true) {
    const size_t end = text.find('\n');
    if (end == absl::string_view::npos) return accepted;
    const std::pair<absl::string_view, absl::string_view> words =
        absl::StrSplit(text.substr(0, end), absl::MaxSplits(' ', 1));
    text.remove_prefix(end + 1);
    int64_t nanoseconds = 0;
    if (!absl::SimpleAtoi(words.second, &nanoseconds)) continue;
    const absl::Time time = absl::FromUnixNanos(nanoseconds);
    if (words.first == "accept") accepted.accepts.push_back(time);
    if (words.first == "close") accepted.closes.push_back(time);
  }
}

int64_t MostWithin(std::vector<absl::Time> times, absl::Duration window) {
  std::sort(times.begin(), times.end());
  size_t begin = 0, most = 0;
  for (size_t i = 0; i < times.size(); ++i) {
    while (times[i] - times[begin] >= window) ++begin;
    most = std::max(most, i + 1 - begin);
  }
  return static_cast<int64_t>(most);
}

double OutShare(const std::vector<HealthChange>& changes, int endpoints,
                absl::Time from, absl::Time to) {
  std::map<std::string, absl::Time> out_since;
  absl::Duration out;
  const auto add = [&](absl::Time begin, absl::Time end) {
    out += std::max(std::min(end, to) - std::max(begin, from),
                    absl::ZeroDuration());
  };
  for (const HealthChange& change : changes) {
    const auto it = out_since.find(change.address);
    if (change.out) {
      if (it == out_since.end()) out_since[change.address] = change.time;
    } else if (it != out_since.end()) {
      add(it->second, change.time);
      out_since.erase(it);
    }
  }
  for (const auto& [unused, since] : out_since) add(since, to);
  return absl::FDivDuration(out, endpoints * (to - from));
}

std::set<int> PortsTo(absl::string_view proc_net_tcp,
                      const std::set<int>& ports, int state) {
  std::set<int> found;
  for (const absl::string_view line : absl::StrSplit(proc_net_tcp, '\n')) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() < 4 || words[3].size() != 2) continue;
    if (std::strtol(std::string(words[3]).c_str(), nullptr, 16) != state) {
      continue;
    }
    if (ports.count(PortOf(words[2])) > 0) found.insert(PortOf(words[1]));
  }
  return found;
}

}  // namespace mesh::benchmarks
