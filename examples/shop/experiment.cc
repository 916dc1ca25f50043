#include "examples/shop/experiment.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace shop {
namespace {

constexpr double kLateSeconds = 0.050;
constexpr double kSlowSettles = 2;
constexpr double kAftermath = 1;  // How long a fault is felt that is over.

double Seconds(int64_t nanos) { return nanos * 1e-9; }

// The last sample not after `time`, or the first.
const Sample& SampleAt(const ArmLog& log, double time) {
  auto after = std::upper_bound(
      log.samples.begin(), log.samples.end(), time,
      [](double time, const Sample& sample) { return time < sample.time; });
  return after == log.samples.begin() ? log.samples.front() : *(after - 1);
}

const Phase* FindPhase(const ArmLog& log, const std::string& id) {
  for (const Phase& phase : log.phases) {
    if (phase.id == id) return &phase;
  }
  return nullptr;
}

const char* StatusName(uint8_t code) {
  static constexpr const char* kNames[] = {"OK",
                                           "CANCELLED",
                                           "UNKNOWN",
                                           "INVALID_ARGUMENT",
                                           "DEADLINE_EXCEEDED",
                                           "NOT_FOUND",
                                           "ALREADY_EXISTS",
                                           "PERMISSION_DENIED",
                                           "RESOURCE_EXHAUSTED",
                                           "FAILED_PRECONDITION",
                                           "ABORTED",
                                           "OUT_OF_RANGE",
                                           "UNIMPLEMENTED",
                                           "INTERNAL",
                                           "UNAVAILABLE",
                                           "DATA_LOSS",
                                           "UNAUTHENTICATED"};
  return code < 17 ? kNames[code] : "UNKNOWN";
}

}  // namespace

std::string FormatMilliseconds(double ms) {
  if (ms >= 999.5) return absl::StrFormat("%.2f s", ms / 1000);
  return ms < 9.95 ? absl::StrFormat("%.1f ms", ms)
                   : absl::StrFormat("%.0f ms", ms);
}

std::string FormatShare(double share) {
  // A hair is added for what binary fractions cannot hold.
  return absl::StrFormat("%.2f%%", std::floor(share * 1e4 + 1e-6) / 1e2);
}

std::vector<Phase> PlanPhases(double seconds) {
  struct Plan {
    const char* id;
    const char* title;
    const char* label;
    const char* service;
    double weight;
    // When the fault of the phase begins and ends.
    double fault_from, fault_to;
    const char* story;
  };
  static constexpr Plan kPlan[] = {
      {"calm", "all is well", "all is well", "", 3, 0, 0,
       "What the shop costs when nothing is broken."},
      {"kill", "kill -9 of cart-1, then restart", "kill -9", "cart", 5, 0.05,
       0.55,
       "Connections break at once, so both see it and try elsewhere. The "
       "server comes back on its port."},
      {"stop", "SIGSTOP of cart-2, then SIGCONT", "SIGSTOP", "cart", 6, 0.05,
       0.75,
       "The process hangs; its connections stay. Round robin sends it every "
       "third call, which waits until its deadline. mesh gives an attempt 200 "
       "ms and tries another cart; the one that has fallen silent is suspect, "
       "and gets a probe in place of calls."},
      {"slow", "catalog-3 is 20x slower", "20x slower", "catalog", 8, 0.05, 0.9,
       "It works, but takes 200 ms instead of 10. Round robin does not "
       "notice. mesh compares it with the others, takes it out of use, and "
       "tries it with single calls now and then."},
      {"flaky", "payment-2 fails 10% of its calls", "10% fail", "payment", 5,
       0.05, 0.9,
       "Both try quotes again, mesh within a budget. Neither repeats a "
       "charge, which might then be made twice."},
      {"rolling", "rolling restart of all, on new ports", "rolling restart", "",
       7, 0.05, 0.85,
       "Each server is replaced by one on a new port. mesh follows the "
       "endpoints file by itself; bare channels are built anew by code that "
       "the application has to bring."},
      {"recovery", "all is well again", "all well", "", 3, 0, 0,
       "Nothing is left of the faults."},
  };
  double weights = 0;
  for (const Plan& plan : kPlan) weights += plan.weight;
  std::vector<Phase> phases;
  double begin = 0;
  for (const Plan& plan : kPlan) {
    const double length = seconds * plan.weight / weights;
    phases.push_back({plan.id, plan.title, plan.label, plan.story, plan.service,
                      begin, begin + length, begin + length * plan.fault_from,
                      begin + length * plan.fault_to});
    begin += length;
  }
  return phases;
}

CallStats StatsOf(const ArmLog& log, Class call_class, double from, double to) {
  CallStats stats;
  std::vector<double> latencies_ms;
  for (const CallRecord& call : log.calls) {
    const double due = Seconds(call.due_ns - log.start_ns);
    if (ClassOf(call.kind) != call_class || due < from || due >= to) continue;
    ++stats.calls;
    if (call.status != 0) ++stats.failed;
    if (Seconds(call.late_ns) > kLateSeconds) ++stats.late_starts;
    latencies_ms.push_back(Seconds(call.latency_ns) * 1e3);
  }
  stats.p50_ms = Quantile(0.50, &latencies_ms);
  stats.p99_ms = Quantile(0.99, &latencies_ms);
  return stats;
}

std::map<std::string, uint64_t> FailuresOf(const ArmLog& log) {
  std::map<std::string, uint64_t> failures;
  for (const CallRecord& call : log.calls) {
    if (call.status == 0 || ClassOf(call.kind) != Class::kIdempotent) continue;
    ++failures[StatusName(call.status)];
  }
  return failures;
}

std::vector<uint64_t> TrafficOf(const ArmLog& log, double from, double to) {
  std::vector<uint64_t> traffic(log.servers.size(), 0);
  if (log.samples.empty()) return traffic;
  const Sample& first = SampleAt(log, from);
  const Sample& last = SampleAt(log, to);
  for (size_t i = 0; i < traffic.size(); ++i) {
    traffic[i] = last.calls[i] - first.calls[i];
  }
  return traffic;
}

double ArrivedBy(const ArmLog& log, size_t index, double time) {
  auto after = std::lower_bound(
      log.samples.begin(), log.samples.end(), time,
      [](const Sample& sample, double time) { return sample.time < time; });
  if (after == log.samples.end()) {
    return log.samples.empty() ? 0 : log.samples.back().calls[index];
  }
  if (after == log.samples.begin()) return after->calls[index];
  const Sample& before = *(after - 1);
  const double part = (time - before.time) / (after->time - before.time);
  return before.calls[index] +
         part * (after->calls[index] - before.calls[index]);
}

uint64_t RetriesOf(const ArmLog& log, double from, double to) {
  if (log.samples.empty()) return 0;
  return SampleAt(log, to).retries - SampleAt(log, from).retries;
}

HealthStats HealthOf(const ArmLog& log, double from, double to) {
  HealthStats health;
  if (log.samples.empty()) return health;
  const Sample& first = SampleAt(log, from);
  const Sample& last = SampleAt(log, to);
  for (size_t i = 0; i < first.suspected.size(); ++i) {
    health.suspected += last.suspected[i] - first.suspected[i];
    health.ejected += last.ejected[i] - first.ejected[i];
  }
  return health;
}

uint64_t UnexplainedOf(const ArmLog& log) {
  uint64_t unexplained = 0;
  for (const CallRecord& call : log.calls) {
    if (call.status == 0) continue;
    const double begin = Seconds(call.due_ns - log.start_ns);
    const double end = begin + Seconds(call.latency_ns);
    unexplained += std::none_of(
        log.phases.begin(), log.phases.end(), [&](const Phase& phase) {
          return phase.fault_to > phase.fault_from &&
                 (phase.service.empty() ||
                  phase.service == ServiceOf(call.kind)) &&
                 begin < phase.fault_to + kAftermath && end > phase.fault_from;
        });
  }
  return unexplained;
}

double SlowShareOf(const ArmLog& log) {
  const Phase* slow = FindPhase(log, "slow");
  if (slow == nullptr) return 0;
  const std::vector<uint64_t> traffic =
      TrafficOf(log, slow->fault_from + kSlowSettles, slow->fault_to);
  double all = 0, at_slow = 0;
  for (size_t i = 0; i < traffic.size(); ++i) {
    if (absl::StartsWith(log.servers[i], "catalog")) all += traffic[i];
    if (log.servers[i] == "catalog-3") at_slow += traffic[i];
  }
  return all == 0 ? 0 : at_slow / all;
}

double Quantile(double q, std::vector<double>* values) {
  if (values->empty()) return 0;
  const double rank = std::ceil(q * values->size()) - 1;
  const size_t index = rank < 0 ? 0 : static_cast<size_t>(rank);
  std::nth_element(values->begin(), values->begin() + index, values->end());
  return (*values)[index];
}

std::map<std::string, double> MetricsOf(const std::vector<ArmLog>& arms) {
  std::map<std::string, double> metrics;
  for (const ArmLog& log : arms) {
    auto set = [&](absl::string_view name, double value) {
      metrics[absl::StrCat(log.arm, ".", name)] = value;
    };
    auto set_stats = [&](absl::string_view prefix, const CallStats& stats) {
      set(absl::StrCat(prefix, "calls"), stats.calls);
      set(absl::StrCat(prefix, "failed"), stats.failed);
      set(absl::StrCat(prefix, "success"), stats.success());
      set(absl::StrCat(prefix, "p50_ms"), stats.p50_ms);
      set(absl::StrCat(prefix, "p99_ms"), stats.p99_ms);
      set(absl::StrCat(prefix, "late_starts"), stats.late_starts);
    };
    const double end = log.phases.back().end;
    set_stats("", StatsOf(log, Class::kIdempotent, 0, end));
    set_stats("once.", StatsOf(log, Class::kOnce, 0, end));
    set_stats("stream.", StatsOf(log, Class::kStream, 0, end));
    set("once.executed_twice", log.charged_twice);
    for (const auto& [name, calls] : FailuresOf(log)) {
      set(absl::StrCat("failed.", name), calls);
    }
    set("retries", RetriesOf(log, 0, end + 1));
    set("slow_share", SlowShareOf(log));
    for (const Phase& phase : log.phases) {
      const std::string prefix = absl::StrCat(phase.id, ".");
      set_stats(prefix,
                StatsOf(log, Class::kIdempotent, phase.begin, phase.end));
      set(absl::StrCat(prefix, "retries"),
          RetriesOf(log, phase.begin, phase.end));
      set(absl::StrCat(prefix, "once.failed"),
          StatsOf(log, Class::kOnce, phase.begin, phase.end).failed);
      set(absl::StrCat(prefix, "stream.failed"),
          StatsOf(log, Class::kStream, phase.begin, phase.end).failed);
    }
    const std::vector<uint64_t> traffic = TrafficOf(log, 0, end + 1);
    for (size_t i = 0; i < traffic.size(); ++i) {
      set(absl::StrCat("traffic.", log.servers[i]), traffic[i]);
    }
    if (log.arm == "mesh") {
      const HealthStats health = HealthOf(log, 0, end + 1);
      set("suspected", health.suspected);
      set("ejected", health.ejected);
      set("transparent_retries", log.transparent_retries);
      set("denied_retries", log.denied_retries);
      set("rotations", log.rotations.size());
      set("withdrawn_authorities", log.withdrawn_authorities);
      set("lost_to_rotations", UnexplainedOf(log));
    }
  }
  return metrics;
}

std::string MetricsJson(const std::map<std::string, double>& metrics) {
  std::string json = "{";
  for (const auto& [name, value] : metrics) {
    absl::StrAppendFormat(&json, "%s\n  \"%s\": %.10g",
                          json.size() == 1 ? "" : ",", name, value);
  }
  return json + "\n}\n";
}

std::string Tables(const std::vector<ArmLog>& arms) {
  std::string text = absl::StrFormat("%-38s", "idempotent calls");
  for (const ArmLog& log : arms) {
    absl::StrAppendFormat(&text, "  | %-43s", log.arm);
  }
  absl::StrAppendFormat(&text, "\n%-38s", "");
  for (size_t i = 0; i < arms.size(); ++i) {
    absl::StrAppendFormat(&text, "  | %8s %7s %8s %8s %8s", "success", "failed",
                          "p50", "p99", "retries");
  }
  text += "\n";
  auto row = [&](const std::string& title, double begin, double end) {
    absl::StrAppendFormat(&text, "%-38s", title);
    for (const ArmLog& log : arms) {
      const CallStats stats = StatsOf(log, Class::kIdempotent, begin, end);
      absl::StrAppendFormat(
          &text, "  | %8s %7d %8s %8s %8d", FormatShare(stats.success()),
          stats.failed, FormatMilliseconds(stats.p50_ms),
          FormatMilliseconds(stats.p99_ms), RetriesOf(log, begin, end));
    }
    text += "\n";
  };
  for (const Phase& phase : arms.front().phases) {
    row(phase.title, phase.begin, phase.end);
  }
  const double end = arms.front().phases.back().end;
  row("in all", 0, end);

  auto counts = [&](const char* title, auto value) {
    absl::StrAppendFormat(&text, "%-38s", title);
    for (const ArmLog& log : arms) {
      absl::StrAppendFormat(&text, "  | %-43s", value(log));
    }
    text += "\n";
  };
  text += "\n";
  counts("failed with", [&](const ArmLog& log) {
    std::string names;
    for (const auto& [name, calls] : FailuresOf(log)) {
      absl::StrAppend(&names, names.empty() ? "" : ", ", calls, " ", name);
    }
    return names.empty() ? "none" : names;
  });
  counts("calls that must not be done twice", [&](const ArmLog& log) {
    const CallStats stats = StatsOf(log, Class::kOnce, 0, end);
    return absl::StrFormat("%d failed of %d, %d done twice", stats.failed,
                           stats.calls, log.charged_twice);
  });
  counts("streams", [&](const ArmLog& log) {
    const CallStats stats = StatsOf(log, Class::kStream, 0, end);
    return absl::StrFormat("%d failed of %d", stats.failed, stats.calls);
  });
  counts("catalog-3's share while it is slow", [&](const ArmLog& log) {
    return absl::StrFormat("%.1f%%", SlowShareOf(log) * 100);
  });
  counts("servers taken out of use", [&](const ArmLog& log) {
    const HealthStats health = HealthOf(log, 0, end + 1);
    if (health.suspected + health.ejected == 0) return std::string("never");
    return absl::StrFormat("%d silent, %d failing or slow", health.suspected,
                           health.ejected);
  });
  for (const Phase& phase : arms.front().phases) {
    bool any = false;
    for (const ArmLog& log : arms) {
      const HealthStats health = HealthOf(log, phase.begin, phase.end);
      any = any || health.suspected + health.ejected > 0;
    }
    if (!any) continue;
    counts(absl::StrCat("  ", phase.label).c_str(), [&](const ArmLog& log) {
      const HealthStats health = HealthOf(log, phase.begin, phase.end);
      return health.suspected + health.ejected == 0
                 ? std::string()
                 : absl::StrFormat("%d silent, %d failing or slow",
                                   health.suspected, health.ejected);
    });
  }
  counts("rotations of all certificates", [&](const ArmLog& log) {
    if (log.rotations.empty()) return std::string("none");
    return absl::StrFormat("%d; %d calls lost for them", log.rotations.size(),
                           UnexplainedOf(log));
  });
  counts("calls started over 50 ms late", [&](const ArmLog& log) {
    uint64_t late = 0;
    for (Class c : {Class::kIdempotent, Class::kOnce, Class::kStream}) {
      late += StatsOf(log, c, 0, end).late_starts;
    }
    return absl::StrCat(late);
  });

  text += "\n";
  counts("calls that came to each server", [](const ArmLog&) { return ""; });
  for (size_t i = 0; i < arms.front().servers.size(); ++i) {
    counts(arms.front().servers[i].c_str(), [&](const ArmLog& log) {
      return absl::StrCat(TrafficOf(log, 0, end + 1)[i]);
    });
  }
  return text;
}

}  // namespace shop
