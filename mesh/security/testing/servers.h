#ifndef MESH_SECURITY_TESTING_SERVERS_H_
#define MESH_SECURITY_TESTING_SERVERS_H_

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/grpcpp.h"
#include "mesh/base/mutex.h"
#include "mesh/certs/authority.h"
#include "openssl/ssl.h"

// Real servers on loopback ports, to which the tests of this room connect.

namespace mesh::security::testing {

// A server of gRPC's. It answers each call with the SPIFFE ID of the caller.
class GrpcServer {
 public:
  // With `client_roots`, PEM, each client has to show a certificate.
  explicit GrpcServer(const certs::Issued& shown,
                      const std::string& client_roots = "");
  ~GrpcServer();

  const std::string& target() const { return target_; }

 private:
  class Service final : public grpc::CallbackGenericService {
   public:
    grpc::ServerGenericBidiReactor* CreateReactor(
        grpc::GenericCallbackServerContext* context) override;
  };

  Service service_;
  std::unique_ptr<grpc::Server> server_;
  std::string target_;
};

// A server on OpenSSL alone, which does what gRPC's would not. After the
// handshake it sends an HTTP/2 SETTINGS frame, so a channel becomes ready.
// Thread-safe.
class RawServer {
 public:
  struct Options {
    int min_version = TLS1_2_VERSION;
    int max_version = TLS1_3_VERSION;
    bool alpn = true;  // Whether it speaks of "h2".
  };
  struct Handshake {
    int version = 0;  // TLS1_3_VERSION and the like.
    bool resumed = false;
  };

  // It shows all certificates of `shown.chain`, whatever they are.
  explicit RawServer(const certs::Issued& shown)
      : RawServer(shown, Options()) {}
  RawServer(const certs::Issued& shown, Options options);
  ~RawServer();

  const std::string& target() const { return target_; }
  int port() const { return port_; }
  // Those that succeeded, on the server's side.
  std::vector<Handshake> handshakes() const;

 private:
  void Accept();
  void Serve(int fd);

  SSL_CTX* context_;
  int listener_ = -1;
  int port_ = 0;
  std::string target_;

  mutable base::Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<int> open_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> serving_ ABSL_GUARDED_BY(mu_);
  std::vector<Handshake> handshakes_ ABSL_GUARDED_BY(mu_);

  std::thread accepting_;
};

struct Answer {
  grpc::Status status;
  std::string caller;  // As the server knows it.
};

// Makes a call over a new channel to `target`. `authority`: the channel's;
// empty leaves it to gRPC. `call_authority`: the call's own.
Answer Call(const std::string& target,
            const std::shared_ptr<grpc::ChannelCredentials>& credentials,
            const std::string& authority = "",
            const std::string& call_authority = "");

// Whether a new channel to `target` becomes ready.
bool Connects(const std::string& target,
              const std::shared_ptr<grpc::ChannelCredentials>& credentials);

// Whether a client on OpenSSL alone can resume a session with the server at
// this port of the loopback.
bool ResumesRaw(int port);

}  // namespace mesh::security::testing

#endif  // MESH_SECURITY_TESTING_SERVERS_H_
