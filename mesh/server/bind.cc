#include "mesh/server/bind.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace mesh::server {
namespace {

struct Address {
  sockaddr_storage bytes = {};
  socklen_t size = 0;

  int family() const { return bytes.ss_family; }
  sockaddr_in& v4() { return reinterpret_cast<sockaddr_in&>(bytes); }
  sockaddr_in6& v6() { return reinterpret_cast<sockaddr_in6&>(bytes); }
  const sockaddr* get() const {
    return reinterpret_cast<const sockaddr*>(&bytes);
  }
};

absl::Status NoAddress(absl::string_view address) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", address,
                   "\" is no address to listen on. Write an IP address and a "
                   "port, as \"0.0.0.0:8443\" or \"[::1]:0\"."));
}

absl::Status Refused(absl::string_view address) {
  return absl::UnavailableError(absl::StrCat("cannot listen on \"", address,
                                             "\": ", strerror(errno), "."));
}

absl::StatusOr<Address> Parse(absl::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return NoAddress(text);
  absl::string_view host = text.substr(0, colon);
  int port = 0;
  if (!absl::SimpleAtoi(text.substr(colon + 1), &port) || port < 0 ||
      port > 65535) {
    return NoAddress(text);
  }
  const bool brackets =
      host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  if (brackets != (host.find(':') != absl::string_view::npos)) {
    return NoAddress(text);
  }
  addrinfo hints = {};
  hints.ai_flags = AI_NUMERICHOST;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(std::string(host).c_str(), nullptr, &hints, &found) != 0) {
    return NoAddress(text);
  }
  Address address;
  address.size = found->ai_addrlen;
  std::memcpy(&address.bytes, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  if (address.family() == AF_INET6) {
    address.v6().sin6_port = htons(static_cast<uint16_t>(port));
  } else {
    address.v4().sin_port = htons(static_cast<uint16_t>(port));
  }
  return address;
}

int PortOf(Address& address) {
  return ntohs(address.family() == AF_INET6 ? address.v6().sin6_port
                                            : address.v4().sin_port);
}

bool IsWildcard(Address& address) {
  return address.family() == AF_INET6
             ? IN6_IS_ADDR_UNSPECIFIED(&address.v6().sin6_addr)
             : address.v4().sin_addr.s_addr == htonl(INADDR_ANY);
}

Address Wildcard(int family, int port) {
  Address address;
  address.bytes.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET6) {
    address.size = sizeof(sockaddr_in6);
    address.v6().sin6_addr = in6addr_any;
    address.v6().sin6_port = htons(static_cast<uint16_t>(port));
  } else {
    address.size = sizeof(sockaddr_in);
    address.v4().sin_addr.s_addr = htonl(INADDR_ANY);
    address.v4().sin_port = htons(static_cast<uint16_t>(port));
  }
  return address;
}

bool Set(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

// Binds one socket. Returns the port, or -1 with errno. `both`: whether it
// serves both families, if its address is their wildcard.
int BindOne(const Address& address, OwnedFd* fd, bool* both) {
  fd->Reset(
      socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd->ok()) return -1;
  *both = address.family() == AF_INET6 &&
          Set(fd->get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (!Set(fd->get(), SOL_SOCKET, SO_REUSEPORT, 1) ||
      !Set(fd->get(), SOL_SOCKET, SO_REUSEADDR, 1) ||
      !Set(fd->get(), IPPROTO_TCP, TCP_NODELAY, 1) ||
      bind(fd->get(), address.get(), address.size) != 0) {
    return -1;
  }
  Address bound;
  bound.size = sizeof(bound.bytes);
  if (getsockname(fd->get(), reinterpret_cast<sockaddr*>(&bound.bytes),
                  &bound.size) != 0) {
    return -1;
  }
  return PortOf(bound);
}

// One socket for both families where the system has such, else one each. IPv4
// must be served, and IPv6 where it can be.
int BindWildcard(int port, BoundPort* bound) {
  OwnedFd fd;
  bool both = false;
  const int v6 = BindOne(Wildcard(AF_INET6, port), &fd, &both);
  if (v6 > 0) bound->sockets.push_back(std::move(fd));
  if (v6 > 0 && both) return v6;
  const int v4 = BindOne(Wildcard(AF_INET, v6 > 0 ? v6 : port), &fd, &both);
  if (v4 > 0) bound->sockets.push_back(std::move(fd));
  return v4;
}

}  // namespace

absl::StatusOr<BoundPort> BindPort(absl::string_view address) {
  absl::StatusOr<Address> parsed = Parse(address);
  if (!parsed.ok()) return parsed.status();
  BoundPort bound;
  if (IsWildcard(*parsed)) {
    bound.port = BindWildcard(PortOf(*parsed), &bound);
  } else {
    OwnedFd fd;
    bool both = false;
    bound.port = BindOne(*parsed, &fd, &both);
    if (bound.port > 0) bound.sockets.push_back(std::move(fd));
  }
  if (bound.port <= 0) return Refused(address);
  return bound;
}

absl::Status ListenOn(const BoundPort& port,
                      std::optional<absl::Duration> user_timeout) {
  for (const OwnedFd& fd : port.sockets) {
    if (user_timeout.has_value()) {
      Set(fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT,
          static_cast<int>(absl::ToInt64Milliseconds(*user_timeout)));
    }
    // The kernel takes what it allows at most.
    if (listen(fd.get(), std::numeric_limits<int>::max()) != 0) {
      return Refused(absl::StrCat(":", port.port));
    }
  }
  return absl::OkStatus();
}

std::string PeerName(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    return absl::StrCat("ipv4:", text, ":", ntohs(v4.sin_port));
  }
  if (address.ss_family != AF_INET6) return "";
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text, sizeof(text));
    return absl::StrCat("ipv4:", text, ":", ntohs(v6.sin6_port));
  }
  inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
  std::string host = text;
  if (v6.sin6_scope_id != 0) {
    absl::StrAppend(&host, "%25", v6.sin6_scope_id);  // "%", escaped.
  }
  return absl::StrCat("ipv6:%5B", host, "%5D:", ntohs(v6.sin6_port));
}

}  // namespace mesh::server
