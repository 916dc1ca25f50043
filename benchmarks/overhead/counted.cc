#include "benchmarks/overhead/counted.h"

#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tests/process/process.h"

namespace mesh::benchmarks {
namespace {

constexpr absl::Duration kLongest = absl::Minutes(2);

// Adds callgrind, which writes to `out`, to the front of a command.
std::vector<std::string> Counted(const std::string& out,
                                 std::vector<std::string> command) {
  std::vector<std::string> all = {"valgrind", "--quiet", "--tool=callgrind",
                                  "--callgrind-out-file=" + out};
  for (std::string& word : command) all.push_back(std::move(word));
  return all;
}

absl::StatusOr<double> TotalIn(const std::string& out) {
  std::FILE* const file = std::fopen(out.c_str(), "r");
  if (file == nullptr) return absl::NotFoundError("callgrind wrote nothing");
  char line[4096];
  double total = 0;
  while (std::fgets(line, sizeof(line), file) != nullptr) {
    if (std::sscanf(line, "totals: %lf", &total) == 1) break;
  }
  std::fclose(file);
  if (total == 0) {
    return absl::NotFoundError("callgrind's output has no totals");
  }
  return total;
}

}  // namespace

absl::StatusOr<double> CountInstructionsOf(std::vector<std::string> command) {
  const test::TempDirectory directory;
  const std::string out = directory.path() + "/callgrind.out";
  const absl::StatusOr<std::string> printed =
      test::RunToEnd(Counted(out, std::move(command)), kLongest);
  if (!printed.ok()) return printed.status();
  return TotalIn(out);
}

absl::StatusOr<double> CountInstructionsOfServer(
    std::vector<std::string> server, std::vector<std::string> client) {
  const test::TempDirectory directory;
  const std::string out = directory.path() + "/callgrind.out";
  absl::StatusOr<std::unique_ptr<test::Process>> process =
      test::Process::Start(Counted(out, std::move(server)));
  if (!process.ok()) return process.status();
  const absl::StatusOr<std::string> port = (*process)->ReadLine(kLongest);
  if (!port.ok()) return port.status();
  client.push_back("127.0.0.1:" + *port);
  const absl::StatusOr<std::string> printed =
      test::RunToEnd(std::move(client), kLongest);
  if (!printed.ok()) return printed.status();
  (*process)->CloseInput();
  const absl::Status ended = (*process)->Wait();
  if (!ended.ok()) return ended;
  return TotalIn(out);
}

}  // namespace mesh::benchmarks
