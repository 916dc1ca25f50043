#include "tests/process/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

namespace mesh::test {
namespace {

[[noreturn]] void Die(absl::string_view what) {
  std::fprintf(stderr, "%.*s: %s\n", static_cast<int>(what.size()), what.data(),
               std::strerror(errno));
  std::abort();
}

// Where `program` is. Daemons are where an ordinary user's PATH does not lead.
std::string Find(const std::string& program) {
  if (absl::StrContains(program, '/')) return program;
  const char* path = getenv("PATH");
  for (const absl::string_view directory : absl::StrSplit(
           absl::StrCat(path == nullptr ? "" : path, ":/usr/sbin:/sbin"), ':',
           absl::SkipEmpty())) {
    const std::string file = absl::StrCat(directory, "/", program);
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return program;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Process>> Process::Start(
    std::vector<std::string> argv, int death_signal) {
  const std::string program = Find(argv[0]);
  int in[2], out[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) Die("pipe2");
  std::vector<char*> args;
  for (std::string& arg : argv) args.push_back(arg.data());
  args.push_back(nullptr);
  const pid_t pid = fork();
  if (pid < 0) Die("fork");
  if (pid == 0) {
    // Only what is allowed after a fork of a process with many threads.
    prctl(PR_SET_PDEATHSIG, death_signal);
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    execv(program.c_str(), args.data());
    static constexpr char kFailed[] = "cannot be started\n";
    (void)!write(STDERR_FILENO, args[0], strlen(args[0]));
    (void)!write(STDERR_FILENO, ": ", 2);
    (void)!write(STDERR_FILENO, kFailed, sizeof(kFailed) - 1);
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  return std::unique_ptr<Process>(new Process(argv[0], pid, in[1], out[0]));
}

Process::~Process() {
  // Politely first, for those that have children of their own to end.
  Signal(SIGTERM);
  Signal(SIGCONT);
  for (int i = 0; i < 200 && !Ended(); ++i)
    absl::SleepFor(absl::Milliseconds(5));
  Signal(SIGKILL);
  (void)Wait();
  CloseInput();
  close(stdout_);
}

absl::StatusOr<std::string> Process::ReadLine(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    const size_t end = read_.find('\n');
    if (end != std::string::npos) {
      std::string line = read_.substr(0, end);
      read_.erase(0, end + 1);
      return line;
    }
    pollfd descriptor = {stdout_, POLLIN, 0};
    const absl::Duration left = deadline - absl::Now();
    const int ready =
        left <= absl::ZeroDuration()
            ? 0
            : poll(&descriptor, 1,
                   static_cast<int>(absl::ToInt64Milliseconds(left) + 1));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      return absl::DeadlineExceededError(absl::StrCat(
          name_, " printed no line in ", absl::FormatDuration(timeout)));
    }
    char buffer[4096];
    const ssize_t n = read(stdout_, buffer, sizeof(buffer));
    if (n <= 0) return absl::OutOfRangeError(name_ + "'s output has ended");
    read_.append(buffer, n);
  }
}

void Process::CloseInput() {
  if (stdin_ >= 0) close(stdin_);
  stdin_ = -1;
}

void Process::Signal(int signal) {
  if (!ended_) kill(pid_, signal);
}

bool Process::Ended() {
  return ended_ = ended_ || waitpid(pid_, &wait_status_, WNOHANG) == pid_;
}

absl::Status Process::Wait() {
  while (!ended_) {
    if (waitpid(pid_, &wait_status_, 0) == pid_) {
      ended_ = true;
    } else if (errno != EINTR) {
      Die("waitpid");
    }
  }
  if (WIFEXITED(wait_status_) && WEXITSTATUS(wait_status_) == 0) {
    return absl::OkStatus();
  }
  return absl::InternalError(
      WIFSIGNALED(wait_status_)
          ? absl::StrCat(name_, " ended by signal ", WTERMSIG(wait_status_))
          : absl::StrCat(name_, " exited with ", WEXITSTATUS(wait_status_)));
}

absl::StatusOr<std::string> RunToEnd(std::vector<std::string> argv,
                                     absl::Duration timeout) {
  const std::string command = absl::StrJoin(argv, " ");
  absl::StatusOr<std::unique_ptr<Process>> process =
      Process::Start(std::move(argv));
  if (!process.ok()) return process.status();
  const absl::Time deadline = absl::Now() + timeout;
  std::string output;
  while (true) {
    const absl::StatusOr<std::string> line =
        (*process)->ReadLine(deadline - absl::Now());
    if (absl::IsOutOfRange(line.status())) break;
    if (!line.ok()) {
      return absl::DeadlineExceededError(absl::StrCat(
          command, " took longer than ", absl::FormatDuration(timeout)));
    }
    absl::StrAppend(&output, *line, "\n");
  }
  const absl::Status status = (*process)->Wait();
  if (!status.ok()) {
    return absl::InternalError(absl::StrCat(command, ": ", status.message()));
  }
  return output;
}

std::string ProgramDirectory() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path();
}

namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

}  // namespace

int UnusedPort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    Die("a port");
  }
  close(fd);
  return ntohs(address.sin_port);
}

bool Listens(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) Die("a socket");
  const sockaddr_in address = Loopback(port);
  const bool listens = connect(fd, reinterpret_cast<const sockaddr*>(&address),
                               sizeof(address)) == 0;
  close(fd);
  return listens;
}

TempDirectory::TempDirectory() {
  const char* parent = getenv("TEST_TMPDIR");
  path_ = absl::StrCat(parent != nullptr
                           ? std::string(parent)
                           : std::filesystem::temp_directory_path().string(),
                       "/mesh.XXXXXX");
  if (mkdtemp(path_.data()) == nullptr) Die(path_);
}

TempDirectory::~TempDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDirectory::Write(absl::string_view name,
                                 absl::string_view text) const {
  const std::string path = absl::StrCat(path_, "/", name);
  const std::string temporary = path + ".new";
  std::ofstream(temporary, std::ios::binary) << text;
  if (rename(temporary.c_str(), path.c_str()) != 0) Die(path);
  return path;
}

}  // namespace mesh::test
