#ifndef MESH_SERVER_LISTENER_H_
#define MESH_SERVER_LISTENER_H_

#include <sys/epoll.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/base/clock.h"
#include "mesh/base/event_loop.h"
#include "mesh/base/mutex.h"
#include "mesh/server/bind.h"
#include "mesh/server/connection_ledger.h"
#include "mesh/server/owned_fd.h"
#include "mesh/server/waiting_room.h"

namespace mesh::server {

// Accepts the connections of one port, on one thread of its own. It reads the
// first byte of each, and hands the socket over as what that byte says: 0x16 is
// TLS, "P" is HTTP/2 without TLS, and anything else is closed. It keeps a
// duplicate of each socket until the connection is gone. So it can shut a
// connection that has to leave, whoever else has the socket. Thread-safe.
//
// A connection costs two descriptors: gRPC's and the duplicate.
class Listener : public std::enable_shared_from_this<Listener> {
 public:
  // What became of a socket. kNotTaken: it is to be closed. kNoServer: the
  // server was shut down, so the port is to be closed, too.
  enum class Handed { kTaken, kNotTaken, kNoServer };
  // Gives `fd` to the server; see core::ConnectionAcceptor. Called on the
  // listener's thread.
  using HandOver =
      std::function<Handed(Wire wire, int fd, int copy, char first)>;
  // Receives a line about trouble. Called on the listener's thread, like
  // Failed. Neither may block, nor drop the last reference to the listener.
  using Log = std::function<void(const std::string& line)>;
  // Receives why the port has closed by itself. Called once at most.
  using Failed = std::function<void(const std::string& why)>;

  struct Counts {
    uint64_t silent = 0;       // Closed: no byte in time, or room for others.
    uint64_t other_bytes = 0;  // Closed: no byte that the port knows.
    uint64_t not_taken = 0;    // Closed: the port does not take this wire.
    size_t waiting = 0;        // Now without a first byte.
    bool failed = false;       // The port has closed by itself.
  };

  // At most `most_waiting` peers may be silent at once. RESOURCE_EXHAUSTED: the
  // system has no descriptor or thread left.
  static absl::StatusOr<std::shared_ptr<Listener>> Make(
      BoundPort port, std::shared_ptr<ConnectionLedger> ledger,
      HandOver hand_over, Log log, Failed failed,
      size_t most_waiting = MostWaiting());
  // A quarter of the descriptors that the process may have; 4,096 at most.
  static size_t MostWaiting();
  ~Listener();

  // Begins to accept, and returns when the port listens or has failed. See
  // ListenOn() for `user_timeout`.
  void Start(std::optional<absl::Duration> user_timeout);
  // Ends to accept, and closes those who wait. Connections stay, and those that
  // have to leave are shut as before. Returns when the port is closed.
  void Close();
  // Ends all. Nothing is shut from then on.
  void Stop();

  Counts counts() const;

 private:
  enum class Kind : uint64_t { kPort, kWaiting, kConnection };

  Listener(BoundPort port, std::shared_ptr<ConnectionLedger> ledger,
           HandOver hand_over, Log log, Failed failed, size_t most_waiting);

  // Runs `closure` on the loop's thread, and waits for it.
  void RunOnLoop(std::function<void()> closure);

  // All of these run on the loop's thread.
  bool Watch(int fd, Kind kind, uint64_t value, uint32_t events);
  void OnEvents();
  void OnEvent(const epoll_event& event);
  void Accept(int port_fd);
  // False: no more can be accepted for now.
  bool OnAcceptError(int error);
  void OnFirstByte(int fd);
  void TakeConnection(Wire wire, OwnedFd fd, char first);
  // Closes the duplicate. The connection stays with whoever has the socket.
  void Forget(ConnectionLedger::Id id);
  void LogWaiting(int error);
  void Pause();
  void Resume();
  void ClosePort();
  void Fail(const std::string& why);
  void OnTimer();
  void SetTimer();
  void Bump(uint64_t Counts::*count);

  // Constant, or only of the loop's thread.
  const std::shared_ptr<ConnectionLedger> ledger_;
  const HandOver hand_over_;
  const Log log_;
  const Failed failed_;
  const base::Clock& clock_ = base::Clock::Real();
  OwnedFd epoll_;
  BoundPort port_;
  WaitingRoom waiting_;
  // The duplicates of the sockets that the server has.
  absl::flat_hash_map<ConnectionLedger::Id, OwnedFd> copies_;
  absl::Time next_look_ = absl::InfiniteFuture();
  absl::Time resume_at_ = absl::InfiniteFuture();  // Infinite: not paused.
  absl::Time next_log_ = absl::InfinitePast();
  base::Scheduler::TimerId timer_ = 0;
  absl::Time timer_at_ = absl::InfiniteFuture();

  mutable base::Mutex mu_;
  Counts counts_ ABSL_GUARDED_BY(mu_);

  // The last member, so that its thread ends first. Shared with the ledger,
  // which may live for longer.
  const std::shared_ptr<base::EventLoop> loop_;
};

}  // namespace mesh::server

#endif  // MESH_SERVER_LISTENER_H_
