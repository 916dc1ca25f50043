#include "mesh/server/attachment.h"

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

// One per call. Lives as long as gRPC's own state of the call.
class CallKeeper final : public Interceptor {
 public:
  CallKeeper(ServerAttachment* attachment, ServerRpcInfo* info)
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
    caller_ = attachment_.CallerOf(&context);
    served_.peer = caller_.peer;
    if (incoming::AddIncoming(context.c_call(), &served_)) {
      call_ = context.c_call();
    }
  }

  void BeforeStatus(InterceptorBatchMethods* methods) {
    if (attachment_.draining() || caller_.IsLeaving()) {
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
  ServerAttachment& attachment_;
  ServerRpcInfo* const info_;
  Caller caller_;
  grpc_call* call_ = nullptr;  // Null until the call is kept.
  incoming::ServedCall served_;
};

class CallKeeperFactory final : public ServerInterceptorFactoryInterface {
 public:
  explicit CallKeeperFactory(std::shared_ptr<ServerAttachment> attachment)
      : attachment_(std::move(attachment)) {}
  ~CallKeeperFactory() override { attachment_->Gone(); }
  Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    return new CallKeeper(attachment_.get(), info);
  }

 private:
  const std::shared_ptr<ServerAttachment> attachment_;
};

// Its UpdateServerBuilder() runs when the server is built, after all that the
// application gave the builder in the meantime. So the interceptor is the last
// one. The last one sees a call first, and its status as it leaves.
class Plugin final : public grpc::ServerBuilderPlugin {
 public:
  explicit Plugin(std::shared_ptr<ServerAttachment> attachment)
      : attachment_(std::move(attachment)) {}
  std::string name() override { return "mesh"; }
  void UpdateServerBuilder(grpc::ServerBuilder* builder) override {
    (builder->*core::CreatorsMember())
        .push_back(std::make_unique<CallKeeperFactory>(attachment_));
  }
  void UpdateChannelArguments(grpc::ChannelArguments* arguments) override {
    const grpc_channel_args core = arguments->c_channel_args();
    attachment_->Configured(core);
  }
  void InitServer(grpc::ServerInitializer*) override {}
  void Finish(grpc::ServerInitializer*) override { attachment_->Started(); }
  void ChangeArguments(const std::string&, void*) override {}

 private:
  const std::shared_ptr<ServerAttachment> attachment_;
};

class Option final : public grpc::ServerBuilderOption {
 public:
  explicit Option(std::shared_ptr<ServerAttachment> attachment)
      : attachment_(std::move(attachment)) {}
  const std::shared_ptr<ServerAttachment>& attachment() const {
    return attachment_;
  }
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>*
                         plugins) override {
    plugins->push_back(std::make_unique<Plugin>(attachment_));
  }

 private:
  const std::shared_ptr<ServerAttachment> attachment_;
};

}  // namespace

void Install(grpc::ServerBuilder* builder,
             std::shared_ptr<ServerAttachment> attachment) {
  builder->SetOption(std::make_unique<Option>(std::move(attachment)));
}

std::shared_ptr<ServerAttachment> Installed(grpc::ServerBuilder* builder) {
  for (const auto& option : builder->*core::OptionsMember()) {
    const auto* const ours = dynamic_cast<const Option*>(option.get());
    if (ours != nullptr) return ours->attachment();
  }
  return nullptr;
}

}  // namespace mesh::server
