#ifndef EXAMPLES_SHOP_EXPERIMENT_H_
#define EXAMPLES_SHOP_EXPERIMENT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "examples/shop/calls.h"

namespace shop {

// What the demo does, what was seen of it, and the figures made of that. Plain
// values and functions. Times are seconds from the begin of the arm's load.

// A stretch of the run with one fault in it.
struct Phase {
  std::string id;     // "stop"; part of metric names.
  std::string title;  // "SIGSTOP of cart-2, then SIGCONT"
  std::string label;  // "SIGSTOP"; where there is little room.
  std::string story;  // A sentence or two on what happens and why.
  // The service that the fault hits, "cart"; "" when it hits all or none.
  std::string service;
  double begin = 0;
  double end = 0;
  // While the fault lasts. Empty (from == to) when there is none.
  double fault_from = 0;
  double fault_to = 0;
};

// The phases of one arm, `seconds` long together.
std::vector<Phase> PlanPhases(double seconds);

// Shortest arm in which each phase can show what it is there for.
constexpr double kMinArmSeconds = 20;

// What the processes had counted at one time.
struct Sample {
  double time = 0;
  std::vector<uint64_t> calls;  // Calls that arrived, by server.
  // Mesh counts them. gRPC does not, so bare's are those that the servers saw
  // (grpc-previous-rpc-attempts).
  uint64_t retries = 0;
  // For each service, in the order of kServices: how often mesh had taken one
  // of its servers out of use. And how many were out of use, all together.
  std::vector<uint64_t> suspected, ejected;
  uint64_t out = 0;
};

// All that was seen of one arm.
struct ArmLog {
  std::string arm;  // "bare" or "mesh"
  std::vector<Phase> phases;
  std::vector<std::string> servers;  // "cart-1", in the order of the samples.
  std::vector<CallRecord> calls;     // In no order.
  int64_t start_ns = 0;              // Second 0, by the monotonic clock.
  std::vector<Sample> samples;       // By time.
  // Retries of calls that no server had seen, and retries that were not made
  // because the budget was empty. Zero for bare, which has neither figure.
  uint64_t transparent_retries = 0;
  uint64_t denied_retries = 0;
  // Orders that were charged more than once.
  uint64_t charged_twice = 0;
  // When all processes got new keys and certificates. Never in bare.
  std::vector<double> rotations;
  uint64_t withdrawn_authorities = 0;
};

// Figures of the calls of one class in one stretch of time, by when they were
// due.
struct CallStats {
  uint64_t calls = 0;
  uint64_t failed = 0;
  double p50_ms = 0;
  double p99_ms = 0;
  uint64_t late_starts = 0;  // By more than 50 ms.

  // 1 when there were no calls.
  double success() const {
    return calls == 0 ? 1 : 1 - static_cast<double>(failed) / calls;
  }
};

CallStats StatsOf(const ArmLog& log, Class call_class, double from, double to);

// How many of the idempotent calls failed with which status, by its name.
std::map<std::string, uint64_t> FailuresOf(const ArmLog& log);

// Calls that arrived at each server between two times, to the nearest samples.
std::vector<uint64_t> TrafficOf(const ArmLog& log, double from, double to);
// Calls that had arrived at server `index` by `time`, interpolated.
double ArrivedBy(const ArmLog& log, size_t index, double time);
// Retries between two times, to the nearest samples.
uint64_t RetriesOf(const ArmLog& log, double from, double to);

// How often servers were taken out of use between two times, to the nearest
// samples.
struct HealthStats {
  uint64_t suspected = 0;  // Silent.
  uint64_t ejected = 0;    // Failing, or slow.
};
HealthStats HealthOf(const ArmLog& log, double from, double to);

// Calls of all classes that failed and that no fault explains. A fault explains
// failures of its service while it lasts, and for a second more. What a
// rotation of certificates breaks is among the others.
uint64_t UnexplainedOf(const ArmLog& log);

// Share of the catalogs' traffic that came to the slow one from 2 s after it
// slowed down until it was fast again.
double SlowShareOf(const ArmLog& log);

// The `q` quantile (0 to 1): the smallest value such that a share `q` is not
// above it. 0 when there are no values. Reorders `values`.
double Quantile(double q, std::vector<double>* values);

// All figures, by name: "mesh.failed", "bare.stop.p99_ms", ...
std::map<std::string, double> MetricsOf(const std::vector<ArmLog>& arms);
// A JSON object of them.
std::string MetricsJson(const std::map<std::string, double>& metrics);

// "7.3 ms", "201 ms", "1.00 s".
std::string FormatMilliseconds(double ms);
// "99.97%", rounded down: 100% means all.
std::string FormatShare(double share);

// The figures for people: phases and traffic, side by side.
std::string Tables(const std::vector<ArmLog>& arms);

}  // namespace shop

#endif  // EXAMPLES_SHOP_EXPERIMENT_H_
