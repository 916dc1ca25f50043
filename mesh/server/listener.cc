#include "mesh/server/listener.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"

namespace mesh::server {
namespace {

constexpr char kTlsRecord = 0x16;  // A handshake record: RFC 8446 5.1.
constexpr char kPreface = 'P';     // "PRI * HTTP/2.0": RFC 9113 3.4.
// Connections that are accepted before others get their turn.
constexpr int kAcceptedAtOnce = 64;
// How long nothing is accepted when the system has no descriptor left.
constexpr absl::Duration kPause = absl::Milliseconds(100);
// How long a peer may be silent when descriptors run out.
constexpr absl::Duration kMaySpeak = absl::Seconds(1);
constexpr absl::Duration kBetweenLogs = absl::Minutes(1);

constexpr int kKindShift = 60;

}  // namespace

size_t Listener::MostWaiting() {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  return std::clamp<size_t>(static_cast<size_t>(limit.rlim_cur / 4), 16, 4096);
}

absl::StatusOr<std::shared_ptr<Listener>> Listener::Make(
    BoundPort port, std::shared_ptr<ConnectionLedger> ledger,
    HandOver hand_over, Log log, Failed failed, size_t most_waiting) {
  std::shared_ptr<Listener> listener(
      new Listener(std::move(port), std::move(ledger), std::move(hand_over),
                   std::move(log), std::move(failed), most_waiting));
  if (!listener->epoll_.ok()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot listen: ", strerror(errno), "."));
  }
  if (!listener->loop_->failure().empty()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot listen: ", listener->loop_->failure(), "."));
  }
  const std::weak_ptr<Listener> weak = listener;
  listener->ledger_->SetSooner([weak, loop = listener->loop_] {
    loop->Post([weak] {
      const auto self = weak.lock();
      if (self != nullptr) self->OnTimer();
    });
  });
  Listener* const self = listener.get();
  self->loop_->Post([self] {
    self->loop_->Watch(self->epoll_.get(), POLLIN,
                       [self](short) { self->OnEvents(); });
  });
  return listener;
}

Listener::Listener(BoundPort port, std::shared_ptr<ConnectionLedger> ledger,
                   HandOver hand_over, Log log, Failed failed,
                   size_t most_waiting)
    : ledger_(std::move(ledger)),
      hand_over_(std::move(hand_over)),
      log_(std::move(log)),
      failed_(std::move(failed)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      port_(std::move(port)),
      waiting_(most_waiting),
      loop_(std::make_shared<base::EventLoop>("mesh-listen")) {}

Listener::~Listener() { Stop(); }

void Listener::Start(std::optional<absl::Duration> user_timeout) {
  RunOnLoop([this, user_timeout] {
    const absl::Status status = ListenOn(port_, user_timeout);
    if (!status.ok()) return Fail(std::string(status.message()));
    Resume();
    SetTimer();
  });
}

void Listener::Close() {
  RunOnLoop([this] { ClosePort(); });
}

void Listener::RunOnLoop(std::function<void()> closure) {
  if (loop_->OnLoopThread()) return closure();
  // The loop destroys what it does not run any more, so this always ends.
  auto done = std::make_shared<absl::Notification>();
  std::shared_ptr<void> at_end(nullptr, [done](void*) { done->Notify(); });
  loop_->Post([closure = std::move(closure), at_end = std::move(at_end)] {
    closure();
  });
  done->WaitForNotification();
}

void Listener::Stop() {
  loop_->Stop();
  port_.sockets.clear();
  for (int fd = waiting_.Oldest(); fd >= 0; fd = waiting_.Oldest()) {
    waiting_.Leave(fd);
    close(fd);
  }
  for (const auto& [id, copy] : copies_) ledger_->Remove(id);
  copies_.clear();
}

Listener::Counts Listener::counts() const {
  base::MutexLock lock(&mu_);
  return counts_;
}

bool Listener::Watch(int fd, Kind kind, uint64_t value, uint32_t events) {
  epoll_event event = {};
  event.events = events;
  event.data.u64 = static_cast<uint64_t>(kind) << kKindShift | value;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void Listener::OnEvents() {
  std::array<epoll_event, 64> events;
  const int count = epoll_wait(epoll_.get(), events.data(),
                               static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) OnEvent(events[i]);
  {
    base::MutexLock lock(&mu_);
    counts_.waiting = waiting_.size();
  }
  SetTimer();
}

void Listener::OnEvent(const epoll_event& event) {
  const uint64_t value = event.data.u64 & ((uint64_t{1} << kKindShift) - 1);
  switch (static_cast<Kind>(event.data.u64 >> kKindShift)) {
    case Kind::kPort:
      Accept(static_cast<int>(value));
      break;
    case Kind::kWaiting:
      OnFirstByte(static_cast<int>(value));
      break;
    case Kind::kConnection:
      // Both ends are shut: by the peer, by gRPC, or here. An error alone
      // (EPOLLERR) may be no more than a note: see MSG_ZEROCOPY in send(2).
      if ((event.events & EPOLLHUP) != 0) Forget(value);
      break;
  }
}

void Listener::Accept(int port_fd) {
  for (int i = 0; i < kAcceptedAtOnce && !port_.sockets.empty(); ++i) {
    OwnedFd fd(
        accept4(port_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.ok()) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      if (!OnAcceptError(errno)) return;
      continue;
    }
    if (!Watch(fd.get(), Kind::kWaiting, static_cast<uint64_t>(fd.get()),
               EPOLLIN)) {
      continue;
    }
    const int out = waiting_.Enter(fd.Release(), clock_.Now());
    if (out >= 0) {
      close(out);
      Bump(&Counts::silent);
    }
  }
}

bool Listener::OnAcceptError(int error) {
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      break;
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
      // It listens no longer, and never will.
      Fail(absl::StrCat("port ", port_.port,
                        " is closed: accept() failed: ", strerror(error), "."));
      return false;
    default:
      return true;  // The connection had an error: accept(2).
  }
  LogWaiting(error);
  // Who has been silent for longest makes room. One that has just come may be
  // about to speak.
  if (clock_.Now() - waiting_.oldest_since() < kMaySpeak) {
    Pause();
    return false;
  }
  const int out = waiting_.Oldest();
  waiting_.Leave(out);
  close(out);
  Bump(&Counts::silent);
  return true;
}

void Listener::OnFirstByte(int fd) {
  char first = 0;
  const ssize_t count = recv(fd, &first, 1, 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (!waiting_.Leave(fd)) return;
  OwnedFd owned(fd);
  if (count <= 0) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  if (first == kTlsRecord) {
    TakeConnection(Wire::kTls, std::move(owned), first);
  } else if (first == kPreface) {
    TakeConnection(Wire::kPlaintext, std::move(owned), first);
  } else {
    Bump(&Counts::other_bytes);
  }
}

void Listener::TakeConnection(Wire wire, OwnedFd fd, char first) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  if (getpeername(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) !=
      0) {
    return;  // The peer is gone.
  }
  OwnedFd copy(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.ok()) {
    OnAcceptError(errno);
    return;
  }
  const ConnectionLedger::Id id = ledger_->Add(wire, PeerName(address));
  // No events but those that are always told: both ends are shut, or an error.
  // Each is told once, since an error may stay for long.
  if (id == 0 || !Watch(copy.get(), Kind::kConnection, id, EPOLLET)) {
    Bump(&Counts::not_taken);
    if (id != 0) ledger_->Remove(id);
    return;
  }
  const int copy_fd = copy.get();
  copies_.emplace(id, std::move(copy));
  const Handed handed = hand_over_(wire, fd.get(), copy_fd, first);
  if (handed == Handed::kTaken) {
    fd.Release();
    return;
  }
  Bump(&Counts::not_taken);
  Forget(id);
  if (handed == Handed::kNoServer) ClosePort();
}

void Listener::Forget(ConnectionLedger::Id id) {
  const auto it = copies_.find(id);
  if (it == copies_.end()) return;
  // Closing is not enough: gRPC may still have the socket, and epoll watches
  // that.
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second.get(), nullptr);
  copies_.erase(it);
  ledger_->Remove(id);
}

void Listener::LogWaiting(int error) {
  const absl::Time now = clock_.Now();
  if (now < next_log_) return;
  next_log_ = now + kBetweenLogs;
  log_(absl::StrCat("port ", port_.port,
                    ": connections wait: ", strerror(error), "."));
}

void Listener::Pause() {
  if (resume_at_ != absl::InfiniteFuture()) return;
  resume_at_ = clock_.Now() + kPause;
  for (const OwnedFd& fd : port_.sockets) {
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd.get(), nullptr);
  }
}

void Listener::Resume() {
  resume_at_ = absl::InfiniteFuture();
  for (const OwnedFd& fd : port_.sockets) {
    if (!Watch(fd.get(), Kind::kPort, static_cast<uint64_t>(fd.get()),
               EPOLLIN)) {
      LogWaiting(errno);
      return Pause();
    }
  }
}

void Listener::ClosePort() {
  port_.sockets.clear();
  for (int fd = waiting_.Oldest(); fd >= 0; fd = waiting_.Oldest()) {
    waiting_.Leave(fd);
    close(fd);
  }
  base::MutexLock lock(&mu_);
  counts_.waiting = 0;
}

void Listener::Fail(const std::string& why) {
  if (port_.sockets.empty()) return;
  ClosePort();
  {
    base::MutexLock lock(&mu_);
    counts_.failed = true;
  }
  failed_(why);
}

void Listener::OnTimer() {
  const absl::Time now = clock_.Now();
  for (const int fd : waiting_.Expire(now)) {
    close(fd);
    Bump(&Counts::silent);
  }
  const ConnectionLedger::Look look = ledger_->LookAround(now);
  next_look_ = look.next;
  for (const ConnectionLedger::Id id : look.shut) {
    const auto it = copies_.find(id);
    if (it != copies_.end()) shutdown(it->second.get(), SHUT_RDWR);
  }
  if (now >= resume_at_) Resume();
  {
    base::MutexLock lock(&mu_);
    counts_.waiting = waiting_.size();
  }
  SetTimer();
}

void Listener::SetTimer() {
  const absl::Time at = std::min({waiting_.next(), next_look_, resume_at_});
  if (at == timer_at_) return;
  if (timer_ != 0) loop_->Cancel(timer_);
  timer_ = 0;
  timer_at_ = at;
  if (at == absl::InfiniteFuture()) return;
  timer_ = loop_->RunAt(at, [this] {
    timer_ = 0;
    timer_at_ = absl::InfiniteFuture();
    OnTimer();
  });
}

void Listener::Bump(uint64_t Counts::*count) {
  base::MutexLock lock(&mu_);
  ++(counts_.*count);
}

}  // namespace mesh::server
