// The shop's cart service.

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "examples/shop/server.h"
#include "examples/shop/v1/cart.grpc.pb.h"

namespace shop {
namespace {

constexpr absl::Duration kServiceTime = absl::Milliseconds(4);

// Keeps carts in memory. A real one would stand before a database that all
// cart servers share; the demo's visitors do not mind.
class CartService final : public v1::Cart::Service {
 public:
  explicit CartService(Panel& panel) : panel_(panel) {}

  grpc::Status AddItem(grpc::ServerContext* context,
                       const v1::AddItemRequest* request,
                       v1::CartContents* reply) override {
    grpc::Status status = Serve(panel_, *context, kServiceTime);
    if (!status.ok()) return status;
    std::lock_guard<std::mutex> lock(mu_);
    v1::CartContents& cart = carts_[request->cart_id()];
    v1::CartContents::Line& line = (*cart.mutable_lines())[request->line_id()];
    line.set_item_id(request->item_id());
    line.set_count(request->count());
    *reply = cart;
    return grpc::Status::OK;
  }

  grpc::Status GetCart(grpc::ServerContext* context,
                       const v1::GetCartRequest* request,
                       v1::CartContents* reply) override {
    grpc::Status status = Serve(panel_, *context, kServiceTime);
    if (status.ok()) Copy(request->cart_id(), reply);
    return status;
  }

  grpc::Status Watch(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::CartContents, v1::GetCartRequest>* stream)
      override {
    grpc::Status status = Serve(panel_, *context, kServiceTime);
    if (!status.ok()) return status;
    v1::GetCartRequest request;
    while (stream->Read(&request)) {
      v1::CartContents reply;
      Copy(request.cart_id(), &reply);
      if (!stream->Write(reply)) break;
    }
    return grpc::Status::OK;
  }

 private:
  void Copy(const std::string& cart_id, v1::CartContents* reply) {
    std::lock_guard<std::mutex> lock(mu_);
    const auto cart = carts_.find(cart_id);
    if (cart != carts_.end()) *reply = cart->second;
  }

  Panel& panel_;

  std::mutex mu_;
  std::map<std::string, v1::CartContents> carts_;  // Guarded by mu_.
};

}  // namespace
}  // namespace shop

int main(int argc, char** argv) {
  return shop::ServerMain(
      argc, argv,
      [](shop::Panel& panel, int, char**) -> std::unique_ptr<grpc::Service> {
        return std::make_unique<shop::CartService>(panel);
      });
}
