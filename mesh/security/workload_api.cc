#include "mesh/security/workload_api.h"

#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/channel_arguments.h"
#include "grpcpp/support/client_callback.h"
#include "mesh/base/mutex.h"
#include "mesh/base/random.h"
#include "mesh/security/spiffe_id.h"
#include "mesh/security/workload_policy.h"
#include "openssl/crypto.h"

namespace mesh::security {
namespace {

constexpr char kMethod[] = "/SpiffeWorkloadAPI/FetchX509SVID";

absl::Status WrongEndpoint(absl::string_view endpoint) {
  return absl::InvalidArgumentError(absl::StrCat(
      "the Workload API's endpoint must be unix: and an absolute path, or "
      "tcp: with an IP address and a port, is ",
      Quoted(endpoint), "."));
}

bool IsPort(absl::string_view text) {
  int port = 0;
  return absl::SimpleAtoi(text, &port) && port > 0 && port < 65536;
}

// A channel to the agent for one stream. So the delays are those of the policy
// alone, and nothing of an agent that is gone stays.
std::shared_ptr<grpc::Channel> Connect(const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetMaxReceiveMessageSize(static_cast<int>(kMaxSvidResponse));
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(),
                                   arguments);
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  bytes.reserve(buffer.Length());
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

// One stream. What happens is told on gRPC's threads, by one at a time. Any
// thread may drop the last reference.
class Stream final
    : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
      public std::enable_shared_from_this<Stream> {
 public:
  struct Events {
    std::function<void(const grpc::ByteBuffer&)> message;
    std::function<void(const grpc::Status&)> end;  // The last one.
  };

  // `loop` is where it is destroyed, if possible.
  static std::shared_ptr<Stream> Make(Events events,
                                      std::shared_ptr<base::EventLoop> loop) {
    return {new Stream(std::move(events), std::move(loop)), &Stream::Delete};
  }

  // It keeps itself alive from here to its end.
  void Start(const std::string& target) {
    self_ = shared_from_this();
    const std::shared_ptr<grpc::Channel> channel = Connect(target);
    context_.AddMetadata("workload.spiffe.io", "true");
    grpc::GenericStub stub(channel);
    stub.PrepareBidiStreamingCall(&context_, kMethod, {}, this);
    StartWriteLast(&request_, grpc::WriteOptions());
    StartRead(&response_);
    StartCall();
  }
  // Thread-safe.
  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    events_.message(response_);
    response_.Clear();
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    events_.end(status);
    const std::shared_ptr<Stream> last = std::move(self_);
  }

 private:
  Stream(Events events, std::shared_ptr<base::EventLoop> loop)
      : events_(std::move(events)), loop_(std::move(loop)) {}

  // With the last channel of the process that has used gRPC's threads for
  // callbacks, gRPC ends these threads and waits for them. So the channel may
  // not go on one of them.
  static void Delete(Stream* stream) {
    if (stream->loop_->OnLoopThread()) {
      delete stream;
      return;
    }
    // It goes with the closure: on the loop's thread, or here at once if the
    // loop was stopped. Nothing of it may be used after this.
    stream->loop_->Post(
        [last = std::shared_ptr<Stream>(stream, &Stream::DeleteLast)] {});
  }
  static void DeleteLast(Stream* stream) {
    if (stream->loop_->OnLoopThread()) {
      delete stream;
      return;
    }
    // The thread of this loop ends by itself.
    const auto other = std::make_shared<base::EventLoop>("mesh-workload");
    other->Post([other, stream] { delete stream; });
  }

  const Events events_;
  const std::shared_ptr<base::EventLoop> loop_;
  grpc::ClientContext context_;
  const grpc::Slice empty_;
  // An X509SVIDRequest, which has no fields.
  const grpc::ByteBuffer request_{&empty_, 1};
  grpc::ByteBuffer response_;
  std::shared_ptr<Stream> self_;
};

}  // namespace

absl::StatusOr<std::string> WorkloadTarget(absl::string_view endpoint) {
  absl::string_view rest = endpoint;
  if (absl::StrContains(rest, '\0')) return WrongEndpoint(endpoint);
  if (absl::ConsumePrefix(&rest, "unix:")) {
    absl::ConsumePrefix(&rest, "//");  // No authority may stand behind it.
    // Query and fragment are no part of a path, and the standard has none.
    if (!absl::StartsWith(rest, "/") || rest.size() < 2 ||
        rest.find_first_of("?#%") != absl::string_view::npos) {
      return WrongEndpoint(endpoint);
    }
    return absl::StrCat("unix:", rest);
  }
  if (!absl::ConsumePrefix(&rest, "tcp:")) return WrongEndpoint(endpoint);
  absl::ConsumePrefix(&rest, "//");
  const size_t colon = rest.rfind(':');
  if (colon == absl::string_view::npos || !IsPort(rest.substr(colon + 1))) {
    return WrongEndpoint(endpoint);
  }
  const absl::string_view host = rest.substr(0, colon);
  const bool six = absl::StartsWith(host, "[") && absl::EndsWith(host, "]");
  if (host.empty() ||
      host.find_first_not_of(six ? "[]0123456789abcdefABCDEF:."
                                 : "0123456789.") != absl::string_view::npos) {
    return WrongEndpoint(endpoint);
  }
  return absl::StrCat(six ? "ipv6:" : "ipv4:", rest);
}

// Lives until the source, its last stream, and what both have posted to the
// loop are gone.
class WorkloadApiSource::Client final
    : public std::enable_shared_from_this<WorkloadApiSource::Client> {
 public:
  Client(std::string target, SvidChoice choice, std::string agent,
         std::shared_ptr<base::EventLoop> loop,
         std::function<absl::Time()> wall)
      : target_(std::move(target)),
        loop_(std::move(loop)),
        wall_(std::move(wall)),
        policy_(std::move(choice), std::move(agent),
                base::Random(base::ThreadRandom()())) {}

  void Start() {
    loop_->Post([self = shared_from_this()] { self->Go(); });
  }

  // The loop may have been stopped, so the stream is ended here.
  void Stop() {
    stopped_ = true;
    if (const std::shared_ptr<Stream> stream = TakeStream()) stream->Cancel();
    loop_->Post([self = shared_from_this()] {
      if (self->timer_ != 0) self->loop_->Cancel(self->timer_);
      self->timer_ = 0;
    });
  }

  IdentityFeed& feed() { return feed_; }

 private:
  Moment Now() const { return {base::Clock::Real().Now(), wall_()}; }

  // Does what the policy asks for, and sets the timer.
  void Go() {
    if (stopped_) return;
    Act(policy_.OnTime(Now()));
    if (policy_.WantsOpen(Now())) Open();
    if (policy_.GivesUp(Now())) CancelStream();
    const absl::Time next = policy_.Next(Now());
    if (timer_ != 0) loop_->Cancel(timer_);
    timer_ = loop_->RunAt(next, [self = shared_from_this()] {
      self->timer_ = 0;
      self->Go();
    });
  }

  void Open() {
    Stream::Events events;
    events.message = [self =
                          shared_from_this()](const grpc::ByteBuffer& message) {
      if (!self->Keep(message)) return;
      self->loop_->Post([self] { self->OnMessage(); });
    };
    events.end = [self = shared_from_this()](const grpc::Status& status) {
      const absl::Status why =
          status.ok()
              ? absl::UnavailableError("the agent ended the stream.")
              : absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                             status.error_message());
      self->loop_->Post([self, why] { self->OnEnd(why); });
    };
    const std::shared_ptr<Stream> stream =
        Stream::Make(std::move(events), loop_);
    {
      base::MutexLock lock(&mu_);
      stream_ = stream;
    }
    policy_.OnOpen(Now());
    stream->Start(target_);
    if (stopped_) stream->Cancel();  // Stop() may have come before Start().
  }

  // The newest message is kept. False: there is one before it, for which
  // OnMessage() comes.
  bool Keep(const grpc::ByteBuffer& message) {
    base::MutexLock lock(&mu_);
    const bool first = !message_.has_value();
    message_ = message;
    return first;
  }

  void OnMessage() {
    grpc::ByteBuffer message;
    {
      base::MutexLock lock(&mu_);
      message = *std::exchange(message_, std::nullopt);
    }
    if (stopped_) return;
    std::string bytes = BytesOf(message);
    Act(policy_.OnMessage(bytes, Now()));
    OPENSSL_cleanse(bytes.data(), bytes.size());  // Keys stand in it.
    Go();
  }

  void OnEnd(const absl::Status& why) {
    TakeStream();
    if (stopped_) return;
    policy_.OnEnd(why, Now());
    Go();
  }

  void CancelStream() {
    base::MutexLock lock(&mu_);
    if (stream_ != nullptr) stream_->Cancel();
  }

  std::shared_ptr<Stream> TakeStream() {
    base::MutexLock lock(&mu_);
    return std::exchange(stream_, nullptr);
  }

  void Act(WorkloadPolicy::Decision decision) {
    if (decision.publish != nullptr) feed_.Publish(std::move(decision.publish));
    for (const IdentityNotice& notice : decision.notices) {
      feed_.Notify(notice);
    }
  }

  const std::string target_;
  const std::shared_ptr<base::EventLoop> loop_;
  const std::function<absl::Time()> wall_;
  IdentityFeed feed_;

  // On the loop's thread.
  WorkloadPolicy policy_;
  base::Scheduler::TimerId timer_ = 0;

  std::atomic<bool> stopped_{false};

  base::Mutex mu_;
  std::shared_ptr<Stream> stream_ ABSL_GUARDED_BY(mu_);  // Null: none is open.
  std::optional<grpc::ByteBuffer> message_ ABSL_GUARDED_BY(mu_);
};

absl::StatusOr<std::shared_ptr<WorkloadApiSource>> WorkloadApiSource::Make(
    absl::string_view endpoint, SvidChoice choice,
    std::shared_ptr<base::EventLoop> loop, std::function<absl::Time()> wall) {
  absl::StatusOr<std::string> target = WorkloadTarget(endpoint);
  if (!target.ok()) return target.status();
  if (loop == nullptr) {
    loop = std::make_shared<base::EventLoop>("mesh-workload");
  }
  if (!loop->failure().empty()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no thread for the Workload API: ", loop->failure()));
  }
  auto client = std::make_shared<Client>(*std::move(target), std::move(choice),
                                         std::string(endpoint), std::move(loop),
                                         std::move(wall));
  client->Start();
  return std::shared_ptr<WorkloadApiSource>(
      new WorkloadApiSource(std::move(client)));
}

WorkloadApiSource::WorkloadApiSource(std::shared_ptr<Client> client)
    : client_(std::move(client)) {}

WorkloadApiSource::~WorkloadApiSource() { client_->Stop(); }

void WorkloadApiSource::Subscribe(std::weak_ptr<IdentityListener> listener) {
  client_->feed().Subscribe(std::move(listener));
}

}  // namespace mesh::security
