#ifndef MESH_TESTS_ATTACKS_RAW_TLS_H_
#define MESH_TESTS_ATTACKS_RAW_TLS_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "mesh/certs/authority.h"
#include "mesh/security/crypto_ptr.h"
#include "openssl/ssl.h"
#include "tests/hostile/peer.h"
#include "tests/listen/door_test_util.h"

// Ends of connections that do what gRPC would not: OpenSSL on a socket, with
// nothing checked and everything allowed.

namespace mesh::test {

using SslPtr = std::unique_ptr<SSL, security::CryptoFree<SSL_free>>;
using SslContextPtr =
    std::unique_ptr<SSL_CTX, security::CryptoFree<SSL_CTX_free>>;
using TicketPtr = std::shared_ptr<SSL_SESSION>;

// What an end shows in a handshake.
struct Shown {
  std::string chain;  // PEM, sent in this order. Empty: no certificate.
  std::optional<certs::Key> key;
};

struct TlsSettings {
  Shown shown;
  std::string alpn = "h2";  // Empty: this end has none.
  int least_version = TLS1_2_VERSION;
  int most_version = TLS1_3_VERSION;
  // For TLS 1.2, as OpenSSL writes them. Empty: all that are safe.
  std::string ciphers;
  // For a client.
  TicketPtr ticket;
  size_t padding = 0;  // Bytes by which the first flight is longer.
};

// One end of a connection, as a test sees it.
class RawLink {
 public:
  virtual ~RawLink() = default;
  // False: the connection is gone.
  virtual bool Send(absl::string_view bytes) = 0;
  // What has come, at least one byte. Empty: the peer has closed the
  // connection, or says nothing for 10 s.
  virtual std::string Receive() = 0;
};

// Without TLS.
class PlainLink final : public RawLink {
 public:
  explicit PlainLink(int port) : socket_(port) {}
  bool Send(absl::string_view bytes) override;
  std::string Receive() override;

 private:
  const RawSocket socket_;
};

// A client with TLS, on a port of the loopback address.
class TlsLink final : public RawLink {
 public:
  TlsLink(int port, TlsSettings settings);
  // As if the connection had ended in order, so that its ticket stays good.
  ~TlsLink() override;

  // The first flight, which is not sent yet.
  const std::string& hello() const { return hello_; }
  // Sends the first flight, so many bytes at once (0: all of them), and does
  // the rest. Whether this end has seen the handshake's end. With TLS 1.3 the
  // server has not looked at the certificate by then.
  bool Handshake(size_t piece = 0);

  bool Send(absl::string_view bytes) override;
  std::string Receive() override;

  // Whether the server took the ticket.
  bool resumed() const { return SSL_session_reused(ssl_.get()) == 1; }
  // The last ticket that came. Null: none did.
  const TicketPtr& ticket() const { return ticket_; }
  SSL* ssl() const { return ssl_.get(); }
  const RawSocket& socket() const { return socket_; }

 private:
  static int OnTicket(SSL* ssl, SSL_SESSION* ticket);

  const TlsSettings settings_;
  const RawSocket socket_;
  const SslContextPtr context_;
  const SslPtr ssl_;
  std::string hello_;
  TicketPtr ticket_;
};

// The end of a server of Peer's that has TLS.
class TlsConnection final : public Connection {
 public:
  // Has a socket of its own to the same client.
  TlsConnection(const Connection& connection, SSL_CTX* context);

  // False: this end does not see the handshake's end.
  bool Accept() { return SSL_accept(ssl_.get()) == 1; }
  bool Send(absl::string_view bytes) override;
  SSL* ssl() const { return ssl_.get(); }

 private:
  bool Read(char* to, size_t size) override;

  const SslPtr ssl_;
};

// A server with TLS that answers each call with OK and an empty message.
class TlsServer {
 public:
  // `after_handshake`, which may be null, comes before HTTP/2. False: the
  // connection is closed.
  using AfterHandshake = std::function<bool(TlsConnection&)>;
  explicit TlsServer(const TlsSettings& settings,
                     AfterHandshake after_handshake = nullptr);

  const std::string& address() const { return peer_.address(); }
  int port() const;
  int connections() const { return peer_.connections(); }
  // Handshakes that this end has seen the end of, and the resumed among them.
  int handshakes() const { return handshakes_; }
  int resumed() const { return resumed_; }
  // Calls that came.
  int calls() const { return calls_; }

 private:
  void Serve(Connection& connection);

  const SslContextPtr context_;
  const AfterHandshake after_handshake_;
  std::atomic<int> handshakes_{0};
  std::atomic<int> resumed_{0};
  std::atomic<int> calls_{0};
  Peer peer_;  // Last: its threads use all of this.
};

}  // namespace mesh::test

#endif  // MESH_TESTS_ATTACKS_RAW_TLS_H_
