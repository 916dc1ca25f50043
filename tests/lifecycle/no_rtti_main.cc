// Compiled with -fno-rtti: calls in the style of argv[1] to the servers
// (argv[2], separated by commas). They are balanced, not retried, and the mesh
// says so once.

#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/impl/client_unary_call.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "mesh/base/mutex.h"
#include "mesh/mesh.h"
#include "mesh/v1/config.pb.h"
#include "tests/support/test_service.pb.h"

#ifdef __GXX_RTTI
#error "This file is to be compiled with -fno-rtti."
#endif

namespace {

using mesh::test::Reply;
using mesh::test::Request;
using Stub = grpc::TemplatedGenericStub<Request, Reply>;

constexpr char kMethod[] = "/mesh.test.TestService/Unary";

// What a generated stub does, here so that this file instantiates it.
grpc::Status BlockingCall(grpc::ChannelInterface* channel,
                          grpc::ClientContext* context, const Request& request,
                          Reply* reply) {
  const grpc::internal::RpcMethod method(kMethod,
                                         grpc::internal::RpcMethod::NORMAL_RPC);
  return grpc::internal::BlockingUnaryCall(channel, method, context, request,
                                           reply);
}

grpc::Status QueueCall(const std::shared_ptr<grpc::ChannelInterface>& channel,
                       grpc::ClientContext* context, const Request& request,
                       Reply* reply) {
  Stub stub(channel);
  grpc::CompletionQueue queue;
  grpc::Status status;
  auto call = stub.PrepareUnaryCall(context, kMethod, request, &queue);
  call->StartCall();
  call->Finish(reply, &status, nullptr);
  void* tag;
  bool ok;
  queue.Next(&tag, &ok);
  return status;
}

class Waiter final : public grpc::ClientUnaryReactor {
 public:
  void OnDone(const grpc::Status& status) override {
    mesh::base::MutexLock lock(&mu_);
    status_ = status;
    done_ = true;
    changed_.SignalAll();
  }
  grpc::Status Wait() {
    mesh::base::MutexLock lock(&mu_);
    while (!done_) changed_.Wait(&mu_);
    return status_;
  }

 private:
  mesh::base::Mutex mu_;
  mesh::base::CondVar changed_;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(mu_);
};

grpc::Status CallbackCall(
    const std::shared_ptr<grpc::ChannelInterface>& channel, bool function,
    grpc::ClientContext* context, const Request& request, Reply* reply) {
  Stub stub(channel);
  Waiter waiter;
  if (function) {
    stub.UnaryCall(context, kMethod, {}, &request, reply,
                   [&waiter](grpc::Status status) { waiter.OnDone(status); });
  } else {
    stub.PrepareUnaryCall(context, kMethod, {}, &request, reply, &waiter);
    waiter.StartCall();
  }
  return waiter.Wait();
}

grpc::Status StreamCall(const std::shared_ptr<grpc::ChannelInterface>& channel,
                        grpc::ClientContext* context, const Request& request,
                        Reply* reply) {
  Stub stub(channel);
  grpc::CompletionQueue queue;
  void* tag;
  bool ok;
  auto call = stub.PrepareCall(context, "/mesh.test.TestService/Bidi", &queue);
  call->StartCall(nullptr);
  queue.Next(&tag, &ok);
  call->Write(request, nullptr);
  queue.Next(&tag, &ok);
  call->Read(reply, nullptr);
  queue.Next(&tag, &ok);
  call->WritesDone(nullptr);
  queue.Next(&tag, &ok);
  grpc::Status status;
  call->Finish(&status, nullptr);
  queue.Next(&tag, &ok);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string mode = argv[1];

  mesh::v1::Config config;
  mesh::v1::Service& cart = (*config.mutable_services())["cart"];
  for (absl::string_view address : absl::StrSplit(argv[2], ',')) {
    cart.add_endpoints()->set_address(std::string(address));
  }
  cart.mutable_policy()->set_idempotent(true);
  std::atomic<int> warnings{0};
  mesh::Options options;
  options.log_sink = [&warnings](mesh::LogSeverity, absl::string_view line) {
    if (absl::StrContains(line, "RTTI")) ++warnings;
  };
  auto mesh = mesh::Mesh::Create(config, std::move(options));
  if (!mesh.ok()) return 1;
  const auto channel = (*mesh)->Channel("cart");

  const auto call = [&](const Request& request, Reply* reply) {
    grpc::ClientContext context;
    // Before there is an endpoint: the call begins to wait.
    context.set_wait_for_ready(mode == "waiting");
    if (mode == "async") return QueueCall(channel, &context, request, reply);
    if (mode == "callback" || mode == "function") {
      return CallbackCall(channel, mode == "function", &context, request,
                          reply);
    }
    if (mode == "stream") return StreamCall(channel, &context, request, reply);
    return BlockingCall(channel.get(), &context, request, reply);
  };

  for (int i = 0; i < 10; ++i) {
    Request request;
    Reply reply;
    request.set_payload(std::to_string(i));
    const grpc::Status status = call(request, &reply);
    if (!status.ok() || reply.payload() != request.payload()) {
      std::printf("call %d: %d %s\n", i, status.error_code(),
                  status.error_message().c_str());
      return 1;
    }
  }
  for (int i = 0; i < 10; ++i) {
    Request request;
    Reply reply;
    request.mutable_directives()->set_key("no-rtti-" + mode +
                                          std::to_string(i));
    request.mutable_directives()->set_fail_first(1);
    request.mutable_directives()->set_message("not retried");
    const grpc::Status status = call(request, &reply);
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE ||
        status.error_message() != "not retried") {
      std::printf("failing call %d: %d %s\n", i, status.error_code(),
                  status.error_message().c_str());
      return 1;
    }
  }
  // A stream's batches need no type information.
  if (mode != "stream" && warnings.load() != 1) {
    std::printf("warned %d times\n", warnings.load());
    return 1;
  }
  std::printf("reached the end\n");
  return 0;
}
