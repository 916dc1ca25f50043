#include "tests/matrix/driver.h"

#include <functional>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/client_callback.h"
#include "mesh/base/mutex.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::test {
namespace {

std::string MethodOf(Kind kind) {
  switch (kind) {
    case Kind::kUnary:
      return "/mesh.test.TestService/Unary";
    case Kind::kClientStream:
      return "/mesh.test.TestService/ClientStream";
    case Kind::kServerStream:
      return "/mesh.test.TestService/ServerStream";
    case Kind::kBidi:
      break;
  }
  return "/mesh.test.TestService/Bidi";
}

// --- Synchronous.

class SyncUnary final : public Driver {
 public:
  explicit SyncUnary(std::shared_ptr<grpc::ChannelInterface> channel)
      : stub_(TestService::NewStub(std::move(channel))) {}
  bool Start(const Request& request) override {
    request_ = request;
    return true;
  }
  grpc::Status Finish(Reply* reply) override {
    return stub_->Unary(context_.get(), request_, reply);
  }

 private:
  std::unique_ptr<TestService::Stub> stub_;
  Request request_;
};

class SyncClientStream final : public Driver {
 public:
  explicit SyncClientStream(std::shared_ptr<grpc::ChannelInterface> channel)
      : stub_(TestService::NewStub(std::move(channel))) {}
  bool Start(const Request&) override {
    stream_ = stub_->ClientStream(context_.get(), &reply_);
    return true;
  }
  bool ReadInitialMetadata() override {
    return stream_->WaitForInitialMetadata(), true;
  }
  bool Write(const Request& request, grpc::WriteOptions options) override {
    return stream_->Write(request, options);
  }
  bool WritesDone() override { return stream_->WritesDone(); }
  grpc::Status Finish(Reply* reply) override {
    const grpc::Status status = stream_->Finish();
    *reply = reply_;
    return status;
  }

 private:
  std::unique_ptr<TestService::Stub> stub_;
  Reply reply_;
  std::unique_ptr<grpc::ClientWriter<Request>> stream_;
};

class SyncServerStream final : public Driver {
 public:
  explicit SyncServerStream(std::shared_ptr<grpc::ChannelInterface> channel)
      : stub_(TestService::NewStub(std::move(channel))) {}
  bool Start(const Request& request) override {
    stream_ = stub_->ServerStream(context_.get(), request);
    return true;
  }
  bool ReadInitialMetadata() override {
    return stream_->WaitForInitialMetadata(), true;
  }
  bool Read(Reply* reply) override { return stream_->Read(reply); }
  grpc::Status Finish(Reply*) override { return stream_->Finish(); }

 private:
  std::unique_ptr<TestService::Stub> stub_;
  std::unique_ptr<grpc::ClientReader<Reply>> stream_;
};

class SyncBidi final : public Driver {
 public:
  explicit SyncBidi(std::shared_ptr<grpc::ChannelInterface> channel)
      : stub_(TestService::NewStub(std::move(channel))) {}
  bool Start(const Request&) override {
    stream_ = stub_->Bidi(context_.get());
    return true;
  }
  bool ReadInitialMetadata() override {
    return stream_->WaitForInitialMetadata(), true;
  }
  bool Write(const Request& request, grpc::WriteOptions options) override {
    return stream_->Write(request, options);
  }
  bool WritesDone() override { return stream_->WritesDone(); }
  bool Read(Reply* reply) override { return stream_->Read(reply); }
  grpc::Status Finish(Reply*) override { return stream_->Finish(); }

 private:
  std::unique_ptr<TestService::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<Request, Reply>> stream_;
};

// --- Completion queue.

enum Tag : intptr_t {
  kStartTag = 1,
  kInitialMetadataTag,
  kWriteTag,
  kWritesDoneTag,
  kReadTag,
  kFinishTag
};

void* Ptr(Tag tag) { return reinterpret_cast<void*>(tag); }

class AsyncDriver : public Driver {
 protected:
  explicit AsyncDriver(Style style) : style_(style) {}

  // To be called by destructors, while the stream is alive.
  void Abandon() {
    if (outstanding_.empty()) return;
    context_->TryCancel();
    while (!outstanding_.empty()) Wait(outstanding_.begin()->first);
  }

  ~AsyncDriver() override {
    context_.reset();
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  // The tag of an operation that begins now.
  void* Begin(Tag tag) {
    outstanding_[tag] = false;
    return Ptr(tag);
  }

  bool Wait(Tag wanted) {
    while (done_.find(wanted) == done_.end()) {
      void* got = nullptr;
      bool ok = false;
      if (!queue_.Next(&got, &ok)) return false;
      const Tag tag = static_cast<Tag>(reinterpret_cast<intptr_t>(got));
      if (outstanding_.erase(tag) == 0) {
        complaints_ += absl::StrCat("tag ", tag, " came twice; ");
      }
      done_[tag] = ok;
    }
    const bool ok = done_[wanted];
    done_.erase(wanted);
    return ok;
  }

  // Whether the operation has been begun (and not been waited for).
  bool Begun(Tag tag) const {
    return outstanding_.count(tag) > 0 || done_.count(tag) > 0;
  }

  std::string Complaints() override { return complaints_; }

  const Style style_;
  grpc::CompletionQueue queue_;

 private:
  std::map<Tag, bool> outstanding_;
  std::map<Tag, bool> done_;
  std::string complaints_;
};

// The part that is the same for every kind of stream.
template <typename Stream>
class AsyncStream : public AsyncDriver {
 public:
  bool ReadInitialMetadata() override {
    stream_->ReadInitialMetadata(Begin(kInitialMetadataTag));
    return Wait(kInitialMetadataTag);
  }
  grpc::Status Finish(Reply* reply) override {
    if (!Begun(kFinishTag)) stream_->Finish(&status_, Begin(kFinishTag));
    Wait(kFinishTag);
    *reply = reply_;
    return status_;
  }

 protected:
  using AsyncDriver::AsyncDriver;
  ~AsyncStream() override { Abandon(); }

  // After the stream was made. Corked metadata has no completion of its own.
  bool Started() {
    if (style_ != Style::kAsync) {
      if (corked_) {
        stream_->StartCall(nullptr);
      } else {
        stream_->StartCall(Begin(kStartTag));
      }
    }
    if (style_ == Style::kEarlyFinish) {
      stream_->Finish(&status_, Begin(kFinishTag));
    }
    return corked_ || Wait(kStartTag);
  }
  bool WriteOne(const Request& request, grpc::WriteOptions options) {
    stream_->Write(request, options, Begin(kWriteTag));
    return Wait(kWriteTag);
  }
  bool EndWrites() {
    stream_->WritesDone(Begin(kWritesDoneTag));
    return Wait(kWritesDoneTag);
  }
  bool ReadOne(Reply* reply) {
    stream_->Read(reply, Begin(kReadTag));
    return Wait(kReadTag);
  }
  // The tag for Async...(), which start at once.
  void* StartTag() { return corked_ ? nullptr : Begin(kStartTag); }

  std::unique_ptr<Stream> stream_;
  Reply reply_;
  grpc::Status status_;
};

class AsyncUnary final : public AsyncDriver {
 public:
  AsyncUnary(Style style, std::shared_ptr<grpc::ChannelInterface> channel)
      : AsyncDriver(style), stub_(TestService::NewStub(std::move(channel))) {}
  ~AsyncUnary() override { Abandon(); }
  bool Start(const Request& request) override {
    if (style_ == Style::kAsync) {
      call_ = stub_->AsyncUnary(context_.get(), request, &queue_);
    } else {
      call_ = stub_->PrepareAsyncUnary(context_.get(), request, &queue_);
      call_->StartCall();
    }
    if (style_ == Style::kEarlyFinish) {
      call_->Finish(&reply_, &status_, Begin(kFinishTag));
    }
    return true;
  }
  bool ReadInitialMetadata() override {
    call_->ReadInitialMetadata(Begin(kInitialMetadataTag));
    return Wait(kInitialMetadataTag);
  }
  grpc::Status Finish(Reply* reply) override {
    if (!Begun(kFinishTag)) {
      call_->Finish(&reply_, &status_, Begin(kFinishTag));
    }
    Wait(kFinishTag);
    *reply = reply_;
    return status_;
  }

 private:
  std::unique_ptr<TestService::Stub> stub_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Reply>> call_;
  Reply reply_;
  grpc::Status status_;
};

class AsyncClientStream final
    : public AsyncStream<grpc::ClientAsyncWriter<Request>> {
 public:
  AsyncClientStream(Style style,
                    std::shared_ptr<grpc::ChannelInterface> channel)
      : AsyncStream(style), stub_(TestService::NewStub(std::move(channel))) {}
  bool Start(const Request&) override {
    stream_ =
        style_ == Style::kAsync
            ? stub_->AsyncClientStream(context_.get(), &reply_, &queue_,
                                       StartTag())
            : stub_->PrepareAsyncClientStream(context_.get(), &reply_, &queue_);
    return Started();
  }
  bool Write(const Request& request, grpc::WriteOptions options) override {
    return WriteOne(request, options);
  }
  bool WritesDone() override { return EndWrites(); }

 private:
  std::unique_ptr<TestService::Stub> stub_;
};

class AsyncServerStream final
    : public AsyncStream<grpc::ClientAsyncReader<Reply>> {
 public:
  AsyncServerStream(Style style,
                    std::shared_ptr<grpc::ChannelInterface> channel)
      : AsyncStream(style), stub_(TestService::NewStub(std::move(channel))) {}
  bool Start(const Request& request) override {
    stream_ =
        style_ == Style::kAsync
            ? stub_->AsyncServerStream(context_.get(), request, &queue_,
                                       StartTag())
            : stub_->PrepareAsyncServerStream(context_.get(), request, &queue_);
    return Started();
  }
  bool Read(Reply* reply) override { return ReadOne(reply); }

 private:
  std::unique_ptr<TestService::Stub> stub_;
};

class AsyncBidi final
    : public AsyncStream<grpc::ClientAsyncReaderWriter<Request, Reply>> {
 public:
  AsyncBidi(Style style, std::shared_ptr<grpc::ChannelInterface> channel)
      : AsyncStream(style), stub_(TestService::NewStub(std::move(channel))) {}
  bool Start(const Request&) override {
    stream_ = style_ == Style::kAsync
                  ? stub_->AsyncBidi(context_.get(), &queue_, StartTag())
                  : stub_->PrepareAsyncBidi(context_.get(), &queue_);
    return Started();
  }
  bool Write(const Request& request, grpc::WriteOptions options) override {
    return WriteOne(request, options);
  }
  bool WritesDone() override { return EndWrites(); }
  bool Read(Reply* reply) override { return ReadOne(reply); }

 private:
  std::unique_ptr<TestService::Stub> stub_;
};

// --- Generic stubs. On the wire every kind is a bidi stream.

void Encode(const Request& request, Request* message) { *message = request; }
void Encode(const Request& request, grpc::ByteBuffer* message) {
  const std::string bytes = request.SerializeAsString();
  // In pieces, as a buffer may be.
  std::vector<grpc::Slice> slices;
  slices.emplace_back(bytes.substr(0, bytes.size() / 2));
  slices.emplace_back(bytes.substr(bytes.size() / 2));
  *message = grpc::ByteBuffer(slices.data(), slices.size());
}
void Decode(Reply& message, Reply* reply) { *reply = message; }
void Decode(grpc::ByteBuffer& message, Reply* reply) {
  reply->Clear();
  if (!message.Valid()) return;
  grpc::Slice bytes;
  if (!message.DumpToSingleSlice(&bytes).ok() ||
      !reply->ParseFromArray(bytes.begin(), static_cast<int>(bytes.size()))) {
    reply->set_payload("not a Reply");
  }
}

template <typename In, typename Out>
class GenericAsync final : public AsyncDriver {
 public:
  GenericAsync(Kind kind, std::shared_ptr<grpc::ChannelInterface> channel)
      : AsyncDriver(Style::kPrepare), kind_(kind), stub_(std::move(channel)) {}
  ~GenericAsync() override { Abandon(); }
  bool Start(const Request& request) override {
    In message;
    Encode(request, &message);
    if (kind_ == Kind::kUnary) {
      unary_ = stub_.PrepareUnaryCall(context_.get(), MethodOf(kind_), message,
                                      &queue_);
      unary_->StartCall();
      return true;
    }
    stream_ = stub_.PrepareCall(context_.get(), MethodOf(kind_), &queue_);
    if (corked_) {
      stream_->StartCall(nullptr);
    } else {
      stream_->StartCall(Begin(kStartTag));
      if (!Wait(kStartTag)) return false;
    }
    if (kind_ != Kind::kServerStream) return true;
    stream_->Write(message, grpc::WriteOptions().set_last_message(),
                   Begin(kWriteTag));
    return Wait(kWriteTag);
  }
  bool ReadInitialMetadata() override {
    if (kind_ == Kind::kUnary) {
      unary_->ReadInitialMetadata(Begin(kInitialMetadataTag));
    } else {
      stream_->ReadInitialMetadata(Begin(kInitialMetadataTag));
    }
    return Wait(kInitialMetadataTag);
  }
  bool Write(const Request& request, grpc::WriteOptions options) override {
    In message;
    Encode(request, &message);
    stream_->Write(message, options, Begin(kWriteTag));
    return Wait(kWriteTag);
  }
  bool WritesDone() override {
    stream_->WritesDone(Begin(kWritesDoneTag));
    return Wait(kWritesDoneTag);
  }
  bool Read(Reply* reply) override {
    stream_->Read(&message_, Begin(kReadTag));
    const bool ok = Wait(kReadTag);
    if (ok) Decode(message_, reply);
    return ok;
  }
  grpc::Status Finish(Reply* reply) override {
    if (kind_ == Kind::kUnary) {
      unary_->Finish(&message_, &status_, Begin(kFinishTag));
      Wait(kFinishTag);
      if (status_.ok()) Decode(message_, reply);
      return status_;
    }
    if (kind_ == Kind::kClientStream) Read(reply);
    stream_->Finish(&status_, Begin(kFinishTag));
    Wait(kFinishTag);
    return status_;
  }

 private:
  const Kind kind_;
  grpc::TemplatedGenericStub<In, Out> stub_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Out>> unary_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<In, Out>> stream_;
  Out message_;
  grpc::Status status_;
};

// --- Callbacks.

// What a reactor was told, for a thread that waits for it.
class Events {
 public:
  void Set(Tag tag, bool ok) {
    base::MutexLock lock(&mu_);
    if (done_) complaints_ += absl::StrCat("event ", tag, " after OnDone; ");
    if (tag == kInitialMetadataTag && seen_initial_metadata_++ > 0) {
      complaints_ += "initial metadata twice; ";
    }
    events_[tag] = ok;
    changed_.SignalAll();
  }
  void SetDone(const grpc::Status& status) {
    base::MutexLock lock(&mu_);
    if (done_) complaints_ += "OnDone twice; ";
    done_ = true;
    status_ = status;
    changed_.SignalAll();
  }
  bool Take(Tag tag) {
    base::MutexLock lock(&mu_);
    while (events_.find(tag) == events_.end()) changed_.Wait(&mu_);
    const bool ok = events_[tag];
    // It comes once, unasked: whoever wants can look at it again.
    if (tag != kInitialMetadataTag) events_.erase(tag);
    return ok;
  }
  grpc::Status WaitDone() {
    base::MutexLock lock(&mu_);
    while (!done_) changed_.Wait(&mu_);
    return status_;
  }
  void Complain(const std::string& what) {
    base::MutexLock lock(&mu_);
    complaints_ += what;
  }
  std::string Complaints() {
    base::MutexLock lock(&mu_);
    return complaints_;
  }
  bool SeenInitialMetadata() {
    base::MutexLock lock(&mu_);
    return seen_initial_metadata_ > 0;
  }

 private:
  base::Mutex mu_;
  base::CondVar changed_;
  std::map<Tag, bool> events_ ABSL_GUARDED_BY(mu_);
  int seen_initial_metadata_ ABSL_GUARDED_BY(mu_) = 0;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(mu_);
  std::string complaints_ ABSL_GUARDED_BY(mu_);
};

// NOLINTBEGIN(modernize-use-override): not all of them have all.
// Any of gRPC's client reactors: overrides those of these that `Base` has.
template <typename Base>
class Reactor final : public Base {
 public:
  explicit Reactor(Events* events) : events_(events) {}
  void OnReadInitialMetadataDone(bool ok) {
    events_->Set(kInitialMetadataTag, ok);
  }
  void OnReadDone(bool ok) { events_->Set(kReadTag, ok); }
  void OnWriteDone(bool ok) { events_->Set(kWriteTag, ok); }
  void OnWritesDoneDone(bool ok) { events_->Set(kWritesDoneTag, ok); }
  void OnDone(const grpc::Status& status) {
    if (!events_->SeenInitialMetadata()) {
      events_->Complain("OnDone before initial metadata; ");
    }
    events_->SetDone(status);
  }

 private:
  Events* const events_;
};
// NOLINTEND(modernize-use-override)

class CallbackDriver : public Driver {
 public:
  bool ReadInitialMetadata() override {
    return events_.Take(kInitialMetadataTag);
  }
  std::string Complaints() override { return events_.Complaints(); }

 protected:
  // For destructors: ends the call.
  void Abandon() {
    if (!started_) return;
    if (!finished_) {
      context_->TryCancel();
      ReleaseHold();
      events_.WaitDone();
    }
  }
  virtual void ReleaseHold() {}
  grpc::Status WaitDone() {
    finished_ = true;
    ReleaseHold();
    return events_.WaitDone();
  }

  Events events_;
  bool started_ = false;
  bool finished_ = false;
};

class CallbackUnary final : public CallbackDriver {
 public:
  CallbackUnary(bool function, std::shared_ptr<grpc::ChannelInterface> channel)
      : function_(function),
        stub_(TestService::NewStub(std::move(channel))),
        reactor_(&events_) {}
  ~CallbackUnary() override { Abandon(); }
  bool Start(const Request& request) override {
    started_ = true;
    request_ = request;
    if (function_) {
      stub_->async()->Unary(
          context_.get(), &request_, &reply_,
          [this](grpc::Status status) { events_.SetDone(status); });
    } else {
      stub_->async()->Unary(context_.get(), &request_, &reply_, &reactor_);
      reactor_.StartCall();
    }
    return true;
  }
  grpc::Status Finish(Reply* reply) override {
    grpc::Status status = WaitDone();
    *reply = reply_;
    return status;
  }

 private:
  const bool function_;
  std::unique_ptr<TestService::Stub> stub_;
  Request request_;
  Reply reply_;
  Reactor<grpc::ClientUnaryReactor> reactor_;
};

class CallbackClientStream final : public CallbackDriver {
 public:
  explicit CallbackClientStream(std::shared_ptr<grpc::ChannelInterface> channel)
      : stub_(TestService::NewStub(std::move(channel))), reactor_(&events_) {}
  ~CallbackClientStream() override { Abandon(); }
  bool Start(const Request&) override {
    started_ = true;
    stub_->async()->ClientStream(context_.get(), &reply_, &reactor_);
    reactor_.AddHold();
    reactor_.StartCall();
    return true;
  }
  bool Write(const Request& request, grpc::WriteOptions options) override {
    request_ = request;
    reactor_.StartWrite(&request_, options);
    return events_.Take(kWriteTag);
  }
  bool WritesDone() override {
    reactor_.StartWritesDone();
    return events_.Take(kWritesDoneTag);
  }
  grpc::Status Finish(Reply* reply) override {
    grpc::Status status = WaitDone();
    *reply = reply_;
    return status;
  }
  void ReleaseHold() override { reactor_.RemoveHold(); }

 private:
  std::unique_ptr<TestService::Stub> stub_;
  Request request_;
  Reply reply_;
  Reactor<grpc::ClientWriteReactor<Request>> reactor_;
};

class CallbackServerStream final : public CallbackDriver {
 public:
  explicit CallbackServerStream(std::shared_ptr<grpc::ChannelInterface> channel)
      : stub_(TestService::NewStub(std::move(channel))), reactor_(&events_) {}
  ~CallbackServerStream() override { Abandon(); }
  bool Start(const Request& request) override {
    started_ = true;
    request_ = request;
    stub_->async()->ServerStream(context_.get(), &request_, &reactor_);
    reactor_.AddHold();
    reactor_.StartCall();
    return true;
  }
  bool Read(Reply* reply) override {
    reactor_.StartRead(reply);
    return events_.Take(kReadTag);
  }
  grpc::Status Finish(Reply*) override { return WaitDone(); }
  void ReleaseHold() override { reactor_.RemoveHold(); }

 private:
  std::unique_ptr<TestService::Stub> stub_;
  Request request_;
  Reactor<grpc::ClientReadReactor<Reply>> reactor_;
};

// Bidi streams of the generated stub, and every kind of the generic ones.
template <typename In, typename Out>
class CallbackGeneric final : public CallbackDriver {
 public:
  CallbackGeneric(Kind kind, Style style,
                  std::shared_ptr<grpc::ChannelInterface> channel)
      : kind_(kind),
        style_(style),
        typed_stub_(TestService::NewStub(channel)),
        stub_(std::move(channel)),
        unary_(&events_),
        stream_(&events_) {}
  ~CallbackGeneric() override { Abandon(); }
  bool Start(const Request& request) override {
    started_ = true;
    Encode(request, &in_);
    const std::string method = MethodOf(kind_);
    if (style_ == Style::kGenericFunction) {
      stub_.UnaryCall(context_.get(), method, {}, &in_, &out_,
                      [this](grpc::Status status) { events_.SetDone(status); });
      return true;
    }
    if (kind_ == Kind::kUnary) {
      stub_.PrepareUnaryCall(context_.get(), method, {}, &in_, &out_, &unary_);
      unary_.StartCall();
      return true;
    }
    Bind(method);
    stream_.AddHold();
    stream_.StartCall();
    if (kind_ != Kind::kServerStream) return true;
    stream_.StartWrite(&in_, grpc::WriteOptions().set_last_message());
    return events_.Take(kWriteTag);
  }
  bool Write(const Request& request, grpc::WriteOptions options) override {
    Encode(request, &in_);
    stream_.StartWrite(&in_, options);
    return events_.Take(kWriteTag);
  }
  bool WritesDone() override {
    stream_.StartWritesDone();
    return events_.Take(kWritesDoneTag);
  }
  bool Read(Reply* reply) override {
    stream_.StartRead(&out_);
    const bool ok = events_.Take(kReadTag);
    if (ok) Decode(out_, reply);
    return ok;
  }
  grpc::Status Finish(Reply* reply) override {
    if (kind_ == Kind::kClientStream) Read(reply);
    grpc::Status status = WaitDone();
    if (kind_ == Kind::kUnary && status.ok()) Decode(out_, reply);
    return status;
  }
  void ReleaseHold() override {
    if (kind_ != Kind::kUnary) stream_.RemoveHold();
  }

 private:
  void Bind(const std::string& method) {
    if constexpr (std::is_same_v<In, Request>) {
      if (style_ == Style::kCallback) {
        typed_stub_->async()->Bidi(context_.get(), &stream_);
        return;
      }
    }
    stub_.PrepareBidiStreamingCall(context_.get(), method, {}, &stream_);
  }

  const Kind kind_;
  const Style style_;
  std::unique_ptr<TestService::Stub> typed_stub_;
  grpc::TemplatedGenericStub<In, Out> stub_;
  In in_;
  Out out_;
  Reactor<grpc::ClientUnaryReactor> unary_;
  Reactor<grpc::ClientBidiReactor<In, Out>> stream_;
};

}  // namespace

const std::vector<Kind>& AllKinds() {
  static const auto* const kinds = new std::vector<Kind>{
      Kind::kUnary, Kind::kClientStream, Kind::kServerStream, Kind::kBidi};
  return *kinds;
}

const std::vector<Style>& AllStyles() {
  static const auto* const styles =
      new std::vector<Style>{Style::kSync,
                             Style::kAsync,
                             Style::kPrepare,
                             Style::kEarlyFinish,
                             Style::kCallback,
                             Style::kFunction,
                             Style::kGenericAsync,
                             Style::kGenericCallback,
                             Style::kGenericFunction,
                             Style::kTemplatedAsync,
                             Style::kTemplatedCallback};
  return *styles;
}

const char* Name(Kind kind) {
  switch (kind) {
    case Kind::kUnary:
      return "Unary";
    case Kind::kClientStream:
      return "ClientStream";
    case Kind::kServerStream:
      return "ServerStream";
    case Kind::kBidi:
      break;
  }
  return "Bidi";
}

const char* Name(Style style) {
  switch (style) {
    case Style::kSync:
      return "Sync";
    case Style::kAsync:
      return "Async";
    case Style::kPrepare:
      return "Prepare";
    case Style::kEarlyFinish:
      return "EarlyFinish";
    case Style::kCallback:
      return "Callback";
    case Style::kFunction:
      return "Function";
    case Style::kGenericAsync:
      return "GenericAsync";
    case Style::kGenericCallback:
      return "GenericCallback";
    case Style::kGenericFunction:
      return "GenericFunction";
    case Style::kTemplatedAsync:
      return "TemplatedAsync";
    case Style::kTemplatedCallback:
      break;
  }
  return "TemplatedCallback";
}

bool Writes(Kind kind) {
  return kind == Kind::kClientStream || kind == Kind::kBidi;
}
bool Reads(Kind kind) {
  return kind == Kind::kServerStream || kind == Kind::kBidi;
}

bool Exists(Kind kind, Style style) {
  return kind == Kind::kUnary ||
         (style != Style::kFunction && style != Style::kGenericFunction);
}

const std::vector<Way>& AllWays() {
  static const auto* const ways = [] {
    auto* const all = new std::vector<Way>;
    for (Kind kind : AllKinds()) {
      for (Style style : AllStyles()) {
        if (Exists(kind, style)) all->push_back({kind, style});
      }
    }
    return all;
  }();
  return *ways;
}

void PrintTo(const Way& way, std::ostream* out) {
  *out << Name(way.kind) << "_" << Name(way.style);
}

bool CanReadInitialMetadata(Kind kind, Style style) {
  if (style == Style::kFunction || style == Style::kGenericFunction) {
    return false;
  }
  // An early Finish() takes the initial metadata with it.
  return style != Style::kEarlyFinish &&
         (kind != Kind::kUnary || style != Style::kSync);
}

std::unique_ptr<Driver> Driver::Make(
    Kind kind, Style style, std::shared_ptr<grpc::ChannelInterface> channel) {
  switch (style) {
    case Style::kSync:
      switch (kind) {
        case Kind::kUnary:
          return std::make_unique<SyncUnary>(std::move(channel));
        case Kind::kClientStream:
          return std::make_unique<SyncClientStream>(std::move(channel));
        case Kind::kServerStream:
          return std::make_unique<SyncServerStream>(std::move(channel));
        case Kind::kBidi:
          return std::make_unique<SyncBidi>(std::move(channel));
      }
      break;
    case Style::kAsync:
    case Style::kPrepare:
    case Style::kEarlyFinish:
      switch (kind) {
        case Kind::kUnary:
          return std::make_unique<AsyncUnary>(style, std::move(channel));
        case Kind::kClientStream:
          return std::make_unique<AsyncClientStream>(style, std::move(channel));
        case Kind::kServerStream:
          return std::make_unique<AsyncServerStream>(style, std::move(channel));
        case Kind::kBidi:
          return std::make_unique<AsyncBidi>(style, std::move(channel));
      }
      break;
    case Style::kFunction:
      return std::make_unique<CallbackUnary>(true, std::move(channel));
    case Style::kCallback:
      switch (kind) {
        case Kind::kUnary:
          return std::make_unique<CallbackUnary>(false, std::move(channel));
        case Kind::kClientStream:
          return std::make_unique<CallbackClientStream>(std::move(channel));
        case Kind::kServerStream:
          return std::make_unique<CallbackServerStream>(std::move(channel));
        case Kind::kBidi:
          return std::make_unique<CallbackGeneric<Request, Reply>>(
              kind, style, std::move(channel));
      }
      break;
    case Style::kGenericAsync:
      return std::make_unique<GenericAsync<grpc::ByteBuffer, grpc::ByteBuffer>>(
          kind, std::move(channel));
    case Style::kTemplatedAsync:
      return std::make_unique<GenericAsync<Request, Reply>>(kind,
                                                            std::move(channel));
    case Style::kGenericCallback:
    case Style::kGenericFunction:
      return std::make_unique<
          CallbackGeneric<grpc::ByteBuffer, grpc::ByteBuffer>>(
          kind, style, std::move(channel));
    case Style::kTemplatedCallback:
      return std::make_unique<CallbackGeneric<Request, Reply>>(
          kind, style, std::move(channel));
  }
  return nullptr;
}

}  // namespace mesh::test
