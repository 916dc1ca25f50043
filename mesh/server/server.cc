#include "mesh/server/server.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grpcpp/impl/server_builder_option.h"
#include "grpcpp/impl/server_builder_plugin.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_interceptor.h"
#include "mesh/grpc/access.h"
#include "mesh/incoming/incoming_call.h"

namespace mesh::server {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerInterceptorFactoryInterface;
using grpc::experimental::ServerRpcInfo;

constexpr char kPushback[] = "grpc-retry-pushback-ms";
constexpr char kDraining[] = "mesh-draining";

class AttachmentImpl final : public Attachment {
 public:
  void AnnounceShutdown() override {
    draining_.store(true, std::memory_order_relaxed);
  }
  bool draining() const { return draining_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> draining_{false};
};

// One per call. Lives as long as gRPC's own state of the call.
class CallKeeper final : public Interceptor {
 public:
  CallKeeper(const AttachmentImpl* attachment, ServerRpcInfo* info)
      : attachment_(*attachment), info_(info) {}
  ~CallKeeper() override {
    if (call_ != nullptr) incoming::RemoveIncoming(call_);
  }

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) {
      Begin(*info_->server_context());
    } else if (methods->QueryInterceptionHookPoint(
                   InterceptionHookPoints::PRE_SEND_STATUS)) {
      BeforeStatus(methods);
    }
    methods->Proceed();
  }

 private:
  void Begin(grpc::ServerContextBase& context) {
    served_.values.deadline = context.raw_deadline();
    if (incoming::AddIncoming(context.c_call(), &served_)) {
      call_ = context.c_call();
    }
  }

  void BeforeStatus(InterceptorBatchMethods* methods) {
    if (attachment_.draining()) {
      auto* trailers = methods->GetSendTrailingMetadata();
      if (trailers != nullptr) trailers->emplace(kDraining, "1");
    }
    if (!served_.retried_in_vain.load(std::memory_order_relaxed) ||
        methods->GetSendStatus().ok()) {
      return;
    }
    auto* trailers = methods->GetSendTrailingMetadata();
    if (trailers == nullptr || trailers->count(kPushback) > 0) return;
    trailers->emplace(kPushback, "-1");
  }

  // The factory owns it, and the server the factory.
  const AttachmentImpl& attachment_;
  ServerRpcInfo* const info_;
  grpc_call* call_ = nullptr;  // Null until the call is kept.
  incoming::ServedCall served_;
};

class CallKeeperFactory final : public ServerInterceptorFactoryInterface {
 public:
  explicit CallKeeperFactory(std::shared_ptr<const AttachmentImpl> attachment)
      : attachment_(std::move(attachment)) {}
  Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    return new CallKeeper(attachment_.get(), info);
  }

 private:
  const std::shared_ptr<const AttachmentImpl> attachment_;
};

// Its UpdateServerBuilder() runs when the server is built, after all that the
// application gave the builder in the meantime. So the interceptor is the last
// one. The last one sees a call first, and its status as it leaves.
class Plugin final : public grpc::ServerBuilderPlugin {
 public:
  explicit Plugin(std::shared_ptr<const AttachmentImpl> attachment)
      : attachment_(std::move(attachment)) {}
  std::string name() override { return "mesh"; }
  void UpdateServerBuilder(grpc::ServerBuilder* builder) override {
    (builder->*core::CreatorsMember())
        .push_back(std::make_unique<CallKeeperFactory>(attachment_));
  }
  void InitServer(grpc::ServerInitializer*) override {}
  void Finish(grpc::ServerInitializer*) override {}
  void ChangeArguments(const std::string&, void*) override {}

 private:
  const std::shared_ptr<const AttachmentImpl> attachment_;
};

class Option final : public grpc::ServerBuilderOption {
 public:
  explicit Option(std::shared_ptr<const AttachmentImpl> attachment)
      : attachment_(std::move(attachment)) {}
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>*
                         plugins) override {
    plugins->push_back(std::make_unique<Plugin>(attachment_));
  }

 private:
  const std::shared_ptr<const AttachmentImpl> attachment_;
};

}  // namespace

std::shared_ptr<Attachment> Attach(grpc::ServerBuilder* builder) {
  auto attachment = std::make_shared<AttachmentImpl>();
  builder->SetOption(std::make_unique<Option>(attachment));
  return attachment;
}

}  // namespace mesh::server
