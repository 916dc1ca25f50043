// The shop's catalog service.

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/strings/str_cat.h"
#include "examples/shop/server.h"
#include "examples/shop/v1/catalog.grpc.pb.h"

namespace shop {
namespace {

constexpr absl::Duration kServiceTime = absl::Milliseconds(10);

class CatalogService final : public v1::Catalog::Service {
 public:
  explicit CatalogService(Panel& panel) : panel_(panel) {
    for (int i = 0; i < 100; ++i) {
      v1::Item item;
      item.set_item_id(absl::StrCat("item-", i));
      item.set_title(absl::StrCat("Thing number ", i));
      item.set_price_cents(100 + 7 * i);
      items_[item.item_id()] = item;
    }
  }

  grpc::Status GetItem(grpc::ServerContext* context,
                       const v1::GetItemRequest* request,
                       v1::Item* reply) override {
    grpc::Status status = Serve(panel_, *context, kServiceTime);
    if (!status.ok()) return status;
    std::lock_guard<std::mutex> lock(mu_);
    const auto item = items_.find(request->item_id());
    if (item == items_.end()) {
      return grpc::Status(grpc::StatusCode::NOT_FOUND,
                          absl::StrCat("no item ", request->item_id()));
    }
    *reply = item->second;
    return grpc::Status::OK;
  }

  grpc::Status Search(grpc::ServerContext* context,
                      const v1::SearchRequest* request,
                      grpc::ServerWriter<v1::Item>* stream) override {
    grpc::Status status = Serve(panel_, *context, kServiceTime);
    if (!status.ok()) return status;
    std::map<std::string, v1::Item> items;
    {
      std::lock_guard<std::mutex> lock(mu_);
      items = items_;
    }
    uint32_t left = request->limit() == 0 ? 10 : request->limit();
    for (const auto& [id, item] : items) {
      if (item.title().find(request->text()) == std::string::npos) continue;
      if (left-- == 0 || !stream->Write(item)) break;
    }
    return grpc::Status::OK;
  }

  grpc::Status Upload(grpc::ServerContext* context,
                      grpc::ServerReader<v1::Item>* stream,
                      v1::UploadSummary* reply) override {
    grpc::Status status = Serve(panel_, *context, kServiceTime);
    if (!status.ok()) return status;
    v1::Item item;
    while (stream->Read(&item)) {
      std::lock_guard<std::mutex> lock(mu_);
      items_[item.item_id()] = item;
      reply->set_items(reply->items() + 1);
    }
    return grpc::Status::OK;
  }

 private:
  Panel& panel_;

  std::mutex mu_;
  std::map<std::string, v1::Item> items_;  // Guarded by mu_.
};

}  // namespace
}  // namespace shop

int main(int argc, char** argv) {
  return shop::ServerMain(
      argc, argv,
      [](shop::Panel& panel, int, char**) -> std::unique_ptr<grpc::Service> {
        return std::make_unique<shop::CatalogService>(panel);
      });
}
