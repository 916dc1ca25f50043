#include "tests/attacks/raw_tls.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "openssl/err.h"
#include "openssl/pem.h"

namespace mesh::test {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(10);
// An extension that nobody knows, for a long first flight.
constexpr unsigned kUnknownExtension = 65000;

void Check(bool done, const char* what) {
  if (done) return;
  std::fprintf(stderr, "OpenSSL refuses %s\n", what);
  ERR_print_errors_fp(stderr);
  std::abort();
}

void ShowChain(SSL_CTX* context, const Shown& shown) {
  if (shown.chain.empty()) return;
  const security::BioPtr bio(BIO_new_mem_buf(
      shown.chain.data(), static_cast<int>(shown.chain.size())));
  bool first = true;
  while (X509* const one =
             PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    const security::X509Ptr owned(one);
    Check(first ? SSL_CTX_use_certificate(context, one) == 1
                : SSL_CTX_add1_chain_cert(context, one) == 1,
          "a certificate");
    first = false;
  }
  ERR_clear_error();  // The text's end is one.
  Check(SSL_CTX_use_PrivateKey(context, shown.key->get()) == 1, "a key");
}

// All that was ever allowed is allowed.
SslContextPtr NewContext(const SSL_METHOD* method,
                         const TlsSettings& settings) {
  // OpenSSL writes to a socket that its peer may have closed.
  static std::once_flag once;
  std::call_once(once, [] { signal(SIGPIPE, SIG_IGN); });
  SslContextPtr context(SSL_CTX_new(method));
  SSL_CTX_set_security_level(context.get(), 0);
  SSL_CTX_set_min_proto_version(context.get(), settings.least_version);
  SSL_CTX_set_max_proto_version(context.get(), settings.most_version);
  // A chain is sent as it is, and not completed.
  SSL_CTX_set_mode(context.get(), SSL_MODE_NO_AUTO_CHAIN);
  if (!settings.ciphers.empty()) {
    Check(SSL_CTX_set_cipher_list(context.get(), settings.ciphers.c_str()) == 1,
          "the ciphers");
  }
  ShowChain(context.get(), settings.shown);
  return context;
}

SslContextPtr NewServerContext(const TlsSettings& settings) {
  SslContextPtr context = NewContext(TLS_server_method(), settings);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, [](int, X509_STORE_CTX*) {
    return 1;
  });  // It admits everybody.
  static constexpr unsigned char kId[] = "attack";
  SSL_CTX_set_session_id_context(context.get(), kId, sizeof(kId));
  if (settings.alpn == "h2") {
    SSL_CTX_set_alpn_select_cb(
        context.get(),
        [](SSL*, const unsigned char** out, unsigned char* size,
           const unsigned char*, unsigned, void*) {
          *out = reinterpret_cast<const unsigned char*>("h2");
          *size = 2;
          return SSL_TLSEXT_ERR_OK;
        },
        nullptr);
  }
  return context;
}

}  // namespace

bool PlainLink::Send(absl::string_view bytes) {
  return socket_.Send(std::string(bytes));
}

std::string PlainLink::Receive() { return socket_.Read(1, kPatience); }

TlsLink::TlsLink(int port, TlsSettings settings)
    : settings_(std::move(settings)),
      socket_(port),
      context_(NewContext(TLS_client_method(), settings_)),
      ssl_([this] {
        SSL_CTX_set_session_cache_mode(
            context_.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context_.get(), &OnTicket);
        if (settings_.padding > 0) {
          static const auto* const padding = new std::string(65535, 'x');
          Check(SSL_CTX_add_custom_ext(
                    context_.get(), kUnknownExtension, SSL_EXT_CLIENT_HELLO,
                    [](SSL* ssl, unsigned, unsigned, const unsigned char** out,
                       size_t* size, X509*, size_t, int*, void*) {
                      const auto* const link =
                          static_cast<const TlsLink*>(SSL_get_app_data(ssl));
                      *out = reinterpret_cast<const unsigned char*>(
                          padding->data());
                      *size = link->settings_.padding;
                      return 1;
                    },
                    nullptr, nullptr, nullptr, nullptr) == 1,
                "an extension");
        }
        return SSL_new(context_.get());
      }()) {
  SSL* const ssl = ssl_.get();
  SSL_set_app_data(ssl, this);
  SSL_set_tlsext_host_name(ssl, "localhost");
  if (!settings_.alpn.empty()) {
    const std::string alpn =
        static_cast<char>(settings_.alpn.size()) + settings_.alpn;
    SSL_set_alpn_protos(ssl,
                        reinterpret_cast<const unsigned char*>(alpn.data()),
                        static_cast<unsigned>(alpn.size()));
  }
  if (settings_.ticket != nullptr) {
    Check(SSL_set_session(ssl, settings_.ticket.get()) == 1, "a ticket");
  }
  // The first flight goes to memory.
  BIO* const out = BIO_new(BIO_s_mem());
  BIO* const in = BIO_new(BIO_s_mem());
  BIO_set_mem_eof_return(in, -1);
  SSL_set_bio(ssl, in, out);
  SSL_set_connect_state(ssl);
  SSL_do_handshake(ssl);
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);  // NOLINT
  hello_.assign(data, static_cast<size_t>(size));
  Check(!hello_.empty(), "to begin a handshake");
  const timeval patience = absl::ToTimeval(kPatience);
  setsockopt(socket_.fd(), SOL_SOCKET, SO_RCVTIMEO, &patience,
             sizeof(patience));
}

TlsLink::~TlsLink() {
  SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}

bool TlsLink::Handshake(size_t piece) {
  if (piece == 0) piece = hello_.size();
  for (size_t i = 0; i < hello_.size(); i += piece) {
    if (!socket_.Send(hello_.substr(i, piece))) return false;
  }
  SSL_set_fd(ssl_.get(), socket_.fd());
  return SSL_do_handshake(ssl_.get()) == 1;
}

bool TlsLink::Send(absl::string_view bytes) {
  return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) ==
         static_cast<int>(bytes.size());
}

std::string TlsLink::Receive() {
  char bytes[16384];
  const int count = SSL_read(ssl_.get(), bytes, sizeof(bytes));
  return count <= 0 ? "" : std::string(bytes, static_cast<size_t>(count));
}

int TlsLink::OnTicket(SSL* ssl, SSL_SESSION* ticket) {
  static_cast<TlsLink*>(SSL_get_app_data(ssl))->ticket_ =
      TicketPtr(ticket, &SSL_SESSION_free);
  return 1;  // It is ours now.
}

TlsConnection::TlsConnection(const Connection& connection, SSL_CTX* context)
    : Connection(fcntl(connection.fd(), F_DUPFD_CLOEXEC, 0)),
      ssl_(SSL_new(context)) {
  SSL_set_fd(ssl_.get(), fd());
}

bool TlsConnection::Send(absl::string_view bytes) {
  return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) ==
         static_cast<int>(bytes.size());
}

bool TlsConnection::Read(char* to, size_t size) {
  while (size > 0) {
    const int count = SSL_read(ssl_.get(), to, static_cast<int>(size));
    if (count <= 0) return false;
    to += count;
    size -= static_cast<size_t>(count);
  }
  return true;
}

TlsServer::TlsServer(const TlsSettings& settings,
                     AfterHandshake after_handshake)
    : context_(NewServerContext(settings)),
      after_handshake_(std::move(after_handshake)),
      peer_([this](Connection& connection) { Serve(connection); }) {}

int TlsServer::port() const {
  int port = 0;
  Check(absl::SimpleAtoi(address().substr(address().rfind(':') + 1), &port),
        "a port");
  return port;
}

void TlsServer::Serve(Connection& connection) {
  TlsConnection tls(connection, context_.get());
  if (!tls.Accept()) return;
  ++handshakes_;
  if (SSL_session_reused(tls.ssl()) == 1) ++resumed_;
  if (after_handshake_ != nullptr && !after_handshake_(tls)) return;
  if (!tls.Handshake()) return;
  tls.Serve([&](uint32_t stream) {
    ++calls_;
    return tls.Send(absl::StrCat(
        ResponseHeaders(stream),
        Frame(kData, 0, stream, absl::string_view("\0\0\0\0\0", 5)),
        Frame(kHeaders, kEndHeaders | kEndStream, stream,
              HeaderBlock({{"grpc-status", "0"}}))));
  });
}

}  // namespace mesh::test
