#ifndef MESH_TESTS_HOSTILE_PEER_H_
#define MESH_TESTS_HOSTILE_PEER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "mesh/base/mutex.h"

// Servers that no gRPC server would be: a few lines of HTTP/2 (RFC 9113) on a
// socket. They suffice to say what a client does not expect.

namespace mesh::test {

// What a client says first.
inline constexpr absl::string_view kPreface =
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
// The HTTP/2 frames that tests send, as bytes.
inline constexpr uint8_t kData = 0, kHeaders = 1, kRstStream = 3, kSettings = 4,
                         kPing = 6, kGoaway = 7, kContinuation = 9;
inline constexpr uint8_t kEndStream = 1, kAck = 1, kEndHeaders = 4;

std::string Frame(uint8_t type, uint8_t flags, uint32_t stream,
                  absl::string_view payload);
// A header block of literals (HPACK, RFC 7541). ":status" must come first.
std::string HeaderBlock(
    const std::vector<std::pair<std::string, std::string>>& headers);
// A whole answer without a message: trailers only.
std::string TrailersOnly(
    uint32_t stream,
    const std::vector<std::pair<std::string, std::string>>& trailers);
// Beginning of an answer: status 200 and the content type.
std::string ResponseHeaders(uint32_t stream);
std::string Goaway(uint32_t last_stream, uint32_t error,
                   absl::string_view debug);
std::string RstStream(uint32_t stream, uint32_t error);

// One connection that a peer has accepted.
class Connection {
 public:
  explicit Connection(int fd) : fd_(fd) {}
  virtual ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int fd() const { return fd_; }
  // False when the client has gone, or the peer is being stopped.
  virtual bool Send(absl::string_view bytes);
  // Reads the client's preface and says hello.
  bool Handshake();
  // Answers settings and pings, and hands every request to `answer` as soon as
  // it is complete, until the client goes or `answer` returns false.
  void Serve(const std::function<bool(uint32_t stream)>& answer);
  // Reads and says nothing until the client goes.
  void Ignore();
  // Closes with a TCP reset.
  void Reset();

 protected:
  // False as with Send().
  virtual bool Read(char* to, size_t size);

 private:
  friend class Peer;
  // Wakes the thread that reads or writes.
  void Shutdown();

  const int fd_;
};

// Listens on a port of the loopback address. Each connection gets a thread, on
// which `behave` does with it as it likes. When `behave` returns, the
// connection is closed.
class Peer {
 public:
  using Behaviour = std::function<void(Connection&)>;

  explicit Peer(Behaviour behave);
  // Cuts off all connections and waits until each `behave` has returned.
  ~Peer();

  const std::string& address() const { return address_; }
  // Connections accepted until now.
  int connections() const { return accepted_; }

 private:
  void Accept();

  // Constant.
  const Behaviour behave_;
  int listener_ = -1;
  std::string address_;

  std::atomic<int> accepted_{0};
  std::atomic<bool> stopping_{false};
  std::thread acceptor_;

  base::Mutex mu_;
  std::vector<std::shared_ptr<Connection>> connections_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mu_);
};

// A port that is listened on and whose backlog is full. A connection to it is
// neither accepted nor refused.
class FullBacklog {
 public:
  FullBacklog();
  ~FullBacklog();
  const std::string& address() const { return address_; }

 private:
  std::string address_;
  int listener_ = -1;
  std::vector<int> waiting_;
};

}  // namespace mesh::test

#endif  // MESH_TESTS_HOSTILE_PEER_H_
