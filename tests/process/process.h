#ifndef MESH_TESTS_PROCESS_PROCESS_H_
#define MESH_TESTS_PROCESS_PROCESS_H_

#include <signal.h>
#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mesh::test {

// A child process, for scenarios and benchmarks. When this object goes, the
// child gets SIGTERM, and SIGKILL a second later. When the thread that started
// it ends, the child gets a signal, too. Not thread-safe.
class Process {
 public:
  // Runs `argv`, searched in PATH and in /usr/sbin. Its stdout is read by
  // ReadLine(), its stderr is ours. Its stdin is open until CloseInput(), or
  // until this object goes.
  // `death_signal` is what it gets when the thread that started it ends. Only
  // SIGKILL ends a process that is stopped (SIGSTOP) by then.
  static absl::StatusOr<std::unique_ptr<Process>> Start(
      std::vector<std::string> argv, int death_signal = SIGTERM);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }

  // The next line of its stdout, without its end. DEADLINE_EXCEEDED after
  // `timeout`, OUT_OF_RANGE when its stdout has ended.
  absl::StatusOr<std::string> ReadLine(absl::Duration timeout);

  // Ends its stdin, which tells many programs to end.
  void CloseInput();

  // Sends it a signal. Does nothing once it has been waited for.
  void Signal(int signal);

  // Whether it has ended.
  bool Ended();

  // Waits until it has ended. OK when it exited with 0.
  absl::Status Wait();

 private:
  Process(std::string name, pid_t pid, int in, int out)
      : name_(std::move(name)), pid_(pid), stdin_(in), stdout_(out) {}

  const std::string name_;
  const pid_t pid_;
  int stdin_;  // -1: closed.
  const int stdout_;
  std::string read_;  // What stdout has brought and nobody has taken yet.
  bool ended_ = false;
  int wait_status_ = 0;
};

// Runs `argv` to its end and returns its stdout. An error when it does not
// exit with 0 or takes longer than `timeout`.
absl::StatusOr<std::string> RunToEnd(std::vector<std::string> argv,
                                     absl::Duration timeout);

// The directory of the running program, symbolic links resolved.
std::string ProgramDirectory();

// A TCP port of the loopback address that nothing used a moment ago. For
// programs that cannot choose one themselves.
int UnusedPort();

// Whether something accepts connections on this TCP port of the loopback
// address.
bool Listens(int port);

// A new directory under TEST_TMPDIR or the system's place for temporary files,
// deleted with all that is in it when this object goes.
class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const std::string& path() const { return path_; }
  // Writes a file in it, in one step for whoever reads it, and returns its
  // path.
  std::string Write(absl::string_view name, absl::string_view text) const;

 private:
  std::string path_;
};

}  // namespace mesh::test

#endif  // MESH_TESTS_PROCESS_PROCESS_H_
