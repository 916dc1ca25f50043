#ifndef MESH_TESTS_LISTEN_DOOR_TEST_UTIL_H_
#define MESH_TESTS_LISTEN_DOOR_TEST_UTIL_H_

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "mesh/base/mutex.h"
#include "mesh/certs/authority.h"
#include "mesh/server/listen.h"
#include "tests/support/test_service.grpc.pb.h"

// A port of mesh with real certificates, and what tests do to it.

namespace mesh::test {

// An authority, a server's certificate for "localhost", and clients'.
class Pki {
 public:
  explicit Pki(const std::string& name = "root");

  // A certificate for "localhost", and the authority as that of clients.
  core::ServerPair NewServerPair() const;
  // A client that shows itself as `spiffe_id`.
  certs::Issued NewClient(const std::string& spiffe_id) const;
  std::shared_ptr<grpc::ChannelCredentials> Credentials(
      const certs::Issued& client) const;
  const std::string& root() const { return authority_.root_pem(); }

 private:
  certs::Authority authority_;
};

// Believes the chains that it was told, by their first certificates.
class Believer {
 public:
  void Believe(const std::string& chain, const std::string& spiffe_id);
  void Forget(const std::string& chain);
  // Believes what this one does now, whatever it is told later.
  server::VerifyPeer Now() const;

 private:
  std::map<std::string, std::string> names_;
};

// What the handlers below have seen.
struct Sightings {
  std::atomic<int> calls{0};
  std::atomic<int> streams{0};  // Those of Bidi() among them.
  std::atomic<int> cancelled{0};
};

// A server with a port of mesh. Its handlers answer with the caller's name:
// Unary() once, Bidi() to each request.
class Door {
 public:
  // `change` may change the options, and the builder that is used.
  using Change =
      std::function<void(server::ListenOptions*, grpc::ServerBuilder*)>;
  Door(const Pki& pki, server::VerifyPeer verify, server::Wires wires,
       const Change& change = nullptr,
       const std::string& address = "127.0.0.1:0");
  ~Door();

  int port() const { return port_; }
  std::string target() const;
  server::ServerDoor& door() { return *door_; }
  std::shared_ptr<server::ServerDoor> TakeDoor() { return std::move(door_); }
  grpc::Server& server() { return *server_; }
  Sightings& seen() { return seen_; }
  // What the next handshakes show.
  void Show(core::ServerPair pair);
  // Destroys the server.
  void Destroy() { server_.reset(); }

  server::ServerDoor::Counts counts() const { return door_->counts(); }

 private:
  class Service final : public TestService::Service {
   public:
    explicit Service(Sightings* seen) : seen_(*seen) {}
    grpc::Status Unary(grpc::ServerContext* context, const Request* request,
                       Reply* reply) override;
    grpc::Status Bidi(
        grpc::ServerContext* context,
        grpc::ServerReaderWriter<Reply, Request>* stream) override;

   private:
    Sightings& seen_;
  };
  // Shared with the port, which may live for longer.
  struct Shown {
    base::Mutex mu;
    core::ServerPair pair ABSL_GUARDED_BY(mu);
  };

  Sightings seen_;
  Service service_{&seen_};
  const std::shared_ptr<Shown> shown_ = std::make_shared<Shown>();
  int port_ = 0;
  std::shared_ptr<server::ServerDoor> door_;
  std::unique_ptr<grpc::Server> server_;
};

// A channel with connections of its own, and no retries.
std::shared_ptr<grpc::Channel> NewChannel(
    const std::string& target,
    std::shared_ptr<grpc::ChannelCredentials> credentials);
std::unique_ptr<TestService::Stub> NewStub(
    const std::string& target,
    std::shared_ptr<grpc::ChannelCredentials> credentials);

// The result of a unary call.
struct Answer {
  grpc::Status status;
  std::string caller;  // As the handler knows it.
  bool draining = false;
  std::string server;  // The server's certificate: PEM.
};
Answer Ask(TestService::Stub* stub, absl::Duration timeout = absl::Seconds(20));

// Whether `condition` comes true in time.
bool Becomes(const std::function<bool()>& condition,
             absl::Duration timeout = absl::Seconds(20));

// Open descriptors and threads of this process.
int CountFds();
int CountThreads();

// A TCP connection that sends what a test wants. -1: there is none.
class RawSocket {
 public:
  // `from`: its own port. 0: any.
  explicit RawSocket(int port, int from = 0);
  ~RawSocket();
  RawSocket(RawSocket&& other) noexcept;
  RawSocket(const RawSocket&) = delete;
  RawSocket& operator=(const RawSocket&) = delete;

  bool Send(const std::string& bytes) const;
  // What comes until `size` bytes are there or the time is over.
  std::string Read(size_t size, absl::Duration timeout) const;
  // Whether the peer closes the connection in time. Drops what comes.
  bool Closes(absl::Duration timeout) const;
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

}  // namespace mesh::test

#endif  // MESH_TESTS_LISTEN_DOOR_TEST_UTIL_H_
