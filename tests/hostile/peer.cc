#include "tests/hostile/peer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace mesh::test {
namespace {

[[noreturn]] void Die(const char* what) {
  std::perror(what);
  std::abort();
}

sockaddr_in Loopback() {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Listens on a port of its own, which it writes to `address`.
int Listen(int backlog, std::string* address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in name = Loopback();
  socklen_t size = sizeof(name);
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&name), size) != 0 ||
      listen(fd, backlog) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    Die("listen");
  }
  *address = absl::StrCat("127.0.0.1:", ntohs(name.sin_port));
  return fd;
}

std::string BigEndian(uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) {
    text += static_cast<char>(value >> (8 * i));
  }
  return text;
}

uint32_t FromBigEndian(absl::string_view bytes) {
  uint32_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

// RFC 7541, 5.1 and 5.2, with a prefix of 7 bits and no Huffman code.
std::string HpackString(absl::string_view text) {
  std::string coded;
  size_t length = text.size();
  if (length < 127) {
    coded += static_cast<char>(length);
  } else {
    coded += static_cast<char>(127);
    for (length -= 127; length >= 128; length >>= 7) {
      coded += static_cast<char>(length % 128 + 128);
    }
    coded += static_cast<char>(length);
  }
  return absl::StrCat(coded, text);
}

}  // namespace

std::string Frame(uint8_t type, uint8_t flags, uint32_t stream,
                  absl::string_view payload) {
  return absl::StrCat(BigEndian(static_cast<uint32_t>(payload.size()), 3),
                      BigEndian(type, 1), BigEndian(flags, 1),
                      BigEndian(stream, 4), payload);
}

std::string HeaderBlock(
    const std::vector<std::pair<std::string, std::string>>& headers) {
  std::string block;
  for (const auto& [name, value] : headers) {
    // Literal, not indexed, new name.
    absl::StrAppend(&block, absl::string_view("\0", 1), HpackString(name),
                    HpackString(value));
  }
  return block;
}

std::string TrailersOnly(
    uint32_t stream,
    const std::vector<std::pair<std::string, std::string>>& trailers) {
  std::vector<std::pair<std::string, std::string>> headers = {
      {":status", "200"}, {"content-type", "application/grpc"}};
  headers.insert(headers.end(), trailers.begin(), trailers.end());
  return Frame(kHeaders, kEndHeaders | kEndStream, stream,
               HeaderBlock(headers));
}

std::string ResponseHeaders(uint32_t stream) {
  return Frame(
      kHeaders, kEndHeaders, stream,
      HeaderBlock({{":status", "200"}, {"content-type", "application/grpc"}}));
}

std::string Goaway(uint32_t last_stream, uint32_t error,
                   absl::string_view debug) {
  return Frame(
      kGoaway, 0, 0,
      absl::StrCat(BigEndian(last_stream, 4), BigEndian(error, 4), debug));
}

std::string RstStream(uint32_t stream, uint32_t error) {
  return Frame(kRstStream, 0, stream, BigEndian(error, 4));
}

Connection::~Connection() { close(fd_); }

bool Connection::Send(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

bool Connection::Read(char* to, size_t size) {
  while (size > 0) {
    const ssize_t n = recv(fd_, to, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

bool Connection::Handshake() {
  char preface[kPreface.size()];
  return Read(preface, sizeof(preface)) && Send(Frame(kSettings, 0, 0, ""));
}

void Connection::Serve(const std::function<bool(uint32_t stream)>& answer) {
  char header[9];
  std::string payload;
  while (Read(header, sizeof(header))) {
    const uint32_t length = FromBigEndian({header, 3});
    const auto type = static_cast<uint8_t>(header[3]);
    const auto flags = static_cast<uint8_t>(header[4]);
    const uint32_t stream = FromBigEndian({header + 5, 4}) & 0x7fffffff;
    payload.resize(length);
    if (!Read(payload.data(), length)) return;
    if (type == kSettings && (flags & kAck) == 0) {
      if (!Send(Frame(kSettings, kAck, 0, ""))) return;
    } else if (type == kPing && (flags & kAck) == 0) {
      if (!Send(Frame(kPing, kAck, 0, payload))) return;
    } else if ((type == kHeaders || type == kData) &&
               (flags & kEndStream) != 0) {
      if (!answer(stream)) return;
    }
  }
}

void Connection::Ignore() {
  char ignored[4096];
  while (Read(ignored, 1)) {
  }
}

void Connection::Reset() {
  const linger now = {1, 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

void Connection::Shutdown() { shutdown(fd_, SHUT_RDWR); }

Peer::Peer(Behaviour behave) : behave_(std::move(behave)) {
  listener_ = Listen(/*backlog=*/128, &address_);
  acceptor_ = std::thread([this] { Accept(); });
}

Peer::~Peer() {
  stopping_ = true;
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  close(listener_);
  std::vector<std::thread> threads;
  {
    base::MutexLock lock(&mu_);
    for (const auto& connection : connections_) connection->Shutdown();
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
}

void Peer::Accept() {
  while (!stopping_) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    ++accepted_;
    auto connection = std::make_shared<Connection>(fd);
    base::MutexLock lock(&mu_);
    connections_.push_back(connection);
    threads_.emplace_back([this, connection]() mutable {
      behave_(*connection);
      base::MutexLock lock(&mu_);
      for (auto it = connections_.begin(); it != connections_.end(); ++it) {
        if (*it != connection) continue;
        connections_.erase(it);
        break;
      }
      connection.reset();  // Closes it.
    });
  }
}

FullBacklog::FullBacklog() {
  listener_ = Listen(/*backlog=*/0, &address_);
  sockaddr_in name = Loopback();
  socklen_t size = sizeof(name);
  if (getsockname(listener_, reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    Die("getsockname");
  }
  // Until one is neither accepted nor refused.
  while (true) {
    const int fd =
        socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) Die("socket");
    waiting_.push_back(fd);
    if (connect(fd, reinterpret_cast<sockaddr*>(&name), size) == 0) continue;
    pollfd descriptor = {fd, POLLOUT, 0};
    if (poll(&descriptor, 1, /*timeout_ms=*/50) == 0) return;
  }
}

FullBacklog::~FullBacklog() {
  for (const int fd : waiting_) close(fd);
  close(listener_);
}

}  // namespace mesh::test
