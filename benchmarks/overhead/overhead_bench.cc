// What mesh costs beside a bare grpc::Channel: client instructions and heap
// allocations a call, CPU and wall time, and what the hop through a proxy
// costs in its place. Same payload, deadline and process-wide settings
// everywhere; README.md has how each figure is made.
//
//   overhead_bench [--json FILE] [--no-hook DIR] [--only=NAME,...]
//
// --only: of the workloads, by the names of their metrics, of "served" (what a
// served call costs) and of "time".
//
// --no-hook: what mesh costs where gRPC has no hooks for calls, beside it. DIR
// has the client's programs built with MESH_CALL_HOOK=0.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmarks/outages/figures.h"
#include "benchmarks/overhead/counted.h"
#include "benchmarks/overhead/tls_files.h"
#include "benchmarks/report.h"
#include "tests/process/process.h"

namespace mesh::benchmarks {
namespace {

using test::Process;
using test::RunToEnd;

[[noreturn]] void Die(absl::string_view what) {
  std::fprintf(stderr, "overhead_bench: %.*s\n", static_cast<int>(what.size()),
               what.data());
  std::exit(1);
}

template <typename T>
T ValueOrDie(absl::StatusOr<T> result) {
  if (!result.ok()) Die(result.status().message());
  return *std::move(result);
}

// A line on stderr that replaces the one before it, so that long work shows
// that it goes on.
void Progress(const std::string& line) {
  static const bool terminal = isatty(STDERR_FILENO);
  if (terminal) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
  } else if (!line.empty()) {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
}

double Median(std::vector<double> values) {
  return MedianOf(std::move(values)).median;
}

// Where the client's programs without the hook are. Empty: not measured.
std::string no_hook_directory;

// What --only= names, or all.
std::set<std::string> only;

// The path of one of this benchmark's own programs.
std::string Program(absl::string_view name, bool hook = true) {
  return hook ? absl::StrCat(test::ProgramDirectory(), "/overhead/", name)
              : absl::StrCat(no_hook_directory, "/", name);
}

// A server process, or a proxy before one.
struct Peer {
  std::unique_ptr<Process> process;
  std::string address;
};

// `mode` is overhead_server's.
Peer StartServer(const std::vector<std::string>& mode = {}) {
  std::vector<std::string> command = {Program("overhead_server")};
  command.insert(command.end(), mode.begin(), mode.end());
  Peer server;
  server.process = ValueOrDie(Process::Start(std::move(command)));
  server.address =
      "127.0.0.1:" + ValueOrDie(server.process->ReadLine(absl::Seconds(30)));
  return server;
}

// ---------------------------------------------------------------------------
// Instructions and allocations.

struct Workload {
  const char* name;   // In metrics.
  const char* style;  // overhead_client's.
  int outstanding;
  const char* arm;  // Measured over "bare", or "bare_mtls".
  int endpoints;    // How many endpoints the arm is given.
  double at_most;   // What the ratio must not exceed; 0: only shown.
  const char* what;
};

constexpr Workload kWorkloads[] = {
    {"unary_sync", "unary_sync", 1, "mesh", 1, 0.97,
     "unary, sync, may be retried"},
    {"unary_sync_once", "unary_sync", 1, "mesh_once", 1, 1.08,
     "unary, sync, may not be retried"},
    {"unary_async", "unary_async", 16, "mesh", 1, 1.00,
     "unary, completion queue, 16 outstanding"},
    {"unary_async_1", "unary_async", 1, "mesh", 1, 1.20,
     "unary, completion queue, 1 outstanding"},
    {"unary_callback", "unary_callback", 16, "mesh", 1, 1.00,
     "unary, callback, 16 outstanding"},
    {"unary_callback_1", "unary_callback", 1, "mesh", 1, 1.20,
     "unary, callback, 1 outstanding"},
    {"stream_sync", "stream_sync", 1, "mesh", 1, 1.02,
     "stream, sync, a message there and back"},
    {"stream_callback", "stream_callback", 1, "mesh", 1, 1.02,
     "stream, callback, a message there and back"},
    {"stream_callback_short", "stream_callback_short", 16, "mesh", 1, 1.12,
     "stream of one message, callback, may be retried"},
    {"stream_callback_short_once", "stream_callback_short", 16, "mesh_once", 1,
     1.12, "stream of one message, callback, may not be retried"},
    {"mtls_unary_sync", "unary_sync", 1, "mesh_mtls", 1, 0.99,
     "unary, sync, mutual TLS"},
    {"mtls_unary_callback", "unary_callback", 16, "mesh_mtls", 1, 1.00,
     "unary, callback, 16 outstanding, mutual TLS"},
    {"unary_sync_3_endpoints", "unary_sync", 1, "mesh", 3, 0,
     "unary, sync, may be retried, 3 endpoints"},
    {"round_robin_3_endpoints", "unary_sync", 1, "round_robin", 3, 0,
     "the same over gRPC round_robin with retries"},
};

// Whether an arm's connections have TLS, and what it is measured over.
bool HasTls(absl::string_view arm) { return absl::EndsWith(arm, "_mtls"); }
const char* BareOf(const Workload& workload) {
  return HasTls(workload.arm) ? "bare_mtls" : "bare";
}

bool IsAsked(const Workload& workload) { return only.count(workload.name) > 0; }

bool HasHook(const Workload& workload) {
  return absl::StartsWith(workload.arm, "mesh");
}

constexpr int kShortRun = 500;
constexpr int kLongRun = 2500;
constexpr int kRepetitions = 3;
// Which thread takes the next event, and whether another one has to be woken
// for it, is never the same twice.
constexpr int kCallbackRepetitions = 7;
constexpr double kExtraAllocationsAtMost = 2;

// One client program's work. What it measures is the same wherever it is
// compared, so equal ones are run once.
struct Job {
  std::string arm;
  std::string style;
  int outstanding;
  int endpoints;
  bool hook = true;

  bool operator<(const Job& other) const {
    return std::tie(arm, style, outstanding, endpoints, hook) <
           std::tie(other.arm, other.style, other.outstanding, other.endpoints,
                    other.hook);
  }
};

struct Cost {
  std::vector<double> instructions;  // A call, one a repetition.
  double allocations = 0;            // A call.
};

// The servers that are called.
struct Servers {
  std::vector<Peer> plain;
  std::vector<Peer> tls;  // One.
  // Where the files of the arms with TLS are.
  test::TempDirectory directory;

  Servers() {
    const absl::Status status = WriteTlsFiles(directory.path());
    if (!status.ok()) Die(status.message());
    for (int i = 0; i < 3; ++i) plain.push_back(StartServer());
    tls.push_back(StartServer({"tls", directory.path() + "/echo"}));
  }
};

std::vector<std::string> ClientCommand(const std::string& program,
                                       const Job& job, int calls,
                                       const Servers& servers) {
  const bool tls = HasTls(job.arm);
  std::vector<std::string> command = {
      Program(program, job.hook),
      tls ? absl::StrCat(job.arm, "=", servers.directory.path(), "/caller")
          : job.arm,
      job.style, absl::StrCat(job.outstanding), absl::StrCat(calls)};
  for (int i = 0; i < job.endpoints; ++i) {
    command.push_back((tls ? servers.tls : servers.plain)[i].address);
  }
  return command;
}

// Instructions of the whole client process.
double CountInstructions(const Job& job, int calls, const Servers& servers) {
  return ValueOrDie(CountInstructionsOf(
      ClientCommand("overhead_client", job, calls, servers)));
}

double CountAllocations(const Job& job, const Servers& servers) {
  const std::string printed = ValueOrDie(RunToEnd(
      ClientCommand("overhead_client_allocations", job, kShortRun, servers),
      absl::Minutes(1)));
  double allocations = 0;
  if (!absl::SimpleAtod(absl::StripAsciiWhitespace(printed), &allocations)) {
    Die("overhead_client_allocations printed: " + printed);
  }
  return allocations;
}

std::map<Job, Cost> MeasureCosts() {
  const Servers servers;
  std::map<Job, Cost> costs;
  for (const Workload& workload : kWorkloads) {
    if (!IsAsked(workload)) continue;
    costs[{workload.arm, workload.style, workload.outstanding,
           workload.endpoints}];
    costs[{BareOf(workload), workload.style, workload.outstanding, 1}];
    if (HasHook(workload) && !no_hook_directory.empty()) {
      costs[{workload.arm, workload.style, workload.outstanding,
             workload.endpoints, /*hook=*/false}];
    }
  }
  // Instructions do not depend on what else runs: as many at once as there are
  // processors.
  std::vector<std::function<void()>> work;
  for (auto& [job, cost] : costs) {
    work.push_back([&servers, job = &job, cost = &cost] {
      cost->allocations = CountAllocations(*job, servers);
    });
    const bool callback = absl::StrContains(job.style, "_callback");
    cost.instructions.resize(callback ? kCallbackRepetitions : kRepetitions);
  }
  // A repetition of everything before the next, so that what changes on the
  // machine meets all alike.
  for (int i = 0; i < kCallbackRepetitions; ++i) {
    for (auto& [job, cost] : costs) {
      if (i >= static_cast<int>(cost.instructions.size())) continue;
      work.push_back([&servers, job = &job, out = &cost.instructions[i]] {
        const double less = CountInstructions(*job, kShortRun, servers);
        const double more = CountInstructions(*job, kLongRun, servers);
        *out = (more - less) / (kLongRun - kShortRun);
      });
    }
  }
  std::atomic<size_t> next{0};
  const auto worker = [&] {
    while (true) {
      const size_t i = next++;
      if (i >= work.size()) return;
      if (i % 4 == 0) {
        Progress(
            absl::StrFormat("counting instructions: %d of %d", i, work.size()));
      }
      work[i]();
    }
  };
  std::vector<std::thread> threads;
  const unsigned processors = std::thread::hardware_concurrency();
  for (unsigned i = 0; i < std::max(1u, processors); ++i) {
    threads.emplace_back(worker);
  }
  for (std::thread& thread : threads) thread.join();
  Progress("");
  return costs;
}

bool ReportCosts(const std::map<Job, Cost>& costs, Report* report) {
  bool all_met = true;
  std::printf(
      "Client instructions and heap allocations a call (a message, for a "
      "stream)\n(callgrind: difference of %d and %d calls, median of %d, of "
      "%d where threads take turns)\n\n",
      kLongRun, kShortRun, kRepetitions, kCallbackRepetitions);
  Table table(
      {"", "bare", "measured", "ratio", "at most", "allocations", "more", ""});
  for (const Workload& workload : kWorkloads) {
    if (!IsAsked(workload)) continue;
    const Cost& bare =
        costs.at({BareOf(workload), workload.style, workload.outstanding, 1});
    const Cost& cost = costs.at({workload.arm, workload.style,
                                 workload.outstanding, workload.endpoints});
    const double base = Median(bare.instructions);
    const double instructions = Median(cost.instructions);
    const double ratio = instructions / base;
    const double extra = cost.allocations - bare.allocations;
    const bool met =
        workload.at_most == 0 ||
        (ratio <= workload.at_most && extra <= kExtraAllocationsAtMost);
    all_met = all_met && met;
    table.Row({workload.what, Number(base, 0), Number(instructions, 0),
               Number(ratio, 3),
               workload.at_most == 0 ? "" : Number(workload.at_most),
               Number(cost.allocations, 1), Number(extra, 1),
               met ? "" : "MISSED"});
    const std::string name = workload.name;
    report->Metric(name + ".bare_instructions", base);
    report->Metric(name + ".instructions", instructions);
    report->Metric(name + ".instructions_ratio", ratio);
    report->Metric(name + ".bare_allocations", bare.allocations);
    report->Metric(name + ".allocations", cost.allocations);
    report->Metric(name + ".extra_allocations", extra);
  }
  std::printf("%s\n", table.Text().c_str());
  return all_met;
}

// What mesh costs without the hook, beside what it costs with it.
void ReportNoHook(const std::map<Job, Cost>& costs, Report* report) {
  if (no_hook_directory.empty()) return;
  std::printf("The same without gRPC's hook for calls (MESH_CALL_HOOK=0)\n\n");
  Table table({"", "bare", "hook", "no hook", "over the hook", "over bare",
               "allocations"});
  for (const Workload& workload : kWorkloads) {
    if (!HasHook(workload) || !IsAsked(workload)) continue;
    Job job = {workload.arm, workload.style, workload.outstanding,
               workload.endpoints};
    const double bare = Median(
        costs.at({BareOf(workload), workload.style, workload.outstanding, 1})
            .instructions);
    const double hook = Median(costs.at(job).instructions);
    job.hook = false;
    const Cost& cost = costs.at(job);
    const double none = Median(cost.instructions);
    table.Row({workload.what, Number(bare, 0), Number(hook, 0), Number(none, 0),
               Number(none / hook, 3), Number(none / bare, 3),
               Number(cost.allocations, 1)});
    const std::string name = absl::StrCat(workload.name, ".no_hook");
    report->Metric(name + "_instructions", none);
    report->Metric(name + "_ratio", none / bare);
    report->Metric(name + "_allocations", cost.allocations);
  }
  std::printf("%s\n", table.Text().c_str());
}

// ---------------------------------------------------------------------------
// What a served call costs.

constexpr double kServedAtMost = 1.05;

// Instructions of a server per call, one a repetition. `client`: whose files
// it has.
std::vector<double> CountServed(const std::vector<std::string>& mode,
                                const std::string& client,
                                const std::string& style) {
  std::vector<std::string> server = {Program("overhead_server")};
  server.insert(server.end(), mode.begin(), mode.end());
  const auto count = [&](int calls) {
    return ValueOrDie(CountInstructionsOfServer(
        server, {Program("overhead_client"), "bare_mtls=" + client, style, "1",
                 absl::StrCat(calls)}));
  };
  std::vector<double> instructions;
  for (int i = 0; i < kCallbackRepetitions; ++i) {
    Progress(absl::StrFormat("counting a server's instructions: %s, %d of %d",
                             mode[0], i + 1, kCallbackRepetitions));
    instructions.push_back((count(kLongRun) - count(kShortRun)) /
                           (kLongRun - kShortRun));
  }
  Progress("");
  return instructions;
}

bool MeasureServed(Report* report) {
  const test::TempDirectory directory;
  const std::string& path = directory.path();
  const absl::Status status = WriteTlsFiles(path);
  if (!status.ok()) Die(status.message());
  const std::vector<std::string> listen = {"listen", path + "/listen.yaml"};
  const double attached = Median(
      CountServed({"attach", path + "/echo"}, path + "/caller", "unary_sync"));
  const double served =
      Median(CountServed(listen, path + "/caller", "unary_sync"));
  const double denied =
      Median(CountServed(listen, path + "/stranger", "unary_denied"));
  const double ratio = served / attached;
  const bool met = ratio <= kServedAtMost;
  std::printf(
      "Server instructions a unary call with mutual TLS (median of %d)\n\n",
      kCallbackRepetitions);
  Table table({"", "instructions", "ratio", "at most", ""});
  table.Row(
      {"Attach() and SslServerCredentials", Number(attached, 0), "", "", ""});
  table.Row({"Listen() with 100 rules", Number(served, 0), Number(ratio, 3),
             Number(kServedAtMost), met ? "" : "MISSED"});
  table.Row({"the same, denied, over served", Number(denied, 0),
             Number(denied / served, 3), "", ""});
  std::printf("%s\n", table.Text().c_str());
  report->Metric("served_mtls.attached_instructions", attached);
  report->Metric("served_mtls.instructions", served);
  report->Metric("served_mtls.instructions_ratio", ratio);
  report->Metric("denied.instructions", denied);
  report->Metric("denied.instructions_ratio", denied / served);
  return met;
}

// ---------------------------------------------------------------------------
// Time.

// Quantile 0.975 of Student's t distribution.
double StudentT975(int degrees_of_freedom) {
  static constexpr double kTable[] = {12.706, 4.303, 3.182, 2.776, 2.571,
                                      2.447,  2.365, 2.306, 2.262, 2.228,
                                      2.201,  2.179, 2.160, 2.145, 2.131};
  const int last = sizeof(kTable) / sizeof(kTable[0]);
  return kTable[std::min(degrees_of_freedom, last) - 1];
}

// The geometric mean of ratios, one per process, and its two-sided 95%
// interval. Processes are the independent trials, because a process's layout in
// memory favours one arm or the other for as long as it lives.
Estimate RatioOf(const std::vector<double>& ratios) {
  double sum = 0, squares = 0;
  for (const double ratio : ratios) sum += std::log(ratio);
  const double mean = sum / ratios.size();
  for (const double ratio : ratios) {
    squares += std::pow(std::log(ratio) - mean, 2);
  }
  const int degrees = static_cast<int>(ratios.size()) - 1;
  const double half_width =
      StudentT975(degrees) * std::sqrt(squares / degrees / ratios.size());
  return {std::exp(mean), std::exp(mean - half_width),
          std::exp(mean + half_width)};
}

// Two arms timed against each other: the ratio is that of `b` over `a`.
struct Comparison {
  const char* name;
  const char* what;
  std::string a, address_a, b, address_b;
  int processes;
  std::vector<double> cpu, wall;  // Ratios, one a process.
};

constexpr double kSecondsAProcess = 2.5;

void RunProcess(bool swapped, Comparison* comparison) {
  const std::string printed = ValueOrDie(
      RunToEnd({Program("overhead_pairs"), comparison->a, comparison->address_a,
                comparison->b, comparison->address_b,
                absl::StrCat(kSecondsAProcess), swapped ? "1" : "0"},
               absl::Minutes(1)));
  std::vector<double> cpu, wall;
  for (const auto line : absl::StrSplit(printed, '\n', absl::SkipEmpty())) {
    double cpu_a, cpu_b, wall_a, wall_b;
    if (std::sscanf(std::string(line).c_str(), "%lf %lf %lf %lf", &cpu_a,
                    &cpu_b, &wall_a, &wall_b) != 4) {
      Die(absl::StrCat("overhead_pairs printed: ", line));
    }
    cpu.push_back(cpu_b / cpu_a);
    wall.push_back(wall_b / wall_a);
  }
  if (cpu.empty()) Die("overhead_pairs printed nothing");
  comparison->cpu.push_back(Median(cpu));
  comparison->wall.push_back(Median(wall));
}

// Proxies as their users set up a sidecar for gRPC: HTTP/2 on both sides,
// connections kept, no access log, one worker.
Peer StartNginx(const std::string& server,
                const test::TempDirectory& directory) {
  const int port = test::UnusedPort();
  const std::string& dir = directory.path();
  const std::string config = directory.Write(
      "nginx.conf",
      absl::StrCat("daemon off;\nworker_processes 1;\n"
                   "pid ",
                   dir,
                   "/nginx.pid;\nerror_log stderr error;\n"
                   "events { worker_connections 1024; }\n"
                   "http {\n"
                   "  access_log off;\n  tcp_nodelay on;\n"
                   "  keepalive_requests 1000000000;\n  keepalive_time 24h;\n"
                   "  client_body_temp_path ",
                   dir,
                   "/body;\n"
                   "  proxy_temp_path ",
                   dir,
                   "/proxy;\n"
                   "  fastcgi_temp_path ",
                   dir,
                   "/fastcgi;\n"
                   "  uwsgi_temp_path ",
                   dir,
                   "/uwsgi;\n"
                   "  scgi_temp_path ",
                   dir,
                   "/scgi;\n"
                   "  upstream echo {\n    server ",
                   server,
                   ";\n"
                   "    keepalive 64;\n    keepalive_requests 1000000000;\n"
                   "    keepalive_time 24h;\n  }\n"
                   "  server {\n    listen 127.0.0.1:",
                   port,
                   " http2;\n"
                   "    location / { grpc_pass grpc://echo; }\n  }\n}\n"));
  Peer proxy;
  proxy.process = ValueOrDie(
      Process::Start({"nginx", "-c", config, "-p", dir, "-e", "stderr"}));
  proxy.address = absl::StrCat("127.0.0.1:", port);
  return proxy;
}

Peer StartHaproxy(const std::string& server,
                  const test::TempDirectory& directory) {
  const int port = test::UnusedPort();
  const std::string config = directory.Write(
      "haproxy.cfg", absl::StrCat("global\n  maxconn 1000\n  nbthread 1\n"
                                  "defaults\n  mode http\n  http-reuse always\n"
                                  "  timeout connect 5s\n  timeout client 1h\n"
                                  "  timeout server 1h\n  timeout tunnel 1h\n"
                                  "frontend in\n  bind 127.0.0.1:",
                                  port,
                                  " proto h2\n  default_backend echo\n"
                                  "backend echo\n  server echo ",
                                  server, " proto h2\n"));
  Peer proxy;
  proxy.process =
      ValueOrDie(Process::Start({"haproxy", "-q", "-db", "-f", config}));
  proxy.address = absl::StrCat("127.0.0.1:", port);
  return proxy;
}

constexpr double kTimeRatioAtMost = 1.02;

bool MeasureTimes(Report* report) {
  const test::TempDirectory nginx_directory, haproxy_directory;
  const Peer server = StartServer();
  const Peer nginx = StartNginx(server.address, nginx_directory);
  const Peer haproxy = StartHaproxy(server.address, haproxy_directory);

  const std::string& direct = server.address;
  std::vector<Comparison> comparisons = {
      {"control",
       "A/A control: bare over bare",
       "bare",
       direct,
       "bare_again",
       direct,
       12,
       {},
       {}},
      {"unary_sync",
       "mesh over bare",
       "bare",
       direct,
       "mesh",
       direct,
       12,
       {},
       {}},
      {"round_robin",
       "gRPC round_robin with retries over bare",
       "bare",
       direct,
       "round_robin",
       direct,
       4,
       {},
       {}},
      {"nginx",
       "bare through nginx over bare",
       "bare",
       direct,
       "bare",
       nginx.address,
       4,
       {},
       {}},
      {"haproxy",
       "bare through HAProxy over bare",
       "bare",
       direct,
       "bare",
       haproxy.address,
       4,
       {},
       {}},
  };
  int rounds = 0;
  for (const Comparison& comparison : comparisons) {
    rounds = std::max(rounds, comparison.processes);
  }
  for (int round = 0; round < rounds; ++round) {
    Progress(absl::StrFormat("timing: round %d of %d", round + 1, rounds));
    for (Comparison& comparison : comparisons) {
      if (round < comparison.processes) {
        RunProcess(/*swapped=*/round % 2 == 1, &comparison);
      }
    }
  }
  Progress("");

  std::printf(
      "Time of a unary sync call over that of a bare channel, with the 95%% "
      "interval\n(interleaved ABBA blocks, medians within a process of %.1f s, "
      "roles swapped; the processes are the trials)\n\n",
      kSecondsAProcess);
  Table table({"", "processes", "client CPU", "wall"});
  bool valid = true, met = true;
  for (const Comparison& comparison : comparisons) {
    const Estimate cpu = RatioOf(comparison.cpu);
    const Estimate wall = RatioOf(comparison.wall);
    table.Row({comparison.what, absl::StrCat(comparison.processes),
               Number(cpu, 3), Number(wall, 3)});
    report->Metric(absl::StrCat(comparison.name, ".cpu_ratio"), cpu);
    report->Metric(absl::StrCat(comparison.name, ".wall_ratio"), wall);
    if (comparison.name == absl::string_view("control")) {
      valid = cpu.low <= 1 && 1 <= cpu.high && wall.low <= 1 && 1 <= wall.high;
    }
    if (comparison.name == absl::string_view("unary_sync")) {
      met = cpu.high <= kTimeRatioAtMost && wall.high <= kTimeRatioAtMost;
    }
  }
  std::printf("%s\n", table.Text().c_str());
  report->Metric("control.valid", valid ? 1 : 0);
  if (!valid) {
    std::printf(
        "VOID: the interval of the A/A control excludes 1. Something else "
        "runs on this machine; run it again.\n\n");
  } else if (!met) {
    std::printf("MISSED: mesh over bare is not within %.2f.\n\n",
                kTimeRatioAtMost);
  }
  return valid && met;
}

void ParseArguments(int argc, char** argv) {
  std::vector<std::string> all = {"served", "time"};
  for (const Workload& workload : kWorkloads) all.push_back(workload.name);
  only.insert(all.begin(), all.end());
  for (int i = 1; i < argc; ++i) {
    absl::string_view flag = argv[i];
    if (flag == "--no-hook" && i + 1 < argc) {
      no_hook_directory = argv[++i];
    } else if (absl::ConsumePrefix(&flag, "--only=")) {
      only = ValueOrDie(ParseOnly(flag, all));
    } else {
      Die(absl::StrCat("the argument \"", argv[i], "\" is unknown."));
    }
  }
}

int Run(int argc, char** argv) {
  Report report(&argc, argv);
  ParseArguments(argc, argv);
  const absl::Time start = absl::Now();
  const std::map<Job, Cost> costs = MeasureCosts();
  bool met = ReportCosts(costs, &report);
  ReportNoHook(costs, &report);
  std::fflush(stdout);
  if (only.count("served") > 0) met = MeasureServed(&report) && met;
  std::fflush(stdout);
  if (only.count("time") > 0) met = MeasureTimes(&report) && met;
  report.Metric("met", met ? 1 : 0);
  std::printf(
      "%s in %s\n", met ? "All met," : "Not all met,",
      absl::FormatDuration(absl::Trunc(absl::Now() - start, absl::Seconds(1)))
          .c_str());
  return report.Write();
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) { return mesh::benchmarks::Run(argc, argv); }
