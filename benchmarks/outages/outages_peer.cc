// What the outages bench puts in front of a server, or in its place: a process
// on loopback ports that the system picks. It prints its addresses, one per
// line, then an empty line. It runs until it is killed.
//
//   outages_peer relay FILE PORT  forwards TCP to PORT of loopback. On SIGUSR1
//                                 it drops from then on, without closing, what
//                                 comes on the connections that it has.
//   outages_peer refuse FILE      accepts and closes at once.
//   outages_peer hole COUNT       listens on COUNT ports whose queues are full,
//                                 so the kernel drops each SYN.
//
// FILE gets a line for each connection that is accepted and for each that is
// closed: "accept NANOSECONDS", "close NANOSECONDS", of the monotonic clock.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <string>
#include <vector>

namespace {

constexpr size_t kBuffer = 64 * 1024;

[[noreturn]] void Die(const char* what) {
  std::fprintf(stderr, "outages_peer: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// A socket that listens, and its port.
int Listen(int backlog, int* port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(fd, backlog) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    Die("cannot listen");
  }
  *port = ntohs(address.sin_port);
  return fd;
}

void Announce(const std::vector<int>& ports) {
  for (const int port : ports) std::printf("127.0.0.1:%d\n", port);
  std::printf("\n");
  std::fflush(stdout);
}

class Log {
 public:
  explicit Log(const char* file)
      : fd_(open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) {
    if (fd_ < 0) Die(file);
  }
  void Line(const char* what) const {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    char text[64];
    const int size = std::snprintf(
        text, sizeof(text), "%s %lld\n", what,
        static_cast<long long>(now.tv_sec) * 1'000'000'000 + now.tv_nsec);
    if (write(fd_, text, size) != size) Die("cannot write the log");
  }

 private:
  const int fd_;
};

// One connection and the one that it is forwarded on.
struct Pair {
  int fds[2];              // The client, the server. Negative: closed.
  std::string unsent[2];   // To fds[i].
  bool connecting = true;  // To the server.
  bool silent = false;
};

class Relay {
 public:
  Relay(const char* log, int backend) : log_(log), backend_(backend) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    if (sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) Die("sigprocmask");
    signals_ = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals_ < 0) Die("signalfd");
    int port = 0;
    listener_ = Listen(1024, &port);
    Announce({port});
  }

  [[noreturn]] void Run() {
    while (true) {
      std::vector<pollfd> polled = {{listener_, POLLIN, 0},
                                    {signals_, POLLIN, 0}};
      for (const Pair& pair : pairs_) {
        for (int i = 0; i < 2; ++i) {
          polled.push_back({pair.fds[i], EventsOf(pair, i), 0});
        }
      }
      if (poll(polled.data(), polled.size(), -1) < 0) {
        if (errno == EINTR) continue;
        Die("poll");
      }
      size_t next = 2;
      for (auto it = pairs_.begin(); it != pairs_.end(); next += 2) {
        bool lives = true;
        for (int i = 0; i < 2 && lives; ++i) {
          if (polled[next + i].revents != 0) lives = Move(&*it, i);
        }
        it = lives ? std::next(it) : Close(it);
      }
      if (polled[1].revents != 0) Silence();
      if (polled[0].revents != 0) Accept();
    }
  }

 private:
  static short EventsOf(const Pair& pair, int i) {
    if (i == 1 && pair.connecting) return POLLOUT;
    short events = 0;
    if (pair.silent || pair.unsent[1 - i].size() < kBuffer) events |= POLLIN;
    if (!pair.silent && !pair.unsent[i].empty()) events |= POLLOUT;
    return events;
  }

  void Accept() {
    const int client =
        accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    log_.Line("accept");
    const int server =
        socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (server < 0) Die("socket");
    const sockaddr_in address = Loopback(backend_);
    const int one = 1;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    Pair pair;
    pair.fds[0] = client;
    pair.fds[1] = server;
    pair.connecting =
        connect(server, reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) != 0;
    // A failure shows when it is polled.
    pairs_.push_back(pair);
  }

  void Silence() {
    signalfd_siginfo info;
    while (read(signals_, &info, sizeof(info)) > 0) {
    }
    for (Pair& pair : pairs_) pair.silent = true;
  }

  std::list<Pair>::iterator Close(std::list<Pair>::iterator it) {
    for (const int fd : it->fds) {
      if (fd >= 0) close(fd);
    }
    log_.Line("close");
    return pairs_.erase(it);
  }

  // Forwards what came on fds[i]. False when both are to be closed.
  bool Move(Pair* pair, int i) {
    if (pair->silent) return Drop(pair, i);
    if (i == 1 && pair->connecting) {
      int error = 0;
      socklen_t size = sizeof(error);
      getsockopt(pair->fds[1], SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) return false;
      pair->connecting = false;
      return Flush(pair, 1);
    }
    if (!Flush(pair, i)) return false;
    char buffer[kBuffer];
    const ssize_t n = read(pair->fds[i], buffer, sizeof(buffer));
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return false;
    pair->unsent[1 - i].append(buffer, n);
    return (i == 0 && pair->connecting) || Flush(pair, 1 - i);
  }

  static bool Flush(Pair* pair, int i) {
    std::string& unsent = pair->unsent[i];
    if (unsent.empty()) return true;
    const ssize_t n =
        send(pair->fds[i], unsent.data(), unsent.size(), MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    unsent.erase(0, n);
    return true;
  }

  // Drops what came on a silent connection. The client learns nothing about the
  // server, not even that it is gone.
  static bool Drop(Pair* pair, int i) {
    char buffer[kBuffer];
    const ssize_t n = read(pair->fds[i], buffer, sizeof(buffer));
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR))) return true;
    if (i == 0) return false;
    close(pair->fds[1]);
    pair->fds[1] = -1;
    return true;
  }

  const Log log_;
  const int backend_;
  int signals_ = -1;
  int listener_ = -1;
  std::list<Pair> pairs_;
};

[[noreturn]] void Refuse(const char* file) {
  const Log log(file);
  int port = 0;
  const int listener = Listen(1024, &port);
  Announce({port});
  while (true) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    log.Line("accept");
    close(fd);
    log.Line("close");
  }
}

// The queue of a socket that listens with a backlog of 0 has room for one
// connection that is not accepted. With it there, the kernel drops SYNs, unless
// tcp_abort_on_overflow says otherwise; that is looked at, not believed.
[[noreturn]] void Hole(int count) {
  std::vector<int> ports;
  for (int i = 0; i < count; ++i) {
    int port = 0;
    Listen(0, &port);
    ports.push_back(port);
    const sockaddr_in address = Loopback(port);
    const auto* const to = reinterpret_cast<const sockaddr*>(&address);
    const int filler = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (filler < 0 || connect(filler, to, sizeof(address)) != 0) {
      Die("cannot fill a queue");
    }
    if (i > 0) continue;
    const int trial =
        socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    pollfd polled = {trial, POLLOUT, 0};
    if (trial < 0 || connect(trial, to, sizeof(address)) == 0 ||
        errno != EINPROGRESS || poll(&polled, 1, 300) != 0) {
      Die("this kernel drops no SYN for a full queue");
    }
    close(trial);
  }
  Announce(ports);
  while (true) pause();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "relay" && argc == 4) Relay(argv[2], std::atoi(argv[3])).Run();
  if (mode == "refuse" && argc == 3) Refuse(argv[2]);
  if (mode == "hole" && argc == 3) Hole(std::atoi(argv[2]));
  std::fprintf(stderr,
               "usage: outages_peer relay FILE PORT | refuse FILE | hole "
               "COUNT\n");
  return 2;
}
