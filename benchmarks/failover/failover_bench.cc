// What becomes of calls while servers are killed, stopped, restarted and
// replaced: over mesh, and over gRPC's round_robin with retries. Server
// processes, an open loop, a deadline of 1 s; README.md has how each figure is
// made.
//
//   failover_bench [--json FILE] [--kills=N] [--repetitions=N]
//                  [--only=calm,kill,stop,goaway,rolling,unannounced]

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmarks/failover/arms.h"
#include "benchmarks/failover/load.h"
#include "benchmarks/report.h"
#include "mesh/base/clock.h"
#include "tests/process/process.h"

namespace mesh::benchmarks {
namespace {

using test::Process;
using test::TempDirectory;

constexpr int kServers = 3;
constexpr absl::Duration kWarmUp = absl::Milliseconds(1500);

constexpr double kKillRate = 2000;
constexpr absl::Duration kKillEvery = absl::Milliseconds(500);

constexpr double kStopRate = 500;
constexpr absl::Duration kStopped = absl::Seconds(3);
constexpr absl::Duration kAfterwards = absl::Milliseconds(2500);

constexpr double kGoawayRate = 2000;
constexpr absl::Duration kGoawayFor = absl::Seconds(10);

constexpr double kRollingRate = 1000;
constexpr int kReplacements = 12;
// Between the steps of a replacement, as an orchestrator pauses. Long enough
// for mesh to look at the endpoints file, which it does every second.
constexpr absl::Duration kPause = absl::Milliseconds(1300);

[[noreturn]] void Die(absl::string_view what) {
  std::fprintf(stderr, "failover_bench: %.*s\n", static_cast<int>(what.size()),
               what.data());
  std::exit(1);
}

// A line on stderr that replaces the one before it.
void Progress(const std::string& line) {
  static const bool terminal = isatty(STDERR_FILENO);
  if (terminal) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
  } else if (!line.empty()) {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
}

absl::Time Now() { return base::Clock::Real().Now(); }

// A server process.
class Server {
 public:
  Server(const std::string& journal, std::vector<std::string> flags)
      : journal_(journal), flags_(std::move(flags)) {
    Start();
  }

  const std::string& address() const { return address_; }
  void Signal(int signal) { process_->Signal(signal); }

  // SIGTERM, and waits until it has shut down.
  void Terminate() {
    process_->Signal(SIGTERM);
    (void)process_->Wait();
  }

  // kill -9, and the same again on the same port.
  void KillAndRestart() {
    process_->Signal(SIGKILL);
    (void)process_->Wait();
    Start();
  }

 private:
  // Returns when it listens.
  void Start() {
    std::vector<std::string> argv = {
        test::ProgramDirectory() + "/../tests/support/test_server_main",
        "--address=" + address_, "--journal=" + journal_, "--no_raw_service"};
    argv.insert(argv.end(), flags_.begin(), flags_.end());
    // For a moment the port may be that of a client's connection.
    for (int i = 0; i < 20; ++i) {
      absl::StatusOr<std::unique_ptr<Process>> process = Process::Start(argv);
      if (!process.ok()) Die(process.status().message());
      process_ = *std::move(process);
      const auto address = process_->ReadLine(absl::Seconds(30));
      if (address.ok()) {
        address_ = *address;
        return;
      }
      absl::SleepFor(absl::Milliseconds(50));
    }
    Die("no server on " + address_);
  }

  const std::string journal_;
  const std::vector<std::string> flags_;
  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<Process> process_;
};

// The servers of one run.
class Servers {
 public:
  explicit Servers(std::vector<std::string> flags = {})
      : flags_(std::move(flags)) {
    for (int i = 0; i < kServers; ++i) Add();
  }

  Server& operator[](size_t i) { return *servers_[i]; }
  const std::string& directory() const { return directory_.path(); }

  std::vector<std::string> addresses() const {
    std::vector<std::string> addresses;
    for (const auto& server : servers_) addresses.push_back(server->address());
    return addresses;
  }

  void Add() {
    servers_.push_back(
        std::make_unique<Server>(directory_.path() + "/journal", flags_));
  }
  std::unique_ptr<Server> TakeFirst() {
    std::unique_ptr<Server> first = std::move(servers_.front());
    servers_.erase(servers_.begin());
    return first;
  }

  // Calls that were executed more than once.
  int Twice() const {
    std::ifstream file(directory_.path() + "/journal");
    std::set<std::string> seen, twice;
    for (std::string key; std::getline(file, key);) {
      if (!seen.insert(key).second) twice.insert(key);
    }
    return static_cast<int>(twice.size());
  }

 private:
  const TempDirectory directory_;
  const std::vector<std::string> flags_;
  std::vector<std::unique_ptr<Server>> servers_;
};

std::string Milliseconds(absl::Duration duration) {
  return Number(absl::ToDoubleMilliseconds(duration), 1);
}

// What failed and how, on stderr: a benchmark that misses its goal says why.
void Explain(const std::string& what, const LoadResult& result,
             const Client& client) {
  Progress("");
  for (const auto& [failure, count] : result.failures) {
    std::fprintf(stderr, "  %s: %d x %s\n", what.c_str(),
                 static_cast<int>(count), failure.c_str());
  }
  const std::string story = client.Story();
  if (!story.empty()) {
    std::fprintf(stderr, "  %s: %s\n", what.c_str(), story.c_str());
  }
}

// Runs `disturb` under load, between two moments of peace.
LoadResult UnderLoad(const std::string& what, double rate, bool once,
                     const Client& client, const std::function<void()>& disturb,
                     absl::Duration afterwards = absl::Seconds(1)) {
  OpenLoop load(rate, once, [&client] { return client.stub(); });
  absl::SleepFor(kWarmUp);
  disturb();
  absl::SleepFor(afterwards);
  LoadResult result = load.Stop();
  Explain(what, result, client);
  return result;
}

std::vector<std::string> Row(Arm arm, const LoadResult& result) {
  return {NameOf(arm),
          absl::StrCat(result.calls),
          absl::StrCat(result.failed),
          absl::StrCat(result.late),
          Milliseconds(result.p50),
          Milliseconds(result.p99),
          Milliseconds(result.longest)};
}

const std::vector<std::string>& Columns() {
  static const auto& columns = *new std::vector<std::string>{
      "", "calls", "failed", "late", "p50 ms", "p99 ms", "longest ms"};
  return columns;
}

void AddMetrics(const std::string& name, const LoadResult& result,
                Report* report) {
  report->Metric(name + ".calls", static_cast<double>(result.calls));
  report->Metric(name + ".failed", static_cast<double>(result.failed));
  report->Metric(name + ".late", static_cast<double>(result.late));
  report->Metric(name + ".p99_ms", absl::ToDoubleMilliseconds(result.p99));
  report->Metric(name + ".longest_ms",
                 absl::ToDoubleMilliseconds(result.longest));
}

// What is compared carries the name of the figure; its peers have theirs
// before it.
std::string MetricOf(Arm arm, Arm main, const std::string& figure) {
  return arm == main ? figure : absl::StrCat(NameOf(arm), ".", figure);
}

// ---------------------------------------------------------------------------
// Nothing

// What the others are to be read against.
void Calm(Report* report) {
  Table table(Columns());
  for (const Arm arm : {Arm::kMesh, Arm::kMeshHedged, Arm::kRoundRobin}) {
    Servers servers;
    const auto client =
        MakeClient(arm, servers.directory(), servers.addresses(), nullptr);
    const std::string what = absl::StrCat("calm ", NameOf(arm));
    Progress(what);
    const LoadResult result =
        UnderLoad(what, kKillRate, /*once=*/false, *client,
                  [] { absl::SleepFor(absl::Seconds(5)); });
    table.Row(Row(arm, result));
    AddMetrics(MetricOf(arm, Arm::kMesh, "calm"), result, report);
  }
  std::printf("Nothing is broken; %d calls/s\n\n%s\n",
              static_cast<int>(kKillRate), table.Text().c_str());
}

// ---------------------------------------------------------------------------
// kill -9

bool Kill(int kills, Report* report) {
  Table table(Columns());
  bool met = true;
  for (const Arm arm : {Arm::kMesh, Arm::kRoundRobin}) {
    Servers servers;
    const auto client =
        MakeClient(arm, servers.directory(), servers.addresses(), nullptr);
    const std::string what = absl::StrCat("kill ", NameOf(arm));
    const LoadResult result =
        UnderLoad(what, kKillRate, /*once=*/false, *client, [&] {
          absl::Time next = absl::Now();
          for (int i = 0; i < kills; ++i) {
            Progress(absl::StrFormat("%s: %d of %d", what, i + 1, kills));
            absl::SleepFor(next - absl::Now());
            next = absl::Now() + kKillEvery;
            servers[i % kServers].KillAndRestart();
          }
        });
    table.Row(Row(arm, result));
    AddMetrics(MetricOf(arm, Arm::kMesh, "kill"), result, report);
    if (arm == Arm::kMesh) met = result.failed == 0;
  }
  std::printf("%d kill -9, one every %s, each restarted; %d calls/s\n\n%s\n",
              kills, absl::FormatDuration(kKillEvery).c_str(),
              static_cast<int>(kKillRate), table.Text().c_str());
  return met;
}

// ---------------------------------------------------------------------------
// SIGSTOP and SIGCONT

struct StopResult {
  LoadResult load;
  // The stopped server's part of what is sent from 100 ms to 2 s after SIGSTOP.
  double victim_share = 0;
  // When the last of it is sent, after SIGSTOP.
  absl::Duration left_after;
  // From SIGCONT to the end of the first 200 ms in which the server has half
  // its fair share.
  absl::Duration resumed_after = absl::InfiniteDuration();
};

StopResult StopOnce(Arm arm, const std::string& what) {
  Servers servers;
  const auto log = std::make_shared<AttemptLog>();
  const auto client =
      MakeClient(arm, servers.directory(), servers.addresses(), log);
  absl::Time stopped, continued;
  StopResult result;
  result.load = UnderLoad(
      what, kStopRate, /*once=*/false, *client,
      [&] {
        stopped = Now();
        servers[0].Signal(SIGSTOP);
        absl::SleepFor(kStopped);
        continued = Now();
        servers[0].Signal(SIGCONT);
      },
      kAfterwards);

  constexpr absl::Duration kWindow = absl::Milliseconds(200);
  int sent = 0, to_victim = 0;
  const std::vector<AttemptLog::Sent> all = log->To(servers[0].address());
  size_t begin = 0;
  int in_window_to_victim = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const AttemptLog::Sent& one = all[i];
    if (one.at >= stopped && one.at < stopped + absl::Seconds(2)) {
      if (one.to_victim) result.left_after = one.at - stopped;
      if (one.at >= stopped + absl::Milliseconds(100)) {
        ++sent;
        to_victim += one.to_victim;
      }
    }
    // Whole windows after SIGCONT, each ending with an attempt.
    if (one.at < continued) {
      begin = i + 1;
      continue;
    }
    in_window_to_victim += one.to_victim && !one.probe;
    while (all[begin].at < one.at - kWindow) {
      in_window_to_victim -= all[begin].to_victim && !all[begin].probe;
      ++begin;
    }
    if (one.at >= continued + kWindow &&
        result.resumed_after == absl::InfiniteDuration() &&
        in_window_to_victim * 2 * kServers >= static_cast<int>(i + 1 - begin)) {
      result.resumed_after = one.at - continued;
    }
  }
  result.victim_share = sent == 0 ? 0 : static_cast<double>(to_victim) / sent;
  return result;
}

double WorstOf(const std::vector<double>& values) {
  return *std::max_element(values.begin(), values.end());
}

// "median (worst)".
std::string Spread(const std::vector<double>& values, int decimals) {
  return absl::StrCat(Number(MedianOf(values).median, decimals), " (",
                      Number(WorstOf(values), decimals), ")");
}

bool Stop(int repetitions, Report* report) {
  constexpr Arm kArms[] = {Arm::kMeshHedged, Arm::kMesh, Arm::kRoundRobin};
  std::map<Arm, std::vector<StopResult>> results;
  for (int i = 0; i < repetitions; ++i) {
    for (const Arm arm : kArms) {
      const std::string what =
          absl::StrFormat("stop %s, %d of %d", NameOf(arm), i + 1, repetitions);
      Progress(what);
      results[arm].push_back(StopOnce(arm, what));
    }
  }

  Table table({"median (worst)", "failed", "late", "stopped one's share",
               "last sent ms", "back after s", "p99 ms", "longest ms"});
  bool met = true;
  double worst_share = 0, worst_resume = 0;
  for (const Arm arm : kArms) {
    std::vector<double> failed, late, share, left, resume, p99, longest;
    for (const StopResult& result : results[arm]) {
      failed.push_back(static_cast<double>(result.load.failed));
      late.push_back(static_cast<double>(result.load.late));
      share.push_back(result.victim_share);
      left.push_back(absl::ToDoubleMilliseconds(result.left_after));
      resume.push_back(
          std::min(absl::ToDoubleSeconds(result.resumed_after), 99.0));
      p99.push_back(absl::ToDoubleMilliseconds(result.load.p99));
      longest.push_back(absl::ToDoubleMilliseconds(result.load.longest));
    }
    const bool ours = arm != Arm::kRoundRobin;
    table.Row({NameOf(arm), Spread(failed, 0), Spread(late, 0),
               ours ? Spread(share, 4) : "", ours ? Spread(left, 0) : "",
               ours ? Spread(resume, 2) : "", Spread(p99, 1),
               Spread(longest, 0)});
    const std::string name = arm == Arm::kMesh
                                 ? "stop.without_hedging"
                                 : MetricOf(arm, Arm::kMeshHedged, "stop");
    report->Metric(name + ".failed", WorstOf(failed));
    report->Metric(name + ".failed_median", MedianOf(failed).median);
    report->Metric(name + ".late", WorstOf(late));
    report->Metric(name + ".longest_ms", WorstOf(longest));
    if (!ours) continue;
    report->Metric(name + ".victim_share_median", MedianOf(share).median);
    report->Metric(name + ".resume_seconds_median", MedianOf(resume).median);
    worst_share = std::max(worst_share, WorstOf(share));
    worst_resume = std::max(worst_resume, WorstOf(resume));
    met = met && WorstOf(failed) <= (arm == Arm::kMesh ? 5 : 0);
  }
  report->Metric("stop.victim_share", worst_share);
  report->Metric("stop.resume_seconds", worst_resume);
  std::printf(
      "SIGSTOP of one of %d servers for %s, then SIGCONT; %d calls/s, %d "
      "times\n\n%s\n",
      kServers, absl::FormatDuration(kStopped).c_str(),
      static_cast<int>(kStopRate), repetitions, table.Text().c_str());
  return met && worst_share < 0.01 && worst_resume <= 1.5;
}

// ---------------------------------------------------------------------------
// Calls that must not be executed twice

std::vector<std::string> ColumnsWithTwice() {
  std::vector<std::string> columns = Columns();
  columns.insert(columns.begin() + 3, "executed twice");
  return columns;
}

// Adds what became of one arm to `table`. Returns whether no call failed or was
// executed twice.
bool AddOnce(Arm arm, const std::string& figure, const LoadResult& result,
             int twice, Table* table, Report* report) {
  std::vector<std::string> row = Row(arm, result);
  row.insert(row.begin() + 3, absl::StrCat(twice));
  table->Row(row);
  const std::string name = MetricOf(arm, Arm::kMeshOnce, figure);
  AddMetrics(name, result, report);
  report->Metric(name + ".executed_twice", twice);
  return result.failed == 0 && twice == 0;
}

bool Goaway(Report* report) {
  Table table(ColumnsWithTwice());
  bool met = true;
  for (const Arm arm : {Arm::kMeshOnce, Arm::kRoundRobin}) {
    Servers servers({"--arg=grpc.max_connection_age_ms=200"});
    const auto client =
        MakeClient(arm, servers.directory(), servers.addresses(), nullptr);
    const std::string what = absl::StrCat("goaway ", NameOf(arm));
    Progress(what);
    const LoadResult result =
        UnderLoad(what, kGoawayRate, /*once=*/true, *client,
                  [] { absl::SleepFor(kGoawayFor); });
    const bool good =
        AddOnce(arm, "goaway", result, servers.Twice(), &table, report);
    if (arm == Arm::kMeshOnce) met = good;
  }
  std::printf(
      "MAX_CONNECTION_AGE 200 ms, calls that must not be executed twice; %d "
      "calls/s\n\n%s\n",
      static_cast<int>(kGoawayRate), table.Text().c_str());
  return met;
}

LoadResult Replace(Arm arm, bool once, bool announced, const std::string& what,
                   int* twice) {
  Servers servers;
  const auto client =
      MakeClient(arm, servers.directory(), servers.addresses(), nullptr);
  Progress(what);
  LoadResult result = UnderLoad(what, kRollingRate, once, *client, [&] {
    for (int i = 0; i < kReplacements; ++i) {
      servers.Add();
      if (announced) client->SetEndpoints(servers.addresses());
      absl::SleepFor(kPause);
      const std::unique_ptr<Server> old = servers.TakeFirst();
      if (announced) {
        client->SetEndpoints(servers.addresses());
        absl::SleepFor(kPause);
      }
      old->Terminate();
      if (!announced) {
        client->SetEndpoints(servers.addresses());
        absl::SleepFor(kPause);
      }
    }
  });
  *twice = once ? servers.Twice() : 0;
  return result;
}

bool Rolling(Report* report) {
  Table table(ColumnsWithTwice());
  bool met = true;
  for (const Arm arm : {Arm::kMeshOnce, Arm::kRoundRobin}) {
    int twice = 0;
    const LoadResult result =
        Replace(arm, /*once=*/true, /*announced=*/true,
                absl::StrCat("rolling ", NameOf(arm)), &twice);
    const bool good = AddOnce(arm, "rolling", result, twice, &table, report);
    if (arm == Arm::kMeshOnce) met = good;
  }
  std::printf(
      "Rolling restart on new ports, %d times: the new process is listed, the "
      "old one is\ntaken from the list, then gets SIGTERM; calls that must not "
      "be executed twice;\n%d calls/s\n\n%s\n",
      kReplacements, static_cast<int>(kRollingRate), table.Text().c_str());
  return met;
}

// It has no goal: a server that is told to end while it is listed decides
// itself what it answers.
void Unannounced(Report* report) {
  Table table(ColumnsWithTwice());
  for (const Arm arm : {Arm::kMeshOnce, Arm::kMesh, Arm::kRoundRobin}) {
    int twice = 0;
    const LoadResult result =
        Replace(arm, /*once=*/arm != Arm::kMesh, /*announced=*/false,
                absl::StrCat("unannounced ", NameOf(arm)), &twice);
    AddOnce(arm, "unannounced", result, twice, &table, report);
  }
  std::printf(
      "The same, but the old process gets SIGTERM while it is listed (in the "
      "row mesh,\ncalls may be executed twice)\n\n%s\n",
      table.Text().c_str());
}

int Run(int argc, char** argv) {
  Report report(&argc, argv);
  std::set<std::string> only = {"calm",   "kill",    "stop",
                                "goaway", "rolling", "unannounced"};
  int kills = 100, repetitions = 10;
  for (int i = 1; i < argc; ++i) {
    absl::string_view flag = argv[i];
    if (absl::ConsumePrefix(&flag, "--only=")) {
      only = absl::StrSplit(flag, ',');
    } else if ((absl::ConsumePrefix(&flag, "--kills=") &&
                absl::SimpleAtoi(flag, &kills)) ||
               (absl::ConsumePrefix(&flag, "--repetitions=") &&
                absl::SimpleAtoi(flag, &repetitions) && repetitions > 0)) {
    } else {
      Die(absl::StrCat("the argument \"", argv[i], "\" is unknown."));
    }
  }
  const absl::Time start = absl::Now();
  bool met = true;
  if (only.count("calm") > 0) Calm(&report);
  if (only.count("kill") > 0) met = Kill(kills, &report) && met;
  if (only.count("stop") > 0) met = Stop(repetitions, &report) && met;
  if (only.count("goaway") > 0) met = Goaway(&report) && met;
  if (only.count("rolling") > 0) met = Rolling(&report) && met;
  if (only.count("unannounced") > 0) Unannounced(&report);
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
