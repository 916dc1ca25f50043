#ifndef TESTS_SANITIZERS_ECHO_H_
#define TESTS_SANITIZERS_ECHO_H_

#include <memory>
#include <string>

#include "grpcpp/grpcpp.h"
#include "tests/support/test_service.grpc.pb.h"

// Plain gRPC servers of mesh.test.TestService without anything of mesh: they
// send payloads back. Their state is written when they are made and read by
// every call, as a real server's is.

namespace mesh::test {

class SyncEcho final : public TestService::Service {
 public:
  explicit SyncEcho(std::string prefix) : prefix_(std::move(prefix)) {}

  grpc::Status Unary(grpc::ServerContext* context, const Request* request,
                     Reply* reply) override {
    context->AddTrailingMetadata("prefix", prefix_);
    reply->set_payload(prefix_ + request->payload());
    return grpc::Status::OK;
  }
  grpc::Status ClientStream(grpc::ServerContext*,
                            grpc::ServerReader<Request>* reader,
                            Reply* reply) override {
    Request request;
    while (reader->Read(&request)) reply->set_requests(reply->requests() + 1);
    return grpc::Status::OK;
  }
  grpc::Status ServerStream(grpc::ServerContext*, const Request* request,
                            grpc::ServerWriter<Reply>* writer) override {
    Reply reply;
    reply.set_payload(prefix_ + request->payload());
    for (int i = 0; i < request->directives().replies(); ++i) {
      writer->Write(reply);
    }
    return grpc::Status::OK;
  }
  grpc::Status Bidi(grpc::ServerContext*,
                    grpc::ServerReaderWriter<Reply, Request>* stream) override {
    Request request;
    Reply reply;
    while (stream->Read(&request)) {
      reply.set_payload(prefix_ + request.payload());
      stream->Write(reply);
    }
    return grpc::Status::OK;
  }

 private:
  const std::string prefix_;
};

class CallbackEcho final : public TestService::CallbackService {
 public:
  explicit CallbackEcho(std::string prefix) : prefix_(std::move(prefix)) {}

  grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context,
                                  const Request* request,
                                  Reply* reply) override {
    context->AddTrailingMetadata("prefix", prefix_);
    reply->set_payload(prefix_ + request->payload());
    auto* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerBidiReactor<Request, Reply>* Bidi(
      grpc::CallbackServerContext*) override {
    class Echo final : public grpc::ServerBidiReactor<Request, Reply> {
     public:
      explicit Echo(const std::string* prefix) : prefix_(prefix) {
        StartRead(&request_);
      }
      void OnReadDone(bool ok) override {
        if (!ok) return Finish(grpc::Status::OK);
        reply_.set_payload(*prefix_ + request_.payload());
        StartWrite(&reply_);
      }
      void OnWriteDone(bool ok) override {
        if (ok) StartRead(&request_);
      }
      void OnDone() override { delete this; }

     private:
      const std::string* const prefix_;
      Request request_;
      Reply reply_;
    };
    return new Echo(&prefix_);
  }

 private:
  const std::string prefix_;
};

// Starts `service` on a port of loopback that the system chooses.
inline std::unique_ptr<grpc::Server> StartServer(grpc::Service* service,
                                                 std::string* address) {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  *address = "127.0.0.1:" + std::to_string(port);
  return server;
}

}  // namespace mesh::test

#endif  // TESTS_SANITIZERS_ECHO_H_
