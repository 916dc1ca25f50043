// A fleet that goes from plaintext to mutual TLS and back under load, by its
// configuration alone. README.md has how each figure is made.
//
//   migration_bench [--json FILE] [--rounds=N]

#include <signal.h>

#include <cstdio>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "benchmarks/identity/migration.h"
#include "benchmarks/outages/figures.h"
#include "benchmarks/outages/world.h"
#include "benchmarks/report.h"

namespace mesh::benchmarks {
namespace {

constexpr int kRounds = 20;

int Run(int argc, char** argv) {
  // OpenSSL writes to sockets whose other end may be gone.
  signal(SIGPIPE, SIG_IGN);
  Report report(&argc, argv);
  int rounds = kRounds;
  for (int i = 1; i < argc; ++i) {
    absl::string_view flag = argv[i];
    if (!absl::ConsumePrefix(&flag, "--rounds=") ||
        !absl::SimpleAtoi(flag, &rounds) || rounds < 1) {
      Die(absl::StrCat("the argument \"", argv[i], "\" is unknown."));
    }
  }
  const absl::Time start = Now();
  const MigrationResult result = PlayMigration(rounds);
  Progress("");
  Figures figures(&report);
  const auto number = [](auto count) { return static_cast<double>(count); };
  figures.Tell("rounds", result.rounds);
  figures.Tell("calls", number(result.calls));
  figures.Tell("late", number(result.late));
  figures.Judge("failed_calls", number(result.failed), AtMost(0));
  figures.Tell("held_plaintext", number(result.held));
  figures.Tell("tried_plaintext_in_strict", number(result.tried_in_strict));
  figures.Judge("plaintext_calls_in_strict",
                number(result.plaintext_calls_in_strict), AtMost(0));
  figures.Judge("strict_plaintext_open_after_5s", result.strict_plaintext_open,
                AtMost(0));
  figures.Tell("strict_plaintext_unknown", result.strict_plaintext_unknown);
  figures.Tell("strict_plaintext_last_ms",
               absl::ToDoubleMilliseconds(result.strict_plaintext_last));
  figures.Tell("clients_quiet_ms_max",
               absl::ToDoubleMilliseconds(result.client_moved));
  report.Metric("met", figures.met() ? 1 : 0);
  std::printf("%s in %s\n", figures.met() ? "All met," : "Not all met,",
              absl::FormatDuration(absl::Trunc(Now() - start, absl::Seconds(1)))
                  .c_str());
  return report.Write();
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) { return mesh::benchmarks::Run(argc, argv); }
