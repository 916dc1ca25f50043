#include "mesh/server/server.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/base/mutex.h"
#include "mesh/incoming/incoming_call.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::server {
namespace {

using std::chrono::seconds;
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

  grpc::Status Call(Kind kind, grpc::ClientContext* context) {
    Request request;
    Reply reply;
    switch (kind) {
      case Kind::kUnary:
        return stub_->Unary(context, request, &reply);
      case Kind::kClientStream:
        return stub_->ClientStream(context, &reply)->Finish();
      case Kind::kServerStream: {
        auto reader = stub_->ServerStream(context, request);
        while (reader->Read(&reply)) {
        }
        return reader->Finish();
      }
      case Kind::kBidi: {
        auto stream = stub_->Bidi(context);
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
      seen_ = incoming::FindIncoming(context->c_call());
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
};

// All trailers of one name.
std::vector<std::string> Pushbacks(const grpc::ClientContext& context) {
  std::vector<std::string> values;
  const auto range =
      context.GetServerTrailingMetadata().equal_range("grpc-retry-pushback-ms");
  for (auto it = range.first; it != range.second; ++it) {
    values.emplace_back(it->second.data(), it->second.size());
  }
  return values;
}

bool WaitUntilNoneIsKept() {
  for (int i = 0; i < 20000 && incoming::CountIncoming() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return incoming::CountIncoming() == 0;
}

class EveryApi : public testing::TestWithParam<std::tuple<Api, Kind>> {
 protected:
  Api api() const { return std::get<0>(GetParam()); }
  Kind kind() const { return std::get<1>(GetParam()); }
};

std::vector<Api> AllApis() {
  return {
    Api::kSync, Api::kCallback, Api::kQueue, Api::kGenericQueue,
#if !defined(MESH_TSAN)
        // Its counts are inside libgrpc++, where ThreadSanitizer does not see
        // what they order.
        Api::kGenericCallback
#endif
  };
}

std::string NameOf(const testing::TestParamInfo<std::tuple<Api, Kind>>& info) {
  static constexpr const char* kApis[] = {"Sync", "Callback", "Queue",
                                          "GenericCallback", "GenericQueue"};
  static constexpr const char* kKinds[] = {"Unary", "ClientStream",
                                           "ServerStream", "Bidi"};
  return absl::StrCat(kApis[static_cast<int>(std::get<0>(info.param))],
                      kKinds[static_cast<int>(std::get<1>(info.param))]);
}

INSTANTIATE_TEST_SUITE_P(
    ApiAndKind, EveryApi,
    testing::Combine(testing::ValuesIn(AllApis()),
                     testing::Values(Kind::kUnary, Kind::kClientStream,
                                     Kind::kServerStream, Kind::kBidi)),
    NameOf);

TEST_P(EveryApi, ACallIsKeptWhileItIsServed) {
  Server server(api());
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + seconds(100));
    EXPECT_EQ(server.Call(kind(), &context).error_code(),
              grpc::StatusCode::UNAVAILABLE);
  }
  const auto seen = server.seen();
  ASSERT_TRUE(seen.has_value());
  const gpr_timespec left =
      gpr_time_sub(gpr_convert_clock_type(seen->deadline, GPR_CLOCK_MONOTONIC),
                   gpr_now(GPR_CLOCK_MONOTONIC));
  EXPECT_GT(left.tv_sec, 50);
  EXPECT_LE(left.tv_sec, 100);
  EXPECT_TRUE(WaitUntilNoneIsKept());
}

TEST_P(EveryApi, ACallWithoutADeadlineIsKeptAsOne) {
  Server server(api());
  grpc::ClientContext context;
  server.Call(kind(), &context);
  const auto seen = server.seen();
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(
      gpr_time_cmp(seen->deadline, gpr_inf_future(seen->deadline.clock_type)),
      0);
}

TEST_P(EveryApi, AFailureThatWasRetriedInVainIsNotToBeRetriedOnTop) {
  Server server(api(), {/*mark=*/true});
  grpc::ClientContext context;
  EXPECT_EQ(server.Call(kind(), &context).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Pushbacks(context), std::vector<std::string>{"-1"});
}

TEST_P(EveryApi, OtherFailuresMayBeRetried) {
  Server server(api());
  grpc::ClientContext context;
  EXPECT_EQ(server.Call(kind(), &context).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(Pushbacks(context).empty());
}

TEST_P(EveryApi, AnAnswerThatIsNoFailureHasNoPushback) {
  const bool generic =
      api() == Api::kGenericCallback || api() == Api::kGenericQueue;
  if (generic && (kind() == Kind::kUnary || kind() == Kind::kClientStream)) {
    GTEST_SKIP() << "success without a message is none";
  }
  Server server(api(), {/*mark=*/true, grpc::StatusCode::OK});
  grpc::ClientContext context;
  EXPECT_TRUE(server.Call(kind(), &context).ok());
  EXPECT_TRUE(Pushbacks(context).empty());
}

TEST_P(EveryApi, TheHandlersOwnPushbackStays) {
  Server server(api(), {/*mark=*/true, grpc::StatusCode::UNAVAILABLE, "250"});
  grpc::ClientContext context;
  EXPECT_EQ(server.Call(kind(), &context).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Pushbacks(context), std::vector<std::string>{"250"});
}

TEST_P(EveryApi, AServerThatWillShutDownSaysSoWithEachAnswer) {
  Server server(api());
  for (const bool announced : {false, true}) {
    if (announced) server.attachment().AnnounceShutdown();
    grpc::ClientContext context;
    server.Call(kind(), &context);
    EXPECT_EQ(context.GetServerTrailingMetadata().count("mesh-draining"),
              announced ? 1u : 0u);
  }
}

TEST(AttachTest, WithoutItNothingIsKept) {
  Server server(Api::kSync, {/*mark=*/true}, [](grpc::ServerBuilder*) {});
  grpc::ClientContext context;
  EXPECT_EQ(server.Call(Kind::kUnary, &context).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(server.seen().has_value());
  EXPECT_TRUE(Pushbacks(context).empty());
}

TEST(AttachTest, TwiceIsAsOnce) {
  Server server(Api::kSync, {/*mark=*/true}, [](grpc::ServerBuilder* builder) {
    Attach(builder);
    Attach(builder);
  });
  grpc::ClientContext context;
  server.Call(Kind::kUnary, &context);
  EXPECT_EQ(Pushbacks(context), std::vector<std::string>{"-1"});
  EXPECT_TRUE(WaitUntilNoneIsKept());
}

// An application's interceptor: turns every status into a failure, and sees
// what the handler's call was when it began.
class Application final : public grpc::experimental::Interceptor {
 public:
  Application(std::atomic<int>* calls, grpc::experimental::ServerRpcInfo* info)
      : calls_(calls), info_(info) {}
  void Intercept(
      grpc::experimental::InterceptorBatchMethods* methods) override {
    using Point = grpc::experimental::InterceptionHookPoints;
    if (methods->QueryInterceptionHookPoint(
            Point::POST_RECV_INITIAL_METADATA) &&
        incoming::FindIncoming(info_->server_context()->c_call()).has_value()) {
      ++*calls_;
    }
    if (methods->QueryInterceptionHookPoint(Point::PRE_SEND_STATUS)) {
      methods->ModifySendStatus(
          grpc::Status(grpc::StatusCode::INTERNAL, "changed"));
    }
    methods->Proceed();
  }

 private:
  std::atomic<int>* const calls_;
  grpc::experimental::ServerRpcInfo* const info_;
};

class ApplicationFactory final
    : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit ApplicationFactory(std::atomic<int>* calls) : calls_(calls) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    return new Application(calls_, info);
  }

 private:
  std::atomic<int>* const calls_;
};

TEST(AttachTest, InterceptorsOfTheApplicationStayBeforeAndAfter) {
  for (const bool first : {true, false}) {
    std::atomic<int> calls{0};
    const Script script{/*mark=*/true, grpc::StatusCode::OK};
    Server server(Api::kSync, script, [&](grpc::ServerBuilder* builder) {
      if (first) Attach(builder);
      std::vector<std::unique_ptr<
          grpc::experimental::ServerInterceptorFactoryInterface>>
          creators;
      creators.push_back(std::make_unique<ApplicationFactory>(&calls));
      creators.push_back(std::make_unique<ApplicationFactory>(&calls));
      builder->experimental().SetInterceptorCreators(std::move(creators));
      if (!first) Attach(builder);
    });
    grpc::ClientContext context;
    EXPECT_EQ(server.Call(Kind::kUnary, &context).error_message(), "changed");
    EXPECT_EQ(calls, 2) << "they can make calls for the call";
    EXPECT_EQ(Pushbacks(context), std::vector<std::string>{"-1"})
        << "the status that is sent counts";
  }
}

TEST(IncomingCallTest, NullAndStrangersAreNotFound) {
  EXPECT_FALSE(incoming::FindIncoming(nullptr).has_value());
  incoming::MarkRetriedInVain(nullptr);
  int somewhere = 0;
  auto* const stranger = reinterpret_cast<grpc_call*>(&somewhere);
  EXPECT_FALSE(incoming::FindIncoming(stranger).has_value());
  incoming::MarkRetriedInVain(stranger);
}

TEST(IncomingCallTest, TheFirstOfACallIsKept) {
  int somewhere = 0;
  auto* const call = reinterpret_cast<grpc_call*>(&somewhere);
  incoming::ServedCall first, second;
  first.values.deadline = gpr_time_from_seconds(1, GPR_CLOCK_MONOTONIC);
  second.values.deadline = gpr_time_from_seconds(2, GPR_CLOCK_MONOTONIC);
  EXPECT_TRUE(incoming::AddIncoming(call, &first));
  EXPECT_FALSE(incoming::AddIncoming(call, &second));
  EXPECT_EQ(incoming::FindIncoming(call)->deadline.tv_sec, 1);
  incoming::MarkRetriedInVain(call);
  EXPECT_TRUE(first.retried_in_vain);
  EXPECT_FALSE(second.retried_in_vain);
  incoming::RemoveIncoming(call);
  EXPECT_FALSE(incoming::FindIncoming(call).has_value());
}

class Concurrently : public testing::TestWithParam<Api> {};

INSTANTIATE_TEST_SUITE_P(Apis, Concurrently, testing::ValuesIn(AllApis()));

TEST_P(Concurrently, CallsEndCancelledTimedOutAndShutDownAndNoneIsLeft) {
  Server server(GetParam(), {/*mark=*/true});
  std::vector<std::thread> callers;
  for (int thread = 0; thread < 4; ++thread) {
    callers.emplace_back([&server, thread] {
      for (int i = 0; i < 100; ++i) {
        grpc::ClientContext context;
        context.set_deadline(
            std::chrono::system_clock::now() +
            std::chrono::microseconds(i % 3 == 0 ? 300 : 2000000));
        std::thread canceller;
        if (i % 10 == 0) canceller = std::thread([&] { context.TryCancel(); });
        server.Call(static_cast<Kind>((thread + i) % 4), &context);
        if (canceller.joinable()) canceller.join();
      }
    });
  }
  for (int i = 0; i < 3; ++i) callers[i].join();
  server.Shutdown();
  callers[3].join();
  EXPECT_TRUE(WaitUntilNoneIsKept()) << incoming::CountIncoming();
}

}  // namespace
}  // namespace mesh::server
