#include "mesh/certs/agent.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "grpc/support/time.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "grpcpp/support/byte_buffer.h"
#include "mesh/base/mutex.h"
#include "mesh/security/pem.h"
#include "mesh/security/spiffe_id.h"
#include "mesh/security/workload.pb.h"

namespace mesh::certs {
namespace {

constexpr char kMethod[] = "/SpiffeWorkloadAPI/FetchX509SVID";
constexpr size_t kMostBlocks = 100'000;

absl::StatusOr<std::string> DerOf(const std::string& pem,
                                  absl::string_view label) {
  const absl::StatusOr<std::vector<std::string>> blocks =
      security::PemBlocks(pem, label, kMostBlocks);
  if (!blocks.ok()) return blocks.status();
  return absl::StrJoin(*blocks, "");
}

grpc::ByteBuffer BufferOf(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

// Whether somebody listens at "unix:PATH". gRPC would take the socket away.
bool IsTaken(const std::string& address) {
  absl::string_view path = address;
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  if (!absl::ConsumePrefix(&path, "unix:") ||
      path.size() >= sizeof(where.sun_path)) {
    return false;
  }
  if (absl::StartsWith(path, "//")) path.remove_prefix(2);
  std::memcpy(where.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bool taken =
      connect(fd, reinterpret_cast<sockaddr*>(&where), sizeof(where)) == 0;
  close(fd);
  return taken;
}

}  // namespace

absl::StatusOr<std::string> AgentResponse(const std::vector<AgentSvid>& svids) {
  security::workload::X509SVIDResponse response;
  for (const AgentSvid& from : svids) {
    const absl::StatusOr<security::SpiffeId> id =
        security::SpiffeId::Parse(from.spiffe_id);
    if (!id.ok()) return id.status();
    const std::string domain(id->trust_domain());
    security::workload::X509SVID* const svid = response.add_svids();
    svid->set_spiffe_id(from.spiffe_id);
    svid->set_hint(from.hint);
    absl::StatusOr<std::string> der = DerOf(from.bytes.chain, "CERTIFICATE");
    if (!der.ok()) return der.status();
    svid->set_x509_svid(*std::move(der));
    // The forms of a key that are not PKCS #8 have other labels.
    der = DerOf(from.bytes.key, "PRIVATE KEY");
    if (!der.ok()) return der.status();
    svid->set_x509_svid_key(*std::move(der));
    const bool has_own = from.bytes.bundles.count(domain) > 0;
    for (const auto& [name, pem] : from.bytes.bundles) {
      der = DerOf(pem, "CERTIFICATE");
      if (!der.ok()) return der.status();
      if (name == (has_own ? domain : "")) {
        svid->set_bundle(*std::move(der));
      } else if (!name.empty()) {
        (*response.mutable_federated_bundles())["spiffe://" + name] =
            *std::move(der);
      }
    }
    for (const std::string& pem : from.bytes.crls) {
      const absl::StatusOr<std::vector<std::string>> lists =
          security::PemBlocks(pem, "X509 CRL", kMostBlocks);
      if (!lists.ok()) return lists.status();
      for (const std::string& list : *lists) response.add_crl(list);
    }
  }
  return response.SerializeAsString();
}

class Agent::Impl final : public grpc::CallbackGenericService {
 public:
  absl::Status Listen(const std::string& address) {
    if (IsTaken(address)) {
      return absl::UnavailableError(absl::StrCat(
          "the agent cannot listen at \"", address, "\": another one does."));
    }
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
    builder.RegisterCallbackGenericService(this);
    // Another agent at the same address is an error, also for tcp.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) {
      return absl::UnavailableError(
          absl::StrCat("the agent cannot listen at \"", address, "\"."));
    }
    return absl::OkStatus();
  }

  void Stop() {
    End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the agent stops"));
    if (server_ != nullptr) server_->Shutdown(gpr_inf_past(GPR_CLOCK_REALTIME));
  }

  void Push(std::string response) {
    base::MutexLock lock(&mu_);
    refusal_.reset();
    response_ = BufferOf(response);
    for (Stream* stream : streams_) stream->Send(*response_);
  }

  void Refuse(const grpc::Status& status) {
    {
      base::MutexLock lock(&mu_);
      response_.reset();
      refusal_ = status;
    }
    End(status);
  }

  void Stall() {
    base::MutexLock lock(&mu_);
    response_.reset();
    refusal_.reset();
  }

  void End(const grpc::Status& status) {
    base::MutexLock lock(&mu_);
    for (Stream* stream : streams_) stream->End(status);
  }

  int64_t opened() const {
    base::MutexLock lock(&mu_);
    return opened_;
  }
  int64_t open() const {
    base::MutexLock lock(&mu_);
    return static_cast<int64_t>(streams_.size());
  }

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override;

 private:
  // A stream of one process. What a caller writes is not read: the request has
  // no fields.
  class Stream final : public grpc::ServerGenericBidiReactor {
   public:
    explicit Stream(Impl* agent) : agent_(agent) {}

    // The newest message is sent when the one before it is on its way.
    void Send(const grpc::ByteBuffer& message) {
      base::MutexLock lock(&mu_);
      if (ended_) return;
      if (writing_.has_value()) {
        next_ = message;
      } else {
        writing_ = message;
        StartWrite(&*writing_);
      }
    }
    void End(const grpc::Status& status) {
      base::MutexLock lock(&mu_);
      if (ended_) return;
      ended_ = true;
      Finish(status);
    }

    void OnWriteDone(bool ok) override {
      base::MutexLock lock(&mu_);
      writing_ = std::exchange(next_, std::nullopt);
      if (ended_ || !ok) {
        writing_.reset();
      } else if (writing_.has_value()) {
        StartWrite(&*writing_);
      }
    }
    void OnCancel() override { End(grpc::Status::CANCELLED); }
    void OnDone() override {
      agent_->Remove(this);
      delete this;
    }

   private:
    Impl* const agent_;
    base::Mutex mu_;  // Taken inside the agent's.
    std::optional<grpc::ByteBuffer> writing_ ABSL_GUARDED_BY(mu_);
    std::optional<grpc::ByteBuffer> next_ ABSL_GUARDED_BY(mu_);
    bool ended_ ABSL_GUARDED_BY(mu_) = false;
  };

  void Remove(Stream* stream) {
    base::MutexLock lock(&mu_);
    streams_.erase(stream);
  }

  std::unique_ptr<grpc::Server> server_;

  mutable base::Mutex mu_;
  std::set<Stream*> streams_ ABSL_GUARDED_BY(mu_);
  int64_t opened_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<grpc::ByteBuffer> response_ ABSL_GUARDED_BY(mu_);
  std::optional<grpc::Status> refusal_ ABSL_GUARDED_BY(mu_);
};

grpc::ServerGenericBidiReactor* Agent::Impl::CreateReactor(
    grpc::GenericCallbackServerContext* context) {
  auto* const stream = new Stream(this);
  if (context->method() != kMethod) {
    stream->End(grpc::Status(grpc::StatusCode::UNIMPLEMENTED,
                             "this agent has FetchX509SVID alone"));
    return stream;
  }
  const auto header = context->client_metadata().find("workload.spiffe.io");
  if (header == context->client_metadata().end() || header->second != "true") {
    stream->End(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                             "security header missing from request"));
    return stream;
  }
  base::MutexLock lock(&mu_);
  ++opened_;
  streams_.insert(stream);
  if (refusal_.has_value()) {
    stream->End(*refusal_);
  } else if (response_.has_value()) {
    stream->Send(*response_);
  }
  return stream;
}

absl::StatusOr<std::unique_ptr<Agent>> Agent::Start(
    const std::string& address) {
  auto impl = std::make_unique<Impl>();
  const absl::Status status = impl->Listen(address);
  if (!status.ok()) return status;
  return std::unique_ptr<Agent>(new Agent(std::move(impl)));
}

Agent::Agent(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Agent::~Agent() { impl_->Stop(); }
void Agent::Push(std::string response) { impl_->Push(std::move(response)); }
void Agent::Refuse(const grpc::Status& status) { impl_->Refuse(status); }
void Agent::Stall() { impl_->Stall(); }
void Agent::Cut() {
  impl_->End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "cut"));
}
int64_t Agent::opened() const { return impl_->opened(); }
int64_t Agent::open() const { return impl_->open(); }

}  // namespace mesh::certs
