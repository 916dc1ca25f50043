// The shop's frontend: it answers visitors by calling the services behind it,
// through mesh or through bare gRPC channels. Besides the common flags:
//   --arm=mesh|bare
//   --config=DIR  what backends.h says.

#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "examples/shop/backends.h"
#include "examples/shop/flags.h"
#include "examples/shop/server.h"
#include "examples/shop/v1/frontend.grpc.pb.h"

namespace shop {
namespace {

// Each method passes on its caller's deadline and cancellation, and answers
// with the status that it got.
class FrontendService final : public v1::Frontend::Service {
 public:
  FrontendService(Panel& panel, std::unique_ptr<Backends> backends)
      : panel_(panel), backends_(std::move(backends)), reporter_([this] {
          while (!stopping_) {
            backends_->Report(panel_);
            absl::SleepFor(absl::Milliseconds(100));
          }
        }) {}

  ~FrontendService() override {
    stopping_ = true;
    reporter_.join();
  }

  grpc::Status ViewItem(grpc::ServerContext* context,
                        const v1::GetItemRequest* request,
                        v1::Item* reply) override {
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    return backends_->stubs()->catalog->GetItem(onward.get(), *request, reply);
  }

  grpc::Status Search(grpc::ServerContext* context,
                      const v1::SearchRequest* request,
                      grpc::ServerWriter<v1::Item>* visitor) override {
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    const auto stubs = backends_->stubs();
    const auto items = stubs->catalog->Search(onward.get(), *request);
    v1::Item item;
    while (items->Read(&item)) {
      if (!visitor->Write(item)) onward->TryCancel();
    }
    return items->Finish();
  }

  grpc::Status Upload(grpc::ServerContext* context,
                      grpc::ServerReader<v1::Item>* visitor,
                      v1::UploadSummary* reply) override {
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    const auto stubs = backends_->stubs();
    const auto items = stubs->catalog->Upload(onward.get(), reply);
    v1::Item item;
    while (visitor->Read(&item) && items->Write(item)) {
    }
    items->WritesDone();
    return items->Finish();
  }

  grpc::Status AddItem(grpc::ServerContext* context,
                       const v1::AddItemRequest* request,
                       v1::CartContents* reply) override {
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    return backends_->stubs()->cart->AddItem(onward.get(), *request, reply);
  }

  grpc::Status ViewCart(grpc::ServerContext* context,
                        const v1::GetCartRequest* request,
                        v1::CartContents* reply) override {
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    return backends_->stubs()->cart->GetCart(onward.get(), *request, reply);
  }

  grpc::Status WatchCart(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::CartContents, v1::GetCartRequest>* visitor)
      override {
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    const auto stubs = backends_->stubs();
    const auto carts = stubs->cart->Watch(onward.get());
    v1::GetCartRequest request;
    v1::CartContents cart;
    while (visitor->Read(&request) && carts->Write(request) &&
           carts->Read(&cart) && visitor->Write(cart)) {
    }
    carts->WritesDone();
    return carts->Finish();
  }

  grpc::Status Quote(grpc::ServerContext* context,
                     const v1::QuoteRequest* request,
                     v1::QuoteReply* reply) override {
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    return backends_->stubs()->payment->Quote(onward.get(), *request, reply);
  }

  grpc::Status Checkout(grpc::ServerContext* context,
                        const v1::ChargeRequest* request,
                        v1::ChargeReply* reply) override {
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    return backends_->stubs()->payment->Charge(onward.get(), *request, reply);
  }

 private:
  Panel& panel_;
  const std::unique_ptr<Backends> backends_;
  std::atomic<bool> stopping_{false};
  std::thread reporter_;  // Last: it uses the others.
};

std::unique_ptr<grpc::Service> MakeFrontend(Panel& panel, int argc,
                                            char** argv) {
  const std::string config = Flag(argc, argv, "config", ".");
  const std::string arm = Flag(argc, argv, "arm", "mesh");
  if (arm != "mesh" && arm != "bare") {
    fprintf(stderr, "--arm must be mesh or bare, but is \"%s\".\n",
            arm.c_str());
    return nullptr;
  }
  absl::StatusOr<std::unique_ptr<Backends>> backends =
      arm == "mesh" ? MeshBackends(config) : BareBackends(config);
  if (!backends.ok()) {
    fprintf(stderr, "%s\n", backends.status().ToString().c_str());
    return nullptr;
  }
  return std::make_unique<FrontendService>(panel, *std::move(backends));
}

}  // namespace
}  // namespace shop

int main(int argc, char** argv) {
  return shop::ServerMain(argc, argv, shop::MakeFrontend);
}
