#ifndef MESH_BENCHMARKS_IDENTITY_RAW_TLS_H_
#define MESH_BENCHMARKS_IDENTITY_RAW_TLS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "openssl/ossl_typ.h"

// Clients that are no gRPC: OpenSSL on a socket, and a few frames of HTTP/2.

namespace mesh::benchmarks {

// What such a client shows, and whom it trusts: PEM.
struct RawIdentity {
  std::string key;
  std::string chain;
  std::string bundle;

  // One text for one file, so that a reader never mixes two.
  std::string Text() const;
  static absl::StatusOr<RawIdentity> Parse(absl::string_view text);
};

// An OpenSSL context with an identity. Thread-safe.
class RawContext {
 public:
  // `verify`: whether servers must come from the bundle.
  static absl::StatusOr<std::shared_ptr<const RawContext>> Make(
      const RawIdentity& identity, bool verify);
  ~RawContext();
  RawContext(const RawContext&) = delete;
  RawContext& operator=(const RawContext&) = delete;

  SSL_CTX* get() const { return context_; }

 private:
  explicit RawContext(SSL_CTX* context) : context_(context) {}
  SSL_CTX* const context_;
};

// One connection to "127.0.0.1:PORT". Not thread-safe.
class RawConnection {
 public:
  // Connects, and does the handshake. A null `context`: plaintext. Null: it did
  // not succeed. Each later step may take `timeout` at most, too.
  static std::unique_ptr<RawConnection> Dial(
      const std::string& address,
      const std::shared_ptr<const RawContext>& context, absl::Duration timeout);
  ~RawConnection();
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  int local_port() const { return local_port_; }
  // The serial number of the server's certificate. Empty: plaintext.
  const std::string& server_serial() const { return server_serial_; }

  // Begins HTTP/2. Whether the server did, too: with TLS it has then accepted
  // this end's certificate.
  bool Hello();
  // One call of TestService.Unary, after Hello(). Whether it had an answer with
  // a message, which is an OK.
  bool Call();
  // Whether the server has closed the connection. Drops what it says.
  bool Closed();

 private:
  RawConnection() = default;

  bool Send(absl::string_view bytes);
  bool ReadExactly(char* to, size_t size);
  // The next frame. False: there is none in time.
  struct Frame {
    unsigned char type = 0;
    unsigned char flags = 0;
    unsigned stream = 0;
    std::string payload;
  };
  bool ReadFrame(Frame* frame);

  int fd_ = -1;
  SSL* ssl_ = nullptr;  // Null: plaintext.
  int local_port_ = 0;
  std::string server_serial_;
  unsigned next_stream_ = 1;
};

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_IDENTITY_RAW_TLS_H_
