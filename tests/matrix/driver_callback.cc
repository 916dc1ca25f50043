// Reactors and functions, with generated and with generic stubs.

#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/client_callback.h"
#include "mesh/base/mutex.h"
#include "tests/matrix/driver_styles.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::test {
namespace {

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

std::unique_ptr<Driver> MakeCallbackDriver(
    Kind kind, Style style, std::shared_ptr<grpc::ChannelInterface> channel) {
  if (style == Style::kGenericCallback || style == Style::kGenericFunction) {
    return std::make_unique<
        CallbackGeneric<grpc::ByteBuffer, grpc::ByteBuffer>>(
        kind, style, std::move(channel));
  }
  if (style == Style::kTemplatedCallback) {
    return std::make_unique<CallbackGeneric<Request, Reply>>(
        kind, style, std::move(channel));
  }
  if (style == Style::kFunction) {
    return std::make_unique<CallbackUnary>(true, std::move(channel));
  }
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
  return nullptr;
}

}  // namespace mesh::test
