// Completion queues, with generated and with generic stubs.

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/generic/generic_stub.h"
#include "tests/matrix/driver_styles.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::test {
namespace {

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

// Generic stubs. On the wire every kind is a bidi stream.
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

}  // namespace

std::unique_ptr<Driver> MakeAsyncDriver(
    Kind kind, Style style, std::shared_ptr<grpc::ChannelInterface> channel) {
  if (style == Style::kGenericAsync) {
    return std::make_unique<GenericAsync<grpc::ByteBuffer, grpc::ByteBuffer>>(
        kind, std::move(channel));
  }
  if (style == Style::kTemplatedAsync) {
    return std::make_unique<GenericAsync<Request, Reply>>(kind,
                                                          std::move(channel));
  }
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
  return nullptr;
}

}  // namespace mesh::test
