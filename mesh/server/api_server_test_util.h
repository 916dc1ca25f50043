#ifndef MESH_SERVER_API_SERVER_TEST_UTIL_H_
#define MESH_SERVER_API_SERVER_TEST_UTIL_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/base/mutex.h"
#include "mesh/incoming/incoming_call.h"
#include "mesh/server/peer.h"
#include "mesh/server/server.h"
#include "tests/support/test_service.grpc.pb.h"

// A server of each of gRPC's APIs, which does as its script says.

namespace mesh::server {

using test::Reply;
using test::Request;
using test::TestService;

enum class Api { kSync, kCallback, kQueue, kGenericCallback, kGenericQueue };
enum class Kind { kUnary, kClientStream, kServerStream, kBidi };

// What every handler of the servers below does.
struct Script {
  bool mark = false;  // A call made for this one was retried in vain.
  grpc::StatusCode code = grpc::StatusCode::UNAVAILABLE;
  std::string own_pushback;  // Set by the handler. Empty: not.
};

// A server with handlers of one API that do as its script says.
class Server {
 public:
  using Customize = std::function<void(grpc::ServerBuilder*)>;

  explicit Server(Api api, Script script = {},
                  const Customize& customize = nullptr)
      : script_(std::move(script)),
        sync_(this),
        callback_(this),
        generic_callback_(this) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    switch (api) {
      case Api::kSync:
        builder.RegisterService(&sync_);
        break;
      case Api::kCallback:
        builder.RegisterService(&callback_);
        break;
      case Api::kQueue:
        builder.RegisterService(&queue_);
        break;
      case Api::kGenericCallback:
        builder.RegisterCallbackGenericService(&generic_callback_);
        break;
      case Api::kGenericQueue:
        builder.RegisterAsyncGenericService(&generic_queue_);
        break;
    }
    if (api == Api::kQueue || api == Api::kGenericQueue) {
      cq_ = builder.AddCompletionQueue();
    }
    if (customize != nullptr) {
      customize(&builder);
    } else {
      attachment_ = Attach(&builder);
    }
    server_ = builder.BuildAndStart();
    if (api == Api::kQueue) {
      NextUnary();
      NextClientStream();
      NextServerStream();
      NextBidi();
    }
    if (api == Api::kGenericQueue) NextGeneric();
    if (cq_ != nullptr) poller_ = std::thread([this] { Poll(); });
    // gRPC's own retries take away a count of attempts that they did not make.
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    stub_ = TestService::NewStub(grpc::CreateCustomChannel(
        absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials(),
        arguments));
  }
  ~Server() { Shutdown(); }

  void Shutdown() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    if (cq_ != nullptr) {
      cq_->Shutdown();
      poller_.join();
    }
    server_.reset();
    // Its handlers are done. Said so that ThreadSanitizer sees it, too.
    base::MutexLock lock(&mu_);
  }

  Attachment& attachment() { return *attachment_; }
  std::optional<incoming::IncomingCall> seen() {
    base::MutexLock lock(&mu_);
    return seen_;
  }

  // Who made the last call that a handler saw.
  std::optional<security::Peer> seen_peer() {
    base::MutexLock lock(&mu_);
    return seen_peer_;
  }
  // How many calls handlers saw.
  int handled() {
    base::MutexLock lock(&mu_);
    return handled_;
  }

  grpc::Status Call(Kind kind, grpc::ClientContext* context) {
    return Call(stub_.get(), kind, context);
  }
  static grpc::Status Call(TestService::Stub* stub, Kind kind,
                           grpc::ClientContext* context) {
    Request request;
    Reply reply;
    switch (kind) {
      case Kind::kUnary:
        return stub->Unary(context, request, &reply);
      case Kind::kClientStream:
        return stub->ClientStream(context, &reply)->Finish();
      case Kind::kServerStream: {
        auto reader = stub->ServerStream(context, request);
        while (reader->Read(&reply)) {
        }
        return reader->Finish();
      }
      case Kind::kBidi: {
        auto stream = stub->Bidi(context);
        while (stream->Read(&reply)) {
        }
        return stream->Finish();
      }
    }
    return grpc::Status::OK;
  }

 private:
  grpc::Status Handle(grpc::ServerContextBase* context) {
    {
      base::MutexLock lock(&mu_);
      ++handled_;
      seen_ = incoming::FindIncoming(context->c_call());
      seen_peer_ = PeerOf(context);
    }
    if (script_.mark) incoming::MarkRetriedInVain(context->c_call());
    if (!script_.own_pushback.empty()) {
      context->AddTrailingMetadata("grpc-retry-pushback-ms",
                                   script_.own_pushback);
    }
    return script_.code == grpc::StatusCode::OK
               ? grpc::Status::OK
               : grpc::Status(script_.code, "as the script says");
  }

  class Sync final : public TestService::Service {
   public:
    explicit Sync(Server* server) : server_(server) {}
    grpc::Status Unary(grpc::ServerContext* context, const Request*,
                       Reply*) override {
      return server_->Handle(context);
    }
    grpc::Status ClientStream(grpc::ServerContext* context,
                              grpc::ServerReader<Request>*, Reply*) override {
      return server_->Handle(context);
    }
    grpc::Status ServerStream(grpc::ServerContext* context, const Request*,
                              grpc::ServerWriter<Reply>*) override {
      return server_->Handle(context);
    }
    grpc::Status Bidi(grpc::ServerContext* context,
                      grpc::ServerReaderWriter<Reply, Request>*) override {
      return server_->Handle(context);
    }

   private:
    Server* const server_;
  };

  // A reactor that does nothing but end.
  template <typename Base>
  class Ends final : public Base {
   public:
    explicit Ends(const grpc::Status& status) { this->Finish(status); }
    void OnDone() override { delete this; }
  };

  class Callback final : public TestService::CallbackService {
   public:
    explicit Callback(Server* server) : server_(server) {}
    grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context,
                                    const Request*, Reply*) override {
      return new Ends<grpc::ServerUnaryReactor>(server_->Handle(context));
    }
    grpc::ServerReadReactor<Request>* ClientStream(
        grpc::CallbackServerContext* context, Reply*) override {
      return new Ends<grpc::ServerReadReactor<Request>>(
          server_->Handle(context));
    }
    grpc::ServerWriteReactor<Reply>* ServerStream(
        grpc::CallbackServerContext* context, const Request*) override {
      return new Ends<grpc::ServerWriteReactor<Reply>>(
          server_->Handle(context));
    }
    grpc::ServerBidiReactor<Request, Reply>* Bidi(
        grpc::CallbackServerContext* context) override {
      return new Ends<grpc::ServerBidiReactor<Request, Reply>>(
          server_->Handle(context));
    }

   private:
    Server* const server_;
  };

  class GenericCallback final : public grpc::CallbackGenericService {
   public:
    explicit GenericCallback(Server* server) : server_(server) {}
    grpc::ServerGenericBidiReactor* CreateReactor(
        grpc::GenericCallbackServerContext* context) override {
      return new Ends<grpc::ServerGenericBidiReactor>(server_->Handle(context));
    }

   private:
    Server* const server_;
  };

  // --- Completion queue

  // A call, from when it is asked for until it has ended.
  template <typename Context, typename Stream>
  struct QueuedCall {
    Context context;
    Request request;
    Stream stream{&context};
  };
  using Tag = std::function<void(bool ok)>;

  void Poll() {
    void* tag;
    bool ok;
    while (cq_->Next(&tag, &ok)) {
      const std::unique_ptr<Tag> run(static_cast<Tag*>(tag));
      (*run)(ok);
    }
  }

  // Asks for a call, ends it as the script says, and asks for the next one.
  template <typename Call>
  void Next(const std::function<void(Call*, void* tag)>& ask,
            const std::function<void(Call*, const grpc::Status&, void* tag)>&
                finish) {
    auto call = std::make_shared<Call>();
    ask(call.get(), new Tag([=](bool ok) {
          if (!ok) return;
          Next(ask, finish);
          finish(call.get(), Handle(&call->context), new Tag([call](bool) {}));
        }));
  }

  void NextUnary() {
    using Call =
        QueuedCall<grpc::ServerContext, grpc::ServerAsyncResponseWriter<Reply>>;
    Next<Call>(
        [this](Call* call, void* tag) {
          queue_.RequestUnary(&call->context, &call->request, &call->stream,
                              cq_.get(), cq_.get(), tag);
        },
        [](Call* call, const grpc::Status& status, void* tag) {
          call->stream.Finish(Reply(), status, tag);
        });
  }
  void NextClientStream() {
    using Call = QueuedCall<grpc::ServerContext,
                            grpc::ServerAsyncReader<Reply, Request>>;
    Next<Call>(
        [this](Call* call, void* tag) {
          queue_.RequestClientStream(&call->context, &call->stream, cq_.get(),
                                     cq_.get(), tag);
        },
        [](Call* call, const grpc::Status& status, void* tag) {
          call->stream.Finish(Reply(), status, tag);
        });
  }
  void NextServerStream() {
    using Call =
        QueuedCall<grpc::ServerContext, grpc::ServerAsyncWriter<Reply>>;
    Next<Call>(
        [this](Call* call, void* tag) {
          queue_.RequestServerStream(&call->context, &call->request,
                                     &call->stream, cq_.get(), cq_.get(), tag);
        },
        [](Call* call, const grpc::Status& status, void* tag) {
          call->stream.Finish(status, tag);
        });
  }
  void NextBidi() {
    using Call = QueuedCall<grpc::ServerContext,
                            grpc::ServerAsyncReaderWriter<Reply, Request>>;
    Next<Call>(
        [this](Call* call, void* tag) {
          queue_.RequestBidi(&call->context, &call->stream, cq_.get(),
                             cq_.get(), tag);
        },
        [](Call* call, const grpc::Status& status, void* tag) {
          call->stream.Finish(status, tag);
        });
  }
  void NextGeneric() {
    using Call = QueuedCall<grpc::GenericServerContext,
                            grpc::GenericServerAsyncReaderWriter>;
    Next<Call>(
        [this](Call* call, void* tag) {
          generic_queue_.RequestCall(&call->context, &call->stream, cq_.get(),
                                     cq_.get(), tag);
        },
        [](Call* call, const grpc::Status& status, void* tag) {
          call->stream.Finish(status, tag);
        });
  }

  const Script script_;
  std::shared_ptr<Attachment> attachment_;
  Sync sync_;
  Callback callback_;
  TestService::AsyncService queue_;
  GenericCallback generic_callback_;
  grpc::AsyncGenericService generic_queue_;
  std::unique_ptr<grpc::ServerCompletionQueue> cq_;
  std::unique_ptr<grpc::Server> server_;
  std::thread poller_;
  std::unique_ptr<TestService::Stub> stub_;
  base::Mutex mu_;
  std::optional<incoming::IncomingCall> seen_ ABSL_GUARDED_BY(mu_);
  std::optional<security::Peer> seen_peer_ ABSL_GUARDED_BY(mu_);
  int handled_ ABSL_GUARDED_BY(mu_) = 0;
};

class EveryApi : public testing::TestWithParam<std::tuple<Api, Kind>> {
 protected:
  Api api() const { return std::get<0>(GetParam()); }
  Kind kind() const { return std::get<1>(GetParam()); }
};

inline std::vector<Api> AllApis() {
  return {Api::kSync, Api::kCallback, Api::kQueue, Api::kGenericCallback,
          Api::kGenericQueue};
}

inline std::string NameOfApiAndKind(
    const testing::TestParamInfo<std::tuple<Api, Kind>>& info) {
  static constexpr const char* kApis[] = {"Sync", "Callback", "Queue",
                                          "GenericCallback", "GenericQueue"};
  static constexpr const char* kKinds[] = {"Unary", "ClientStream",
                                           "ServerStream", "Bidi"};
  return absl::StrCat(kApis[static_cast<int>(std::get<0>(info.param))],
                      kKinds[static_cast<int>(std::get<1>(info.param))]);
}

}  // namespace mesh::server

#endif  // MESH_SERVER_API_SERVER_TEST_UTIL_H_
