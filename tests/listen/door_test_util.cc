#include "tests/listen/door_test_util.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/server/peer.h"

namespace mesh::test {
namespace {

certs::Authority NewAuthority(const std::string& name) {
  const absl::Time now = absl::Now();
  return *certs::Authority::MakeRoot(
      certs::AuthorityOptions(name, now - absl::Hours(1),
                              now + absl::Hours(24)),
      *certs::Key::Make(certs::KeyType::kP256));
}

std::shared_ptr<const std::string> Shared(std::string text) {
  return std::make_shared<const std::string>(std::move(text));
}

std::string CallerOf(grpc::ServerContextBase* context) {
  const auto peer = server::PeerOf(context);
  if (!peer.has_value()) return "unknown";
  return peer->plaintext ? "plaintext" : peer->spiffe_id;
}

// The first certificate of a chain. gRPC's clients send the root, too, if they
// know it.
std::string LeafOf(const std::string& chain) {
  static constexpr char kEnd[] = "-----END CERTIFICATE-----\n";
  const size_t end = chain.find(kEnd);
  return end == std::string::npos ? ""
                                  : chain.substr(0, end + sizeof(kEnd) - 1);
}

int CountEntries(const char* path) {
  int count = 0;
  DIR* const directory = opendir(path);
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

}  // namespace

Pki::Pki(const std::string& name) : authority_(NewAuthority(name)) {}

core::ServerPair Pki::NewServerPair() const {
  const absl::Time now = absl::Now();
  certs::Issued issued = *authority_.Issue(certs::ServerOptions(
      {"localhost"}, now - absl::Hours(1), now + absl::Hours(10)));
  core::ServerPair pair;
  pair.chain = Shared(issued.chain);
  pair.key = Shared(issued.key);
  pair.client_authorities = Shared(root());
  return pair;
}

certs::Issued Pki::NewClient(const std::string& spiffe_id) const {
  const absl::Time now = absl::Now();
  return *authority_.Issue(certs::SvidOptions(spiffe_id, now - absl::Hours(1),
                                              now + absl::Hours(10)));
}

std::shared_ptr<grpc::ChannelCredentials> Pki::Credentials(
    const certs::Issued& client) const {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = root();
  options.pem_cert_chain = client.chain;
  options.pem_private_key = client.key;
  return grpc::SslCredentials(options);
}

void Believer::Believe(const std::string& chain, const std::string& spiffe_id) {
  names_[LeafOf(chain)] = spiffe_id;
}

void Believer::Forget(const std::string& chain) { names_.erase(LeafOf(chain)); }

server::VerifyPeer Believer::Now() const {
  return [names = names_](const std::string& chain) {
    server::PeerVerification verdict;
    const auto it = names.find(LeafOf(chain));
    if (it == names.end()) {
      verdict.status = absl::UnauthenticatedError("its name is not known");
    } else {
      verdict.peer.spiffe_id = it->second;
    }
    return verdict;
  };
}

Door::Door(const Pki& pki, server::VerifyPeer verify, server::Wires wires,
           const Change& change, const std::string& address) {
  Show(pki.NewServerPair());
  server::ListenOptions options;
  options.wires = wires;
  options.verify = std::move(verify);
  options.pair = [shown = shown_] {
    base::MutexLock lock(&shown->mu);
    return shown->pair;
  };
  grpc::ServerBuilder builder;
  builder.RegisterService(&service_);
  if (change != nullptr) change(&options, &builder);
  auto door = server::Listen(&builder, address, std::move(options), &port_);
  if (!door.ok()) abort();
  door_ = *std::move(door);
  server_ = builder.BuildAndStart();
}

Door::~Door() {
  if (server_ != nullptr) {
    server_->Shutdown(std::chrono::system_clock::now());
  }
}

std::string Door::target() const { return absl::StrCat("127.0.0.1:", port_); }

void Door::Show(core::ServerPair pair) {
  base::MutexLock lock(&shown_->mu);
  shown_->pair = std::move(pair);
}

grpc::Status Door::Service::Unary(grpc::ServerContext* context, const Request*,
                                  Reply* reply) {
  ++seen_.calls;
  reply->set_payload(CallerOf(context));
  return grpc::Status::OK;
}

grpc::Status Door::Service::Bidi(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<Reply, Request>* stream) {
  ++seen_.calls;
  ++seen_.streams;
  Request request;
  Reply reply;
  reply.set_payload(CallerOf(context));
  while (stream->Read(&request)) stream->Write(reply);
  if (context->IsCancelled()) ++seen_.cancelled;
  return grpc::Status::OK;
}

std::shared_ptr<grpc::Channel> NewChannel(
    const std::string& target,
    std::shared_ptr<grpc::ChannelCredentials> credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  arguments.SetSslTargetNameOverride("localhost");
  return grpc::CreateCustomChannel(target, std::move(credentials), arguments);
}

std::unique_ptr<TestService::Stub> NewStub(
    const std::string& target,
    std::shared_ptr<grpc::ChannelCredentials> credentials) {
  return TestService::NewStub(NewChannel(target, std::move(credentials)));
}

Answer Ask(TestService::Stub* stub, absl::Duration timeout) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  Reply reply;
  Answer answer;
  answer.status = stub->Unary(&context, Request(), &reply);
  answer.caller = reply.payload();
  answer.draining =
      context.GetServerTrailingMetadata().count("mesh-draining") > 0;
  if (context.auth_context() != nullptr) {
    for (const auto& value :
         context.auth_context()->FindPropertyValues("x509_pem_cert")) {
      answer.server.assign(value.data(), value.size());
    }
  }
  return answer;
}

bool Becomes(const std::function<bool()>& condition, absl::Duration timeout) {
  const absl::Time end = absl::Now() + timeout;
  while (!condition()) {
    if (absl::Now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

int CountFds() { return CountEntries("/proc/self/fd"); }
int CountThreads() { return CountEntries("/proc/self/task"); }

RawSocket::RawSocket(int port, int from)
    : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (from != 0) {
    // Several connections may have it, to different ports.
    const int one = 1;
    setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    address.sin_port = htons(static_cast<uint16_t>(from));
    bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  }
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) !=
      0) {
    close(fd_);
    fd_ = -1;
  }
}

RawSocket::~RawSocket() {
  if (fd_ >= 0) close(fd_);
}

RawSocket::RawSocket(RawSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)) {}

bool RawSocket::Send(const std::string& bytes) const {
  return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(bytes.size());
}

std::string RawSocket::Read(size_t size, absl::Duration timeout) const {
  const absl::Time end = absl::Now() + timeout;
  std::string read;
  while (read.size() < size) {
    pollfd wait = {fd_, POLLIN, 0};
    const int left =
        static_cast<int>(absl::ToInt64Milliseconds(end - absl::Now()));
    if (left <= 0 || poll(&wait, 1, left) <= 0) break;
    char bytes[4096];
    const ssize_t count = recv(fd_, bytes, sizeof(bytes), 0);
    if (count <= 0) break;
    read.append(bytes, static_cast<size_t>(count));
  }
  return read;
}

bool RawSocket::Closes(absl::Duration timeout) const {
  const absl::Time end = absl::Now() + timeout;
  for (;;) {
    pollfd wait = {fd_, POLLIN, 0};
    const int left =
        static_cast<int>(absl::ToInt64Milliseconds(end - absl::Now()));
    if (left <= 0 || poll(&wait, 1, left) <= 0) return false;
    char bytes[4096];
    if (recv(fd_, bytes, sizeof(bytes), 0) <= 0) return true;
  }
}

}  // namespace mesh::test
