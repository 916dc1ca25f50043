#include "benchmarks/identity/raw_tls.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "benchmarks/outages/world.h"
#include "mesh/certs/authority.h"
#include "openssl/err.h"
#include "openssl/pem.h"
#include "openssl/ssl.h"
#include "openssl/x509.h"
#include "tests/hostile/peer.h"

namespace mesh::benchmarks {
namespace {

constexpr absl::string_view kMark = "# whom it trusts\n";
constexpr absl::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr char kMethod[] = "/mesh.test.TestService/Unary";
constexpr size_t kFrameHead = 9;
// More than a server of this bench says in one frame.
constexpr size_t kMostPayload = 1 << 20;

BIO* Reader(const std::string& pem) {
  return BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
}

// Hands each certificate of `pem` to `take`, which may keep it by a reference
// of its own.
template <typename Take>
bool ForEachCertificate(const std::string& pem, Take take) {
  BIO* const bio = Reader(pem);
  bool good = true;
  int count = 0;
  while (X509* const one = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr)) {
    good = take(one, count++) && good;
    X509_free(one);
  }
  BIO_free(bio);
  ERR_clear_error();  // The end of the text is one.
  return good && count > 0;
}

bool UseIdentity(SSL_CTX* context, const RawIdentity& identity) {
  const bool chain = ForEachCertificate(
      identity.chain, [context](X509* certificate, int index) {
        if (index == 0)
          return SSL_CTX_use_certificate(context, certificate) == 1;
        return SSL_CTX_add1_chain_cert(context, certificate) == 1;
      });
  BIO* const bio = Reader(identity.key);
  EVP_PKEY* const key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  const bool fits = chain && key != nullptr &&
                    SSL_CTX_use_PrivateKey(context, key) == 1 &&
                    SSL_CTX_check_private_key(context) == 1;
  EVP_PKEY_free(key);
  X509_STORE* const store = SSL_CTX_get_cert_store(context);
  return fits &&
         ForEachCertificate(identity.bundle, [store](X509* certificate, int) {
           return X509_STORE_add_cert(store, certificate) == 1;
         });
}

timeval TimevalOf(absl::Duration duration) {
  return absl::ToTimeval(std::max(duration, absl::Milliseconds(1)));
}

std::string PemOf(X509* certificate) {
  BIO* const bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, certificate);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string pem(data, static_cast<size_t>(size));
  BIO_free(bio);
  return pem;
}

}  // namespace

std::string RawIdentity::Text() const {
  return absl::StrCat(key, chain, kMark, bundle);
}

absl::StatusOr<RawIdentity> RawIdentity::Parse(absl::string_view text) {
  const size_t chain = text.find("-----BEGIN CERTIFICATE-----");
  const size_t mark = text.find(kMark);
  if (chain == absl::string_view::npos || mark == absl::string_view::npos ||
      chain > mark) {
    return absl::InvalidArgumentError("this is no identity");
  }
  RawIdentity identity;
  identity.key = std::string(text.substr(0, chain));
  identity.chain = std::string(text.substr(chain, mark - chain));
  identity.bundle = std::string(text.substr(mark + kMark.size()));
  return identity;
}

absl::StatusOr<std::shared_ptr<const RawContext>> RawContext::Make(
    const RawIdentity& identity, bool verify) {
  auto context = std::shared_ptr<const RawContext>(
      new RawContext(SSL_CTX_new(TLS_client_method())));
  static constexpr unsigned char kAlpn[] = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(context->get(), kAlpn, sizeof(kAlpn));
  SSL_CTX_set_min_proto_version(context->get(), TLS1_2_VERSION);
  SSL_CTX_set_mode(context->get(), SSL_MODE_AUTO_RETRY);
  if (verify) SSL_CTX_set_verify(context->get(), SSL_VERIFY_PEER, nullptr);
  if (!UseIdentity(context->get(), identity)) {
    ERR_clear_error();
    return absl::InvalidArgumentError("OpenSSL does not take this identity");
  }
  return context;
}

RawContext::~RawContext() { SSL_CTX_free(context_); }

std::unique_ptr<RawConnection> RawConnection::Dial(
    const std::string& address,
    const std::shared_ptr<const RawContext>& context, absl::Duration timeout) {
  auto made = std::unique_ptr<RawConnection>(new RawConnection());
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return nullptr;
  made->fd_ = fd;
  // Each step of the handshake and each read ends by it.
  const timeval time = TimevalOf(timeout);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  sockaddr_in name = {};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  name.sin_port = htons(static_cast<uint16_t>(PortOf(address)));
  socklen_t size = sizeof(name);
  if (connect(fd, reinterpret_cast<sockaddr*>(&name), size) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    return nullptr;
  }
  made->local_port_ = ntohs(name.sin_port);
  if (context == nullptr) return made;
  made->ssl_ = SSL_new(context->get());
  SSL_set_fd(made->ssl_, fd);
  if (SSL_connect(made->ssl_) != 1) {
    ERR_clear_error();
    return nullptr;
  }
  X509* const server = SSL_get1_peer_certificate(made->ssl_);
  if (server == nullptr) return nullptr;
  absl::StatusOr<std::string> serial = certs::SerialOfPem(PemOf(server));
  X509_free(server);
  if (!serial.ok()) return nullptr;
  made->server_serial_ = *std::move(serial);
  return made;
}

RawConnection::~RawConnection() {
  SSL_free(ssl_);
  if (fd_ >= 0) close(fd_);
}

bool RawConnection::Send(absl::string_view bytes) {
  while (!bytes.empty()) {
    ERR_clear_error();
    const ssize_t sent =
        ssl_ != nullptr
            ? SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()))
            : send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool RawConnection::ReadExactly(char* to, size_t size) {
  while (size > 0) {
    ERR_clear_error();
    const ssize_t got = ssl_ != nullptr
                            ? SSL_read(ssl_, to, static_cast<int>(size))
                            : recv(fd_, to, size, 0);
    if (got <= 0) return false;
    to += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

bool RawConnection::ReadFrame(Frame* frame) {
  unsigned char head[kFrameHead];
  if (!ReadExactly(reinterpret_cast<char*>(head), sizeof(head))) return false;
  const size_t size = static_cast<size_t>(head[0]) << 16 |
                      static_cast<size_t>(head[1]) << 8 | head[2];
  if (size > kMostPayload) return false;
  frame->type = head[3];
  frame->flags = head[4];
  frame->stream = (head[5] & 0x7fu) << 24 |
                  static_cast<unsigned>(head[6]) << 16 |
                  static_cast<unsigned>(head[7]) << 8 | head[8];
  frame->payload.resize(size);
  return ReadExactly(frame->payload.data(), size);
}

bool RawConnection::Hello() {
  if (!Send(absl::StrCat(kPreface, test::Frame(test::kSettings, 0, 0, "")))) {
    return false;
  }
  Frame frame;
  while (ReadFrame(&frame)) {
    if (frame.type != test::kSettings || (frame.flags & test::kAck) != 0) {
      continue;
    }
    return Send(test::Frame(test::kSettings, test::kAck, 0, ""));
  }
  return false;
}

bool RawConnection::Call() {
  const unsigned stream = next_stream_;
  next_stream_ += 2;
  const std::string headers =
      test::HeaderBlock({{":method", "POST"},
                         {":scheme", ssl_ != nullptr ? "https" : "http"},
                         {":path", kMethod},
                         {":authority", "identity.test"},
                         {"te", "trailers"},
                         {"content-type", "application/grpc"}});
  // An empty message: not compressed, of no bytes.
  const std::string message(5, '\0');
  if (!Send(absl::StrCat(
          test::Frame(test::kHeaders, test::kEndHeaders, stream, headers),
          test::Frame(test::kData, test::kEndStream, stream, message)))) {
    return false;
  }
  bool has_message = false;
  Frame frame;
  while (ReadFrame(&frame)) {
    if (frame.type == test::kPing && (frame.flags & test::kAck) == 0 &&
        !Send(test::Frame(test::kPing, test::kAck, 0, frame.payload))) {
      return false;
    }
    if (frame.stream != stream) continue;
    if (frame.type == test::kRstStream) return false;
    has_message = has_message || frame.type == test::kData;
    if (frame.type == test::kHeaders && (frame.flags & test::kEndStream) != 0) {
      return has_message;
    }
  }
  return false;
}

bool RawConnection::Closed() {
  // TLS may have more than the socket shows, but its end shows there.
  while (true) {
    pollfd wait = {fd_, POLLIN, 0};
    if (poll(&wait, 1, 0) <= 0) return false;
    char dropped[4096];
    const ssize_t got = recv(fd_, dropped, sizeof(dropped), MSG_DONTWAIT);
    if (got == 0) return true;
    if (got < 0) return errno != EAGAIN && errno != EINTR;
  }
}

}  // namespace mesh::benchmarks
