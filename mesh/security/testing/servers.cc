#include "mesh/security/testing/servers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/generic/generic_stub.h"
#include "mesh/security/certificate.h"
#include "mesh/security/testing/certificates.h"
#include "openssl/pem.h"

namespace mesh::security::testing {
namespace {

constexpr std::chrono::seconds kPatience(20);

// An empty SETTINGS frame (RFC 9113, 6.5).
constexpr unsigned char kSettings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};

std::string CallerOf(const grpc::ServerContextBase& context) {
  const auto found =
      context.auth_context()->FindPropertyValues("peer_spiffe_id");
  return found.empty() ? "" : std::string(found[0].data(), found[0].size());
}

// Answers with one message and ends.
class Reactor final : public grpc::ServerGenericBidiReactor {
 public:
  explicit Reactor(const std::string& caller) {
    const grpc::Slice slice(caller);
    message_ = grpc::ByteBuffer(&slice, 1);
    StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
  }
  void OnDone() override { delete this; }

 private:
  grpc::ByteBuffer message_;
};

std::shared_ptr<grpc::Channel> NewChannel(
    const std::string& target,
    const std::shared_ptr<grpc::ChannelCredentials>& credentials,
    const std::string& authority) {
  grpc::ChannelArguments args;
  // Nobody shares its connection.
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!authority.empty()) {
    args.SetString(GRPC_ARG_DEFAULT_AUTHORITY, authority);
  }
  return grpc::CreateCustomChannel(target, credentials, args);
}

int SelectH2(SSL*, const unsigned char** out, unsigned char* size,
             const unsigned char* offered, unsigned offered_size, void*) {
  static constexpr unsigned char kH2[] = {2, 'h', '2'};
  unsigned char* selected = nullptr;
  if (SSL_select_next_proto(&selected, size, kH2, sizeof(kH2), offered,
                            offered_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

SSL_CTX* NewContext(const certs::Issued& shown,
                    const RawServer::Options& options) {
  SSL_CTX* const context = SSL_CTX_new(TLS_server_method());
  SSL_CTX_set_security_level(context, 0);  // Weak keys may be shown.
  SSL_CTX_set_min_proto_version(context, options.min_version);
  SSL_CTX_set_max_proto_version(context, options.max_version);
  if (options.alpn) SSL_CTX_set_alpn_select_cb(context, SelectH2, nullptr);
  const std::vector<X509Ptr> chain = Must(ParseCertificates(shown.chain, 100));
  for (size_t i = 0; i < chain.size(); ++i) {
    const int taken = i == 0 ? SSL_CTX_use_certificate(context, chain[i].get())
                             : static_cast<int>(SSL_CTX_add1_chain_cert(
                                   context, chain[i].get()));
    if (taken != 1) Require(absl::InternalError("a certificate is refused"));
  }
  const certs::Key key = Must(certs::Key::Parse(shown.key));
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1) {
    Require(absl::InternalError("the key is refused"));
  }
  return context;
}

// Connects, reads what comes first, and gives the session away. `session` may
// be null; it is freed.
SSL_SESSION* ConnectRaw(SSL_CTX* context, int port, SSL_SESSION* session,
                        bool* resumed) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) !=
      0) {
    Require(absl::InternalError("the server is not there"));
  }
  SSL* const ssl = SSL_new(context);
  SSL_set_fd(ssl, fd);
  if (session != nullptr) SSL_set_session(ssl, session);
  char byte[64];
  if (SSL_connect(ssl) != 1 || SSL_read(ssl, byte, sizeof(byte)) <= 0) {
    Require(absl::InternalError("no handshake"));
  }
  *resumed = SSL_session_reused(ssl) == 1;
  SSL_SESSION_free(session);
  session = SSL_get1_session(ssl);
  SSL_shutdown(ssl);
  SSL_free(ssl);
  close(fd);
  return session;
}

}  // namespace

// ---- GrpcServer -------------------------------------------------------------

GrpcServer::GrpcServer(const certs::Issued& shown,
                       const std::string& client_roots) {
  grpc::SslServerCredentialsOptions tls(
      client_roots.empty()
          ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
          : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  tls.pem_key_cert_pairs.push_back({shown.key, shown.chain});
  tls.pem_root_certs = client_roots;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(tls),
                           &port);
  builder.RegisterCallbackGenericService(&service_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) Require(absl::InternalError("no server"));
  target_ = absl::StrCat("127.0.0.1:", port);
}

GrpcServer::~GrpcServer() {
  server_->Shutdown(std::chrono::system_clock::now());
}

grpc::ServerGenericBidiReactor* GrpcServer::Service::CreateReactor(
    grpc::GenericCallbackServerContext* context) {
  return new Reactor(CallerOf(*context));
}

// ---- RawServer --------------------------------------------------------------

RawServer::RawServer(const certs::Issued& shown, Options options)
    : context_(NewContext(shown, options)) {
  signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to sockets that are closed.
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener_, generic, size) != 0 || listen(listener_, 64) != 0 ||
      getsockname(listener_, generic, &size) != 0) {
    Require(absl::InternalError("no port"));
  }
  port_ = ntohs(address.sin_port);
  target_ = absl::StrCat("127.0.0.1:", port_);
  accepting_ = std::thread([this] { Accept(); });
}

RawServer::~RawServer() {
  std::vector<std::thread> serving;
  {
    base::MutexLock lock(&mu_);
    stopped_ = true;
    for (const int fd : open_) shutdown(fd, SHUT_RDWR);
    serving.swap(serving_);
  }
  shutdown(listener_, SHUT_RDWR);  // Wakes accept(2).
  accepting_.join();
  for (std::thread& thread : serving) thread.join();
  close(listener_);
  SSL_CTX_free(context_);
}

std::vector<RawServer::Handshake> RawServer::handshakes() const {
  base::MutexLock lock(&mu_);
  return handshakes_;
}

void RawServer::Accept() {
  while (true) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    base::MutexLock lock(&mu_);
    if (stopped_) {
      close(fd);
      return;
    }
    open_.push_back(fd);
    serving_.emplace_back([this, fd] { Serve(fd); });
  }
}

void RawServer::Serve(int fd) {
  SSL* const ssl = SSL_new(context_);
  SSL_set_fd(ssl, fd);
  if (SSL_accept(ssl) == 1) {
    {
      base::MutexLock lock(&mu_);
      handshakes_.push_back({SSL_version(ssl), SSL_session_reused(ssl) == 1});
    }
    SSL_write(ssl, kSettings, sizeof(kSettings));
    char byte[512];
    while (SSL_read(ssl, byte, sizeof(byte)) > 0) {
    }
  }
  SSL_free(ssl);
  base::MutexLock lock(&mu_);
  open_.erase(std::find(open_.begin(), open_.end(), fd));
  close(fd);
}

// ---- calls ------------------------------------------------------------------

Answer Call(const std::string& target,
            const std::shared_ptr<grpc::ChannelCredentials>& credentials,
            const std::string& authority, const std::string& call_authority) {
  grpc::GenericStub stub(NewChannel(target, credentials, authority));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  if (!call_authority.empty()) context.set_authority(call_authority);
  const grpc::Slice nothing("");
  const grpc::ByteBuffer request(&nothing, 1);
  grpc::ByteBuffer reply;
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, "/test/Who", grpc::StubOptions(), &request, &reply,
                 [&done](grpc::Status status) { done.set_value(status); });
  Answer answer;
  answer.status = done.get_future().get();
  std::vector<grpc::Slice> slices;
  if (answer.status.ok() && reply.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices) {
      answer.caller.append(reinterpret_cast<const char*>(slice.begin()),
                           slice.size());
    }
  }
  return answer;
}

bool Connects(const std::string& target,
              const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  const auto channel = NewChannel(target, credentials, "");
  const auto deadline = std::chrono::system_clock::now() + kPatience;
  grpc_connectivity_state state = channel->GetState(/*try_to_connect=*/true);
  while (state != GRPC_CHANNEL_READY &&
         state != GRPC_CHANNEL_TRANSIENT_FAILURE) {
    if (!channel->WaitForStateChange(state, deadline)) return false;
    state = channel->GetState(/*try_to_connect=*/true);
  }
  return state == GRPC_CHANNEL_READY;
}

bool ResumesRaw(int port) {
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  bool resumed = false;
  SSL_SESSION* session = ConnectRaw(context, port, nullptr, &resumed);
  session = ConnectRaw(context, port, session, &resumed);
  SSL_SESSION_free(session);
  SSL_CTX_free(context);
  return resumed;
}

}  // namespace mesh::security::testing
