#include "examples/shop/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"

namespace shop {
namespace {

constexpr absl::Duration kStartTimeout = absl::Seconds(10);

// In the child, between fork and exec: async-signal-safe calls only.
void Exec(char* const* argv, const char* log, pid_t parent, int out) {
  // A group of its own: a Ctrl-C goes to the parent alone, which cleans up.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // It ended before the line above.
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int err = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
  const int in = open("/dev/null", O_RDONLY);
  if (err < 0 || in < 0) _exit(127);
  dup2(in, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  execv(argv[0], argv);
  _exit(127);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Process>> Process::Start(
    const std::vector<std::string>& argv, const std::string& log,
    bool says_port) {
  std::vector<char*> arguments;
  for (const std::string& argument : argv) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe");
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) Exec(arguments.data(), log.c_str(), parent, out[1]);
  const int error = errno;
  close(out[1]);
  if (pid < 0) {
    close(out[0]);
    return absl::ErrnoToStatus(error, "fork");
  }
  auto process = absl::WrapUnique(new Process(pid));
  absl::Status status;
  if (says_port) status = process->ReadPort(out[0], argv[0]);
  close(out[0]);
  if (!status.ok()) return status;
  return process;
}

Process::~Process() {
  if (Ended()) return;
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Process::Signal(int signal) {
  if (!Ended()) kill(pid_, signal);
}

bool Process::Ended() {
  if (!ended_) ended_ = waitpid(pid_, nullptr, WNOHANG) == pid_;
  return ended_;
}

absl::Status Process::ReadPort(int fd, const std::string& program) {
  std::string line;
  const absl::Time give_up = absl::Now() + kStartTimeout;
  while (line.find('\n') == std::string::npos) {
    const absl::Duration left = give_up - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          absl::StrCat(program, " did not say its port in ",
                       absl::FormatDuration(kStartTimeout)));
    }
    pollfd ready = {fd, POLLIN, 0};
    if (poll(&ready, 1, absl::ToInt64Milliseconds(left) + 1) <= 0) continue;
    char text[64];
    const ssize_t size = read(fd, text, sizeof(text));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) {
      return absl::AbortedError(
          absl::StrCat(program, " ended before it said its port."));
    }
    line.append(text, size);
  }
  absl::string_view rest = line;
  if (!absl::ConsumePrefix(&rest, "port ") ||
      !absl::SimpleAtoi(rest.substr(0, rest.find('\n')), &port_)) {
    return absl::InternalError(
        absl::StrCat(program, " said \"", line, "\" instead of its port."));
  }
  return absl::OkStatus();
}

}  // namespace shop
