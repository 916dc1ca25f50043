#include "tests/support/test_server.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/generic/async_generic_service.h"
#include "mesh/base/random.h"

// Exported by gRPC, in a header that is not installed.
grpc_compression_algorithm grpc_call_test_only_get_compression_algorithm(
    grpc_call* call);

namespace mesh::test {
namespace {

constexpr std::chrono::milliseconds kCancellationPoll(1);

std::string StrOf(grpc::string_ref text) {
  return std::string(text.data(), text.size());
}

template <typename Context>
bool DirectivesFromMetadata(const Context& context, Directives* directives) {
  const auto it = context.client_metadata().find(kDirectivesKey);
  if (it == context.client_metadata().end()) return false;
  return directives->ParseFromString(StrOf(it->second));
}

grpc_compression_algorithm CompressionOf(const std::string& name) {
  if (name == "gzip") return GRPC_COMPRESS_GZIP;
  if (name == "deflate") return GRPC_COMPRESS_DEFLATE;
  return GRPC_COMPRESS_NONE;
}

// What every kind of call does alike.
template <typename Context>
class Call {
 public:
  Call(Context* context, const Directives& directives, Executions* executions)
      : context_(context), directives_(directives) {
    if (!directives.key().empty())
      execution_ = executions->Add(directives.key());
    for (const Header& header : directives.trailing_metadata()) {
      context->AddTrailingMetadata(header.key(), header.value());
    }
    if (!directives.compression().empty()) {
      context->set_compression_algorithm(
          CompressionOf(directives.compression()));
    }
    static std::atomic<uint64_t> drawn{0};
    fails_now_ =
        (directives.fail_first() > 0 &&
         execution_ <= directives.fail_first()) ||
        (directives.fail_share() > 0 &&
         base::Random(drawn.fetch_add(1)).Unit() < directives.fail_share());
    // A failure is trailers-only, as of a server that has not begun to answer.
    if (fails_now_ && !directives.initial_metadata_first()) return;
    for (const Header& header : directives.initial_metadata()) {
      context->AddInitialMetadata(header.key(), header.value());
    }
  }

  // Fails before it has replied.
  bool fails_now() const { return fails_now_; }
  int64_t execution() const { return execution_; }

  grpc::Status Failure() {
    return End(directives_.code() != 0 ? directives_.code()
                                       : grpc::StatusCode::UNAVAILABLE);
  }

  // The status to end with after all replies.
  grpc::Status Status() {
    if (directives_.cancel()) {
      context_->TryCancel();
      return grpc::Status::CANCELLED;
    }
    // A code together with fail_first or fail_share is only that failure's.
    if (directives_.fail_first() > 0 || directives_.fail_share() > 0 ||
        directives_.code() == 0) {
      return grpc::Status::OK;
    }
    return End(directives_.code());
  }

 private:
  grpc::Status End(int code) {
    if (!directives_.pushback_ms().empty()) {
      context_->AddTrailingMetadata("grpc-retry-pushback-ms",
                                    directives_.pushback_ms());
    }
    return grpc::Status(static_cast<grpc::StatusCode>(code),
                        directives_.message(), directives_.details());
  }

  Context* const context_;
  const Directives& directives_;
  int64_t execution_ = 0;
  bool fails_now_ = false;
};

}  // namespace

Executions::Executions(const std::string& journal) {
  if (!journal.empty()) {
    journal_ =
        open(journal.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  }
}

Executions::~Executions() {
  if (journal_ >= 0) close(journal_);
}

int64_t Executions::Add(const std::string& key) {
  if (journal_ >= 0) {
    const std::string line = absl::StrCat(key, "\n");
    // One write, so lines of several processes don't mix.
    if (write(journal_, line.data(), line.size()) < 0) perror("journal");
  }
  base::MutexLock lock(&mu_);
  ++all_;
  return ++by_key_[key];
}

CountReply Executions::Count(const std::string& key) const {
  CountReply reply;
  base::MutexLock lock(&mu_);
  if (!key.empty()) {
    const auto it = by_key_.find(key);
    const int64_t n = it == by_key_.end() ? 0 : it->second;
    reply.set_executions(n);
    reply.set_keys(n > 0 ? 1 : 0);
    reply.set_most_of_one_key(n);
    return reply;
  }
  reply.set_executions(all_);
  reply.set_keys(by_key_.size());
  for (const auto& [unused, n] : by_key_) {
    reply.set_most_of_one_key(std::max(reply.most_of_one_key(), n));
  }
  return reply;
}

class TestServer::Service final : public TestService::Service {
 public:
  Service(std::string name, Executions* executions,
          std::shared_ptr<const ServerFault> fault)
      : name_(std::move(name)),
        executions_(executions),
        fault_(std::move(fault)) {}

  grpc::Status Unary(grpc::ServerContext* context, const Request* request,
                     Reply* reply) override {
    if (Faulty()) {
      return grpc::Status(static_cast<grpc::StatusCode>(fault_->code),
                          "the server's fault");
    }
    Directives directives = request->directives();
    DirectivesFromMetadata(*context, &directives);
    Call call(context, directives, executions_);
    if (!Begin(context, directives, call.execution()))
      return grpc::Status::CANCELLED;
    if (call.fails_now()) return call.Failure();
    reply->set_requests(1);
    reply->set_bytes(request->payload().size());
    Fill(context, directives, call.execution(), request->payload(), reply);
    return call.Status();
  }

  grpc::Status Once(grpc::ServerContext* context, const Request* request,
                    Reply* reply) override {
    return Unary(context, request, reply);
  }

  grpc::Status ClientStream(grpc::ServerContext* context,
                            grpc::ServerReader<Request>* reader,
                            Reply* reply) override {
    Request request;
    Directives directives;
    const bool known = DirectivesFromMetadata(*context, &directives);
    if (!known && reader->Read(&request)) {
      directives = request.directives();
      Account(request, reply);
    }
    Call call(context, directives, executions_);
    if (directives.initial_metadata_first()) reader->SendInitialMetadata();
    if (!Begin(context, directives, call.execution()))
      return grpc::Status::CANCELLED;
    if (call.fails_now()) return call.Failure();
    while (!Ended(directives, reply->requests()) && reader->Read(&request)) {
      Account(request, reply);
    }
    Fill(context, directives, call.execution(), "", reply);
    return call.Status();
  }

  grpc::Status ServerStream(grpc::ServerContext* context,
                            const Request* request,
                            grpc::ServerWriter<Reply>* writer) override {
    Directives directives = request->directives();
    DirectivesFromMetadata(*context, &directives);
    Call call(context, directives, executions_);
    if (directives.initial_metadata_first()) writer->SendInitialMetadata();
    if (!Begin(context, directives, call.execution()))
      return grpc::Status::CANCELLED;
    if (call.fails_now()) return call.Failure();
    for (int i = 0; i < directives.replies(); ++i) {
      if (i > 0 && !Sleep(context, directives.reply_interval_ms())) {
        return grpc::Status::CANCELLED;
      }
      Reply reply;
      reply.set_requests(1);
      reply.set_bytes(request->payload().size());
      Fill(context, directives, call.execution(), request->payload(), &reply);
      if (!writer->Write(reply)) return grpc::Status::CANCELLED;
    }
    return call.Status();
  }

  grpc::Status Bidi(grpc::ServerContext* context,
                    grpc::ServerReaderWriter<Reply, Request>* stream) override {
    Request request;
    Directives directives;
    bool read = false;
    if (!DirectivesFromMetadata(*context, &directives)) {
      read = stream->Read(&request);
      directives = request.directives();
    }
    Call call(context, directives, executions_);
    if (directives.initial_metadata_first()) stream->SendInitialMetadata();
    if (!Begin(context, directives, call.execution()))
      return grpc::Status::CANCELLED;
    if (call.fails_now()) return call.Failure();
    Reply sums;
    if (read) Account(request, &sums);
    while (!Ended(directives, sums.requests())) {
      if (!read) {
        if (!stream->Read(&request)) break;
        Account(request, &sums);
        if (Ended(directives, sums.requests())) break;
      }
      read = false;
      if (sums.requests() > 1 &&
          !Sleep(context, directives.reply_interval_ms())) {
        return grpc::Status::CANCELLED;
      }
      Reply reply = sums;
      Fill(context, directives, call.execution(), request.payload(), &reply);
      if (!stream->Write(reply)) return grpc::Status::CANCELLED;
    }
    return call.Status();
  }

  grpc::Status Count(grpc::ServerContext*, const CountRequest* request,
                     CountReply* reply) override {
    *reply = executions_->Count(request->key());
    return grpc::Status::OK;
  }

 private:
  bool Faulty() const {
    if (fault_ == nullptr || !fault_->on) return false;
    // Each process has a sequence of its own.
    static std::atomic<uint64_t> drawn{static_cast<uint64_t>(getpid()) << 32};
    return base::Random(drawn.fetch_add(1)).Unit() < fault_->share;
  }

  static void Account(const Request& request, Reply* sums) {
    sums->set_requests(sums->requests() + 1);
    sums->set_bytes(sums->bytes() + request.payload().size());
  }

  static bool Ended(const Directives& directives, int64_t read) {
    return directives.end_after() < 0 ||
           (directives.end_after() > 0 && read >= directives.end_after());
  }

  bool Begin(grpc::ServerContext* context, const Directives& directives,
             int64_t execution) {
    if (directives.sleep_first() > 0 && execution > directives.sleep_first()) {
      return true;
    }
    return Sleep(context, directives.sleep_ms());
  }

  // False when the call was cancelled.
  static bool Sleep(grpc::ServerContext* context, int64_t ms) {
    const auto end = std::chrono::steady_clock::now() +
                     std::chrono::milliseconds(std::max<int64_t>(ms, 0));
    while (ms > 0 && std::chrono::steady_clock::now() < end) {
      if (context->IsCancelled()) return false;
      std::this_thread::sleep_for(kCancellationPoll);
    }
    return true;
  }

  void Fill(grpc::ServerContext* context, const Directives& directives,
            int64_t execution, const std::string& request_payload,
            Reply* reply) const {
    if (directives.reply_bytes() > 0) {
      reply->set_payload(std::string(directives.reply_bytes(), 'x'));
    } else {
      reply->set_payload(request_payload);
    }
    if (!directives.echo()) return;
    Seen* seen = reply->mutable_seen();
    for (const auto& [key, value] : context->client_metadata()) {
      if (key == kDirectivesKey) continue;
      Header* header = seen->add_metadata();
      header->set_key(StrOf(key));
      header->set_value(StrOf(value));
      if (key == "grpc-previous-rpc-attempts") {
        int attempts = 0;
        if (absl::SimpleAtoi(StrOf(value), &attempts)) {
          seen->set_previous_attempts(attempts);
        }
      }
    }
    seen->set_authority(StrOf(context->ExperimentalGetAuthority()));
    seen->set_peer(context->peer());
    const gpr_timespec deadline = context->raw_deadline();
    if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0) {
      seen->set_deadline_ms(-1);
    } else {
      const gpr_timespec left =
          gpr_time_sub(gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC),
                       gpr_now(GPR_CLOCK_MONOTONIC));
      seen->set_deadline_ms(std::max(gpr_time_to_millis(left), 0));
    }
    seen->set_execution(execution);
    switch (grpc_call_test_only_get_compression_algorithm(context->c_call())) {
      case GRPC_COMPRESS_GZIP:
        seen->set_compression("gzip");
        break;
      case GRPC_COMPRESS_DEFLATE:
        seen->set_compression("deflate");
        break;
      default:
        break;
    }
    seen->set_server(name_);
    for (grpc::string_ref identity :
         context->auth_context()->GetPeerIdentity()) {
      seen->add_peer_identity(StrOf(identity));
    }
  }

  const std::string name_;
  Executions* const executions_;
  const std::shared_ptr<const ServerFault> fault_;
};

class TestServer::RawService final : public grpc::CallbackGenericService {
 public:
  explicit RawService(Executions* executions) : executions_(executions) {}

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    return new Echo(context, executions_);
  }

 private:
  class Echo final : public grpc::ServerGenericBidiReactor {
   public:
    Echo(grpc::GenericCallbackServerContext* context, Executions* executions) {
      DirectivesFromMetadata(*context, &directives_);
      call_ = std::make_unique<Call<grpc::GenericCallbackServerContext>>(
          context, directives_, executions);
      if (call_->fails_now()) {
        Finish(call_->Failure());
      } else {
        StartRead(&message_);
      }
    }
    void OnReadDone(bool ok) override {
      if (ok) {
        StartWrite(&message_);
      } else {
        Finish(call_->Status());
      }
    }
    void OnWriteDone(bool ok) override {
      if (ok) {
        StartRead(&message_);
      } else {
        Finish(grpc::Status::CANCELLED);
      }
    }
    void OnDone() override { delete this; }

   private:
    Directives directives_;
    std::unique_ptr<Call<grpc::GenericCallbackServerContext>> call_;
    grpc::ByteBuffer message_;
  };

  Executions* const executions_;
};

absl::StatusOr<std::unique_ptr<TestServer>> TestServer::Start(Options options) {
  auto server = std::unique_ptr<TestServer>(new TestServer());
  server->executions_ = options.executions != nullptr
                            ? options.executions
                            : std::make_shared<Executions>();
  server->service_ = std::make_unique<Service>(
      options.name, server->executions_.get(), options.fault);
  server->raw_service_ =
      std::make_unique<RawService>(server->executions_.get());

  grpc::ServerBuilder builder;
  std::vector<int> ports(options.addresses.size(), 0);
  for (size_t i = 0; i < ports.size(); ++i) {
    builder.AddListeningPort(options.addresses[i],
                             options.credentials != nullptr
                                 ? options.credentials
                                 : grpc::InsecureServerCredentials(),
                             &ports[i]);
  }
  for (const auto& [key, value] : options.int_args) {
    builder.AddChannelArgument(key, value);
  }
  builder.RegisterService(server->service_.get());
  if (options.raw_service) {
    builder.RegisterCallbackGenericService(server->raw_service_.get());
  }
  if (options.customize) options.customize(&builder);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr && ports.empty()) {
    return absl::UnavailableError("cannot start the server");
  }
  for (size_t i = 0; i < ports.size(); ++i) {
    if (server->server_ == nullptr || ports[i] == 0) {
      return absl::UnavailableError(
          absl::StrCat("cannot listen on ", options.addresses[i]));
    }
    const std::string& address = options.addresses[i];
    server->addresses_.push_back(
        absl::StrCat(address.substr(0, address.rfind(':')), ":", ports[i]));
  }
  return server;
}

TestServer::~TestServer() {
  if (server_ != nullptr) Shutdown(absl::ZeroDuration());
}

void TestServer::Shutdown(absl::Duration grace) {
  server_->Shutdown(std::chrono::system_clock::now() +
                    absl::ToChronoMilliseconds(grace));
  server_->Wait();
}

}  // namespace mesh::test
