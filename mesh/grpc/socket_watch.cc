#include "mesh/grpc/socket_watch.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>

#include "grpc/support/sync.h"
#include "mesh/base/tsan_notes.h"

// The type of gRPC's core in src/core/lib/iomgr/socket_mutator.h, which is not
// installed. grpc::ChannelArguments::SetSocketMutator() takes it. The layout is
// that of gRPC 1.0 to 1.51, where the last member is from 1.33.
struct grpc_socket_mutator {
  const void* vtable;
  gpr_refcount refcount;
};

namespace mesh::core {
namespace {

struct Mutator {
  grpc_socket_mutator base;  // First, since Of() casts gRPC's pointer to it.
  std::shared_ptr<SocketWatch> watch;
};

struct Vtable {
  bool (*mutate_fd)(int fd, grpc_socket_mutator* mutator);
  int (*compare)(grpc_socket_mutator* a, grpc_socket_mutator* b);
  void (*destroy)(grpc_socket_mutator* mutator);
  void* mutate_fd_2;  // Null: the first one is used.
};

Mutator* Of(grpc_socket_mutator* mutator) {
  return reinterpret_cast<Mutator*>(mutator);
}

constexpr Vtable kVtable = {
    [](int fd, grpc_socket_mutator* mutator) {
      base::NoteAfter(mutator);
      Of(mutator)->watch->OnSocket(fd);
      base::NoteBefore(mutator);
      return true;
    },
    // All are equal, so that channels that are equal otherwise share a
    // connection.
    [](grpc_socket_mutator*, grpc_socket_mutator*) { return 0; },
    [](grpc_socket_mutator* mutator) {
      base::NoteAfter(mutator);
      delete Of(mutator);
    },
    nullptr,
};

// 0: not known.
uint64_t CookieOf(int fd) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie
                                                                    : 0;
}

}  // namespace

void SocketWatch::AddTo(grpc::ChannelArguments* args) {
  auto* const mutator = new Mutator;
  mutator->base.vtable = &kVtable;
  gpr_ref_init(&mutator->base.refcount, 1);
  mutator->watch = shared_from_this();
  base::NoteBefore(&mutator->base);
  args->SetSocketMutator(&mutator->base);  // It owns the reference.
}

void SocketWatch::OnSocket(int fd) {
  const uint64_t cookie = CookieOf(fd);
  base::MutexLock lock(&mu_);
  fd_ = cookie != 0 ? fd : -1;
  cookie_ = cookie;
}

// gRPC may have closed it, and the number may be another file's by now. Reading
// from that does no harm, and what was read is ignored.
std::optional<uint64_t> SocketWatch::BytesReceived() const {
  base::MutexLock lock(&mu_);
  if (fd_ < 0 || CookieOf(fd_) != cookie_) return std::nullopt;
  tcp_info info = {};
  socklen_t size = sizeof(info);
  const bool known =
      getsockopt(fd_, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
      size >= offsetof(tcp_info, tcpi_bytes_received) + sizeof(uint64_t);
  // Not known: a Unix socket.
  if (!known || CookieOf(fd_) != cookie_) return std::nullopt;
  return info.tcpi_bytes_received;
}

bool SocketWatch::Break() {
  base::MutexLock lock(&mu_);
  if (fd_ < 0 || CookieOf(fd_) != cookie_) return false;
  // A copy surely is the socket that was looked at, or is found not to be.
  const int copy = fcntl(fd_, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return false;
  const bool broken =
      CookieOf(copy) == cookie_ && shutdown(copy, SHUT_RDWR) == 0;
  close(copy);
  return broken;
}

}  // namespace mesh::core
