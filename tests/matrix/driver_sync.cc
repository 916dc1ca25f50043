// Blocking stub methods.

#include <memory>
#include <utility>

#include "tests/matrix/driver_styles.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::test {
namespace {

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

}  // namespace

std::unique_ptr<Driver> MakeSyncDriver(
    Kind kind, std::shared_ptr<grpc::ChannelInterface> channel) {
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
  return nullptr;
}

}  // namespace mesh::test
