#include "tests/matrix/relay.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace mesh::test {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

void Check(bool ok) {
  if (ok) return;
  perror("relay");
  abort();
}

// Whether what a client sent has a frame of a call (HEADERS, DATA), not only of
// the connection (RFC 9113, 4.1).
bool IsOfCall(absl::string_view sent) {
  absl::ConsumePrefix(&sent, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  constexpr size_t kFrameHeader = 9;
  while (sent.size() >= kFrameHeader) {
    const auto byte = [&](int i) { return static_cast<uint8_t>(sent[i]); };
    if (byte(3) <= 1) return true;
    const size_t length = byte(0) << 16 | byte(1) << 8 | byte(2);
    sent.remove_prefix(std::min(sent.size(), kFrameHeader + length));
  }
  return false;
}

}  // namespace

Relays::Relays(int count, absl::string_view server) {
  Check(absl::SimpleAtoi(server.substr(server.rfind(':') + 1), &server_port_));
  for (int i = 0; i < count; ++i) {
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof address;
    Check(bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0);
    Check(listen(listener, 64) == 0);
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    listeners_.push_back(listener);
    addresses_.push_back(absl::StrCat("127.0.0.1:", ntohs(address.sin_port)));
  }
  Check(pipe(wake_) == 0);
  thread_ = std::thread([this] { Run(); });
}

Relays::~Relays() {
  Command(kQuit);
  thread_.join();
  for (const Pair& pair : pairs_) Reset(pair);
  for (const int listener : listeners_) close(listener);
  close(wake_[0]);
  close(wake_[1]);
}

void Relays::Command(Order order) {
  order_.store(order);
  Check(write(wake_[1], "", 1) == 1);
  while (order != kQuit && order_.load() != kNothing) {
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}

void Relays::Reset(const Pair& pair) {
  const linger at_once = {1, 0};
  for (const int fd : {pair.client, pair.server}) {
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
  }
}

bool Relays::Forward(const Pair& pair, int from, int to) {
  char buffer[65536];
  const ssize_t got = read(from, buffer, sizeof buffer);
  if (got <= 0) return false;
  if (from == pair.client && IsOfCall({buffer, static_cast<size_t>(got)})) {
    last_used_ = pair.relay;
  }
  for (ssize_t sent = 0; sent < got;) {
    const ssize_t n = send(to, buffer + sent, got - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += n;
  }
  return true;
}

void Relays::Run() {
  while (true) {
    std::vector<pollfd> fds = {{wake_[0], POLLIN, 0}};
    for (const int listener : listeners_) fds.push_back({listener, POLLIN, 0});
    const size_t first = fds.size();
    for (const Pair& pair : pairs_) {
      fds.push_back({pair.client, POLLIN, 0});
      fds.push_back({pair.server, POLLIN, 0});
    }
    poll(fds.data(), fds.size(), -1);
    std::vector<Pair> kept;
    for (size_t i = 0; i < pairs_.size(); ++i) {
      const Pair& pair = pairs_[i];
      bool good = true;
      if (fds[first + 2 * i].revents != 0) {
        good = Forward(pair, pair.client, pair.server);
      }
      if (good && fds[first + 2 * i + 1].revents != 0) {
        good = Forward(pair, pair.server, pair.client);
      }
      if (good) {
        kept.push_back(pair);
      } else {
        Reset(pair);
      }
    }
    pairs_ = std::move(kept);
    for (size_t i = 0; i < listeners_.size(); ++i) {
      if (fds[1 + i].revents == 0) continue;
      const int client = accept(listeners_[i], nullptr, nullptr);
      if (client < 0) continue;
      const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const sockaddr_in address = Loopback(server_port_);
      if (refusing_ ||
          connect(server, reinterpret_cast<const sockaddr*>(&address),
                  sizeof address) != 0) {
        Reset({i, client, server});
        continue;
      }
      const int on = 1;
      setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      pairs_.push_back({i, client, server});
    }
    if (fds[0].revents == 0) continue;
    char ignored;
    Check(read(wake_[0], &ignored, 1) == 1);
    const int order = order_.load();
    if (order == kQuit) return;
    if (order != kBreak) refusing_ = order == kRefuse;
    kept.clear();
    for (const Pair& pair : pairs_) {
      if (order == kRefuse || (order == kBreak && pair.relay == last_used_)) {
        Reset(pair);
      } else {
        kept.push_back(pair);
      }
    }
    pairs_ = std::move(kept);
    order_.store(kNothing);
  }
}

}  // namespace mesh::test
