// The demo: the same load over the same shop, through the same faults, once
// with bare gRPC channels and once with mesh. Over mesh all keys and
// certificates are rotated as well.
//
//   demo [--seconds N] [--json FILE] [--report FILE] [--log FILE]
//
// --log: what the processes wrote to stderr, with each call that failed.
//
// This process conducts: it starts the shop's processes, breaks them on
// schedule, watches, and says what it saw. Nothing that it starts outlives it.

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "examples/shop/configs.h"
#include "examples/shop/experiment.h"
#include "examples/shop/report.h"
#include "examples/shop/shop.h"

namespace shop {
namespace {

constexpr double kRate = 400;  // Calls per second.
// How long the load lasts, both arms together.
constexpr double kDefaultSeconds = 74;
constexpr double kStep = 0.05;   // Time between looks at the shop.
constexpr double kDrain = 10;    // Time for the last calls to end.
constexpr double kRotation = 2;  // Time from one rotation to the next.

volatile sig_atomic_t interrupted = 0;

struct Arguments {
  double seconds = kDefaultSeconds;
  std::string json;
  std::string report = "demo-report.html";
  std::string log;
};

// A directory that goes, with the files in it, when this does.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    const char* base = getenv("TMPDIR");
    path_ = absl::StrCat(base == nullptr ? "/tmp" : base, "/shop-XXXXXX");
    if (mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }  // Empty: not made.

 private:
  std::string path_;
};

// One line that says how the run goes: rewritten in place on a terminal, a new
// line every few seconds elsewhere.
class Progress {
 public:
  void Show(const std::string& line, double time) {
    if (on_terminal_) {
      printf("\r\033[K%s", line.c_str());
    } else if (time >= next_) {
      printf("%s\n", line.c_str());
      next_ = time + 2;
    }
    fflush(stdout);
  }
  void Done() {
    if (on_terminal_) printf("\r\033[K");
    next_ = 0;
  }

 private:
  const bool on_terminal_ = isatty(STDOUT_FILENO);
  double next_ = 0;
};

// Something that is done to the shop at a time of the run.
struct Action {
  double at;
  std::function<absl::Status(Shop&)> run;
};

std::vector<Action> PlanFaults(const std::vector<Phase>& phases) {
  std::vector<Action> actions;
  auto at = [&](double time, std::function<void(Shop&)> run) {
    actions.push_back({time, [run = std::move(run)](Shop& shop) {
                         run(shop);
                         return absl::OkStatus();
                       }});
  };
  for (const Phase& phase : phases) {
    const double from = phase.fault_from, to = phase.fault_to;
    if (phase.id == "kill") {
      at(from, [](Shop& shop) { shop.Signal("cart-1", SIGKILL); });
      actions.push_back(
          {to, [](Shop& shop) { return shop.Restart("cart-1"); }});
    } else if (phase.id == "stop") {
      at(from, [](Shop& shop) { shop.Signal("cart-2", SIGSTOP); });
      at(to, [](Shop& shop) { shop.Signal("cart-2", SIGCONT); });
    } else if (phase.id == "slow") {
      at(from, [](Shop& shop) { shop.panel("catalog-3").slowdown = 20; });
      at(to, [](Shop& shop) { shop.panel("catalog-3").slowdown = 1; });
    } else if (phase.id == "flaky") {
      at(from, [](Shop& shop) { shop.panel("payment-2").fail_percent = 10; });
      at(to, [](Shop& shop) { shop.panel("payment-2").fail_percent = 0; });
    } else if (phase.id == "rolling") {
      const std::vector<std::string> servers = {
          "cart-1",    "catalog-1", "payment-1", "cart-2",
          "catalog-2", "payment-2", "cart-3",    "catalog-3"};
      for (size_t i = 0; i < servers.size(); ++i) {
        actions.push_back(
            {from + (to - from) * i / servers.size(),
             [name = servers[i]](Shop& shop) { return shop.Replace(name); }});
      }
    }
  }
  return actions;  // By time, as the phases are.
}

// Adds the records that `file` has beyond those that are in `calls`.
void ReadRecords(const std::string& path, std::vector<CallRecord>* calls) {
  std::ifstream file(path, std::ios::binary);
  file.seekg(calls->size() * sizeof(CallRecord));
  CallRecord record;
  while (file.read(reinterpret_cast<char*>(&record), sizeof(record))) {
    calls->push_back(record);
  }
}

std::string ProgressLine(const ArmLog& log, double seconds, double time) {
  const Phase* now = &log.phases.back();
  for (const Phase& phase : log.phases) {
    if (time >= phase.begin && time < phase.end) now = &phase;
  }
  uint64_t failed = 0;
  for (const CallRecord& call : log.calls) {
    failed += call.status != 0 && ClassOf(call.kind) == Class::kIdempotent;
  }
  // The calls due in the last second that has mostly ended.
  const CallStats stats =
      StatsOf(log, Class::kIdempotent, time - 1.2, time - 0.2);
  const uint64_t out = log.samples.empty() ? 0 : log.samples.back().out;
  return absl::StrFormat(
      // Narrow: on a terminal it has to stay one line.
      "%s %2.0f/%.0f s %-15s %5d calls %3d failed p50 %3.0f p99 %4.0f ms %s",
      log.arm, std::min(time, seconds), seconds, now->label, log.calls.size(),
      failed, stats.p50_ms, stats.p99_ms,
      out == 0 ? "" : absl::StrCat(out, " out"));
}

// Runs one arm, `seconds` long. What its processes wrote to stderr is added to
// `said`.
absl::StatusOr<ArmLog> RunArm(const std::string& arm, double seconds,
                              const std::string& programs, std::string* said) {
  ScratchDirectory directory;
  if (directory.path().empty()) {
    return absl::UnavailableError("no directory could be made for the shop.");
  }
  absl::StatusOr<std::unique_ptr<Shop>> shop =
      Shop::Open(arm, programs, directory.path());
  if (!shop.ok()) return shop.status();

  ArmLog log;
  log.arm = arm;
  log.phases = PlanPhases(seconds);
  log.servers = (*shop)->server_names();
  const std::vector<Action> actions = PlanFaults(log.phases);
  size_t next_action = 0;
  absl::Status status = (*shop)->StartLoad(kRate, seconds);
  if (!status.ok()) return status;
  log.start_ns = NowNanos();
  double next_rotation = arm == "mesh" ? kRotation : seconds;
  bool load_began = false;
  Progress progress;
  while (true) {
    if (interrupted) return absl::CancelledError("interrupted");
    if (status = (*shop)->Check(); !status.ok()) return status;
    ReadRecords((*shop)->results_path(), &log.calls);
    if (!load_began && !log.calls.empty()) {
      // The first call is due at once: second 0 is the load's.
      load_began = true;
      log.start_ns = std::min_element(log.calls.begin(), log.calls.end(),
                                      [](const auto& a, const auto& b) {
                                        return a.due_ns < b.due_ns;
                                      })
                         ->due_ns;
    }
    const double time = (NowNanos() - log.start_ns) * 1e-9;
    if (load_began) {
      log.samples.push_back((*shop)->TakeSample());
      log.samples.back().time = time;
      while (next_action < actions.size() && actions[next_action].at <= time) {
        status = actions[next_action++].run(**shop);
        if (!status.ok()) return status;
      }
      if (time >= next_rotation && time < seconds) {
        status = (*shop)->RotateCertificates();
        if (!status.ok()) return status;
        log.rotations.push_back(time);
        next_rotation = time + kRotation;
      }
      progress.Show(ProgressLine(log, seconds, time), time);
    }
    if ((*shop)->LoadEnded()) break;
    if (time > seconds + kDrain) {
      return absl::DeadlineExceededError("the load generator does not end.");
    }
    absl::SleepFor(absl::Seconds(kStep));
  }
  progress.Done();
  absl::SleepFor(absl::Milliseconds(200));  // For the clients' last counts.
  ReadRecords((*shop)->results_path(), &log.calls);
  log.samples.push_back((*shop)->TakeSample());
  log.samples.back().time = (NowNanos() - log.start_ns) * 1e-9;
  log.transparent_retries = (*shop)->clients().transparent_retries;
  log.denied_retries = (*shop)->clients().denied_retries;
  log.charged_twice = (*shop)->ChargedTwice();
  log.withdrawn_authorities = (*shop)->withdrawn_authorities();
  // Two rotations may be one to a client that was slow for a while.
  const uint64_t renewals = (*shop)->clients().renewals;
  if (renewals < log.rotations.size() * 0.9) {
    return absl::DataLossError(absl::StrCat("the frontend took up ", renewals,
                                            " of ", log.rotations.size(),
                                            " certificates."));
  }
  std::ifstream file((*shop)->log_path());
  absl::StrAppend(said, "==== ", arm, "\n",
                  std::string(std::istreambuf_iterator<char>(file), {}));
  if (log.calls.size() != static_cast<size_t>(kRate * seconds)) {
    return absl::DataLossError(
        absl::StrCat("the load generator made ", log.calls.size(), " of ",
                     static_cast<size_t>(kRate * seconds), " calls."));
  }
  return log;
}

absl::StatusOr<Arguments> ParseArguments(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    absl::string_view name = argv[i];
    absl::string_view value;
    if (const size_t equals = name.find('='); equals != name.npos) {
      value = name.substr(equals + 1);
      name = name.substr(0, equals);
    } else if (i + 1 < argc) {
      value = argv[++i];
    } else {
      return absl::InvalidArgumentError(absl::StrCat(name, " needs a value."));
    }
    if (name == "--seconds") {
      if (!absl::SimpleAtod(value, &arguments.seconds) ||
          !(arguments.seconds >= 2 * kMinArmSeconds) ||
          arguments.seconds > 3600) {
        return absl::InvalidArgumentError(
            absl::StrCat("--seconds must be in ", 2 * kMinArmSeconds,
                         "..3600, but is \"", value, "\"."));
      }
    } else if (name == "--json") {
      arguments.json = std::string(value);
    } else if (name == "--report") {
      arguments.report = std::string(value);
    } else if (name == "--log") {
      arguments.log = std::string(value);
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("the argument \"", name,
                       "\" is unknown; there are --seconds, --json, --report "
                       "and --log."));
    }
  }
  return arguments;
}

absl::Status WriteText(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  if (!file)
    return absl::UnavailableError(
        absl::StrCat("the file \"", path, "\" could not be written."));
  return absl::OkStatus();
}

absl::Status Demo(const Arguments& arguments, const std::string& programs) {
  const double seconds = arguments.seconds / 2;
  printf(
      "An online shop: a frontend, 3 carts, 3 catalogs, 2 payments, each a "
      "process,\nand %.0f calls per second for %.0f s, twice: over bare gRPC "
      "channels, then over mesh.\n\n",
      kRate, seconds);
  printf(
      "Both call with mTLS. Over mesh all keys and certificates are replaced "
      "every 2 s.\n\n"
      "bare: a channel to each service with this service config, replaced when "
      "the\nendpoints file changes:\n%s\nmesh: channels from this "
      "mesh.yaml:\n%s\n",
      kServiceConfig, kMeshYaml);
  std::vector<ArmLog> arms;
  std::string said;
  for (const char* arm : {"bare", "mesh"}) {
    absl::StatusOr<ArmLog> log = RunArm(arm, seconds, programs, &said);
    if (!log.ok()) {
      return absl::Status(log.status().code(),
                          absl::StrCat(arm, ": ", log.status().message()));
    }
    arms.push_back(*std::move(log));
  }
  printf("\n%s\n", Tables(arms).c_str());
  absl::Status status = WriteText(
      arguments.report,
      ReportHtml(arms, kRate, kServiceConfig, kMeshYaml, kServerYaml));
  if (status.ok()) printf("report: %s\n", arguments.report.c_str());
  if (!arguments.json.empty()) {
    status.Update(WriteText(arguments.json, MetricsJson(MetricsOf(arms))));
    if (status.ok()) printf("metrics: %s\n", arguments.json.c_str());
  }
  if (!arguments.log.empty()) status.Update(WriteText(arguments.log, said));
  return status;
}

}  // namespace
}  // namespace shop

int main(int argc, char** argv) {
  absl::StatusOr<shop::Arguments> arguments = shop::ParseArguments(argc, argv);
  if (!arguments.ok()) {
    fprintf(stderr, "demo: %s\n",
            std::string(arguments.status().message()).c_str());
    return 2;
  }
  // The loop sees it and returns, so that everything is cleaned up.
  struct sigaction action = {};
  action.sa_handler = [](int) { shop::interrupted = 1; };
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    sigaction(signal, &action, nullptr);
  }
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const absl::Status status = shop::Demo(*arguments, self.parent_path());
  if (!status.ok()) {
    fprintf(stderr, "\ndemo: %s\n", std::string(status.message()).c_str());
    return shop::interrupted ? 130 : 1;
  }
  return 0;
}
